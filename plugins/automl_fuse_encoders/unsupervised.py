"""Features over all numeric columns together: components, clusters, isolation.

Each gives no features if fewer than two numeric columns vary in the training rows.
"""

from __future__ import annotations

from abc import abstractmethod
from math import ceil, log2
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import Array, Columns, Floats, Forest, Matrix, Split
from automl_fuse_encoders.base import Unsupervised
from automl_fuse_encoders.numeric import FARTHEST, Scale, squash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.random import Generator
    from numpy.typing import NDArray

    from automl_fuse.specs import Graph, Tensor

__all__ = ["Clusters", "Isolation", "PrincipalComponents"]

MAX_COMPONENTS = 8
SMALLEST_SHARE = 1e-9
"""A component with less than this share of the largest one's variance is rounding noise."""

MAX_CLUSTERS = 8
CLUSTER_ROWS = 10_000
CLUSTER_ROUNDS = 30

N_TREES = 32
TREE_ROWS = 256
FOREST_ROWS = 2_048
CHUNK_ROWS = 2_048
"""Rows scored at a time, so that the positions in all trees stay in the processor's cache."""


class _OverNumbers(Unsupervised):
    """Base of the three: scales the numeric columns, and is empty if there are too few."""

    def fit(self, columns: Columns) -> None:
        """Learn the scale, then what is made of scaled values."""
        self.scale = Scale.fit(columns)
        self.names: tuple[str, ...] = ()
        if len(self.scale.names) > 1:
            rng = np.random.default_rng(self.seed)
            self.names = self._fit_scaled(self.scale.apply(columns), rng)

    def transform(self, columns: Columns) -> Matrix:
        """Return the features made of scaled values."""
        if not self.names:
            return Matrix.numbers(np.empty((columns.n_rows, 0)), ())
        return Matrix.numbers(self._features(self.scale.apply(columns)), self.names)

    @abstractmethod
    def _fit_scaled(self, values: Floats, rng: Generator) -> tuple[str, ...]:
        """Fit on scaled values, and return the names of the features."""

    @abstractmethod
    def _features(self, values: Floats) -> Floats:
        """Return the features of scaled values."""


class PrincipalComponents(_OverNumbers):
    """Encoder ``pca``: up to 8 principal components of the scaled, clipped values."""

    def _fit_scaled(self, values: Floats, rng: Generator) -> tuple[str, ...]:
        del rng
        values = squash(values)
        self.centre = values.mean(axis=0)
        centred = values - self.centre
        variances, axes = np.linalg.eigh(centred.T @ centred)
        count = min(MAX_COMPONENTS, values.shape[1], len(values) - 1)
        variances, axes = variances[::-1][:count], axes[:, ::-1][:, :count]
        axes = axes[:, variances > SMALLEST_SHARE * variances[0]]
        # The sign of an axis is arbitrary: its largest entry is made positive.
        largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
        self.axes = axes * np.sign(largest)
        return tuple(f"component {number + 1}" for number in range(axes.shape[1]))

    def _features(self, values: Floats) -> Floats:
        projected: Floats = (squash(values) - self.centre) @ self.axes
        return projected

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Write the projection."""
        points = self.scale.squashed_to_onnx(graph, columns)
        origin = graph.constant(-self.centre @ self.axes)
        return graph.node("Gemm", [points, graph.constant(self.axes), origin])


class Clusters(_OverNumbers):
    """Encoder ``clusters``: distances from up to 8 cluster centres of scaled, clipped values.

    The centres are those of k-means (Lloyd 1982) with k-means++ seeds (Arthur & Vassilvitskii
    2007, section 2.2), found on at most 10,000 rows.
    """

    def _fit_scaled(self, values: Floats, rng: Generator) -> tuple[str, ...]:
        points = squash(_sample(values, CLUSTER_ROWS, rng))
        self.centres = _k_means(points, _seeds(points, rng))
        return tuple(f"distance {number + 1}" for number in range(len(self.centres)))

    def _features(self, values: Floats) -> Floats:
        points = squash(values)
        distances = np.empty((len(points), len(self.centres)))
        for number, centre in enumerate(self.centres):
            distances[:, number] = np.square(points - centre).sum(axis=1)
        return np.sqrt(distances, out=distances)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Write the distances, from differences: products would cancel near a centre."""
        points = self.scale.squashed_to_onnx(graph, columns)
        point = graph.node("Unsqueeze", [points, graph.constant(np.array([1]))])
        difference = graph.node("Sub", [point, graph.constant(self.centres)])
        return graph.node("ReduceL2", [difference, graph.constant(np.array([2]))], {"keepdims": 0})


class Isolation(_OverNumbers):
    """Encoder ``isolation``: how easily random splits isolate a row, near 1 for outliers.

    An isolation forest (Liu, Ting & Zhou 2008, sections 2 and 4) of 32 trees of 256 rows each.
    The trees are complete binary trees in arrays: the children of node i are 2i + 1 and
    2i + 2. A node whose random column does not vary there sends all rows left, which is not
    counted as a step.
    """

    def _fit_scaled(self, values: Floats, rng: Generator) -> tuple[str, ...]:
        values = _sample(values, FOREST_ROWS, rng)
        size = min(TREE_ROWS, len(values))
        rows = rng.random((N_TREES, len(values))).argsort(axis=1)[:, :size]
        self.depth = ceil(log2(size))
        self._grow(values, rows, rng)
        self.usual = float(_expected_depth(np.array([size]))[0])
        return ("isolation",)

    def _grow(self, values: Floats, rows: NDArray[np.intp], rng: Generator) -> None:
        """Split all trees level by level."""
        shape = (N_TREES, 2**self.depth - 1)
        self.column = rng.integers(values.shape[1], size=shape, dtype=np.int32)
        self.threshold = np.full(shape, np.inf)
        trees = np.arange(N_TREES)[:, None]
        place = np.zeros(rows.shape, dtype=np.intp)
        steps = np.zeros((N_TREES, 1))
        for level in range(self.depth):
            first, width = 2**level - 1, 2**level
            split_on = values[rows, self.column[trees, first + place]]
            low, high = _ranges(split_on, place, width)
            splits = high > low
            spread = np.where(splits, high - low, 0.0)
            cuts = np.where(splits, low, np.inf) + rng.random(splits.shape) * spread
            self.threshold[:, first : first + width] = cuts
            steps = np.repeat(steps + splits, 2, axis=1)
            place = 2 * place + (split_on > cuts[trees, place])
        cells = trees * 2**self.depth + place
        left = np.bincount(cells.ravel(), minlength=N_TREES * 2**self.depth)
        self.path = steps + _expected_depth(left).reshape(steps.shape)

    def _features(self, values: Floats) -> Floats:
        scores = [
            self._score(values[start : start + CHUNK_ROWS])
            for start in range(0, len(values), CHUNK_ROWS)
        ]
        return np.concatenate([np.empty(0), *scores])[:, None]

    def _score(self, values: Floats) -> Floats:
        """Return 2 ** -(mean path length / its expectation): (n_rows,)."""
        n_inner, n_columns = self.column.shape[1], values.shape[1]
        flat_values, column, threshold = values.ravel(), self.column.ravel(), self.threshold.ravel()
        rows = np.arange(len(values))[:, None] * n_columns
        trees = np.arange(N_TREES) * n_inner
        node = np.zeros((len(values), N_TREES), dtype=np.intp)
        for _ in range(self.depth):
            position = trees + node
            right = flat_values.take(rows + column.take(position)) > threshold.take(position)
            node *= 2
            node += 1
            node += right
        leaves = np.arange(N_TREES) * (n_inner + 1) + (node - n_inner)
        paths: Floats = self.path.ravel().take(leaves).mean(axis=1)
        return np.exp2(-paths / self.usual)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Write the trees, whose leaves add up to the logarithm of the score.

        Scaled values are neither filled nor cut here: a missing one goes where 0 would, and
        one beyond ``FARTHEST`` where that would, which ``_forest`` sees to.
        """
        return graph.node("Exp", [graph.forest(self.scale.to_onnx(graph, columns), self._forest())])

    def _forest(self) -> Forest:
        """Return the trees without the nodes that send all rows left."""
        n_inner, n_leaves = self.column.shape[1], self.path.shape[1]
        trees, place = np.arange(N_TREES)[:, None], np.arange(n_inner)
        entered = np.hstack([trees * n_inner + place, ~(trees * n_leaves + np.arange(n_leaves))])
        for node in reversed(range(n_inner)):
            # No value is beyond FARTHEST once cut, and so none goes right there.
            skipped = self.threshold[:, node] >= FARTHEST
            entered[skipped, node] = entered[skipped, 2 * node + 1]
        threshold = self.threshold.ravel()
        forest = Forest(
            roots=entered[:, 0],
            feature=self.column.ravel().astype(np.int64),
            threshold=threshold,
            split=np.full(threshold.shape, Split.AT_MOST, dtype=np.uint8),
            missing_true=threshold >= 0,
            true=entered[:, 2 * place + 1].ravel(),
            false=entered[:, 2 * place + 2].ravel(),
            leaf=self.path.ravel()[:, None] * (-np.log(2) / self.usual / N_TREES),
            target=np.zeros(N_TREES, dtype=np.int64),
            base=np.zeros(1),
        )
        return forest.take(np.arange(N_TREES))


def _sample(values: Floats, limit: int, rng: Generator) -> Floats:
    """Return at most this many rows, drawn without replacement."""
    if len(values) <= limit:
        return values
    return values[np.sort(rng.choice(len(values), limit, replace=False))]


def _seeds(points: Floats, rng: Generator) -> Floats:
    """Draw far-apart points: each with probability in proportion to its squared distance."""
    chosen = [points[rng.integers(len(points))]]
    nearest = np.square(points - chosen[0]).sum(axis=1)
    while len(chosen) < MAX_CLUSTERS and nearest.max() > 0:
        chosen.append(points[rng.choice(len(points), p=nearest / nearest.sum())])
        nearest = np.minimum(nearest, np.square(points - chosen[-1]).sum(axis=1))
    return np.array(chosen)


def _k_means(points: Floats, centres: Floats) -> Floats:
    """Move centres to the mean of the points nearest to them, until none changes its centre."""
    labels: Array = np.full(len(points), -1)
    for _ in range(CLUSTER_ROUNDS):
        # |p - c|² without |p|², which is the same for every centre.
        nearest = (np.square(centres).sum(axis=1) - 2 * points @ centres.T).argmin(axis=1)
        if np.array_equal(nearest, labels):
            break
        used, labels = np.unique(nearest, return_inverse=True)
        sizes = np.bincount(labels)
        sums = [np.bincount(labels, column, len(used)) for column in points.T]
        centres = np.stack(sums, axis=1) / sizes[:, None]
    return centres


def _ranges(values: Floats, place: NDArray[np.intp], width: int) -> tuple[Floats, Floats]:
    """Return the least and greatest value in each of ``width`` nodes of each tree."""
    low = np.full((len(values), width), np.inf)
    high = np.full((len(values), width), -np.inf)
    trees = np.broadcast_to(np.arange(len(values))[:, None], place.shape)
    np.minimum.at(low, (trees, place), values)
    np.maximum.at(high, (trees, place), values)
    return low, high


def _expected_depth(sizes: NDArray[np.int64]) -> Floats:
    """Return the mean depth at which random splits isolate one of so many rows (Liu, eq. 1)."""
    others = np.maximum(sizes - 1, 1)
    harmonic = np.log(others) + np.euler_gamma
    many = 2 * harmonic - 2 * others / np.maximum(sizes, 1)
    return np.where(sizes > 2, many, np.where(sizes == 2, 1.0, 0.0))
