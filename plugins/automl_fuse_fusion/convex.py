"""Weights on the simplex that minimise log-loss, or squared error in regression.

Both are convex. Log-loss is a mixture-proportion problem, solved by sequential quadratic
programming: Kim, Carbonetto, Stephens and Anitescu 2020, "A fast algorithm for maximum
likelihood estimation of mixture proportions using sequential quadratic programming", section
2.2. We solve its non-negative quadratic subproblems by NNLS on a Cholesky factor instead of by
their active-set method. For another objective these weights stand in.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import ALL_TASKS, Configuration, FusionSpec
from automl_fuse_fusion.common import WeightedMean, mass_of, true_class

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Deadline, Floats, Fusion, FusionContext, Params, Suggest

GAP: Final = 1e-7
"""Distance to the least log-loss, in nats, at which the solver stops."""
_STEPS: Final = 40
_RIDGE: Final = 1e-10
_USED: Final = 1e-3


def convex_weights(
    oof: Floats, y: Array, weight: Floats | None, *, shrinkage: float, context: FusionContext
) -> Floats:
    """Return the weights of least loss, moved toward equal ones.

    Parameters
    ----------
    oof : array of shape (n_members, n_rows, n_outputs)
        Predictions of members ordered by rising loss.
    y, weight : array of shape (n_rows,)
        Target and sample weights.
    shrinkage : float
        0 for the least loss, 1 for equal weights of the members that it uses.
    context : FusionContext
        Its deadline ends the iterations.
    """
    mass = mass_of(weight, len(y))
    if context.task.is_classification:
        weights = least_log_loss(true_class(oof, y), mass, context.deadline)
    else:
        weights = least_squares(oof[:, :, 0] - y, mass)
    used = weights > min(_USED, weights.max() / 2)
    shrunk: Floats = (1 - shrinkage) * weights + shrinkage * used / used.sum()
    return shrunk


def least_log_loss(truth: Floats, mass: Floats, deadline: Deadline) -> Floats:
    """Return simplex weights w that minimise -sum(mass * log(w @ truth)).

    Parameters
    ----------
    truth : array of shape (n_members, n_rows)
        Probability of each row's true class, above 0.
    mass : array of shape (n_rows,)
        Weight of each row, of sum 1.
    deadline : Deadline
        Ends the iterations; the weights so far are returned.
    """
    losses = -np.log(truth) @ mass
    best = np.zeros(len(truth))
    best[np.argmin(losses)] = 1.0
    weights = np.full(len(truth), 1 / len(truth))
    for _ in range(_STEPS):
        if deadline.expired():
            break
        scaled = truth * (np.sqrt(mass) / (weights @ truth))
        slope = 1 - scaled @ np.sqrt(mass)
        if slope.min() > -GAP:
            break
        target = _newton_point(weights, slope, scaled @ scaled.T)
        if target is None:
            target = weights * (1 - slope)  # one step of the EM algorithm, which never fails
        weights = _line_search(truth, mass, weights, target, slope)
    return weights if -np.log(weights @ truth) @ mass <= losses.min() else best


def _newton_point(weights: Floats, slope: Floats, curvature: Floats) -> Floats | None:
    """Return the minimum of the quadratic model over x >= 0, or None if NNLS gives up."""
    ridge = _RIDGE * np.trace(curvature) / len(weights)
    factor = np.linalg.cholesky(curvature + ridge * np.eye(len(weights)))
    right = np.linalg.solve(factor, curvature @ weights - slope)
    return _nnls(factor.T, np.asarray(right, dtype=np.float64))


def _nnls(matrix: Floats, right: Floats) -> Floats | None:
    from scipy.optimize import nnls

    try:
        solution: Floats = nnls(matrix, right, maxiter=30 * matrix.shape[1])[0]
    except RuntimeError:  # too many iterations: its only way to say so
        return None
    return solution if solution.sum() > 0 else None


def _line_search(
    truth: Floats, mass: Floats, weights: Floats, target: Floats, slope: Floats
) -> Floats:
    """Return weights between the two points where the loss has fallen enough (Armijo)."""

    def objective(point: Floats) -> float:
        return float(point.sum() - mass @ np.log(np.maximum(point @ truth, 1e-300)))

    before = objective(weights)
    direction = target - weights
    promised = float(slope @ direction)
    step = 1.0
    for _ in range(20):
        point = weights + step * direction
        if objective(point) <= before + 0.01 * step * promised:
            return np.asarray(point / point.sum())
        step /= 2
    return weights


def least_squares(errors: Floats, mass: Floats) -> Floats:
    """Return simplex weights w that minimise sum(mass * (w @ errors)**2).

    For Q = errors * mass @ errors.T, the x >= 0 of least x'Qx + (sum(x) - 1)² is such a w
    times a number: whatever the sum, the best direction is the same.

    Parameters
    ----------
    errors : array of shape (n_members, n_rows)
        Prediction minus target.
    mass : array of shape (n_rows,)
        Weight of each row, of sum 1.
    """
    products = (errors * mass) @ errors.T
    squared = np.diag(products)
    best = np.zeros(len(errors))
    best[np.argmin(squared)] = 1.0
    if squared.min() <= 0:
        return best
    scaled = products / squared.min()
    ridge = _RIDGE * np.trace(scaled) / len(scaled)
    factor = np.linalg.cholesky(scaled + ridge * np.eye(len(scaled)))
    solution = _nnls(np.vstack([factor.T, np.ones(len(scaled))]), np.r_[np.zeros(len(scaled)), 1])
    if solution is None:
        return best
    weights = solution / solution.sum()
    return weights if weights @ products @ weights <= squared.min() else best


def _build(params: Params, context: FusionContext) -> Fusion:
    shrinkage = float(params.get("shrinkage", 0.1))
    return WeightedMean(partial(convex_weights, shrinkage=shrinkage, context=context), context)


def _space(suggest: Suggest) -> dict[str, Any]:
    return {"shrinkage": suggest.real("shrinkage", 0.0, 1.0)}


SPEC = FusionSpec(
    name="convex",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=_space,
    portfolio=(
        Configuration(params={"shrinkage": 0.1}, merit=0.8),
        Configuration(params={"shrinkage": 0.0}, merit=0.75),
        Configuration(params={"shrinkage": 0.5}, merit=0.35),
    ),
)
