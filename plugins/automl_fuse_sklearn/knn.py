"""Nearest neighbours, with votes that fade with distance."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.specs import (
    ALL_TASKS,
    Configuration,
    Cost,
    FitContext,
    Floats,
    LearnerSpec,
    Params,
    Rows,
    Shape,
    Suggest,
)
from automl_fuse_sklearn.common import (
    FEATURES,
    ModelLearner,
    Scaler,
    limited,
    mean_target,
    targets,
    weights_of,
    with_features,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Graph, Tensor

MAX_ROWS = 50_000
_CELLS = 8_000_000
"""Distances held at once: 64 MB."""
_STEPS = float(1 << 15)
"""Steps of the grid in a unit of a scaled feature."""
_END = 16.0 * _STEPS
"""Where features end, in steps."""
_VOTE = float(1 << 44)
"""Counts of the strongest vote."""
_DOUBLE = 11
"""Double precision, as ONNX calls it."""
_PRIOR_VOTES = 0.5
"""Votes of the mean target, so that no class gets probability 0."""


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Votes of the nearest training rows.

    A neighbour at distance d votes with exp(-2d²/h²), where h is the distance of the farthest
    of the neighbours, times its sample weight. Of rows as far away as the farthest, the first
    are taken.

    Features lie on a grid and votes are counted in whole numbers, small enough for sums of them
    to be exact (of 4,096 features at the ends of the grid, and weights of 1): which rows are
    nearest, and which classes tie, does not depend on the order of a sum, so neither on the
    batch nor on what computes it.

    Attributes
    ----------
    scaler : Scaler
        Applied to the features first.
    factor : array of shape (n_features,)
        Then multiplied by; then rounded.
    points : float32 array of shape (n_points, n_features)
        Training rows on the grid, in random order: they often come sorted.
    votes : float32 array of shape (n_points, n_outputs)
        Their targets.
    weight : array of shape (n_points,)
        Sample weights.
    prior : array of shape (n_outputs,)
        Mean target.
    k : int
        Number of neighbours.
    """

    scaler: Scaler
    factor: Floats
    points: NDArray[np.float32]
    votes: NDArray[np.float32]
    weight: Floats
    prior: Floats
    k: int

    @cached_property
    def _positions(self) -> Floats:
        """Points in double precision, (n_features, n_points)."""
        return np.ascontiguousarray(self.points.T, dtype=np.float64)

    @cached_property
    def _sizes(self) -> Floats:
        sizes: Floats = np.square(self._positions).sum(axis=0)
        return sizes

    @cached_property
    def _table(self) -> Floats:
        """Votes and their number, 1, times the weight: (n_points, n_outputs + 1)."""
        return np.pad(self.votes, ((0, 0), (0, 1)), constant_values=1.0) * self.weight[:, None]

    @cached_property
    def _start(self) -> Floats:
        """The votes of the prior, and their number."""
        return _PRIOR_VOTES * _VOTE * np.append(self.prior, 1.0)

    def predict(self, values: Floats) -> Floats:
        """Return weighted mean votes (n_rows, n_outputs)."""
        queries = on_grid(self.scaler.transform(values), self.factor)
        step = max(1, _CELLS // len(self.points))
        parts = [
            self._vote(queries[start : start + step]) for start in range(0, len(queries), step)
        ]
        return np.vstack(parts)

    def _vote(self, queries: Floats) -> Floats:
        order = self._sizes - 2.0 * (queries @ self._positions)
        nearest, shortest = least(order, self.k)
        distance = shortest + np.square(queries).sum(axis=1, keepdims=True)
        width = -0.5 * distance.max(axis=1, keepdims=True) - 0.5
        strength = np.rint(np.exp(distance / width) * _VOTE)
        voted = np.einsum("qk,qko->qo", strength, self._table[nearest]) + self._start
        result: Floats = voted[:, :-1] / voted[:, -1:]
        return result

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write the same steps; there, too, the first of equally near rows are taken."""
        second = graph.constant(np.array([1]))
        distance, nearest = self._nearest_to_onnx(graph, features)
        half = graph.constant(np.array([[-0.5]]))
        width = graph.node("Gemm", [graph.node("ReduceMax", [distance, second]), half, half])
        power = graph.node("Exp", [graph.node("Div", [distance, width])])
        counted = graph.node("Mul", [power, graph.constant(np.array(_VOTE))])
        strength = graph.node("Round", [counted])
        strength = graph.node("Unsqueeze", [strength, graph.constant(np.array([2]))])
        votes = graph.node("Gather", [in_few_bytes(graph, self._table), nearest])
        weighted = graph.node("Mul", [strength, votes])
        voted = graph.node("ReduceSum", [weighted, second], {"keepdims": 0})
        voted = graph.node("Add", [voted, graph.constant(self._start)])
        sizes = graph.constant(np.array([len(self.prior), 1]))
        return graph.node("Div", graph.nodes("Split", [voted, sizes], 2, {"axis": 1}))

    def _nearest_to_onnx(self, graph: Graph, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return squared distances of the nearest rows, and their positions, (n_rows, k)."""
        scaled = self.scaler.to_onnx(graph, features)
        scaled = graph.node("Mul", [scaled, graph.constant(self.factor)])
        ends = [graph.constant(np.array(end)) for end in (-_END, _END)]
        queries = graph.node("Round", [graph.node("Clip", [scaled, *ends])])
        slope = in_few_bytes(graph, -2.0 * self._positions)
        order = graph.node("Gemm", [queries, slope, graph.constant(self._sizes)])
        k = graph.constant(np.array([self.k]))
        shortest, nearest = graph.nodes("TopK", [order, k], 2, {"largest": 0})
        own = graph.node("ReduceSumSquare", [queries, graph.constant(np.array([1]))])
        return graph.node("Add", [shortest, own]), nearest

    def __getstate__(self) -> dict[str, object]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


def on_grid(scaled: Floats, factor: Floats) -> Floats:
    """Return features in steps of the grid: whole numbers of at most 2**19."""
    return np.rint(np.clip(scaled * factor, -_END, _END))


def least(values: Floats, k: int) -> tuple[NDArray[np.intp], Floats]:
    """Return the positions of the ``k`` least of each row, of equal ones the first, and those."""
    rows = np.arange(len(values))[:, None]
    if k < values.shape[1]:
        chosen = np.argpartition(values, k - 1, axis=1)[:, :k]
        largest = values[rows, chosen[:, -1:]]
        for row in np.flatnonzero((values <= largest).sum(axis=1) > k).tolist():
            inside = np.flatnonzero(values[row] < largest[row])
            edge = np.flatnonzero(values[row] == largest[row])
            chosen[row] = np.concatenate([inside, edge])[:k]
    else:
        chosen = np.tile(np.arange(k), (len(values), 1))
    return chosen, values[rows, chosen]


def in_few_bytes(graph: Graph, values: Floats) -> Tensor:
    """Add a constant of double precision, kept in the smallest type that loses nothing."""
    for kind in (np.int8, np.float32):
        with np.errstate(over="ignore", invalid="ignore"):
            small = values.astype(kind)
        if np.array_equal(small, values):
            return graph.node("Cast", [graph.constant(small)], {"to": _DOUBLE})
    return graph.constant(values)


def fit_knn(params: Params, context: FitContext, train: Rows, _valid: Rows | None) -> Neighbours:
    """Store the training rows, with features scaled by what they tell about the target."""
    scaler = Scaler.fitted(train)
    scaled = scaler.transform(train.X.values)
    votes, weight = targets(train, context), weights_of(train)
    with limited(context.n_threads):
        factor = _STEPS * _relevance(scaled, votes, weight, params["relevance"])
    order = np.random.default_rng(context.seed).permutation(len(scaled))
    return Neighbours(
        scaler=scaler,
        factor=factor,
        points=on_grid(scaled, factor)[order].astype(np.float32),
        votes=votes[order].astype(np.float32),
        weight=weight[order],
        prior=mean_target(train, context),
        k=min(params["n_neighbors"], len(scaled)),
    )


def _relevance(scaled: Floats, votes: Floats, weight: Floats, power: float) -> Floats:
    """Return a factor for each feature: its largest correlation with the target, to a power."""
    share = (weight / weight.sum())[:, None]
    features = scaled - np.sum(share * scaled, axis=0)
    goals = votes - np.sum(share * votes, axis=0)
    together = features.T @ (share * goals)
    spread = np.sqrt(np.sum(share * features**2, axis=0))
    swing = np.sqrt(np.sum(share * goals**2, axis=0))
    scale = np.maximum(spread[:, None] * swing, 1e-12)
    correlation = np.abs(together / scale).max(axis=1)
    share_of_best = correlation / max(float(correlation.max()), 1e-12)
    result: Floats = np.maximum(share_of_best, 0.01) ** power
    return result


def cost(shape: Shape, _params: Params) -> Cost:
    """Predict seconds, nearly all of them for the validation rows, and bytes.

    Fitted to CPU times of 1,000 … 16,000 rows and 20 … 80 features on one core of a 2-core
    cloud machine, with a quarter as many validation rows.
    """
    pairs = 0.25 * float(shape.n_rows) ** 2
    seconds = 0.01 + pairs * (1.2e-8 + 1e-10 * shape.n_features)
    bytes_ = 4.0 * shape.n_rows * (shape.n_features + shape.n_classes + 4) + 3000.0
    return Cost(seconds=seconds, bytes=bytes_)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the neighbours, the power of feature relevance (0: none), and the features."""
    return {
        "n_neighbors": suggest.integer("n_neighbors", 3, 100, log=True),
        "relevance": suggest.real("relevance", 0.0, 2.0),
        "features": suggest.choice("features", tuple(FEATURES)),
    }


ENCODERS = ("scaled_numbers", "onehot", "cyclic_calendar", "ngrams", "scaled_summaries")

KNN = LearnerSpec(
    name="knn",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=partial(with_features, ENCODERS),
    build=partial(ModelLearner, fit_knn),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(
            params={"n_neighbors": 20, "relevance": 0.7, "features": "plain"}, merit=0.20
        ),
        Configuration(params={"n_neighbors": 8, "relevance": 0.0, "features": "plain"}, merit=0.13),
        Configuration(
            params={"n_neighbors": 60, "relevance": 1.2, "features": "unsupervised"}, merit=0.08
        ),
    ),
    max_rows=MAX_ROWS,
)
