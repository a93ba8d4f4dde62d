"""Logistic regression and ridge: the straight lines."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from automl_fuse.specs import (
    ALL_TASKS,
    Configuration,
    Cost,
    FitContext,
    LearnerSpec,
    NetworkModel,
    Params,
    Rows,
    Shape,
    Suggest,
)
from automl_fuse_sklearn.common import (
    FEATURES,
    ModelLearner,
    Scaler,
    choosing_seconds,
    limited,
    outputs,
    straight_line,
    unfinished_allowed,
    with_features,
)

ENCODERS = ("scaled_numbers", "onehot", "cyclic_calendar", "words", "ngrams", "scaled_summaries")
_NEWTON_COEFFICIENTS = 100
"""Coefficients up to which Newton's method is faster than L-BFGS."""
_ITERATIONS = 300
_CHUNK, _CHUNK_CELLS = 50, 2e8
"""L-BFGS iterations between two looks at the deadline, at most, and cells that they read."""


def fit_linear(
    params: Params, context: FitContext, train: Rows, _valid: Rows | None
) -> NetworkModel:
    """Fit a logistic regression, or a ridge regression, with penalty ``params["penalty"]``."""
    from sklearn.linear_model import Ridge

    scaler = Scaler.fitted(train)
    rows = scaler.rows(train)
    is_class = context.task.is_classification
    if is_class:
        model = _fit_logistic(params, context, rows)
    else:
        with limited(context.n_threads), unfinished_allowed():
            model = Ridge(alpha=params["penalty"])
            model.fit(rows.X.values, rows.y, sample_weight=rows.weight)
    coefficients, intercept = np.atleast_2d(model.coef_).T, np.atleast_1d(model.intercept_)
    return straight_line(scaler, coefficients, intercept, is_classification=is_class)


def _fit_logistic(params: Params, context: FitContext, rows: Rows) -> Any:
    from sklearn.linear_model import LogisticRegression

    n_rows, n_features = rows.X.values.shape
    columns = context.n_classes if context.n_classes > 2 else 1
    is_small = (n_features + 1) * columns <= min(_NEWTON_COEFFICIENTS, n_rows)
    cells = n_rows * n_features * columns
    chunk = max(5, min(_CHUNK, round(_CHUNK_CELLS / max(cells, 1))))
    model = LogisticRegression(
        C=1.0 / params["penalty"],
        solver="newton-cholesky" if is_small else "lbfgs",
        max_iter=chunk,
        warm_start=True,
        random_state=context.seed,
    )
    with limited(context.n_threads), unfinished_allowed():
        for _ in range(1 if is_small else _ITERATIONS // chunk):
            model.fit(rows.X.values, rows.y, sample_weight=rows.weight)
            if model.n_iter_.max() < chunk or context.deadline.expired():
                break
    return model


def cost(shape: Shape, params: Params) -> Cost:
    """Predict seconds and bytes, encoders included.

    Fitted to CPU times of 3,000 … 27,000 rows, 8 … 110 dense features and 1 … 26 outputs on one
    core of a 2-core cloud machine (``benchmarks/costs.py``).
    """
    columns = outputs(shape)
    cells = shape.n_rows * shape.n_dense
    if shape.task.is_classification:
        seconds = 0.02 + 2e-7 * cells * columns
    else:
        seconds = 0.01 + cells * (4e-8 + 2e-10 * shape.n_dense)
    seconds += choosing_seconds(shape, params)
    return Cost(seconds=seconds, bytes=8.0 * shape.n_dense * (columns + 2) + 1500.0)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the L2 penalty (1/C of a logistic regression, alpha of ridge) and the features."""
    return {
        "penalty": suggest.real("penalty", 1e-3, 1e3, log=True),
        "features": suggest.choice("features", tuple(FEATURES)),
    }


LINEAR = LearnerSpec(
    name="linear",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=partial(with_features, ENCODERS),
    build=partial(ModelLearner, fit_linear),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params={"penalty": 0.03, "features": "unsupervised"}, merit=0.94),
        Configuration(params={"penalty": 1.0, "features": "arithmetic"}, merit=0.42),
        Configuration(params={"penalty": 1.0, "features": "plain"}, merit=0.40),
        Configuration(params={"penalty": 30.0, "features": "plain"}, merit=0.12),
    ),
    requires=("sklearn.linear_model",),
)
