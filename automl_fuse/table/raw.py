"""Columns as the source of a table gives them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from automl_fuse.specs import Array


@dataclass
class RawFrame:
    """Columns as the source gives them, before they are normalised.

    Attributes
    ----------
    columns : dict of str to array of shape (n_rows,)
        Of any type; those that are taken out, such as the target, leave it.
    categorical : set of str
        Columns that the source declares to be categorical.
    notes : list of str
        What was changed while reading, in words for the user.
    """

    columns: dict[str, Array]
    categorical: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """Number of rows; 0 without columns."""
        return len(next(iter(self.columns.values()), ()))


def object_array(cells: Iterable[Any]) -> Array:
    """Return cells as a 1-D object array, also when they are lists of one length."""
    items = list(cells)
    return np.fromiter(items, dtype=object, count=len(items))
