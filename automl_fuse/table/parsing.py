"""Numbers parsed from texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats

NULL_TEXTS = frozenset({"", "-", "?", "#n/a", "<na>", "n/a", "na", "nan", "nat", "none", "null"})
"""Texts, in lower case, that mean a missing number or date."""


def parse_numbers(cells: Array) -> tuple[Floats, int]:
    """Parse texts as numbers.

    Parameters
    ----------
    cells : object array of shape (n,)
        str, or None where missing; ``NULL_TEXTS`` are missing as well.

    Returns
    -------
    numbers : float64 array of shape (n,)
        NaN where missing or infinite.
    bad : int
        Position of the first text that is no number, or -1.
    """
    numbers = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        if cell is None or cell.strip().lower() in NULL_TEXTS:
            continue
        try:
            number = float(cell) if "_" not in cell else np.nan
        except ValueError:
            return numbers, i
        if np.isnan(number):
            return numbers, i
        numbers[i] = number
    numbers[np.isinf(numbers)] = np.nan
    return numbers, -1
