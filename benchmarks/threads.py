"""Whether two fits are faster side by side, in one thread each, or in turn, in two threads.

    python benchmarks/threads.py --rows 5000 20000 50000 150000 --learners lightgbm extra_trees

fits the first configuration of each learner's portfolio to one fold of a table of 30 columns, twice
side by side in two processes, and twice in turn in one. It prints the seconds of the latter by
those of the former, which stand in brackets: above 1, workers are faster than threads.
Encoders are fitted beforehand, by a fit that is not counted, so that only the learner is compared.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import growth
import report
from threadpoolctl import threadpool_limits

from automl_fuse.folds import make_folds
from automl_fuse.host import discover
from automl_fuse.run import RunDirectory
from automl_fuse.schema import infer
from automl_fuse.specs import Job
from automl_fuse.table import prepare
from automl_fuse.trial import FoldRunner, PluginChoice, TrialData

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

LEARNERS = ("lightgbm", "xgboost", "catboost", "extra_trees", "hist_gradient_boosting", "mlp")
ROWS = (5_000, 20_000, 50_000, 150_000)
LONGEST = 600.0
"""Seconds of a fit, at most."""
FITS, THREADS = 2, 2


def data_of(n_rows: int) -> TrialData:
    """Return a table as trials see it."""
    frame, _ = growth.make_table(n_rows, 0)
    dataset = prepare(frame, target="target")
    return TrialData(
        columns=infer(dataset.table, {}).convert(dataset.table),
        y=dataset.y,
        weight=None,
        folds=make_folds(dataset.y, dataset.task, 0, folds=5),
        task=dataset.task,
        n_classes=2,
        seed=0,
    )


def fit(
    learner: str, n_rows: int, n_threads: int, n_fits: int, start: Barrier
) -> tuple[float, float]:
    """Return when the first of so many fits began and the last ended."""
    spec = discover().learners[learner]
    for module in spec.requires:
        importlib.import_module(module)
    data = data_of(n_rows)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(n_threads):
        runner = FoldRunner(data, RunDirectory(Path(folder)), PluginChoice(), n_threads)
        jobs = [
            Job(
                member=f"m{number}",
                learner=learner,
                params=spec.portfolio[0].params,
                fold=0,
                seconds=LONGEST,
            )
            for number in range(n_fits + 1)
        ]
        _done(runner, jobs[0])
        start.wait()
        began = time.monotonic()
        for job in jobs[1:]:
            _done(runner, job)
        return began, time.monotonic()


def _done(runner: FoldRunner, job: Job) -> None:
    error = runner(job).error
    if error:
        raise SystemExit(f"{job.learner} failed:\n{error}")


def seconds(learner: str, n_rows: int, n_workers: int) -> float:
    """Return the seconds of all fits by one or two processes, which have two threads together."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(n_workers) as pool:
        start = manager.Barrier(n_workers)
        given = (learner, n_rows, THREADS // n_workers, FITS // n_workers, start)
        spans = pool.starmap(fit, [given] * n_workers)
    return max(end for _, end in spans) - min(begin for begin, _ in spans)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", nargs="+", type=int, default=list(ROWS))
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS))
    given = parser.parse_args()
    lines = []
    for learner in given.learners:
        cells = []
        for n_rows in given.rows:
            together, in_turn = seconds(learner, n_rows, 2), seconds(learner, n_rows, 1)
            cells.append(f"{in_turn / together:.2f} ({together:.1f} s)")
        lines.append([learner, *cells])
        print(*lines[-1], flush=True)
    print("\n" + report.markdown_table(["learner", *(f"{n:,} rows" for n in given.rows)], lines))


if __name__ == "__main__":
    main()
