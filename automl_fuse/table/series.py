"""One column of any library turned into a raw array."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import DataError, MissingDependencyError
from automl_fuse.table.raw import object_array

if TYPE_CHECKING:
    from automl_fuse.specs import Array

MANY_ROWS: Final = 1_000
"""Rows from which equal texts of a column are made one object: Arrow and polars give a new one
for each cell, which takes several times what the text does."""


def raw_column(name: str, values: object) -> tuple[Array, bool]:
    """Return one column as an array, and whether it is declared categorical."""
    if any(is_pandas(values, kind) for kind in ("Series", "Index", "Categorical")):
        return pandas_column(sys.modules["pandas"].Series(values))
    if is_masked(values):
        values = unmasked(values)
    if isinstance(values, list | tuple | range):
        return object_array(values), False
    if not isinstance(values, np.ndarray | np.generic) and hasattr(values, "__array__"):
        wrapped = through_narwhals(values, series=True)
        if wrapped is not values:
            return narwhals_column(wrapped)
    array = np.asarray(values)
    if array.ndim == 0:
        raise DataError(
            f"column {name!r} is {values!r}, not one value a row; a single row is a dict in which "
            "every column has a single value"
        )
    if array.ndim > 1:
        array = array.ravel() if array.size == len(array) else object_array(array)
    return array, False


def is_pandas(data: object, kind: str) -> bool:
    """Return whether data is of this class of pandas; pandas is not imported for it."""
    pandas: Any = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, getattr(pandas, kind, ()))


def is_masked(values: object) -> bool:
    """Return whether an array is masked; ``numpy.ma`` is not imported for it: it takes time."""
    return "numpy.ma" in sys.modules and isinstance(values, np.ma.MaskedArray)


def unmasked(values: Any) -> Array:
    """Return a masked array as objects, None where masked."""
    cells = np.array(values.data, dtype=object)
    cells[np.ma.getmaskarray(values)] = None
    return cells


def pandas_column(series: Any) -> tuple[Array, bool]:
    """Return a pandas series as an array, and whether it is declared categorical."""
    pandas: Any = sys.modules["pandas"]
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return series.to_numpy(), False
    if isinstance(dtype, pandas.CategoricalDtype):
        levels = object_array([*series.cat.categories, None])
        return levels[series.cat.codes.to_numpy()], True
    if isinstance(dtype, pandas.DatetimeTZDtype):
        return series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), False
    if isinstance(dtype, pandas.PeriodDtype):
        return series.dt.to_timestamp().to_numpy(), False
    if isinstance(dtype, pandas.SparseDtype):
        return series.sparse.to_dense().to_numpy(), False
    if getattr(dtype, "kind", "O") in "iuf":
        if series.isna().any():
            return series.to_numpy(dtype=np.float64, na_value=np.nan), False
        return series.to_numpy(dtype=dtype.numpy_dtype), False
    return _objects(series, texts=isinstance(dtype, pandas.StringDtype)), False


def _objects(series: Any, *, texts: bool) -> Array:
    if texts and len(series) >= MANY_ROWS:
        codes, distinct = series.factorize()
        levels = object_array([*distinct, None])
        shared: Array = levels[codes]
        return shared
    cells: Array = series.to_numpy(dtype=object, na_value=None)
    return cells


def through_narwhals(native: object, *, series: bool) -> Any:
    """Wrap a frame or a series of any library, or return it as it is."""
    try:
        import narwhals
    except ImportError as error:
        raise MissingDependencyError(
            f"reading {type(native).__name__} needs narwhals: pip install narwhals"
        ) from error
    if series:
        return narwhals.from_native(native, series_only=True, pass_through=True)
    return narwhals.from_native(native, pass_through=True)


def narwhals_column(series: Any) -> tuple[Array, bool]:
    """Return a narwhals series as an array, and whether it is declared categorical."""
    import narwhals as nw

    dtype = series.dtype
    if isinstance(dtype, nw.Categorical | nw.Enum):
        return object_array(series.to_list()), True
    if isinstance(dtype, nw.Int128 | nw.UInt128 | nw.Decimal):
        return series.cast(nw.Float64).to_numpy(), False
    if isinstance(
        dtype, nw.List | nw.Array | nw.Struct | nw.Object | nw.Unknown | nw.Time | nw.Binary
    ):
        return object_array(series.to_list()), False
    if isinstance(dtype, nw.Datetime) and dtype.time_zone is not None:
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if isinstance(dtype, nw.String) and len(series) >= MANY_ROWS:
        known: dict[Any, Any] = {}
        return object_array(known.setdefault(text, text) for text in series.to_list()), False
    return np.asarray(series.to_numpy()), False
