"""Guesses that several kinds of column share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from automl_fuse.schema.cells import shortened
from automl_fuse.specs import Array, Kind

MIN_ROWS_FOR_ID = 20
"""Rows below which distinct values do not make an identifier."""


@dataclass(frozen=True)
class Guess:
    """A kind, the reason for it, and what is known with it."""

    kind: Kind
    reason: str
    categories: tuple[str, ...] = ()
    note: str = ""


def constant(value: object) -> Guess:
    """Guess a column that never varies."""
    return Guess(Kind.CONSTANT, "always missing" if value is None else f"always {shortened(value)}")


def category(texts: list[str], reason: str, note: str = "") -> Guess:
    """Guess a column of known categories."""
    return Guess(Kind.CATEGORY, reason, tuple(sorted(texts)), note)


def guess_dates(values: Array, what: str) -> Guess:
    """Guess a column of moments, constant or not; ``what`` names them in the reason."""
    present = values[~np.isnat(values)]
    if not len(present):
        return constant(None)
    low, high = present.min(), present.max()
    if low == high and len(present) == len(values):
        return constant(str(low))
    days = (str(moment.astype("datetime64[D]")) for moment in (low, high))
    span = f"{what} from {' to '.join(days)}"
    return Guess(Kind.DATETIME, span + missing_note(len(values) - len(present), len(values)))


def missing_note(n_missing: int, n_rows: int) -> str:
    """Return the words for a share of missing values, none for no such value."""
    return f", {100 * n_missing / n_rows:.2g} % missing" if n_missing else ""
