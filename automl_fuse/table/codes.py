"""Codes of the distinct cells of a column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.table.raw import object_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Array


def factorise(cells: Array) -> tuple[NDArray[np.int64], list[Any]]:
    """Return the code of each cell, and the distinct cells in order of appearance."""
    items = cells.tolist()
    distinct = list(dict.fromkeys(items))
    position = {cell: code for code, cell in enumerate(distinct)}
    return np.fromiter(map(position.__getitem__, items), np.int64, len(items)), distinct


def class_codes(values: Array) -> tuple[NDArray[np.int64], Array]:
    """Return codes and sorted labels."""
    if values.dtype != object:
        classes, codes = np.unique(values, return_inverse=True)
        return codes.astype(np.int64), classes
    codes, distinct = factorise(values)
    order = sorted(range(len(distinct)), key=distinct.__getitem__)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes], object_array(distinct[i] for i in order)
