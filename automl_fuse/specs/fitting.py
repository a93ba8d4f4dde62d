"""Learners and encoders: what is fitted in each fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from automl_fuse.specs.space import Configuration, Space, no_space

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automl_fuse.specs.clusters import Cluster
    from automl_fuse.specs.tables import Column, Columns, Matrix, Rows
    from automl_fuse.specs.words import Array, Floats, Kind, Params, Task


class Deadline(Protocol):
    """A moment by which work must be done."""

    def remaining(self) -> float:
        """Return the seconds left, negative when it has passed."""

    def expired(self) -> bool:
        """Return whether the moment has passed."""


@dataclass(frozen=True, kw_only=True)
class CellSize:
    """Size of a usual cell of a column that is not a number.

    Attributes
    ----------
    kind : Kind
        What the column holds.
    shape : tuple of int
        ``IMAGE``: height, width, channels. ``AUDIO``: samples, and samples per second.
        ``SEQUENCE``: steps, channels. ``TEXT``: characters. Medians, each of its own.
    """

    kind: Kind
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Size of one fit: what a cost estimate may depend on.

    Attributes
    ----------
    n_rows : int
        Training rows.
    n_features : int
        Columns of the table; one image is one.
    n_classes : int
        Classes; 1 in regression.
    task : Task
        What is predicted.
    n_dense : int
        Features that dense encoders make of numbers, times and categories, about: each frequent
        category has one of its own. ``n_features`` if less.
    cells : tuple of CellSize
        Of each column of images, sounds, sequences or texts.
    """

    n_rows: int
    n_features: int
    n_classes: int
    task: Task
    n_dense: int = 0
    cells: tuple[CellSize, ...] = ()

    def __post_init__(self) -> None:
        """Have at least a feature a column."""
        object.__setattr__(self, "n_dense", max(self.n_dense, self.n_features))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Predicted cost of fitting one fold with one thread: seconds, bytes of the fitted model."""

    seconds: float
    bytes: float


@dataclass(frozen=True, kw_only=True)
class FitContext:
    """What a learner or an encoder is told about the fit.

    Attributes
    ----------
    task : Task
        What is predicted.
    n_classes : int
        Number of classes in these training rows; 1 for regression. Every class code below it
        occurs: a class absent from a fold is hidden from the learner, so that a multiclass
        task can show two.
    seed : int
        Seed of every random choice: two fits with the same seed give the same model.
    n_threads : int
        Threads to use, at most.
    deadline : Deadline
        Stop between iterations before it passes, keeping what is fitted so far.
    earlier : Earlier or None
        What a learner whose spec has ``fine_tuning`` is to start from; None to start afresh.
    cluster : Cluster or None
        Machines that a learner whose spec is ``distributed`` may use for this fit; None if there
        are none, or the fit is too small for them.
    """

    task: Task
    n_classes: int
    seed: int
    n_threads: int
    deadline: Deadline
    earlier: Earlier | None = None
    cluster: Cluster | None = None


@runtime_checkable
class Learner(Protocol):
    """A base model of one fold. It must pickle once fitted."""

    def fit(self, train: Rows, valid: Rows | None) -> None:
        """Fit on ``train``; ``valid`` may be used to stop early, for nothing else."""

    def predict(self, X: Matrix) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1) in regression."""


def any_columns(columns: Sequence[Column]) -> str:  # noqa: ARG001 - others look at them
    """Return that a table of any columns will do."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A fitted learner of an earlier run, of the same kind, from which another can start.

    It was fitted to other rows, maybe of other columns and other classes: what does not fit is
    left out.

    Attributes
    ----------
    learner : Learner
        The fitted learner, unpickled: it knows the names of its features if it kept them.
    outputs : tuple of int
        For each output of the new learner, the position of the same one among those of the
        earlier learner: of the same class, or of the same target in regression. -1 for none.
    """

    learner: Learner
    outputs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How a learner starts from an earlier model of its kind: see ``FitContext.earlier``.

    It is given the params of the earlier member, and those that are drawn here, which override
    them: how many layers stay as they are, say, and a lower learning rate.

    Attributes
    ----------
    space : callable
        Draws params from a ``Suggest``.
    portfolio : tuple of Configuration
        Points of it, tried first.
    """

    space: Space = no_space
    portfolio: tuple[Configuration, ...] = (Configuration(),)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One of several fits at the same time: a learner as ``build`` made it, and its rows.

    Attributes
    ----------
    learner : Learner
        It is not fitted yet, and was told its own params, seed and number of classes.
    train : Rows
        Training rows: the same object for all learners of one fold.
    valid : Rows or None
        Rows that decide when to stop.
    """

    learner: Learner
    train: Rows
    valid: Rows | None


def all_params(params: Params) -> Params:
    """Return the params in which models that are fitted together must agree: all of them."""
    return params


@dataclass(frozen=True, kw_only=True)
class FitTogether:
    """How a learner fits several models at the same time: folds, and configurations.

    Attributes
    ----------
    fit : callable
        Given ``Fit``s, it fits all of their learners. Each becomes what its own ``fit`` would make
        of it, but for rounding. What raises is fitted one after another.
    size : callable
        ``size(shape, params)`` says how many models to fit at the same time, at most, on the
        machine that asks; 1 where that does not pay. It is asked often.
    seconds : callable
        ``seconds(shape, params, n)`` predicts the seconds of ``n`` models that are fitted together,
        as ``cost`` does those of one.
    agreed : callable
        Of params, those in which configurations that are fitted together must agree, so that the
        others may be drawn. By default all: folds are fitted together, configurations are not.
    """

    fit: Callable[[Sequence[Fit]], None]
    size: Callable[[Shape, Params], int]
    seconds: Callable[[Shape, Params, int], float]
    agreed: Callable[[Params], Params] = all_params


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
        Draws params from a ``Suggest``. None may be called ``target``, ``earlier``, ``taught`` or
        ``taught_copies``: the engine keeps these names.
    portfolio : tuple of Configuration
        Configurations tried before any search, best first.
    requires : tuple of str
        Importable modules that must be installed. Workers import them before a fit is timed.
    extra : str
        The extra of automl-fuse, or the package, that brings them.
    max_rows : int or None
        Training rows beyond which the learner is not tried.
    soft_labels : bool
        Whether ``fit`` reads ``Rows.soft``. For other classifiers the engine repeats each row
        for its likely classes, with weights.
    fine_tuning : FineTuning or None
        How it starts from an earlier model, if it can.
    misfit : callable
        Given the columns of a table, says why this learner is not for it, as in
        ``"it needs an image column"``; an empty text if it is. By default any columns will do of
        which an encoder reads one.
    together : FitTogether or None
        How it fits several models at the same time, if it can.
    distributed : bool
        Whether its fits can be spread over machines: see ``FitContext.cluster``. It is tried where
        the executor offers that, on tables that are large enough for it, or if it is named.
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
    soft_labels: bool = False
    fine_tuning: FineTuning | None = None
    misfit: Callable[[Sequence[Column]], str] = any_columns
    together: FitTogether | None = None
    distributed: bool = False

    def encoders_for(self, params: Params) -> tuple[str, ...]:
        """Return the names of the encoders that a configuration reads."""
        return self.encoders(params) if callable(self.encoders) else self.encoders


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
