"""Reading frames, targets, weights and groups; what is refused, and with which words."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automl_fuse.errors import (
    AutoFuseError,
    DataError,
    MissingDependencyError,
    SettingsError,
    TargetError,
)
from automl_fuse.specs import Task
from automl_fuse.table import (
    Table,
    factorise,
    few_rows,
    format_cell,
    parse_numbers,
    prepare,
    read_labelled,
    read_table,
    read_target,
)
from automl_fuse.table.columns import where_missing
from automl_fuse.table.frames import FEW_ROWS

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"


def column(values: Any) -> np.ndarray:
    return read_table({"a": values}).columns["a"]


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


# --------------------------------------------------------------------------- kinds of frame


FRAME = {
    "number": [1.5, None, -3.0],
    "integer": [1, 2, 3],
    "flag": [True, None, False],
    "word": ["x", None, "y"],
    "moment": [moment("2020-01-01T12"), None, moment("2021-06-01")],
}
FRAMES: dict[str, Any] = {
    "dict": FRAME,
    "rows": [dict(zip(FRAME, row, strict=True)) for row in zip(*FRAME.values(), strict=True)],
    "pandas": pd.DataFrame(FRAME),
    "pandas object": pd.DataFrame(FRAME, dtype=object),
    "pandas nullable": pd.DataFrame(FRAME).convert_dtypes(),
    "pandas arrow": pd.DataFrame(FRAME).convert_dtypes(dtype_backend="pyarrow"),
    "pandas categorical": pd.DataFrame(FRAME).astype({"word": "category"}),
    "polars": pl.DataFrame(FRAME),
    "polars lazy": pl.DataFrame(FRAME).lazy(),
    "polars categorical": pl.DataFrame(FRAME).with_columns(pl.col("word").cast(pl.Categorical)),
    "polars enum": pl.DataFrame(FRAME).with_columns(pl.col("word").cast(pl.Enum(["y", "x"]))),
    "arrow": pa.table(FRAME),
    "arrow dictionary": pa.table(FRAME | {"word": pa.array(FRAME["word"]).dictionary_encode()}),
    "dict of series": {name: pl.Series(values) for name, values in FRAME.items()},
    "dict of pandas series": {name: pd.Series(values) for name, values in FRAME.items()},
    "dict of arrays": {name: np.array(values, dtype=object) for name, values in FRAME.items()},
}


@pytest.mark.parametrize("name", FRAMES)
def test_every_kind_of_frame_gives_the_same_table(name: str) -> None:
    table = read_table(FRAMES[name])

    assert table.names == tuple(FRAME)
    assert table.n_rows == 3
    assert table.columns["number"].dtype == np.float64
    np.testing.assert_array_equal(table.columns["number"], [1.5, np.nan, -3.0])
    assert table.columns["integer"].dtype == np.float64
    np.testing.assert_array_equal(table.columns["integer"], [1, 2, 3])
    assert table.columns["flag"].tolist() == [True, None, False]
    assert table.columns["word"].tolist() == ["x", None, "y"]
    assert table.columns["moment"].dtype == np.dtype("datetime64[us]")
    np.testing.assert_array_equal(
        table.columns["moment"],
        np.array(["2020-01-01T12", "NaT", "2021-06-01"], dtype="datetime64[us]"),
    )
    assert table.warnings == ()


def test_files_give_the_same_table(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.5, None], "b": ["x, y", None], "c": [True, False]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_csv(tmp_path / "semicolon.csv", index=False, sep=";")
    frame.to_csv(tmp_path / "bom.csv", index=False, encoding="utf-8-sig")
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    frame.set_index(pd.Index([7, 9])).to_parquet(tmp_path / "indexed.parquet")

    for path in sorted(tmp_path.iterdir()):
        for given_as in (path, str(path)):
            table = read_table(given_as)
            assert table.names == ("a", "b", "c"), path
            np.testing.assert_array_equal(table.columns["a"], [1.5, np.nan])
            assert table.columns["b"].tolist() == ["x, y", None]
            assert table.columns["c"].tolist() == [True, False]


def test_arrays_name_their_columns_by_position() -> None:
    for data in (
        np.array([[1, 2], [3, 4]]),
        np.array([[1, 2], [3, 4]], dtype=object),
        [[1, 2], [3, 4]],
        scipy.sparse.csr_matrix([[1, 2], [3, 4]]),
        np.ma.masked_array([[1, 2], [3, 4]]),
    ):
        table = read_table(data)
        assert table.names == ("x0", "x1")
        np.testing.assert_array_equal(table.columns["x1"], [2, 4])
        assert table.columns["x1"].dtype == np.float64


def test_structured_arrays_keep_their_names() -> None:
    data = np.array([(1, "p"), (2, "q")], dtype=[("n", "i8"), ("s", "U3")])
    table = read_table(data)
    assert table.columns["n"].tolist() == [1.0, 2.0]
    assert table.columns["s"].tolist() == ["p", "q"]


def test_a_float_matrix_is_not_copied_when_its_columns_are_contiguous() -> None:
    matrix = np.asfortranarray(np.random.default_rng(0).normal(size=(50, 3)))
    assert np.shares_memory(read_table(matrix).columns["x1"], matrix)


# --------------------------------------------------------------------------- kinds of column


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([Decimal("1.5"), None, Decimal("NaN")], [1.5, np.nan, np.nan]),
        (np.array([1, 2.5, None], dtype=object), [1, 2.5, np.nan]),
        ([True, 2], [1, 2]),
        (pd.array([1, None], dtype="Int64"), [1, np.nan]),
        (pd.array([2**60, 1], dtype="Int64"), [2**60, 1]),
        (pl.Series(["1.5", None]).cast(pl.Decimal(10, 2)), [1.5, np.nan]),
        (pa.chunked_array([pa.array([Decimal("1.5"), None])]), [1.5, np.nan]),
        (pd.Series([1.5, None], dtype=pd.SparseDtype(float)), [1.5, np.nan]),
        ([dt.timedelta(minutes=1), None], [60, np.nan]),
        (np.array([90, "NaT"], dtype="m8[s]"), [90, np.nan]),
        ([dt.time(1, 0, 1), None], [3601, np.nan]),
        (pl.Series([dt.time(0, 1), None]), [60, np.nan]),
        (np.ma.masked_array([1, 2], mask=[False, True]), [1, np.nan]),
        (np.array([[1], [2]]), [1, 2]),
        (range(2), [0, 1]),
        ([None, float("nan"), pd.NA, pd.NaT], [np.nan] * 4),
        (np.array([1, 2], dtype=np.float16), [1, 2]),
    ],
)
def test_numbers(values: Any, expected: list[float]) -> None:
    result = column(values)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([dt.date(2020, 1, 2), None], ["2020-01-02", "NaT"]),
        (pl.Series([dt.date(2020, 1, 2), None]), ["2020-01-02", "NaT"]),
        ([pd.Timestamp("2020-01-02 03:00", tz="Asia/Tokyo")], ["2020-01-01T18"]),
        (
            pd.Series(pd.to_datetime(["2020-01-02 03:00"]).tz_localize("Asia/Tokyo")),
            ["2020-01-01T18"],
        ),
        (
            pl.Series([moment("2020-01-02T03")]).dt.replace_time_zone("Asia/Tokyo"),
            ["2020-01-01T18"],
        ),
        (
            [pd.Timestamp("2020-01-01 00:00:00.123456789"), pd.NaT],
            ["2020-01-01T00:00:00.123456", "NaT"],
        ),
        (pd.Series(pd.period_range("2020-01", periods=2, freq="M")), ["2020-01-01", "2020-02-01"]),
        (np.array(["2020-01-01"], dtype="M8[D]"), ["2020-01-01"]),
        ([np.datetime64("2020-01-01"), np.datetime64("NaT")], ["2020-01-01", "NaT"]),
    ],
)
def test_dates(values: Any, expected: list[str]) -> None:
    result = column(values)
    assert result.dtype == np.dtype("datetime64[us]")
    np.testing.assert_array_equal(result, np.array(expected, dtype="datetime64[us]"))


def test_booleans_stay_booleans() -> None:
    assert column([True, False]).dtype == np.bool_
    assert column([True, None, float("nan")]).tolist() == [True, None, None]
    assert column(pd.array([True, None], dtype="boolean")).tolist() == [True, None]
    assert column(np.array([np.True_, None], dtype=object)).tolist() == [True, None]


def test_categoricals_become_text_whatever_their_levels() -> None:
    table = read_table(pd.DataFrame({"a": pd.Categorical([1, 2, None, 1])}))
    assert table.columns["a"].tolist() == ["1", "2", None, "1"]
    assert table.categorical == {"a"}
    intervals = read_table({"a": pd.cut(pd.Series([1.0, 5.0]), 2)}).columns["a"]
    assert all(isinstance(value, str) for value in intervals)


@pytest.mark.parametrize(
    "frame",
    [
        lambda texts: pd.DataFrame({"a": pd.Series(texts, dtype="str")}),
        lambda texts: pd.DataFrame({"a": pd.Series(texts, dtype="string")}),
        lambda texts: pl.DataFrame({"a": texts}),
        lambda texts: pa.table({"a": texts}),
    ],
)
@pytest.mark.parametrize("n_rows", [3, 3_000])
def test_texts_of_many_rows_are_the_same_and_share_objects(frame: Any, n_rows: int) -> None:
    texts = ["x", None, "a longer text"] * (n_rows // 3)
    read = read_table(frame(texts)).columns["a"]
    assert read.tolist() == texts
    if n_rows > 3:
        assert len({id(text) for text in read.tolist()}) == 3


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a", None, "b"], [False, True, False]),
        (["a", "b"], [False, False]),
        ([1, True, 2], [False, False, False]),
        ([None, None], [True, True]),
        ([1, float("nan"), np.float32("nan")], [False, True, True]),
        ([Decimal("nan"), Decimal(1)], [True, False]),
        ([pd.NA, "a", pd.NaT, np.datetime64("NaT")], [True, False, True, True]),
        ([], []),
    ],
)
def test_missing_cells_are_found_among_objects(cells: list[Any], expected: list[bool]) -> None:
    values = np.fromiter(cells, dtype=object, count=len(cells))
    assert where_missing(values).tolist() == expected


def test_mixed_columns_become_text_with_a_warning() -> None:
    table = read_table({"a": [1, 1.0, "1", 2.5, None, True, float("inf")]})
    assert table.columns["a"].tolist() == ["1", "1", "1", "2.5", None, "True", None]
    assert table.warnings == ("column 'a' mixes boolean, number and text: all are taken as text",)


def test_lists_arrays_and_bytes_stay_objects() -> None:
    cells = column([[1, 2], None, [3]])
    assert cells.tolist() == [[1, 2], None, [3]]
    assert column([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert column(np.zeros((2, 3)))[0].shape == (3,)
    assert column([b"ab", None]).tolist() == [b"ab", None]
    assert column(np.array([b"yes", b"no"])).tolist() == ["yes", "no"]
    lists = read_table(pl.DataFrame({"a": [[1.0, 2.0], None]})).columns["a"]
    assert list(lists[0]) == [1.0, 2.0]
    assert lists[1] is None


def test_infinities_are_missing_with_a_warning() -> None:
    table = read_table({"a": [1.0, np.inf, -np.inf], "b": [1.0, 2.0, 3.0]})
    np.testing.assert_array_equal(table.columns["a"], [1, np.nan, np.nan])
    assert table.warnings == ("column 'a': 2 infinite values are treated as missing",)


def test_huge_integers_are_rounded_with_a_warning() -> None:
    table = read_table({"a": np.array([2**60 + 1, 5])})
    assert "beyond 2**53" in table.warnings[0]
    with pytest.raises(DataError, match="column 'a' holds a number out of range"):
        read_table({"a": [10**400, 1]})


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pd.DataFrame(), "no columns"),
        ({}, "no columns"),
        ([], "empty"),
        (np.empty((3, 0)), "no columns"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a' occurs 2 times"),
        (pd.DataFrame([[1, 2]], columns=[0, "0"]), "'0' occurs 2 times"),
        (pd.DataFrame([[1]], columns=[("a", "b")]), r"text, found \('a', 'b'\)"),
        (pd.DataFrame([[1]], columns=[1.5]), "text, found 1.5"),
        ({None: [1]}, "text, found None"),
        (pa.table([[1], [2]], names=["a", "a"]), "'a' occurs 2 times"),
        ({"a": [1, 2], "b": [1]}, "'a' has 2 values, 'b' 1"),
        ({"a": 3, "b": [1]}, "'a' is 3, not one value a row"),
        ({"a": None, "b": [1]}, "'a' is None, not one value a row"),
        ({"a": [1], "b": "text"}, "'b' is 'text', not one value a row"),
        ([1, 2], "a list must hold rows"),
        ([[1, 2], [3]], "rows differ in length: 1 and 2"),
        (np.arange(3), "2 dimensions"),
        (np.zeros((2, 2, 2)), "2 dimensions"),
        (pd.Series([1, 2]), "a table is needed, found Series"),
        (pl.Series([1, 2]), "2 dimensions"),
        (None, "a table is needed, found NoneType"),
        (object(), "cannot read a table from object"),
        ({"a": [1, {"b": 2}]}, r"column 'a', row 1 holds \{'b': 2\} \(dict\)"),
        (pl.DataFrame({"a": [{"b": 2}]}), r"column 'a', row 0 holds \{'b': 2\}"),
        ({"a": [1j, 2]}, r"column 'a', row 0 holds 1j \(complex\)"),
        ({"a": np.array([1j])}, "column 'a' holds complex128"),
        ({"a": [[1], "x"]}, "column 'a' mixes list and text values"),
        ({"a": [dt.timedelta(1), "x"]}, "column 'a' mixes duration and text values"),
        (scipy.sparse.csr_matrix((100_000, 100_000)), "too large to use densely"),
        ("absent.csv", "'absent.csv': it does not exist"),
        (".", "is a folder"),
        ("a,b\n1,2\n" * 2000, "is not the path of a file"),
        ("~nobody-of-this-name/a.csv", "is not the path of a file"),
    ],
)
def test_tables_that_are_refused(data: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_table(data)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n\n", "is empty"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\xff\xfe", "not a CSV in UTF-8"),
        ("a.csv", b"a,b\n1,\0\0\n", "holds binary data"),
        ("a.csv", b"a,b\n" + b"1,2\n" * 40000 + b"1,\xff\n", "not a CSV in UTF-8"),
        ("a.csv", b"<!DOCTYPE html><html></html>", "looks like HTML"),
        ("a.csv", b'{"a": 1}', "looks like HTML, XML or JSON"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "cannot be read as CSV"),
        ("a.csv", b"a,b\n1,2,3\n4,5,6\n", "cannot be read as CSV"),
        ("a.csv", b"a,b,c\n1,2,3\n1,2\n", "ragged: line 3 has 2 values, the header 3"),
        ("a.csv", b'a,b\n"1,2\n', "cannot be read as CSV"),
        ("a.csv", b"a,a\n1,2\n", "'a' occurs 2 times"),
        ("a.csv.gz", b"a,b\n1,2\n", "cannot be read as CSV"),
        (
            "a.csv.gz",
            gzip.compress(b"a,b\n" + b"1,2\n" * 999, mtime=0)[:-20],
            "cannot be read as CSV",
        ),
        ("a.parquet", b"no parquet", "cannot be read as Parquet"),
        ("a.xlsx", b"x", "cannot tell what"),
        ("a", b"x", "cannot tell what"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_table(tmp_path / name)


def test_parquet_without_a_reader_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    for module in ("pyarrow", "pyarrow.parquet", "polars"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r"automl-fuse\[parquet\]"):
        read_table(tmp_path / "a.parquet")


def test_polars_reads_parquet_where_arrow_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pl.DataFrame({"a": [1, 2]}).write_parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert read_table(tmp_path / "a.parquet").columns["a"].tolist() == [1.0, 2.0]


def test_numpy_is_enough_for_plain_data() -> None:
    code = """
import sys
for name in ("pandas", "narwhals", "pyarrow", "polars", "scipy", "sklearn"):
    sys.modules[name] = None
import numpy as np
from automl_fuse.schema import infer
from automl_fuse.table import prepare, read_table
data = {"a": [1.0, 2.0, 3.0], "b": ["x", None, "x"], "c": ["2020-01-01", "2020-01-02", ""]}
schema = infer(prepare(data, [0, 1, 0]).table, {})
for new in (data, [{"a": 1, "b": "y", "c": None}], np.array([[1.0, 2.0]])):
    table = read_table(new)
    if table.names[0] == "a":
        print(schema.convert(table).n_rows, end=" ")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "3 1 "


# --------------------------------------------------------------------------- Table


def test_take_and_drop() -> None:
    table = read_table(pd.DataFrame({"a": [1, 2, 3], "b": pd.Categorical(["x", "y", "x"])}))
    taken = table.take(np.array([2, 0]))
    assert taken.n_rows == 2
    assert taken.columns["b"].tolist() == ["x", "x"]
    assert taken.categorical == {"b"}
    dropped = table.drop(["b", "absent"])
    assert dropped.names == ("a",)
    assert dropped.n_rows == 3
    assert dropped.categorical == frozenset()


def test_zero_rows_are_read() -> None:
    for data in (
        pd.DataFrame({"a": [], "b": []}),
        {"a": []},
        np.empty((0, 2)),
        pl.DataFrame({"a": []}),
    ):
        assert read_table(data).n_rows == 0


# --------------------------------------------------------------------------- target and task


X = pd.DataFrame({"a": np.arange(60.0) % 7, "b": ["p", "q", "r"] * 20})


@pytest.mark.parametrize(
    ("y", "task", "classes"),
    [
        ([0, 1] * 30, Task.BINARY, [0, 1]),
        ([2.0, 1.0] * 30, Task.BINARY, [1.0, 2.0]),
        (np.array([True, False] * 30), Task.BINARY, [False, True]),
        (["no", "yes"] * 30, Task.BINARY, ["no", "yes"]),
        (["c", "a", "b"] * 20, Task.MULTICLASS, ["a", "b", "c"]),
        ([3, 1, 2] * 20, Task.MULTICLASS, [1, 2, 3]),
        (pd.Categorical([10, 9, 8] * 20), Task.MULTICLASS, [8, 9, 10]),
        (pd.Series([0.5, 1.5] * 30, dtype="category"), Task.BINARY, [0.5, 1.5]),
        (pl.Series(["x", "y"] * 30).cast(pl.Categorical), Task.BINARY, ["x", "y"]),
        (np.array([[0], [1]] * 30), Task.BINARY, [0, 1]),
        (pd.DataFrame({"t": [0, 1] * 30}), Task.BINARY, [0, 1]),
        (np.array([0, 1] * 30, dtype=np.uint8), Task.BINARY, [0, 1]),
        (np.array(["a", "b"] * 30), Task.BINARY, ["a", "b"]),
        ([1, "a"] * 30, Task.BINARY, ["1", "a"]),
        ([0.25, 1.5] * 30, Task.REGRESSION, None),
        (list(range(60)), Task.REGRESSION, None),
        ([i % 10 for i in range(60)], Task.REGRESSION, None),
        ([Decimal("1.5"), Decimal(2)] * 30, Task.REGRESSION, None),
        (pd.Series([1.5, 2.5] * 30, dtype="Float64"), Task.REGRESSION, None),
    ],
)
def test_task_is_inferred_with_a_reason(y: Any, task: Task, classes: list[Any] | None) -> None:
    data = prepare(X, y)
    assert data.task is task
    assert data.task_reason.startswith("the target ")
    if classes is None:
        assert data.classes is None
        assert data.y.dtype == np.float64
    else:
        assert data.classes is not None
        assert data.classes.tolist() == classes
        assert [type(c) for c in data.classes.tolist()] == [type(c) for c in classes]
        assert data.y.dtype == np.int64
        expected = np.asarray(y, dtype=object).ravel().tolist()
        assert [str(c) for c in data.classes[data.y]] == [str(e) for e in expected]


def test_benchmark_like_integer_targets() -> None:
    rng = np.random.default_rng(0)

    def task(y: np.ndarray) -> Task:
        return prepare({"a": rng.normal(size=len(y))}, y).task

    assert task(rng.integers(1, 29, 2923)) is Task.REGRESSION
    assert task(rng.integers(1, 900, 7620)) is Task.REGRESSION
    assert task(rng.integers(0, 10, 1797)) is Task.MULTICLASS
    assert task(rng.integers(0, 3, 150)) is Task.MULTICLASS
    assert task(rng.integers(0, 2, 12)) is Task.BINARY


def test_a_target_column_leaves_the_features() -> None:
    data = prepare(X, target="b")
    assert data.target == "b"
    assert data.table.names == ("a",)
    named = prepare(X, pd.Series([0, 1] * 30, name="label"))
    assert named.target == "label"
    by_position = prepare(np.array([[0.5, 0], [1.5, 1], [2.5, 0]]), target="x1")
    assert by_position.task is Task.BINARY


@pytest.mark.parametrize(
    ("wanted", "y", "task"),
    [
        ("classification", [1, 2, 3] * 20, Task.MULTICLASS),
        ("classification", [0.5, 1.5] * 30, Task.BINARY),
        ("binary", [1, 2] * 30, Task.BINARY),
        (Task.MULTICLASS, [1, 2, 3] * 20, Task.MULTICLASS),
        ("regression", [0, 1] * 30, Task.REGRESSION),
        ("regression", [True, False] * 30, Task.REGRESSION),
        ("regression", ["1.5", "2"] * 30, Task.REGRESSION),
    ],
)
def test_task_that_is_given(wanted: str, y: list[Any], task: Task) -> None:
    data = prepare(X, y, task=wanted)
    assert data.task is task
    assert "was given" in data.task_reason


def test_multiclass_of_two_classes_is_binary_with_a_warning() -> None:
    data = prepare(X, [0, 1] * 30, task="multiclass")
    assert data.task is Task.BINARY
    assert "two classes" in data.warnings[-1]


@pytest.mark.parametrize(
    ("y", "options", "words"),
    [
        ([None] * 60, {}, "every value is missing"),
        ([1] * 60, {}, "is always 1: .* needed"),
        (["x"] * 60, {}, "is always 'x'"),
        ([1.5] * 60, {"task": "regression"}, "is always 1.5"),
        ([1.5] * 59 + [np.inf], {}, "is inf at row 59"),
        ([np.nan] * 3 + [1.5] * 56 + [-np.inf], {}, "is -inf at row 59"),
        (["a", "b"] * 30, {"task": "regression"}, "text such as 'a'"),
        (["1", ""] * 30, {"task": "regression"}, "text such as ''"),
        (["a", "b", "c"] * 20, {"task": "binary"}, r"3 classes \('a', 'b', 'c'\), not two"),
        ([f"id{i}" for i in range(60)], {}, "60 classes over 60 rows.*identifier"),
        ([i + 0.5 for i in range(60)], {"task": "classification"}, "quantity"),
        ([0, 1], {}, "y has 2 values, the table 60 rows"),
        (np.zeros((60, 2)), {}, "only numbers, text and booleans"),
        (pd.DataFrame({"a": [0, 1] * 30, "b": [0, 1] * 30}), {}, "y has 2 columns"),
        ([[1, 2]] * 60, {}, "only numbers, text and booleans"),
        ([moment("2020-01-01")] * 60, {}, "only numbers, text and booleans"),
        ([0, 1] * 30, {"target": "b"}, "either y or target"),
        (None, {}, "no target"),
        (None, {"target": "zzz"}, "'zzz' is not in the table; there are: 'a', 'b'"),
    ],
)
def test_targets_that_are_refused(y: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(TargetError, match=words):
        prepare(X, y, **options)


def test_a_misspelt_target_is_met_with_near_names() -> None:
    with pytest.raises(TargetError, match="did you mean 'income'"):
        prepare({"income": [1, 2], "age": [1, 2]}, target="Incom")


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(SettingsError, match="task 'ranking' is unknown"):
        prepare(X, [0, 1] * 30, task="ranking")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"a": [1], "t": [1]}, "one row"),
        ({"a": [], "t": []}, "no rows"),
        ({"t": [0, 1]}, "no feature beside the target 't'"),
    ],
)
def test_tables_that_cannot_be_learned(data: dict[str, list[int]], words: str) -> None:
    with pytest.raises(DataError, match=words):
        prepare(data, target="t")


def test_rows_without_target_are_left_out_with_a_warning() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0, 5.0], "t": [1, None, 0, 1, 0]})
    data = prepare(frame, target="t")
    assert data.table.columns["a"].tolist() == [1.0, 3.0, 4.0, 5.0]
    assert data.rows.tolist() == [0, 2, 3, 4]
    assert data.classes is not None
    assert data.classes.tolist() == [0, 1]
    assert data.classes.dtype == np.int64
    assert data.warnings == ("1 row without a target ('t') is left out",)
    with pytest.raises(TargetError, match="fewer than two rows have a target"):
        prepare({"a": [1, 2], "t": [1, None]}, target="t")


def test_a_class_of_one_row_is_kept_with_a_warning() -> None:
    data = prepare(X, ["rare"] + ["x"] * 29 + ["y"] * 30)
    assert len(data.y) == 60
    assert "1 class has one row ('rare')" in data.warnings[0]
    data = prepare(X, ["rare", "odd"] + ["x"] * 29 + ["y"] * 29)
    assert "2 classes have one row each ('odd', 'rare')" in data.warnings[0]


# --------------------------------------------------------------------------- weights and groups


def test_weights_have_mean_one_and_zeros_are_left_out() -> None:
    weights = np.array([0.0, 3.0] + [1.0] * 58)
    data = prepare(X, [0, 1] * 30, sample_weight=weights)
    assert data.weight is not None
    assert data.table.n_rows == len(data.y) == len(data.weight) == 59
    assert data.weight.mean() == pytest.approx(1)
    assert data.weight[0] / data.weight[1] == pytest.approx(3)
    assert data.warnings == ("1 row of weight 0 is left out",)


def test_weights_and_groups_by_column_leave_the_features() -> None:
    frame = X.assign(w=[1, 2] * 30, g=["u", "v", "w"] * 20, t=[0, 1] * 30)
    data = prepare(frame, target="t", sample_weight="w", groups="g")
    assert data.table.names == ("a", "b")
    assert data.groups is not None
    assert data.groups.tolist() == [0, 1, 2] * 20
    assert data.weight is not None
    assert data.weight[1] == pytest.approx(4 / 3)
    arrays = prepare(X, [0, 1] * 30, groups=pl.Series([5, 6, 7] * 20))
    assert arrays.groups is not None
    assert arrays.groups.tolist() == [0, 1, 2] * 20


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sample_weight": [1.0] * 59 + [-1.0]}, "sample_weight at row 59 is -1.0"),
        ({"sample_weight": [1.0] * 59 + [np.nan]}, "sample_weight at row 59 is nan"),
        ({"sample_weight": [np.inf] * 60}, "sample_weight at row 0 is inf"),
        ({"sample_weight": [0] * 60}, "sample_weight is .* for every row"),
        ({"sample_weight": ["x"] * 60}, "sample_weight must hold numbers, found 'x'"),
        ({"sample_weight": [1.0]}, "sample_weight has 1 values, the table 60 rows"),
        ({"sample_weight": "aa"}, "sample_weight column 'aa' is not among the features; did you"),
        ({"groups": [1]}, "groups has 1 values"),
        ({"groups": [1] * 59 + [None]}, "row 59 has no group"),
        ({"groups": [[1]] * 60}, "groups must be numbers or text"),
    ],
)
def test_weights_and_groups_that_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        prepare(X, [0, 1] * 30, **options)


# --------------------------------------------------------------------------- scoring


def test_read_target_gives_codes_of_known_rows() -> None:
    classes = np.array([1, 2, 3])
    table = read_table({"a": [1.0, 2.0, 3.0], "t": [3, None, 1], "w": [1.0, 1.0, 2.0]})
    truth, known, weight = read_target(table, target="t", classes=classes, sample_weight="w")
    assert truth.tolist() == [2, 0]
    assert known.tolist() == [True, False, True]
    assert weight is not None
    assert weight.tolist() == [1.0, 2.0]
    truth, _, _ = read_target(table, ["1", 2.0, 3], target="t", classes=classes)
    assert truth.tolist() == [0, 1, 2]
    truth, _, _ = read_target(table, target="a", classes=None)
    assert truth.tolist() == [1.0, 2.0, 3.0]


def test_read_target_refuses_what_was_not_there_at_fit() -> None:
    table = read_table({"a": [1.0, 2.0], "t": ["x", "new"], "e": [None, None]})
    with pytest.raises(TargetError, match="is 'new' at row 1: not one of the classes"):
        read_target(table, target="t", classes=np.array(["x", "y"], dtype=object))
    with pytest.raises(TargetError, match="no row has a value"):
        read_target(table, target="e", classes=None)
    with pytest.raises(TargetError, match="'target' is not in the table"):
        read_target(table, target="target", classes=None)
    with pytest.raises(TargetError, match="y has 1 values, the table 2 rows"):
        read_target(table, [1], target="t", classes=None)


# --------------------------------------------------------------------------- small parts


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        ("1", "1"),
        (-0.0, "0"),
        (1.5, "1.5"),
        (True, "True"),
        (np.int8(3), "3"),
    ],
)
def test_format_cell(cell: object, text: str) -> None:
    assert format_cell(cell) == text


def test_factorise() -> None:
    codes, distinct = factorise(np.array(["b", None, "a", "b"], dtype=object))
    assert codes.tolist() == [0, 1, 2, 0]
    assert distinct == ["b", None, "a"]


def test_parse_numbers() -> None:
    numbers, bad = parse_numbers(np.array([" 1.5", "?", None, "1e3", "inf"], dtype=object))
    assert bad == -1
    np.testing.assert_array_equal(numbers, [1.5, np.nan, np.nan, 1000, np.nan])
    assert parse_numbers(np.array(["1", "1_0"], dtype=object))[1] == 1
    assert parse_numbers(np.array(["x"], dtype=object))[1] == 0


# --------------------------------------------------------------------------- properties


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.decimals(),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(dt.UTC)),
    st.timedeltas(),
    st.times(),
    st.binary(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=1), st.integers(), max_size=1),
    st.complex_numbers(),
    st.sampled_from([pd.NaT, pd.NA, np.float32(1.5), np.datetime64("NaT"), 10**400]),
)


@st.composite
def frames(draw: st.DrawFn) -> dict[Any, list[Any]]:
    n_rows = draw(st.integers(0, 6))
    names = draw(
        st.lists(st.text(max_size=3) | st.integers(0, 3) | st.none(), max_size=4, unique=True)
    )
    kinds = st.sampled_from([CELLS, st.none() | st.floats(), st.none() | st.text(max_size=2)])
    return {name: draw(st.lists(draw(kinds), min_size=n_rows, max_size=n_rows)) for name in names}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames(), st.sampled_from(["dict", "pandas", "rows"]))
def test_any_frame_is_read_or_refused_in_our_own_words(
    data: dict[Any, list[Any]], way: str
) -> None:
    source: Any = data
    if way == "pandas":
        source = pd.DataFrame(data, dtype=object)
    elif way == "rows":
        source = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    try:
        table = read_table(source)
    except AutoFuseError:
        return
    for name, values in table.columns.items():
        assert isinstance(name, str)
        assert values.shape == (table.n_rows,)
        assert values.dtype in (np.float64, np.bool_, np.dtype("datetime64[us]"), object)
        if values.dtype == np.float64:
            assert not np.isinf(values).any()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(CELLS, min_size=1, max_size=8)
    | st.lists(st.sampled_from(["a", "b", None, 1, 2.0]), min_size=1, max_size=8)
    | st.lists(st.none() | st.floats(), min_size=1, max_size=8),
    st.sampled_from([None, "classification", "binary", "multiclass", "regression"]),
)
def test_any_target_is_taken_or_refused_in_our_own_words(y: list[Any], task: str | None) -> None:
    try:
        data = prepare({"a": list(range(len(y)))}, y, task=task)
    except AutoFuseError:
        return
    assert len(data.y) == data.table.n_rows == len(data.rows)
    if data.classes is None:
        assert data.task is Task.REGRESSION
        assert np.isfinite(data.y).all()
    else:
        assert sorted(set(data.y.tolist())) == list(range(len(data.classes)))


# --------------------------------------------------------------------------- few rows


@pytest.mark.parametrize(
    "data",
    [
        [{"a": 1, "b": "x"}, {"a": 2.5, "b": None}],
        pd.DataFrame({"a": [1, 2.5], "b": ["x", None]}, dtype=object),
        pl.DataFrame({"a": [1.0, 2.5], "b": ["x", None]}),
    ],
    ids=lambda data: type(data).__module__,
)
def test_few_rows_are_names_and_cells(data: Any) -> None:
    names, rows = few_rows(data)
    assert names == ("a", "b")
    assert [tuple(row) for row in rows] == [(1, "x"), (2.5, None)]


@pytest.mark.parametrize("n_rows", [1, 2, FEW_ROWS])
def test_cells_of_single_precision_are_the_numbers_that_they_are(n_rows: int) -> None:
    cells = {"a": np.float32([0.1]), "b": np.array([3], np.uint8), "c": ["x"]}
    names, rows = few_rows(pd.concat([pd.DataFrame(cells)] * n_rows))
    assert names == ("a", "b", "c")
    assert [list(row) for row in rows] == [[float(np.float32(0.1)), 3, "x"]] * n_rows


@pytest.mark.parametrize(
    "data",
    [
        {"a": [1]},
        {"a": 1, "b": np.zeros(1)},
        [],
        [[1, 2]],
        [{"a": 1}, {"b": 1}],
        [{"a": 1}] * (FEW_ROWS + 1),
        pd.DataFrame({"a": range(FEW_ROWS + 1)}),
        pd.DataFrame({"a": []}),
        pl.DataFrame({"a": range(FEW_ROWS + 1)}),
        np.zeros((1, 1)),
        "rows.csv",
        None,
    ],
    ids=lambda data: str(data)[:20],
)
def test_other_tables_are_not_few_rows(data: Any) -> None:
    assert few_rows(data) is None


def test_read_labelled_gives_the_rows_that_have_a_target() -> None:
    data = {"a": [1, 2, 3], "t": ["y", None, "x"], "w": [1.0, 2.0, 3.0]}
    classes = np.array(["x", "y"], dtype=object)
    rows = read_labelled(data, target="t", classes=classes, sample_weight="w")
    assert rows.table.columns["a"].tolist() == [1.0, 3.0]
    assert rows.truth.tolist() == [1, 0]
    assert len(rows.weight) == 2
    every = read_labelled({"a": [1, 2]}, [0.5, 1.5], target="t", classes=None)
    assert every.table.n_rows == 2
    assert every.truth.tolist() == [0.5, 1.5]
    assert every.weight is None


# --------------------------------------------------------------------------- real tables


@pytest.mark.skipif(not DATA.is_dir(), reason="the real tables of ../shared/data are absent")
def test_real_tables_have_the_task_that_their_notes_say() -> None:
    for notes in sorted(DATA.glob("*/meta.json")):
        meta = json.loads(notes.read_text())
        (path,) = notes.parent.glob("train.*")
        data = prepare(path, target=meta["target"])
        # Five stars over 80,000 rows look like classes; the reason says how to say otherwise.
        expected = "multiclass" if notes.parent.name == "movielens" else meta["task"]
        assert data.task == expected, path
        assert data.table.n_rows == len(data.y)
        assert len(data.table.columns) == meta["columns"]


def test_tables_are_plain_values() -> None:
    table = Table(columns={"a": np.zeros(2)}, n_rows=2)
    assert table.categorical == frozenset()
    assert table.warnings == ()
