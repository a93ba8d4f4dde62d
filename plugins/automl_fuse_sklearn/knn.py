"""Nearest neighbours, with votes that fade with distance."""

from __future__ import annotations

from functools import partial
from typing import Any

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
    with_unsupervised,
)

MAX_ROWS = 50_000
_CELLS = 8_000_000
"""Distances held at once: 64 MB."""
_JITTER = 1e-6
"""Added to squared distances: breaks ties by chance, the same way for each query."""
_PRIOR_VOTES = 0.5
"""Votes of the mean target, so that no class gets probability 0."""


class Neighbours:
    """Votes of the nearest training rows.

    A neighbour at distance d votes with exp(-d²/(2h²)), where h is the distance of the
    farthest of the neighbours, times its sample weight. Which neighbours are nearest is
    decided with squared distances raised by a tiny random amount of each training row:
    without it, rows at equal distance would be chosen by rounding, which differs between one
    query and a batch.

    Parameters
    ----------
    scaler : Scaler
        Applied to the features first.
    relevance : array of shape (n_features,)
        Factor of each feature.
    votes : array of shape (n_points, n_outputs)
        Target of each training row.
    weight : array of shape (n_points,)
        Sample weights.
    jitter : array of shape (n_points,)
        Added to the squared distances when neighbours are chosen.
    prior : array of shape (n_outputs,)
        Mean target.
    k : int
        Number of neighbours.
    """

    def __init__(
        self,
        *,
        scaler: Scaler,
        relevance: Floats,
        points: Floats,
        votes: Floats,
        weight: Floats,
        jitter: Floats,
        prior: Floats,
        k: int,
    ) -> None:
        self._scaler = scaler
        self._relevance = relevance
        self._points = _rounded(points)
        self._votes = votes
        self._weight = weight
        self._jitter = jitter
        self._prior = prior
        self._k = k
        self._sizes = np.sum(self._points**2, axis=1) + jitter

    def predict(self, values: Floats) -> Floats:
        """Return weighted mean votes (n_rows, n_outputs)."""
        queries = _rounded(self._scaler.transform(values) * self._relevance)
        step = max(1, _CELLS // max(len(self._points), self._k * queries.shape[1]))
        parts = [
            self._vote(queries[start : start + step]) for start in range(0, len(queries), step)
        ]
        return np.vstack(parts)

    def _vote(self, queries: Floats) -> Floats:
        order = self._sizes - 2.0 * queries @ self._points.T
        if self._k < order.shape[1]:
            nearest = np.argpartition(order, self._k - 1, axis=1)[:, : self._k]
        else:
            nearest = np.broadcast_to(np.arange(order.shape[1]), order.shape)
        nearest = np.sort(nearest, axis=1)
        apart = self._points[nearest] - queries[:, None, :]
        distance = np.einsum("qkf,qkf->qk", apart, apart)
        width = distance.max(axis=1, keepdims=True) + 1e-9
        strength = np.exp(-2.0 * distance / width) * self._weight[nearest]
        total = strength.sum(axis=1, keepdims=True) + _PRIOR_VOTES
        voted = np.einsum("qk,qko->qo", strength, self._votes[nearest])
        result: Floats = (voted + _PRIOR_VOTES * self._prior) / total
        return result

    def __getstate__(self) -> dict[str, object]:
        small = {"_points": self._points.astype(np.float32), "_sizes": None}
        return self.__dict__ | small | {"_votes": self._votes.astype(np.float32)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._points = self._points.astype(np.float64)
        self._votes = self._votes.astype(np.float64)
        self._sizes = np.sum(self._points**2, axis=1) + self._jitter


def _rounded(values: Floats) -> Floats:
    """Return values as float32 stores them, so that the pickled points are the same ones."""
    return values.astype(np.float32).astype(np.float64)


def fit_knn(params: Params, context: FitContext, train: Rows, _valid: Rows | None) -> Neighbours:
    """Store the training rows, with features scaled by what they tell about the target."""
    scaler = Scaler.fitted(train)
    scaled = scaler.transform(train.X.values)
    votes = _rounded(targets(train, context))
    weight = weights_of(train)
    with limited(context.n_threads):
        relevance = _relevance(scaled, votes, weight, params["relevance"])
    rng = np.random.default_rng(context.seed)
    return Neighbours(
        scaler=scaler,
        relevance=relevance,
        points=scaled * relevance,
        votes=votes,
        weight=weight,
        jitter=_JITTER * rng.random(len(scaled)),
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
        "features": suggest.choice("features", FEATURES),
    }


KNN = LearnerSpec(
    name="knn",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=partial(with_unsupervised, ("scaled_numbers", "onehot", "cyclic_calendar", "ngrams")),
    build=partial(ModelLearner, fit_knn),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(
            params={"n_neighbors": 20, "relevance": 0.7, "features": "plain"}, merit=0.40
        ),
        Configuration(params={"n_neighbors": 8, "relevance": 0.0, "features": "plain"}, merit=0.25),
        Configuration(
            params={"n_neighbors": 60, "relevance": 1.2, "features": "unsupervised"}, merit=0.15
        ),
    ),
    max_rows=MAX_ROWS,
)
