"""What a single cell holds."""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any
from uuid import UUID

import numpy as np

_NULL_TYPES = frozenset({"NoneType", "NAType", "NaTType"})


def family_of(kind: type) -> str:
    """Return what cells of a type hold."""
    key: Any = kind
    return _family(key)


@functools.lru_cache(maxsize=256)
def _family(kind: Any) -> str:
    """Find the family of a type. The order matters: NaT is a date, bool an integer."""
    families: tuple[tuple[str, tuple[type, ...]], ...] = (
        ("boolean", (bool, np.bool_)),
        ("date", (np.datetime64, date)),
        ("duration", (np.timedelta64, timedelta)),
        ("time", (time,)),
        ("number", (Real, Decimal)),
        ("text", (str, UUID, PurePath)),
        ("bytes", (bytes, bytearray)),
        ("list", (list, tuple, np.ndarray)),
    )
    if kind.__name__ in _NULL_TYPES:
        return "missing"
    for family, types in families:
        if issubclass(kind, types):
            return family
    if kind.__name__ == "Interval":
        return "text"
    return "image" if kind.__module__.startswith("PIL.") else "nested"


def may_be_missing(kind: type) -> bool:
    """Return whether some cell of a type is missing: all of None's, NaN among floats, and so on."""
    key: Any = kind
    return _may_be_missing(key)


@functools.lru_cache(maxsize=256)
def _may_be_missing(kind: Any) -> bool:
    values = (float, np.floating, Decimal, np.datetime64, np.timedelta64)
    return kind.__name__ in _NULL_TYPES or issubclass(kind, values)


def is_missing(cell: object) -> bool:
    """Return whether a cell is None, NaN, NaT or the NA of pandas."""
    if isinstance(cell, float | np.floating):
        return bool(cell != cell)  # noqa: PLR0124 (NaN is the value unequal to itself)
    if isinstance(cell, Decimal):
        return cell.is_nan()
    if isinstance(cell, np.datetime64 | np.timedelta64):
        return bool(np.isnat(cell))
    return type(cell).__name__ in _NULL_TYPES


def format_cell(cell: object) -> str | None:
    """Return the text of one cell, the same for 1, 1.0 and "1"; None for an infinite number."""
    if isinstance(cell, str):
        return str.__str__(cell)
    if isinstance(cell, bool | np.bool_):
        return str(bool(cell))
    if isinstance(cell, np.datetime64 | date):
        return str(to_moment(cell))
    if isinstance(cell, Integral):
        return str(int(cell))
    if isinstance(cell, Real | Decimal):
        number = float(cell)
        if not np.isfinite(number):
            return None
        return str(int(number)) if number.is_integer() and abs(number) < 2**63 else repr(number)
    return str(cell)


def to_moment(cell: Any) -> np.datetime64:
    """Return a date or time in UTC, to the microsecond."""
    if isinstance(cell, datetime) and cell.tzinfo is not None:
        cell = cell.astimezone(UTC).replace(tzinfo=None)
    moment: np.datetime64 = np.datetime64(cell, "us")
    return moment


def to_seconds(cell: Any) -> float:
    """Return a duration, or a time of day since midnight, in seconds."""
    if isinstance(cell, np.timedelta64):
        return float(cell / np.timedelta64(1, "s"))
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    return float(cell.hour * 3600 + cell.minute * 60 + cell.second + cell.microsecond / 1e6)
