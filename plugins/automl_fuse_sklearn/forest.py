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
from automl_fuse_sklearn.common import FEATURES, ModelLearner, mean_target, with_features
from automl_fuse_sklearn.trees import Trees, as_float32, pack

ENCODERS = ("numbers", "ordinals", "target", "calendar", "ngrams", "words", "summaries")
_CHUNK = 25
"""Trees between two looks at the deadline, at most."""
_PRIOR_VOTES = 0.5
"""Trees that say the mean target, so that no class gets probability 0."""


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
    model = _forest(is_extra, params, context, train)
    before = context.deadline.remaining()
    while True:
        done = min(total, done + chunk)
        model.set_params(n_estimators=done).fit(features, train.y, sample_weight=train.weight)
        left = context.deadline.remaining()
        seconds_each = max((before - left) / done, 1e-9)
        chunk = min(_CHUNK, 2 * done, math.floor(0.8 * left / seconds_each))
        if done == total or context.deadline.expired() or chunk < 1:
            break
    grown = [estimator.tree_ for estimator in model.estimators_]
    return Trees(pack(grown, mean_target(train, context), votes=_PRIOR_VOTES))


def _forest(is_extra: bool, params: Params, context: FitContext, train: Rows) -> Any:
    from sklearn import ensemble

    rows_of_leaf = leaf_size(len(train.y), params)
    # A fully grown tree gives a row of next to no weight a leaf of its own, whose prediction
    # the weight does not enter: leaves must weigh at least half of what their rows would.
    share = 0.0 if train.weight is None else min(0.5, 0.5 * rows_of_leaf / len(train.y))
    kind = "Classifier" if context.task.is_classification else "Regressor"
    settings = {
        "max_features": params["max_features"],
        "min_samples_leaf": rows_of_leaf,
        "min_weight_fraction_leaf": share,
        "n_jobs": context.n_threads,
        "random_state": context.seed,
        "warm_start": True,
    }
    return getattr(ensemble, f"{'ExtraTrees' if is_extra else 'RandomForest'}{kind}")(**settings)


def cost(is_extra: bool, shape: Shape, params: Params) -> Cost:
    """Predict seconds and bytes.

    Fitted to CPU times of 1,000 … 4,000 rows and 20 … 80 features on one core of a 2-core
    cloud machine; bytes to 4,000 rows of noisy targets.
    """
    n_rows, is_class = shape.n_rows, shape.task.is_classification
    leaf, trees = leaf_size(n_rows, params), tree_count(n_rows)
    levels = np.log2(n_rows / leaf + 2.0)
    tried = params["max_features"] * shape.n_features
    each = 8e-9 * (10.0 + tried) if is_extra else 5.5e-8 * (0.5 + tried)
    if is_extra and not is_class:
        each *= 1.7
    seconds = 0.1 + trees * n_rows * levels * each
    leaves = (0.5 if is_class else 1.0) * (1.0 if is_extra else 0.65) * n_rows / leaf
    columns = 1 if shape.n_classes <= 2 else shape.n_classes
    return Cost(seconds=seconds, bytes=trees * leaves * (13.0 + 4.0 * columns) + 3000.0)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the share of features tried at a split, the rows of a leaf, and the features."""
    return {
        "max_features": suggest.real("max_features", 0.1, 1.0),
        "min_samples_leaf": suggest.integer("min_samples_leaf", 1, 30, log=True),
        "features": suggest.choice("features", tuple(FEATURES)),
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
    encoders=partial(with_features, ENCODERS),
    build=partial(ModelLearner, partial(fit_forest, False)),
    cost=partial(cost, False),
    space=space,
    portfolio=(
        Configuration(params=_point(0.4, 1, "plain"), merit=0.25),
        Configuration(params=_point(0.4, 4, "unsupervised"), merit=0.13),
    ),
    requires=("sklearn.ensemble",),
)

EXTRA_TREES = LearnerSpec(
    name="extra_trees",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=partial(with_features, ENCODERS),
    build=partial(ModelLearner, partial(fit_forest, True)),
    cost=partial(cost, True),
    space=space,
    portfolio=(
        Configuration(params=_point(0.75, 1, "unsupervised"), merit=0.86),
        Configuration(params=_point(0.75, 1, "plain"), merit=0.82),
        Configuration(params=_point(0.75, 1, "arithmetic"), merit=0.80),
        Configuration(params=_point(0.75, 4, "unsupervised"), merit=0.20),
        Configuration(params=_point(0.3, 2, "plain"), merit=0.15),
    ),
    requires=("sklearn.ensemble",),
)
