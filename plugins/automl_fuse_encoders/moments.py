"""Calendar parts of dates in a graph, looked up by where a time is in its period.

The Gregorian calendar repeats every 400 years, which are a whole number of weeks. So each part
of a date is a table over one period: an hour for minutes, 400 years for months. The position
in it is ``(time mod period) / step``, and all parts of all columns are looked up together. In
onnxruntime, one row takes half the time of the arithmetic that leads from days to a date.

For the 146,097 days of 400 years there are two levels: from the day to the year, or to the day
of a common or leap year; from there to the value. The first level is not kept in the file: it
is written as operators on small constants, which a runtime computes once, when it loads the
graph. Their shapes do not depend on values: onnxruntime computes only such operators early.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse_encoders.writing import beside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Floats, Graph, Tensor

__all__ = [
    "DAY",
    "ERA",
    "HOUR",
    "MINUTE",
    "SLOTS",
    "WEEK",
    "YEAR",
    "YEARS",
    "Periodic",
    "fill_missing",
    "remainders",
    "steps_of",
    "values_of",
]

MINUTE: Final = 60_000_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
ERA_YEARS: Final = 400
ERA: Final = 146_097 * DAY
YEAR: Final = ERA // ERA_YEARS
"""The mean year, a whole number of microseconds."""

FIRST_YEAR: Final = 1970
LONGEST_YEAR: Final = 366
SLOTS: Final = np.concatenate(
    [
        np.arange(np.datetime64(start, "D"), np.datetime64(start, "D") + LONGEST_YEAR)
        for start in ("2001-01-01", "2000-01-01")
    ]
).astype("datetime64[us]")
"""A date for each day of a common and of a leap year, whose tables are laid out like it."""

MISSING: Final = np.array(np.iinfo(np.int64).min)
"""How a missing time is written in a graph."""


@dataclass(frozen=True, kw_only=True)
class Periodic:
    """A part of a date as a table over one period.

    Attributes
    ----------
    period : int
        Microseconds after which the part repeats; periods start in 1970.
    step : int
        Microseconds for which it stays the same.
    values : tuple of float
        The value for each step of a period; over 400 years, for each of ``SLOTS``, or for each
        of the 400 years.
    """

    period: int
    step: int
    values: tuple[float, ...]

    def places(self, graph: Graph) -> Tensor:
        """Write which value each step of a period has: int32 (period / step,)."""
        if self.period != ERA:
            return graph.constant(np.arange(self.period // self.step, dtype=np.int32))
        year, day = _days_of_era(graph)
        if len(self.values) == ERA_YEARS:
            return year
        first_slot = np.where(_is_leap(), LONGEST_YEAR, 0).astype(np.int32)
        return graph.node("Add", [graph.node("Gather", [graph.constant(first_slot), year]), day])


YEARS: Final = Periodic(
    period=ERA, step=DAY, values=tuple(np.arange(FIRST_YEAR, FIRST_YEAR + ERA_YEARS, dtype=float))
)
"""The year within the first 400; what whole periods add to it comes on top."""


def steps_of(period: int, step: int) -> NDArray[np.datetime64]:
    """Return the times that a table over a period has values for."""
    return SLOTS if period == ERA else np.arange(0, period, step).astype("datetime64[us]")


def remainders(graph: Graph, times: Tensor, parts: Sequence[Periodic]) -> Tensor:
    """Return how far times, (n_rows, 1 or n_parts), are into the period of each part."""
    periods = graph.constant(np.array([part.period for part in parts], dtype=np.int64))
    return graph.node("Mod", [times, periods])


def values_of(graph: Graph, remainder: Tensor, parts: Sequence[Periodic]) -> Tensor:
    """Look parts up: float64 (n_rows, n_parts)."""
    steps = graph.constant(np.array([part.step for part in parts], dtype=np.int64))
    position = graph.node("Div", [remainder, steps])
    places: dict[Tensor, int] = {}
    values: dict[tuple[float, ...], int] = {}
    n_places = n_values = 0
    offsets = np.zeros((2, len(parts)), dtype=np.int64)
    for number, part in enumerate(parts):
        table = part.places(graph)
        if table not in places:
            places[table] = n_places
            n_places += part.period // part.step
        if part.values not in values:
            values[part.values] = n_values
            n_values += len(part.values)
        offsets[:, number] = places[table], values[part.values]
    position = _shifted(graph, position, offsets[0])
    joined = beside(graph, list(places), axis=0)
    place = _shifted(graph, graph.node("Gather", [joined, position]), offsets[1].astype(np.int32))
    return graph.node("Gather", [graph.constant(np.concatenate(list(values))), place])


def _shifted(graph: Graph, positions: Tensor, offsets: Array) -> Tensor:
    return graph.node("Add", [positions, graph.constant(offsets)]) if offsets.any() else positions


def fill_missing(graph: Graph, times: Tensor, values: Tensor, filler: Floats) -> Tensor:
    """Replace values, (n_rows, n_features), by a filler where the time is missing."""
    missing = graph.node("Equal", [times, graph.constant(MISSING)])
    return graph.node("Where", [missing, graph.constant(filler), values])


def _is_leap() -> NDArray[np.bool_]:
    """Tell which years of the era, which starts in 1970, are leap years."""
    year = np.arange(FIRST_YEAR, FIRST_YEAR + ERA_YEARS)
    leap: NDArray[np.bool_] = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return leap


def _days_of_era(graph: Graph) -> tuple[Tensor, Tensor]:
    """Write the year and the day of the year, from 0 on, of each of the era's 146,097 days.

    A year's number is how many years have started after the first one.
    """
    lengths = np.where(_is_leap(), LONGEST_YEAR, LONGEST_YEAR - 1)
    starts = (np.cumsum(lengths) - lengths).astype(np.int32)
    later, ones = graph.constant(starts[1:]), graph.constant(np.ones_like(starts[1:]))
    year_starts = graph.node("ScatterElements", [_each_day(graph, 0), later, ones])
    axis = graph.constant(np.array(0))
    year = graph.node("CumSum", [year_starts, axis])
    day = graph.node("CumSum", [_each_day(graph, 1), axis], {"exclusive": 1})
    start = graph.node("Gather", [graph.constant(starts), year])
    return year, graph.node("Sub", [day, start])


def _each_day(graph: Graph, value: int) -> Tensor:
    """Write the same whole number for each day of the era."""
    n_days = graph.constant(np.array([ERA // DAY]))
    return graph.node("ConstantOfShape", [n_days], {"value": np.array([value], dtype=np.int32)})
