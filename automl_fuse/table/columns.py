"""Raw columns normalised to the few forms that a table has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.errors import DataError
from automl_fuse.table.cells import (
    family_of,
    format_cell,
    is_missing,
    may_be_missing,
    to_moment,
    to_seconds,
)
from automl_fuse.table.dataset import Table
from automl_fuse.table.raw import RawFrame, object_array

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Floats

EXACT_INTEGERS = 2.0**53
"""Up to here, a float64 holds every integer exactly."""


def check_columns(frame: RawFrame) -> Table:
    """Normalise the columns of a frame."""
    notes = list(frame.notes)
    columns = {}
    for name, values in frame.columns.items():
        column = normalise(name, values, notes)
        if name in frame.categorical and column.dtype != object:
            column = _texts(object_array(values), where_missing(values))
        columns[name] = column
    return Table(
        columns=columns,
        n_rows=frame.n_rows,
        categorical=frozenset(frame.categorical & columns.keys()),
        warnings=tuple(notes),
    )


def where_missing(values: Array) -> NDArray[np.bool_]:
    """Return where a raw or normalised column is missing."""
    kind = values.dtype.kind
    if kind == "f":
        return np.isnan(values)
    if kind in "mM":
        return np.isnat(values)
    if kind == "O":
        doubtful = {t for t in set(map(type, values.tolist())) if may_be_missing(t)}
        if doubtful - {type(None)}:
            return np.fromiter(map(is_missing, values), np.bool_, len(values))
        if doubtful:
            return np.fromiter((cell is None for cell in values.tolist()), np.bool_, len(values))
    return np.zeros(len(values), np.bool_)


def normalise(name: str, values: Array, notes: list[str]) -> Array:
    """Return a column in one of the forms that ``Table`` describes."""
    kind = values.dtype.kind
    if kind == "b":
        return values
    if kind == "M":
        return values.astype("datetime64[us]", copy=False)
    if kind == "m":
        return np.asarray(values / np.timedelta64(1, "s"))
    if kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if kind in "OUST":
        values = normalise_objects(name, values.astype(object, copy=False), notes)
    elif kind not in "iuf":
        raise DataError(f"column {name!r} holds {values.dtype} values, which cannot be used")
    if values.dtype.kind not in "iuf":
        return values
    return _as_floats(name, values, notes)


def _as_floats(name: str, values: Array, notes: list[str]) -> Floats:
    with np.errstate(over="ignore"):
        floats = np.ascontiguousarray(values, dtype=np.float64)
    if not len(floats):
        return floats
    low, high = np.fmin.reduce(floats), np.fmax.reduce(floats)
    if np.isinf(low) or np.isinf(high):
        infinite = np.isinf(floats)
        notes.append(
            f"column {name!r}: {int(infinite.sum())} infinite values are treated as missing"
        )
        floats = np.where(infinite, np.nan, floats)
    if values.dtype.kind in "iu" and max(-low, high) > EXACT_INTEGERS:
        notes.append(
            f"column {name!r}: integers beyond 2**53 are rounded; if they identify something, set "
            f"its kind to 'category' and give them as text"
        )
    return floats


def normalise_objects(name: str, cells: Array, notes: list[str]) -> Array:
    """Return an object column in the form that its cells ask for."""
    types = set(map(type, cells.tolist()))
    if str in types and types <= {str, type(None)}:
        return cells
    families = {family_of(kind) for kind in types}
    if families == {"number"}:
        return _numbers(name, cells)
    missing = where_missing(cells)
    present = cells[~missing]
    families = {family_of(kind) for kind in set(map(type, present.tolist()))}
    if "nested" in families:
        _refuse_nested(name, cells)
    if not families:
        return np.full(len(cells), np.nan)
    if families == {"boolean"}:
        return _booleans(cells, missing)
    if families <= {"boolean", "number"}:
        return _numbers(name, np.where(missing, np.nan, cells))
    if families == {"text"}:
        return _texts(cells, missing)
    if len(families) == 1:
        return _of_family(families.pop(), name, cells, missing)
    if families <= {"boolean", "number", "text", "date"}:
        notes.append(f"column {name!r} mixes {_listed(families)}: all are taken as text")
        return _texts(cells, missing)
    raise DataError(f"column {name!r} mixes {_listed(families)} values: make them one type")


def _of_family(family: str, name: str, cells: Array, missing: NDArray[np.bool_]) -> Array:
    """Return cells which are all of one family, none of those with a faster way."""
    rows = np.flatnonzero(~missing)
    if family == "date":
        moments = np.full(len(cells), "NaT", "datetime64[us]")
        for row in rows:
            try:
                moments[row] = to_moment(cells[row])
            except (OverflowError, ValueError) as error:
                raise DataError(
                    f"column {name!r}, row {row}: date {cells[row]!r} is out of range"
                ) from error
        return moments
    if family in {"duration", "time"}:
        seconds = np.full(len(cells), np.nan)
        for row in rows:
            seconds[row] = to_seconds(cells[row])
        return seconds
    kept = cells.copy()
    kept[missing] = None
    return kept


def _listed(families: Iterable[str]) -> str:
    *first, last = sorted(families)
    return f"{', '.join(first)} and {last}"


def _refuse_nested(name: str, cells: Array) -> None:
    row = next(i for i, cell in enumerate(cells) if family_of(type(cell)) == "nested")
    shown = repr(cells[row])
    raise DataError(
        f"column {name!r}, row {row} holds {shown[:60]} ({type(cells[row]).__name__}): nested "
        "objects cannot be used, spread its parts over columns of their own"
    )


def _numbers(name: str, cells: Array) -> Floats:
    try:
        return cells.astype(np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise DataError(f"column {name!r} holds a number out of range: {error}") from error


def _booleans(cells: Array, missing: NDArray[np.bool_]) -> Array:
    if not missing.any():
        return cells.astype(np.bool_)
    flags = object_array(map(bool, np.where(missing, False, cells)))
    flags[missing] = None
    return flags


def _texts(cells: Array, missing: NDArray[np.bool_]) -> Array:
    texts = np.full(len(cells), None, dtype=object)
    texts[~missing] = object_array(map(format_cell, cells[~missing].tolist()))
    return texts
