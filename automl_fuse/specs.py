"""What a plugin returns, what its builders are given, and what they must build.

Specs are frozen, keyword-only dataclasses; the objects that their ``build`` functions return
are described by protocols, so a plugin inherits from nothing. Words are those of
``CONTRIBUTING.md``: learner, member, OOF, portfolio, space, fusion, compressor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

API_VERSION = 1
"""Version of this contract. A spec made for a newer one is refused by name."""

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Params: TypeAlias = Mapping[str, Any]
"""Hyperparameters by name: JSON values only, so that a run can be stored and resumed."""

MISSING_CODE = -1
"""Code of a missing category in typed columns."""
UNSEEN_CODE = -2
"""Code of a category that was not in the training table."""


class Task(StrEnum):
    """What is predicted: one of two classes, one of several, or a number."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"

    @property
    def is_classification(self) -> bool:
        """Whether the target holds classes."""
        return self is not Task.REGRESSION


ALL_TASKS: frozenset[Task] = frozenset(Task)
CLASSIFICATION: frozenset[Task] = frozenset({Task.BINARY, Task.MULTICLASS})
REGRESSION: frozenset[Task] = frozenset({Task.REGRESSION})


class Kind(StrEnum):
    """What a column holds, which decides the encoders that read it."""

    NUMERIC = "numeric"
    CATEGORY = "category"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    SEQUENCE = "sequence"
    ID = "id"
    CONSTANT = "constant"

    @property
    def is_dropped(self) -> bool:
        """Whether no encoder is offered the column: it identifies rows or never varies."""
        return self in {Kind.ID, Kind.CONSTANT}


# --------------------------------------------------------------------------- data


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the schema.

    Attributes
    ----------
    name : str
        Name in the user's table.
    kind : Kind
        What the column holds.
    reason : str
        Why it was taken for that kind, in words for the user.
    categories : tuple of str
        Known categories in code order; empty unless ``kind`` is ``CATEGORY``.
    """

    name: str
    kind: Kind
    reason: str
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Typed columns of one table: what encoders read.

    Attributes
    ----------
    columns : tuple of Column
        Their descriptions, in table order.
    values : mapping of str to array of shape (n_rows,)
        ``NUMERIC`` and ``BOOLEAN``: float64, NaN where missing. ``CATEGORY``: int32 codes into
        ``Column.categories``, ``MISSING_CODE`` or ``UNSEEN_CODE``. ``DATETIME``:
        ``datetime64[us]``, NaT where missing. ``TEXT``: str objects, None where missing. Other
        kinds: objects.
    n_rows : int
        Number of rows, also when there are no columns.
    """

    columns: tuple[Column, ...]
    values: Mapping[str, Array]
    n_rows: int

    def select(self, kinds: frozenset[Kind]) -> Columns:
        """Return only the columns of these kinds, in the same order."""
        chosen = tuple(c for c in self.columns if c.kind in kinds)
        values = {c.name: self.values[c.name] for c in chosen}
        return Columns(columns=chosen, values=values, n_rows=self.n_rows)

    def take(self, rows: NDArray[np.intp]) -> Columns:
        """Return these rows, in the order given."""
        values = {name: column[rows] for name, column in self.values.items()}
        return Columns(columns=self.columns, values=values, n_rows=len(rows))


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Encoded features: what learners read.

    Attributes
    ----------
    values : float64 array of shape (n_rows, n_features)
        NaN marks a missing value where the encoder leaves that to the learner.
    names : tuple of str
        One name a feature, unique.
    cardinalities : tuple of int
        0 for a number; k for a category, whose values are the codes 0 … k-1 (NaN for missing
        or unseen).
    """

    values: Floats
    names: tuple[str, ...]
    cardinalities: tuple[int, ...]

    @property
    def categorical(self) -> tuple[int, ...]:
        """Positions of the features that hold category codes."""
        return tuple(i for i, k in enumerate(self.cardinalities) if k > 0)

    @staticmethod
    def numbers(values: Floats, names: Sequence[str]) -> Matrix:
        """Wrap features that are all numbers."""
        return Matrix(values=values, names=tuple(names), cardinalities=(0,) * len(names))

    @staticmethod
    def concatenate(parts: Sequence[Matrix], n_rows: int) -> Matrix:
        """Put matrices of the same rows side by side."""
        blocks = [part.values for part in parts] or [np.empty((n_rows, 0))]
        values = blocks[0] if len(blocks) == 1 else np.hstack(blocks)
        return Matrix(
            values=np.ascontiguousarray(values, dtype=np.float64),
            names=tuple(name for part in parts for name in part.names),
            cardinalities=tuple(k for part in parts for k in part.cardinalities),
        )


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Encoded rows with their target.

    Attributes
    ----------
    X : Matrix
        Features, of shape (n_rows, n_features).
    y : array of shape (n_rows,)
        Class codes 0 … n_classes-1 (int64), or standardised target values (float64).
    weight : float64 array of shape (n_rows,) or None
        Sample weights, positive, with mean 1.
    """

    X: Matrix
    y: Array
    weight: Floats | None = None


# --------------------------------------------------------------------------- search space


class Suggest(Protocol):
    """Asks the search for hyperparameters; each name must be asked for at most once."""

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Ask for an integer in [low, high]."""

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Ask for a real number in [low, high]."""

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        """Ask for one of the options: each a str, a number, a bool or None."""


Space: TypeAlias = Callable[[Suggest], dict[str, Any]]


def no_space(_suggest: Suggest) -> dict[str, Any]:
    """Return no hyperparameters: the space of a part that has none."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One point of a portfolio.

    Attributes
    ----------
    params : mapping
        A point of the learner's space: it names every parameter that ``space`` asks for.
    merit : float
        Expected worth for the ensemble, 0 … 1. The search tries the configurations of all
        learners in falling order of merit, as far as their predicted cost allows.
    """

    params: Params = field(default_factory=dict)
    merit: float = 0.5


# --------------------------------------------------------------------------- time and cost


class Deadline(Protocol):
    """A moment by which work must be done."""

    def remaining(self) -> float:
        """Return the seconds left, negative when it has passed."""

    def expired(self) -> bool:
        """Return whether the moment has passed."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Size of one fit: what a cost estimate may depend on."""

    n_rows: int
    n_features: int
    n_classes: int
    task: Task


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Predicted cost of fitting one fold with one thread: seconds, bytes of the fitted model."""

    seconds: float
    bytes: float


# --------------------------------------------------------------------------- learners


@dataclass(frozen=True, kw_only=True)
class FitContext:
    """What a learner or an encoder is told about the fit.

    Attributes
    ----------
    task : Task
        What is predicted.
    n_classes : int
        Number of classes in these training rows; 1 for regression. Every class code below it
        occurs: a class absent from a fold is hidden from the learner.
    seed : int
        Seed of every random choice: two fits with the same seed give the same model.
    n_threads : int
        Threads to use, at most.
    deadline : Deadline
        Stop between iterations before it passes, keeping what is fitted so far.
    """

    task: Task
    n_classes: int
    seed: int
    n_threads: int
    deadline: Deadline


@runtime_checkable
class Learner(Protocol):
    """A base model of one fold. It must pickle once fitted."""

    def fit(self, train: Rows, valid: Rows | None) -> None:
        """Fit on ``train``; ``valid`` may be used to stop early, for nothing else."""

    def predict(self, X: Matrix) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1) in regression."""


@dataclass(frozen=True, kw_only=True)
class LearnerSpec:
    """A kind of base model.

    Attributes
    ----------
    name : str
        Lower case, unique over all plugins.
    api_version : int
        ``1``, written out: the contract this plugin was made for.
    tasks : frozenset of Task
        Tasks it can learn.
    encoders : tuple of str, or callable
        Names of the encoders whose features it reads, or a function of its params that gives
        them. Columns of a kind that none of them reads are not seen by this learner.
    build : callable
        Makes an unfitted learner from params; heavy imports belong in here.
    cost : callable
        Predicts the cost of one fold.
    space : callable
        Draws params from a ``Suggest``.
    portfolio : tuple of Configuration
        Configurations tried before any search, best first.
    requires : tuple of str
        Importable modules that must be installed.
    extra : str
        The extra of automl-fuse, or the package, that brings them.
    max_rows : int or None
        Training rows beyond which the learner is not tried.
    """

    name: str
    api_version: int
    tasks: frozenset[Task]
    encoders: tuple[str, ...] | Callable[[Params], tuple[str, ...]]
    build: Callable[[Params, FitContext], Learner]
    cost: Callable[[Shape, Params], Cost]
    space: Space = no_space
    portfolio: tuple[Configuration, ...] = (Configuration(),)
    requires: tuple[str, ...] = ()
    extra: str = ""
    max_rows: int | None = None

    def encoders_for(self, params: Params) -> tuple[str, ...]:
        """Return the names of the encoders that a configuration reads."""
        return self.encoders(params) if callable(self.encoders) else self.encoders


# --------------------------------------------------------------------------- encoders


@runtime_checkable
class Encoder(Protocol):
    """Turns typed columns into features; fitted on the training rows of one fold.

    It must pickle once fitted.
    """

    def fit_transform(self, columns: Columns, y: Array, weight: Floats | None) -> Matrix:
        """Fit, and return the features of the training rows.

        An encoder that reads ``y`` must return out-of-fold features here, so that no row's
        features were made from its own target.
        """

    def transform(self, columns: Columns) -> Matrix:
        """Return the features of other rows: the same names, in the same order."""


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """A way to turn columns of some kinds into features.

    Attributes
    ----------
    name : str
        Lower case, unique over all plugins.
    api_version : int
        ``1``, written out.
    kinds : frozenset of Kind
        Kinds of column it reads, all of them together.
    build : callable
        Makes an unfitted encoder.
    requires, extra
        As for ``LearnerSpec``.
    """

    name: str
    api_version: int
    kinds: frozenset[Kind]
    build: Callable[[FitContext], Encoder]
    requires: tuple[str, ...] = ()
    extra: str = ""


# --------------------------------------------------------------------------- metrics

Prediction: TypeAlias = Literal["label", "probability", "value"]


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A measure of quality.

    Attributes
    ----------
    name : str
        Lower case, unique over all plugins.
    api_version : int
        ``1``, written out.
    tasks : frozenset of Task
        Tasks it fits.
    needs : {"label", "probability", "value"}
        What ``score`` is given as prediction: class codes (n_rows,), probabilities
        (n_rows, n_classes), or values (n_rows,).
    greater_is_better : bool
        Direction.
    score : callable
        ``score(y, prediction, weight)``, with class codes or values (n_rows,), and weights
        (n_rows,) or None.
    """

    name: str
    api_version: int
    tasks: frozenset[Task]
    needs: Prediction
    greater_is_better: bool
    score: Callable[[Array, Array, Floats | None], float]
    requires: tuple[str, ...] = ()
    extra: str = ""


# --------------------------------------------------------------------------- fusion

Loss: TypeAlias = Callable[[Array, Floats, Floats | None], float]
"""``loss(y, prediction, weight)`` of (n_rows, n_outputs) predictions: lower is better."""


@dataclass(frozen=True, kw_only=True)
class FusionContext:
    """What a fusion or a compressor is told: task, classes (1 in regression), objective, seed."""

    task: Task
    n_classes: int
    loss: Loss
    seed: int
    deadline: Deadline


@runtime_checkable
class Fusion(Protocol):
    """A rule that combines members. It must pickle once fitted."""

    @property
    def weights(self) -> Floats:
        """Share of each member, (n_members,), sum 1; 0 means that it is not needed."""

    def fit(self, oof: Floats, y: Array, weight: Floats | None) -> None:
        """Choose the weights from OOF predictions (n_members, n_rows, n_outputs)."""

    def combine(self, predictions: Floats) -> Floats:
        """Return (n_rows, n_outputs) from member predictions (n_members, n_rows, n_outputs).

        Called with exactly the members that ``fit`` saw, in the same order. Probabilities
        must be in [0, 1], with sum 1 in each row.
        """


@dataclass(frozen=True, kw_only=True)
class FusionSpec:
    """A kind of fusion.

    Attributes
    ----------
    name : str
        Lower case, unique over all plugins.
    api_version : int
        ``1``, written out.
    tasks : frozenset of Task
        Tasks it fits.
    build : callable
        Makes an unfitted fusion from params.
    space, portfolio
        As for ``LearnerSpec``; merit orders the methods when time is short.
    min_rows : int
        Rows below which it is not tried, because it would overfit.
    """

    name: str
    api_version: int
    tasks: frozenset[Task]
    build: Callable[[Params, FusionContext], Fusion]
    space: Space = no_space
    portfolio: tuple[Configuration, ...] = (Configuration(),)
    min_rows: int = 0
    requires: tuple[str, ...] = ()
    extra: str = ""


# --------------------------------------------------------------------------- compression


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A fused pipeline seen by a compressor.

    Attributes
    ----------
    oof : array of shape (n_members, n_rows, n_outputs)
        Out-of-fold predictions of its members.
    y, weight
        Target and sample weights, (n_rows,).
    shares : array of shape (n_members,)
        Weight of each member in the fusion.
    bytes, seconds : array of shape (n_members,)
        Size of each member, and its time to predict one row.
    """

    oof: Floats
    y: Array
    weight: Floats | None
    shares: Floats
    bytes: Floats
    seconds: Floats


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A smaller pipeline that a compressor proposes: the positions of the members it keeps."""

    name: str
    members: tuple[int, ...]


@runtime_checkable
class Compressor(Protocol):
    """Proposes smaller pipelines; the engine scores each on rows that did not choose it."""

    def propose(self, teacher: Teacher) -> Sequence[Candidate]:
        """Return candidates, most promising first."""


@dataclass(frozen=True, kw_only=True)
class CompressorSpec:
    """A way to make a pipeline smaller or faster; fields as for ``FusionSpec``."""

    name: str
    api_version: int
    tasks: frozenset[Task]
    build: Callable[[Params, FusionContext], Compressor]
    portfolio: tuple[Configuration, ...] = (Configuration(),)
    requires: tuple[str, ...] = ()
    extra: str = ""


# --------------------------------------------------------------------------- execution


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
        Position of the fold.
    seconds : float
        Time after which an unfinished fit should stop, keeping what it has.
    """

    member: str
    learner: str
    params: Params
    fold: int
    seconds: float


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


# --------------------------------------------------------------------------- observers


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


Spec: TypeAlias = (
    LearnerSpec
    | EncoderSpec
    | MetricSpec
    | FusionSpec
    | CompressorSpec
    | ExecutorSpec
    | ObserverSpec
)


# --------------------------------------------------------------------------- settings


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every option of a run beside the data, the objective and the time limit.

    Attributes
    ----------
    task : {"binary", "multiclass", "classification", "regression"}, optional
        Inferred from the target if not given.
    kinds : mapping of str to str
        Kinds of columns, by name, that the inference got wrong.
    folds : int or scikit-learn splitter, optional
        Number of folds, or any object with ``split(X, y, groups)``. Chosen by size if absent.
    time_column : str, optional
        Column that orders the rows: every fold is then validated on later rows than it was
        trained on.
    learners, fusions : tuple of str, optional
        Only these, instead of all that are installed.
    plugins : tuple of str
        Importable plugin modules that have no entry point.
    block_plugins : tuple of str
        Plugins to leave out; the variable ``AUTOML_FUSE_BLOCK`` (comma-separated) adds to it.
    require_plugins : tuple of str
        Plugins whose failure ends the run.
    max_trials : int, optional
        Members to try, at most.
    seed : int
        Seed of every random choice.
    output : str, optional
        Run directory to keep. A temporary one is used, and removed, if absent.
    executor : str
        ``"processes"``, ``"inline"``, or the name of an executor plugin.
    workers : int, optional
        Worker processes; as many as there are cores if absent.
    progress : bool, optional
        Whether to show the progress line; if absent, only on a terminal.
    """

    task: Literal["binary", "multiclass", "classification", "regression"] | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    folds: Any = None
    time_column: str | None = None
    learners: tuple[str, ...] | None = None
    fusions: tuple[str, ...] | None = None
    plugins: tuple[str, ...] = ()
    block_plugins: tuple[str, ...] = ()
    require_plugins: tuple[str, ...] = ()
    max_trials: int | None = None
    seed: int = 0
    output: str | None = None
    executor: str = "processes"
    workers: int | None = None
    progress: bool | None = None
