"""Piecewise linear curves as decision trees, which is how a graph looks a number up fast.

A tree finds the segment that a number falls into; its leaves hold the segment's slope, start
and level. So a curve of a thousand points costs ten comparisons, and is as exact as
``np.interp``, whose formula it shares: level + slope * (x - start).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import Forest, Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import Floats, Graph, Tensor


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What ``weight * np.interp(feature, points, levels)`` computes.

    Attributes
    ----------
    feature : int
        Position of the feature that is looked up.
    points : array of shape (n_points,)
        Rising strictly.
    levels : array of shape (n_points,)
        Values at the points; beyond the ends the curve is constant.
    weight : float
        Factor.
    """

    feature: int
    points: Floats
    levels: Floats
    weight: float = 1.0

    def leaves(self) -> Floats:
        """Return slope, start and level of each segment, (3, n_points + 1).

        Segment k holds the numbers that k of the points are not above: the first and the last
        lie beyond the ends.
        """
        n_segments = len(self.points) + 1
        table = np.zeros((3, n_segments))
        table[0, 1:-1] = self.weight * np.diff(self.levels) / np.diff(self.points)
        table[1, 1:-1] = self.points[:-1]
        table[2] = self.weight * np.append(self.levels[:1], self.levels)
        return table


def curves_to_onnx(
    graph: Graph, features: Tensor, n_features: int, curves: Sequence[Curve]
) -> Tensor:
    """Write the sum of curves of float64 features (n_rows, n_features): float64 (n_rows, 1)."""
    segments = graph.forest(features, _segments(curves, n_features))
    sizes = graph.constant(np.array([n_features, n_features, 1]))
    slopes, starts, level = graph.nodes("Split", [segments, sizes], 3, {"axis": 1})
    # Features without a curve have the slope 0, so nothing needs to be selected.
    rise = graph.node("Mul", [slopes, graph.node("Sub", [features, starts])])
    if n_features > 1:
        rise = graph.node("ReduceSum", [rise, graph.constant(np.array([1]))], {"keepdims": 1})
    return graph.node("Add", [rise, level])


def _segments(curves: Sequence[Curve], n_features: int) -> Forest:
    """Return trees whose sums are the slopes of all features, their starts, and one level."""
    tables = [(curve, table) for curve in curves for table in curve.leaves()]
    searches = [_search(len(curve.points)) for curve, _ in tables]
    sizes = np.array([len(curve.points) for curve, _ in tables], dtype=np.int64)
    node_at = np.cumsum(sizes) - sizes
    leaf_at = node_at + np.arange(len(sizes))

    def placed(children: NDArray[np.int64], tree: int) -> NDArray[np.int64]:
        found: NDArray[np.int64] = np.where(
            children >= 0, children + node_at[tree], children - leaf_at[tree]
        )
        return found

    n_nodes = int(sizes.sum())
    targets = [
        target
        for curve in curves
        for target in (curve.feature, n_features + curve.feature, 2 * n_features)
    ]
    below = [placed(below, tree) for tree, (_, below, _) in enumerate(searches)]
    above = [placed(above, tree) for tree, (_, _, above) in enumerate(searches)]
    return Forest(
        roots=np.array([root for root, _, _ in searches], dtype=np.int64) + node_at,
        feature=np.repeat([curve.feature for curve, _ in tables], sizes),
        threshold=np.concatenate([curve.points for curve, _ in tables]),
        split=np.full(n_nodes, Split.BELOW, dtype=np.uint8),
        missing_true=np.zeros(n_nodes, dtype=np.bool_),
        true=np.concatenate(below),
        false=np.concatenate(above),
        leaf=np.concatenate([table for _, table in tables])[:, None],
        target=np.array(targets, dtype=np.int64),
        base=np.zeros(2 * n_features + 1),
    )


def _search(n_points: int) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """Return a balanced search tree over positions: its root, children below, and children above.

    Node i asks whether a number is below point i; leaf k, as ``~k``, is reached by numbers that
    k points are not above.
    """
    below = np.empty(n_points, dtype=np.int64)
    above = np.empty(n_points, dtype=np.int64)

    def grow(low: int, high: int) -> int:
        """Tell the segments from ``low`` to ``high`` apart."""
        if low == high:
            return ~low
        middle = (low + high) // 2
        below[middle] = grow(low, middle)
        above[middle] = grow(middle + 1, high)
        return middle

    return grow(0, n_points), below, above
