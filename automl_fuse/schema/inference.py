"""Kinds inferred from the columns of a training table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.errors import DataError, SettingsError
from automl_fuse.schema.conversion import to_texts
from automl_fuse.schema.guesses import MIN_ROWS_FOR_ID, Guess, constant, guess_dates, missing_note
from automl_fuse.schema.kinds import Schema
from automl_fuse.schema.objects import guess_objects
from automl_fuse.schema.texts import guess_texts
from automl_fuse.specs import Array, Column, Floats, Kind
from automl_fuse.table import Table, describe_near

if TYPE_CHECKING:
    from collections.abc import Mapping

_ID_NAME = re.compile(r"(?i:(^|[\W_])(id|uuid|guid|idx|index|row_?id)$)|[a-z]I[dD]$|^Unnamed: \d+$")


def infer(table: Table, overrides: Mapping[str, str]) -> Schema:
    """Decide what each column holds.

    Parameters
    ----------
    table : Table
        The training features.
    overrides : mapping of str to str
        Kinds, by column, that the user sets; ``"id"`` drops a column.

    Returns
    -------
    Schema
        A kind and a reason for each column, in table order.

    Raises
    ------
    SettingsError
        If an override names no column or no kind.
    DataError
        If no column is left to learn from, or one holds cells of no known kind.
    """
    _check_overrides(table, overrides)
    notes: list[str] = []
    columns = tuple(
        _override(name, values, Kind(overrides[name]))
        if name in overrides
        else _infer_column(table, name, notes)
        for name, values in table.columns.items()
    )
    if all(column.kind.is_dropped for column in columns):
        reasons = "; ".join(f"{c.name!r}: {c.reason}" for c in columns)
        raise DataError(
            f"no column is left to learn from ({reasons}): add features, or set their kinds"
        )
    return Schema(columns, tuple(notes))


def _check_overrides(table: Table, overrides: Mapping[str, str]) -> None:
    kinds = [kind.value for kind in Kind]
    for name, kind in overrides.items():
        if name not in table.columns:
            raise SettingsError(
                f"kinds names {name!r}, which is no feature; {describe_near(name, table.names)}"
            )
        if kind not in kinds:
            raise SettingsError(
                f"kind {kind!r} of column {name!r} is unknown; {describe_near(str(kind), kinds)}"
            )


def _override(name: str, values: Array, kind: Kind) -> Column:
    reason = "set by the user"
    if kind is not Kind.CATEGORY:
        return Column(name=name, kind=kind, reason=reason)
    texts = to_texts(Column(name=name, kind=kind, reason=reason), values)
    known = tuple(sorted({text for text in texts.tolist() if text is not None}))
    return Column(name=name, kind=kind, reason=reason, categories=known)


def _infer_column(table: Table, name: str, notes: list[str]) -> Column:
    values = table.columns[name]
    guess = _guess_column(table, name, values)
    if guess.kind.is_dropped:
        keep = "category" if values.dtype == object else "numeric"
        advice = f"; kinds={{{name!r}: {keep!r}}} keeps it" if guess.kind is Kind.ID else ""
        notes.append(f"column {name!r} is dropped as {guess.kind.value}: {guess.reason}{advice}")
    if guess.note:
        notes.append(f"column {name!r}: {guess.note}")
    return Column(name=name, kind=guess.kind, reason=guess.reason, categories=guess.categories)


def _guess_column(table: Table, name: str, values: Array) -> Guess:
    kind = values.dtype.kind
    if kind == "f":
        return _guess_numbers(name, values, alone=len(table.columns) == 1)
    if kind == "b":
        if values.all() or not values.any():
            return constant(bool(values[:1].any()))
        return Guess(Kind.BOOLEAN, "true or false")
    if kind == "M":
        return guess_dates(values, "dates")
    cells = values.tolist()
    first = next((cell for cell in cells if cell is not None), None)
    if first is None:
        return constant(None)
    if isinstance(first, str):
        return guess_texts(cells, declared=name in table.categorical)
    if isinstance(first, bool):
        return Guess(Kind.BOOLEAN, "true or false" + missing_note(cells.count(None), len(cells)))
    return guess_objects(name, cells, first)


def _guess_numbers(name: str, values: Floats, *, alone: bool) -> Guess:
    if not len(values) or np.isnan(low := np.fmin.reduce(values)):
        return constant(None)
    high = np.fmax.reduce(values)
    n_missing = int(np.count_nonzero(np.isnan(values)))
    if low == high and not n_missing:
        return constant(float(low) + 0.0)
    if n_missing == 0 and len(values) >= MIN_ROWS_FOR_ID and not alone:
        if high - low == len(values) - 1 and _counts_rows(values):
            return Guess(Kind.ID, "integers that count the rows")
        if _ID_NAME.search(name) and _is_unique_integer(values):
            return Guess(Kind.ID, "a different integer in every row, and named like an identifier")
    span = f"numbers from {low + 0.0:.6g} to {high + 0.0:.6g}"
    return Guess(Kind.NUMERIC, span + missing_note(n_missing, len(values)))


def _counts_rows(values: Floats) -> bool:
    step = values[1] - values[0]
    if abs(step) != 1 or not float(values[0]).is_integer():
        return False
    return bool((np.diff(values) == step).all())


def _is_unique_integer(values: Floats) -> bool:
    return bool((values == np.floor(values)).all()) and len(np.unique(values)) == len(values)
