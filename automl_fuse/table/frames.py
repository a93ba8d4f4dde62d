"""Frames in memory turned into raw columns."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import DataError
from automl_fuse.table.cells import family_of
from automl_fuse.table.names import checked_names
from automl_fuse.table.raw import RawFrame, object_array
from automl_fuse.table.series import (
    is_masked,
    narwhals_column,
    pandas_column,
    raw_column,
    through_narwhals,
    unmasked,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Array

FEW_ROWS: Final = 8
"""Rows up to which ``few_rows`` reads a table."""
_FEW_TO_PANDAS: Final = 4

_MAX_DENSE_CELLS = 50_000_000
_MANY = frozenset({"list", "nested"})
"""Families of what may be a column: a list or array, and series of any library."""


def from_mapping(data: Mapping[Any, object]) -> RawFrame:
    """Read a mapping of names to columns; of names to single values, it is one row."""
    if data and all(family_of(type(value)) not in _MANY for value in data.values()):
        return from_rows([data])
    names = checked_names(data)
    frame = RawFrame({})
    for name, values in zip(names, data.values(), strict=True):
        frame.columns[name], declared = raw_column(name, values)
        if declared:
            frame.categorical.add(name)
    return frame


def from_rows(data: list[Any] | tuple[Any, ...]) -> RawFrame:
    """Read a list of rows, each a dict or a list."""
    if not data:
        raise DataError("the table is empty: it has neither rows nor columns")
    if all(isinstance(row, Mapping) for row in data):
        keys = list(dict.fromkeys(key for row in data for key in row))
        cells = ([row.get(key) for row in data] for key in keys)
        return RawFrame(dict(zip(checked_names(keys), map(object_array, cells), strict=True)))
    if not all(isinstance(row, list | tuple | np.ndarray) for row in data):
        raise DataError(
            f"a list must hold rows, each a dict or a list; found {type(data[0]).__name__}"
        )
    widths = {len(row) for row in data}
    if len(widths) > 1:
        raise DataError(f"rows differ in length: {min(widths)} and {max(widths)} values")
    return RawFrame(
        {f"x{i}": object_array(cells) for i, cells in enumerate(zip(*data, strict=True))}
    )


def from_array(data: Array) -> RawFrame:
    """Read a NumPy array: 2-D, structured or masked."""
    if is_masked(data):
        data = unmasked(data)
    if data.dtype.names is not None:
        return from_mapping({name: data[name] for name in data.dtype.names})
    if data.ndim != 2:
        raise DataError(
            f"an array must have 2 dimensions (rows, columns), found {data.ndim}: use "
            "reshape(-1, 1) for one column, reshape(1, -1) for one row"
        )
    return RawFrame({f"x{i}": column for i, column in enumerate(np.asarray(data).T)})


def from_sparse(data: Any) -> RawFrame:
    """Read a SciPy sparse matrix that is small enough to be dense."""
    n_rows, n_columns = data.shape
    if n_rows * n_columns > _MAX_DENSE_CELLS:
        raise DataError(
            f"a sparse matrix of {n_rows} x {n_columns} is too large to use densely: reduce its "
            "columns first, for example with sklearn.decomposition.TruncatedSVD"
        )
    return from_array(np.asarray(data.toarray()))


def from_pandas(data: Any) -> RawFrame:
    """Read a pandas frame."""
    frame = RawFrame({})
    # Iterating takes half as long as .iloc, which is most of the time of predicting one row.
    for name, (_, series) in zip(checked_names(data.columns), data.items(), strict=True):
        frame.columns[name], declared = pandas_column(series)
        if declared:
            frame.categorical.add(name)
    return frame


def from_other(data: Any) -> RawFrame:
    """Read a frame through narwhals, Arrow's stream interface or ``__array__``, in this order."""
    names = getattr(data, "column_names", None)
    if isinstance(names, list):
        checked_names(names)
    wrapped = through_narwhals(data, series=False)
    arrow = hasattr(data, "__arrow_c_stream__") and len(getattr(data, "shape", (0, 0))) == 2
    if wrapped is data and arrow and "pyarrow" in sys.modules:
        wrapped = through_narwhals(sys.modules["pyarrow"].table(data), series=False)
    if hasattr(wrapped, "collect") and not hasattr(wrapped, "get_column"):
        wrapped = wrapped.collect()
    if not hasattr(wrapped, "get_column"):
        if hasattr(data, "__array__"):
            return from_array(np.asarray(data))
        raise DataError(
            f"cannot read a table from {type(data).__name__}: give a frame, a 2-D array, a dict of "
            "columns, a list of dicts or a path"
        )
    frame = RawFrame({})
    for name in wrapped.columns:
        frame.columns[str(name)], declared = narwhals_column(wrapped.get_column(name))
        if declared:
            frame.categorical.add(str(name))
    return frame


def few_rows(data: Any) -> tuple[tuple[Any, ...], Sequence[Sequence[Any]]] | None:
    """Return names and cells of a table of a few rows, without making arrays of its columns.

    Parameters
    ----------
    data : object
        A dict of single values, or a list of dicts, a frame of pandas or of polars with at most
        ``FEW_ROWS`` rows.

    Returns
    -------
    pair or None
        Names of the columns, unchecked, and the cells of each row as the library gives them:
        numbers are Python's or NumPy's, what is missing is None, NaN or of a type of its own.
        None for all other data.
    """
    kind = type(data)
    if kind is dict:
        single = _MANY.isdisjoint(map(family_of, set(map(type, data.values()))))
        return (tuple(data), [tuple(data.values())]) if single else None
    if kind is list:
        return _few_dicts(data)
    for library, read in (("pandas", _few_of_pandas), ("polars", _few_of_polars)):
        if kind is getattr(sys.modules.get(library), "DataFrame", None):
            return read(data) if 0 < len(data) <= FEW_ROWS else None
    return None


def _few_dicts(data: list[Any]) -> tuple[tuple[Any, ...], Sequence[Sequence[Any]]] | None:
    """Read a list of dicts, if all name the same columns in the same order."""
    if not 0 < len(data) <= FEW_ROWS or any(type(row) is not dict for row in data):
        return None
    names = tuple(data[0])
    if any(list(row) != list(names) for row in data[1:]):
        return None
    return names, [tuple(row.values()) for row in data]


def _few_of_pandas(data: Any) -> tuple[tuple[Any, ...], Sequence[Sequence[Any]]]:
    # Each column that pandas is asked for takes as long as a row: it is not asked for any. Texts
    # and categories make ``to_numpy`` slow, so that it is for the tables with more rows.
    names = tuple(data.columns.tolist())
    if len(data) <= _FEW_TO_PANDAS:
        return names, [data.iloc[row].tolist() for row in range(len(data))]
    return names, data.to_numpy(dtype=object).tolist()


def _few_of_polars(data: Any) -> tuple[tuple[Any, ...], Sequence[Sequence[Any]]]:
    return tuple(data.columns), data.rows()
