"""Which of many candidate features tell about the target what others do not.

The target of one half of the rows is explained by what the other half says, and the reverse:
first by the parents of the candidates, added up, then by one candidate at a time. So a
candidate is judged on rows that it was not fitted on, by what the parents leave unexplained.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from automl_fuse.specs import Array, Floats, Task
from automl_fuse_encoders.numeric import centre_and_factor
from automl_fuse_encoders.target import outputs_of, shrunken_effects

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import Columns, Deadline, FitContext

__all__ = ["Allowance", "Judge", "Slots", "choose", "most_telling", "pairs_of"]

SAMPLE_ROWS = 10_000
EDGE_ROWS = 2_500
"""Rows of which the limits of bins are quantiles."""
LEAST_ERRORS = 4.0
"""A gain counts if it is this many standard errors: a few hundred candidates are compared."""
ROUNDS = 10
"""Rounds of backfitting; with fewer, one of two correlated parents stays half explained."""
FARTHEST_TARGET = 5.0
"""Numbers to predict are cut at so many interquartile ranges from their median."""
SHORTLIST = 48
"""Candidates that are judged again after each choice."""
FIRST_LOOK = 0.7
"""Share of the time after which no candidate is judged for the first time."""

Key = TypeVar("Key")


class Allowance:
    """A share of the time that a deadline leaves.

    Parameters
    ----------
    deadline : Deadline
        The deadline.
    share : float
        Of what is left now.
    most : float
        Seconds, at most.
    """

    def __init__(self, deadline: Deadline, *, share: float, most: float) -> None:
        self._deadline = deadline
        self._start = deadline.remaining()
        self._seconds = min(most, share * max(self._start, 0.0))

    def is_spent(self, part: float = 1.0) -> bool:
        """Return whether this part of it is used up."""
        return self._deadline.remaining() < self._start - part * self._seconds


@dataclass(frozen=True, kw_only=True)
class Slots:
    """What each row has one of: a category, a pair of categories, a bin.

    Attributes
    ----------
    values : int array of shape (n_rows,)
        The slot of each row.
    size : int
        Number of slots.
    """

    values: NDArray[np.integer[Any]]
    size: int

    @classmethod
    def bins(cls, values: Floats, most: int) -> Slots:
        """Cut numbers into at most ``most`` bins of about equally many rows, and one of NaN.

        The limits are those of the first rows, so that the order has to be random.
        """
        missing = np.isnan(values)
        known = np.sort(values[:EDGE_ROWS][~missing[:EDGE_ROWS]])
        ranks = np.arange(1, most) * len(known) // most
        edges = np.unique(known[ranks]) if len(known) else known
        slots = np.searchsorted(edges, values, side="right")
        slots[missing] = len(edges) + 1
        return cls(values=slots, size=len(edges) + 2)

    @property
    def n_used(self) -> int:
        """Number of slots that a row is in."""
        return int(np.count_nonzero(np.bincount(self.values, minlength=self.size)))


class Gain(NamedTuple):
    """By how much a candidate lessens the mean squared error, and its standard error."""

    mean: float
    error: float

    @property
    def counts(self) -> bool:
        """Whether it is more than chance gives."""
        return self.mean > LEAST_ERRORS * self.error


@dataclass(frozen=True, kw_only=True)
class _Half:
    """Rows to fit on and rows to score, and what is not explained yet of all of them."""

    fitted: slice
    scored: slice
    residuals: Floats


class Judge:
    """Judges candidates on a sample of rows.

    Parameters
    ----------
    outputs : array of shape (n_rows, n_outputs)
        What is to be explained, of rows in random order: the first half of them is one half.
    weight : array of shape (n_rows,)
        Weights.
    rows : int array of shape (n_rows,)
        The rows of the training table that these are.
    """

    def __init__(self, outputs: Floats, weight: Floats, rows: NDArray[np.intp]) -> None:
        self.rows = rows
        self._outputs = outputs
        self._weight = weight
        half = len(rows) // 2
        first, second = slice(0, half), slice(half, len(rows))
        self._halves = [
            _Half(fitted=fitted, scored=scored, residuals=outputs - self._mean(fitted))
            for fitted, scored in ((first, second), (second, first))
        ]

    @classmethod
    def of(cls, context: FitContext, y: Array, weight: Floats | None) -> Judge:
        """Draw at most 10,000 training rows, in random order.

        Numbers to predict are scaled and cut, so that a few far ones do not decide.
        """
        # Not the draw by which ``target`` makes its folds, which has the seed itself.
        rows = np.random.default_rng((context.seed, 1)).permutation(len(y))[:SAMPLE_ROWS]
        weight = np.ones(len(rows)) if weight is None else weight[rows]
        outputs, _ = outputs_of(context.task, y[rows], weight)
        if context.task is Task.REGRESSION:
            centre, factor = centre_and_factor(outputs[:, 0])
            outputs = np.clip((outputs - centre) * factor, -FARTHEST_TARGET, FARTHEST_TARGET)
        return cls(outputs, weight, rows)

    def of_spread(self) -> Judge:
        """Return a judge of how far the target is from its mean.

        What acts only together with something else often moves the spread, not the mean.
        """
        distance = np.abs(self._outputs - self._mean(slice(None)))
        return Judge(distance, self._weight, self.rows)

    def explain(self, parents: Sequence[Slots], allowance: Allowance) -> None:
        """Leave unexplained only what these do not tell, added up.

        The additive model is fitted by backfitting (Hastie & Tibshirani 1990, chapter 4),
        with shrunken means of slots. It stops between rounds when the time for judging is up.
        """
        for half in self._halves:
            told = [np.zeros((parent.size, self._outputs.shape[1])) for parent in parents]
            for _ in range(ROUNDS if len(parents) > 1 else 1):
                if allowance.is_spent():
                    break
                for position, parent in enumerate(parents):
                    half.residuals[:] += told[position][parent.values]
                    told[position] = self._effects(half, parent)
                    half.residuals[:] -= told[position][parent.values]

    def gain(self, candidate: Slots) -> Gain:
        """Return what a candidate explains of what is not explained yet."""
        gains = np.empty(len(self.rows))
        for half in self._halves:
            told = self._effects(half, candidate)[candidate.values[half.scored]]
            # u² - (u - t)², of what is unexplained and what the candidate tells.
            both = 2 * half.residuals[half.scored] - told
            gains[half.scored] = np.einsum("ij,ij->i", told, both)
        total = self._weight.sum()
        mean = (self._weight * gains).sum() / total
        error = np.sqrt(np.square(self._weight * (gains - mean)).sum()) / total
        return Gain(float(mean), float(error))

    def _effects(self, half: _Half, slots: Slots) -> Floats:
        rows = half.fitted
        return shrunken_effects(
            slots.values[rows], slots.size, half.residuals[rows], self._weight[rows]
        )

    def _mean(self, rows: slice) -> Floats:
        """Return the mean outputs of these rows, zeros without any."""
        weight = self._weight[rows]
        mean: Floats = weight @ self._outputs[rows] / (weight.sum() or 1.0)
        return mean


def most_telling(
    judge: Judge, columns: Iterable[tuple[str, Slots]], most: int, allowance: Allowance
) -> dict[str, Slots]:
    """Return the columns that tell most alone, best first, equals in order.

    A column counts by the mean and the spread of the target. Those that come after half of the
    time are not looked at.
    """
    spread = judge.of_spread()
    judged = []
    for name, slots in columns:
        if allowance.is_spent(FIRST_LOOK / 2):
            break
        judged.append((judge.gain(slots).mean + spread.gain(slots).mean, name, slots))
    best = sorted(judged, key=lambda column: -column[0])[:most]
    return {name: slots for _, name, slots in best}


def pairs_of(names: Iterable[str], columns: Columns) -> list[tuple[str, str]]:
    """Return all pairs of these columns, in their order; each pair is in that of the table."""
    place = {column.name: position for position, column in enumerate(columns.columns)}
    return [(a, b) if place[a] < place[b] else (b, a) for a, b in combinations(names, 2)]


def choose(
    judge: Judge, candidates: Iterable[tuple[Key, Slots]], most: int, allowance: Allowance
) -> list[Key]:
    """Choose candidates one by one, each by what those before it leave unexplained.

    Parameters
    ----------
    judge : Judge
        The parents of the candidates are explained.
    candidates : iterable of (key, Slots)
        Made when they are needed; those that come after the time is up are not judged.
    most : int
        How many to choose at most.
    allowance : Allowance
        The time.

    Returns
    -------
    list
        Keys of the chosen, best first.
    """
    shortlist = _shortlist(judge, candidates, allowance)
    chosen: list[Key] = []
    while shortlist and len(chosen) < most and not allowance.is_spent():
        _, key, slots = shortlist.pop(0)
        chosen.append(key)
        judge.explain([slots], allowance)
        shortlist = _ranked(judge, ((key, slots) for _, key, slots in shortlist))
    return chosen


def _shortlist(
    judge: Judge, candidates: Iterable[tuple[Key, Slots]], allowance: Allowance
) -> list[tuple[float, Key, Slots]]:
    def in_time() -> Iterator[tuple[Key, Slots]]:
        for candidate in candidates:
            if allowance.is_spent(FIRST_LOOK):
                return
            yield candidate

    return _ranked(judge, in_time())[:SHORTLIST]


def _ranked(
    judge: Judge, candidates: Iterable[tuple[Key, Slots]]
) -> list[tuple[float, Key, Slots]]:
    """Return the candidates whose gain counts, best first, equals in order."""
    judged = ((judge.gain(slots), key, slots) for key, slots in candidates)
    counting = [(gain.mean, key, slots) for gain, key, slots in judged if gain.counts]
    return sorted(counting, key=lambda candidate: -candidate[0])
