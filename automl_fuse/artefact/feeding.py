"""Tables turned into the inputs of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.schema import Schema
from automl_fuse.specs import Kind
from automl_fuse.table import Table, read_table

if TYPE_CHECKING:
    from automl_fuse.artefact.manifest import Input, Manifest
    from automl_fuse.specs import Array, Columns


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

    def columns(self, data: Any) -> Columns:
        """Return the typed columns of a table, those that the graph reads.

        Raises
        ------
        DataError
            If one is missing, or holds a value of another kind.
        """
        table = data if isinstance(data, Table) else read_table(data, only=self._needed)
        return self._schema.convert(table)

    def feeds(self, columns: Columns, rows: slice) -> dict[str, Array]:
        """Return the inputs of the graph for some rows: (n_rows, 1), or wider if prepared."""
        feeds = {
            each.name: self._values(each, columns.values[each.column.name][rows])[:, None]
            for each in self._inputs
        }
        for name, column, step in self._steps:
            feeds[name] = step(columns.values[column][rows])
        return feeds

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
