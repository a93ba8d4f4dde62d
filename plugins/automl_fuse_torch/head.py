"""A head of straight lines, moved from where it starts as far as its rows bear.

Ridge regression and multinomial logistic regression towards a given head in place of zero: the
penalty is the squared distance from it, in deviations of the features (Hoerl and Kennard (1970),
"Ridge regression", section 6, on estimates shrunken towards prior means). Its weight is chosen by
cross-validation; without end, it leaves the head where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automl_fuse.specs import Array, Deadline, Floats

PENALTIES: Final = (10.0, 1.0, 0.1, 0.01, 0.001)
"""Weights of the squared distance that are tried, against the mean loss of a row."""
_FOLDS: Final = 5
_STEPS: Final = 100
"""Of the optimiser, for one head."""
_LEAST_DEVIATION: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What a head is fitted to.

    Attributes
    ----------
    features : array of shape (n_rows, n_features)
        What it reads.
    start : array of shape (n_rows, n_outputs)
        Scores of the head that it starts from.
    goal : array of shape (n_rows, n_outputs)
        Probabilities of classes, or values.
    weight : array of shape (n_rows,)
        Sample weights.
    source : int array of shape (n_rows,)
        The row that each was made of: copies of a row are held out together.
    is_classification : bool
        Whether scores become probabilities.
    """

    features: Floats
    start: Floats
    goal: Floats
    weight: Floats
    source: Array
    is_classification: bool

    def rows(self, chosen: Array) -> Lesson:
        """Return some of the rows."""
        parts: dict[str, Any] = {
            name: getattr(self, name)[chosen]
            for name in ("features", "start", "goal", "weight", "source")
        }
        return replace(self, **parts)


def moved(lesson: Lesson, seed: int, deadline: Deadline) -> tuple[Floats, Floats]:
    """Return what to add to a head: weights (n_features, n_outputs), and biases (n_outputs,).

    Parameters
    ----------
    lesson : Lesson
        What it is fitted to.
    seed : int
        Of the folds that choose the penalty.
    deadline : Deadline
        Once it has passed, the head is moved no farther.
    """
    centre = np.average(lesson.features, axis=0, weights=lesson.weight)
    spread = lesson.features.std(axis=0)
    scale = np.where(spread > _LEAST_DEVIATION, spread, np.inf)
    standard = replace(lesson, features=(lesson.features - centre) / scale)
    penalty = _chosen(standard, seed, deadline)
    if penalty is None:
        n_features, n_outputs = lesson.features.shape[1], lesson.start.shape[1]
        return np.zeros((n_features, n_outputs)), np.zeros(n_outputs)
    found = _fitted(standard, penalty, None, deadline)
    weight = found[:-1] / scale[:, None]
    return weight, found[-1] - centre @ weight


def _chosen(lesson: Lesson, seed: int, deadline: Deadline) -> float | None:
    """Return the penalty of least cross-validated loss; None if the head is best left alone."""
    splits = list(_splits(lesson.source, seed))
    if not splits:
        return None
    before = [np.zeros((lesson.features.shape[1] + 1, lesson.start.shape[1]))] * len(splits)
    best, least = None, _loss_of_all(lesson, splits, before)
    for penalty in PENALTIES:
        heads = []
        for (train, _), start in zip(splits, before, strict=True):
            if deadline.expired():
                return best
            heads.append(_fitted(lesson.rows(train), penalty, start, deadline))
        loss = _loss_of_all(lesson, splits, heads)
        if loss < least:
            best, least = penalty, loss
        before = heads
    return best


def _splits(source: Array, seed: int) -> Iterator[tuple[Array, Array]]:
    """Yield rows to fit and rows held out; none where there are too few."""
    known = np.unique(source)
    if len(known) < 2 * _FOLDS:
        return
    fold = np.random.default_rng(seed).permutation(len(known)) % _FOLDS
    of_row = fold[np.searchsorted(known, source)]
    for each in range(_FOLDS):
        yield np.flatnonzero(of_row != each), np.flatnonzero(of_row == each)


def _loss_of_all(lesson: Lesson, splits: list[tuple[Array, Array]], heads: list[Floats]) -> float:
    """Return the mean loss of held-out rows."""
    losses = []
    for (_, held_out), head in zip(splits, heads, strict=True):
        rows = lesson.rows(held_out)
        losses.append(_loss(rows, _scores(rows, head)))
    return float(np.mean(losses))


def _scores(lesson: Lesson, head: Floats) -> Floats:
    scores: Floats = lesson.start + lesson.features @ head[:-1] + head[-1]
    return scores


def _loss(lesson: Lesson, scores: Floats) -> float:
    """Return the mean loss of rows: cross-entropy, or half the squared error."""
    if not lesson.is_classification:
        each = 0.5 * np.square(scores - lesson.goal).sum(axis=1)
    else:
        each = -(lesson.goal * _log_softmax(scores)).sum(axis=1)
    return float(np.average(each, weights=lesson.weight))


def _log_softmax(scores: Floats) -> Floats:
    low = scores - scores.max(axis=1, keepdims=True)
    result: Floats = low - np.log(np.exp(low).sum(axis=1, keepdims=True))
    return result


# --------------------------------------------------------------------------- fitting


def _fitted(lesson: Lesson, penalty: float, start: Floats | None, deadline: Deadline) -> Floats:
    """Return the head (n_features + 1, n_outputs) to add, its biases last, for one penalty."""
    if not lesson.is_classification:
        return _ridge(lesson, penalty)
    from scipy.optimize import minimize

    shape = (lesson.features.shape[1] + 1, lesson.start.shape[1])
    first = np.zeros(shape) if start is None else start
    share = lesson.weight[:, None] / lesson.weight.sum()

    def loss_and_slope(flat: Floats) -> tuple[float, Floats]:
        head = flat.reshape(shape)
        likely = _log_softmax(_scores(lesson, head))
        off = share * (np.exp(likely) - lesson.goal)
        slope = np.vstack([lesson.features.T @ off + penalty * head[:-1], off.sum(axis=0)])
        distance = 0.5 * penalty * float(np.square(head[:-1]).sum())
        return float(-(share * lesson.goal * likely).sum()) + distance, slope.ravel()

    def look(_: Floats) -> None:
        if deadline.expired():
            raise StopIteration

    found = minimize(
        loss_and_slope,
        first.ravel(),
        jac=True,
        method="L-BFGS-B",
        callback=look,
        options={"maxiter": _STEPS},
    )
    result: Floats = found.x.reshape(shape)
    return result


def _ridge(lesson: Lesson, penalty: float) -> Floats:
    """Return the head of values; its biases are not penalised."""
    share = lesson.weight / lesson.weight.sum()
    design = np.column_stack([lesson.features, np.ones(len(share))])
    weighed = design * share[:, None]
    distance = np.append(np.full(design.shape[1] - 1, penalty), 0.0)
    result: Floats = np.linalg.solve(
        weighed.T @ design + np.diag(distance), weighed.T @ (lesson.goal - lesson.start)
    )
    return result
