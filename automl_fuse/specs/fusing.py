"""Metrics, fusions and compressors: what works on out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from automl_fuse.specs.space import Configuration, Space, no_space
from automl_fuse.specs.words import Array, Floats, Params, Task

if TYPE_CHECKING:
    from automl_fuse.specs.fitting import Deadline, FitContext, Learner
    from automl_fuse.specs.tables import Rows

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
    names, learners : tuple of str
        Name of each member, and of its learner.
    forms : tuple of str
        What an edit finds in each member: ``"forest"``, ``"network"`` (with hidden layers),
        ``"line"`` (a network without), or ``""``, nothing that it can change.
    students : tuple of str
        Names of the learners that can be fitted as students here.
    kin : tuple of str
        Members of the same text, which is not empty, have models whose weights can be averaged:
        see ``Edit.others``.
    terms : tuple of str
        Members of the same text were fitted to the same rows of each fold, and to the same
        transform of the target: those alone can be joined, see ``Joint``.
    """

    oof: Floats
    y: Array
    weight: Floats | None
    shares: Floats
    bytes: Floats
    seconds: Floats
    names: tuple[str, ...] = ()
    learners: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    students: tuple[str, ...] = ()
    kin: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Keep some members only, by their positions; they are fused again."""

    name: str
    members: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Refit:
    """Put one model, fitted on all rows, in place of a member's fold models."""

    name: str
    member: int


@dataclass(frozen=True, kw_only=True)
class Student:
    """Fit a learner to what a teacher says.

    Attributes
    ----------
    name : str
        Unique among the proposals of its compressor.
    learner, params : str, mapping
        What is fitted.
    teacher : tuple of int
        Positions of the members that teach, by their shares; empty for the whole fusion.
    alpha : float
        Share of the teacher's labels against the true ones, in [0, 1].
    temperature : float
        Above 1 it softens the teacher's probabilities: p ** (1 / temperature), normalised.
    hard : bool
        Whether the teacher's most probable class is taken for certain.
    copies : float
        Augmented rows, labelled by the teacher, for each training row.
    """

    name: str
    learner: str
    params: Params
    teacher: tuple[int, ...] = ()
    alpha: float = 1.0
    temperature: float = 1.0
    hard: bool = False
    copies: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Change each fitted model of a member.

    Attributes
    ----------
    name : str
        Unique among the proposals of its compressor.
    member : int
        Position of the member.
    edit : callable
        ``edit(learner, train)`` returns a new fitted learner, smaller or faster, from a fold
        model's learner and that fold's training rows. It must pickle, as must what it returns.
    others : tuple of int
        Positions of members whose learners of the same fold the edit is given as well, after the
        rows.
    """

    name: str
    member: int
    edit: Callable[..., Learner]
    others: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """A fitted learner that is joined with others.

    Attributes
    ----------
    learner : Learner
        A fold model's learner.
    columns : int array of shape (n_read,)
        Positions, in the joint features, of those that it reads, in the order in which it does.
    """

    learner: Learner
    columns: Array


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Make one model, in each fold, of the fitted models of several members.

    The members may read different features: what the joint model reads are those of all.

    Attributes
    ----------
    name : str
        Unique among the proposals of its compressor.
    members : tuple of int
        Positions of the members, two or more, of equal ``Teacher.terms``.
    join : callable
        ``join(parts, train, context)`` returns a new fitted learner, from a ``Part`` for each
        member, the training rows of their fold, and a ``FitContext``, whose deadline it honours.
        It must pickle, as must what it returns.
    effort : float
        Predicted time of it, as a share of the time that fitting the members took; above 0.
    """

    name: str
    members: tuple[int, ...]
    join: Callable[[Sequence[Part], Rows, FitContext], Learner]
    effort: float = 1.0


Proposal: TypeAlias = Selection | Refit | Student | Edit | Joint


@runtime_checkable
class Compressor(Protocol):
    """Proposes smaller pipelines; the engine scores each on rows that did not choose it."""

    def propose(self, teacher: Teacher) -> Sequence[Proposal]:
        """Return proposals, most promising first."""


@dataclass(frozen=True, kw_only=True)
class CompressorSpec:
    """A way to make a pipeline smaller or faster; fields as for ``FusionSpec``.

    Its portfolio is tried first; then, while there is time, points drawn from its space.
    """

    name: str
    api_version: int
    tasks: frozenset[Task]
    build: Callable[[Params, FusionContext], Compressor]
    space: Space = no_space
    portfolio: tuple[Configuration, ...] = (Configuration(),)
    requires: tuple[str, ...] = ()
    extra: str = ""
