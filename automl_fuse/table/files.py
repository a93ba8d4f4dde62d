"""Files turned into raw columns."""

from __future__ import annotations

import csv
import gzip
import importlib
import warnings
import zlib
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from automl_fuse.errors import DataError, MissingDependencyError
from automl_fuse.table.delimited import read_delimited
from automl_fuse.table.frames import from_other, from_pandas
from automl_fuse.table.names import checked_names

if TYPE_CHECKING:
    import io
    from collections.abc import Callable

    from automl_fuse.table.raw import RawFrame

_READ_ERRORS = (ValueError, OSError, EOFError, OverflowError, zlib.error, csv.Error, Warning)


def from_path(path: str | PurePath) -> RawFrame:
    """Read a CSV or Parquet file."""
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


def _from_csv(path: Path, *, packed: bool, tabs: bool) -> RawFrame:
    try:
        separator = _check_head(path, packed=packed, tabs=tabs)
        try:
            import pandas as pd
        except ImportError:
            with _open_text(path, packed=packed) as text:
                return read_delimited(text, separator, str(path))
        return _through_pandas(pd, path, separator, packed=packed)
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(
            f"{str(path)!r} is not a CSV in UTF-8 ({error}): save it as UTF-8"
        ) from error
    except _READ_ERRORS as error:
        raise DataError(f"{str(path)!r} cannot be read as CSV: {error}") from error


def _through_pandas(pd: Any, path: Path, separator: str, *, packed: bool) -> RawFrame:
    """Read with pandas, where it is there: it is much faster than the standard library."""
    version = tuple(map(int, pd.__version__.split(".")[:2]))
    # From 3.1 on numbers are read exactly; before, the last digit could be wrong.
    exact = {} if version >= (3, 1) else {"float_precision": "round_trip"}
    with warnings.catch_warnings():
        # A row longer than the header is only warned about, and its tail thrown away.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        options: Any = {"sep": separator, "low_memory": False, "index_col": False, **exact}
        data = pd.read_csv(path, **options)
    if data.shape[1] > 1 and data.iloc[:, -1].isna().any():
        _check_short_rows(path, separator, packed=packed)
    return from_pandas(data)


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
    checked_names(name for name in header if name)
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


def _from_parquet(path: Path) -> RawFrame:
    for module, read in (("pyarrow.parquet", "ParquetFile"), ("polars", "read_parquet")):
        try:
            library = importlib.import_module(module)
        except ImportError:
            continue
        return _parquet_frame(path, getattr(library, read))
    raise MissingDependencyError(
        "reading Parquet needs pyarrow or polars: pip install 'automl-fuse[parquet]'"
    )


def _parquet_frame(path: Path, read: Callable[[Path], Any]) -> RawFrame:
    try:
        data = read(path)
        if hasattr(data, "schema_arrow"):
            with data:
                data = data.read()
    except Exception as error:
        raise DataError(f"{str(path)!r} cannot be read as Parquet: {error}") from error
    frame = from_other(data)
    for name in [n for n in frame.columns if n.startswith("__index_level_")]:
        del frame.columns[name]
    return frame
