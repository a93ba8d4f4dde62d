from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import automl_fuse_encoders
from automl_fuse.front_end import FrontEnd
from automl_fuse.graph import GraphBuilder
from automl_fuse.specs import (
    MISSING_CODE,
    UNSEEN_CODE,
    Array,
    Column,
    Columns,
    ExportableEncoder,
    FitContext,
    Floats,
    Kind,
    Task,
    Tensor,
)
from automl_fuse_encoders import arithmetic, dates, numeric, text

if TYPE_CHECKING:
    from pathlib import Path

SPECS = {spec.name: spec for spec in automl_fuse_encoders.automl_fuse_encoders()}
KINDS = {"f": Kind.NUMERIC, "i": Kind.CATEGORY, "M": Kind.DATETIME, "O": Kind.TEXT}
TYPES = {"f": "double", "i": "int64", "M": "int64", "O": "string"}
EXACT = {
    "numbers",
    "codes",
    "all_codes",
    "ordinals",
    "onehot",
    "counts",
    "target",
    "calendar",
    "words",
}
EXACT |= {"crosses", "arithmetic"}
"""Encoders whose features are the same to the last bit."""
FEW = {"isolation", "crosses", "arithmetic", "scaled_arithmetic"}
"""Encoders that may have one feature only."""
N_CATEGORIES = 9
DAY = np.timedelta64(1, "D")


class NoDeadline:
    def remaining(self) -> float:
        return 1e9

    def expired(self) -> bool:
        return False


class Portable(NamedTuple):
    """An encoder in a graph of its own, and the graph's builder and session."""

    builder: GraphBuilder
    model: Any
    session: Any

    def features(self, columns: Columns) -> Floats:
        feed = fed(columns, self.builder)
        read = {each.name for each in self.session.get_inputs()}
        outputs = self.session.run(None, {name: feed[name] for name in read})
        result: Floats = outputs[0]
        return result


def table(**columns: Array) -> Columns:
    """Build columns whose kind follows from the dtype: floats, int32 codes, dates, strings."""
    described = [
        Column(
            name=name,
            kind=KINDS[values.dtype.kind],
            reason="test",
            categories=tuple(f"v{i}" for i in range(N_CATEGORIES))
            if values.dtype.kind == "i"
            else (),
        )
        for name, values in columns.items()
    ]
    rows = len(next(iter(columns.values())))
    return Columns(columns=tuple(described), values=columns, n_rows=rows)


def texts(*values: str | None) -> Array:
    return np.array(values, dtype=object)


def targets(n_rows: int, n_classes: int = 2) -> Array:
    return np.random.default_rng(3).permutation(n_rows) % n_classes


def targets_for(name: str, columns: Columns, n_classes: int = 2) -> Array:
    """Return targets of which the encoders that choose their features find some."""
    values = columns.values
    if name == "crosses" and "rare" in values:
        return (values["letter"] + values["rare"]) % n_classes
    if name in {"arithmetic", "scaled_arithmetic"} and "flag" in values:
        return ((values["rounded"] < 0) ^ (values["flag"] == 1)).astype(np.int64)
    return targets(columns.n_rows, n_classes)


def fit(name: str, columns: Columns, task: Task = Task.BINARY) -> Any:
    context = FitContext(task=task, n_classes=3, seed=3, n_threads=1, deadline=NoDeadline())
    encoder = SPECS[name].build(context)
    y = targets_for(name, columns, 2 if task is Task.BINARY else 3)
    encoder.fit_transform(columns.select(SPECS[name].kinds), y, None)
    return encoder


def fed(columns: Columns, builder: GraphBuilder) -> dict[str, Array]:
    """Return what a graph is given for typed columns, each (n_rows, 1), and for the steps."""
    feed = {}
    for name, values in columns.values.items():
        if values.dtype.kind == "O":
            feed[name] = np.array([[value or ""] for value in values], dtype=object)
        else:
            feed[name] = values[:, None].astype("f8" if values.dtype.kind == "f" else "i8")
    return feed | FrontEnd(builder.steps)(columns.values)


def export(encoder: Any, columns: Columns) -> Portable:
    builder = GraphBuilder(reserved=columns.values)
    features = encoder.to_onnx(builder, {name: Tensor(name) for name in columns.values})
    inputs = {name: (TYPES[values.dtype.kind], 1) for name, values in columns.values.items()}
    inputs |= {name: ("double", step["width"]) for name, step in builder.steps.items()}
    model = builder.model(inputs, {"features": (features, "double")})
    checked = onnx.ModelProto()
    checked.CopyFrom(model)
    shape = checked.graph.output[0].type.tensor_type.shape
    del shape.dim[:]
    shape.dim.add().dim_param = "rows"
    shape.dim.add().dim_value = len(encoder.transform(columns).names)
    onnx.checker.check_model(checked, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        checked.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return Portable(builder, checked, session)


def check(name: str, encoder: Any, columns: Columns, *, alone: int = 3) -> Floats:
    """Compare a graph with ``transform``, in one batch and for single rows."""
    columns = columns.select(SPECS[name].kinds)
    expected = encoder.transform(columns).values
    if not expected.shape[1]:
        return expected
    portable = export(encoder, columns)
    features = portable.features(columns)
    assert features.shape == expected.shape
    assert features.dtype == np.float64
    if name in EXACT:
        np.testing.assert_array_equal(features, expected)
    else:
        np.testing.assert_allclose(features, expected, rtol=1e-12, atol=1e-13)
    for row in range(min(alone, columns.n_rows)):
        single = portable.features(columns.take(np.array([row])))
        np.testing.assert_allclose(single[0], features[row], rtol=1e-13, atol=1e-14)
    return features


def moments(rng: np.random.Generator, n_rows: int) -> Array:
    micros = rng.integers(-(10**15), 2 * 10**15, n_rows).astype("datetime64[us]")
    micros[rng.random(n_rows) < 0.2] = np.datetime64("NaT")
    return micros


def mixed(n_rows: int, seed: int = 0) -> Columns:
    """Build two or more columns of each kind; some of each have gaps."""
    rng = np.random.default_rng(seed)
    gappy = rng.normal(size=n_rows)
    gappy[rng.random(n_rows) < 0.3] = np.nan
    words = texts("free prize", "call me", "WIN 100£ now", "", "meeting at 5", None, "été naïve")
    return table(
        number=rng.exponential(size=n_rows),
        gappy=gappy,
        rounded=rng.normal(size=n_rows).astype(np.float32).astype(np.float64),
        flag=rng.integers(0, 2, n_rows).astype(np.float64),
        letter=rng.integers(-1, N_CATEGORIES, n_rows).astype(np.int32),
        rare=np.minimum(rng.geometric(0.5, n_rows) - 1, N_CATEGORIES - 1).astype(np.int32),
        full=rng.integers(0, 3, n_rows).astype(np.int32),
        date=moments(rng, n_rows),
        day=np.datetime64("1969-12-20", "us") + rng.integers(0, 40, n_rows) * DAY,
        message=rng.choice(words, n_rows),
        note=rng.choice(words, n_rows),
    )


def adversarial(train: Columns) -> Columns:
    """Change training rows into the worst that may come."""
    rng = np.random.default_rng(9)
    values: dict[str, Array] = {}
    turns = "NaT 0001-01-01 1582-10-04 1900-02-28 2000-02-29T12 2100-03-01 -0001-12-31 1970-01-01"
    ends = "1969-12-31T23:59:59.999999 9999-12-31T23:59:59.999999 -280000-01-01 280000-06-07"
    special = {
        "f": np.array([np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, -0.0, 1e7, 1e-7]),
        "i": np.array([MISSING_CODE, UNSEEN_CODE], dtype=np.int32),
        "M": np.array([*turns.split(), *ends.split()], dtype="datetime64[us]"),
        "O": texts("\ud800", "A" * 5000, "İ ß Ǆ", "free\x00prize", "\u2028 WIN\t100", None),
    }
    for name, column in train.values.items():
        values[name] = column.copy()
        rows = rng.random(len(column)) < 0.5
        values[name][rows] = rng.choice(special[column.dtype.kind], rows.sum())
    return Columns(columns=train.columns, values=values, n_rows=train.n_rows)


# ------------------------------------------------------------------ every encoder


@pytest.mark.parametrize("name", SPECS)
def test_graph_gives_the_same_features(name: str) -> None:
    train = mixed(150)
    encoder = fit(name, train)
    assert isinstance(encoder, ExportableEncoder)
    assert check(name, encoder, train, alone=30).shape[1] > 1 - (name in FEW)
    check(name, encoder, mixed(80, seed=1))
    check(name, encoder, adversarial(train), alone=60)
    restored = pickle.loads(pickle.dumps(encoder))
    check(name, restored, adversarial(train))


@pytest.mark.parametrize("name", sorted(set(SPECS) - {"onehot"}))
def test_graph_takes_no_rows(name: str) -> None:
    """Only onnxruntime's TfIdfVectorizer, in ``onehot``, refuses them."""
    train = mixed(150)
    encoder = fit(name, train)
    columns = train.select(SPECS[name].kinds)
    none = export(encoder, columns).features(columns.take(np.array([], dtype=int)))
    assert none.shape == (0, len(encoder.transform(columns).names))


@pytest.mark.parametrize("name", SPECS)
def test_what_was_not_fitted_is_not_read(name: str) -> None:
    """A graph reads the columns that features are made of, and text through steps only."""
    train = mixed(150)
    for column in ("number", "full", "day", "note"):
        values = train.values[column]
        values[:] = values[0]
    columns = train.select(SPECS[name].kinds)
    portable = export(fit(name, train), columns)
    read = {each.name for each in portable.session.get_inputs()} - set(portable.builder.steps)
    expected = {
        Kind.NUMERIC: {"gappy", "rounded", "flag"} | ({"number"} if name == "numbers" else set()),
        Kind.CATEGORY: {"letter", "rare"},
        Kind.DATETIME: {"date"},
        Kind.TEXT: set(),
    }
    if name in {"arithmetic", "scaled_arithmetic"}:
        expected[Kind.NUMERIC] = {name for each in fit(name, train).features for name in each[1:]}
    assert read == expected[columns.columns[0].kind]
    check(name, fit(name, train), mixed(50, seed=4))


def cells(kind: str) -> st.SearchStrategy[object]:
    number = st.one_of(
        st.floats(width=64),
        st.floats(width=32),
        st.sampled_from([0.0, 1.0, np.nan, np.inf, -np.inf]),
    )
    date = st.one_of(
        st.none(),
        st.integers(-(2**62), 2**62).map(lambda micros: np.datetime64(micros, "us")),
        st.integers(-(10**5), 10**5).map(lambda days: np.datetime64(days, "D")),
    )
    word = st.sampled_from(["win", "WIN", "a", "12", "!", "été"])
    message = st.one_of(st.none(), st.text(max_size=9), st.lists(word, max_size=6).map(" ".join))
    return {
        "number": number,
        "letter": st.integers(UNSEEN_CODE, N_CATEGORIES - 1),
        "date": date,
        "message": message,
    }[kind]


@st.composite
def any_table(draw: st.DrawFn) -> Columns:
    n_rows = draw(st.integers(2, 12))
    dtypes = {"number": "f8", "letter": "i4", "date": "datetime64[us]", "message": "O"}
    columns = {}
    for kind, dtype in dtypes.items():
        for name in (kind, f"{kind}2"):
            drawn = draw(st.lists(cells(kind), min_size=n_rows, max_size=n_rows))
            columns[name] = np.array(drawn, dtype=dtype)
    return table(**columns)


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(train=any_table(), new=any_table(), task=st.sampled_from(Task))
def test_graph_gives_the_same_features_for_any_table(
    train: Columns, new: Columns, task: Task
) -> None:
    for name in SPECS:
        encoder = fit(name, train, task)
        check(name, encoder, train, alone=1)
        check(name, encoder, new, alone=1)


# ------------------------------------------------------------------ categories


def test_positions_are_shared_by_encoders_and_folds() -> None:
    train = mixed(100).select(frozenset({Kind.CATEGORY}))
    builder = GraphBuilder(reserved=train.values)
    tensors = {name: Tensor(name) for name in train.values}
    names = ("codes", "all_codes", "ordinals", "counts", "target", "onehot")
    folds = [train.take(np.arange(0, 100, 2)), train.take(np.arange(1, 100, 2))]
    for fold in folds:
        for name in names:
            fit(name, fold).to_onnx(builder, tensors)
    counted = Counter(node.op_type for node in builder.nodes_)
    assert counted["Concat"] == counted["Add"] == 1


def test_target_of_several_classes() -> None:
    train = mixed(150)
    encoder = fit("target", train, Task.MULTICLASS)
    assert check("target", encoder, adversarial(train)).shape[1] == 9


def test_onehot_levels_that_share_a_feature_and_that_have_none() -> None:
    values = np.array([0, 0, 1, 1, 2, 3, MISSING_CODE, 4], dtype=np.int32)
    pair = np.array([0, 1] * 4, dtype=np.int32)
    encoder = fit("onehot", table(city=values, pair=pair))
    assert encoder.names == (
        "city=v0",
        "city=v1",
        "city=(infrequent)",
        "city=(missing)",
        "pair=v1",
    )
    every = np.arange(UNSEEN_CODE, N_CATEGORIES, dtype=np.int32)
    features = check("onehot", encoder, table(city=every, pair=every), alone=11)
    assert features[:, :4].argmax(axis=1).tolist() == [2, 3, 0, 1, 2, 2, 2, 2, 2, 2, 2]
    assert features[:, 4].tolist() == [0, 0, 0, 1, *[0] * 7]


def test_tables_are_kept_in_single_precision_if_that_is_exact() -> None:
    n_categories = 3000
    values = np.arange(n_categories, dtype=np.int32).repeat(2)
    categories = tuple(f"z{i}" for i in range(n_categories))
    column = Column(name="zip", kind=Kind.CATEGORY, reason="test", categories=categories)
    columns = Columns(columns=(column,), values={"zip": values}, n_rows=len(values))
    sizes = {}
    for name in ("ordinals", "counts"):
        encoder = fit(name, columns)
        check(name, encoder, columns)
        sizes[name] = export(encoder, columns).model.ByteSize()
    assert 4 * n_categories < sizes["ordinals"] < 5 * n_categories
    assert 8 * n_categories < sizes["counts"] < 9 * n_categories


# ------------------------------------------------------------------ numbers


def test_indicators_of_missing_values() -> None:
    gaps = np.array([1.0, np.nan, 2.0, 3.0, 4.0, 5.0])
    encoder = fit("scaled_numbers", table(a=gaps, b=np.array([1.0, 1, np.nan, 1, 1, 1])))
    assert encoder.names == ("a", "a (missing)", "b (missing)")
    new = np.array([np.inf, -np.inf, np.nan, 1e300, -1e300, 0.0])
    features = check("scaled_numbers", encoder, table(a=new, b=new), alone=6)
    assert features[:, 1:].tolist() == [[0, 0]] * 2 + [[1, 1]] + [[0, 0]] * 3
    only = fit("scaled_numbers", table(b=np.array([1.0, 1, np.nan, 1, 1, 1])))
    assert check("scaled_numbers", only, table(b=new))[:, 0].tolist() == [0, 0, 1, 0, 0, 0]


def test_scaled_numbers_are_cut_where_python_cuts_them() -> None:
    """The limit leaves its trace: squashed, it is less than 3 by 13 units of the last place."""
    encoder = fit("scaled_numbers", table(a=np.array([0.0, 1, 2, 3, 4])))
    far = 2 + 2 * numeric.FARTHEST * np.array([0.5, 1 - 1e-9, 1, 1 + 1e-9, 1e3, 1e200])
    check("scaled_numbers", encoder, table(a=np.concatenate([far, -far])), alone=12)


def test_isolation_on_thresholds_and_beyond_the_farthest() -> None:
    rng = np.random.default_rng(0)
    a = np.concatenate([rng.normal(size=60), [1e9, -1e9, np.inf]])
    b = rng.integers(0, 4, 63).astype(np.float64)
    encoder = fit("isolation", table(a=a, b=b))
    finite = np.unique(encoder.threshold[np.isfinite(encoder.threshold)])
    # Values that are scaled to the thresholds themselves, and their neighbours.
    exact = finite / encoder.scale.factor[0] + encoder.scale.centre[0]
    near = [exact, np.nextafter(exact, np.inf), np.nextafter(exact, -np.inf)]
    values = np.concatenate([*near, a, [np.nan, -np.inf, 1e300, 0.0]])
    check("isolation", encoder, table(a=values, b=rng.choice(b, len(values))))


def test_isolation_leaves_out_what_all_rows_pass() -> None:
    train = table(a=np.array([0.0, 1, 2, 3]), b=np.array([1.0, 2, 3, 5]))
    encoder = fit("isolation", train)
    forest = encoder._forest()
    assert len(forest.feature) == np.isfinite(encoder.threshold).sum() < encoder.threshold.size
    assert np.isfinite(forest.threshold).all()
    scores = np.exp(forest.sums(encoder.scale.apply(train)))
    np.testing.assert_allclose(scores, encoder.transform(train).values, rtol=1e-14)


def test_a_threshold_at_the_farthest_sends_none_right() -> None:
    encoder = fit("isolation", table(a=np.arange(9.0), b=np.arange(9.0) ** 2))
    encoder.threshold[:, 0] = numeric.FARTHEST
    beyond = np.array([0.0, 1e5, 1e9, np.inf, -np.inf, np.nan])
    check("isolation", encoder, table(a=beyond, b=beyond), alone=6)


def test_clusters_next_to_their_centres() -> None:
    train = table(a=np.array([0.0, 0, 1e3, 1e3]), b=np.array([0.0, 0, 5e-3, 5e-3]))
    encoder = fit("clusters", train)
    near = np.array([0.0, 1e-13, 1e-9, 1e3])
    check("clusters", encoder, table(a=near, b=np.zeros(4)), alone=4)


# ------------------------------------------------------------------ crosses and arithmetic


@pytest.mark.parametrize("task", Task)
def test_crosses_of_several_pairs(task: Task) -> None:
    train = mixed(1000).select(SPECS["crosses"].kinds)
    pairs = {("letter", "rare"), ("letter", "full"), ("rare", "full")}
    told = [(train.values[a] + train.values[b]) % 2 for a, b in sorted(pairs)]
    y = np.sum(told, axis=0) // 2
    context = FitContext(task=task, n_classes=3, seed=3, n_threads=1, deadline=NoDeadline())
    encoder: Any = SPECS["crosses"].build(context)
    encoder.fit_transform(train, y, None)
    assert {pair.columns for pair in encoder.pairs} == pairs
    codes = np.arange(UNSEEN_CODE, N_CATEGORIES, dtype=np.int32)
    first, second = np.meshgrid(codes, codes)
    every = table(letter=first.ravel(), rare=second.ravel(), full=first.T.ravel())
    check("crosses", encoder, every, alone=len(codes) ** 2)
    most = {"Add", "Concat", "Gather", "MatMul", "Flatten", "Cast"}
    nodes = Counter(node.op_type for node in export(encoder, train).model.graph.node)
    assert set(nodes) <= most
    assert max(nodes.values()) == 1


def test_every_operator_on_the_worst_numbers() -> None:
    rng = np.random.default_rng(0)
    worst = [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 2.2e-308, 1e-30, 0.1, 3.0, -7.0]
    worst += [2.0**53 + 2, 1e30, -1e30, np.nextafter(1e30, np.inf), 1e154, 1e308, -1.7e308]
    pairs = np.stack(np.meshgrid(worst, worst)).reshape(2, -1)
    random = rng.normal(size=(2, 3000)) * 10.0 ** rng.integers(-160, 160, (2, 3000))
    a, b = np.hstack([pairs, random])
    columns = table(a=a, b=b, c=b[::-1].copy())
    encoder = fit("arithmetic", table(a=np.arange(9.0), b=np.arange(9.0), c=np.arange(9.0)))
    ways = (("a", "b"), ("b", "a"), ("a", "c"))
    encoder.features = [
        arithmetic.Feature(operator, *way)
        for operator in ("Add", "Sub", "Mul", "Div")
        for way in ways
    ]
    encoder.names = tuple(str(number) for number in range(12))
    features = check("arithmetic", encoder, columns, alone=60)
    assert not np.isinf(features).any()
    assert np.isnan(features).mean() < 0.6
    operators = Counter(node.op_type for node in export(encoder, columns).model.graph.node)
    assert max(operators[each] for each in ("Add", "Sub", "Mul", "Div", "Where")) == 1


# ------------------------------------------------------------------ dates


def every_day(first: str, last: str) -> Array:
    """Return each day at its first and last microsecond, and at one between."""
    days = np.arange(np.datetime64(first, "D"), np.datetime64(last, "D")).astype("datetime64[us]")
    between = np.random.default_rng(0).integers(0, 86_400_000_000, len(days))
    last_one = np.timedelta64(86_399_999_999, "us")
    return np.concatenate([days, days + between.astype("timedelta64[us]"), days + last_one])


@pytest.mark.parametrize("name", ["calendar", "cyclic_calendar"])
def test_every_day_of_eight_centuries(name: str) -> None:
    train = table(date=mixed(300).values["date"])
    encoder = fit(name, train)
    cycles = [f"{cycle}.{of}" for of in ("sin", "cos") for cycle in dates.CYCLES]
    made = dates.PARTS if name == "calendar" else [*cycles, "elapsed"]
    assert encoder.names[: len(made)] == tuple(f"date.{part}" for part in made)
    check(name, encoder, table(date=every_day("1600-01-01", "2400-01-01")))


@pytest.mark.parametrize("name", ["calendar", "cyclic_calendar"])
def test_elapsed_time_and_gaps_of_two_dates_keep_their_order(name: str) -> None:
    """The first does not move, and has gaps; the second moves."""
    moments = np.array(["NaT", "1970-01-01", "1970-01-01"], dtype="datetime64[us]")
    train = table(first=moments, second=np.datetime64("1970-01-01", "us") + np.arange(3) * DAY)
    check(name, fit(name, train), train)


@pytest.mark.parametrize("name", ["calendar", "cyclic_calendar"])
def test_dates_before_christ_and_after_the_present_era(name: str) -> None:
    encoder = fit(name, table(date=mixed(300).values["date"]))
    for first, last in (("-0801-12-01", "-0798-03-01"), ("9999-01-01", "10001-01-01")):
        check(name, encoder, table(date=every_day(first, last)))


@pytest.mark.parametrize("part", dates.PARTS)
def test_each_part_alone(part: str) -> None:
    """Parts that do not vary in training leave tables of every combination."""
    encoder = fit("calendar", table(date=np.datetime64("2023-01-02", "us") + np.arange(5) * DAY))
    encoder.chosen = ((0, dates.PARTS.index(part)),)
    encoder.names = (f"date.{part}",)
    check("calendar", encoder, table(date=mixed(200).values["date"]))


def test_two_dates_share_their_tables() -> None:
    train = mixed(200)
    encoder = fit("calendar", train)
    assert {column for column, _ in encoder.chosen} == {0, 1}
    columns = train.select(SPECS["calendar"].kinds)
    portable = export(encoder, columns)
    assert Counter(node.op_type for node in portable.model.graph.node)["CumSum"] == 2
    check("calendar", encoder, adversarial(train), alone=20)


def test_tables_of_days_are_computed_when_the_graph_is_loaded(tmp_path: Path) -> None:
    columns = table(date=mixed(200).values["date"])
    for name, most in (("calendar", 12), ("cyclic_calendar", 26)):
        model = export(fit(name, columns), columns).model
        assert model.ByteSize() < 40_000
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        left = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
        assert len(left) <= most
        assert not {"CumSum", "ScatterElements", "ConstantOfShape"} & set(left)


# ------------------------------------------------------------------ text


def test_axes_are_stored_in_single_precision() -> None:
    rng = np.random.default_rng(0)
    pool = np.array([f"word{i}" for i in range(300)])
    columns = table(message=texts(*(" ".join(rng.choice(pool, 6)) for _ in range(200))))
    encoder = fit("ngrams", columns)
    axes = encoder.columns["message"].axes
    assert axes.shape[1] == text.DIMENSIONS
    stored = pickle.dumps(encoder)
    check("ngrams", encoder, columns, alone=20)
    assert pickle.dumps(encoder) == stored
    assert 4 * axes.size < len(stored) < 5 * axes.size
    portable = export(encoder, columns)
    assert {node.op_type for node in portable.model.graph.node} <= {"Concat", "Identity"}


def test_predicting_from_text_needs_no_scipy(tmp_path: Path) -> None:
    train = mixed(60).select(frozenset({Kind.TEXT}))
    for name in ("ngrams", "words"):
        encoder = fit(name, train)
        (tmp_path / "both.pickle").write_bytes(pickle.dumps((encoder, train)))
        code = (
            "import pickle, sys; sys.modules['scipy'] = None\n"
            f"encoder, columns = pickle.load(open({str(tmp_path / 'both.pickle')!r}, 'rb'))\n"
            "print(encoder.transform(columns).values.sum())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert float(done.stdout) == encoder.transform(train).values.sum()


def test_the_same_step_is_asked_for_once() -> None:
    train = mixed(60).select(frozenset({Kind.TEXT}))
    builder = GraphBuilder(reserved=train.values)
    tensors = {name: Tensor(name) for name in train.values}
    for _ in range(2):
        fit("ngrams", train).to_onnx(builder, tensors)
        fit("words", train).to_onnx(builder, tensors)
    kinds = Counter(step["kind"] for step in builder.steps.values())
    assert kinds == {"term_weights": 2, "term_places": 2, "text_shape": 2}


def test_folds_and_encoders_share_a_front_end() -> None:
    """Each gets the features that it makes alone, to the last bit."""
    train = mixed(120).select(frozenset({Kind.TEXT}))
    folds = [train.take(np.arange(start, 120, 2)) for start in (0, 1)]
    encoders = [fit(name, fold) for fold in folds for name in ("ngrams", "words")]
    builder = GraphBuilder(reserved=train.values)
    tensors = {name: Tensor(name) for name in train.values}
    parts = [encoder.to_onnx(builder, tensors) for encoder in encoders]
    features = builder.node("Concat", parts, {"axis": 1})
    inputs = {name: ("double", step["width"]) for name, step in builder.steps.items()}
    model = builder.model(inputs, {"features": (features, "double")})
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    front_end = FrontEnd(builder.steps)
    for new in (mixed(300, seed=1), adversarial(train)):
        found = session.run(None, front_end(new.values))[0]
        expected = [each.transform(new.select(frozenset({Kind.TEXT}))).values for each in encoders]
        np.testing.assert_array_equal(found, np.hstack(expected))


def test_columns_without_terms_ask_for_no_weights() -> None:
    told = ["win" if code else "no" for code in targets(20)]
    train = table(message=texts(*(chr(97 + row) * 3 for row in range(20))), note=texts(*told))
    kinds = {"ngrams": {"text_shape", "term_places"}, "words": {"term_weights"}}
    for name, expected in kinds.items():
        portable = export(fit(name, train), train)
        steps = portable.builder.steps.values()
        assert {step["kind"] for step in steps if step["column"] == "note"} == expected
        assert {step["kind"] for step in steps if step["column"] == "message"} <= {"text_shape"}
        check(name, fit(name, train), train)
