"""Data of any supported form read into a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.errors import DataError
from automl_fuse.table.columns import check_columns
from automl_fuse.table.files import from_path
from automl_fuse.table.frames import (
    from_array,
    from_mapping,
    from_other,
    from_pandas,
    from_rows,
    from_sparse,
)
from automl_fuse.table.series import is_pandas

if TYPE_CHECKING:
    from automl_fuse.table.dataset import Table
    from automl_fuse.table.raw import RawFrame


def read_table(data: object, only: frozenset[str] | None = None) -> Table:
    """Read a frame and check it.

    Parameters
    ----------
    data : object
        A pandas or polars frame, an Arrow table, anything narwhals reads, a 2-D or structured
        NumPy array, a SciPy sparse matrix, a dict of columns, a list of dicts or of rows, a
        dict of single values (one row), or the path of a CSV (``.csv``, ``.tsv``, also ``.gz``)
        or Parquet file.
    only : frozenset of str, optional
        Columns that are needed: if all are there, the others are left out.

    Returns
    -------
    Table
        Its columns; zero rows are allowed, zero columns are not.

    Raises
    ------
    DataError
        If the data cannot be read, or a column cannot be used: the message names it.
    MissingDependencyError
        If a package that reads this kind of data is not installed.
    """
    frame = read_frame(data)
    if only is not None and only <= frame.columns.keys():
        for name in [name for name in frame.columns if name not in only]:
            del frame.columns[name]
        frame.categorical &= only
    return check_columns(frame)


def read_frame(data: object) -> RawFrame:
    """Read any supported form of data into raw columns of one length."""
    frame = _reader(data)(data)
    if not frame.columns:
        raise DataError("the table has no columns")
    lengths = {name: len(values) for name, values in frame.columns.items()}
    if len(set(lengths.values())) > 1:
        first, length = next(iter(lengths.items()))
        name = next(n for n, other in lengths.items() if other != length)
        raise DataError(
            f"columns differ in length: {first!r} has {length} values, {name!r} {lengths[name]}"
        )
    return frame


def _reader(data: object) -> Callable[[Any], RawFrame]:
    if isinstance(data, str | PurePath):
        return from_path
    if isinstance(data, Mapping):
        return from_mapping
    if isinstance(data, list | tuple):
        return from_rows
    if isinstance(data, np.ndarray):
        return from_array
    if hasattr(data, "toarray") and hasattr(data, "nnz"):
        return from_sparse
    if is_pandas(data, "DataFrame"):
        return from_pandas
    if data is None or isinstance(data, int | float) or is_pandas(data, "Series"):
        raise DataError(
            f"a table is needed, found {type(data).__name__}: give a frame, a 2-D array, a dict of "
            "columns, a list of dicts or a path"
        )
    return from_other
