"""Linear models with L1 and L2 penalties, by accelerated proximal gradients."""

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
    Link,
    NetworkModel,
    Params,
    Rows,
    Shape,
    Suggest,
    linked,
)
from automl_fuse_sklearn.common import (
    ModelLearner,
    Scaler,
    limited,
    outputs,
    straight_line,
    targets,
    weights_of,
)
from automl_fuse_sklearn.linear import ENCODERS

_MAX_ITERATIONS = 400
_MIN_ITERATIONS = 5
_TOLERANCE = 1e-4
"""Stop when no coefficient moves by more than this share of the largest."""


def fit_elastic_net(
    params: Params, context: FitContext, train: Rows, _valid: Rows | None
) -> NetworkModel:
    """Fit a (multinomial) logistic or linear regression with an elastic-net penalty.

    Minimises mean loss + penalty · (l1_share · |w|₁ + (1 - l1_share) / 2 · |w|²); the
    intercept is free.
    """
    scaler = Scaler.fitted(train)
    ones = np.ones((len(train.y), 1))
    design = np.hstack([scaler.transform(train.X.values), ones])
    goal = targets(train, context)
    if context.n_classes == 2:
        goal = goal[:, 1:]
    with limited(context.n_threads):
        solution = _minimise(design, goal, weights_of(train), params, context)
    is_class = context.task.is_classification
    return straight_line(scaler, solution[:-1], solution[-1], is_classification=is_class)


def _minimise(
    design: Floats, goal: Floats, weight: Floats, params: Params, context: FitContext
) -> Floats:
    """Return coefficients, intercept last, (n_features + 1, n_columns).

    FISTA (Beck and Teboulle 2009, "A fast iterative shrinkage-thresholding algorithm",
    section 4) with the gradient restart of O'Donoghue and Candès (2015), "Adaptive restart
    for accelerated gradient schemes", 3.2.
    """
    l1 = params["penalty"] * params["l1_share"]
    l2 = params["penalty"] * (1.0 - params["l1_share"])
    share = (weight / weight.sum())[:, None]
    step = 1.0 / (_curvature(context) * _largest_eigenvalue(design, share) + l2)
    penalised = np.ones((design.shape[1], 1))
    penalised[-1] = 0.0
    current = np.zeros((design.shape[1], goal.shape[1]))
    ahead, momentum = current, 1.0
    for iteration in range(_MAX_ITERATIONS):
        predicted = _mean_response(design @ ahead, context)
        gradient = design.T @ (share * (predicted - goal)) + l2 * penalised * ahead
        moved = ahead - step * gradient
        shrunk = np.sign(moved) * np.maximum(np.abs(moved) - step * l1 * penalised, 0.0)
        change = shrunk - current
        if np.sum((ahead - shrunk) * change) > 0.0:
            momentum = 1.0
        following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
        ahead = shrunk + (momentum - 1.0) / following * change
        current, momentum = shrunk, following
        is_done = np.abs(change).max() <= _TOLERANCE * max(float(np.abs(current).max()), 1e-8)
        if iteration + 1 >= _MIN_ITERATIONS and (is_done or context.deadline.expired()):
            break
    return current


def _mean_response(scores: Floats, context: FitContext) -> Floats:
    if not context.task.is_classification:
        return scores
    link = Link.LOGISTIC if context.n_classes == 2 else Link.SOFTMAX
    return linked(scores, link)[:, -scores.shape[1] :]


def _curvature(context: FitContext) -> float:
    """Return an upper bound of the second derivative of the loss in its scores."""
    if not context.task.is_classification:
        return 1.0
    return 0.25 if context.n_classes == 2 else 0.5


def _largest_eigenvalue(design: Floats, share: Floats) -> float:
    """Return an upper estimate of the largest eigenvalue of the weighted Gram matrix.

    Power iteration comes from below: the last value is raised by a tenth.
    """
    vector = np.ones((design.shape[1], 1))
    size = 1.0
    for _ in range(20):
        vector = design.T @ (share * (design @ (vector / np.linalg.norm(vector))))
        size = float(np.linalg.norm(vector))
    return 1.1 * size


def cost(shape: Shape, params: Params) -> Cost:
    """Predict seconds and bytes.

    Fitted to CPU times of 3,000 … 27,000 rows, 8 … 110 dense features and 1 … 26 outputs on one
    core of a 2-core cloud machine (``benchmarks/costs.py``). A smaller penalty takes more
    iterations.
    """
    columns = outputs(shape)
    cells = shape.n_rows * shape.n_dense * columns
    seconds = 0.01 + 2e-7 * cells * (1e-3 / params["penalty"]) ** 0.2
    return Cost(seconds=seconds, bytes=8.0 * shape.n_dense * (columns + 2) + 1500.0)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the penalty on the mean loss, and the share of L1 in it."""
    return {
        "penalty": suggest.real("penalty", 1e-5, 1e-1, log=True),
        "l1_share": suggest.real("l1_share", 0.05, 1.0),
    }


ELASTIC_NET = LearnerSpec(
    name="elastic_net",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=ENCODERS,
    build=partial(ModelLearner, fit_elastic_net),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params={"penalty": 1e-3, "l1_share": 0.5}, merit=0.13),
        Configuration(params={"penalty": 1e-2, "l1_share": 0.9}, merit=0.06),
    ),
    soft_labels=True,
)
