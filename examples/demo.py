"""Search, fuse and save on two real tables that ship with scikit-learn."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import train_test_split

import automl_fuse
from automl_fuse import Settings

if TYPE_CHECKING:
    import pandas as pd

SECONDS = 30
RUNS = Path("demo-run")


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
    fusion, seconds = model.report["fusion"], model.report["seconds"]
    print(
        f"\nfused by {fusion['method']} of {fusion['members']} members in {seconds['wall']:.1f} s"
    )
    print(f"{metric} by cross-validation: {model.report['score']:.5f}")
    scores = model.evaluate(untouched)
    print(f"{metric} on untouched rows:   {scores[metric]:.5f}")
    saved = run / "pipeline"
    same = (automl_fuse.load(saved).predict(untouched) == model.predict(untouched)).all()
    print(f"saved in {saved}" if same else f"{saved} does not predict as the model did")
    if not same:
        sys.exit(1)


def main() -> None:
    """Run both demonstrations into a fresh directory."""
    shutil.rmtree(RUNS, ignore_errors=True)
    cancer = load_breast_cancer(as_frame=True)
    diagnosis = cancer.target.map(dict(enumerate(cancer.target_names)))
    demonstrate("breast-cancer", cancer.data.assign(diagnosis=diagnosis), "diagnosis", "log_loss")
    diabetes = load_diabetes(as_frame=True, scaled=False)
    demonstrate("diabetes", diabetes.frame, "target", "rmse")
    print("\nNext: automl-fuse leaderboard demo-run/diabetes; automl-fuse --help")


if __name__ == "__main__":
    main()
