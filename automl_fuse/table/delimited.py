"""Delimited text read with the standard library, as pandas would read it.

A saved pipeline must predict the rows of a CSV file where pandas is not installed, and predict
the same. So a column is numbers, or truth values, if every cell is one; else it is text.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.errors import DataError
from automl_fuse.table.names import checked_names
from automl_fuse.table.raw import RawFrame, object_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from automl_fuse.specs import Array

MISSING_TEXTS: Final = frozenset(
    {
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND",
        "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
    }
)  # fmt: skip
"""Cells that ``pandas.read_csv`` takes for missing."""

_LONGEST_CELL: Final = 2**31 - 1
_TRUTH: Final = {"true": True, "false": False}


def read_delimited(lines: Iterable[str], separator: str, path: str) -> RawFrame:
    """Read lines of delimited text with a header.

    Parameters
    ----------
    lines : iterable of str
        With their ends, as a file opened with ``newline=""`` gives them.
    separator : str
        What stands between cells.
    path : str
        Name of the file, for errors.

    Raises
    ------
    DataError
        If a row has more or fewer cells than the header, or two columns one name.
    csv.Error
        If a quotation does not end.
    """
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        reader = csv.reader(lines, delimiter=separator, strict=True)
        header = next(_rows(reader))
        cells = list(_rows(reader, len(header), path))
    finally:
        csv.field_size_limit(limit)
    names = checked_names(name or f"Unnamed: {i}" for i, name in enumerate(header))
    columns = zip(*cells, strict=True) if cells else [()] * len(names)
    return RawFrame({n: _column(column) for n, column in zip(names, columns, strict=True)})


def _rows(reader: Iterator[list[str]], width: int = 0, path: str = "") -> Iterator[list[str]]:
    """Yield rows without the blank ones."""
    for row in reader:
        if not row or (len(row) == 1 and row[0] and not row[0].strip(" \t")):
            continue
        if width and len(row) != width:
            raise DataError(
                f"{path!r} is ragged: line {getattr(reader, 'line_num', '?')} has {len(row)} "
                f"values, the header {width}"
            )
        yield row


def _column(cells: Sequence[str]) -> Array:
    distinct = dict.fromkeys(cells)
    present = [cell for cell in distinct if cell not in MISSING_TEXTS]
    if present and all(cell.lower() in _TRUTH for cell in present):
        return object_array(_TRUTH.get(cell.lower()) for cell in cells)
    numbers = _numbers(present)
    if numbers is not None:
        known = dict(zip(present, numbers, strict=True))
        return np.array([known.get(cell, np.nan) for cell in cells], dtype=np.float64)
    return object_array(None if cell in MISSING_TEXTS else cell for cell in cells)


def _numbers(texts: list[str]) -> list[float] | None:
    """Return texts as numbers, or None if one is none as pandas sees it."""
    whole = "".join(texts)
    # Python reads digits of all scripts, and underscores between them.
    if not whole.isascii() or "_" in whole:
        return None
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return None if any(number != number for number in numbers) else numbers  # noqa: PLR0124
