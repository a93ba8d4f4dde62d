"""How well the learners' cost functions predict: CPU seconds of one fold, measured over predicted.

    python benchmarks/costs.py --tables adult california phoneme --learners lightgbm mlp

fits what each learner's portfolio begins with in one fold of a table's training rows, encoders
included, in one thread of this process. It prints the ratios of each learner and table, and their
geometric mean. The engine corrects predictions by what it measures as it goes; what is wrong before
that decides what a short run begins with.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import compare
import numpy as np
import pandas as pd
import report
from runners.common import DATES
from threadpoolctl import threadpool_limits

from automl_fuse.folds import make_folds
from automl_fuse.host import discover
from automl_fuse.run import RunDirectory
from automl_fuse.schema import infer
from automl_fuse.specs import Job, Shape
from automl_fuse.table import prepare
from automl_fuse.trial import FoldRunner, PluginChoice, TrialData

if TYPE_CHECKING:
    from automl_fuse.specs import LearnerSpec, Params

LEARNERS = (
    "lightgbm", "xgboost", "catboost", "extra_trees", "random_forest", "hist_gradient_boosting",
    "mlp", "linear", "elastic_net", "knn",
)  # fmt: skip
LONGEST = 60.0
"""What is predicted to take longer is left out, and nothing may take longer."""


def data_of(path: Path) -> TrialData:
    """Return a table's training rows as trials see them."""
    target = json.loads((path / "meta.json").read_text(encoding="utf-8"))["target"]
    frame = pd.read_csv(path / "train.csv", parse_dates=list(DATES.get(path.name, ())))
    dataset = prepare(frame, target=target)
    return TrialData(
        columns=infer(dataset.table, {}).convert(dataset.table),
        y=dataset.y,
        weight=None,
        folds=make_folds(dataset.y, dataset.task, 0, folds=5),
        task=dataset.task,
        n_classes=1 if dataset.classes is None else len(dataset.classes),
        seed=0,
    )


def ratio(spec: LearnerSpec, params: Params, data: TrialData) -> float | None:
    """Return measured over predicted seconds; None for what takes too long."""
    shape = Shape(
        n_rows=len(data.folds[0].train),
        n_features=len(data.columns.columns),
        n_classes=data.n_classes,
        task=data.task,
    )
    predicted = spec.cost(shape, params).seconds
    if predicted > LONGEST:
        return None
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        runner = FoldRunner(data, RunDirectory(Path(folder)), PluginChoice(), 1)
        started = time.process_time()
        job = Job(member="m", learner=spec.name, params=params, fold=0, seconds=LONGEST)
        error = runner(job).error
        seconds = time.process_time() - started
    if error:
        raise SystemExit(f"{spec.name} {dict(params)} failed:\n{error}")
    return seconds / predicted


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tables", nargs="+", default=list(compare.TABLES))
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS))
    parser.add_argument("--first", type=int, default=3, help="configurations of each portfolio")
    parser.add_argument("--data", type=Path, default=compare.DATA)
    given = parser.parse_args()
    specs = {name: discover().learners[name] for name in given.learners}
    for module in {module for spec in specs.values() for module in spec.requires}:
        importlib.import_module(module)
    tables = {name: data_of(given.data / name) for name in given.tables}
    lines = []
    for name, spec in specs.items():
        cells, all_ratios = [], []
        for data in tables.values():
            tried = (ratio(spec, entry.params, data) for entry in spec.portfolio[: given.first])
            ratios = [found for found in tried if found is not None]
            all_ratios += ratios
            cells.append(" ".join(f"{found:.2g}" for found in ratios) or "-")
        mean = np.exp(np.mean(np.log(all_ratios))) if all_ratios else np.nan
        lines.append([name, f"**{mean:.2f}**", *cells])
        print(*lines[-1], flush=True)
    print("\n" + report.markdown_table(["learner", "mean", *tables], lines))


if __name__ == "__main__":
    main()
