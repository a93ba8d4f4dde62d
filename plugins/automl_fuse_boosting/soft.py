"""Soft labels: learning from class probabilities instead of classes, in distillation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automl_fuse_boosting.outputs import class_frequencies

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats, Rows

_LEAST = 1e-15
"""Probabilities below it count as this much in a logarithm."""
_LEAST_CURVATURE = 1e-16
_LEAST_FREQUENCY = 1e-6


def labels_of(rows: Rows) -> Array:
    """Return the labels of two classes: the soft probability of the second, or the class codes."""
    return rows.y if rows.soft is None else np.ascontiguousarray(rows.soft[:, 1])


def start_of(train: Rows, n_classes: int) -> Floats:
    """Return the scores (n_classes,) to start from, whose probabilities are the frequencies."""
    return np.asarray(np.log(np.maximum(class_frequencies(train, n_classes), _LEAST_FREQUENCY)))


class SoftmaxLoss:
    """Cross-entropy of several classes against soft labels, for libraries that only know classes.

    Parameters
    ----------
    rows : Rows
        Rows whose scores are judged; without soft labels, their classes are taken for certain.
    n_classes : int
        Number of classes.
    factor : float
        What the second derivatives are multiplied with: a library's own, so that its
        regularisation weighs as much as for classes.
    """

    def __init__(self, rows: Rows, n_classes: int, factor: float) -> None:
        self._soft = np.eye(n_classes)[rows.y] if rows.soft is None else rows.soft
        self._weight = None if rows.weight is None else rows.weight[:, None]
        self._factor = factor

    def gradient(self, scores: Array) -> tuple[Floats, Floats]:
        """Return the first and second derivatives by the scores, each (n_rows, n_classes)."""
        p = _softmax(scores)
        first, second = p - self._soft, np.maximum(self._factor * p * (1.0 - p), _LEAST_CURVATURE)
        if self._weight is None:
            return first, second
        return first * self._weight, second * self._weight

    def mean(self, scores: Array) -> float:
        """Return the weighted mean of the loss, in nats."""
        by_row = -(self._soft * np.log(np.maximum(_softmax(scores), _LEAST))).sum(axis=1)
        weight = None if self._weight is None else self._weight[:, 0]
        return float(np.average(by_row, weights=weight))


def _softmax(scores: Array) -> Floats:
    powers = np.exp(np.asarray(scores, dtype=np.float64) - scores.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result
