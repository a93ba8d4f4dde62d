"""Frame in; checked table, target and task out.

Reading dictionaries, lists of rows and NumPy arrays needs NumPy alone, so that a saved pipeline
predicts where nothing else is installed; pandas, narwhals and Arrow are imported when met.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import importlib
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from automl_fuse.errors import DataError, MissingDependencyError, SettingsError, TargetError
from automl_fuse.specs import Array, Floats, Task

if TYPE_CHECKING:
    import io

    from numpy.typing import NDArray

__all__ = [
    "Dataset",
    "Table",
    "describe_near",
    "factorise",
    "format_cell",
    "parse_numbers",
    "prepare",
    "read_table",
    "read_target",
]

NULL_TEXTS = frozenset({"", "-", "?", "#n/a", "<na>", "n/a", "na", "nan", "nat", "none", "null"})
"""Texts, in lower case, that mean a missing number or date."""

_EXACT_INTEGERS = 2.0**53
_MAX_DENSE_CELLS = 50_000_000
_MAX_INTEGER_CLASSES = 20
_MIN_ROWS_PER_INTEGER_CLASS = 10
_NULL_TYPES = frozenset({"NoneType", "NAType", "NaTType"})
_READ_ERRORS = (ValueError, OSError, EOFError, OverflowError, zlib.error, csv.Error, Warning)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Checked columns of a frame, before their kinds are decided.

    Attributes
    ----------
    columns : mapping of str to array of shape (n_rows,)
        float64 for numbers and durations in seconds (NaN where missing); bool, or objects
        True, False and None; ``datetime64[us]`` in UTC (NaT where missing); objects str and
        None; other objects (lists, arrays, bytes, images), None where missing.
    n_rows : int
        Number of rows.
    categorical : frozenset of str
        Columns that the frame itself declares to be categorical.
    warnings : tuple of str
        What was changed while reading, in words for the user.
    """

    columns: Mapping[str, Array]
    n_rows: int
    categorical: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self.columns)

    def take(self, rows: NDArray[np.intp]) -> Table:
        """Return these rows, in the order given."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Table(
            columns=columns,
            n_rows=len(rows),
            categorical=self.categorical,
            warnings=self.warnings,
        )

    def drop(self, names: Iterable[str]) -> Table:
        """Return the table without these columns; names that it lacks are ignored."""
        gone = frozenset(names)
        return Table(
            columns={name: v for name, v in self.columns.items() if name not in gone},
            n_rows=self.n_rows,
            categorical=self.categorical - gone,
            warnings=self.warnings,
        )


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A table with its target: what a run learns from.

    Attributes
    ----------
    table : Table
        Features only: target, weight and group columns are removed.
    y : array of shape (n_rows,)
        Class codes 0 … n_classes-1 (int64), or values (float64).
    classes : array of shape (n_classes,) or None
        Labels in code order, sorted, of their original type; None in regression.
    task : Task
        What is predicted.
    task_reason : str
        Why it was taken for that task, in words for the user.
    weight : float64 array of shape (n_rows,) or None
        Sample weights, positive, with mean 1.
    groups : int64 array of shape (n_rows,) or None
        Codes of the groups that no split may divide.
    target : str
        Name of the target.
    rows : intp array of shape (n_rows,)
        Positions, in the data as given, of the rows that were kept.
    warnings : tuple of str
        What was changed or looks doubtful, in words for the user.
    """

    table: Table
    y: Array
    classes: Array | None
    task: Task
    task_reason: str
    weight: Floats | None
    groups: NDArray[np.int64] | None
    target: str
    rows: NDArray[np.intp]
    warnings: tuple[str, ...]


# --------------------------------------------------------------------------- public functions


def read_table(data: object) -> Table:
    """Read a frame and check it.

    Parameters
    ----------
    data : object
        A pandas or polars frame, an Arrow table, anything narwhals reads, a 2-D or structured
        NumPy array, a SciPy sparse matrix, a dict of columns, a list of dicts or of rows, or
        the path of a CSV (``.csv``, ``.tsv``, also ``.gz``) or Parquet file.

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
    return _checked(_read(data))


def prepare(
    data: object,
    y: object = None,
    *,
    target: str | None = None,
    task: str | None = None,
    sample_weight: object = None,
    groups: object = None,
) -> Dataset:
    """Read a training table, take its target out, and find the task.

    Parameters
    ----------
    data : object
        Anything that ``read_table`` reads.
    y : object, optional
        The target, one value a row: array, series, list, or a frame of one column.
    target : str, optional
        Name of the target column in ``data``; either this or ``y`` is needed.
    task : {"classification", "binary", "multiclass", "regression"}, optional
        Inferred from the target if absent.
    sample_weight, groups : object, optional
        One value a row, or the name of a column of ``data``.

    Returns
    -------
    Dataset
        Features, target and what is known about them.

    Raises
    ------
    TargetError
        If the target is absent or cannot be learned.
    DataError
        If the table or the weights cannot be used.
    SettingsError
        If ``task`` is not one of those above.
    """
    wanted = _wanted_task(task)
    frame = _read(data)
    name, labels, declared = _take_target(frame, y, target, n_rows=frame.n_rows)
    weights = _take_side(frame, sample_weight, "sample_weight")
    group_values = _take_side(frame, groups, "groups")
    if not frame.columns:
        raise DataError(f"the table has no feature beside the target {name!r}: add columns")
    _check_rows(frame.n_rows, labels, name)
    table = _checked(frame)
    notes = list(table.warnings)
    weight = None if weights is None else _checked_weight(weights, table.n_rows)
    codes = None if group_values is None else _group_codes(group_values, table.n_rows)
    rows = _usable_rows(name, labels, weight, notes)
    had_missing = bool(_missing(labels).any())
    values = _label_values(name, labels[rows], had_missing=had_missing, notes=notes)
    _check_finite(name, values, rows)
    encoded = _encode_target(name, values, declared=declared, wanted=wanted, notes=notes)
    if len(rows) < table.n_rows:
        table = table.take(rows)
    return Dataset(
        table=table,
        y=encoded.y,
        classes=encoded.classes,
        task=encoded.task,
        task_reason=encoded.reason,
        weight=None if weight is None else weight[rows] / weight[rows].mean(),
        groups=None if codes is None else codes[rows],
        target=name,
        rows=rows,
        warnings=tuple(notes),
    )


def read_target(
    table: Table,
    y: object = None,
    *,
    target: str,
    classes: Array | None,
    sample_weight: object = None,
) -> tuple[Array, NDArray[np.bool_], Floats | None]:
    """Read the target of rows to be scored, with what was learned from the training table.

    Parameters
    ----------
    table : Table
        With the target column, unless ``y`` is given.
    y : object, optional
        The target, one value a row.
    target : str
        Name of the target column.
    classes : array of shape (n_classes,) or None
        Labels in code order; None in regression.
    sample_weight : object, optional
        One weight a row, or the name of a column of ``table``.

    Returns
    -------
    truth : array of shape (n_known,)
        Class codes (int64) or values (float64) of the rows with a target.
    known : bool array of shape (n_rows,)
        Which rows those are.
    weight : float64 array of shape (n_known,) or None
        Their weights.

    Raises
    ------
    TargetError
        If there is no target, or it holds a class that was not there at fit.
    DataError
        If the weights cannot be used.
    """
    frame = _Frame(dict(table.columns), set(table.categorical))
    weights = _take_side(frame, sample_weight, "sample_weight")
    name, labels, _ = _take_target(frame, y, target if y is None else None, n_rows=table.n_rows)
    known = ~_missing(labels)
    if not known.any():
        raise TargetError(f"target {name!r}: no row has a value")
    weight = None if weights is None else _checked_weight(weights, table.n_rows)[known]
    if classes is not None:
        return _known_codes(name, labels, known, classes), known, weight
    values = _label_values(name, labels[known], had_missing=False, notes=[])
    _check_finite(name, values, np.flatnonzero(known))
    return _regression_values(name, values), known, weight


def format_cell(cell: object) -> str | None:
    """Return the text of one cell, the same for 1, 1.0 and "1"; None for an infinite number."""
    if isinstance(cell, str):
        return str.__str__(cell)
    if isinstance(cell, bool | np.bool_):
        return str(bool(cell))
    if isinstance(cell, np.datetime64 | date):
        return str(_moment(cell))
    if isinstance(cell, Integral):
        return str(int(cell))
    if isinstance(cell, Real | Decimal):
        number = float(cell)
        if not np.isfinite(number):
            return None
        return str(int(number)) if number.is_integer() and abs(number) < 2**63 else repr(number)
    return str(cell)


def factorise(cells: Array) -> tuple[NDArray[np.int64], list[Any]]:
    """Return the code of each cell, and the distinct cells in order of appearance."""
    items = cells.tolist()
    distinct = list(dict.fromkeys(items))
    position = {cell: code for code, cell in enumerate(distinct)}
    return np.fromiter(map(position.__getitem__, items), np.int64, len(items)), distinct


def parse_numbers(cells: Array) -> tuple[Floats, int]:
    """Parse texts as numbers.

    Parameters
    ----------
    cells : object array of shape (n,)
        str, or None where missing; ``NULL_TEXTS`` are missing as well.

    Returns
    -------
    numbers : float64 array of shape (n,)
        NaN where missing or infinite.
    bad : int
        Position of the first text that is no number, or -1.
    """
    numbers = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        if cell is None or cell.strip().lower() in NULL_TEXTS:
            continue
        try:
            number = float(cell) if "_" not in cell else np.nan
        except ValueError:
            return numbers, i
        if np.isnan(number):
            return numbers, i
        numbers[i] = number
    numbers[np.isinf(numbers)] = np.nan
    return numbers, -1


def describe_near(name: str, names: Iterable[str]) -> str:
    """Return a sentence that offers the names most like ``name``, or lists the first ones."""
    known = list(names)
    folded = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(folded[n]) for n in near) + "?"
    shown = ", ".join(repr(other) for other in known[:10])
    return f"there are: {shown}{', …' if len(known) > 10 else ''}"


# --------------------------------------------------------------------------- reading frames


@dataclass
class _Frame:
    """Columns as the source gives them, before they are normalised."""

    columns: dict[str, Array]
    categorical: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        return len(next(iter(self.columns.values()), ()))


def _read(data: object) -> _Frame:
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


def _reader(data: object) -> Callable[[Any], _Frame]:
    if isinstance(data, str | PurePath):
        return _from_path
    if isinstance(data, Mapping):
        return _from_mapping
    if isinstance(data, list | tuple):
        return _from_rows
    if isinstance(data, np.ndarray):
        return _from_array
    if hasattr(data, "toarray") and hasattr(data, "nnz"):
        return _from_sparse
    if _is_pandas(data, "DataFrame"):
        return _from_pandas
    if data is None or isinstance(data, int | float) or _is_pandas(data, "Series"):
        raise DataError(
            f"a table is needed, found {type(data).__name__}: give a frame, a 2-D array, a dict of "
            "columns, a list of dicts or a path"
        )
    return _from_other


def _is_pandas(data: object, kind: str) -> bool:
    pandas: Any = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, getattr(pandas, kind, ()))


def _names(names: Iterable[Any]) -> list[str]:
    """Return column names as text, or say which cannot be used."""
    texts = []
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | Integral):
            raise DataError(
                f"column names must be text, found {name!r} ({type(name).__name__}): rename it"
            )
        texts.append(str(name))
    for name, count in Counter(texts).items():
        if count > 1:
            raise DataError(
                f"column name {name!r} occurs {count} times: rename or drop all but one"
            )
    return texts


def _objects(cells: Iterable[Any]) -> Array:
    """Return cells as a 1-D object array, also when they are lists of one length."""
    items = list(cells)
    return np.fromiter(items, dtype=object, count=len(items))


def _vector(name: str, values: object) -> tuple[Array, bool]:
    """Return one column as an array, and whether it is declared categorical."""
    if any(_is_pandas(values, kind) for kind in ("Series", "Index", "Categorical")):
        return _pandas_values(sys.modules["pandas"].Series(values))
    if isinstance(values, np.ma.MaskedArray):
        values = _unmasked(values)
    if isinstance(values, list | tuple | range):
        return _objects(values), False
    if not isinstance(values, np.ndarray | np.generic) and hasattr(values, "__array__"):
        wrapped = _narwhals(values, series=True)
        if wrapped is not values:
            return _narwhals_values(wrapped)
    array = np.asarray(values)
    if array.ndim == 0:
        raise DataError(
            f"column {name!r} is {values!r}, not one value a row; a single row is given as a list "
            "with one dict"
        )
    if array.ndim > 1:
        array = array.ravel() if array.size == len(array) else _objects(array)
    return array, False


def _unmasked(values: np.ma.MaskedArray[Any, Any]) -> Array:
    cells = np.array(values.data, dtype=object)
    cells[np.ma.getmaskarray(values)] = None
    return cells


def _from_mapping(data: Mapping[Any, object]) -> _Frame:
    names = _names(data)
    frame = _Frame({})
    for name, values in zip(names, data.values(), strict=True):
        frame.columns[name], declared = _vector(name, values)
        if declared:
            frame.categorical.add(name)
    return frame


def _from_rows(data: list[Any] | tuple[Any, ...]) -> _Frame:
    if not data:
        raise DataError("the table is empty: it has neither rows nor columns")
    if all(isinstance(row, Mapping) for row in data):
        keys = list(dict.fromkeys(key for row in data for key in row))
        cells = ([row.get(key) for row in data] for key in keys)
        return _Frame(dict(zip(_names(keys), map(_objects, cells), strict=True)))
    if not all(isinstance(row, list | tuple | np.ndarray) for row in data):
        raise DataError(
            f"a list must hold rows, each a dict or a list; found {type(data[0]).__name__}"
        )
    widths = {len(row) for row in data}
    if len(widths) > 1:
        raise DataError(f"rows differ in length: {min(widths)} and {max(widths)} values")
    return _Frame({f"x{i}": _objects(cells) for i, cells in enumerate(zip(*data, strict=True))})


def _from_array(data: Array) -> _Frame:
    if isinstance(data, np.ma.MaskedArray):
        data = _unmasked(data)
    if data.dtype.names is not None:
        return _from_mapping({name: data[name] for name in data.dtype.names})
    if data.ndim != 2:
        raise DataError(
            f"an array must have 2 dimensions (rows, columns), found {data.ndim}: use "
            "reshape(-1, 1) for one column, reshape(1, -1) for one row"
        )
    return _Frame({f"x{i}": column for i, column in enumerate(np.asarray(data).T)})


def _from_sparse(data: Any) -> _Frame:
    n_rows, n_columns = data.shape
    if n_rows * n_columns > _MAX_DENSE_CELLS:
        raise DataError(
            f"a sparse matrix of {n_rows} x {n_columns} is too large to use densely: reduce its "
            "columns first, for example with sklearn.decomposition.TruncatedSVD"
        )
    return _from_array(np.asarray(data.toarray()))


def _from_pandas(data: Any) -> _Frame:
    frame = _Frame({})
    for i, name in enumerate(_names(data.columns)):
        frame.columns[name], declared = _pandas_values(data.iloc[:, i])
        if declared:
            frame.categorical.add(name)
    return frame


def _pandas_values(series: Any) -> tuple[Array, bool]:
    pandas: Any = sys.modules["pandas"]
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return series.to_numpy(), False
    if isinstance(dtype, pandas.CategoricalDtype):
        levels = _objects([*series.cat.categories, None])
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
    return series.to_numpy(dtype=object, na_value=None), False


def _narwhals(native: object, *, series: bool) -> Any:
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


def _from_other(data: Any) -> _Frame:
    """Read a frame through narwhals, Arrow's stream interface or ``__array__``, in this order."""
    names = getattr(data, "column_names", None)
    if isinstance(names, list):
        _names(names)
    wrapped = _narwhals(data, series=False)
    arrow = hasattr(data, "__arrow_c_stream__") and len(getattr(data, "shape", (0, 0))) == 2
    if wrapped is data and arrow and "pyarrow" in sys.modules:
        wrapped = _narwhals(sys.modules["pyarrow"].table(data), series=False)
    if hasattr(wrapped, "collect") and not hasattr(wrapped, "get_column"):
        wrapped = wrapped.collect()
    if not hasattr(wrapped, "get_column"):
        if hasattr(data, "__array__"):
            return _from_array(np.asarray(data))
        raise DataError(
            f"cannot read a table from {type(data).__name__}: give a frame, a 2-D array, a dict of "
            "columns, a list of dicts or a path"
        )
    frame = _Frame({})
    for name in wrapped.columns:
        frame.columns[str(name)], declared = _narwhals_values(wrapped.get_column(name))
        if declared:
            frame.categorical.add(str(name))
    return frame


def _narwhals_values(series: Any) -> tuple[Array, bool]:
    import narwhals as nw

    dtype = series.dtype
    if isinstance(dtype, nw.Categorical | nw.Enum):
        return _objects(series.to_list()), True
    if isinstance(dtype, nw.Int128 | nw.UInt128 | nw.Decimal):
        return series.cast(nw.Float64).to_numpy(), False
    if isinstance(
        dtype, nw.List | nw.Array | nw.Struct | nw.Object | nw.Unknown | nw.Time | nw.Binary
    ):
        return _objects(series.to_list()), False
    if isinstance(dtype, nw.Datetime) and dtype.time_zone is not None:
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return np.asarray(series.to_numpy()), False


# --------------------------------------------------------------------------- reading files


def _from_path(path: str | PurePath) -> _Frame:
    try:
        place = Path(path).expanduser()
        found = place.is_file()
    except (OSError, RuntimeError) as error:
        shown = repr(str(path)[:60])
        raise DataError(f"{shown} is not the path of a file that can be read: {error}") from error
    suffixes = [suffix.lower() for suffix in place.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = "".join((suffixes[:-1] if packed else suffixes)[-1:])
    if not found:
        what = "is a folder" if place.is_dir() else "does not exist"
        raise DataError(f"cannot read {str(place)!r}: it {what}")
    if kind in {".csv", ".tsv", ".txt"}:
        return _from_csv(place, packed=packed, tabs=kind == ".tsv")
    if kind in {".parquet", ".pq"} and not packed:
        return _from_parquet(place)
    raise DataError(
        f"cannot tell what {str(place)!r} holds: name it .csv, .tsv, .csv.gz or .parquet"
    )


def _from_csv(path: Path, *, packed: bool, tabs: bool) -> _Frame:
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingDependencyError("reading CSV needs pandas: pip install pandas") from error
    try:
        separator = _check_head(path, packed=packed, tabs=tabs)
        with warnings.catch_warnings():
            # A row longer than the header is only warned about, and its tail thrown away.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            data = pd.read_csv(path, sep=separator, low_memory=False, index_col=False)
        if data.shape[1] > 1 and data.iloc[:, -1].isna().any():
            _check_short_rows(path, separator, packed=packed)
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(
            f"{str(path)!r} is not a CSV in UTF-8 ({error}): save it as UTF-8"
        ) from error
    except _READ_ERRORS as error:
        raise DataError(f"{str(path)!r} cannot be read as CSV: {error}") from error
    return _from_pandas(data)


def _open_text(path: Path, *, packed: bool) -> io.TextIOWrapper:
    if packed:
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _check_head(path: Path, *, packed: bool, tabs: bool) -> str:
    """Check that a file begins like a CSV with unique names; return its separator."""
    with _open_text(path, packed=packed) as text:
        head = text.read(4096)
        if not head.strip():
            raise DataError(f"{str(path)!r} is empty")
        if "\0" in head:
            raise DataError(f"{str(path)!r} is not a CSV: it holds binary data")
        if head.lstrip().lower().startswith(("<!doctype", "<html", "<?xml", "{", "[")):
            raise DataError(f"{str(path)!r} is not a CSV: it looks like HTML, XML or JSON")
        text.seek(0)
        line = next(line for line in text if line.strip())
    separator = "\t" if tabs else ","
    if separator not in line:
        separator = next((other for other in ";\t|," if other in line), separator)
    header = next(csv.reader([line], delimiter=separator))
    _names(name for name in header if name)
    return separator


def _check_short_rows(path: Path, separator: str, *, packed: bool) -> None:
    """Refuse rows with fewer values than the header: pandas would fill them with missing."""
    with _open_text(path, packed=packed) as text:
        rows = csv.reader(text, delimiter=separator)
        width = len(next(row for row in rows if row))
        for row in rows:
            if row and len(row) < width:
                raise DataError(
                    f"{str(path)!r} is ragged: line {rows.line_num} has {len(row)} values, the "
                    f"header {width}"
                )


def _from_parquet(path: Path) -> _Frame:
    for module, read in (("pyarrow.parquet", "ParquetFile"), ("polars", "read_parquet")):
        try:
            library = importlib.import_module(module)
        except ImportError:
            continue
        return _parquet_frame(path, getattr(library, read))
    raise MissingDependencyError(
        "reading Parquet needs pyarrow or polars: pip install 'automl-fuse[parquet]'"
    )


def _parquet_frame(path: Path, read: Callable[[Path], Any]) -> _Frame:
    try:
        data = read(path)
        if hasattr(data, "schema_arrow"):
            with data:
                data = data.read()
    except Exception as error:
        raise DataError(f"{str(path)!r} cannot be read as Parquet: {error}") from error
    frame = _from_other(data)
    for name in [n for n in frame.columns if n.startswith("__index_level_")]:
        del frame.columns[name]
    return frame


# --------------------------------------------------------------------------- normalising columns


def _checked(frame: _Frame) -> Table:
    notes = list(frame.notes)
    columns = {}
    for name, values in frame.columns.items():
        column = _normalise(name, values, notes)
        if name in frame.categorical and column.dtype != object:
            column = _texts(_objects(values), _missing(values))
        columns[name] = column
    return Table(
        columns=columns,
        n_rows=frame.n_rows,
        categorical=frozenset(frame.categorical & columns.keys()),
        warnings=tuple(notes),
    )


def _normalise(name: str, values: Array, notes: list[str]) -> Array:
    """Return a column in one of the forms that ``Table`` describes."""
    kind = values.dtype.kind
    if kind == "b":
        return values
    if kind == "M":
        return values.astype("datetime64[us]", copy=False)
    if kind == "m":
        return np.asarray(values / np.timedelta64(1, "s"))
    if kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if kind in "OUST":
        values = _from_objects(name, values.astype(object, copy=False), notes)
    elif kind not in "iuf":
        raise DataError(f"column {name!r} holds {values.dtype} values, which cannot be used")
    if values.dtype.kind not in "iuf":
        return values
    return _as_floats(name, values, notes)


def _as_floats(name: str, values: Array, notes: list[str]) -> Floats:
    with np.errstate(over="ignore"):
        floats = np.ascontiguousarray(values, dtype=np.float64)
    if not len(floats):
        return floats
    low, high = np.fmin.reduce(floats), np.fmax.reduce(floats)
    if np.isinf(low) or np.isinf(high):
        infinite = np.isinf(floats)
        notes.append(
            f"column {name!r}: {int(infinite.sum())} infinite values are treated as missing"
        )
        floats = np.where(infinite, np.nan, floats)
    if values.dtype.kind in "iu" and max(-low, high) > _EXACT_INTEGERS:
        notes.append(
            f"column {name!r}: integers beyond 2**53 are rounded; if they identify something, set "
            f"its kind to 'category' and give them as text"
        )
    return floats


def _family(kind: type) -> str:
    """Return what cells of a type hold. The order matters: NaT is a date, bool an integer."""
    families: tuple[tuple[str, tuple[type, ...]], ...] = (
        ("boolean", (bool, np.bool_)),
        ("date", (np.datetime64, date)),
        ("duration", (np.timedelta64, timedelta)),
        ("time", (time,)),
        ("number", (Real, Decimal)),
        ("text", (str, UUID, PurePath)),
        ("bytes", (bytes, bytearray)),
        ("list", (list, tuple, np.ndarray)),
    )
    if kind.__name__ in _NULL_TYPES:
        return "missing"
    for family, types in families:
        if issubclass(kind, types):
            return family
    if kind.__name__ == "Interval":
        return "text"
    return "image" if kind.__module__.startswith("PIL.") else "nested"


def _is_missing(cell: object) -> bool:
    if isinstance(cell, float | np.floating):
        return bool(cell != cell)  # noqa: PLR0124 (NaN is the value unequal to itself)
    if isinstance(cell, Decimal):
        return cell.is_nan()
    if isinstance(cell, np.datetime64 | np.timedelta64):
        return bool(np.isnat(cell))
    return type(cell).__name__ in _NULL_TYPES


def _missing(values: Array) -> NDArray[np.bool_]:
    """Return where a raw or normalised column is missing."""
    kind = values.dtype.kind
    if kind == "f":
        return np.isnan(values)
    if kind in "mM":
        return np.isnat(values)
    if kind == "O":
        return np.fromiter(map(_is_missing, values), np.bool_, len(values))
    return np.zeros(len(values), np.bool_)


def _from_objects(name: str, cells: Array, notes: list[str]) -> Array:
    """Return an object column in the form that its cells ask for."""
    types = set(map(type, cells.tolist()))
    if str in types and types <= {str, type(None)}:
        return cells
    families = {_family(kind) for kind in types}
    if families == {"number"}:
        return _numbers(name, cells)
    missing = _missing(cells)
    present = cells[~missing]
    families = {_family(kind) for kind in set(map(type, present.tolist()))}
    if "nested" in families:
        _refuse_nested(name, cells)
    if not families:
        return np.full(len(cells), np.nan)
    if families == {"boolean"}:
        return _booleans(cells, missing)
    if families <= {"boolean", "number"}:
        return _numbers(name, np.where(missing, np.nan, cells))
    if families == {"text"}:
        return _texts(cells, missing)
    if len(families) == 1:
        return _of_family(families.pop(), name, cells, missing)
    if families <= {"boolean", "number", "text", "date"}:
        notes.append(f"column {name!r} mixes {_listed(families)}: all are taken as text")
        return _texts(cells, missing)
    raise DataError(f"column {name!r} mixes {_listed(families)} values: make them one type")


def _of_family(family: str, name: str, cells: Array, missing: NDArray[np.bool_]) -> Array:
    """Return cells which are all of one family, none of those with a faster way."""
    rows = np.flatnonzero(~missing)
    if family == "date":
        moments = np.full(len(cells), "NaT", "datetime64[us]")
        for row in rows:
            try:
                moments[row] = _moment(cells[row])
            except (OverflowError, ValueError) as error:
                raise DataError(
                    f"column {name!r}, row {row}: date {cells[row]!r} is out of range"
                ) from error
        return moments
    if family in {"duration", "time"}:
        seconds = np.full(len(cells), np.nan)
        for row in rows:
            seconds[row] = _seconds(cells[row])
        return seconds
    kept = cells.copy()
    kept[missing] = None
    return kept


def _listed(families: Iterable[str]) -> str:
    *first, last = sorted(families)
    return f"{', '.join(first)} and {last}"


def _refuse_nested(name: str, cells: Array) -> None:
    row = next(i for i, cell in enumerate(cells) if _family(type(cell)) == "nested")
    shown = repr(cells[row])
    raise DataError(
        f"column {name!r}, row {row} holds {shown[:60]} ({type(cells[row]).__name__}): nested "
        "objects cannot be used, spread its parts over columns of their own"
    )


def _numbers(name: str, cells: Array) -> Floats:
    try:
        return cells.astype(np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise DataError(f"column {name!r} holds a number out of range: {error}") from error


def _booleans(cells: Array, missing: NDArray[np.bool_]) -> Array:
    if not missing.any():
        return cells.astype(np.bool_)
    flags = _objects(map(bool, np.where(missing, False, cells)))
    flags[missing] = None
    return flags


def _texts(cells: Array, missing: NDArray[np.bool_]) -> Array:
    texts = np.full(len(cells), None, dtype=object)
    texts[~missing] = _objects(map(format_cell, cells[~missing].tolist()))
    return texts


def _moment(cell: Any) -> np.datetime64:
    """Return a date or time in UTC, to the microsecond."""
    if isinstance(cell, datetime) and cell.tzinfo is not None:
        cell = cell.astimezone(UTC).replace(tzinfo=None)
    moment: np.datetime64 = np.datetime64(cell, "us")
    return moment


def _seconds(cell: Any) -> float:
    if isinstance(cell, np.timedelta64):
        return float(cell / np.timedelta64(1, "s"))
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    return float(cell.hour * 3600 + cell.minute * 60 + cell.second + cell.microsecond / 1e6)


# --------------------------------------------------------------------------- target and weights


@dataclass(frozen=True)
class _Encoded:
    """A target as codes or values."""

    y: Array
    classes: Array | None
    task: Task
    reason: str


def _wanted_task(task: str | None) -> str:
    known = ("binary", "classification", "multiclass", "regression")
    if task is not None and task not in known:
        raise SettingsError(f"task {task!r} is unknown: {describe_near(str(task), known)}")
    return "" if task is None else str(task)


def _take_target(
    frame: _Frame, y: object, target: str | None, *, n_rows: int
) -> tuple[str, Array, bool]:
    """Return name and values of the target, and whether it is declared categorical."""
    if target is not None and y is not None:
        raise TargetError("give either y or target, not both")
    if target is None and y is None:
        raise TargetError("no target: give y, or the name of a column as target")
    if target is not None:
        name = str(target)
        if name not in frame.columns:
            raise TargetError(
                f"the target column {name!r} is not in the table; "
                f"{describe_near(name, frame.columns)}"
            )
        declared = name in frame.categorical
        frame.categorical.discard(name)
        return name, frame.columns.pop(name), declared
    called = getattr(y, "name", None)
    name = called if isinstance(called, str) and called else "target"
    if _is_frame(y):
        only = _read(y)
        if len(only.columns) != 1:
            raise TargetError(f"y has {len(only.columns)} columns: one target is needed")
        name, values = next(iter(only.columns.items()))
        declared = bool(only.categorical)
    else:
        values, declared = _vector(name, y)
    if len(values) != n_rows:
        raise TargetError(f"y has {len(values)} values, the table {n_rows} rows")
    return name, values, declared


def _is_frame(y: object) -> bool:
    return isinstance(y, Mapping) or (
        hasattr(y, "columns") and len(getattr(y, "shape", (0, 0))) == 2
    )


def _take_side(frame: _Frame, values: object, role: str) -> Array | None:
    """Return weights or groups: a column, which leaves the features, or values as given."""
    if values is None:
        return None
    if not isinstance(values, str):
        column, _ = _vector(role, values)
    elif values in frame.columns:
        column = frame.columns.pop(values)
        frame.categorical.discard(values)
    else:
        raise DataError(
            f"the {role} column {values!r} is not among the features; "
            f"{describe_near(values, frame.columns)}"
        )
    return column


def _check_rows(n_rows: int, labels: Array, name: str) -> None:
    if n_rows == 0:
        raise DataError("the table has no rows")
    if n_rows == 1:
        raise DataError("the table has one row: nothing can be learned from it")
    if _missing(labels).all():
        raise TargetError(f"target {name!r}: every value is missing")


def _checked_weight(values: Array, n_rows: int) -> Floats:
    if len(values) != n_rows:
        raise DataError(f"sample_weight has {len(values)} values, the table {n_rows} rows")
    weight = _normalise("sample_weight", values, []) if values.dtype.kind == "O" else values
    if weight.dtype.kind not in "biuf":
        raise DataError(f"sample_weight must hold numbers, found {values[0]!r}")
    weight = weight.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(bad):
        raise DataError(
            f"sample_weight at row {bad[0]} is {values[bad[0]]}: weights must be finite numbers "
            "that are not negative"
        )
    if not weight.any():
        raise DataError("sample_weight is zero for every row: give at least two rows a weight")
    return weight


def _group_codes(values: Array, n_rows: int) -> NDArray[np.int64]:
    if len(values) != n_rows:
        raise DataError(f"groups has {len(values)} values, the table {n_rows} rows")
    missing = np.flatnonzero(_missing(values))
    if len(missing):
        raise DataError(f"row {missing[0]} has no group: fill it, or drop the row")
    column = _normalise("groups", values, [])
    try:
        return factorise(column)[0]
    except TypeError as error:
        raise DataError(f"groups must be numbers or text, found {values[0]!r}") from error


def _usable_rows(
    name: str, labels: Array, weight: Floats | None, notes: list[str]
) -> NDArray[np.intp]:
    """Return the rows with a target and a weight above zero."""
    keep = ~_missing(labels)
    if not keep.all():
        notes.append(f"{int((~keep).sum())} rows without a target ({name!r}) are left out")
    if weight is not None:
        idle = keep & (weight == 0)
        if idle.any():
            notes.append(f"{int(idle.sum())} rows of weight 0 are left out")
        keep &= weight > 0
    rows = np.flatnonzero(keep)
    if len(rows) < 2:
        raise TargetError(
            f"target {name!r}: only {len(rows)} rows have a target and a weight above 0"
        )
    return rows


def _label_values(name: str, labels: Array, *, had_missing: bool, notes: list[str]) -> Array:
    """Return labels, none missing, as bool, integer, float or str objects."""
    kind = labels.dtype.kind
    if kind in "biu":
        return labels
    if kind == "O" and all(_is_integer(t) for t in set(map(type, labels.tolist()))):
        integers = [int(label) for label in labels.tolist()]
        if all(abs(integer) < 2**63 for integer in integers):
            return np.array(integers, dtype=np.int64)
    if kind == "f":
        values = labels.astype(np.float64)
    else:
        values = _normalise(name, labels, []) if kind != "O" else _from_objects(name, labels, notes)
    if values.dtype.kind == "M" or (
        values.dtype == object and not all(isinstance(v, str) for v in values)
    ):
        raise TargetError(
            f"target {name!r} holds {labels[0]!r}: only numbers, text and booleans can be predicted"
        )
    # Integers with missing values arrive as floats, from CSV files above all.
    if kind == "f" and had_missing and _are_integers(values):
        return values.astype(np.int64)
    return values


def _is_integer(kind: type) -> bool:
    return _family(kind) == "number" and issubclass(kind, Integral)


def _are_integers(values: Array) -> bool:
    if values.dtype.kind in "iu":
        return True
    finite = np.isfinite(values) & (np.abs(values) <= _EXACT_INTEGERS)
    return bool(finite.all() and (values == np.floor(values)).all())


def _check_finite(name: str, values: Array, rows: NDArray[np.intp]) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        raise TargetError(f"target {name!r} is {values[at]} at row {rows[at]}: drop or mend it")


def _encode_target(
    name: str, values: Array, *, declared: bool, wanted: str, notes: list[str]
) -> _Encoded:
    codes, classes = _classes(values)
    if len(classes) < 2:
        raise TargetError(
            f"target {name!r} is always {classes.tolist()[0]!r}: at least two classes "
            "or values are needed"
        )
    classify, reason = (
        (wanted != "regression", f"task={wanted!r} was given")
        if wanted
        else _infer_task(values, len(classes), declared=declared)
    )
    if not classify:
        return _Encoded(_regression_values(name, values), None, Task.REGRESSION, reason)
    _check_classes(name, codes, classes, wanted, notes)
    task = Task.BINARY if len(classes) == 2 else Task.MULTICLASS
    return _Encoded(codes, classes, task, reason)


def _classes(values: Array) -> tuple[NDArray[np.int64], Array]:
    """Return codes and sorted labels."""
    if values.dtype != object:
        classes, codes = np.unique(values, return_inverse=True)
        return codes.astype(np.int64), classes
    codes, distinct = factorise(values)
    order = sorted(range(len(distinct)), key=distinct.__getitem__)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes], _objects(distinct[i] for i in order)


def _infer_task(values: Array, n_classes: int, *, declared: bool) -> tuple[bool, str]:
    """Return whether to classify, and why."""
    if declared:
        return True, "the target is declared categorical"
    if values.dtype == object:
        return True, "the target holds text"
    if values.dtype.kind == "b":
        return True, "the target is true or false"
    if not _are_integers(values):
        return False, "the target holds numbers with fractions"
    if n_classes == 2:
        return True, "the target has two distinct values"
    count = f"the target holds {n_classes} distinct integers over {len(values):,} rows"
    few = n_classes <= _MAX_INTEGER_CLASSES
    if few and len(values) >= _MIN_ROWS_PER_INTEGER_CLASS * n_classes:
        return True, f"{count}, few enough to be classes; task='regression' makes them numbers"
    return False, f"{count}, too many to be classes; task='multiclass' makes them classes"


def _regression_values(name: str, values: Array) -> Floats:
    if values.dtype != object:
        return values.astype(np.float64)
    numbers, bad = parse_numbers(values)
    if bad < 0 and np.isnan(numbers).any():
        bad = int(np.argmax(np.isnan(numbers)))
    if bad >= 0:
        raise TargetError(
            f"target {name!r} holds text such as {values[bad]!r}: regression needs numbers"
        )
    return numbers


def _known_codes(
    name: str, labels: Array, known: NDArray[np.bool_], classes: Array
) -> NDArray[np.int64]:
    """Return the codes of labels that were there at fit: 1, 1.0 and "1" are the same."""
    code = {format_cell(label): i for i, label in enumerate(classes.tolist())}
    rows = np.flatnonzero(known)
    codes = np.empty(len(rows), np.int64)
    for i, (row, label) in enumerate(zip(rows, labels[rows].tolist(), strict=True)):
        found = code.get(format_cell(label))
        if found is None:
            raise TargetError(
                f"target {name!r} is {label!r} at row {row}: not one of the classes at fit, "
                + ", ".join(map(repr, classes.tolist()[:10]))
            )
        codes[i] = found
    return codes


def _check_classes(
    name: str, codes: NDArray[np.int64], classes: Array, wanted: str, notes: list[str]
) -> None:
    n_classes, n_rows = len(classes), len(codes)
    if wanted == "binary" and n_classes > 2:
        shown = ", ".join(repr(label) for label in classes.tolist()[:5])
        raise TargetError(
            f"target {name!r} has {n_classes} classes ({shown}{', …' if n_classes > 5 else ''}), "
            "not two as task='binary' says: use task='multiclass'"
        )
    if n_classes > 2 and n_classes > n_rows / 2:
        raise TargetError(
            f"target {name!r} has {n_classes} classes over {n_rows} rows, for example "
            f"{classes.tolist()[0]!r}: it looks like an identifier, free text or a quantity"
        )
    if wanted == "multiclass" and n_classes == 2:
        notes.append(f"target {name!r} has two classes: it is learned as a binary task")
    lone = np.flatnonzero(np.bincount(codes) == 1)
    if len(lone):
        shown = ", ".join(repr(label) for label in classes[lone[:5]].tolist())
        notes.append(
            f"target {name!r}: {len(lone)} classes have one row each ({shown}): such a class "
            "cannot be in every fold, and its score means little"
        )
