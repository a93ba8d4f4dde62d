"""From OOF predictions and a kind of fusion to weights, a cross-fitted score, a calibration.

Rows that lack a prediction of some member (the first block of time-ordered folds) are NaN in
the OOF matrix and left out of everything here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from automl_fuse.calibration import Calibration, apply_temperature
from automl_fuse.errors import DataError, PluginError
from automl_fuse.metrics import score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import (
        Array,
        Floats,
        Fusion,
        FusionContext,
        FusionSpec,
        MetricSpec,
        Params,
        Task,
    )

__all__ = [
    "CrossFitted",
    "FittedFusion",
    "Splits",
    "cross_fitted",
    "fit_calibration",
    "fit_final",
    "fit_temperature",
    "fit_threshold",
]

Splits: TypeAlias = "Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]"
"""Pairs of rows: those that choose, and those that score."""

_SMALLEST_SHARE: Final = 1e-3
_REFITS: Final = 2
_ROWS_FOR_TEMPERATURE: Final = 200
_MOST_ROWS_FOR_TEMPERATURE: Final = 20_000
_TEMPERATURE_BLOCKS: Final = 5
_NOT_TUNED: Final = frozenset({"precision", "recall"})
"""Metrics that a threshold can drive to their best value by saying one label only."""


@dataclass(frozen=True, kw_only=True)
class CrossFitted:
    """How a fusion does on rows that did not choose its weights.

    Attributes
    ----------
    loss : float
        Over all scored rows.
    std : float
        Standard deviation of the loss over the splits.
    prediction : array of shape (n_rows, n_outputs)
        Fused predictions, averaged over splits; NaN in rows that no split scores.
    """

    loss: float
    std: float
    prediction: Floats


@dataclass(frozen=True, kw_only=True)
class FittedFusion:
    """A fusion fitted on all rows, and the members it needs.

    Attributes
    ----------
    fusion : Fusion
        It combines the kept members, in this order.
    members : tuple of int
        Positions of the kept members in the OOF matrix, rising.
    weights : array of shape (n_kept,)
        Their shares, of sum 1.
    """

    fusion: Fusion
    members: tuple[int, ...]
    weights: Floats


# ------------------------------------------------------------------ choosing weights


def cross_fitted(
    spec: FusionSpec,
    params: Params,
    oof: Floats,
    y: Array,
    weight: Floats | None,
    splits: Splits,
    context: FusionContext,
) -> CrossFitted:
    """Fit a fusion on the choosing rows of each split, and score it on the others.

    Parameters
    ----------
    spec, params
        The fusion and its hyperparameters.
    oof : array of shape (n_members, n_rows, n_outputs)
        Out-of-fold predictions.
    y, weight : array of shape (n_rows,)
        Target and sample weights.
    splits : sequence of (choose_rows, score_rows)
        As ``folds.cross_fitting`` makes them.
    context : FusionContext
        What the fusion is told.

    Raises
    ------
    DataError
        If no split has rows to choose with and rows to score.
    PluginError
        If the fusion returns weights or predictions that break the contract.
    """
    known = _known_rows(oof)
    total = np.zeros(oof.shape[1:])
    times = np.zeros(oof.shape[1])
    losses = []
    for choose_rows, score_rows in splits:
        chosen, scored = choose_rows[known[choose_rows]], score_rows[known[score_rows]]
        if not len(chosen) or not len(scored):
            continue
        fusion = _fitted(spec, params, oof[:, chosen], y[chosen], _take(weight, chosen), context)
        prediction = _combined(spec, fusion, oof[:, scored])
        losses.append(context.loss(y[scored], prediction, _take(weight, scored)))
        total[scored] += prediction
        times[scored] += 1
    rows = np.flatnonzero(times)
    if not len(rows):
        raise DataError(
            "No row has out-of-fold predictions of every member both to choose a fusion with "
            "and to score it on: use fewer folds, or more rows."
        )
    total[times == 0] = np.nan
    total[rows] /= times[rows, None]
    finite = np.array([loss for loss in losses if np.isfinite(loss)])
    return CrossFitted(
        loss=float(context.loss(y[rows], total[rows], _take(weight, rows))),
        std=float(finite.std()) if len(finite) else float("nan"),
        prediction=total,
    )


def fit_final(
    spec: FusionSpec,
    params: Params,
    oof: Floats,
    y: Array,
    weight: Floats | None,
    context: FusionContext,
) -> FittedFusion:
    """Fit a fusion on all rows, and again without the members whose share is below 0.1 %.

    Parameters are those of ``cross_fitted``. Members are dropped at most twice.

    Raises
    ------
    DataError
        If no row has predictions of every member.
    PluginError
        If the fusion returns weights that break the contract.
    """
    rows = np.flatnonzero(_known_rows(oof))
    if not len(rows):
        raise DataError("No row has out-of-fold predictions of every member: use fewer folds.")
    target, mass = y[rows], _take(weight, rows)
    members = np.arange(len(oof))
    fusion = _fitted(spec, params, oof[:, rows], target, mass, context)
    for _ in range(_REFITS):
        needed = fusion.weights >= min(_SMALLEST_SHARE, fusion.weights.max())
        if needed.all():
            break
        members = members[needed]
        fusion = _fitted(spec, params, oof[np.ix_(members, rows)], target, mass, context)
    return FittedFusion(
        fusion=fusion,
        members=tuple(int(m) for m in members),
        weights=np.asarray(fusion.weights, dtype=np.float64),
    )


def _known_rows(oof: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(oof).all(axis=(0, 2)))


def _take(weight: Floats | None, rows: NDArray[np.intp]) -> Floats | None:
    return None if weight is None else weight[rows]


def _fitted(
    spec: FusionSpec,
    params: Params,
    oof: Floats,
    y: Array,
    weight: Floats | None,
    context: FusionContext,
) -> Fusion:
    fusion = spec.build(params, context)
    fusion.fit(oof, y, weight)
    shares = np.asarray(fusion.weights)
    if shares.shape != (len(oof),) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise PluginError(
            f"Fusion {spec.name!r} gave weights {shares} for {len(oof)} members: they must be "
            "one share a member, not negative, of sum 1."
        )
    return fusion


def _combined(spec: FusionSpec, fusion: Fusion, predictions: Floats) -> Floats:
    prediction = fusion.combine(predictions)
    expected = predictions.shape[1:]
    if prediction.shape != expected or not np.isfinite(prediction).all():
        raise PluginError(
            f"Fusion {spec.name!r} combined predictions into an array of shape "
            f"{prediction.shape}: it must be {expected}, without NaN or infinities."
        )
    return prediction


# ------------------------------------------------------------------ calibration


def fit_calibration(
    metric: MetricSpec,
    task: Task,
    prediction: Floats,
    y: Array,
    weight: Floats | None,
    splits: Splits,
) -> Calibration:
    """Choose the temperature, then the decision threshold, from cross-fitted predictions.

    Parameters
    ----------
    metric : MetricSpec
        The objective.
    task : Task
        What is predicted; in regression nothing is calibrated.
    prediction : array of shape (n_rows, n_outputs)
        ``CrossFitted.prediction``.
    y, weight : array of shape (n_rows,)
        Target and sample weights.
    splits : sequence of (choose_rows, score_rows)
        For the threshold.
    """
    if not task.is_classification:
        return Calibration()
    temperature = fit_temperature(prediction, y, weight)
    calibrated = apply_temperature(prediction, temperature)
    threshold = fit_threshold(metric, task, calibrated, y, weight, splits)
    return Calibration(temperature=temperature, threshold=threshold)


def fit_temperature(prediction: Floats, y: Array, weight: Floats | None) -> float:
    """Return the temperature that minimises log-loss, or 1 where none can be relied on.

    It is 1 for fewer than 200 rows, and where temperatures fitted on four fifths of the rows
    do not lower the log-loss of the others. Of more than 20,000 rows every k-th is used: one
    number needs no more. Guo et al. 2017, section 4.2.

    Parameters
    ----------
    prediction : array of shape (n_rows, n_classes)
        Probabilities that did not learn from these rows; rows with NaN are left out.
    y, weight : array of shape (n_rows,)
        Class codes and sample weights.
    """
    rows = np.flatnonzero(np.isfinite(prediction).all(axis=1))
    if len(rows) < _ROWS_FOR_TEMPERATURE:
        return 1.0
    rows = rows[:: -(-len(rows) // _MOST_ROWS_FOR_TEMPERATURE)]
    logits = np.log(np.maximum(prediction[rows], 1e-15))
    codes = y[rows].astype(np.intp)
    mass = np.ones(len(rows)) if weight is None else weight[rows]
    block = np.arange(len(rows)) % _TEMPERATURE_BLOCKS
    gain = 0.0
    for k in range(_TEMPERATURE_BLOCKS):
        fit, rest = block != k, block == k
        sharpness = _best_sharpness(logits[fit], codes[fit], mass[fit])
        before = _sharpened_loss(1.0, logits[rest], codes[rest], mass[rest])[0]
        after = _sharpened_loss(sharpness, logits[rest], codes[rest], mass[rest])[0]
        gain += (before - after) * mass[rest].sum()
    return 1 / _best_sharpness(logits, codes, mass) if gain > 0 else 1.0


def _best_sharpness(logits: Floats, codes: NDArray[np.intp], mass: Floats) -> float:
    """Return 1 / temperature in [0.1, 10] by Newton's method on a convex function, bracketed."""
    low, high, at = 0.1, 10.0, 1.0
    for _ in range(30):
        _, slope, curvature = _sharpened_loss(at, logits, codes, mass)
        low, high = (low, at) if slope > 0 else (at, high)
        step = at - slope / curvature if curvature > 0 else at
        following = step if low < step < high else (low + high) / 2
        if abs(following - at) < 1e-5:
            break
        at = following
    return float(at)


def _sharpened_loss(
    sharpness: float, logits: Floats, codes: NDArray[np.intp], mass: Floats
) -> tuple[float, float, float]:
    """Return the log-loss of softmax(sharpness * logits), its slope and its curvature."""
    scaled = sharpness * logits
    scaled -= scaled.max(axis=1, keepdims=True)
    raised = np.exp(scaled)
    norm = raised.sum(axis=1)
    probability = raised / norm[:, None]
    truth = np.arange(len(codes)), codes
    mean = (probability * logits).sum(axis=1)
    spread = (probability * logits**2).sum(axis=1) - mean**2
    total = mass.sum()
    return (
        float(mass @ (np.log(norm) - scaled[truth]) / total),
        float(mass @ (mean - logits[truth]) / total),
        float(mass @ spread / total),
    )


def fit_threshold(
    metric: MetricSpec,
    task: Task,
    prediction: Floats,
    y: Array,
    weight: Floats | None,
    splits: Splits,
) -> float:
    """Return the probability of the second class above which it is the label.

    It is 0.5 unless the metric reads labels of a binary task, and thresholds chosen on some
    rows improve it on the others. It is never chosen for precision and recall, which are best
    where every label is the same.

    Parameters
    ----------
    metric, task
        The objective.
    prediction : array of shape (n_rows, 2)
        Calibrated probabilities that did not learn from these rows; rows with NaN are left out.
    y, weight : array of shape (n_rows,)
        Class codes and sample weights.
    splits : sequence of (choose_rows, score_rows)
        As for ``cross_fitted``.
    """
    if metric.needs != "label" or prediction.shape[1] != 2 or metric.name in _NOT_TUNED:
        return 0.5
    known = np.asarray(np.isfinite(prediction).all(axis=1))
    sign = 1.0 if metric.greater_is_better else -1.0

    def gain(rows: NDArray[np.intp], threshold: float) -> float:
        value = score(metric, task, y[rows], prediction[rows], _take(weight, rows), threshold)
        return sign * value

    def best(rows: NDArray[np.intp]) -> float:
        candidates = _thresholds(prediction[rows, 1], y[rows] == 1)
        gains = [gain(rows, t) for t in candidates]
        top = candidates[np.isclose(gains, np.nanmax(gains), rtol=1e-12, atol=0)]
        return float(top[np.argmin(np.abs(top - 0.5))])

    improvement = 0.0
    for choose_rows, score_rows in splits:
        chosen, scored = choose_rows[known[choose_rows]], score_rows[known[score_rows]]
        if len(chosen) and len(scored):
            change = gain(scored, best(chosen)) - gain(scored, 0.5)
            improvement += change * len(scored) if np.isfinite(change) else 0.0
    return best(np.flatnonzero(known)) if improvement > 0 else 0.5


def _thresholds(probability: Floats, positive: NDArray[np.bool_]) -> Floats:
    """Return thresholds to try: dense where rows are, and where the second class is."""
    levels = np.linspace(0.01, 0.99, 50)
    parts = [np.quantile(probability, levels)]
    if positive.any():
        parts.append(np.quantile(probability[positive], levels))
    found: Floats = np.unique(np.clip(np.concatenate([*parts, [0.5]]), 0.001, 0.999))
    return found
