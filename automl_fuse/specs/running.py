"""Executors and observers: where trials run, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from automl_fuse.specs.fusing import Edit, Student
    from automl_fuse.specs.words import Floats, Params

ALL_ROWS: Final = -1
"""Fold number of a fit on all rows, which leaves none to predict."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One fold of one member, ready to run anywhere.

    Attributes
    ----------
    member : str
        Identifier of the member in its run.
    learner : str
        Name of the learner.
    params : mapping
        Its hyperparameters.
    fold : int
        Position of the fold, or ``ALL_ROWS``.
    seconds : float
        Time after which an unfinished fit should stop, keeping what it has.
    student : Student or None
        How the training rows are labelled, if the member is a student.
    edit : Edit or None
        What is done, in place of fitting, to the fold model of the member ``source``.
    source : str
        Name of that member.
    """

    member: str
    learner: str
    params: Params
    fold: int
    seconds: float
    student: Student | None = None
    edit: Edit | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What became of a job: predictions of its fold's validation rows, or an error.

    Attributes
    ----------
    job : Job
        What was asked.
    predictions : array of shape (n_valid, n_outputs), or None after a failure
        Out-of-fold predictions.
    fit_seconds, predict_seconds : float
        Wall time of fitting, encoders included, and of predicting the validation rows.
    bytes : int
        Size of the fitted fold model in the run directory.
    n_features : int
        Features that the learner read.
    error : str
        Traceback, empty on success.
    """

    job: Job
    predictions: Floats | None
    fit_seconds: float
    predict_seconds: float
    bytes: int
    n_features: int = 0
    error: str = ""


Runner: TypeAlias = Callable[[Job], JobResult]


@dataclass(frozen=True, kw_only=True)
class ExecutorContext:
    """What an executor is given: a picklable ``runner``, workers to use, threads of each."""

    runner: Runner
    n_workers: int
    n_threads: int


class Executor(Protocol):
    """Runs jobs somewhere."""

    @property
    def idle(self) -> int:
        """Number of jobs that would start at once if submitted now."""

    def submit(self, job: Job) -> None:
        """Start a job, or queue it."""

    def collect(self, timeout: float) -> Sequence[JobResult]:
        """Wait up to ``timeout`` seconds for results, and return those that are there."""

    def cancel(self, job: Job) -> None:
        """Stop a job at once; it gives no result."""

    def close(self) -> None:
        """Stop everything and free all resources; may be called twice."""


@dataclass(frozen=True, kw_only=True)
class ExecutorSpec:
    """A place where trials run."""

    name: str
    api_version: int
    build: Callable[[ExecutorContext], Executor]
    requires: tuple[str, ...] = ()
    extra: str = ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a run.

    Attributes
    ----------
    name : str
        ``run_started``, ``trial_started``, ``trial_finished``, ``trial_failed``,
        ``trial_stopped``, ``fused`` or ``run_finished``.
    seconds : float
        Since the run began.
    details : mapping
        JSON values; ``docs/plugins.md`` lists those of each event.
    """

    name: str
    seconds: float
    details: Params


class Observer(Protocol):
    """Is told what happens: progress lines, logs, experiment trackers."""

    def notify(self, event: Event) -> None:
        """Take note of an event; an exception silences this observer, and is reported."""


@dataclass(frozen=True, kw_only=True)
class ObserverSpec:
    """A kind of observer; ``build`` is given the run directory as text."""

    name: str
    api_version: int
    build: Callable[[str], Observer]
    requires: tuple[str, ...] = ()
    extra: str = ""
