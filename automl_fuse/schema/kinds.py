"""Kinds of the columns of a training table, by which every later table is read."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from automl_fuse.errors import DataError
from automl_fuse.schema.categories import Lookup
from automl_fuse.schema.conversion import CONVERTERS
from automl_fuse.specs import Array, Column, Columns, Kind
from automl_fuse.table import Table, describe_near

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Schema:
    """Kinds of the columns of the training table.

    Attributes
    ----------
    columns : tuple of Column
        All columns, those that are dropped included, in table order.
    warnings : tuple of str
        What was dropped or looks doubtful, in words for the user.
    """

    columns: tuple[Column, ...]
    warnings: tuple[str, ...] = ()

    def convert(self, table: Table) -> Columns:
        """Return the typed columns of a table, those that are dropped left out.

        Parameters
        ----------
        table : Table
            With at least the columns that are not dropped, in any order.

        Returns
        -------
        Columns
            In the order of this schema; rows as in ``table``.

        Raises
        ------
        DataError
            If columns are missing, or a value does not fit the kind of its column.
        """
        kept = tuple(column for column in self.columns if not column.kind.is_dropped)
        missing = [column.name for column in kept if column.name not in table.columns]
        if missing:
            raise DataError(_describe_missing(missing, table, self.columns))
        values = {column.name: self._convert(column, table.columns[column.name]) for column in kept}
        return Columns(columns=kept, values=values, n_rows=table.n_rows)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values from which ``from_dict`` makes an equal schema."""
        return {
            "columns": [
                {**asdict(c), "kind": c.kind.value, "categories": list(c.categories)}
                for c in self.columns
            ],
            "warnings": list(self.warnings),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Schema:
        """Return the schema that ``to_dict`` described."""
        columns = (
            Column(
                name=column["name"],
                kind=Kind(column["kind"]),
                reason=column["reason"],
                categories=tuple(column["categories"]),
            )
            for column in values["columns"]
        )
        return Schema(tuple(columns), tuple(values["warnings"]))

    def __str__(self) -> str:
        rows = [("column", "kind", "reason"), *self._cells()]
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        return "\n".join(f"{n:<{widths[0]}}  {k:<{widths[1]}}  {r}" for n, k, r in rows)

    def _repr_html_(self) -> str:
        import html  # which takes longer to import than this module

        head = "".join(f"<th>{title}</th>" for title in ("column", "kind", "reason"))
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._cells()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __reduce__(self) -> tuple[type[Schema], tuple[tuple[Column, ...], tuple[str, ...]]]:
        # The look-up tables are cached on the object, and made again where they are needed.
        return Schema, (self.columns, self.warnings)

    def _cells(self) -> list[tuple[str, str, str]]:
        return [(column.name, column.kind.value, column.reason) for column in self.columns]

    def _convert(self, column: Column, values: Array) -> Array:
        if column.kind is not Kind.CATEGORY:
            return CONVERTERS[column.kind](column, values)
        if column.name not in self._lookups:
            self._lookups[column.name] = Lookup.of(column.categories)
        return self._lookups[column.name].codes(column, values)

    @functools.cached_property
    def _lookups(self) -> dict[str, Lookup]:
        return {}


def _describe_missing(missing: list[str], table: Table, columns: tuple[Column, ...]) -> str:
    known = {column.name for column in columns}
    others = [name for name in table.names if name not in known]
    hint = f"; {describe_near(missing[0], others)}" if others else ""
    listed = ", ".join(map(repr, missing))
    return f"{len(missing)} columns that were there at fit are missing: {listed}{hint}"
