"""Decision trees in a form that every tree learner can be read into."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs.exporting import Graph, Tensor
    from automl_fuse.specs.words import Floats

_LARGEST = float(np.finfo(np.float32).max)
_PAIRS = 100_000
"""Pairs of a row and a tree that are followed at once: what they need fits into the cache."""


class Split(IntEnum):
    """How a node compares a feature x with its threshold t; the numbers are those of ONNX."""

    AT_MOST = 0  # x <= t
    BELOW = 1  # x < t
    MEMBER = 6  # x is one of the node's set


class Link(StrEnum):
    """From sums to predictions: as they are, log-odds of the second class, or class scores."""

    IDENTITY = "identity"
    LOGISTIC = "logistic"
    SOFTMAX = "softmax"


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Trees whose leaf values are added up.

    The nodes of all trees lie in the same arrays. A child, or a root, is the position of a
    node, or ``~position`` of a leaf (a negative number).

    Attributes
    ----------
    roots : int64 array of shape (n_trees,)
        Where each tree starts.
    feature : int64 array of shape (n_nodes,)
        Position of the feature that a node reads.
    threshold : float64 array of shape (n_nodes,)
        What it is compared with; ignored by ``Split.MEMBER``.
    split : uint8 array of shape (n_nodes,)
        Values of ``Split``.
    members : mapping of int to tuple of float
        The set of each node whose split is ``MEMBER``; it may be empty.
    missing_true : bool array of shape (n_nodes,)
        Whether a missing value goes to the true child.
    true, false : int64 array of shape (n_nodes,)
        Children.
    leaf : float64 array of shape (n_leaves, n_values)
        Values: one, for the tree's target; or as many as there are targets.
    target : int64 array of shape (n_trees,) or None
        Which sum a tree adds to; None where a leaf has a value for each target.
    base : float64 array of shape (n_targets,)
        Added to the sums.
    single : bool
        Whether features are rounded to single precision, and kept within its range, first.
    """

    roots: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: Floats
    split: NDArray[np.uint8]
    missing_true: NDArray[np.bool_]
    true: NDArray[np.int64]
    false: NDArray[np.int64]
    leaf: Floats
    target: NDArray[np.int64] | None
    base: Floats
    members: dict[int, tuple[float, ...]] = field(default_factory=dict)
    single: bool = False

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.roots)

    @property
    def n_targets(self) -> int:
        """Number of sums."""
        return len(self.base)

    def leaves(self, values: Floats) -> NDArray[np.int64]:
        """Return the leaf that each row of (n_rows, n_features) reaches in each tree.

        Returns positions in ``leaf``, of shape (n_rows, n_trees).
        """
        if self.single:
            values = np.clip(values, -_LARGEST, _LARGEST).astype(np.float32).astype(np.float64)
        walk = _Walk(self)
        reached = np.empty((len(values), self.n_trees), dtype=np.int64)
        step = max(1, _PAIRS // max(1, self.n_trees))
        for start in range(0, len(values), step):
            walk.to_leaves(values[start : start + step], reached[start : start + step])
        return reached

    def sums(self, values: Floats) -> Floats:
        """Return (n_rows, n_targets) sums for features (n_rows, n_features)."""
        total = np.tile(self.base, (len(values), 1))
        step = max(1, 4_000_000 // max(1, self.n_trees))
        for start in range(0, len(values), step):
            rows = slice(start, start + step)
            reached = self.leaves(values[rows])
            if self.target is None:
                total[rows] += self.leaf[reached].sum(axis=1)
                continue
            for target in range(self.n_targets):
                total[rows, target] += self.leaf[reached[:, self.target == target], 0].sum(axis=1)
        return total

    def take(self, trees: NDArray[np.intp]) -> Forest:
        """Return only these trees, in the order given, without the nodes of the others."""
        roots: list[int] = []
        nodes: list[int] = []
        leaves: list[int] = []
        node_at: dict[int, int] = {}
        leaf_at: dict[int, int] = {}

        def place(child: int) -> int:
            if child >= 0:
                return node_at[child]
            return ~leaf_at[~child]

        for tree in trees.tolist():
            stack = [int(self.roots[tree])]
            while stack:
                child = stack.pop()
                if child < 0:
                    leaf_at[~child] = len(leaves)
                    leaves.append(~child)
                    continue
                node_at[child] = len(nodes)
                nodes.append(child)
                stack += [int(self.false[child]), int(self.true[child])]
            roots.append(int(self.roots[tree]))
        kept = np.array(nodes, dtype=np.int64)
        return replace(
            self,
            roots=np.array([place(root) for root in roots], dtype=np.int64),
            feature=self.feature[kept],
            threshold=self.threshold[kept],
            split=self.split[kept],
            missing_true=self.missing_true[kept],
            true=np.array([place(int(c)) for c in self.true[kept]], dtype=np.int64),
            false=np.array([place(int(c)) for c in self.false[kept]], dtype=np.int64),
            leaf=self.leaf[np.array(leaves, dtype=np.int64)],
            target=None if self.target is None else self.target[trees],
            members={node_at[n]: s for n, s in self.members.items() if n in node_at},
        )


class _Walk:
    """Sends rows down the trees of a forest, all at once, level by level.

    Parameters
    ----------
    forest : Forest
        The trees.
    """

    def __init__(self, forest: Forest) -> None:
        self._forest = forest
        self._has_below = bool((forest.split == Split.BELOW).any())
        self._sets = _Sets(forest) if forest.members else None

    def to_leaves(self, values: Floats, reached: NDArray[np.int64]) -> None:
        """Write the leaf of each row and tree into ``reached``, contiguous (n_rows, n_trees)."""
        forest, (n_rows, n_features) = self._forest, values.shape
        cells, found = np.ascontiguousarray(values).ravel(), reached.reshape(-1)
        at = np.tile(forest.roots, n_rows)
        pair = np.arange(len(found))
        first = np.repeat(np.arange(n_rows) * n_features, forest.n_trees)
        while True:
            is_leaf = at < 0
            if is_leaf.any():
                done, on = np.flatnonzero(is_leaf), np.flatnonzero(~is_leaf)
                found[pair[done]] = ~at[done]
                at, pair, first = at[on], pair[on], first[on]
            if not len(at):
                return
            x = cells.take(first + forest.feature.take(at))
            goes = self._goes_true(at, x)
            at = np.where(goes, forest.true.take(at), forest.false.take(at))

    def _goes_true(self, node: NDArray[np.int64], x: Floats) -> NDArray[np.bool_]:
        forest = self._forest
        threshold = forest.threshold.take(node)
        goes = x <= threshold
        if self._has_below:
            goes = np.where(forest.split.take(node) == Split.BELOW, x < threshold, goes)
        if self._sets is not None:
            member = np.flatnonzero(forest.split.take(node) == Split.MEMBER)
            goes[member] = self._sets.hold(node[member], x[member])
        missing = np.flatnonzero(np.isnan(x))
        goes[missing] = forest.missing_true[node[missing]]
        return goes


class _Sets:
    """The sets of all nodes, as one sorted array of (node, position of the value)."""

    def __init__(self, forest: Forest) -> None:
        sizes = [len(values) for values in forest.members.values()]
        nodes = np.repeat(np.array(list(forest.members), dtype=np.int64), sizes)
        values = [value for members in forest.members.values() for value in members]
        self._values, position = np.unique(np.array(values, dtype=np.float64), return_inverse=True)
        self._keys = np.sort(nodes * len(self._values) + position)

    def hold(self, node: NDArray[np.int64], x: Floats) -> NDArray[np.bool_]:
        """Return whether the set of each node holds a number."""
        if not len(self._values):
            return np.zeros(len(x), dtype=bool)
        position = np.minimum(np.searchsorted(self._values, x), len(self._values) - 1)
        key = node * len(self._values) + position
        at = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        held: NDArray[np.bool_] = (self._keys[at] == key) & (self._values[position] == x)
        return held


@dataclass(frozen=True, kw_only=True)
class ForestModel:
    """A forest and the link that makes predictions of its sums.

    With ``Link.IDENTITY`` the sums are values, or probabilities of all classes.
    """

    forest: Forest
    link: Link

    def predict(self, values: Floats) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        return linked(self.forest.sums(values), self.link)

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write itself into a graph: see ``ExportableLearner``."""
        return link_to_onnx(graph, graph.forest(features, self.forest), self.link)


def linked(scores: Floats, link: Link) -> Floats:
    """Return predictions from scores (n_rows, n_scores).

    ``LOGISTIC`` makes probabilities of two classes from one column.
    """
    if link is Link.IDENTITY:
        return scores
    if link is Link.LOGISTIC:
        scores = np.hstack([np.zeros_like(scores), scores])
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def link_to_onnx(graph: Graph, scores: Tensor, link: Link) -> Tensor:
    """Write a link into a graph: float64 scores in, predictions out."""
    if link is Link.IDENTITY:
        return scores
    if link is Link.LOGISTIC:
        second = graph.node("Sigmoid", [scores])
        first = graph.node("Sub", [graph.constant(np.array(1.0)), second])
        return graph.node("Concat", [first, second], {"axis": 1})
    return graph.node("Softmax", [scores], {"axis": 1})
