"""Fitted decision trees in an eighth of their bytes.

scikit-learn's trees take 64 bytes a node and 8 a class, most of which only fitting needs. Here
inner nodes keep feature, threshold and children, leaves keep their prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Floats

_LARGEST = float(np.finfo(np.float32).max)


def as_float32(values: Floats) -> Array:
    """Return features as trees read them: float32, within its range, NaN kept."""
    return np.ascontiguousarray(np.clip(values, -_LARGEST, _LARGEST), dtype=np.float32)


@dataclass(frozen=True)
class Packed:
    """Trees, one after the other, in scikit-learn's order of nodes.

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
    leaves : float32 array of shape (n_leaves, n_outputs)
        Predictions; of two probabilities only the second.
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


def pack(trees: Sequence[Any], prior: Floats, strength: float = 0.0) -> Packed:
    """Pack fitted trees.

    Parameters
    ----------
    trees : sequence of sklearn.tree._tree.Tree
        Fitted trees of one output, whose values are class frequencies or means.
    prior : array of shape (n_outputs,)
        Towards which leaves are drawn.
    strength : float
        As if the prior had been seen that many times in each leaf.
    """
    n_outputs = len(prior)
    inner = [np.asarray(tree.children_left) >= 0 for tree in trees]
    leaves = []
    for tree, is_inner in zip(trees, inner, strict=True):
        seen = tree.weighted_n_node_samples[~is_inner, None]
        value = tree.value[~is_inner, 0, :]
        leaves.append((seen * value + strength * prior) / (seen + strength))
    all_leaves = np.vstack(leaves)
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
        leaves=(all_leaves[:, 1:] if n_outputs == 2 else all_leaves).astype(np.float32),
    )


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

    is_inner = np.unpackbits(packed.is_inner, count=int(packed.counts.sum())).astype(bool)
    nodes = np.zeros(len(is_inner), dtype=NODE_DTYPE)
    for name in ("left_child", "right_child"):
        nodes[name] = -1
    nodes["feature"] = nodes["threshold"] = -2
    nodes["left_child"][is_inner] = packed.left
    nodes["right_child"][is_inner] = packed.right
    nodes["feature"][is_inner] = packed.feature
    nodes["threshold"][is_inner] = packed.threshold
    missing_left = np.unpackbits(packed.missing_left, count=len(packed.left))
    nodes["missing_go_to_left"][is_inner] = missing_left
    values = np.zeros((len(is_inner), 1, packed.n_outputs))
    leaves = packed.leaves.astype(np.float64)
    values[~is_inner, 0, :] = np.hstack([1.0 - leaves, leaves]) if packed.n_outputs == 2 else leaves
    ends = np.cumsum(packed.counts)
    classes = np.array([packed.n_outputs], dtype=np.intp)
    trees = []
    for end, count in zip(ends, packed.counts, strict=True):
        tree = Tree(packed.n_features, classes, 1)
        span = slice(end - count, end)
        state = {"max_depth": 0, "node_count": int(count)}
        tree.__setstate__(state | {"nodes": nodes[span].copy(), "values": values[span].copy()})
        trees.append(tree)
    return trees


class Trees:
    """The mean of trees, drawn a little towards a prior.

    Parameters
    ----------
    packed : Packed
        The trees.
    prior : array of shape (n_outputs,)
        Mean target.
    strength : float
        As if this many more trees said ``prior``: no class gets probability 0.
    """

    def __init__(self, packed: Packed, prior: Floats, strength: float) -> None:
        self._packed = packed
        self._prior = prior
        self._strength = strength
        self._trees: list[Any] = unpack(packed)

    def predict(self, values: Floats) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        features = as_float32(values)
        total = np.tile(self._strength * self._prior, (len(features), 1))
        for tree in self._trees:
            total += tree.predict(features).reshape(total.shape)
        return total / (len(self._trees) + self._strength)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_trees": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._trees = unpack(self._packed)
