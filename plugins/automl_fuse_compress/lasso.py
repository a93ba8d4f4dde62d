"""A lasso without negative weights, in the form that says how many are not zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Floats

_RELAXATION: Final = 0.8
"""Each penalty of the path is that share of the one before."""
_LEAST_PENALTY: Final = 1e-6
"""Share of the first penalty at which the path ends."""
_RIDGE: Final = 1e-3
"""Share of its own variance by which a chosen weight is held to that of the lasso."""


def sparse_weights(gram: Floats, moment: Floats, count: int) -> tuple[NDArray[np.intp], Floats]:
    """Choose predictors by the lasso, and fit their weights without its penalty.

    Parameters
    ----------
    gram : array of shape (n_predictors, n_predictors)
        Weighted products of the centred predictors.
    moment : array of shape (n_predictors,)
        Their products with the centred goal.
    count : int
        How many to choose, at most.

    Returns
    -------
    chosen : array of shape (n_chosen,)
        Their positions: at least one; the ``count`` that matter most, where the path takes in
        several at once.
    weights : array of shape (n_chosen,)
        Least squares weights; these may be negative.
    """
    scale = np.sqrt(np.maximum(np.diag(gram), 0.0))
    # A predictor that hardly varies would get a huge weight.
    alive = np.flatnonzero(scale > 1e-7 * scale.max()) if scale.max() > 0 else np.array([0])
    scale = np.where(scale > 0, scale, 1.0)
    unit = gram[np.ix_(alive, alive)] / np.outer(scale[alive], scale[alive])
    path = _path(unit, moment[alive] / scale[alive], count)
    order = np.argsort(-path, kind="stable")[:count]
    best = order[path[order] > 0]
    best = order[:1] if not len(best) else best
    held = _RIDGE * np.eye(len(best))
    weights = np.linalg.solve(
        unit[np.ix_(best, best)] + held,
        (moment[alive] / scale[alive])[best] + _RIDGE * path[best],
    )
    return alive[best], weights / scale[alive[best]]


def _path(unit: Floats, moment: Floats, count: int) -> Floats:
    """Relax the penalty until so many weights are above 0; return them all.

    scikit-learn's coordinate descent wants the rows. Those of a Cholesky factor have the same
    products, and are as few as there are predictors.
    """
    from sklearn.linear_model import lasso_path

    n = len(unit)
    rows = np.asfortranarray(np.linalg.cholesky(unit + 1e-9 * np.eye(n)).T)
    goal = np.linalg.solve(rows.T, moment)
    weights = np.zeros(n)
    first = penalty = float(moment.max())
    while penalty > _LEAST_PENALTY * first and (weights > 0).sum() < count:
        penalty *= _RELAXATION
        _, path, _ = lasso_path(
            rows,
            goal,
            alphas=[penalty / n],
            precompute=unit,
            Xy=moment,
            coef_init=weights,
            positive=True,
            max_iter=300,
            tol=1e-3,
        )
        weights = path[:, 0]
    return weights
