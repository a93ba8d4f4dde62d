"""Average of ranks: members of different calibration agree on order, which is all AUC sees.

A row alone has no rank, so each probability is ranked among the member's OOF predictions,
kept as quantiles. The mean rank is then mapped to the probability that the plain average has
at the same quantile: order from the ranks, calibration from the average.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import Configuration, FusionSpec, Task
from automl_fuse_fusion.averaging import rank_weights
from automl_fuse_fusion.common import joined, order_by_loss, weighted_sum, without_context
from automl_fuse_fusion.piecewise import Curve, curves_to_onnx

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Array, Floats, FusionContext, Graph, Params, Suggest, Tensor

GRID: Final = 1_001
"""Quantiles kept of each member."""
_STEP: Final = 2.0**-30
"""Least distance of two of them. Without it a curve could rise so steeply that the last bit of
a probability, which differs between one runtime and another, moved the rank."""


def rank_curve(values: Floats) -> tuple[Floats, Floats]:
    """Return (points, ranks): values rising strictly, and their mean ranks in [0, 1].

    Parameters
    ----------
    values : array of shape (n_rows,)
        What to rank.
    """
    grid = np.round(np.quantile(values, np.linspace(0, 1, GRID)) / _STEP) * _STEP
    points, first, count = np.unique(grid, return_index=True, return_counts=True)
    return points, (first + (count - 1) / 2) / (GRID - 1)


class RankAverage:
    """The mean rank of the best members, as a probability; binary only.

    Parameters
    ----------
    params : mapping
        ``k``: how many of the best members are ranked, 0 for all.
    context : FusionContext
        What the fusion is told.
    """

    def __init__(self, params: Params, context: FusionContext) -> None:
        self._k = int(params.get("k", 0))
        self._context = context
        self._curves: dict[int, tuple[Floats, Floats]] = {}
        self._from: Floats = np.empty(0)
        self._to: Floats = np.empty(0)
        self.weights: Floats = np.empty(0)

    def fit(self, oof: Floats, y: Array, weight: Floats | None) -> None:
        """Keep the quantiles of OOF predictions (n_members, n_rows, 2)."""
        order, _ = order_by_loss(oof, y, weight, self._context)
        self.weights = np.empty(len(oof))
        self.weights[order] = rank_weights(oof, y, weight, k=self._k, power=0.0)
        self._curves = {int(m): rank_curve(oof[m, :, 1]) for m in np.flatnonzero(self.weights)}
        ranks, levels = rank_curve(self._mean_rank(oof))
        self._from = ranks
        self._to = np.quantile(weighted_sum(self.weights, oof)[:, 1], levels)

    def combine(self, predictions: Floats) -> Floats:
        """Return (n_rows, 2) from (n_members, n_rows, 2)."""
        second = np.clip(np.interp(self._mean_rank(predictions), self._from, self._to), 0, 1)
        return np.column_stack([1 - second, second])

    def to_onnx(self, graph: Graph, predictions: Sequence[Tensor]) -> Tensor:
        """Write ``combine`` into a graph; predictions (n_rows, 2), one a member."""
        ranked = [
            Curve(feature=2 * at + 1, points=points, levels=ranks, weight=self.weights[member])
            for at, (member, (points, ranks)) in enumerate(self._curves.items())
        ]
        together = joined(graph, [predictions[member] for member in self._curves])
        rank = curves_to_onnx(graph, together, 2 * len(ranked), ranked)
        back = Curve(feature=0, points=self._from, levels=self._to)
        limits = [graph.constant(np.array(limit)) for limit in (0.0, 1.0)]
        second = graph.node("Clip", [curves_to_onnx(graph, rank, 1, [back]), *limits])
        first = graph.node("Sub", [limits[1], second])
        return graph.node("Concat", [first, second], {"axis": 1})

    def _mean_rank(self, predictions: Floats) -> Floats:
        total = np.zeros(predictions.shape[1])
        for member, (points, ranks) in self._curves.items():
            total += self.weights[member] * np.interp(predictions[member, :, 1], points, ranks)
        return total

    def __getstate__(self) -> dict[str, Any]:
        return without_context(self)


def _space(suggest: Suggest) -> dict[str, Any]:
    return {"k": suggest.integer("k", 0, 12)}


SPEC = FusionSpec(
    name="rank_average",
    api_version=1,
    tasks=frozenset({Task.BINARY}),
    build=RankAverage,
    space=_space,
    portfolio=(Configuration(params={"k": 5}, merit=0.3),),
    min_rows=200,
)
