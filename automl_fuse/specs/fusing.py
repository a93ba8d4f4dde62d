"""Metrics, fusions and compressors: what works on out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from automl_fuse.specs.space import Configuration, Space, no_space
from automl_fuse.specs.words import Array, Floats, Params, Task

if TYPE_CHECKING:
    from automl_fuse.specs.fitting import Deadline

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
