"""The conformance suites of executors and observers."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import Event, ExecutorContext, Job, JobResult
from automl_fuse.testing._base import Check, checks_of, require, run_all, sound_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automl_fuse.specs import Executor, ExecutorSpec, ObserverSpec

_PATIENCE = 60
"""Calls of ``collect``, of a second each at most, before a result counts as lost."""


def sample_runner(job: Job) -> JobResult:
    """Run a job that predicts its fold's number, or raises if its params say so."""
    if job.params.get("fails"):
        raise RuntimeError(f"member {job.member} fails on request")
    return JobResult(
        job=job,
        predictions=np.full((2, 1), float(job.fold)),
        fit_seconds=0.0,
        predict_seconds=0.0,
        bytes=0,
    )


def sample_job(fold: int, *, fails: bool = False) -> Job:
    """Make a job for ``sample_runner``."""
    params = {"fails": True} if fails else {}
    return Job(member=f"m{fold}", learner="sample", params=params, fold=fold, seconds=60.0)


def _started(spec: ExecutorSpec, n_workers: int = 1) -> Executor:
    context = ExecutorContext(runner=sample_runner, n_workers=n_workers, n_threads=1)
    return spec.build(context)


def _results(executor: Executor, n_results: int) -> list[JobResult]:
    results: list[JobResult] = []
    for _ in range(_PATIENCE):
        if len(results) >= n_results:
            break
        results += executor.collect(1.0)
    require(len(results) == n_results, f"{len(results)} results for {n_results} jobs")
    return results


def runs_jobs(spec: ExecutorSpec) -> None:
    """Require that every job gives one result, its own."""
    executor = _started(spec, n_workers=2)
    try:
        require(executor.idle >= 1, f"{executor.idle} jobs would start at once in a new executor")
        for fold in range(4):
            executor.submit(sample_job(fold))
        results = sorted(_results(executor, 4), key=lambda result: result.job.fold)
    finally:
        executor.close()
    for fold, result in enumerate(results):
        require(result.job == sample_job(fold), f"job {result.job} came back for fold {fold}")
        own = result.predictions is not None and (result.predictions == fold).all()
        require(own, f"fold {fold} gave {result.predictions}, error {result.error!r}")


def isolates_failures(spec: ExecutorSpec) -> None:
    """Require that a job that raises gives a result with the error, and the next one runs."""
    executor = _started(spec)
    try:
        executor.submit(sample_job(0, fails=True))
        failed = _results(executor, 1)[0]
        executor.submit(sample_job(1))
        fine = _results(executor, 1)[0]
    finally:
        executor.close()
    require(failed.predictions is None, "a job that raised gave predictions")
    require("fails on request" in failed.error, f"the error is {failed.error!r}")
    require(not fine.error, f"after a failure the next job failed: {fine.error!r}")


def gives_nothing_for_nothing(spec: ExecutorSpec) -> None:
    """Require that collecting without a job returns at once, with no result."""
    executor = _started(spec)
    try:
        require(not list(executor.collect(0.0)), "there is a result, and there was no job")
    finally:
        executor.close()


def cancels(spec: ExecutorSpec) -> None:
    """Require that a cancelled job gives no result, and the executor runs the next one."""
    executor = _started(spec)
    try:
        executor.submit(sample_job(0))
        executor.cancel(sample_job(0))
        executor.submit(sample_job(1))
        result = _results(executor, 1)[0]
    finally:
        executor.close()
    require(result.job.fold == 1, "the cancelled job gave a result")


def closes_twice(spec: ExecutorSpec) -> None:
    """Require that it can be closed with a job inside, and again."""
    executor = _started(spec)
    executor.submit(sample_job(0))
    executor.close()
    executor.close()


_EXECUTOR_RULES = (runs_jobs, isolates_failures, gives_nothing_for_nothing, cancels, closes_twice)


def executor_checks(spec: ExecutorSpec) -> list[Check]:
    """Return the checks of an executor."""
    rules = checks_of(_EXECUTOR_RULES, spec, kind="executor", spec=spec.name, label="")
    return [sound_spec(spec, "executor"), *rules]


def check_executor(spec: ExecutorSpec) -> None:
    """Apply every check of an executor; raise ``AssertionError`` listing all that are broken."""
    run_all(executor_checks(spec))


# --------------------------------------------------------------------------- observers

_STARTED = {
    "started": "2026-01-31T12:00:00+00:00",
    "time_limit": 60.0,
    "task": "binary",
    "metric": "log_loss",
    "greater_is_better": False,
    "rows": 1000,
    "columns": 12,
    "folds": 5,
    "learners": ["sample"],
}
_FINISHED = {
    "member": "sample-0",
    "learner": "sample",
    "loss": 0.5,
    "ensemble_loss": 0.4,
    "fit_seconds": 0.1,
    "predict_seconds": 0.01,
    "bytes": 2000,
    "params": {"depth": 3},
}
SAMPLE_EVENTS = (
    Event(name="run_started", seconds=0.0, details=_STARTED),
    Event(name="trial_started", seconds=0.1, details={"member": "sample-0", "learner": "sample"}),
    Event(name="trial_finished", seconds=0.2, details=_FINISHED),
    Event(name="trial_failed", seconds=0.3, details={"member": "sample-1", "error": "KeyError"}),
    Event(name="trial_stopped", seconds=0.4, details={"member": "sample-2", "folds": 2}),
    Event(name="search_ended", seconds=0.4, details={"gainless_seconds": 0.1}),
    Event(name="stage_started", seconds=0.4, details={"stage": "fuse"}),
    Event(name="fused", seconds=0.5, details={"fusion": "average", "loss": 0.4}),
    Event(name="compressed", seconds=0.5, details={"made": ["sample-0 refitted"]}),
    Event(name="run_finished", seconds=0.6, details={"score": 0.4, "interrupted": False}),
)
"""One event of each name, ``run_failed`` aside, with the details that ``docs/plugins.md`` lists."""
_FAILED = Event(name="run_failed", seconds=0.6, details={"error": "no rows", "kind": "DataError"})


def _events() -> Iterator[Event]:
    yield from SAMPLE_EVENTS
    yield _FAILED
    yield Event(name="of_a_later_version", seconds=2.0, details={"anything": [1, None]})


def accepts_every_event(spec: ObserverSpec) -> None:
    """Require that events of every name are accepted, those of a later version included."""
    with tempfile.TemporaryDirectory() as folder:
        observer = spec.build(folder)
        for event in _events():
            observer.notify(event)


def serves_two_runs(spec: ObserverSpec) -> None:
    """Require that observers of two runs can live side by side."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        observers = [spec.build(one), spec.build(two)]
        for event in SAMPLE_EVENTS:
            for observer in observers:
                observer.notify(event)


def observer_checks(spec: ObserverSpec) -> list[Check]:
    """Return the checks of an observer."""
    rules = (accepts_every_event, serves_two_runs)
    checks = checks_of(rules, spec, kind="observer", spec=spec.name, label="")
    return [sound_spec(spec, "observer"), *checks]


def check_observer(spec: ObserverSpec) -> None:
    """Apply every check of an observer; raise ``AssertionError`` listing all that are broken."""
    run_all(observer_checks(spec))
