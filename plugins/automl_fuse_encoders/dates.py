"""Dates and times as calendar parts, plain for trees and cyclic for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import Array, Columns, Floats, Matrix
from automl_fuse_encoders.base import Unsupervised, unique_names
from automl_fuse_encoders.moments import (
    DAY,
    ERA,
    HOUR,
    MINUTE,
    WEEK,
    YEAR,
    YEARS,
    Periodic,
    fill_missing,
    remainders,
    steps_of,
    values_of,
)
from automl_fuse_encoders.numeric import (
    FARTHEST,
    centre_and_factor,
    clip_to_onnx,
    squash,
    squash_to_onnx,
)
from automl_fuse_encoders.writing import as_double, beside, in_order, one_or_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from automl_fuse.specs import Graph, Tensor

__all__ = ["Calendar", "CyclicCalendar"]

THURSDAY = 3
"""The weekday of 1970-01-01, with Monday as 0."""

PARTS = ("year", "month", "day", "weekday", "dayofyear", "hour", "minute", "days")
CYCLES = ("month", "weekday", "dayofyear", "hour")

PERIODS = ((ERA, DAY), (ERA, DAY), (ERA, DAY), (WEEK, DAY), (ERA, DAY), (DAY, HOUR), (HOUR, MINUTE))
"""For each of ``PARTS`` but the last: after how long it repeats, and how long it stays the same.
The year repeats but for a multiple of 400."""
NOTHING = Periodic(period=1, step=1, values=(0.0,))
YEAR_PART, DAYS_PART, CLOCK = PARTS.index("year"), PARTS.index("days"), CYCLES.index("hour")


class Calendar(Unsupervised):
    """Encoder ``calendar``: year, month, day, weekday, day of the year, hour, minute, days.

    ``days`` is the time since 1970 in days, with its fraction. Parts that do not vary in
    training are left out; missing is NaN. Weekdays count from Monday, 0.
    """

    def fit(self, columns: Columns) -> None:
        """Choose the parts that vary."""
        self.columns = tuple(column.name for column in columns.columns)
        stamps = _stamps(columns, self.columns)
        self.chosen = _varying(_parts(stamps), np.isnat(stamps))
        self.names = unique_names(
            f"{self.columns[column]}.{PARTS[part]}" for column, part in self.chosen
        )

    def transform(self, columns: Columns) -> Matrix:
        """Return the chosen parts."""
        stamps = _stamps(columns, self.columns)
        parts = _parts(stamps)
        parts[:, np.isnat(stamps)] = np.nan
        return Matrix.numbers(_gather(parts, self.chosen), self.names)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Write a lookup by place in the period, and what whole periods add to it.

        They add their 400 years to the year; the number of days has no period, and is added
        as a whole. Exact from the year -289,900 on.
        """
        times = one_or_all(graph, columns, [self.columns[column] for column, _ in self.chosen])
        parts = [_part(part) for _, part in self.chosen]
        remainder = remainders(graph, times, parts)
        values = values_of(graph, remainder, parts)
        units = {YEAR_PART: float(YEAR), DAYS_PART: float(DAY)}
        unit = np.array([units.get(part, np.inf) for _, part in self.chosen])
        if np.isfinite(unit).any():
            whole = as_double(graph, graph.node("Sub", [times, remainder]))
            whole = graph.node("Div", [whole, graph.constant(unit)])
            values = graph.node("Add", [values, whole])
        return fill_missing(graph, times, values, np.array(np.nan))


class CyclicCalendar(Unsupervised):
    """Encoder ``cyclic_calendar``: places on circles, and the time elapsed.

    Month, weekday, day of the year and time of the day each give a sine and a cosine, if they
    vary in training; the time elapsed is scaled and clipped like ``scaled_numbers``. Missing
    is 0 in all of them, and 1 in ``name (missing)`` if any was missing in training.
    """

    def fit(self, columns: Columns) -> None:
        """Choose the cycles that vary, and learn the scale of time."""
        self.columns = tuple(column.name for column in columns.columns)
        stamps = _stamps(columns, self.columns)
        missing = np.isnat(stamps)
        self.chosen = _varying(_phases(stamps), missing)
        days = np.where(missing, np.nan, stamps.astype(np.int64) / DAY)
        scales = [centre_and_factor(column) for column in days.T]
        self.moving = np.flatnonzero([factor > 0 for _, factor in scales])
        self.centre = np.array([scales[column][0] for column in self.moving], dtype=np.float64)
        self.factor = np.array([scales[column][1] for column in self.moving], dtype=np.float64)
        self.gaps = np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0))
        self.names = unique_names(self._labels())

    def transform(self, columns: Columns) -> Matrix:
        """Return sines, cosines, elapsed times and indicators of missing ones, in this order."""
        stamps = _stamps(columns, self.columns)
        missing = np.isnat(stamps)
        angles = 2 * np.pi * _phases(stamps)
        elapsed = (stamps[:, self.moving].astype(np.int64) / DAY - self.centre) * self.factor
        circles = np.stack([np.sin(angles), np.cos(angles)])
        circles[:, :, missing] = 0.0
        elapsed[missing[:, self.moving]] = 0.0
        blocks = [
            _gather(circles[0], self.chosen),
            _gather(circles[1], self.chosen),
            squash(np.clip(elapsed, -FARTHEST, FARTHEST)),
            missing[:, self.gaps],
        ]
        return Matrix.numbers(np.hstack(blocks), self.names)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Write lookups for circles of days, arithmetic for the rest, and bring all in order.

        An indicator is 0, and becomes 1 where missing.
        """
        cycles = len(self.chosen)
        parts = [_circle(of, cycle) for of in (np.sin, np.cos) for _, cycle in self.chosen]
        parts += [None] * len(self.moving) + [NOTHING] * len(self.gaps)
        owners = [column for column, _ in self.chosen] * 2 + [*self.moving, *self.gaps]
        names = [self.columns[column] for column in owners]
        moving = list(range(2 * cycles, 2 * cycles + len(self.moving)))
        clocks = [place for place in range(cycles) if parts[place] is None]
        tables = {place: part for place, part in enumerate(parts) if part is not None}
        places = [*tables, *clocks, *(cycles + place for place in clocks), *moving]

        def times_of(places: Iterable[int]) -> Tensor:
            return one_or_all(graph, columns, [names[place] for place in places])

        blocks = []
        if tables:
            remainder = remainders(graph, times_of(tables), list(tables.values()))
            blocks.append(values_of(graph, remainder, list(tables.values())))
        if clocks:
            blocks += _clock_to_onnx(graph, times_of(clocks))
        if moving:
            blocks.append(self._elapsed_to_onnx(graph, times_of(moving)))
        values = in_order(graph, beside(graph, blocks), places)
        filler = np.repeat([0.0, 1.0], [len(names) - len(self.gaps), len(self.gaps)])
        return fill_missing(graph, times_of(range(len(names))), values, filler)

    def _elapsed_to_onnx(self, graph: Graph, times: Tensor) -> Tensor:
        days = graph.node("Div", [as_double(graph, times), graph.constant(np.array(float(DAY)))])
        centred = graph.node("Sub", [days, graph.constant(self.centre)])
        scaled = graph.node("Mul", [centred, graph.constant(self.factor)])
        return squash_to_onnx(graph, clip_to_onnx(graph, scaled))

    def _labels(self) -> list[str]:
        cycles = [f"{self.columns[column]}.{CYCLES[cycle]}" for column, cycle in self.chosen]
        return [
            *(f"{cycle}.sin" for cycle in cycles),
            *(f"{cycle}.cos" for cycle in cycles),
            *(f"{self.columns[column]}.elapsed" for column in self.moving),
            *(f"{self.columns[column]} (missing)" for column in self.gaps),
        ]


def _stamps(columns: Columns, names: tuple[str, ...]) -> NDArray[np.datetime64]:
    """Return the named columns side by side: (n_rows, n_columns), in microseconds."""
    stamps = np.empty((columns.n_rows, len(names)), dtype="datetime64[us]")
    for position, name in enumerate(names):
        stamps[:, position] = columns.values[name]
    return stamps


def _parts(stamps: NDArray[np.datetime64]) -> Floats:
    """Return the parts (n_parts, n_rows, n_columns); those of a missing time mean nothing."""
    days = stamps.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    years = months.astype("datetime64[Y]")
    micros = stamps.astype(np.int64)
    parts = np.empty((len(PARTS), *stamps.shape))
    parts[0] = years.astype(np.int64) + 1970
    parts[1] = months.astype(np.int64) % 12 + 1
    parts[2] = (days - months).astype(np.int64) + 1
    parts[3] = (days.astype(np.int64) + THURSDAY) % 7
    parts[4] = (days - years).astype(np.int64) + 1
    parts[5] = micros // HOUR % 24
    parts[6] = micros // MINUTE % 60
    parts[7] = micros / DAY
    return parts


def _phases(stamps: NDArray[np.datetime64]) -> Floats:
    """Return the place in each cycle, 0 … 1: (n_cycles, n_rows, n_columns)."""
    days = stamps.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    phases = np.empty((len(CYCLES), *stamps.shape))
    phases[0] = months.astype(np.int64) % 12 / 12
    phases[1] = (days.astype(np.int64) + THURSDAY) % 7 / 7
    phases[2] = (days - months.astype("datetime64[Y]")).astype(np.int64) / 365.25
    phases[3] = stamps.astype(np.int64) % DAY / DAY
    return phases


def _varying(parts: Floats, missing: Array) -> tuple[tuple[int, int], ...]:
    """Return (column, part) of the parts that vary among times that are not missing."""
    known = np.broadcast_to(~missing, parts.shape)
    low = parts.min(axis=1, where=known, initial=np.inf)
    high = parts.max(axis=1, where=known, initial=-np.inf)
    return tuple((int(column), int(part)) for column, part in np.argwhere((high > low).T))


def _gather(parts: Floats, chosen: tuple[tuple[int, int], ...]) -> Floats:
    """Return the chosen (column, part) pairs of rows: (n_rows, n_chosen)."""
    values = np.empty((parts.shape[1], len(chosen)))
    for position, (column, part) in enumerate(chosen):
        values[:, position] = parts[part, :, column]
    return values


def _part(part: int) -> Periodic:
    """Return a calendar part as a graph reads it."""
    if part == DAYS_PART:
        return NOTHING
    period, step = PERIODS[part]
    if part == YEAR_PART:
        return YEARS
    values = _parts(steps_of(period, step)[:, None])[part, :, 0]
    return Periodic(period=period, step=step, values=tuple(values.tolist()))


def _circle(of: Callable[[Floats], Floats], cycle: int) -> Periodic | None:
    """Return the sines, or cosines, of a cycle as a graph reads them; the clock has no steps."""
    if cycle == CLOCK:
        return None
    period, step = PERIODS[PARTS.index(CYCLES[cycle])]
    values = of(2 * np.pi * _phases(steps_of(period, step)[:, None])[cycle, :, 0])
    return Periodic(period=period, step=step, values=tuple(values.tolist()))


def _clock_to_onnx(graph: Graph, times: Tensor) -> list[Tensor]:
    """Write the sine and the cosine of the time of the day."""
    time = graph.node("Mod", [times, graph.constant(np.array(DAY))])
    phase = graph.node("Div", [as_double(graph, time), graph.constant(np.array(float(DAY)))])
    angle = graph.node("Mul", [phase, graph.constant(np.array(2 * np.pi))])
    return [graph.node("Sin", [angle]), graph.node("Cos", [angle])]
