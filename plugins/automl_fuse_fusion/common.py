"""What the fusions share: order of members, weighted means, recognising the objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from automl_fuse.specs import Array, Floats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import FusionContext, Graph, Tensor

Indices: TypeAlias = NDArray[np.intp]
Choose: TypeAlias = Callable[[Floats, Array, Floats | None], Floats]
"""Gives the weights (n_members,) of members ordered by rising loss."""

SMALLEST: Final = 1e-15
"""Probability below which a logarithm is cut off."""


def order_by_loss(
    oof: Floats, y: Array, weight: Floats | None, context: FusionContext
) -> tuple[Indices, Floats]:
    """Return members by rising loss, and their losses in that order.

    Equal losses are told apart by the predictions, so that the order, and every random choice
    that follows, does not depend on how the members happened to be listed.
    """
    losses = np.array([context.loss(y, member, weight) for member in oof])
    spread = np.einsum("mno,mno->m", oof, oof)
    order = np.lexsort((spread, losses))
    return order, losses[order]


def weighted_sum(weights: Floats, predictions: Floats) -> Floats:
    """Return the weighted sum over members, (n_rows, n_outputs).

    One member at a time: a matrix product would round a single row unlike a batch.
    """
    total = np.zeros(predictions.shape[1:])
    for share, prediction in zip(weights, predictions, strict=True):
        if share != 0:
            total += share * prediction
    return total


def joined(graph: Graph, tensors: Sequence[Tensor]) -> Tensor:
    """Write the columns of all tensors (n_rows, n) side by side."""
    return tensors[0] if len(tensors) == 1 else graph.node("Concat", tensors, {"axis": 1})


def mass_of(weight: Floats | None, n_rows: int) -> Floats:
    """Return the weight of each row, of sum 1."""
    return np.full(n_rows, 1 / n_rows) if weight is None else weight / weight.sum()


def true_class(oof: Floats, y: Array) -> Floats:
    """Return the probability of each row's true class, (n_members, n_rows), above 0."""
    truth = oof[:, np.arange(oof.shape[1]), y.astype(np.intp)]
    return np.maximum(truth, SMALLEST)


def is_likelihood(context: FusionContext, y: Array, weight: Floats | None) -> bool:
    """Return whether the objective is log-loss, or RMSE or MSE in regression.

    An objective is opaque, so it is compared with both on made-up predictions: the special
    cases may then use a formula that is a hundred times faster.
    """
    rng = np.random.default_rng(0)
    mass = mass_of(weight, len(y))
    if context.task.is_classification:
        prediction = rng.dirichlet(np.ones(context.n_classes), size=len(y))
        expected = [float(-mass @ np.log(true_class(prediction[None], y)[0]))]
    else:
        scale = np.std(y) or 1.0
        prediction = np.mean(y) + scale * rng.standard_normal((len(y), 1))
        squared = float(mass @ (prediction[:, 0] - y) ** 2)
        expected = [squared, squared**0.5]
    loss = context.loss(y, prediction, weight)
    return any(np.isclose(loss, value, rtol=1e-9, atol=0) for value in expected)


def without_context(fusion: object) -> dict[str, Any]:
    """Return what to pickle of a fitted fusion: objectives and deadlines may not pickle."""
    return {name: value for name, value in vars(fusion).items() if name != "_context"}


class WeightedMean:
    """A fusion that is a weighted mean of its members.

    Parameters
    ----------
    choose : callable
        Chooses the weights.
    context : FusionContext
        What the fusion is told.
    """

    def __init__(self, choose: Choose, context: FusionContext) -> None:
        self._choose = choose
        self._context = context
        self.weights: Floats = np.empty(0)

    def fit(self, oof: Floats, y: Array, weight: Floats | None) -> None:
        """Choose the weights from OOF predictions (n_members, n_rows, n_outputs)."""
        order, _ = order_by_loss(oof, y, weight, self._context)
        self.weights = np.empty(len(oof))
        self.weights[order] = self._choose(oof[order], y, weight)

    def combine(self, predictions: Floats) -> Floats:
        """Return (n_rows, n_outputs) from (n_members, n_rows, n_outputs)."""
        return weighted_sum(self.weights, predictions)

    def to_onnx(self, graph: Graph, predictions: Sequence[Tensor]) -> Tensor:
        """Write ``combine`` into a graph; predictions (n_rows, n_outputs), one a member."""
        used = np.flatnonzero(self.weights).tolist()
        return graph.weighted_sum([predictions[m] for m in used], self.weights[used].tolist())

    def __getstate__(self) -> dict[str, Any]:
        return {"weights": self.weights}
