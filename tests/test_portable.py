"""A pipeline loaded from a portable file predicts, whatever form its rows have."""

from __future__ import annotations

import datetime as dt
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from handmade import CLASSES, ROWS, handmade, run_graph
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error

from automl_fuse.artefact.loading import open_bytes
from automl_fuse.artefact.portable import CHUNK_ROWS
from automl_fuse.artefact.timing import time_graph, time_predict
from automl_fuse.errors import (
    ArtefactError,
    DataError,
    MissingDependencyError,
    SettingsError,
    TargetError,
)
from automl_fuse.runtime import open_session, own_values
from automl_fuse.table import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from automl_fuse.artefact import PortablePipeline

READ = ("age", "vip", "joined", "colour", "words", "title")


@pytest.fixture(scope="module")
def pipeline() -> PortablePipeline:
    return open_bytes(handmade().content())


def many_rows(n_rows: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "age": np.where(rng.random(n_rows) < 0.1, np.nan, rng.normal(30, 20, n_rows)),
        "vip": rng.random(n_rows) < 0.5,
        "joined": np.datetime64("2020-01-01", "us") + rng.integers(0, 10**14, n_rows),
        "colour": rng.choice(["red", "green", "blue", "mauve", None], n_rows).astype(object),
        "words": rng.choice(["good", "Bad and fine", "", None], n_rows).astype(object),
        "title": rng.choice(["Dr", "Mr", None], n_rows).astype(object),
    }


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_it_predicts_what_the_graph_computes(task: str) -> None:
    made = handmade(task)
    pipeline = open_bytes(made.content())
    expected = dict(zip([each.name for each in made.model.graph.output], run_graph(made.model)))  # noqa: B905
    if task == "regression":
        assert np.array_equal(pipeline.predict(ROWS), expected["value"])
        assert pipeline.classes_ is None
        with pytest.raises(SettingsError, match="use predict"):
            pipeline.predict_proba(ROWS)
    else:
        assert pipeline.predict(ROWS).tolist() == expected["label"].tolist()
        assert np.array_equal(pipeline.predict_proba(ROWS), expected["probabilities"])


@pytest.mark.parametrize("dtype", sorted(CLASSES))
def test_labels_are_of_the_type_of_the_target(dtype: str) -> None:
    pipeline = open_bytes(handmade("binary", dtype).content())
    labels = pipeline.predict(ROWS)
    expected = {"str": object, "int": np.int64, "float": np.float64, "bool": np.bool_}[dtype]
    assert labels.dtype == pipeline.classes_.dtype == expected
    assert set(labels.tolist()) == set(CLASSES[dtype])
    none = pipeline.predict({name: [] for name in READ})
    assert none.dtype == labels.dtype
    assert none.shape == (0,)


def frames() -> dict[str, Any]:
    rows = [dict(zip(ROWS, cells, strict=True)) for cells in zip(*ROWS.values(), strict=True)]
    frame = pd.DataFrame(ROWS)
    dates = pd.to_datetime(frame["joined"], format="ISO8601")
    return {
        "dict of columns": ROWS,
        "dict of arrays": {name: np.array(cells, dtype=object) for name, cells in ROWS.items()},
        "list of dicts": rows,
        "pandas": frame,
        "pandas, dates": frame.assign(joined=dates),
        "pandas, categorical": frame.assign(colour=frame["colour"].astype("category")),
        "polars": pl.DataFrame(ROWS),
        "polars, dates": pl.DataFrame(ROWS).with_columns(pl.from_pandas(dates).alias("joined")),
        "arrow": pa.table(ROWS),
        "other columns and order": frame[frame.columns[::-1]].assign(other=[{}] * 6),
    }


@pytest.mark.parametrize("form", sorted(frames()))
def test_any_form_of_table_gives_the_same(pipeline: PortablePipeline, form: str) -> None:
    data = frames()[form]
    assert np.array_equal(pipeline.predict_proba(data), pipeline.manifest.golden.prediction)


def test_a_dict_of_single_values_is_one_row(pipeline: PortablePipeline) -> None:
    expected = pipeline.predict_proba(ROWS)
    for i in range(len(expected)):
        row = {name: cells[i] for name, cells in ROWS.items()}
        assert np.array_equal(pipeline.predict_proba(row), expected[[i]])
    typed = {
        "age": np.float32(30.5),
        "vip": np.True_,
        "joined": dt.datetime(2024, 1, 31, tzinfo=dt.UTC),
        "colour": np.str_("red"),
        "words": "good good bad",
        "title": "Dr",
    }
    assert np.array_equal(pipeline.predict_proba(typed), expected[[0]])


def test_a_row_alone_gives_what_it_gives_among_many(pipeline: PortablePipeline) -> None:
    rows = many_rows(2 * CHUNK_ROWS + 7)
    whole = pipeline.predict_proba(rows)
    assert whole.shape == (2 * CHUNK_ROWS + 7, 2)
    for i in (0, CHUNK_ROWS - 1, CHUNK_ROWS, 2 * CHUNK_ROWS, 2 * CHUNK_ROWS + 6):
        row = {name: cells[[i]] for name, cells in rows.items()}
        assert np.allclose(pipeline.predict_proba(row), whole[[i]], rtol=0, atol=1e-15)
        assert pipeline.predict(row) == pipeline.predict(rows)[i]


def test_threads_change_nothing(tmp_path: Path) -> None:
    content = handmade().content()
    one, two, all_there_are = (open_bytes(content, threads=n) for n in (1, 2, None))
    rows = many_rows(2 * CHUNK_ROWS + 7)
    expected = one.predict_proba(rows)
    for other in (two, all_there_are):
        assert np.array_equal(other.predict_proba(rows), expected)
        assert np.array_equal(other.predict(rows), one.predict(rows))
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: one.predict_proba(rows), range(8)):
            assert np.array_equal(found, expected)


def test_only_the_columns_that_are_read_are_needed(pipeline: PortablePipeline) -> None:
    assert pipeline.columns_read_ == READ
    assert pipeline.feature_names_in_ == (*READ, "spare", "row")
    data = {name: ROWS[name] for name in READ}
    assert np.array_equal(pipeline.predict_proba(data), pipeline.predict_proba(ROWS))
    with pytest.raises(DataError, match=r"'colour', 'title'.*did you mean 'color'"):
        pipeline.predict(
            {"color": data.pop("colour"), **{n: c for n, c in data.items() if n != "title"}}
        )


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("age", "old", "column 'age', row 0: a number was expected"),
        ("joined", "31.01.2024", "column 'joined', row 0: a date"),
        ("vip", 3, "column 'vip', row 0: true or false"),
    ],
)
def test_values_of_another_kind_are_named(
    pipeline: PortablePipeline, column: str, value: Any, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        pipeline.predict({name: cells[0] for name, cells in ROWS.items()} | {column: value})


def test_rows_without_a_finite_prediction_are_refused() -> None:
    made = handmade("regression")
    clip = made.node("Clip")
    clip.op_type, clip.input[1], clip.input[2] = "Sum", clip.input[0], clip.input[0]
    rows = {name: cells[:1] for name, cells in ROWS.items()}
    made.manifest["golden"]["columns"] = rows
    made.manifest["golden"]["value"] = run_graph(made.model)[0][:1].tolist()
    pipeline = open_bytes(made.content())
    with pytest.raises(DataError, match="Row 1 has no finite prediction"):
        pipeline.predict({**{n: cells * 2 for n, cells in rows.items()}, "age": [1.0, 1.7e308]})


# ------------------------------------------------------------------ CSV with and without pandas

CELLS = {
    "age": ["1", " 2.50", "", "NA", "1e3", "-0", "1.7976931348623157e308", "0.1234567890123456789"],
    "vip": ["True", "FALSE", "", "true", "False", "TRUE", "NaN", "True"],
    "joined": ["2024-01-31", "", "1999-12-31 23:59:59.5", "NaT", "", "2024-02-29T01:02:03Z",
               "", "2024-01-31"],
    "colour": ["red", "green", "NULL", " red", "mauve", "None", "blue", "nan"],
    "words": ["good, bad", 'a "fine" day', "line\nbreak good", "", "n/a", "bad", "BAD", "good"],
    "title": ["Dr", "Prof", "", "<NA>", "Mr", "Dr", "0", "1"],
    "spare": ["1"] * 8,
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("blank", ["", "\n", " \n"])
def test_csv_is_read_alike_with_and_without_pandas(
    pipeline: PortablePipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    blank: str,
) -> None:
    path = tmp_path / f"rows{suffix}"
    frame = pd.DataFrame(CELLS)
    frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    path.write_text("\ufeff" + path.read_text() + blank, encoding="utf-8")
    with_pandas, table = pipeline.predict_proba(path), read_table(path)
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert np.array_equal(pipeline.predict_proba(path), with_pandas)
    plain = read_table(path)
    assert plain.names == table.names
    for name, values in table.columns.items():
        assert plain.columns[name].dtype == values.dtype
        assert [_comparable(v) for v in plain.columns[name]] == [_comparable(v) for v in values]


def _comparable(cell: Any) -> Any:
    return None if cell is None or cell != cell else cell


@pytest.mark.parametrize(
    "cells",
    [
        ["1", "2"], ["1", "x"], ["01", "2"], ["1_0", "2"], ["٣", "2"], ["+nan", "1"], ["inf", "1"],
        ["Infinity", "-INF"], ["0x1", "2"], ["1.", ".5"], ["1e5", "1E+5"], ["1e", "2"],
        ["True", "false"], ["True", "1"], ["yes", "no"], ["true ", "false"], ["True", ""],
        ["", ""], ["NA", "-nan"], ["#N/A N/A", "1.#IND"], ["-", "1"], ["99999999999999999999", "1"],
        ["12345678901234567", "2"], [" 1 ", "2"], ["1 2", "3"], ["1,5", "2"], ["None", "x"],
    ],
    ids=str,
)  # fmt: skip
def test_types_are_inferred_as_pandas_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: list[str]
) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("a,b\n" + "".join(f'"{cell}",x\n' for cell in cells), encoding="utf-8")
    expected = read_table(path).columns["a"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    found = read_table(path).columns["a"]
    assert found.dtype == expected.dtype
    assert [_comparable(cell) for cell in found] == [_comparable(cell) for cell in expected]


def test_missing_texts_are_those_of_pandas() -> None:
    from pandas._libs.parsers import STR_NA_VALUES

    from automl_fuse.table.delimited import MISSING_TEXTS

    assert MISSING_TEXTS == STR_NA_VALUES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3\n", "line 3 has 1 values, the header 2"),
        ("a,b\n1,2\n3,4,5\n", "cannot be read|line 3 has 3 values"),
        ("a,a\n1,2\n", "'a' occurs 2 times"),
        ('a,b\n1,"2\n', "cannot be read as CSV"),
        ("", "empty"),
    ],
)
@pytest.mark.parametrize("pandas", [True, False])
def test_csv_that_is_none_is_refused_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str, pandas: bool
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    if not pandas:
        monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DataError, match=words):
        read_table(path)


def test_long_cells_and_gzip_are_read_without_pandas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.csv.gz"
    pd.DataFrame({"a": ["x" * 200_000, "y"], "b": [1, 2]}).to_csv(path, index=False)
    monkeypatch.setitem(sys.modules, "pandas", None)
    table = read_table(path)
    assert len(table.columns["a"][0]) == 200_000
    assert table.columns["b"].tolist() == [1.0, 2.0]


# ------------------------------------------------------------------ what else it can do


def test_evaluate_scores_labelled_rows(pipeline: PortablePipeline) -> None:
    rows = many_rows(300)
    truth = np.random.default_rng(1).choice(["no", "yes"], 300)
    scores = pipeline.evaluate({**rows, "bought": truth})
    assert scores == pipeline.evaluate(rows, truth)
    assert scores["accuracy"] == pytest.approx(accuracy_score(truth, pipeline.predict(rows)))
    assert scores["log_loss"] == pytest.approx(log_loss(truth, pipeline.predict_proba(rows)))
    some = np.where(np.arange(300) < 200, truth, None)
    known = {name: cells[:200] for name, cells in rows.items()}
    assert pipeline.evaluate({**rows, "bought": some}) == pipeline.evaluate(known, truth[:200])
    with pytest.raises(TargetError, match="'bought'"):
        pipeline.evaluate(rows)


def test_evaluate_scores_values() -> None:
    pipeline = open_bytes(handmade("regression").content())
    rows = many_rows(50)
    truth, weight = np.linspace(-3, 3, 50), np.linspace(1, 2, 50)
    scores = pipeline.evaluate(rows, truth, sample_weight=weight)
    predicted = pipeline.predict(rows)
    assert scores["mae"] == pytest.approx(
        mean_absolute_error(truth, predicted, sample_weight=weight)
    )


def test_it_tells_what_it_is(pipeline: PortablePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "bought" in repr(pipeline)
    assert pipeline.report["metric"] == "log_loss"
    assert pipeline.leaderboard()["member"].tolist() == ["t-0", "l-0"]
    assert "colour" in str(pipeline.schema)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="pandas"):
        pipeline.leaderboard()


def test_graph_inputs_are_what_the_graph_takes(pipeline: PortablePipeline) -> None:
    feeds = pipeline.graph_inputs(ROWS)
    shapes = {each.name: (6, each.shape[1]) for each in pipeline.session.get_inputs()}
    assert {name: values.shape for name, values in feeds.items()} == shapes
    direct = pipeline.session.run(["probabilities"], feeds)[0]
    assert np.array_equal(direct, pipeline.predict_proba(ROWS))


def test_values_of_the_runtime_give_the_same(pipeline: PortablePipeline) -> None:
    values = own_values(pipeline.graph_inputs(ROWS))
    found = pipeline.session.run_with_ort_values(["probabilities"], values)[0].numpy()
    assert np.array_equal(found, pipeline.predict_proba(ROWS))


def test_texts_are_the_same_as_values_of_the_runtime() -> None:
    texts = {
        "a": np.array([["", "Ünïcode ☃"], ["x" * 300, "\0"]], dtype=object),
        "b": np.array([["b"]], dtype=object),
        "c": np.arange(3.0),
    }
    for name, value in own_values(texts).items():
        assert value.numpy().tolist() == texts[name].tolist()


def test_a_graph_that_the_runtime_refuses_is_named() -> None:
    with pytest.raises(ArtefactError, match=r"onnxruntime .* refuses it"):
        open_session(b"nothing")


def test_batches_are_timed(pipeline: PortablePipeline) -> None:
    for timed in (time_graph, time_predict):
        speed = timed(pipeline, ROWS, 7)
        assert speed.rows == 7
        assert 0 < speed.p50_us <= speed.p99_us
        assert speed.rows_per_second == pytest.approx(7e6 / speed.p50_us)
    with pytest.raises(DataError, match="no row"):
        time_graph(pipeline, {name: [] for name in READ}, 1)
