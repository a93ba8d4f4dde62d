"""Tables turned into the inputs of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.schema import Schema
from automl_fuse.specs import Kind
from automl_fuse.table import Table, read_table

if TYPE_CHECKING:
    from automl_fuse.artefact.manifest import Input, Manifest
    from automl_fuse.specs import Array, Columns


_NUMBERS: Final = frozenset({int, float})
_EXACT: Final = 2.0**53
"""Up to here, a double holds every integer."""


class Feeder:
    """Reads tables as the pipeline did when it was fitted, and hands them to its graph.

    Parameters
    ----------
    manifest : Manifest
        Of the artefact.

    Raises
    ------
    ArtefactError
        If a step of the front-end is unknown or malformed.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._inputs = manifest.inputs
        self._schema = Schema(manifest.columns)
        self._needed = frozenset(column.name for column in manifest.columns)
        # Codes -1 (missing) and -2 (unseen) count from the end.
        self._categories = {
            each.name: np.array([*each.column.categories, each.unseen, each.missing], dtype=object)
            for each in manifest.inputs
            if each.column.kind is Kind.CATEGORY
        }
        self._steps = _steps(manifest)
        self._plain = [(each, self._texts(each)) for each in manifest.inputs]
        plain = {Kind.NUMERIC, Kind.CATEGORY}
        self._has_row = not self._steps and all(e.column.kind in plain for e in manifest.inputs)

    def columns(self, data: Any) -> Columns:
        """Return the typed columns of a table, those that the graph reads.

        Raises
        ------
        DataError
            If one is missing, or holds a value of another kind.
        """
        table = data if isinstance(data, Table) else read_table(data, only=self._needed)
        return self._schema.convert(table)

    def row(self, data: Any) -> dict[str, Array] | None:
        """Return the inputs for a dict of plain cells, a tenth of the time that a table takes.

        None where a cell is not of the plainest type for its column: the way through a table
        knows what to make of it, or what is wrong.
        """
        if type(data) is not dict or not self._has_row:
            return None
        feeds = {}
        for each, known in self._plain:
            cell = data.get(each.column.name, self)
            if known is not None:
                if cell is not None and (type(cell) is not str or cell not in known):
                    return None
                text = each.missing if cell is None else cell
                feeds[each.name] = np.array([[text]], dtype=object)
            elif type(cell) in _NUMBERS and abs(cell) < _EXACT:
                feeds[each.name] = np.array([[cell]], dtype=np.float64)
            else:
                return None
        return feeds

    def feeds(self, columns: Columns, rows: slice) -> dict[str, Array]:
        """Return the inputs of the graph for some rows: (n_rows, 1), or wider if prepared."""
        feeds = {
            each.name: self._values(each, columns.values[each.column.name][rows])[:, None]
            for each in self._inputs
        }
        for name, column, step in self._steps:
            feeds[name] = step(columns.values[column][rows])
        return feeds

    def _texts(self, each: Input) -> frozenset[Any] | None:
        """Return the categories of a column, None for a number; there is nothing plain else."""
        if each.column.kind is Kind.NUMERIC:
            return None
        return frozenset(each.column.categories)

    def _values(self, each: Input, values: Array) -> Array:
        """Return a typed column as the graph reads it."""
        kind = each.column.kind
        if kind is Kind.CATEGORY:
            texts: Array = self._categories[each.name][values]
            return texts
        if kind is Kind.TEXT:
            filled = [each.missing if text is None else text for text in values.tolist()]
            return np.array(filled, dtype=object)
        if kind is Kind.DATETIME:
            moments = values.view(np.int64)
            return np.where(np.isnat(values), int(each.missing or 0), moments)
        return values


def _steps(manifest: Manifest) -> list[tuple[str, str, Any]]:
    if not manifest.prepared:
        return []
    from automl_fuse.front_end import read_step

    return [(each.name, each.column.name, read_step(each.step)) for each in manifest.prepared]
