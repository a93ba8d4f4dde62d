"""Fitted decision trees in an eighth of their bytes.

scikit-learn's trees take 64 bytes a node and 8 a class, most of which only fitting needs. Here
inner nodes keep feature, threshold and children, leaves keep their share of the prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.specs import Forest, ForestModel, Link, Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Floats, Graph, Tensor

_LARGEST = float(np.finfo(np.float32).max)
_BITS = 24
"""Of the significand of float32."""


def as_float32(values: Floats) -> Array:
    """Return features as trees read them: float32, within its range, NaN kept."""
    return np.ascontiguousarray(np.clip(values, -_LARGEST, _LARGEST), dtype=np.float32)


@dataclass(frozen=True)
class Packed:
    """Trees, one after the other, in scikit-learn's order of nodes, whose leaves are added up.

    Probabilities in the leaves are multiples of one power of two, and those of one leaf from
    each tree add up to 1. Sums of them are exact: one row, a batch, and whatever else adds
    them up in another order give the same digits, and classes that tie keep tying.

    Attributes
    ----------
    n_features, n_outputs : int
        Of each tree.
    counts : array of shape (n_trees,)
        Nodes of each tree.
    is_inner : uint8 array
        One bit for each node: whether it has children.
    feature, left, right : integer arrays of shape (n_inner,)
        Split feature, and positions of the children in the tree.
    threshold : float32 array of shape (n_inner,)
        Rounded down, which is exact: features are float32 when compared.
    missing_left : uint8 array
        One bit for each inner node: where missing values go.
    leaves : float32 array of shape (n_leaves, n_columns)
        Share of the prediction; of two probabilities only the second.
    """

    n_features: int
    n_outputs: int
    counts: NDArray[np.int32]
    is_inner: NDArray[np.uint8]
    feature: Array
    left: Array
    right: Array
    threshold: NDArray[np.float32]
    missing_left: NDArray[np.uint8]
    leaves: NDArray[np.float32]

    @property
    def inner(self) -> NDArray[np.bool_]:
        """Whether each node has children."""
        return np.unpackbits(self.is_inner, count=int(self.counts.sum())).astype(bool)

    @property
    def goes_left(self) -> NDArray[np.bool_]:
        """Whether each inner node sends missing values to the left."""
        return np.unpackbits(self.missing_left, count=len(self.left)).astype(bool)


def pack(trees: Sequence[Any], prior: Floats, *, rows: float = 0.0, votes: float = 0.0) -> Packed:
    """Pack fitted trees, drawn a little towards a prior: no class gets probability 0.

    Parameters
    ----------
    trees : sequence of sklearn.tree._tree.Tree
        Fitted trees of one output, whose values are class frequencies or means.
    prior : array of shape (n_outputs,)
        Mean target.
    rows : float
        As if the prior had been seen that many times in each leaf.
    votes : float
        As if this many more trees said ``prior``.
    """
    n_outputs, n_trees = len(prior), len(trees)
    inner = [np.asarray(tree.children_left) >= 0 for tree in trees]
    leaves = []
    for tree, is_inner, n_parts in zip(trees, inner, _shares(n_trees).tolist(), strict=True):
        seen = tree.weighted_n_node_samples[~is_inner, None]
        value = (seen * tree.value[~is_inner, 0, :] + rows * prior) / (seen + rows)
        share = (value + votes / n_trees * prior) / (n_trees + votes)
        leaves.append(share if n_outputs == 1 else _to_grid(share, n_parts, _unit(n_trees)))
    n_features = int(trees[0].n_features)
    index = np.min_scalar_type(max(n_features, 1))
    is_inner = np.concatenate(inner)

    def gather(name: str) -> Array:
        return np.concatenate([getattr(tree, name) for tree in trees])[is_inner]

    return Packed(
        n_features=n_features,
        n_outputs=n_outputs,
        counts=np.array([tree.node_count for tree in trees], dtype=np.int32),
        is_inner=np.packbits(is_inner),
        feature=gather("feature").astype(index),
        left=gather("children_left").astype(np.int32),
        right=gather("children_right").astype(np.int32),
        threshold=_rounded_down(gather("threshold")),
        missing_left=np.packbits(gather("missing_go_to_left").astype(bool)),
        leaves=np.vstack(leaves)[:, int(n_outputs == 2) :].astype(np.float32),
    )


def _unit(n_trees: int) -> int:
    """Return the parts of 1 in which leaves are counted: a tree's share still fits float32."""
    return 1 << (_BITS - 1 + n_trees.bit_length())


def _shares(n_trees: int) -> NDArray[np.int64]:
    """Return the parts that the probabilities of a leaf add up to, for each tree."""
    return np.diff(np.arange(n_trees + 1) * _unit(n_trees) // n_trees)


def _to_grid(share: Floats, n_parts: int, unit: int) -> Floats:
    """Return (n_leaves, n_outputs) shares as multiples of 1 / unit, ``n_parts`` a leaf.

    Parts that rounding down leaves over go to the largest remainders.
    """
    scaled = share * (n_parts / share.sum(axis=1, keepdims=True))
    parts = np.floor(scaled)
    left_over = n_parts - parts.sum(axis=1, keepdims=True)
    rank = np.argsort(np.argsort(parts - scaled, axis=1, kind="stable"), axis=1)
    result: Floats = (parts + (rank < left_over)) / unit
    return result


def _rounded_down(threshold: Floats) -> NDArray[np.float32]:
    """Return the largest float32 not above each threshold."""
    rounded = threshold.astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded.astype(np.float64) > threshold, below, rounded)


def unpack(packed: Packed) -> list[Any]:
    """Return scikit-learn trees (``sklearn.tree._tree.Tree``) that only predict.

    ``Tree.predict`` costs 3 µs a call and reads no more than the structure, so rebuilding it
    is worth depending on its state, which scikit-learn keeps for its own pickles.
    """
    from sklearn.tree._tree import NODE_DTYPE, Tree

    is_inner, n_columns = packed.inner, packed.leaves.shape[1]
    nodes = np.zeros(len(is_inner), dtype=NODE_DTYPE)
    for name in ("left_child", "right_child"):
        nodes[name] = -1
    nodes["feature"] = nodes["threshold"] = -2
    nodes["left_child"][is_inner] = packed.left
    nodes["right_child"][is_inner] = packed.right
    nodes["feature"][is_inner] = packed.feature
    nodes["threshold"][is_inner] = packed.threshold
    nodes["missing_go_to_left"][is_inner] = packed.goes_left
    values = np.zeros((len(is_inner), 1, n_columns))
    values[~is_inner, 0, :] = packed.leaves
    ends = np.cumsum(packed.counts)
    classes = np.array([n_columns], dtype=np.intp)
    trees = []
    for end, count in zip(ends, packed.counts, strict=True):
        tree = Tree(packed.n_features, classes, 1)
        span = slice(end - count, end)
        state = {"max_depth": 0, "node_count": int(count)}
        tree.__setstate__(state | {"nodes": nodes[span].copy(), "values": values[span].copy()})
        trees.append(tree)
    return trees


def places(is_inner: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return what a ``Forest`` calls each node: its number, or that of a leaf turned round."""
    return np.where(is_inner, np.cumsum(is_inner) - 1, ~(np.cumsum(~is_inner) - 1))


def forest_of(packed: Packed, leaf: Floats) -> Forest:
    """Return the trees with these values in their leaves, (n_leaves, n_values), of any number."""
    is_inner = packed.inner
    ends = np.cumsum(packed.counts)
    starts = ends - packed.counts
    place = places(is_inner)
    start = np.repeat(starts, packed.counts)[is_inner]
    return Forest(
        roots=place[starts],
        feature=packed.feature.astype(np.int64),
        threshold=packed.threshold.astype(np.float64),
        split=np.full(len(start), Split.AT_MOST, dtype=np.uint8),
        missing_true=packed.goes_left,
        true=place[start + packed.left],
        false=place[start + packed.right],
        leaf=leaf,
        target=None,
        base=np.zeros(leaf.shape[1]),
        single=True,
    )


class Trees:
    """The sum of trees.

    Parameters
    ----------
    packed : Packed
        The trees.
    """

    def __init__(self, packed: Packed) -> None:
        self._packed = packed
        self._trees: list[Any] = unpack(packed)

    def predict(self, values: Floats) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        features = as_float32(values)
        total = np.zeros((len(features), self._packed.leaves.shape[1]))
        for tree in self._trees:
            total += tree.predict(features).reshape(total.shape)
        return total if self._packed.n_outputs != 2 else np.hstack([1.0 - total, total])

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write the trees, for two classes with the probability of the second as leaves."""
        total = graph.forest(features, forest_of(self._packed, self._leaves()))
        if self._packed.n_outputs != 2:
            return total
        sign, shift = graph.constant(np.array([[-1.0, 1.0]])), graph.constant(np.array([1.0, 0.0]))
        return graph.node("Gemm", [total, sign, shift])

    def form(self) -> ForestModel:
        """Return the trees with a probability of each class in their leaves."""
        leaves, packed = self._leaves(), self._packed
        if packed.n_outputs == 2:
            n_trees = len(packed.counts)
            tree = np.repeat(np.arange(n_trees), packed.counts)[~packed.inner]
            share = _shares(n_trees)[tree, None] / _unit(n_trees)
            leaves = np.hstack([share - leaves, leaves])
        return ForestModel(forest=forest_of(packed, leaves), link=Link.IDENTITY)

    def _leaves(self) -> Floats:
        return self._packed.leaves.astype(np.float64)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_trees": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._trees = unpack(self._packed)
