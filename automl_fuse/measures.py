"""Measures of quality in NumPy: ``measure(y, prediction, weight)``.

``y`` holds class codes (n_rows,) as integers, or values; the prediction is what the measure
reads: probabilities (n_rows, n_classes), class codes or values (n_rows,); the weight is
positive (n_rows,), or None. There is at least one row. NaN means undefined.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from automl_fuse.specs import Array, Floats

_EPSILON: Final = float(np.finfo(np.float64).eps)
_ROUNDING: Final = 1e-12
"""Share of a sum of weights by which two halves of it may differ and still be equal."""

# ------------------------------------------------------------------ labels

LABEL_GRID: Final = 2.0**30
"""Probabilities are told apart as multiples of 1 / LABEL_GRID where they decide on a label.

The last bits of a probability differ between NumPy, onnxruntime and other machines. Equal
probabilities, which voting and trees of pure leaves do give, would then have one label here and
another there.
"""


def label_bound(threshold: float) -> float:
    """Return the probability above which the second of two classes is the label.

    Half a step of the grid above the threshold: what differs from it by rounding is not above.
    """
    return threshold + 0.5 / LABEL_GRID


def labels_of(probability: Floats, threshold: float = 0.5) -> Array:
    """Return class codes (n_rows,) as int64 from probabilities (n_rows, n_classes).

    Of two classes the second is the label where its probability is above the threshold; of more
    the likeliest is, the first of equals.
    """
    if probability.shape[1] == 2:
        return (probability[:, 1] > label_bound(threshold)).astype(np.int64)
    codes: Array = np.argmax(np.round(probability * LABEL_GRID), axis=1).astype(np.int64)
    return codes


# ------------------------------------------------------------------ measures of probabilities


def _mean(values: Array, weight: Floats | None) -> float:
    return float(np.average(values, weights=weight))


def log_loss(y: Array, prediction: Array, weight: Floats | None) -> float:
    """Return the mean of -log of the true class's probability, clipped as scikit-learn does."""
    truth = prediction[np.arange(len(y)), y]
    return _mean(-np.log(np.clip(truth, _EPSILON, 1 - _EPSILON)), weight)


def brier(y: Array, prediction: Array, weight: Floats | None) -> float:
    """Return the mean squared error of probabilities, summed over more than two classes."""
    if prediction.shape[1] == 2:
        return _mean((prediction[:, 1] - y) ** 2, weight)
    truth = prediction[np.arange(len(y)), y]
    return _mean((prediction**2).sum(axis=1) - 2 * truth + 1, weight)


def _area(positive: Array, ranking: Array, weight: Floats | None) -> float:
    """Return the area under the ROC curve, ties counted half (Hanley and McNeil 1982, eq. 1)."""
    order = np.argsort(ranking)
    ranked = ranking[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    mass = np.ones(len(order)) if weight is None else weight[order]
    hits = positive[order]
    won = np.add.reduceat(mass * hits, starts)
    lost = np.add.reduceat(mass * ~hits, starts)
    pairs = float(won.sum() * lost.sum())
    if pairs == 0:
        return float("nan")
    return float(won @ (np.cumsum(lost) - lost / 2)) / pairs


def roc_auc(y: Array, prediction: Array, weight: Floats | None) -> float:
    """Return the area under the ROC curve: of the second class, or the mean of each class's."""
    n_classes = prediction.shape[1]
    classes = range(1, 2) if n_classes == 2 else range(n_classes)
    areas = np.array([_area(y == c, prediction[:, c], weight) for c in classes])
    defined = areas[~np.isnan(areas)]
    return float(defined.mean()) if len(defined) else float("nan")


# ------------------------------------------------------------------ measures of labels


def _confusion(y: Array, label: Array, weight: Floats | None) -> Floats:
    n_classes = max(2, int(y.max()) + 1, int(label.max()) + 1)
    cells = y.astype(np.intp) * n_classes + label
    counts = np.bincount(cells, weights=weight, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).astype(np.float64)


def accuracy(y: Array, label: Array, weight: Floats | None) -> float:
    """Return the share of right labels."""
    return _mean(y == label, weight)


def balanced_accuracy(y: Array, label: Array, weight: Floats | None) -> float:
    """Return the mean recall of the classes that occur."""
    table = _confusion(y, label, weight)
    size = table.sum(axis=1)
    return float(np.mean(np.diag(table)[size > 0] / size[size > 0]))


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def class_precision(table: Floats) -> Floats:
    """Return the precision of each class, 0 where it is undefined."""
    return _ratio(np.diag(table), table.sum(axis=0))


def class_recall(table: Floats) -> Floats:
    """Return the recall of each class, 0 where it is undefined."""
    return _ratio(np.diag(table), table.sum(axis=1))


def class_f1(table: Floats) -> Floats:
    """Return the F1 of each class, 0 where it is undefined."""
    return _ratio(2 * np.diag(table), table.sum(axis=0) + table.sum(axis=1))


@dataclass(frozen=True)
class Averaged:
    """A measure of each class, of the second class or averaged as scikit-learn does."""

    per_class: Callable[[Floats], Floats]
    average: Literal["second", "macro", "weighted"]

    def over_classes(self) -> Averaged:
        """Return this measure for more than two classes: macro where it was the second's."""
        return replace(self, average="macro") if self.average == "second" else self

    def __call__(self, y: Array, label: Array, weight: Floats | None) -> float:
        """Return the measure of class codes (n_rows,)."""
        table = _confusion(y, label, weight)
        values = self.per_class(table)
        if self.average == "second":
            return float(values[1])
        size = table.sum(axis=1)
        if self.average == "macro":
            return float(values[size + table.sum(axis=0) > 0].mean())
        return float(values @ size / size.sum())


def mcc(y: Array, label: Array, weight: Floats | None) -> float:
    """Return the correlation of true and predicted classes (Gorodkin 2004, eq. 8), or 0."""
    table = _confusion(y, label, weight)
    true, said, total = table.sum(axis=1), table.sum(axis=0), table.sum()
    spread = (total**2 - true @ true) * (total**2 - said @ said)
    if spread <= 0:
        return 0.0
    return float((np.trace(table) * total - true @ said) / np.sqrt(spread))


# ------------------------------------------------------------------ measures of values


def rmse(y: Array, prediction: Array, weight: Floats | None) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(_mean((y - prediction) ** 2, weight)))


def mae(y: Array, prediction: Array, weight: Floats | None) -> float:
    """Return the mean absolute error."""
    return _mean(np.abs(y - prediction), weight)


def r2(y: Array, prediction: Array, weight: Floats | None) -> float:
    """Return 1 - residual / total variance; of a constant target 1 if predicted exactly, or 0."""
    if len(y) < 2:
        return float("nan")
    residual = _mean((y - prediction) ** 2, weight)
    total = _mean((y - np.average(y, weights=weight)) ** 2, weight)
    if total == 0:
        return 1.0 if residual == 0 else 0.0
    return 1 - residual / total


def mape(y: Array, prediction: Array, weight: Floats | None) -> float:
    """Return the mean relative error over the rows whose target is not zero."""
    rows = y != 0
    if not rows.any():
        return float("nan")
    with np.errstate(over="ignore"):  # a target next to zero: the error is infinite then
        errors = np.abs((y[rows] - prediction[rows]) / y[rows])
    return _mean(errors, None if weight is None else weight[rows])


def median_ae(y: Array, prediction: Array, weight: Floats | None) -> float:
    """Return the median absolute error."""
    errors = np.abs(y - prediction)
    return float(np.median(errors)) if weight is None else _weighted_median(errors, weight)


def _weighted_median(values: Array, weight: Floats) -> float:
    """Return the value with half of the weight on each side; the mean of two if both have it.

    Hyndman and Fan (1996), "Sample quantiles in statistical packages", definition 2, of rows that
    count as often as they weigh: whole weights are repetitions, equal ones give the median.
    """
    order = np.argsort(values)
    below = np.cumsum(weight[order])
    # Weights that are no whole numbers meet the half only up to rounding.
    half, slack = below[-1] / 2, below[-1] * _ROUNDING
    lower = np.searchsorted(below, half - slack, side="left")
    upper = np.searchsorted(below, half + slack, side="right")
    return float(values[order[[lower, upper]]].mean())
