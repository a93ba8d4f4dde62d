"""Few rows of plain cells are read without a table, and to the last bit as through one."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import polars as pl
import pytest
from handmade import ROWS, SETTINGS, Handmade, handmade, reference_feeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automl_fuse.artefact import feeding
from automl_fuse.artefact.feeding import Feeder
from automl_fuse.artefact.loading import open_bytes
from automl_fuse.artefact.manifest import Input, Prepared
from automl_fuse.schema import Schema
from automl_fuse.specs import Column, Kind


def undated() -> Handmade:
    """Return a pipeline whose columns are all of kinds with plain cells: no dates."""
    made = handmade()
    (joined,) = [each for each in made.model.graph.input if each.name == "joined"]
    joined.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    feeds = reference_feeds()
    feeds["joined"] = np.array([[0.5], [np.nan], [-3.0], [2.0], [1e6], [7.0]])
    session = onnxruntime.InferenceSession(
        made.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    label, probabilities = session.run(["label", "probabilities"], feeds)
    made.manifest["schema"]["columns"][2]["kind"] = "numeric"
    made.manifest["inputs"][2] |= {"kind": "numeric", "type": "double", "missing": None}
    made.manifest["golden"] = {
        "columns": {**ROWS, "joined": [0.5, None, -3.0, 2.0, 1e6, 7.0]},
        "label": label.tolist(),
        "probabilities": probabilities.tolist(),
    }
    return made


UNDATED = undated()


def few_forms(rows: dict[str, list[Any]]) -> dict[str, Any]:
    records = [dict(zip(rows, cells, strict=True)) for cells in zip(*rows.values(), strict=True)]
    frame = pd.DataFrame(rows)
    return {
        "list of dicts": records,
        "pandas": frame,
        "pandas, objects": pd.DataFrame(rows, dtype=object),
        "pandas, categorical": frame.assign(colour=frame["colour"].astype("category")),
        "pandas, other columns and order": frame[frame.columns[::-1]].assign(other=[{}] * 5),
        "polars": pl.DataFrame(rows),
    }


@pytest.mark.parametrize("form", sorted(few_forms(dict.fromkeys(ROWS, [None] * 5))))
def test_few_rows_of_plain_cells_are_read_without_a_table(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    pipeline = open_bytes(UNDATED.content())
    golden = pipeline.manifest.golden
    rows = {
        name: [*cells[:3], *cells[4:]]  # 1e300 is no plain number, mauve no known category
        for name, cells in golden.columns.items()
    }
    expected = np.delete(golden.prediction, 3, axis=0)
    monkeypatch.setattr(feeding, "read_table", None)
    data = few_forms(rows)[form]
    assert np.allclose(pipeline.predict_proba(data), expected, rtol=0, atol=1e-15)
    for i in range(len(expected)):
        cells = {name: values[i] for name, values in rows.items()}
        for one in (data[i : i + 1], cells):
            assert np.allclose(pipeline.predict_proba(one), expected[[i]], rtol=0, atol=1e-15)


COLUMNS = (
    Column(name="size", kind=Kind.NUMERIC, reason=""),
    Column(name="count", kind=Kind.NUMERIC, reason=""),
    Column(name="vip", kind=Kind.BOOLEAN, reason=""),
    Column(name="colour", kind=Kind.CATEGORY, reason="", categories=("", "blue", "red")),
    Column(name="code", kind=Kind.CATEGORY, reason="", categories=("1", "2.5", "True", "nan")),
    Column(name="title", kind=Kind.TEXT, reason=""),
    Column(name="words", kind=Kind.TEXT, reason=""),
)


def feeder() -> Feeder:
    """Return a feeder of two numbers, a flag, two categories and two texts, one prepared."""
    gaps = {"colour": "<>", "code": "", "title": ""}
    inputs = tuple(
        Input(
            name=f"in {column.name}",
            column=column,
            type="string" if column.name in gaps else "double",
            missing=gaps.get(column.name),
            unseen="<unseen>" if column.kind is Kind.CATEGORY else "",
        )
        for column in COLUMNS[:-1]
    )
    step = {"kind": "term_weights", "column": "words", "settings": SETTINGS, "width": 3}
    prepared = (Prepared(name="weights", column=COLUMNS[-1], step=step, width=3),)
    manifest = open_bytes(UNDATED.content()).manifest
    return Feeder(replace(manifest, schema=Schema(COLUMNS), inputs=inputs, prepared=prepared))


FEEDER = feeder()

NUMBERS = [0, 1, -7, 0.5, -0.0, 1.5, 1e-300, 1e300, 2**53 - 1, 2**53, 2**60 + 1]
TEXTS = ["", "red", "blue", "1", "1.0", "2.5", "True", "nan", "mauve", "good, bad", "<unseen>"]
GAPS = [None, np.nan, pd.NA, pd.NaT]
ODD = [
    True, False, np.True_, np.float32(0.1), np.int64(3), np.float64(-0.0), np.str_("red"),
    np.int64(-(2**63)), float("inf"), 10**400, Decimal("1.5"), b"red", [1.0], {}, 1j,
    dt.date(2024, 1, 31), pd.Timestamp("2024-01-31", tz="UTC"), dt.timedelta(1),
]  # fmt: skip


def column_of(dtype: Any, *cells: Any) -> Any:
    """Return a strategy for a column of some rows: a pandas series of a type."""

    def of(n_rows: int) -> st.SearchStrategy[pd.Series]:
        drawn = st.lists(st.sampled_from(cells), min_size=n_rows, max_size=n_rows)
        return drawn.map(lambda values: pd.Series(values, dtype=dtype))

    return of


PLAIN_NUMBERS = [
    column_of("float64", 0.0, -7.5, 1e-300, np.nan),
    column_of("float32", 0.0, 0.1, np.nan),
    column_of("int64", 0, 1, -7, 2**53 - 1),
    column_of("uint8", 0, 255),
    column_of("Int64", 0, 1),
    column_of("category", 1, 2.5, None),
    column_of(object, 1, 2.5, None, np.nan, np.float32(0.1), np.int64(3)),
]
PLAIN_FLAGS = [
    column_of("bool", True, False),
    column_of("int8", 0, 1),
    column_of("category", True, False, None),
    column_of(object, True, False, 0.0, 1, None, np.nan, np.False_),
]


def plain_texts(*texts: str) -> list[Any]:
    gaps = [None, np.nan]
    return [column_of(dtype, *texts, *gaps) for dtype in ("str", "category", object)]


PLAIN_OF = {
    "size": PLAIN_NUMBERS,
    "count": PLAIN_NUMBERS,
    "vip": PLAIN_FLAGS,
    "colour": plain_texts(*COLUMNS[3].categories),
    "code": plain_texts(*COLUMNS[4].categories),
    "title": plain_texts(*TEXTS),
    "words": plain_texts(*TEXTS),
}
ANY = [
    column_of(object, *NUMBERS, *GAPS),
    column_of(object, *TEXTS, *GAPS),
    column_of(object, *NUMBERS, *TEXTS, *GAPS, *ODD),
    column_of("category", *NUMBERS, None),
    column_of("category", *TEXTS, None),
    column_of("float64", *NUMBERS, np.nan, np.inf),
    column_of("float16", 0.1, -0.0, np.nan),
    column_of("uint64", 0, 2**53, 2**64 - 1),
    column_of("Float64", 0.5, -0.0, pd.NA),
    column_of("Int64", 0, 2**60 + 1, pd.NA),
    column_of("boolean", True, False, pd.NA),
    column_of("string", *TEXTS, pd.NA),
    column_of("datetime64[ns]", pd.Timestamp("2024-01-31"), pd.NaT),
    column_of(pd.SparseDtype("float64"), 0.0, -0.0, 2.5, np.nan),
    column_of("double[pyarrow]", 0.5, None),
    column_of("string[pyarrow]", *TEXTS, None),
    column_of("complex128", 1j, 1.0),
]


@st.composite
def few(draw: st.DrawFn, *, plain: bool) -> pd.DataFrame:
    """Draw a frame of 1 to 9 rows: of plain cells, or with columns of any kind among them."""
    n_rows = draw(st.integers(1, 8 if plain else 9))
    columns = {}
    for name, ways in PLAIN_OF.items():
        odd = not plain and draw(st.integers(0, 3)) == 0
        columns[name] = draw(draw(st.sampled_from(ANY if odd else ways))(n_rows))
    others = ["more", "Size"] if plain else ["more", 3, np.str_("more"), None, ("size",)]
    for name in draw(st.lists(st.sampled_from(others), unique=True, max_size=2)):
        columns[name] = draw(draw(st.sampled_from(PLAIN_NUMBERS if plain else ANY))(n_rows))
    names = draw(st.permutations(list(columns)))
    if not plain:
        names = names[draw(st.sampled_from([0, 0, 0, 1])) :]
    return pd.DataFrame({name: columns[name] for name in names})


def in_form(frame: pd.DataFrame, form: str) -> Any:
    if form == "pandas":
        return frame
    records = [
        dict(zip(frame.columns.tolist(), cells, strict=True))
        for cells in frame.to_numpy(dtype=object).tolist()
    ]
    return records if form == "dicts" else records[0]


def through_a_table(data: Any) -> dict[str, Any]:
    columns = FEEDER.columns(data)
    return FEEDER.feeds(columns, slice(0, columns.n_rows))


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        assert found[name].shape == values.shape, name
        assert found[name].flags.c_contiguous
        if values.dtype == object:
            assert found[name].tolist() == values.tolist(), name
            assert {type(cell) for cell in found[name].flat} == {str}
        else:
            assert np.array_equal(found[name], values, equal_nan=True), name
            real = ~np.isnan(values)
            assert np.array_equal(np.signbit(found[name][real]), np.signbit(values[real])), name


FORMS = st.sampled_from(["pandas", "dicts", "dict"])
WRITTEN = ["29.85", "7", "-0", "-12.50", " ", "", "NA", "?", "nan", "007", "999999999999999.125"]
UNPLAIN = ["1e3", " 7", "1_000", "inf", "7.", "+7", "1" * 20, "\u0661", "seven", "0x1f"]


@pytest.mark.parametrize("text", WRITTEN)
def test_a_number_that_is_written_out_is_plain_in_a_row_alone(text: str) -> None:
    for form in ("pandas", "dicts", "dict"):
        data = in_form(pd.DataFrame([{**PLAIN_ROW, "size": text}]), form)
        found = FEEDER.few(data)
        assert found is not None
        assert_same(found, through_a_table(data))
    assert FEEDER.few(pd.DataFrame([{**PLAIN_ROW, "size": text}] * 2)) is None


@pytest.mark.parametrize("text", UNPLAIN)
def test_other_texts_for_numbers_are_left_to_the_way_through_a_table(text: str) -> None:
    assert FEEDER.few({**PLAIN_ROW, "size": text}) is None


MANY_EXAMPLES = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@MANY_EXAMPLES
@given(few(plain=True), FORMS)
def test_plain_cells_need_no_table_and_give_the_same(frame: pd.DataFrame, form: str) -> None:
    data = in_form(frame, form)
    found = FEEDER.few(data)
    assert found is not None
    assert_same(found, through_a_table(data))


@MANY_EXAMPLES
@given(few(plain=False), FORMS)
def test_other_cells_are_left_to_the_way_through_a_table(frame: pd.DataFrame, form: str) -> None:
    data = in_form(frame, form)
    found = FEEDER.few(data)
    if found is not None:
        assert_same(found, through_a_table(data))


PLAIN_ROW = {
    "size": 1.5, "count": 2, "vip": True, "colour": "red", "code": "1", "title": "Dr", "words": "",
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"size": -0.0}, {"size": 2**53}, {"size": 10**400}, {"size": True}, {"size": "1,5"},
        {"size": np.inf}, {"size": Decimal("1.5")}, {"vip": 2}, {"vip": 0.5}, {"vip": "yes"},
        {"colour": "mauve"}, {"colour": 1}, {"colour": np.str_("red")}, {"code": True},
        {"title": 3}, {"words": pd.NA}, {"more": [1, 2]}, {1: 0}, {None: 0},
    ],
    ids=str,
)  # fmt: skip
def test_cells_that_are_not_plain_are_left_to_the_way_through_a_table(
    change: dict[Any, Any],
) -> None:
    assert FEEDER.few(PLAIN_ROW) is not None
    assert FEEDER.few({**PLAIN_ROW, **change}) is None
    assert FEEDER.few(PLAIN_ROW) is not None


def test_few_rows_are_few() -> None:
    frame = pd.DataFrame([PLAIN_ROW] * 9)
    assert FEEDER.few(frame) is None
    assert FEEDER.few(frame.iloc[:0]) is None
    assert FEEDER.few([PLAIN_ROW] * 9) is None
    assert len(FEEDER.few(frame.iloc[1:])["weights"]) == 8
    assert FEEDER.few(frame.iloc[1:, [0, 0, 1, 2, 3, 4, 5, 6]]) is None
    assert FEEDER.few([PLAIN_ROW, dict(reversed(PLAIN_ROW.items()))]) is None
