"""Column kinds with their reasons, and tables turned into typed columns."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from automl_fuse.errors import AutoFuseError, DataError, SettingsError
from automl_fuse.schema import Schema, infer
from automl_fuse.specs import MISSING_CODE, UNSEEN_CODE, Column, Columns, Kind
from automl_fuse.table import prepare, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA = Path(__file__).parents[1].parent / "shared" / "data"
N = 40
NUMBERS = [i % 7 + 0.5 for i in range(N)]
WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "dogs", "ran", "far", "away", "from", "it"]
PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9cc`"
    b"\0\0\0\x02\0\x01H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82"
)
"""One black pixel."""


def one(values: Any, name: str = "a") -> Column:
    """Return what is inferred for one column beside a plain one."""
    data = {name: values, "other": [i % 3 for i in range(len(values))]}
    return infer(read_table(data), {}).columns[0]


def schema_of(**columns: Any) -> Schema:
    return infer(read_table(columns), {})


def values_of(columns: Columns) -> Mapping[str, np.ndarray]:
    return columns.values


def typed(schema: Schema, **columns: Any) -> np.ndarray:
    return values_of(schema.convert(read_table(columns)))["a"]


def same(left: Columns, right: Columns) -> None:
    assert left.columns == right.columns
    assert left.n_rows == right.n_rows
    for name, values in values_of(left).items():
        other = values_of(right)[name]
        assert values.dtype == other.dtype, name
        if values.dtype == object:
            assert [repr(v) for v in values] == [repr(v) for v in other]
        else:
            np.testing.assert_array_equal(values, other)


# --------------------------------------------------------------------------- kinds


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        (NUMBERS, Kind.NUMERIC, "numbers from 0.5 to 6.5"),
        ([*NUMBERS[:-1], None], Kind.NUMERIC, "2.5 % missing"),
        ([0, 1] * 20, Kind.NUMERIC, "numbers from 0 to 1"),
        ([1.0, None] * 20, Kind.NUMERIC, "50 % missing"),
        (np.random.default_rng(0).normal(size=N), Kind.NUMERIC, "numbers"),
        (list(range(10)), Kind.NUMERIC, "numbers from 0 to 9"),
        ([2 * i for i in range(N)], Kind.NUMERIC, "numbers"),
        (list(range(N)), Kind.ID, "count the rows"),
        (list(range(N, 0, -1)), Kind.ID, "count the rows"),
        ([7.0] * N, Kind.CONSTANT, "always 7.0"),
        ([None] * N, Kind.CONSTANT, "always missing"),
        ([True, False] * 20, Kind.BOOLEAN, "true or false"),
        ([True, None] * 20, Kind.BOOLEAN, "50 % missing"),
        ([True] * N, Kind.CONSTANT, "always True"),
        (pd.date_range("2020-01-01", periods=N), Kind.DATETIME, "from 2020-01-01 to 2020-02-09"),
        (pd.to_datetime(["2020-01-01"] * N), Kind.CONSTANT, "always '2020-01-01"),
        (["2011-07-19 12:00:00", "2011-07-20 13:00:00"] * 20, Kind.DATETIME, "text that holds"),
        (["2011-07-19", "2011/07/20"] * 20, Kind.DATETIME, "2011-07-19 to 2011-07-20"),
        (["2011-07-19T12:00Z", "?"] * 20, Kind.DATETIME, "50 % missing"),
        (["2011-07-19", "2011-13-45"] * 20, Kind.CATEGORY, "2 distinct values"),
        (["2011", "2012"] * 20, Kind.CATEGORY, "2 distinct values"),
        (["x", "y"] * 20, Kind.CATEGORY, "text, 2 distinct values"),
        (["x", None] * 20, Kind.CATEGORY, "50 % missing"),
        (["x"] * N, Kind.CONSTANT, "always 'x'"),
        (["a long survey answer of six words", "no"] * 20, Kind.CATEGORY, "2 distinct values"),
        ([" ".join(WORDS[i % 9 :]) + f" {i}" for i in range(N)], Kind.TEXT, "words on average"),
        ([f"Name{i} Surname{i}" for i in range(N)], Kind.TEXT, "short text"),
        ([f"{i * 7919:08x}" for i in range(N)], Kind.ID, "a different text in nearly every row"),
        ([f"u{i}" for i in range(10)], Kind.CATEGORY, "10 distinct values"),
        ([f"u{i % 20}" for i in range(N)], Kind.CATEGORY, "20 distinct values"),
        ([f"{i}.5" for i in range(N)], Kind.NUMERIC, "text that holds numbers"),
        ([*(str(i) for i in range(N - 1)), "?"], Kind.NUMERIC, "text that holds numbers"),
        (["1", "2"] * 20, Kind.CATEGORY, "2 distinct values"),
        (["00501", "10001"] * 20, Kind.CATEGORY, "2 distinct values"),
        (["?", "-"] * 20, Kind.CATEGORY, "2 distinct values"),
        ([[1.0, 2.0], None] * 20, Kind.SEQUENCE, "50 % missing"),
        ([np.arange(3)] * N, Kind.SEQUENCE, "lists of numbers"),
        ([[[1.0, 2.0]] * 3, [[1.0, 2.0]] * 5] * 20, Kind.SEQUENCE, "lists of numbers"),
        ([np.zeros((3, 4)), np.zeros((5, 4))] * 20, Kind.SEQUENCE, "lists of numbers"),
        ([np.zeros((i % 5 + 3, 4), np.uint8) for i in range(N)], Kind.SEQUENCE, "lists of"),
        ([np.zeros((8, 8))] * N, Kind.SEQUENCE, "lists of numbers"),
        ([np.zeros((2, 2), np.uint8)] * N, Kind.IMAGE, "arrays of bytes"),
        ([np.zeros((i % 5 + 3, i % 7 + 3), np.uint8) for i in range(N)], Kind.IMAGE, "of bytes"),
        ([np.zeros((i % 5 + 3, 6, 3)) for i in range(N)], Kind.IMAGE, "of three dimensions"),
        (np.zeros((N, 8, 8), np.uint8), Kind.IMAGE, "arrays of bytes"),
        ([Image.new("L", (4, 4)), None] * 20, Kind.IMAGE, "images, 50 % missing"),
        ([(8_000, np.zeros(i)) for i in range(N)], Kind.AUDIO, "pairs of a rate and samples"),
        ([[[0.5] * 9, 8_000], None] * 20, Kind.AUDIO, "50 % missing"),
        ([PNG, None] * 20, Kind.IMAGE, "bytes of image files"),
        ([b"RIFF\0\0\0\0WAVEfmt"] * N, Kind.AUDIO, "bytes of audio files"),
        ([b"RIFF\0\0\0\0WEBPVP8"] * N, Kind.IMAGE, "bytes of image files"),
        (["a/1.PNG", "a/2.jpg"] * 20, Kind.IMAGE, "names of image files"),
        ([f"wav/{i}.wav" for i in range(N)], Kind.AUDIO, "names of audio files"),
        (pd.Categorical([f"u{i}" for i in range(N)]), Kind.CATEGORY, "declared categorical"),
        (pd.Categorical([1, 2] * 20), Kind.CATEGORY, "declared categorical, 2 distinct"),
    ],
)
def test_kind_and_reason(values: Any, kind: Kind, reason: str) -> None:
    column = one(values)
    assert column.kind is kind
    assert reason in column.reason
    assert bool(column.categories) == (kind is Kind.CATEGORY)
    assert column.categories == tuple(sorted(column.categories))


@pytest.mark.parametrize("name", ["id", "user_id", "userId", "ID", "Unnamed: 0", "row id", "idx"])
def test_unique_integers_named_like_identifiers_are_dropped(name: str) -> None:
    values = np.random.default_rng(0).permutation(1000)[:N]
    assert one(values, name).kind is Kind.ID
    assert one(values, "liquid").kind is Kind.NUMERIC
    assert one(values + 0.5, name).kind is Kind.NUMERIC
    assert one([*values[:-1], values[0]], name).kind is Kind.NUMERIC


def test_the_only_column_is_never_taken_for_an_identifier_by_its_numbers() -> None:
    assert schema_of(a=list(range(N))).columns[0].kind is Kind.NUMERIC


def test_dropped_columns_are_warned_about_with_the_mend() -> None:
    schema = schema_of(id=list(range(N)), b=NUMBERS, c=["x"] * N)
    assert schema.warnings == (
        (
            "column 'id' is dropped as id: integers that count the rows; "
            "kinds={'id': 'numeric'} keeps it"
        ),
        "column 'c' is dropped as constant: always 'x'",
    )
    converted = schema.convert(read_table({"b": [1.0]}))
    assert [column.name for column in converted.columns] == ["b"]


def test_dates_of_unclear_order_are_warned_about() -> None:
    schema = schema_of(a=[f"{i % 12 + 1}/{i % 28 + 1}/2011" for i in range(N)], b=NUMBERS)
    assert schema.columns[0].kind is Kind.CATEGORY
    assert "day and month cannot be told apart" in schema.warnings[0]


def test_many_categories_are_quick_and_kept() -> None:
    values = [f"item {i}" for i in range(5000)] * 2
    column = one(values)
    assert column.kind is Kind.CATEGORY
    assert len(column.categories) == 5000


def test_nothing_left_says_why_for_each() -> None:
    with pytest.raises(DataError, match=r"'a': always 1\.0; 'b': always missing"):
        schema_of(a=[1, 1], b=[None, None])


def test_bytes_of_no_known_format_are_refused() -> None:
    with pytest.raises(DataError, match="column 'a' holds bytes such as b'abc'"):
        schema_of(a=[b"abc", b"def"])


# --------------------------------------------------------------------------- overrides


def test_overrides_decide() -> None:
    table = read_table({"a": [3, 1, 1, 10], "b": ["x", "x", "x", "x"], "c": ["1", "2", "?", "4"]})
    schema = infer(table, {"a": "category", "b": "text", "c": "numeric"})
    assert [column.kind for column in schema.columns] == [Kind.CATEGORY, Kind.TEXT, Kind.NUMERIC]
    assert {column.reason for column in schema.columns} == {"set by the user"}
    assert schema.columns[0].categories == ("1", "10", "3")
    columns = schema.convert(table)
    assert values_of(columns)["a"].tolist() == [2, 0, 0, 1]
    assert values_of(columns)["b"].tolist() == ["x"] * 4
    np.testing.assert_array_equal(values_of(columns)["c"], [1, 2, np.nan, 4])
    assert infer(table, {"a": "id"}).convert(table).columns[0].name == "c"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"agee": "numeric"}, "'agee', which is no feature; did you mean 'age'"),
        ({"age": "categorical"}, "kind 'categorical' of column 'age' is unknown; did you mean"),
        ({"age": "zzz"}, "there are: 'numeric', 'category'"),
    ],
)
def test_unknown_overrides_are_refused(overrides: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        infer(read_table({"age": [1, 2], "b": [3, 4]}), overrides)


def test_an_override_that_does_not_fit_fails_at_conversion() -> None:
    table = read_table({"a": ["x", "y"]})
    with pytest.raises(DataError, match="column 'a', row 0: a number was expected, found 'x'"):
        infer(table, {"a": "numeric"}).convert(table)
    lists = read_table({"a": [[1], [2]]})
    with pytest.raises(DataError, match="text or a number was expected"):
        infer(lists, {"a": "category"})


# --------------------------------------------------------------------------- conversion


def test_types_of_converted_columns() -> None:
    table = read_table(
        {
            "n": [1, None, 3],
            "b": [True, None, False],
            "c": ["y", None, "x"],
            "d": pd.to_datetime(["2020-01-01", None, "2020-01-02"]),
            "t": ["one two three four", None, "five six seven eight"],
            "s": [[1, 2], None, (3,)],
            "i": [PNG, None, PNG],
        }
    )
    columns = infer(table, {}).convert(table)
    assert columns.n_rows == 3
    assert {c.name: c.kind.value for c in columns.columns} == {
        "n": "numeric",
        "b": "boolean",
        "c": "category",
        "d": "datetime",
        "t": "text",
        "s": "sequence",
        "i": "image",
    }
    assert {n: str(v.dtype) for n, v in values_of(columns).items()} == {
        "n": "float64",
        "b": "float64",
        "c": "int32",
        "d": "datetime64[us]",
        "t": "object",
        "s": "object",
        "i": "object",
    }
    assert values_of(columns)["c"].tolist() == [1, MISSING_CODE, 0]
    np.testing.assert_array_equal(values_of(columns)["b"], [1, np.nan, 0])
    assert values_of(columns)["s"][0].dtype == np.float64
    assert values_of(columns)["s"][0].tolist() == [[1], [2]]
    assert values_of(columns)["s"][1] is None
    assert values_of(columns)["i"][0].tolist() == [[[0]]]
    assert values_of(columns)["i"][1] is None


def test_sequences_are_steps_of_channels() -> None:
    cells = [[1, None, 3], [], None, [np.inf, 1e31, -1e30]]
    values = typed(schema_of(a=[[1.0, 2.0], [3.0]] * 20), a=cells)
    np.testing.assert_array_equal(values[0], [[1], [np.nan], [3]])
    assert values[1].shape == (0, 1)
    assert values[2] is None
    np.testing.assert_array_equal(values[3], [[np.nan], [np.nan], [-1e30]])
    two = typed(schema_of(a=[[[1, 2]], [[3, 4], [5, 6]]] * 20), a=[[], [[1, 2], [3, None]]])
    assert two[1].shape == (2, 2)
    frames = [pl.DataFrame({"a": [[1.0, 2.0], None, [3.0]]}), pa.table({"a": [[1, 2], None, [3]]})]
    for frame in frames:
        table = read_table(frame)
        found = values_of(infer(table, {}).convert(table))["a"]
        assert [None if c is None else c.tolist() for c in found] == [[[1], [2]], None, [[3]]]


def test_sequences_of_unequal_channels_are_refused_by_row() -> None:
    schema = schema_of(a=[np.zeros((3, 2)), np.zeros((5, 2))] * 20)
    with pytest.raises(DataError, match=r"column 'a', row 2: .*\(4, 3\) among those of 2 channels"):
        typed(schema, a=[np.zeros((3, 2)), [], np.zeros((4, 3))])


def test_kinds_of_lists_and_arrays_can_be_set() -> None:
    digits = read_table({"a": np.arange(3 * 64.0).reshape(3, 8, 8), "b": [1, 2, 3]})
    images = values_of(infer(digits, {"a": "image"}).convert(digits))["a"]
    assert [image.shape for image in images] == [(8, 8, 1)] * 3
    assert images[1].dtype == np.float32
    pair = read_table({"a": [(5, [1, 2]), (6, [1, 2])], "b": [1, 2]})
    with pytest.raises(DataError, match="column 'a', row 0: a list of numbers was expected"):
        infer(pair, {"a": "sequence"}).convert(pair)
    with pytest.raises(DataError, match="column 'a', row 0: a sound is a pair"):
        infer(digits, {"a": "audio"}).convert(digits)


def test_files_that_do_not_exist_are_named_with_column_and_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    names = [f"pictures/{i}.png" for i in range(N)]
    for name in names[:5]:
        (tmp_path / name).write_bytes(PNG)
    schema = schema_of(a=names)
    with pytest.raises(DataError, match=r"column 'a', row 0: .*pictures/0.png' does not exist: "):
        typed(schema, a=names)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"column 'a', row 5: .*pictures/5.png' does not exist: "):
        typed(schema, a=names)
    assert [image.shape for image in typed(schema, a=names[:5])] == [(1, 1, 1)] * 5


def test_numbers_are_not_copied() -> None:
    table = read_table({"a": np.array(NUMBERS)})
    assert values_of(infer(table, {}).convert(table))["a"] is table.columns["a"]


def test_missing_extra_and_reordered_columns() -> None:
    schema = schema_of(age=NUMBERS, city=["x", "y"] * 20)
    converted = schema.convert(read_table({"z": [0], "city": ["y"], "age": [2]}))
    assert tuple(values_of(converted)) == ("age", "city")
    assert values_of(converted)["city"].tolist() == [1]
    with pytest.raises(DataError, match=r"2 columns .* missing: 'age', 'city'; did you mean 'Age'"):
        schema.convert(read_table({"Age": [1]}))


def test_zero_rows() -> None:
    table = read_table(
        {
            "n": NUMBERS,
            "b": [True, False] * 20,
            "c": ["x", "y"] * 20,
            "d": ["2020-01-01", "2020-01-02"] * 20,
            "s": [[1], [2]] * 20,
            "t": [" ".join(WORDS[i % 9 :]) + str(i) for i in range(N)],
            "i": [PNG] * N,
        }
    )
    schema = infer(table, {})
    for empty in (
        table.take(np.array([], dtype=np.intp)),
        read_table({n: [] for n in table.names}),
    ):
        columns = schema.convert(empty)
        assert columns.n_rows == 0
        assert [len(values) for values in values_of(columns).values()] == [0] * 7
        assert values_of(columns)["c"].dtype == np.int32


@pytest.mark.parametrize(
    ("fitted", "given_now", "expected"),
    [
        (NUMBERS, ["1.5", " 2 ", "", "NA", None], [1.5, 2, np.nan, np.nan, np.nan]),
        (NUMBERS, [True, False], [1, 0]),
        (NUMBERS, [True, None], [1, np.nan]),
        (NUMBERS, [None, None], [np.nan, np.nan]),
        ([True, False], [1, 0, None], [1, 0, np.nan]),
        ([True, False], ["True", "no", "1", "?", None], [1, 0, 1, np.nan, np.nan]),
        ([True, False], [None], [np.nan]),
        (["1", "2"], [1, 2.0, 3, None], [0, 1, UNSEEN_CODE, MISSING_CODE]),
        (["1", "2"], ["1.0", "2", "x"], [0, 1, UNSEEN_CODE]),
        (["1", "x"], [True, False], [0, UNSEEN_CODE]),
        (["1.0", "x"], [1], [0]),
        (["00501", "10001"], [501, 10001], [0, 1]),
        (["1", "01"], [1], [1]),
        (["01", "001"], [1], [UNSEEN_CODE]),
        (["x", "y"], [1.5, None], [UNSEEN_CODE, MISSING_CODE]),
        (["x", "y"], ["z", None, "x"], [UNSEEN_CODE, MISSING_CODE, 0]),
        (pd.Categorical([True, False]), [1.0, 0.0], [1, 0]),
        (pd.Categorical([1, 0]), [True, False], [1, 0]),
    ],
)
def test_retyped_columns(fitted: Any, given_now: Any, expected: list[float]) -> None:
    schema = schema_of(a=fitted)
    values = typed(schema, a=given_now)
    np.testing.assert_array_equal(values, expected)
    one_by_one = [typed(schema, a=[value])[0] for value in given_now]
    np.testing.assert_array_equal(one_by_one, expected)


def test_dates_as_text() -> None:
    schema = schema_of(a=pd.to_datetime(["2020-01-01", "2020-01-02"]))
    values = typed(
        schema,
        a=[
            "2020-01-01",
            "2020-01-01 12:30",
            "2020-01-01T12:30:15.123456789",
            "2020-01-01T12:00:00Z",
            "2020-01-01T12:00:00+02:00",
            "2020-01-01 12:00:00-0130",
            "2020/01/01 12:00:00 UTC",
            "",
            None,
        ],
    )
    expected = [
        "2020-01-01",
        "2020-01-01T12:30",
        "2020-01-01T12:30:15.123456",
        "2020-01-01T12:00",
        "2020-01-01T10:00",
        "2020-01-01T13:30",
        "2020-01-01T12:00",
        "NaT",
        "NaT",
    ]
    np.testing.assert_array_equal(values, np.array(expected, dtype="datetime64[us]"))


@pytest.mark.parametrize(
    ("fitted", "given_now", "words"),
    [
        (NUMBERS, ["1", "abc"], "column 'a', row 1: a number was expected, found 'abc' .str."),
        (NUMBERS, pd.to_datetime(["2020-01-01"]), "a number was expected"),
        (NUMBERS, [None, [1]], r"row 1: a number was expected, found \[1\] .list."),
        ([True, False], [0, 2], "row 1: true or false was expected, found 2.0"),
        ([True, False], ["x"], "true or false was expected, found 'x'"),
        ([True, False], [[1]], "true or false was expected"),
        ([True, False], pd.to_datetime(["2020-01-01"]), "true or false was expected"),
        (["2020-01-01", "2020-01-02"], ["2020-01-01", "soon"], "row 1: a date such as"),
        (["2020-01-01", "2020-01-02"], ["2020-01-01", "2020-02-30"], "row 1: a date such as"),
        (["2020-01-01", "2020-01-02"], [20200101], "a date such as 2024-12-31"),
        (["x", "y"], [[1]], "text or a number was expected"),
        ([[1], [2]], ["x"], "a list of numbers was expected, found 'x'"),
        ([[1], [2]], [1.5], "a list of numbers was expected, found 1.5|np.float64"),
        ([[1], [2]], [["x"]], "a list of numbers was expected"),
        ([[1], [2]], [[1, [2]]], "a list of numbers was expected"),
        ([PNG, PNG + b"1"], [1.5], "image bytes or the path of an image file was expected"),
        ([PNG, PNG + b"1"], [PNG, PNG[:30]], "column 'a', row 1: bytes .* are no image"),
        ([[1], [2]], [1, 2], "one row is a list with one dict"),
        ([[1], [2]], [[1], np.zeros((2, 2, 2))], r"row 1: .*of shape \(2, 2, 2\)"),
    ],
)
def test_values_that_do_not_fit(fitted: Any, given_now: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        typed(schema_of(a=fitted), a=given_now)


def test_all_missing_columns_fit_every_kind() -> None:
    for fitted in (
        NUMBERS,
        [True, False],
        ["x", "y"],
        ["2020-01-01", "2021-01-01"],
        [[1], [2]],
        [PNG],
    ):
        values = typed(schema_of(a=fitted), a=[None, np.nan])
        assert len(values) == 2
        assert not any(isinstance(value, str | bytes) for value in values)


def test_dates_and_booleans_as_categories_and_text() -> None:
    table = read_table({"a": pd.to_datetime(["2020-01-01", "2020-01-02", None])})
    for kind in ("category", "text"):
        schema = infer(table, {"a": kind})
        assert len(values_of(schema.convert(table))["a"]) == 3
        assert len({str(v) for v in values_of(schema.convert(table))["a"]}) == 3
    flags = read_table({"a": [True, False, None]})
    assert values_of(infer(flags, {"a": "category"}).convert(flags))["a"].tolist() == [1, 0, -1]


# --------------------------------------------------------------------------- showing and storing


def test_text_is_an_aligned_table() -> None:
    lines = str(schema_of(age=NUMBERS, city=["x", "y"] * 20)).splitlines()
    assert lines == [
        "column  kind      reason",
        "age     numeric   numbers from 0.5 to 6.5",
        "city    category  text, 2 distinct values",
    ]


def test_html_escapes_names() -> None:
    shown = schema_of(**{"<script>": NUMBERS, "b": ["x", "y"] * 20})._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown


def test_dict_and_pickle_round_trip() -> None:
    schema = schema_of(a=["é", "\ud800", "x"], b=[1, 2, 3], c=[1, 1, 1])
    schema.convert(read_table({"a": ["x"], "b": [1]}))
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    again = pickle.loads(pickle.dumps(schema))
    assert again == schema
    assert "_lookups" not in vars(again)
    assert typed(again, a=["x"], b=[1]).tolist() == [0]


# --------------------------------------------------------------------------- properties


TEXT = st.text("ab1.?é ", max_size=4)
STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "float": st.floats(width=32),
    "int": st.integers(-(2**53), 2**53),
    "bool": st.booleans(),
    "text": TEXT,
    "few": st.sampled_from(["x", "y", "1", "True"]),
    "sentence": st.lists(st.sampled_from(WORDS), min_size=4, max_size=9).map(" ".join),
    "date": st.datetimes(
        min_value=pd.Timestamp("1700-01-01").to_pydatetime(),
        max_value=pd.Timestamp("2200-01-01").to_pydatetime(),
    ),
    "date text": st.dates().map(str),
}
MIXED = st.one_of(st.integers(-5, 5), st.booleans(), st.floats(-2, 2), TEXT)


@st.composite
def columns_by_name(draw: st.DrawFn, *, mixed: bool = True) -> dict[str, list[Any]]:
    n_rows = draw(st.integers(1, 8))
    names = draw(st.lists(st.text(max_size=4), min_size=1, max_size=4, unique=True))
    strategies = [*STRATEGIES.values(), MIXED] if mixed else list(STRATEGIES.values())
    return {
        name: draw(
            st.lists(
                st.none() | draw(st.sampled_from(strategies)), min_size=n_rows, max_size=n_rows
            )
        )
        for name in names
    }


def inferred(data: Any) -> Schema:
    try:
        return infer(read_table(data), {})
    except AutoFuseError:
        assume(False)
        raise


QUICK = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@QUICK
@given(columns_by_name())
def test_convert_after_infer_is_stable(data: dict[str, list[Any]]) -> None:
    schema = inferred(data)
    table = read_table(data)
    first = schema.convert(table)
    same(first, schema.convert(table))
    assert inferred(data) == schema
    stored = Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
    same(first, stored.convert(table))
    for column in first.columns:
        values = values_of(first)[column.name]
        assert len(values) == first.n_rows
        if column.kind is Kind.CATEGORY:
            assert values.dtype == np.int32
            assert values.min() >= MISSING_CODE
            assert values.max() < len(column.categories)


@QUICK
@given(columns_by_name())
def test_a_row_alone_gives_what_it_gives_in_a_batch(data: dict[str, list[Any]]) -> None:
    schema = inferred(data)
    batch = schema.convert(read_table(data))
    for row in range(batch.n_rows):
        alone = [{name: cells[row] for name, cells in data.items()}]
        same(schema.convert(read_table(alone)), batch.take(np.array([row])))


@QUICK
@given(columns_by_name(), st.randoms(use_true_random=False))
def test_the_order_of_columns_is_irrelevant(data: dict[str, list[Any]], random: Any) -> None:
    schema = inferred(data)
    names = list(data)
    random.shuffle(names)
    shuffled = {name: data[name] for name in names}
    same(schema.convert(read_table(data)), schema.convert(read_table(shuffled)))
    kinds = {column.name: column for column in inferred(shuffled).columns}
    assert kinds == {column.name: column for column in schema.columns}


@QUICK
@given(columns_by_name(mixed=False))
def test_all_libraries_give_the_same_typed_columns(data: dict[str, list[Any]]) -> None:
    schema = inferred(data)
    expected = schema.convert(read_table(data))
    frames: list[Any] = [
        pd.DataFrame(data),
        pd.DataFrame(data, dtype=object),
        pd.DataFrame(data).convert_dtypes(),
        pl.DataFrame(data, strict=False),
        pa.table(data),
    ]
    for frame in frames:
        table = read_table(frame)
        assert infer(table, {}) == schema
        same(schema.convert(table), expected)


@QUICK
@given(columns_by_name(), columns_by_name())
def test_other_tables_convert_or_are_refused_in_our_own_words(
    data: dict[str, list[Any]], other: dict[str, list[Any]]
) -> None:
    schema = inferred(data)
    cells = list(other.values())
    renamed = {name: cells[i % len(cells)] for i, name in enumerate(data)}
    try:
        columns = schema.convert(read_table(renamed))
    except DataError:
        return
    assert columns.n_rows == len(cells[0])


# --------------------------------------------------------------------------- real tables


@pytest.mark.skipif(not DATA.is_dir(), reason="the real tables of ../shared/data are absent")
def test_real_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {
        ("bikeshare", "datetime"): Kind.DATETIME,
        ("sms", "text"): Kind.TEXT,
        ("movielens", "user"): Kind.CATEGORY,
        ("movielens", "item"): Kind.CATEGORY,
        ("spoken-digits", "audio"): Kind.AUDIO,
        ("indoor-movement", "rss_1"): Kind.SEQUENCE,
        ("hypothyroid", "TBG"): Kind.CONSTANT,
        ("california", "ocean_proximity"): Kind.CATEGORY,
        ("telco", "TotalCharges"): Kind.NUMERIC,
        ("letter", "xbox"): Kind.NUMERIC,
    }
    for notes in sorted(DATA.glob("*/meta.json")):
        meta = json.loads(notes.read_text())
        (train,) = notes.parent.glob("train.*")
        (test,) = notes.parent.glob("test.*")
        monkeypatch.chdir(notes.parent)  # files are named relative to the folder
        data = prepare(train, target=meta["target"])
        schema = infer(data.table, {})
        fitted = schema.convert(data.table)
        new = schema.convert(read_table(test))
        assert fitted.columns == new.columns
        assert not any(c.kind is Kind.ID for c in schema.columns), train
        for column in schema.columns:
            wanted = expected.pop((notes.parent.name, column.name), column.kind)
            assert column.kind is wanted, (train, column)
    assert not expected
