"""Histogram gradient boosting with native categories and missing values."""

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
    Matrix,
    Params,
    Rows,
    Shape,
    Suggest,
)
from automl_fuse_sklearn.boosted import Boosted, usable
from automl_fuse_sklearn.common import ModelLearner, limited, loss_of

_FIRST_CHUNK = 25
_GROWTH = 1.6
"""Each chunk bins the table anew, so chunks grow."""
_MAX_CATEGORIES = 250
"""Most categories of a native split; columns of more are read as numbers."""
_PLAIN = ("numbers", "codes", "calendar", "ngrams", "words", "summaries")
_TARGET = (*_PLAIN, "target", "counts")
_FEATURES = ("plain", "target")


def iterations(params: Params) -> int:
    """Return the most iterations that a learning rate needs."""
    return int(np.clip(30.0 / params["learning_rate"], 60, 800))


def fit_hist_gradient_boosting(
    params: Params, context: FitContext, train: Rows, valid: Rows | None
) -> Boosted:
    """Boost in growing chunks until ``valid`` gains no more or the time is up.

    The model is cut back to the iteration that was best on ``valid``. Without ``valid`` it
    stops at ``params["iterations"]``, or else at 40 % of the iterations that would be allowed
    with it.
    """
    total = iterations(params) if valid is not None else math.ceil(0.4 * iterations(params))
    total = params.get("iterations", total)
    patience = max(20, int(100 * min(1.0, 10_000 / len(train.y))))
    model = _unfitted(params, context, train.X)
    empty = tuple(np.flatnonzero(np.isnan(train.X.values).all(axis=0)).tolist())
    values = usable(train.X.values, empty)
    losses: list[float] = []
    done, goal = 0, min(total, _FIRST_CHUNK)
    before = context.deadline.remaining()
    with limited(context.n_threads):
        while True:
            model.set_params(max_iter=goal)
            model.fit(values, train.y, sample_weight=train.weight)
            done = goal
            if valid is not None:
                losses = _losses(model, valid, empty, context)
                if done - int(np.argmin(losses)) > patience:
                    break
            left = context.deadline.remaining()
            fitting = math.floor(0.6 * left * done / max(before - left, 1e-9))
            goal = min(total, math.ceil(done * _GROWTH), done + fitting)
            if goal <= done or context.deadline.expired():
                break
    tuned = {}
    if losses:
        tuned["iterations"] = int(np.argmin(losses)) + 1
        _keep_first(model, tuned["iterations"])
    return Boosted(
        model=model,
        empty=empty,
        n_threads=context.n_threads,
        is_classification=context.task.is_classification,
        tuned=tuned,
    )


def _unfitted(params: Params, context: FitContext, X: Matrix) -> Any:
    from sklearn import ensemble

    kind = "Classifier" if context.task.is_classification else "Regressor"
    settings = {
        "learning_rate": params["learning_rate"],
        "max_leaf_nodes": params["max_leaf_nodes"],
        "min_samples_leaf": params["min_samples_leaf"],
        "l2_regularization": params["l2"],
        "max_features": params["max_features"],
        "categorical_features": _native(X),
        "early_stopping": False,
        "warm_start": True,
        "random_state": context.seed,
    }
    return getattr(ensemble, f"HistGradientBoosting{kind}")(**settings)


def _native(X: Matrix) -> list[int] | None:
    """Return positions of the columns to split by sets of categories."""
    chosen = [i for i in X.categorical if X.cardinalities[i] <= _MAX_CATEGORIES]
    return [i for i in chosen if not np.isnan(X.values[:, i]).all()] or None


def _losses(model: Any, valid: Rows, empty: tuple[int, ...], context: FitContext) -> list[float]:
    """Return the loss on ``valid`` after each iteration."""
    values = usable(valid.X.values, empty)
    if context.task.is_classification:
        stages = model.staged_predict_proba(values)
    else:
        stages = (stage[:, None] for stage in model.staged_predict(values))
    return [loss_of(valid, stage, context) for stage in stages]


def _keep_first(model: Any, n_iterations: int) -> None:
    """Drop later trees; scikit-learn has no public way short of fitting anew."""
    del model._predictors[n_iterations:]  # noqa: SLF001 (see above)


def encoders(params: Params) -> tuple[str, ...]:
    """Return encoders, with target encoding and counts where ``features`` is ``"target"``."""
    return _TARGET if params["features"] == "target" else _PLAIN


def cost(shape: Shape, params: Params) -> Cost:
    """Predict seconds and bytes.

    Fitted to CPU times of 1,000 … 16,000 rows, 20 … 80 features and 2 … 8 classes on one core
    of a 2-core cloud machine; early stopping is taken to come at 30 % of the iterations, as it did
    in the mean of ``benchmarks/costs.py``.
    """
    trees = 0.3 * iterations(params) * (shape.n_classes if shape.n_classes > 2 else 1)
    leaves = min(params["max_leaf_nodes"], shape.n_rows / params["min_samples_leaf"] + 1.0)
    tried = params["max_features"] * shape.n_features
    each = 8e-4 + 3.2e-6 * leaves * tried + shape.n_rows * (6.4e-7 + 1.6e-8 * tried)
    bytes_ = trees * (700.0 + 135.0 * leaves) + 2100.0 * shape.n_features
    return Cost(seconds=0.1 + trees * each, bytes=bytes_)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the shape of the trees, their step, their penalties and the features."""
    return {
        "learning_rate": suggest.real("learning_rate", 0.02, 0.3, log=True),
        "max_leaf_nodes": suggest.integer("max_leaf_nodes", 4, 128, log=True),
        "min_samples_leaf": suggest.integer("min_samples_leaf", 2, 60, log=True),
        "l2": suggest.real("l2", 1e-3, 10.0, log=True),
        "max_features": suggest.real("max_features", 0.3, 1.0),
        "features": suggest.choice("features", _FEATURES),
    }


def _point(rate: float, leaves: int, rows: int, share: float, features: str) -> dict[str, Any]:
    return {
        "learning_rate": rate,
        "max_leaf_nodes": leaves,
        "min_samples_leaf": rows,
        "l2": 0.5,
        "max_features": share,
        "features": features,
    }


HIST_GRADIENT_BOOSTING = LearnerSpec(
    name="hist_gradient_boosting",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=encoders,
    build=partial(ModelLearner, fit_hist_gradient_boosting),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params=_point(0.06, 12, 8, 0.5, "target"), merit=0.54),
        Configuration(params=_point(0.08, 24, 15, 0.6, "plain"), merit=0.27),
        Configuration(params=_point(0.05, 64, 25, 0.4, "plain"), merit=0.13),
    ),
    requires=("sklearn.ensemble",),
)
