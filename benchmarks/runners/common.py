"""What every runner shares: reading a table, timing, scoring, one line of JSON as result.

A runner fits one system on one table in a process of its own. Nothing here imports a system, or
a library that a system would otherwise have to import within its measured time.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib.metadata
import json
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Floats: TypeAlias = NDArray[np.float64]

DATES = {"bikeshare": ("datetime",)}
"""Columns read as timestamps; all systems are given them so. CSV files do not say."""

BATCH_ROWS = 10_000
WARM_UPS = 3
FEWEST_CALLS = 5
ENOUGH_CALLS = 30
MOST_CALLS = 200


@dataclass(frozen=True, kw_only=True)
class Job:
    """One fit: what a runner is given.

    Attributes
    ----------
    train : DataFrame
        Training rows with the target column, as read from the file.
    target, task, metric : str
        From the table's ``meta.json``; the task is ``binary``, ``multiclass`` or
        ``regression``, the metric ``roc_auc``, ``log_loss`` or ``rmse``.
    time_limit : float
        Seconds that the fit may take.
    seed, cores : int
        Seed of the system's random choices; cores that it may use.
    scratch : Path
        An empty folder for what the system writes.
    options : mapping of str to str
        Settings of the runner, such as AutoGluon's preset.
    """

    train: pd.DataFrame
    target: str
    task: str
    metric: str
    time_limit: float
    seed: int
    cores: int
    scratch: Path
    options: Mapping[str, str]

    @property
    def features(self) -> pd.DataFrame:
        """Training rows without the target column."""
        return self.train.drop(columns=self.target)

    @property
    def labels(self) -> pd.Series[Any]:
        """The target column."""
        return self.train[self.target]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a runner's fit returns.

    Attributes
    ----------
    predict : callable
        From raw rows without target to values (n_rows,) in regression, else probabilities
        (n_rows, n_classes).
    classes : list or None
        Labels in the order of those columns; None in regression.
    save : callable
        Writes all that is needed to predict into an empty folder given, and nothing else.
    load : callable or None
        Loads the models into memory, for a system that else reads them at each call; run once
        after the fit, outside every clock.
    extra : mapping
        What else is worth recording: JSON values.
    """

    predict: Callable[[pd.DataFrame], Any]
    classes: list[Any] | None
    save: Callable[[Path], None]
    load: Callable[[], object] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def main(fit: Callable[[Job], Fitted], packages: tuple[str, ...]) -> None:
    """Run one job from the command line and write its result.

    Parameters
    ----------
    fit : callable
        Fits the system; its duration is the measured wall time.
    packages : tuple of str
        Distributions whose versions are recorded.
    """
    arguments = read_arguments()
    job = read_job(arguments)
    profiler = cProfile.Profile() if arguments.cprofile else None
    start = time.perf_counter()
    fitted = profiler.runcall(fit, job) if profiler else fit(job)
    fit_seconds = time.perf_counter() - start
    if profiler:
        profiler.dump_stats(arguments.cprofile)
    features, truth = read_test(arguments, job)
    extra = dict(fitted.extra)
    if fitted.load:
        extra["one_row_unloaded_ms"] = one_row_ms(fitted.predict, features)
        fitted.load()
    prediction = np.asarray(fitted.predict(features), dtype=np.float64)
    result = {
        "fit_seconds": fit_seconds,
        "scores": scores(truth, prediction, fitted.classes),
        "one_row_ms": one_row_ms(fitted.predict, features),
        "batch_seconds": batch_seconds(fitted.predict, features),
        "bytes": _saved_bytes(fitted.save, arguments.scratch / "saved"),
        "own_peak_rss_bytes": peak_rss_bytes(),
        "versions": versions(packages),
        "extra": extra,
    }
    arguments.output.write_text(json.dumps(result))


def read_arguments() -> argparse.Namespace:
    """Read the command line that ``compare.py`` writes, and keep to the cores that it gives."""
    parser = argparse.ArgumentParser(description="fit one system on one table")
    parser.add_argument("--data", type=Path, required=True, help="folder of the table")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--scratch", type=Path, required=True, help="an empty folder")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--cprofile", type=Path, help="write a profile of the fit here")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    _keep_to_cores(arguments.cores)
    return arguments


def read_job(arguments: argparse.Namespace) -> Job:
    """Read what is to be fitted, training rows included."""
    meta = json.loads((arguments.data / "meta.json").read_text())
    return Job(
        train=_read(arguments.data / "train.csv"),
        target=meta["target"],
        task=meta["task"],
        metric=meta["metric"],
        time_limit=arguments.time_limit,
        seed=arguments.seed,
        cores=arguments.cores,
        scratch=arguments.scratch,
        options=dict(option.split("=", 1) for option in arguments.option),
    )


def read_test(arguments: argparse.Namespace, job: Job) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Read the test rows without their target, and the target."""
    test = _read(arguments.data / "test.csv")
    return test.drop(columns=job.target), test[job.target].to_numpy()


def _read(path: Path) -> pd.DataFrame:
    """Read a table, its timestamps as such."""
    return pd.read_csv(path, parse_dates=list(DATES.get(path.parent.name, ())))


def _keep_to_cores(cores: int) -> None:
    """Keep this process, and those that it starts, to so many cores where Linux allows it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def scores(truth: NDArray[Any], prediction: Floats, classes: list[Any] | None) -> dict[str, float]:
    """Score predictions of the test rows.

    Parameters
    ----------
    truth : array of shape (n_rows,)
        Labels or values.
    prediction : float64 array of shape (n_rows, n_classes) or (n_rows,)
        Probabilities or values.
    classes : list or None
        Labels in the order of the probability columns; None in regression.

    Returns
    -------
    dict
        ``rmse``; or ``accuracy`` and ``log_loss``, and ``roc_auc`` of two classes.

    Raises
    ------
    ValueError
        If a prediction is not finite, or its shape is not that of the table.
    """
    if not np.isfinite(prediction).all():
        raise ValueError("the system predicted values that are not finite")
    if classes is None:
        if prediction.shape != truth.shape:
            raise ValueError(f"predictions of shape {prediction.shape}, expected {truth.shape}")
        return {"rmse": float(np.sqrt(np.mean((truth - prediction) ** 2)))}
    if prediction.shape != (len(truth), len(classes)):
        raise ValueError(
            f"probabilities of shape {prediction.shape}, expected {(len(truth), len(classes))}"
        )
    return _class_scores(truth, prediction, classes)


def _class_scores(
    truth: NDArray[Any], probabilities: Floats, classes: list[Any]
) -> dict[str, float]:
    """Score probabilities; a label that is not among the classes counts as probability 0."""
    position = {label: column for column, label in enumerate(classes)}
    codes = np.array([position.get(label, -1) for label in truth.tolist()])
    shares = probabilities / probabilities.sum(axis=1, keepdims=True)
    own = np.where(codes >= 0, shares[np.arange(len(codes)), codes], 0.0)
    result = {
        "accuracy": float(np.mean(shares.argmax(axis=1) == codes)),
        "log_loss": float(-np.mean(np.log(np.clip(own, 1e-15, 1.0)))),
    }
    if len(classes) == 2:
        from sklearn.metrics import roc_auc_score

        result["roc_auc"] = float(roc_auc_score(codes == 1, shares[:, 1]))
    return result


def one_row_ms(predict: Callable[[pd.DataFrame], Any], rows: pd.DataFrame) -> float:
    """Return the median milliseconds of single-row calls, after warm-up.

    Slow systems are called less often: until 15 s have passed, but five times at least.
    """
    singles = [rows.iloc[[i % len(rows)]] for i in range(WARM_UPS + MOST_CALLS)]
    for single in singles[:WARM_UPS]:
        predict(single)
    durations: list[float] = []
    begin = time.perf_counter()
    for single in singles[WARM_UPS:]:
        start = time.perf_counter()
        predict(single)
        durations.append(time.perf_counter() - start)
        spent = time.perf_counter() - begin
        if (len(durations) >= ENOUGH_CALLS and spent > 3) or (
            len(durations) >= FEWEST_CALLS and spent > 15
        ):
            break
    return float(np.median(durations)) * 1e3


def batch_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return 10,000 rows drawn from the test rows."""
    drawn = np.random.default_rng(0).choice(len(rows), BATCH_ROWS, replace=len(rows) < BATCH_ROWS)
    return rows.iloc[drawn].reset_index(drop=True)


def batch_seconds(predict: Callable[[pd.DataFrame], Any], rows: pd.DataFrame) -> float:
    """Return the median seconds of three calls on 10,000 rows drawn from the test rows."""
    batch = batch_of(rows)
    durations = []
    for _ in range(3):
        start = time.perf_counter()
        predict(batch)
        durations.append(time.perf_counter() - start)
    return float(np.median(durations))


def _saved_bytes(save: Callable[[Path], None], folder: Path) -> int:
    """Save what is needed to predict; return its bytes on disk."""
    folder.mkdir(parents=True)
    save(folder)
    return folder_bytes(folder)


def folder_bytes(folder: Path) -> int:
    """Return the sum of the sizes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the installed versions of distributions."""
    return {name: importlib.metadata.version(name) for name in packages}


def peak_rss_bytes() -> int:
    """Return the peak resident memory of this process alone."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
