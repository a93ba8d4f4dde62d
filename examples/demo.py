"""Search, fuse and save on two real tables that ship with scikit-learn."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import train_test_split

import automl_fuse
from automl_fuse import Settings

if TYPE_CHECKING:
    import pandas as pd

SECONDS = 30
RUNS = Path("demo-run")
SHOWN = {
    "score": "{:.5f}".format,
    "relative_loss": "{:.1%}".format,
    "latency_ms": "{:.3f}".format,
    "size_mb": "{:.3f}".format,
}


def demonstrate(name: str, table: pd.DataFrame, target: str, metric: str) -> None:
    """Fit on three quarters of a table, score the rest, and load what was saved."""
    train, untouched = train_test_split(table, test_size=0.25, random_state=0)
    print(f"\n{name}: {len(train)} rows to learn from, {len(untouched)} untouched; {SECONDS} s")
    run = RUNS / name
    model = automl_fuse.fit(
        train,
        target=target,
        time_limit=SECONDS,
        metric=metric,
        settings=Settings(output=str(run)),
    )
    print(model.leaderboard().head(12).to_string(index=False))
    print("\nwhat no other pipeline beats on score, latency and bytes:")
    print(model.front().to_string(index=False, formatters=SHOWN))
    scores = model.evaluate(untouched)
    fast = model.pick(prefer="speed")
    print(f"\n{metric} on untouched rows: {scores[metric]:.5f}", end=", ")
    print(f"and with prefer='speed': {fast.evaluate(untouched)[metric]:.5f}")
    saved = run / "model.onnx"
    portable = automl_fuse.load(saved)
    truth, again = model.predict_typed(model.sample)[1], portable.predict_typed(model.sample)[1]
    print(
        f"saved in {saved} ({saved.stat().st_size / 1e6:.2f} MB): loaded with onnxruntime, it "
        f"differs by {np.abs(truth - again).max():.1g} at most"
    )


def main() -> None:
    """Run both demonstrations into a fresh directory."""
    shutil.rmtree(RUNS, ignore_errors=True)
    cancer = load_breast_cancer(as_frame=True)
    diagnosis = cancer.target.map(dict(enumerate(cancer.target_names)))
    demonstrate("breast-cancer", cancer.data.assign(diagnosis=diagnosis), "diagnosis", "log_loss")
    diabetes = load_diabetes(as_frame=True, scaled=False)
    demonstrate("diabetes", diabetes.frame, "target", "rmse")
    print("\nNext: automl-fuse inspect demo-run/diabetes/model.onnx; automl-fuse --help")


if __name__ == "__main__":
    main()
