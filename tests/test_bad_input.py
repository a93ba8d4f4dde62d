"""Bad input, through ``fit`` and ``predict``: it works, or an error of ours names the mend."""

import logging

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import automl_fuse
from automl_fuse import Settings
from automl_fuse.errors import (
    AutoFuseError,
    DataError,
    MetricError,
    RunError,
    TargetError,
)

QUICK = Settings(
    compressors=(),
    executor="inline",
    learners=("linear",),
    fusions=("average",),
    folds=2,
    max_trials=1,
    progress=False,
)
N = 60


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(logging.getLogger("automl_fuse"), "disabled", True)


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=N),
            "town": rng.choice(["Bath", "York", "Hull"], N),
            "old": rng.choice([True, False], N),
            "day": pd.date_range("2024-01-01", periods=N),
        }
    )
    return frame.assign(price=3 * frame["size"] + (frame["town"] == "York"))


def fit(frame, target="price", **options):
    return automl_fuse.fit(frame, target=target, time_limit=60, settings=QUICK, **options)


def predicts(model, frame):
    values = model.predict(frame)
    return len(values) == len(frame) and bool(np.isfinite(values).all())


# --------------------------------------------------------------------------- the target


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (np.full(N, np.nan), "missing"),
        (np.full(N, 2.5), "2.5"),
        (np.where(np.arange(N) == 7, np.inf, 1.5 * np.arange(N)), "row 7"),
        (np.array([{"a": 1}] * N, dtype=object), "price"),
        ([f"customer {i}" for i in range(N)], "price"),
    ],
)
def test_targets_that_cannot_be_learned(target, words):
    with pytest.raises(DataError, match=words):
        fit(table().assign(price=target))


def test_a_misspelt_target_is_answered_with_near_names():
    with pytest.raises(TargetError, match="'price'"):
        fit(table(), target="prise")


def test_neither_or_both_targets():
    with pytest.raises(TargetError, match="no target"):
        automl_fuse.fit(table(), settings=QUICK)
    with pytest.raises(TargetError, match="not both"):
        automl_fuse.fit(table(), table()["price"], target="price", settings=QUICK)
    with pytest.raises(TargetError, match="3 values"):
        automl_fuse.fit(table(), [1, 2, 3], settings=QUICK)


def test_rows_without_a_target_are_left_out_and_reported():
    frame = table()
    frame.loc[[3, 5], "price"] = np.nan
    model = fit(frame)
    assert model.report["rows"] == N - 2
    assert any("2 rows without a target" in note for note in model.report["warnings"])


# --------------------------------------------------------------------------- the columns


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.set_axis(["a", "a", "old", "day", "price"], axis=1), "'a'"),
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: t.iloc[:1], "one row"),
        (lambda t: t[["price"]], "column"),
        (lambda t: t.assign(town=[{"name": "Bath"}] * N), "town"),
        (lambda t: t[["price"]].assign(same=1, empty=None), "same"),
    ],
)
def test_tables_that_cannot_be_used(change, words):
    with pytest.raises(DataError, match=words):
        fit(change(table()))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.rename(columns={"size": 0, "town": 1}),
        lambda t: t.assign(mixed=[1, "two", None, 4.0] * (N // 4)),
        lambda t: t.assign(empty=None),
        lambda t: t.assign(same="x"),
        lambda t: t.assign(size=np.where(t.index == 4, np.inf, t["size"])),
        lambda t: t.assign(town=[f"town {i % 29}" for i in range(N)]),
        lambda t: t.assign(town=t["town"].astype("category")),
        lambda t: t.assign(town=None, old=None),
        lambda t: t.assign(row=[f"id-{i}" for i in range(N)]),
        lambda t: t.assign(size=t["size"].astype("Float64")),
        lambda t: t.rename(columns={"size": 'a [b] <c>, "d" {e}', "town": "größe 😀"}),
    ],
)
def test_odd_tables_that_work(change):
    frame = change(table())
    model = fit(frame)
    assert predicts(model, frame)
    assert predicts(model, frame.iloc[:1])


def test_a_hundred_thousand_categories():
    n = 200_000
    rng = np.random.default_rng(0)
    code = rng.integers(0, 100_000, n)
    frame = {"code": np.char.add("c", code.astype(str)), "size": rng.normal(size=n)}
    model = automl_fuse.fit(frame, frame["size"] + code % 2, time_limit=120, settings=QUICK)
    assert predicts(model, {"code": np.array(["c1", "never"]), "size": np.array([0.0, 1.0])})


# --------------------------------------------------------------------------- weights and metrics


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.where(np.arange(N) == 3, -1.0, 1.0), "row 3"),
        (np.zeros(N), "zero"),
        (np.where(np.arange(N) == 3, np.nan, 1.0), "row 3"),
        (np.ones(N - 1), "59"),
        ("wait", "wait"),
    ],
)
def test_weights_that_cannot_be_used(weights, words):
    with pytest.raises(DataError, match=words):
        fit(table(), sample_weight=weights)


def test_metrics_that_cannot_be_used():
    with pytest.raises(MetricError, match="roc_auc"):
        fit(table(), metric="roc_auc")
    with pytest.raises(MetricError, match="'rmse'"):
        fit(table(), metric="rmsa")


# --------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "train.csv"),
        (b"<!DOCTYPE html><html><body>not found</body></html>", "train.csv"),
        (b"", "train.csv"),
        (b"a,b\n1,2,3\n4\n", "train.csv"),
    ],
)
def test_files_that_are_no_csv(tmp_path, content, words):
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        automl_fuse.fit(tmp_path / "train.csv", target="a", settings=QUICK)


def test_paths_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path, tmp_path / "model.xyz"):
        with pytest.raises(DataError, match=path.name):
            automl_fuse.fit(path, target="a", settings=QUICK)


def test_a_run_directory_in_use(tmp_path):
    with FileLock(tmp_path / "lock"), pytest.raises(RunError, match="in use"):
        automl_fuse.fit(
            table(), target="price", settings=Settings(output=str(tmp_path), progress=False)
        )


# --------------------------------------------------------------------------- predicting


@pytest.fixture(scope="module")
def model():
    return fit(table())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns=["size", "day"]), "'day'"),
        (lambda t: t.assign(size="large"), "size"),
        (lambda t: t.assign(day="yesterday"), "day"),
        (lambda t: t.assign(old="perhaps"), "old"),
    ],
)
def test_rows_that_cannot_be_predicted(model, change, words):
    with pytest.raises(DataError, match=words):
        model.predict(change(table()))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.assign(extra=1),
        lambda t: t[t.columns[::-1]],
        lambda t: t.assign(size=t["size"].astype(str)),
        lambda t: t.assign(day=t["day"].astype(str)),
        lambda t: t.assign(town="Paris"),
        lambda t: t.assign(town=None, size=None, old=None, day=None),
        lambda t: t.assign(size=-np.inf),
        lambda t: t.iloc[:0],
    ],
)
def test_odd_rows_that_are_predicted(model, change):
    assert predicts(model, change(table()))


def test_retyped_columns_predict_the_same(model):
    frame = table()
    expected = model.predict(frame)
    retyped = frame.assign(size=frame["size"].map(repr), day=frame["day"].astype(str))
    assert (model.predict(retyped) == expected).all()
    assert (model.predict(frame.to_dict("list")) == expected).all()
    assert (model.predict(frame.to_dict("records")) == expected).all()


def test_evaluating_needs_a_known_target(model):
    with pytest.raises(DataError, match="price"):
        model.evaluate(table().drop(columns="price"))


# --------------------------------------------------------------------------- anything

COLUMN = st.one_of(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=12, max_size=12),
    st.lists(st.sampled_from(["a", "b", "c c c", "", None]), min_size=12, max_size=12),
    st.lists(st.one_of(st.booleans(), st.none()), min_size=12, max_size=12),
    st.lists(st.integers(-(2**70), 2**70), min_size=12, max_size=12),
    st.lists(st.datetimes(), min_size=12, max_size=12),
    st.lists(st.one_of(st.integers(), st.text(max_size=3)), min_size=12, max_size=12),
)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(columns=st.lists(COLUMN, min_size=1, max_size=3), target=COLUMN)
def test_any_frame_is_fitted_and_predicted_or_refused_in_our_words(columns, target):
    frame = {f"c{i}": column for i, column in enumerate(columns)}
    try:
        model = automl_fuse.fit(frame, target, time_limit=60, settings=QUICK)
    except AutoFuseError:
        return
    assert len(model.predict(frame)) == 12
