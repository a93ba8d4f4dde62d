"""Columns of a table converted to the kinds they are known to have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.schema.cells import first_present, holds, unfit
from automl_fuse.schema.dates import parse_dates
from automl_fuse.schema.media import to_images, to_sequences, to_sounds
from automl_fuse.specs import Array, Column, Kind
from automl_fuse.table import NULL_TEXTS, format_cell, parse_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TRUE = frozenset({"1", "1.0", "t", "true", "y", "yes"})
_FALSE = frozenset({"0", "0.0", "f", "false", "n", "no"})


def to_texts(column: Column, values: Array) -> Array:
    """Return any scalar column as str objects, None where missing."""
    if holds(values, str):
        return values
    texts = np.full(len(values), None, dtype=object)
    first = first_present(values)
    if first < 0:
        return texts
    if values.dtype == object and not isinstance(values[first], bool):
        raise unfit(column, first, values[first], "text or a number")
    cells = list(values) if values.dtype.kind == "M" else values.tolist()
    known: dict[Any, str | None] = {}
    for row, cell in enumerate(cells):
        if cell is None or cell != cell:  # noqa: PLR0124 (NaN and NaT are unequal to themselves)
            continue
        if cell not in known:
            known[cell] = format_cell(cell)
        texts[row] = known[cell]
    return texts


def _to_numeric(column: Column, values: Array) -> Array:
    if values.dtype.kind in "fb":
        return values.astype(np.float64, copy=False)
    first = first_present(values)
    if first < 0:
        return np.full(len(values), np.nan)
    if holds(values, bool):
        return values.astype(np.float64)
    if not holds(values, str):
        raise unfit(column, first, values[first], "a number")
    numbers, bad = parse_numbers(values)
    if bad >= 0:
        raise unfit(column, bad, values[bad], "a number")
    return numbers


def _to_boolean(column: Column, values: Array) -> Array:
    if values.dtype.kind == "b" or holds(values, bool):
        return values.astype(np.float64)
    if values.dtype.kind == "f":
        wrong = ~(np.isnan(values) | (values == 0) | (values == 1))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise unfit(column, row, float(values[row]), "true or false")
        return values
    flags = np.full(len(values), np.nan)
    first = first_present(values)
    if first >= 0 and not holds(values, str):
        raise unfit(column, first, values[first], "true or false")
    for row, value in enumerate(values) if first >= 0 else ():
        word = None if value is None else value.strip().lower()
        if word in _TRUE or word in _FALSE:
            flags[row] = word in _TRUE
        elif word is not None and word not in NULL_TEXTS:
            raise unfit(column, row, value, "true or false")
    return flags


def _to_datetime(column: Column, values: Array) -> Array:
    if values.dtype.kind == "M":
        return values
    first = first_present(values)
    if first < 0:
        return np.full(len(values), "NaT", "datetime64[us]")
    expected = "a date such as 2024-12-31 or 2024-12-31 23:59:59"
    if not holds(values, str):
        raise unfit(column, first, values[first], expected)
    moments, bad = parse_dates(values)
    if bad >= 0:
        raise unfit(column, bad, values[bad], expected)
    return moments


CONVERTERS: Mapping[Kind, Callable[[Column, Array], Array]] = {
    Kind.NUMERIC: _to_numeric,
    Kind.BOOLEAN: _to_boolean,
    Kind.DATETIME: _to_datetime,
    Kind.TEXT: to_texts,
    Kind.SEQUENCE: to_sequences,
    Kind.IMAGE: to_images,
    Kind.AUDIO: to_sounds,
}
"""How columns of each kind are converted; categories have look-ups of their own."""
