"""How large a table is for those who read it densely: what costs depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import CellSize, Kind

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Columns

CELLS: Final = 200
"""Cells of a column that are looked at."""
LEVELS: Final = 64
"""Categories of one column that have a feature of their own, at most."""
DATE_FEATURES: Final = 9
"""Features of a time, about."""
_SIZED: Final = frozenset({Kind.IMAGE, Kind.AUDIO, Kind.SEQUENCE, Kind.TEXT})


def usual_cells(columns: Columns) -> tuple[CellSize, ...]:
    """Return the usual size of the cells of each column of images, sounds, sequences or texts.

    Columns without any cell are left out.
    """
    sizes = []
    for column in columns.columns:
        if column.kind in _SIZED:
            shapes = [_shape(cell) for cell in _some(columns.values[column.name])]
            if shapes:
                median = np.median(np.array(shapes), axis=0).round().astype(int)
                sizes.append(CellSize(kind=column.kind, shape=tuple(median.tolist())))
    return tuple(sizes)


def dense_features(columns: Columns) -> int:
    """Return how many features dense encoders make of numbers, times and categories, about."""
    number = 0
    for column in columns.columns:
        if column.kind is Kind.CATEGORY:
            number += min(len(column.categories), LEVELS)
        else:
            number += DATE_FEATURES if column.kind is Kind.DATETIME else 1
    return number


def _some(cells: Array) -> list[Any]:
    """Return cells from all over a column, that are not missing."""
    return [cell for cell in cells[:: -(-len(cells) // CELLS) or 1] if cell is not None]


def _shape(cell: Any) -> tuple[int, ...]:
    if isinstance(cell, str):
        return (len(cell),)
    samples = getattr(cell, "samples", None)
    return cell.shape if samples is None else (len(samples), cell.rate)
