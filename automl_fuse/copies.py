"""Rows that are copies of others: a fold that trains on one knows the other already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.specs import Kind

if TYPE_CHECKING:
    from automl_fuse.folds import Indices
    from automl_fuse.specs import Array, Columns

FEWEST: Final = 0.05
"""Share of rows that repeat an earlier one, below which they are left alone."""


def copies(columns: Columns) -> Indices | None:
    """Return groups of rows with equal features, if there are many and chance did not make them.

    Tables are oversampled, joined or appended to themselves: then the copy of a row that a fold
    validates is among those it trains on, every score is flattered, and whatever learns rows by
    heart wins. Kept in one group, copies stay on one side.

    Rows of few categories are equal by chance, and so will new rows be: those copies are honest.
    So they count only where at least half of the different rows differ in a single column of
    fractional numbers.

    Parameters
    ----------
    columns : Columns
        Typed columns of the training table.

    Returns
    -------
    int array of shape (n_rows,), or None
        The group of each row; None without such copies.
    """
    numeric = [c.name for c in columns.columns if c.kind is Kind.NUMERIC]
    fractional = [name for name in numeric if _has_fractions(columns.values[name])]
    if not fractional:
        return None
    most_distinct = max(len(np.unique(columns.values[name])) for name in fractional)
    groups = np.zeros(columns.n_rows, dtype=np.intp)
    n_groups = 1
    for column in sorted(columns.columns, key=lambda c: c.name not in fractional):
        codes = _codes(columns.values[column.name])
        _, groups = np.unique(groups * (int(codes.max()) + 1) + codes, return_inverse=True)
        n_groups = int(groups.max()) + 1
        if n_groups > (1 - FEWEST) * columns.n_rows:
            return None
    return groups if 2 <= n_groups <= 2 * most_distinct else None


def _has_fractions(values: Array) -> bool:
    known = values[np.isfinite(values)]
    return bool((known != np.floor(known)).any())


def _codes(values: Array) -> Indices:
    """Return a number for each distinct value; missing ones are equal."""
    if values.dtype == object:
        position: dict[object, int] = {}
        found = [position.setdefault(value, len(position)) for value in values.tolist()]
        return np.array(found, dtype=np.intp)
    return np.unique(values, return_inverse=True)[1].astype(np.intp, copy=False)
