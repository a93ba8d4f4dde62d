"""Dates and times as calendar parts, plain for trees and cyclic for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import Array, Columns, Floats, Matrix
from automl_fuse_encoders.base import Unsupervised, unique_names
from automl_fuse_encoders.numeric import FARTHEST, centre_and_factor, squash

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Calendar", "CyclicCalendar"]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
THURSDAY = 3
"""The weekday of 1970-01-01, with Monday as 0."""

PARTS = ("year", "month", "day", "weekday", "dayofyear", "hour", "minute", "days")
CYCLES = ("month", "weekday", "dayofyear", "hour")


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
