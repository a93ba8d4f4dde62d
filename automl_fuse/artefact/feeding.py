"""Tables turned into the inputs of a graph."""

from __future__ import annotations

import math
import re
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.runtime import GraphInputs
from automl_fuse.schema import Schema
from automl_fuse.specs import Kind
from automl_fuse.table import NULL_TEXTS, Table, few_rows, read_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from automl_fuse.artefact.manifest import Input, Manifest
    from automl_fuse.front_end import FrontEnd
    from automl_fuse.specs import Array, Columns

_PLAIN_KINDS: Final = frozenset({Kind.NUMERIC, Kind.BOOLEAN, Kind.CATEGORY, Kind.TEXT})
_NUMBERS: Final = frozenset(
    {int, float, type(None), np.int8, np.int16, np.int32, np.int64, np.float32}
    | {np.uint8, np.uint16, np.uint32, np.uint64, np.float64}
)
_ALONE: Final = _NUMBERS | {str}
"""Also numbers written out; where a column has several cells, it matters what the others are."""
_WRITTEN: Final = re.compile(r"-?\d{1,15}(\.\d{1,15})?", re.ASCII)
_FLAGS: Final = _NUMBERS | {bool, np.bool_}
_TEXT: Final = frozenset({str})
_EXACT: Final = 2.0**53
"""Below, a double holds every integer."""


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
        self._schema = Schema(manifest.columns)
        self._needed = frozenset(column.name for column in manifest.columns)
        prepared = {each.name: each.step for each in manifest.prepared}
        self._inputs = GraphInputs(manifest.inputs, prepared)
        kinds = {column.kind for column in manifest.columns}
        # A step reads texts; typed categories are none.
        plain = kinds <= _PLAIN_KINDS and all(
            each.column.kind is Kind.TEXT for each in manifest.prepared
        )
        self._plain = PlainInputs(manifest.inputs, self._inputs.front_end) if plain else None

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
        return self._inputs.of(columns, rows)

    def few(self, data: Any) -> dict[str, Array] | None:
        """Return the inputs for a few rows of plain cells, much faster than through a table.

        None where there are more rows, or a cell is not of the plainest type for its column: the
        way through a table knows what to make of it, or what is wrong.
        """
        read = None if self._plain is None else few_rows(data)
        if self._plain is None or read is None:
            return None
        try:
            return self._plain.of(*read)
        except _NotPlainError:
            return None


class _NotPlainError(Exception):
    """Cells are not of the plainest types, or not there."""


class PlainInputs:
    """Makes the inputs of a graph of single cells, where those are of the plainest types.

    To the last bit they are what the way through a table makes. That one reads a column at a
    time, so that the price of one row is that of an array, many times, for every column.

    Parameters
    ----------
    inputs : sequence of Input
        Raw inputs: numbers, true or false, categories and texts.
    front_end : FrontEnd or None
        What makes the inputs that a graph cannot.
    """

    def __init__(self, inputs: Sequence[Input], front_end: FrontEnd | None) -> None:
        numbers = [each for each in inputs if each.column.kind is Kind.NUMERIC]
        flags = [each for each in inputs if each.column.kind is Kind.BOOLEAN]
        texts = [each for each in inputs if each.type == "string"]
        raw = [*numbers, *flags, *texts]
        self._front_end = front_end
        self._cut = () if front_end is None else front_end.columns
        self._names = [each.name for each in raw]
        self._columns = [*(each.column.name for each in raw), *self._cut]
        self._ends = len(numbers), len(numbers) + len(flags), len(raw)
        # What stands for a missing text, and which texts there are if only these are plain.
        known = [
            frozenset(each.column.categories) if each.column.kind is Kind.CATEGORY else None
            for each in texts
        ]
        gaps: list[Any] = [each.missing for each in texts]
        prepared = [(None, None)] * len(self._cut)
        self._texts = [*zip(gaps, known, strict=True), *prepared]
        self._layout: tuple[tuple[str, ...] | None, list[int]] = (None, [])

    def of(self, names: tuple[Any, ...], rows: Sequence[Sequence[Any]]) -> dict[str, Array]:
        """Return inputs of shape (n_rows, width).

        Parameters
        ----------
        names : tuple
            Names of the columns of a table.
        rows : sequence of sequences
            Cells of each row, in the order of the names.

        Raises
        ------
        _NotPlainError
            If a column is missing, or a name or a cell is not plain.
        """
        table = list(zip(*rows, strict=True))
        cells = [table[place] for place in self._places(names)]
        n_rows, (numbers, flags, raw) = len(rows), self._ends
        amounts = _numbers(chain.from_iterable(cells[:numbers]), _NUMBERS if n_rows > 1 else _ALONE)
        if flags > numbers:
            amounts += _flags(chain.from_iterable(cells[numbers:flags]))
        texts = _texts(cells[flags:], self._texts)
        end = (raw - flags) * n_rows
        values = [
            *np.array(amounts, dtype=np.float64).reshape(flags, n_rows, 1),
            *np.array(texts[:end], dtype=object).reshape(raw - flags, n_rows, 1),
        ]
        inputs: dict[str, Array] = dict(zip(self._names, values, strict=True))
        if self._front_end is not None:
            starts = range(end, len(texts), n_rows)
            read = [texts[start : start + n_rows] for start in starts]
            inputs |= self._front_end(dict(zip(self._cut, read, strict=True)))
        return inputs

    def _places(self, names: tuple[Any, ...]) -> list[int]:
        """Return where the columns stand in a table.

        A table mostly has the columns of the one before: what was found is kept.
        """
        if not _TEXT.issuperset(map(type, names)):
            raise _NotPlainError
        known, places = self._layout
        if known != names:
            position = {name: place for place, name in enumerate(names)}
            if len(position) < len(names) or not position.keys() >= set(self._columns):
                raise _NotPlainError
            places = [position[name] for name in self._columns]
            self._layout = names, places
        return places


def _numbers(cells: Iterable[Any], types: frozenset[type]) -> list[Any]:
    """Return numbers of some types that a double holds exactly, NaN where missing."""
    numbers = []
    for cell in cells:
        if type(cell) not in types:
            raise _NotPlainError
        if cell is None or cell != cell:  # noqa: PLR0124 (NaN is the value unequal to itself)
            numbers.append(math.nan)
        elif type(cell) is str:
            numbers.append(_parsed(cell))
        # In a column of pandas' categories, -0.0 is the same as 0.0; here no one knows.
        elif -_EXACT < cell < _EXACT and (cell or math.copysign(1.0, cell) > 0):
            numbers.append(cell)
        else:
            raise _NotPlainError
    return numbers


def _parsed(text: str) -> float:
    """Return a number written in the plainest way, NaN for a text that means a missing one."""
    if _WRITTEN.fullmatch(text):
        return float(text)
    if text.strip().lower() in NULL_TEXTS:
        return math.nan
    raise _NotPlainError


def _flags(cells: Iterable[Any]) -> list[Any]:
    """Return what is true or false as numbers, NaN where missing."""
    flags = _numbers(cells, _FLAGS)
    if not all(flag in (0, 1) or math.isnan(flag) for flag in flags):
        raise _NotPlainError
    return flags


def _texts(
    columns: Sequence[Sequence[Any]], ways: Sequence[tuple[Any, frozenset[str] | None]]
) -> list[Any]:
    """Return the texts of columns one after the other, those that are missing filled in."""
    texts = []
    for cells, (missing, known) in zip(columns, ways, strict=True):
        for cell in cells:
            if type(cell) is str and (known is None or cell in known):
                texts.append(cell)
            elif cell is None or (type(cell) is float and cell != cell):  # noqa: PLR0124 (NaN)
                texts.append(missing)
            else:
                raise _NotPlainError
    return texts
