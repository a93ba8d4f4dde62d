"""Executors and observers: where trials run, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from automl_fuse.specs.clusters import Cluster
    from automl_fuse.specs.fusing import Edit, Joint, Student
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
    edit : Edit, Joint or None
        What is done, in place of fitting, to the fold model of the member ``source``, or made of
        it and of those of ``others``.
    source : str
        Name of that member.
    others : tuple of str
        Names of members whose fold models are given as well.
    max_rows : int or None
        Of a fold with more training rows, a sample of about so many is encoded and fitted to,
        the same for every member; validation rows are all predicted. An edit reads those of its
        source, whatever it says, and so does a joint model.
    beside : tuple of Job
        Folds of this member, and of others of its learner, that are fitted at the same time. They
        have the time of this job, and no others beside them.
    """

    member: str
    learner: str
    params: Params
    fold: int
    seconds: float
    student: Student | None = None
    edit: Edit | Joint | None = None
    source: str = ""
    others: tuple[str, ...] = ()
    max_rows: int | None = None
    beside: tuple[Job, ...] = ()

    @property
    def each(self) -> tuple[Job, ...]:
        """The job without those beside it, and these."""
        return (replace(self, beside=()), *self.beside) if self.beside else (self,)


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
    n_rows : int
        Training rows of the fold, or of the sample of them that was asked for; 0 after a failure.
    error : str
        Traceback, empty on success.
    lost : bool
        Whether it failed because the machine that it ran on was lost, which says nothing about
        its learner.
    notes : tuple of str
        What the user should know of a job that went well: the report shows it.
    beside : tuple of JobResult
        Of ``Job.beside``, in that order; empty where there are none, or where the job failed as a
        whole.
    """

    job: Job
    predictions: Floats | None
    fit_seconds: float
    predict_seconds: float
    bytes: int
    n_features: int = 0
    n_rows: int = 0
    error: str = ""
    lost: bool = False
    notes: tuple[str, ...] = ()
    beside: tuple[JobResult, ...] = ()

    @property
    def each(self) -> tuple[JobResult, ...]:
        """A result for each of ``Job.each``: all have failed if the job has as a whole."""
        first, *others = self.job.each
        if not others:
            return (self,)
        results = self.beside or [self._failed] * len(others)
        rest = (replace(result, job=job) for job, result in zip(others, results, strict=True))
        return (replace(self, job=first, beside=()), *rest)

    @property
    def _failed(self) -> JobResult:
        """What became of a job beside this one, where this one has no results of them."""
        return JobResult(
            job=self.job,
            predictions=None,
            fit_seconds=0.0,
            predict_seconds=0.0,
            bytes=0,
            error=self.error,
            lost=self.lost,
        )


Runner: TypeAlias = Callable[[Job], JobResult]


@dataclass(frozen=True, kw_only=True)
class Errand:
    """A job for a machine that cannot reach the run directory.

    Attributes
    ----------
    job : Job
        What to run.
    reads : tuple of str
        Files of the run directory that it reads.
    known : tuple of str
        Files that the run directory has: they are sent back by name alone.
    expects : tuple of str
        Files that the job must have made as well: those behind a model that it edits.
    spread_rows : int
        Training rows of the job, if its learner can use several machines: see
        ``RemoteRunner.run``; 0 if it cannot.
    """

    job: Job
    reads: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    expects: tuple[str, ...] = ()
    spread_rows: int = 0


class RemoteRunner(Protocol):
    """A runner for machines that cannot reach the run directory: files travel as bytes.

    It is picklable, and large: it holds the training data. Send it to each machine once. Names
    of files are relative to the run directory, with ``/`` between; a file never changes.
    """

    def errand(self, job: Job) -> Errand:
        """Return what to send for a job; called where the run directory is."""

    def content(self, name: str) -> bytes:
        """Return a file of ``Errand.reads``; called where the run directory is."""

    def prepare(self) -> None:
        """Import what jobs will need, so that the first is not late; called in a worker."""

    def run(
        self, errand: Errand, fetch: Callable[[str], bytes], cluster: Cluster | None = None
    ) -> tuple[JobResult, Mapping[str, bytes]]:
        """Run a job anywhere; return its result, and the files that it wrote.

        ``fetch`` gives the content of each of ``errand.reads`` that this process has not had.
        ``cluster`` is what a job with ``Errand.spread_rows`` may use.
        """

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Write files that came back into the run directory.

        Raises
        ------
        RunError
            If one cannot be written.
        """


@dataclass(frozen=True, kw_only=True)
class ExecutorContext:
    """What an executor is given.

    Attributes
    ----------
    runner : callable
        Runs a job; picklable. It reads and writes files of the run directory.
    n_workers, n_threads : int
        Jobs that may run at once, and threads of each.
    remote : RemoteRunner or None
        In place of ``runner``, for machines that cannot reach the run directory.
    options : mapping
        ``Settings.executor_options``.
    memory_limit : int or None
        Bytes that this process and all workers together may hold: the executor sees to it.
    """

    runner: Runner
    n_workers: int
    n_threads: int
    remote: RemoteRunner | None = None
    options: Params = field(default_factory=dict)
    memory_limit: int | None = None


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
    """A place where trials run.

    Attributes
    ----------
    name : str
        What ``Settings.executor`` says.
    api_version : int
        ``API_VERSION`` that it was made for.
    build : callable
        ``build(context)`` returns an executor that is ready.
    spreads_from : callable or None
        ``spreads_from(options)`` returns the training rows from which a single fit may use several
        machines: see ``FitContext.cluster``. None if this executor never offers that.
    cores : callable or None
        ``cores(options)``, given ``Settings.executor_options``, returns how many cores there are:
        by default as many workers are used. None for those of this machine.
    requires : tuple of str
        Modules that must be importable.
    extra : str
        Extra, or requirement, that installs them.
    """

    name: str
    api_version: int
    build: Callable[[ExecutorContext], Executor]
    cores: Callable[[Params], int] | None = None
    spreads_from: Callable[[Params], int] | None = None
    requires: tuple[str, ...] = ()
    extra: str = ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a run.

    Attributes
    ----------
    name : str
        ``run_started``, ``stage_started``, ``trial_started``, ``trial_finished``,
        ``trial_failed``, ``trial_stopped``, ``search_ended``, ``fused``, ``compressed``,
        ``run_finished`` or ``run_failed``.
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
