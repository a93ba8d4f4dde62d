"""Hard voting: each member has one vote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import CLASSIFICATION, Configuration, FusionSpec
from automl_fuse_fusion.averaging import rank_weights
from automl_fuse_fusion.common import joined, order_by_loss, without_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Array, Floats, FusionContext, Graph, Params, Suggest, Tensor

_GRID: Final = 2.0**30
"""Probabilities are compared as multiples of 1 / _GRID, and of equal ones the first has the vote.
The last bits of a probability differ from one runtime to another: they must not turn a vote."""


class HardVoting:
    """The share of votes as probability.

    Parameters
    ----------
    params : mapping
        ``k``: how many of the best members vote, 0 for all. ``smoothing``: votes spread
        evenly over the classes, so that no probability is 0.
    context : FusionContext
        What the fusion is told.
    """

    def __init__(self, params: Params, context: FusionContext) -> None:
        self._k = int(params.get("k", 0))
        self._smoothing = float(params.get("smoothing", 1.0))
        self._context = context
        self._n_classes = context.n_classes
        self.weights: Floats = np.empty(0)

    def fit(self, oof: Floats, y: Array, weight: Floats | None) -> None:
        """Choose who votes from OOF predictions (n_members, n_rows, n_classes)."""
        order, _ = order_by_loss(oof, y, weight, self._context)
        self.weights = np.empty(len(oof))
        self.weights[order] = rank_weights(oof, y, weight, k=self._k, power=0.0)

    def combine(self, predictions: Floats) -> Floats:
        """Return (n_rows, n_classes) from (n_members, n_rows, n_classes)."""
        voters = np.flatnonzero(self.weights)
        n_rows, n_classes = predictions.shape[1:]
        votes = np.full((n_rows, n_classes), self._smoothing / n_classes)
        rows = np.arange(n_rows)
        for member in voters:
            votes[rows, np.round(predictions[member] * _GRID).argmax(axis=1)] += 1
        return votes / (len(voters) + self._smoothing)

    def to_onnx(self, graph: Graph, predictions: Sequence[Tensor]) -> Tensor:
        """Write ``combine`` into a graph; predictions (n_rows, n_classes), one a member."""
        voters = np.flatnonzero(self.weights).tolist()
        total = len(voters) + self._smoothing
        together = joined(graph, [predictions[member] for member in voters])
        shape = graph.constant(np.array([0, len(voters), self._n_classes]))
        table = graph.node("Reshape", [together, shape])
        rounded = graph.node("Round", [graph.node("Mul", [table, graph.constant(np.array(_GRID))])])
        said = graph.node("ArgMax", [rounded], {"axis": 2, "keepdims": 0})
        vote = graph.constant(np.eye(self._n_classes) / total)
        votes = graph.node("Gather", [vote, said])
        counted = graph.node("ReduceSum", [votes, graph.constant(np.array([1]))], {"keepdims": 0})
        spread = np.array(self._smoothing / self._n_classes / total)
        return graph.node("Add", [counted, graph.constant(spread)])

    def __getstate__(self) -> dict[str, Any]:
        return without_context(self)


def _space(suggest: Suggest) -> dict[str, Any]:
    return {
        "k": suggest.integer("k", 0, 15),
        "smoothing": suggest.real("smoothing", 0.1, 5.0, log=True),
    }


SPEC = FusionSpec(
    name="hard_voting",
    api_version=1,
    tasks=CLASSIFICATION,
    build=HardVoting,
    space=_space,
    portfolio=(Configuration(params={"k": 0, "smoothing": 1.0}, merit=0.2),),
)
