"""Random forests and extremely randomised trees."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from automl_fuse.specs import (
    ALL_TASKS,
    Configuration,
    Cost,
    FitContext,
    LearnerSpec,
    Params,
    Rows,
    Shape,
    Suggest,
)
from automl_fuse_sklearn.common import FEATURES, ModelLearner, mean_target, with_unsupervised
from automl_fuse_sklearn.trees import Trees, as_float32, pack

ENCODERS = ("numbers", "ordinals", "target", "calendar", "ngrams", "words")
_CHUNK = 25
"""Trees between two looks at the deadline, at most."""


def tree_count(n_rows: int) -> int:
    """Return how many trees are worth their time and bytes: 200, or 100 for large tables."""
    if n_rows <= 5_000:
        return 200
    return 150 if n_rows <= 20_000 else 100


def leaf_size(n_rows: int, params: Params) -> int:
    """Return the fewest rows of a leaf: never under 1/20,000 of the table, to bound bytes."""
    return max(int(params["min_samples_leaf"]), math.ceil(n_rows / 20_000))


def fit_forest(
    is_extra: bool, params: Params, context: FitContext, train: Rows, _valid: Rows | None
) -> Trees:
    """Fit trees in growing chunks until there are enough or the time is up.

    The first chunk, of one tree a thread, is always kept; it tells how long a tree takes.
    """
    features = as_float32(train.X.values)
    n_rows = len(train.y)
    total, done, chunk = tree_count(n_rows), 0, context.n_threads
    model = _forest(is_extra, params, context, leaf_size(n_rows, params))
    before = context.deadline.remaining()
    while True:
        done = min(total, done + chunk)
        model.set_params(n_estimators=done).fit(features, train.y, sample_weight=train.weight)
        left = context.deadline.remaining()
        seconds_each = max((before - left) / done, 1e-9)
        chunk = min(_CHUNK, 2 * done, math.floor(0.8 * left / seconds_each))
        if done == total or context.deadline.expired() or chunk < 1:
            break
    prior = mean_target(train, context)
    packed = pack([estimator.tree_ for estimator in model.estimators_], prior)
    return Trees(packed, prior, 0.5)


def _forest(is_extra: bool, params: Params, context: FitContext, min_samples_leaf: int) -> Any:
    from sklearn import ensemble

    kind = "Classifier" if context.task.is_classification else "Regressor"
    settings = {
        "max_features": params["max_features"],
        "min_samples_leaf": min_samples_leaf,
        "n_jobs": context.n_threads,
        "random_state": context.seed,
        "warm_start": True,
    }
    return getattr(ensemble, f"{'ExtraTrees' if is_extra else 'RandomForest'}{kind}")(**settings)


def _n_nodes(shape: Shape, params: Params) -> float:
    return 1.2 * tree_count(shape.n_rows) * shape.n_rows / leaf_size(shape.n_rows, params)


def cost(is_extra: bool, shape: Shape, params: Params) -> Cost:
    """Predict seconds and bytes."""
    return Cost(seconds=0.0 * _n_nodes(shape, params) * np.log(2.0 + is_extra), bytes=1.0)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the share of features tried at a split, the rows of a leaf, and the features."""
    return {
        "max_features": suggest.real("max_features", 0.1, 1.0),
        "min_samples_leaf": suggest.integer("min_samples_leaf", 1, 30, log=True),
        "features": suggest.choice("features", FEATURES),
    }


def _point(max_features: float, min_samples_leaf: int, features: str) -> dict[str, Any]:
    return {
        "max_features": max_features,
        "min_samples_leaf": min_samples_leaf,
        "features": features,
    }


RANDOM_FOREST = LearnerSpec(
    name="random_forest",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=partial(with_unsupervised, ENCODERS),
    build=partial(ModelLearner, partial(fit_forest, False)),
    cost=partial(cost, False),
    space=space,
    portfolio=(
        Configuration(params=_point(0.4, 1, "plain"), merit=0.50),
        Configuration(params=_point(0.4, 4, "unsupervised"), merit=0.25),
    ),
    requires=("sklearn",),
)

EXTRA_TREES = LearnerSpec(
    name="extra_trees",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=partial(with_unsupervised, ENCODERS),
    build=partial(ModelLearner, partial(fit_forest, True)),
    cost=partial(cost, True),
    space=space,
    portfolio=(
        Configuration(params=_point(0.75, 1, "plain"), merit=0.85),
        Configuration(params=_point(0.75, 4, "unsupervised"), merit=0.40),
        Configuration(params=_point(0.3, 2, "plain"), merit=0.30),
    ),
    requires=("sklearn",),
)
