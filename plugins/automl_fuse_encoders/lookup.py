"""Tables from the codes of categories to whatever an encoder makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import MISSING_CODE, UNSEEN_CODE, Array, Column, Columns
from automl_fuse_encoders.writing import doubles, side_by_side_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import Graph, Tensor

__all__ = ["FIRST_SLOT", "MISSING_SLOT", "UNSEEN_SLOT", "Lookup", "slot_counts", "varying"]

FIRST_SLOT = -UNSEEN_CODE
"""A table has a slot for each code, shifted by this so that the negative codes come first."""
UNSEEN_SLOT = FIRST_SLOT + UNSEEN_CODE
MISSING_SLOT = FIRST_SLOT + MISSING_CODE


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """The tables of several columns, end to end, so that one gather serves all of them.

    Attributes
    ----------
    names : tuple of str
        Columns.
    offsets : int64 array of shape (n_columns,)
        What to add to a code to get its position in ``table``.
    table : array of shape (n_slots_of_all_columns, ...)
        What to return for each slot.
    """

    names: tuple[str, ...]
    offsets: NDArray[np.int64]
    table: Array

    @classmethod
    def of(cls, tables: dict[str, Array], empty: Array) -> Lookup:
        """Join the tables of columns; ``empty`` has their shape and type, and no slots."""
        ends = np.cumsum([0, *(len(table) for table in tables.values())])
        return cls(
            names=tuple(tables),
            offsets=ends[:-1] + FIRST_SLOT,
            table=np.concatenate([empty, *tables.values()]),
        )

    def __call__(self, columns: Columns) -> Array:
        """Return what the tables hold for these rows: (n_rows, n_columns, ...)."""
        slots = np.empty((columns.n_rows, len(self.names)), dtype=np.int64)
        for position, name in enumerate(self.names):
            slots[:, position] = columns.values[name]
        slots += self.offsets
        return self.table[slots]

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Return the same of typed columns in a graph, in double precision.

        The positions are written once for all encoders that read the same columns.
        """
        slots = self.slots_to_onnx(graph, columns)
        return graph.node("Gather", [doubles(graph, self.table), slots])

    def slots_to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Return the positions in the table: int64 (n_rows, n_columns)."""
        codes = side_by_side_tensor(graph, columns, self.names)
        return graph.node("Add", [codes, graph.constant(self.offsets)])


def slot_counts(columns: Columns, column: Column) -> NDArray[np.int64]:
    """Count the rows in each slot of a category column: (n_categories + FIRST_SLOT,)."""
    size = len(column.categories) + FIRST_SLOT
    return np.bincount(columns.values[column.name] + FIRST_SLOT, minlength=size)


def varying(columns: Columns) -> Sequence[tuple[Column, NDArray[np.int64]]]:
    """Return the columns that hold two different things in these rows, and their slot counts.

    Missing counts as a thing: a column with one category and gaps tells something.
    """
    counted = [(column, slot_counts(columns, column)) for column in columns.columns]
    return [(column, counts) for column, counts in counted if np.count_nonzero(counts) > 1]
