"""One size of the growth benchmark, in a process of its own: see ``benchmarks/growth.py``.

    python run_growth.py stages TABLE.pkl RESULT.json
    python run_growth.py fit TABLE.pkl RESULT.json --time-limit 60 --test TEST.pkl

``stages`` times what comes before the search, one step after another; ``fit`` runs everything,
and reads from the run's own log when its first member was finished.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = "target"


def stages(table: Path) -> dict[str, Any]:
    """Return the CPU seconds of each step from a frame to folds."""
    from automl_fuse.folds import make_folds, seed_of
    from automl_fuse.schema import infer
    from automl_fuse.table import prepare

    frame = pd.read_pickle(table)
    seconds: dict[str, float] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        started = time.process_time()
        made = step()
        seconds[name] = time.process_time() - started
        return made

    dataset = timed("read", lambda: prepare(frame, target=TARGET))
    schema = timed("infer", lambda: infer(dataset.table, {}))
    timed("convert", lambda: schema.convert(dataset.table))
    timed("folds", lambda: make_folds(dataset.y, dataset.task, seed_of(0, "folds")))
    return {"stages": seconds}


def fitted(table: Path, test: Path, time_limit: float, seed: int) -> dict[str, Any]:
    """Return what a whole run took, and its loss on rows that it has not seen."""
    import automl_fuse

    frame = pd.read_pickle(table)
    table_bytes = int(frame.memory_usage(index=False, deep=True).sum())
    with tempfile.TemporaryDirectory() as folder:
        settings = automl_fuse.Settings(seed=seed, output=f"{folder}/run", progress=False)
        started = time.perf_counter()
        model = automl_fuse.fit(frame, target=TARGET, time_limit=time_limit, settings=settings)
        seconds = time.perf_counter() - started
        log = Path(folder, "run", "log.jsonl").read_text(encoding="utf-8")
    rows = pd.read_pickle(test)
    probability = model.predict_proba(rows.drop(columns=TARGET))
    told = np.searchsorted(model.classes_, rows[TARGET].to_numpy(dtype=object))
    right = np.clip(probability[np.arange(len(rows)), told], 1e-15, None)
    return {
        "table_bytes": table_bytes,
        "fit_seconds": seconds,
        "events": [json.loads(line) for line in log.splitlines()],
        "members": int(model.report["trials"]["finished"]),
        "folds": int(model.report["folds"]),
        "seconds": dict(model.report["seconds"]),
        "loss": float(-np.log(right).mean()),
    }


def main() -> None:
    """Run one size."""
    parser = argparse.ArgumentParser(description="one size of the growth benchmark")
    parser.add_argument("what", choices=("stages", "fit"))
    parser.add_argument("table", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.what == "stages":
        result = stages(given.table)
    else:
        result = fitted(given.table, given.test, given.time_limit, given.seed)
    given.result.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
