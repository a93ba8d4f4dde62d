"""Dates parsed from texts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.schema.cells import is_null

if TYPE_CHECKING:
    from automl_fuse.specs import Array

_ISO_DATE = re.compile(
    r"(\d{4})[-/](\d{2})[-/](\d{2})"
    r"(?:[T ](\d{2}:\d{2}(?::\d{2})?)(\.\d{1,6})?\d*\s?(?:(Z|UTC)|([+-])(\d{2}):?(\d{2}))?)?"
)


def looks_like_date(text: str) -> bool:
    """Return whether a text has the form of an ISO 8601 date, alone or with a time."""
    return _ISO_DATE.fullmatch(text.strip()) is not None


def parse_dates(cells: Array) -> tuple[Array, int]:
    """Parse ISO 8601 texts; return UTC moments and the position of the first bad one, or -1."""
    moments = np.full(len(cells), "NaT", "datetime64[us]")
    rows, texts, shifts = [], [], []
    for row, cell in enumerate(cells.tolist()):
        match = None if cell is None else _ISO_DATE.fullmatch(cell.strip())
        if match is None:
            if cell is None or is_null(cell):
                continue
            return moments, row
        year, month, day, clock, fraction, _, sign, hours, minutes = match.groups()
        texts.append(f"{year}-{month}-{day}T{clock or '00:00'}{fraction or ''}")
        rows.append(row)
        shifts.append(0 if sign is None else int(f"{sign}1") * (int(hours) * 60 + int(minutes)))
    try:
        moments[rows] = np.array(texts, dtype="datetime64[us]") - np.array(shifts, "timedelta64[m]")
    except ValueError:
        return moments, next(
            row for row, text in zip(rows, texts, strict=True) if not _is_moment(text)
        )
    return moments, -1


def _is_moment(text: str) -> bool:
    try:
        np.datetime64(text, "us")
    except ValueError:
        return False
    return True
