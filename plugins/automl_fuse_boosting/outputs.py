"""From raw scores to the probabilities of the contract, and models that need no trees."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from automl_fuse.specs import Array, FitContext, Floats, Matrix, Rows


class Head(StrEnum):
    """What the trees add up to: a log-odds, one score a class, or a value."""

    LOGISTIC = "logistic"
    SOFTMAX = "softmax"
    VALUE = "value"


def head_of(context: FitContext) -> Head:
    """Return the head of a fit; two classes need one score, whatever the task is called."""
    if not context.task.is_classification:
        return Head.VALUE
    return Head.LOGISTIC if context.n_classes <= 2 else Head.SOFTMAX


def predictions(raw: Array, head: Head) -> Floats:
    """Turn raw scores into predictions.

    Parameters
    ----------
    raw : array of shape (n_rows,) or (n_rows, n_classes)
        Sums of leaf values.
    head : Head
        What they mean.

    Returns
    -------
    float64 array of shape (n_rows, n_classes) or (n_rows, 1)
        Probabilities whose rows sum to 1, or values.
    """
    scores = np.asarray(raw, dtype=np.float64)
    if head is Head.VALUE:
        return scores.reshape(-1, 1)
    if head is Head.LOGISTIC:
        # Beyond 700 the exponential overflows; the probability is 0 or 1 long before.
        positive = 1.0 / (1.0 + np.exp(-np.clip(scores.reshape(-1), -700.0, 700.0)))
        both = np.empty((len(positive), 2))
        np.subtract(1.0, positive, out=both[:, 0])
        both[:, 1] = positive
        return both
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def constant_prediction(train: Rows, context: FitContext) -> Floats | None:
    """Return the one prediction that fits rows which no tree can split.

    Parameters
    ----------
    train : Rows
        Training rows.
    context : FitContext
        Task and number of classes.

    Returns
    -------
    float64 array of shape (n_outputs,) or None
        Weighted class frequencies or mean, if no feature varies or there is one class only;
        None if there is something to learn.
    """
    one_class = context.task.is_classification and context.n_classes < 2
    if not one_class and _any_varies(train.X):
        return None
    if context.task.is_classification:
        return class_frequencies(train, context.n_classes)
    return np.array([np.average(train.y, weights=train.weight)], dtype=np.float64)


def class_frequencies(train: Rows, n_classes: int) -> Floats:
    """Return the weighted share of each class, (n_classes,), or the mean of soft labels."""
    if train.soft is not None:
        return np.asarray(np.average(train.soft, axis=0, weights=train.weight))
    counts = np.bincount(train.y, weights=train.weight, minlength=n_classes)
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def _any_varies(X: Matrix) -> bool:
    if X.values.size == 0:
        return False
    first = X.values[:1]
    same = (X.values == first) | (np.isnan(X.values) & np.isnan(first))
    return not bool(same.all())
