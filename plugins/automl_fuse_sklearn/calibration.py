"""Probabilities from scores, learned on rows that did not fit the scorer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import FitContext, Floats, Link, Matrix, Rows, linked
from automl_fuse_sklearn.common import indicators, weights_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from automl_fuse_sklearn.predictor import Predictor, Scorer

_ONE_SPLIT_FROM = 1500
"""Rows from which one held-out quarter gives enough scores to calibrate on."""
_PENALTY = 1e-3
"""Pull of the calibration towards the scores as they are; matters for few rows only."""


def fit_calibrated(
    fit_scorer: Callable[[Rows], Scorer], train: Rows, context: FitContext
) -> Predictor:
    """Fit a scorer on all rows, and its calibration on scores of held-out training rows.

    The calibration is vector scaling (Guo et al. 2017, "On Calibration of Modern Neural
    Networks", 4.2), which for two classes is Platt's sigmoid.

    Below 1,500 rows three folds give a score for each row; above, one held-out quarter does.
    Classes too small to hold any row out keep their scores as they are, as all do when the
    deadline leaves no time for the second fit.

    Parameters
    ----------
    fit_scorer : callable
        Fits a scorer on rows in which every class occurs.
    train : Rows
        Training rows.
    context : FitContext
        Seed, number of classes and deadline.
    """
    scorer = fit_scorer(train)
    n_folds, n_used = (4, 1) if len(train.y) >= _ONE_SPLIT_FROM else (3, 3)
    fold = _stratified_folds(train, n_folds, context.seed)
    scores, held_out = [], []
    for i in range(n_used):
        outside = np.flatnonzero(fold == i)
        if len(outside) == 0 or context.deadline.expired():
            break
        inner = fit_scorer(_take(train, np.flatnonzero(fold != i)))
        scores.append(inner.scores(train.X.values[outside]))
        held_out.append(outside)
    if not scores:
        return scorer.calibrated(np.ones(context.n_classes), np.zeros(context.n_classes))
    rows = _take(train, np.concatenate(held_out))
    scale, shift = _vector_scaling(np.vstack(scores), rows, context.n_classes)
    return scorer.calibrated(scale, shift)


def _take(rows: Rows, chosen: NDArray[np.intp]) -> Rows:
    matrix = Matrix.numbers(rows.X.values[chosen], rows.X.names)
    weight = None if rows.weight is None else rows.weight[chosen]
    return Rows(X=matrix, y=rows.y[chosen], weight=weight)


def _stratified_folds(rows: Rows, n_folds: int, seed: int) -> NDArray[np.int64]:
    """Return a fold for each row, -1 in classes too small to hold rows out of."""
    rng = np.random.default_rng(seed)
    fold = np.full(len(rows.y), -1, dtype=np.int64)
    for code in np.unique(rows.y):
        members = rng.permutation(np.flatnonzero(rows.y == code))
        if len(members) >= n_folds:
            fold[members] = np.arange(len(members)) % n_folds
    return fold


def _vector_scaling(scores: Floats, rows: Rows, n_classes: int) -> tuple[Floats, Floats]:
    """Return scale and shift, (n_classes,) each, that minimise the penalised log-loss.

    Targets are smoothed as in Platt (1999), "Probabilistic outputs for support vector
    machines", 2.2, so that separable scores do not become certainties.
    """
    from scipy.optimize import minimize

    weight = weights_of(rows) / weights_of(rows).sum()
    unit = max(float(scores.std()), 1e-12)
    scaled = scores / unit
    hard = indicators(rows.y, n_classes)
    doubt = (2.0 / (hard.sum(axis=0) + 2.0))[rows.y][:, None]
    target = hard * (1.0 - doubt) + doubt / n_classes

    def loss(point: Floats) -> tuple[float, Floats]:
        scale, shift = point[:n_classes], point[n_classes:]
        predicted = linked(scaled * scale + shift, Link.SOFTMAX)
        value = -(weight @ (target * np.log(np.maximum(predicted, 1e-300))).sum(axis=1))
        slope = weight[:, None] * (predicted - target)
        pull = np.concatenate([scale - 1.0, shift])
        gradient = np.concatenate([(slope * scaled).sum(axis=0), slope.sum(axis=0)])
        return float(value + 0.5 * _PENALTY * pull @ pull), gradient + _PENALTY * pull

    start = np.concatenate([np.ones(n_classes), np.zeros(n_classes)])
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return best[:n_classes] / unit, best[n_classes:]
