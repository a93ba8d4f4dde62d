from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import automl_fuse_encoders
from automl_fuse.specs import (
    MISSING_CODE,
    UNSEEN_CODE,
    Array,
    Column,
    Columns,
    Encoder,
    FitContext,
    Floats,
    Kind,
    Matrix,
    Task,
)
from automl_fuse.testing import check_encoder
from automl_fuse_encoders import arithmetic, crosses, judging, numeric, text, unsupervised

if TYPE_CHECKING:
    from collections.abc import Callable

SPECS = {spec.name: spec for spec in automl_fuse_encoders.automl_fuse_encoders()}
LETTERS = tuple("abcdefgh")
START = np.datetime64("2023-11-05T07:30", "us")


class NoDeadline:
    def remaining(self) -> float:
        return 1e9

    def expired(self) -> bool:
        return False


def build(name: str, task: Task = Task.BINARY, n_classes: int = 2, seed: int = 3) -> Encoder:
    context = FitContext(
        task=task, n_classes=n_classes, seed=seed, n_threads=1, deadline=NoDeadline()
    )
    return SPECS[name].build(context)


def table(**columns: Array) -> Columns:
    """Build columns whose kind follows from the dtype: floats, int32 codes, dates, strings."""
    kinds = {"f": Kind.NUMERIC, "i": Kind.CATEGORY, "M": Kind.DATETIME, "O": Kind.TEXT}
    described = []
    for name, values in columns.items():
        kind = kinds[values.dtype.kind]
        size = max(len(LETTERS), int(values.max(initial=0)) + 1) if kind is Kind.CATEGORY else 0
        categories = (*LETTERS, *(f"v{i}" for i in range(len(LETTERS), size)))[:size]
        described.append(Column(name=name, kind=kind, reason="test", categories=categories))
    rows = len(next(iter(columns.values())))
    return Columns(columns=tuple(described), values=columns, n_rows=rows)


def codes(*values: int) -> Array:
    return np.array(values, dtype=np.int32)


def texts(*values: str | None) -> Array:
    return np.array(values, dtype=object)


def mixed(n_rows: int, seed: int = 0) -> Columns:
    rng = np.random.default_rng(seed)
    number = rng.normal(size=n_rows)
    number[rng.random(n_rows) < 0.2] = np.nan
    dates = START + rng.integers(0, 10**14, n_rows).astype("timedelta64[us]")
    dates[rng.random(n_rows) < 0.2] = np.datetime64("NaT")
    words = ["free prize", "call me", "WIN 100£ now", "", "meeting at 5", None, "été naïve"]
    return table(
        number=number,
        other=rng.exponential(size=n_rows),
        third=rng.integers(0, 2, n_rows).astype(np.float64),
        letter=rng.integers(-1, 8, n_rows).astype(np.int32),
        many=rng.integers(-1, max(1, n_rows // 2), n_rows).astype(np.int32),
        date=dates,
        message=texts(*rng.choice(np.array(words, dtype=object), n_rows)),
        side=rng.integers(0, 2, n_rows).astype(np.int32),
    )


def target_for(name: str, columns: Columns) -> Array:
    """Return a target of which the encoders that choose their features find some."""
    values = columns.values
    if name == "crosses" and "side" in values:
        return (values["letter"] + values["side"]) % 2
    if name in {"arithmetic", "scaled_arithmetic"} and "third" in values:
        return ((values["number"] < 0) ^ (values["third"] == 1)).astype(np.int64)
    return np.arange(columns.n_rows) % 2


def fit(
    name: str, columns: Columns, y: Array | None = None, weight: Floats | None = None
) -> tuple[Encoder, Matrix]:
    encoder = build(name)
    y = target_for(name, columns) if y is None else y
    return encoder, encoder.fit_transform(columns.select(SPECS[name].kinds), y, weight)


def column(matrix: Matrix, name: str) -> Floats:
    return matrix.values[:, matrix.names.index(name)]


# ------------------------------------------------------------------ every encoder


def test_listing_the_encoders_imports_nothing_heavy() -> None:
    code = (
        "import sys, automl_fuse_encoders as e; e.automl_fuse_encoders();"
        "print([m for m in ('sklearn', 'scipy', 'pandas', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "[]"


def test_the_encoders_that_learners_rely_on_are_there() -> None:
    numbers = frozenset({Kind.NUMERIC, Kind.BOOLEAN})
    assert {name: spec.kinds for name, spec in SPECS.items()} == {
        **dict.fromkeys(("numbers", "scaled_numbers", "pca", "clusters", "isolation"), numbers),
        **dict.fromkeys(("arithmetic", "scaled_arithmetic"), numbers),
        **dict.fromkeys(
            ("codes", "all_codes", "ordinals", "onehot", "counts", "target", "crosses"),
            frozenset({Kind.CATEGORY}),
        ),
        **dict.fromkeys(("calendar", "cyclic_calendar"), frozenset({Kind.DATETIME})),
        **dict.fromkeys(("ngrams", "words"), frozenset({Kind.TEXT})),
    }


@pytest.mark.parametrize("name", SPECS)
def test_contract(name: str) -> None:
    train, new = mixed(90), mixed(40, seed=1).select(SPECS[name].kinds)
    encoder, fitted = fit(name, train)
    again, same = fit(name, train)
    np.testing.assert_array_equal(fitted.values, same.values)
    batch = encoder.transform(new)
    assert batch.names == fitted.names == same.names
    assert len(set(batch.names)) == len(batch.names) > 0
    assert batch.cardinalities == fitted.cardinalities
    assert batch.values.dtype == np.float64
    assert batch.values.shape == (40, len(batch.names))
    np.testing.assert_array_equal(batch.values, again.transform(new).values)
    copy = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(batch.values, copy.transform(new).values)
    for row in range(40):
        alone = encoder.transform(new.take(np.array([row])))
        np.testing.assert_allclose(alone.values, batch.values[[row]], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", sorted(set(SPECS) - {"target", "crosses"}))
def test_training_rows_get_the_features_of_any_rows(name: str) -> None:
    train = mixed(60)
    encoder, fitted = fit(name, train)
    again = encoder.transform(train.select(SPECS[name].kinds))
    np.testing.assert_array_equal(fitted.values, again.values)


@pytest.mark.parametrize("name", SPECS)
def test_no_columns_one_row_and_no_rows(name: str) -> None:
    encoder = build(name)
    nothing = Columns(columns=(), values={}, n_rows=4)
    fitted = encoder.fit_transform(nothing, np.array([0, 1, 0, 1]), None)
    assert fitted.values.shape == (4, 0)
    assert encoder.transform(nothing).values.shape == (4, 0)
    encoder, one = fit(name, mixed(1), y=np.array([1]))
    assert one.values.shape == (1, len(one.names))
    encoder, fitted = fit(name, mixed(30))
    none = encoder.transform(mixed(30).select(SPECS[name].kinds).take(np.array([], dtype=int)))
    assert none.values.shape == (0, len(fitted.names))


@pytest.mark.parametrize("name", SPECS)
def test_columns_where_everything_is_missing(name: str) -> None:
    empty = table(
        number=np.full(20, np.nan),
        other=np.full(20, np.nan),
        letter=np.full(20, MISSING_CODE, dtype=np.int32),
        date=np.full(20, np.datetime64("NaT"), dtype="datetime64[us]"),
        message=texts(*[None] * 20),
    )
    encoder, fitted = fit(name, empty)
    assert fitted.values.shape == (20, len(fitted.names))
    if name == "ngrams":
        assert fitted.names == tuple(
            f"message.{part}" for part in ("length", "words", "digits", "capitals")
        )
    else:
        assert fitted.names == ()
    seen = encoder.transform(mixed(5).select(SPECS[name].kinds))
    assert seen.values.shape == (5, len(fitted.names))


@pytest.mark.parametrize("name", ["pca", "isolation", "clusters", "ngrams", "target"])
def test_the_seed_decides(name: str) -> None:
    train = mixed(80).select(SPECS[name].kinds)
    y = np.random.default_rng(0).integers(0, 2, 80)
    first = build(name, seed=1).fit_transform(train, y, None)
    second = build(name, seed=2).fit_transform(train, y, None)
    same = first.values.shape == second.values.shape and np.allclose(first.values, second.values)
    # All of the 30 dimensions of n-grams are exact here, whatever the seed.
    assert same == (name in {"pca", "ngrams"})


def any_column(n_rows: int, kind: str) -> st.SearchStrategy[Array]:
    cells: dict[str, st.SearchStrategy[object]] = {
        "number": st.one_of(st.floats(width=64), st.sampled_from([0.0, 1.0, np.nan])),
        "letter": st.integers(MISSING_CODE, 7),
        "date": st.one_of(st.none(), st.datetimes(min_value=START.astype(object).replace(year=1))),
        "message": st.one_of(st.none(), st.text(max_size=12), st.sampled_from(["a b", "ab 12 A"])),
    }
    dtypes = {"number": "f8", "letter": "i4", "date": "datetime64[us]", "message": "O"}
    lists = st.lists(cells[kind], min_size=n_rows, max_size=n_rows)
    return lists.map(lambda values: np.array(values, dtype=dtypes[kind]))


@st.composite
def any_table(draw: st.DrawFn) -> Columns:
    n_rows = draw(st.integers(1, 12))
    names = {"number": "number", "number2": "number", "letter": "letter", "letter2": "letter"}
    names |= {"date": "date", "message": "message", "message2": "message"}
    return table(**{name: draw(any_column(n_rows, kind)) for name, kind in names.items()})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(train=any_table(), new=any_table(), task=st.sampled_from(Task), data=st.data())
def test_any_table_encodes(train: Columns, new: Columns, task: Task, data: st.DataObject) -> None:
    classes = 2 if task is Task.BINARY else 3
    y = np.array(
        data.draw(
            st.lists(st.integers(0, classes - 1), min_size=train.n_rows, max_size=train.n_rows)
        )
    )
    for code in ("letter", "letter2"):
        new.values[code][new.values[code] == 7] = UNSEEN_CODE
    for name, spec in SPECS.items():
        encoder = build(name, task, classes)
        fitted = encoder.fit_transform(train.select(spec.kinds), y, None)
        batch = encoder.transform(new.select(spec.kinds))
        assert len(set(fitted.names)) == len(fitted.names)
        assert fitted.values.shape == (train.n_rows, len(fitted.names))
        last = encoder.transform(new.select(spec.kinds).take(np.array([new.n_rows - 1])))
        np.testing.assert_allclose(last.values, batch.values[-1:], rtol=1e-9, atol=1e-12)
        if name not in {"numbers", "arithmetic", "codes", "all_codes", "ordinals", "calendar"}:
            assert np.isfinite(fitted.values).all()
            assert np.isfinite(batch.values).all()


# ------------------------------------------------------------------ numbers


def test_numbers_are_kept_and_empty_columns_dropped() -> None:
    values = np.array([1.5, np.nan, -np.inf])
    _, matrix = fit("numbers", table(a=values, b=np.full(3, np.nan)))
    assert matrix.names == ("a",)
    np.testing.assert_array_equal(matrix.values[:, 0], values)


def test_scaled_numbers_by_hand() -> None:
    encoder, matrix = fit(
        "scaled_numbers", table(a=np.array([0.0, 1, 2, 3, 4]), b=np.array([1, 1, np.nan, 1, 1.0]))
    )
    # Quartiles 1 and 3, median 2; b does not vary, so that only its gaps are told.
    assert matrix.names == ("a", "b (missing)")
    scaled = np.array([-1, -0.5, 0, 0.5, 1])
    np.testing.assert_allclose(column(matrix, "a"), scaled / np.sqrt(1 + (scaled / 3) ** 2))
    assert column(matrix, "b (missing)").tolist() == [0, 0, 1, 0, 0]
    new = encoder.transform(table(a=np.array([np.nan, np.inf, -1e300]), b=np.array([np.nan, 1, 2])))
    np.testing.assert_allclose(column(new, "a"), [0, 3, -3])
    assert column(new, "b (missing)").tolist() == [1, 0, 0]


def test_scaled_numbers_use_the_range_where_quartiles_coincide() -> None:
    assert numeric.centre_and_factor(np.array([0.0] * 9 + [4.0])) == (0.0, 0.5)
    assert numeric.centre_and_factor(np.array([7.0] * 5)) == (0.0, 0.0)
    assert numeric.centre_and_factor(np.array([np.inf, np.nan])) == (0.0, 0.0)
    assert numeric.centre_and_factor(np.array([1.7e308, -1.7e308])) == (0.0, 0.0)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30))
def test_quartiles_are_those_of_numpy(values: list[float]) -> None:
    median, factor = numeric.centre_and_factor(np.array(values))
    first, third = np.quantile(values, (0.25, 0.75))
    if third - first > 1e-6:
        assert median == pytest.approx(np.median(values), rel=1e-9, abs=1e-6)
        assert factor == pytest.approx(1 / (third - first), rel=1e-6)


def test_names_stay_unique_when_columns_are_named_like_features() -> None:
    gaps = np.array([1.0, np.nan, 2, 3])
    columns = table(**{"a": gaps, "a (missing)": np.array([1.0, 2, 3, 4])})
    _, matrix = fit("scaled_numbers", columns)
    assert matrix.names == ("a", "a (missing)", "a (missing) #2")


# ------------------------------------------------------------------ categories


def test_codes_count_only_what_the_fold_saw() -> None:
    encoder, matrix = fit("codes", table(city=codes(5, 5, 2, MISSING_CODE)))
    assert matrix.cardinalities == (2,)
    np.testing.assert_array_equal(matrix.values[:, 0], [1, 1, 0, np.nan])
    new = encoder.transform(table(city=codes(0, 2, UNSEEN_CODE, MISSING_CODE)))
    np.testing.assert_array_equal(new.values[:, 0], [np.nan, 0, np.nan, np.nan])


def test_codes_of_many_categories_share_the_last() -> None:
    values = np.concatenate([np.arange(400), np.arange(100, 400)]).astype(np.int32)
    encoder, matrix = fit("codes", table(zip=values))
    assert matrix.cardinalities == (256,)
    assert set(np.unique(matrix.values)) == set(range(256))
    rare = encoder.transform(table(zip=np.arange(100, dtype=np.int32)))
    assert (rare.values == 255).all()


def test_all_codes_of_many_categories_are_told_apart() -> None:
    values = np.arange(400, dtype=np.int32)
    _, matrix = fit("all_codes", table(zip=values))
    assert matrix.cardinalities == (400,)
    assert len(np.unique(matrix.values)) == 400


def test_ordinals_rank_by_frequency() -> None:
    encoder, matrix = fit("ordinals", table(city=codes(3, 3, 1, 0, 0, 0)))
    assert matrix.names == ("city (rank)",)
    assert matrix.cardinalities == (0,)
    assert matrix.values[:, 0].tolist() == [1, 1, 2, 0, 0, 0]
    new = encoder.transform(table(city=codes(MISSING_CODE, UNSEEN_CODE, 7)))
    assert np.isnan(new.values).all()


def test_onehot_levels() -> None:
    encoder, matrix = fit("onehot", table(city=codes(0, 0, 1, 1, 2, MISSING_CODE)))
    assert matrix.names == ("city=a", "city=b", "city=(infrequent)", "city=(missing)")
    assert matrix.values.argmax(axis=1).tolist() == [0, 0, 1, 1, 2, 3]
    assert (matrix.values.sum(axis=1) == 1).all()
    new = encoder.transform(table(city=codes(UNSEEN_CODE, 6, MISSING_CODE)))
    assert new.values.argmax(axis=1).tolist() == [2, 2, 3]


def test_onehot_of_two_levels_is_one_feature_and_unseen_is_zero() -> None:
    encoder, matrix = fit("onehot", table(sex=codes(0, 0, 1, 1), late=codes(3, 3, 4, 4)))
    assert matrix.names == ("sex=b", "late=e")
    assert matrix.values.tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]
    unseen = codes(UNSEEN_CODE, MISSING_CODE)
    assert not encoder.transform(table(sex=unseen, late=unseen)).values.any()


def test_onehot_of_missing_that_training_lacked_is_zero() -> None:
    encoder, matrix = fit("onehot", table(city=codes(0, 0, 1, 1, 2)))
    assert matrix.names[-1] == "city=(infrequent)"
    new = encoder.transform(table(city=codes(MISSING_CODE, UNSEEN_CODE)))
    assert new.values.tolist() == [[0, 0, 0], [0, 0, 1]]


def test_onehot_is_limited() -> None:
    values = np.repeat(np.arange(100), np.arange(100) + 2).astype(np.int32)
    _, matrix = fit("onehot", table(zip=values))
    assert len(matrix.names) == 65
    assert "zip=v99" in matrix.names
    assert column(matrix, "zip=(infrequent)").sum() == (values < 36).sum()


def test_counts() -> None:
    encoder, matrix = fit("counts", table(city=codes(0, 0, 1, MISSING_CODE)))
    assert matrix.names == ("city (count)",)
    np.testing.assert_allclose(matrix.values[:, 0], np.log1p([2, 2, 1, 1]))
    new = encoder.transform(table(city=codes(UNSEEN_CODE, 5, 0)))
    np.testing.assert_allclose(new.values[:, 0], np.log1p([0, 0, 2]))


# ------------------------------------------------------------------ target


def test_target_of_noise_is_not_correlated_with_it() -> None:
    correlations = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        columns = table(zip=rng.integers(0, 400, 2000).astype(np.int32))
        y = rng.integers(0, 2, 2000)
        matrix = build("target", seed=seed).fit_transform(columns, y, None)
        # A constant feature, which full shrinkage gives, is as good as it gets.
        spread = matrix.values[:, 0].std()
        correlations.append(np.corrcoef(matrix.values[:, 0], y)[0, 1] if spread > 0 else 0.0)
    assert abs(np.mean(correlations)) < 0.03
    assert np.abs(correlations).max() < 0.1


def test_target_of_a_row_is_not_made_from_its_own() -> None:
    rng = np.random.default_rng(0)
    columns = table(zip=rng.integers(0, 12, 100).astype(np.int32))
    y = rng.normal(size=100)
    before = build("target", Task.REGRESSION, 1).fit_transform(columns, y, None)
    for row in range(0, 100, 7):
        changed = y.copy()
        changed[row] += 50
        after = build("target", Task.REGRESSION, 1).fit_transform(columns, changed, None)
        assert after.values[row, 0] == before.values[row, 0]
        assert (after.values != before.values).any()


def test_target_of_categories_that_identify_rows_tells_nothing() -> None:
    rng = np.random.default_rng(0)
    columns = table(id=np.arange(200, dtype=np.int32))
    encoder = build("target")
    matrix = encoder.fit_transform(columns, rng.integers(0, 2, 200), None)
    assert not matrix.values.any()
    assert not encoder.transform(columns).values.any()


def test_target_finds_the_effect_of_categories() -> None:
    rng = np.random.default_rng(0)
    chance = np.array([0.1, 0.5, 0.9])
    city = rng.integers(0, 3, 3000).astype(np.int32)
    y = (rng.random(3000) < chance[city]).astype(np.int64)
    encoder = build("target")
    matrix = encoder.fit_transform(table(city=city), y, None)
    assert matrix.names == ("city (target)",)
    assert np.corrcoef(matrix.values[:, 0], y)[0, 1] > 0.5
    new = encoder.transform(table(city=codes(0, 1, 2, UNSEEN_CODE, MISSING_CODE)))
    np.testing.assert_allclose(new.values[:3, 0], chance - y.mean(), atol=0.03)
    assert new.values[3:, 0].tolist() == [0, 0]


def test_target_shrinks_rare_categories_more() -> None:
    rng = np.random.default_rng(0)
    effects = rng.normal(size=60)
    sizes = np.where(np.arange(60) % 2, 2, 80)
    city = np.repeat(np.arange(60), sizes).astype(np.int32)
    y = effects[city] + 2 * rng.normal(size=len(city))
    encoder = build("target", Task.REGRESSION, 1)
    encoder.fit_transform(table(city=city), y, None)
    told = encoder.transform(table(city=np.arange(60, dtype=np.int32))).values[:, 0]
    raw = np.bincount(city, y) / sizes - y.mean()
    shrinkage = told / raw
    assert shrinkage[sizes == 80] == pytest.approx(80 / (80 + 4), abs=0.05)
    assert shrinkage[sizes == 2] == pytest.approx(2 / (2 + 4), abs=0.12)


def test_target_treats_missing_as_a_category() -> None:
    city = np.where(np.arange(200) % 2, 0, MISSING_CODE).astype(np.int32)
    noise = np.random.default_rng(0).random(200) < 0.2
    encoder = build("target")
    encoder.fit_transform(table(city=city), (np.arange(200) % 2) ^ noise, None)
    new = encoder.transform(table(city=codes(0, MISSING_CODE)))
    assert new.values[0, 0] > 0.2
    assert new.values[1, 0] < -0.2


def test_target_of_several_classes() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(12), np.arange(12) + 4)
    city = np.where(rng.random(len(y)) < 0.8, y, rng.integers(0, 12, len(y))).astype(np.int32)
    encoder = build("target", Task.MULTICLASS, 12)
    matrix = encoder.fit_transform(table(city=city), y, None)
    assert matrix.names == tuple(f"city (target {code})" for code in range(2, 12))
    new = encoder.transform(table(city=codes(11, 5)))
    assert new.values.argmax(axis=1).tolist() == [9, 3]


def test_target_respects_weights() -> None:
    rng = np.random.default_rng(0)
    city = rng.integers(0, 4, 600).astype(np.int32)
    y = (rng.random(600) < 0.2 + 0.15 * city).astype(np.int64)
    chosen = rng.random(600) < 0.6
    weight = np.where(chosen, 1.0, 1e-12)
    weighted, plain = build("target"), build("target")
    weighted.fit_transform(table(city=city), y, weight)
    plain.fit_transform(table(city=city[chosen]), y[chosen], None)
    new = table(city=codes(0, 1, 2, 3))
    np.testing.assert_allclose(
        weighted.transform(new).values, plain.transform(new).values, atol=1e-9
    )


# ------------------------------------------------------------------ encoders that choose


class Ticking:
    """A deadline that each look brings nearer."""

    def __init__(self, seconds: float, tick: float) -> None:
        self.seconds, self.tick = seconds, tick

    def remaining(self) -> float:
        self.seconds -= self.tick
        return self.seconds

    def expired(self) -> bool:
        return self.remaining() <= 0


@pytest.fixture
def chosen_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let candidates be chosen that tell nothing."""
    monkeypatch.setattr(judging, "LEAST_ERRORS", -1e9)


def numbers(n_rows: int, n_columns: int, seed: int = 0) -> Columns:
    values = np.random.default_rng(seed).normal(size=(n_columns, n_rows))
    return table(**{f"x{place}": column for place, column in enumerate(values)})


def categories(n_rows: int, n_columns: int, seed: int = 0) -> Columns:
    values = np.random.default_rng(seed).integers(0, 4, (n_columns, n_rows))
    return table(**{f"c{place}": column.astype(np.int32) for place, column in enumerate(values)})


def parity(columns: Columns, seed: int = 0) -> Array:
    """Return whether two categories agree in parity, with one row in ten turned round."""
    turned = np.random.default_rng(seed).random(columns.n_rows) < 0.1
    return ((columns.values["c0"] + columns.values["c1"]) % 2 ^ turned).astype(np.int64)


@pytest.mark.parametrize("name", ["crosses", "arithmetic"])
@pytest.mark.usefixtures("chosen_by_force")
def test_what_is_chosen_by_force_conforms(name: str) -> None:
    """The suite's target is noise, of which these encoders make no features by themselves."""
    check_encoder(SPECS[name])


@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize(("name", "make"), [("crosses", categories), ("arithmetic", numbers)])
def test_noise_gives_no_features(name: str, make: Callable[..., Columns], task: Task) -> None:
    for seed in range(5):
        columns = make(1500, 6, seed)
        rng = np.random.default_rng(seed + 100)
        y = rng.standard_t(3, 1500) if task is Task.REGRESSION else rng.integers(0, 3, 1500)
        y = y % 2 if task is Task.BINARY else y
        matrix = build(name, task, 3, seed).fit_transform(columns, y, None)
        assert matrix.names == ()


@pytest.mark.parametrize(("name", "make"), [("crosses", categories), ("arithmetic", numbers)])
def test_a_sum_of_effects_gives_no_features(name: str, make: Callable[..., Columns]) -> None:
    columns = make(3000, 4)
    effects = [np.sin(values) for values in columns.values.values()]
    y = np.sum(effects, axis=0) + 0.3 * np.random.default_rng(1).normal(size=3000)
    assert build(name, Task.REGRESSION, 1).fit_transform(columns, y, None).names == ()


@pytest.mark.parametrize("name", ["crosses", "arithmetic"])
def test_without_time_nothing_is_chosen(name: str) -> None:
    columns = mixed(300).select(SPECS[name].kinds)
    y = target_for(name, columns)
    context = FitContext(
        task=Task.BINARY, n_classes=2, seed=3, n_threads=1, deadline=Ticking(10.0, 0.6)
    )
    encoder = SPECS[name].build(context)
    assert encoder.fit_transform(columns, y, None).names == ()
    assert pickle.loads(pickle.dumps(encoder)).transform(columns).values.shape == (300, 0)


def test_an_allowance_is_a_share_of_what_is_left_and_limited() -> None:
    for seconds, expected in ((100.0, 20), (20.1, 10), (0.1, 0)):
        allowance = judging.Allowance(Ticking(seconds, 0.1), share=0.05, most=2.0)
        looks = sum(not allowance.is_spent() for _ in range(100))
        assert looks == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("name", ["crosses", "arithmetic"])
def test_rows_are_sampled_to_choose(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "SAMPLE_ROWS", 150)
    _, matrix = fit(name, mixed(600))
    assert matrix.values.shape == (600, len(matrix.names))
    assert matrix.names


@pytest.mark.parametrize("name", ["crosses", "arithmetic"])
def test_weights_decide_what_is_chosen(name: str) -> None:
    """Rows of next to no weight do not hide what the others show."""
    columns = mixed(800)
    noise = np.random.default_rng(0).random(800) < 0.6
    y = np.where(noise, np.random.default_rng(1).integers(0, 2, 800), target_for(name, columns))
    _, matrix = fit(name, columns, y, np.where(noise, 1e-9, 1.0))
    told = target_for(name, columns)
    binned = judging.Slots.bins(matrix.values[:, 0], 16)
    shares = np.bincount(binned.values, told) / np.maximum(np.bincount(binned.values), 1)
    assert np.corrcoef(shares[binned.values], told)[0, 1] > 0.5


def test_backfitting_separates_parents_that_go_together() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, 4000)
    second = np.where(rng.random(4000) < 0.7, first, rng.integers(0, 4, 4000))
    y = (first - 2.0 * second)[:, None]
    judge = judging.Judge(y, np.ones(4000), np.arange(4000))
    slots = [judging.Slots(values=values, size=4) for values in (first, second)]
    before = judge.gain(slots[0])
    judge.explain(slots, judging.Allowance(NoDeadline(), share=1, most=1))
    assert before.counts
    assert all(abs(judge.gain(each).mean) < 1e-3 * before.mean for each in slots)


def test_bins_hold_equally_many_rows_and_missing_has_its_own() -> None:
    values = np.concatenate([np.arange(64.0), [np.nan] * 3, [-np.inf, np.inf]])
    bins = judging.Slots.bins(values, 8)
    assert np.isin(np.bincount(bins.values)[:8], (8, 9)).all()
    assert (bins.values == bins.size - 1).tolist() == np.isnan(values).tolist()
    assert judging.Slots.bins(np.array([0.0, 1, 0, 1, 1]), 8).n_used == 2
    assert judging.Slots.bins(np.full(5, np.nan), 8).n_used == 1


# ------------------------------------------------------------------ crosses


def test_crosses_find_what_two_categories_tell_together() -> None:
    columns = categories(2000, 5)
    y = parity(columns)
    encoder = build("crosses")
    matrix = encoder.fit_transform(columns, y, None)
    assert matrix.names == ("c0 & c1 (target)",)
    assert np.corrcoef(matrix.values[:, 0], y)[0, 1] > 0.75
    alone = build("target").fit_transform(columns, y, None)
    told = [np.corrcoef(each, y)[0, 1] for each in alone.values.T if each.std() > 0]
    assert max(told, default=0.0) < 0.1
    new = encoder.transform(
        table(
            c0=codes(0, 0, 3, UNSEEN_CODE, 0, MISSING_CODE),
            c1=codes(0, 1, 2, 1, UNSEEN_CODE, MISSING_CODE),
        )
    )
    np.testing.assert_allclose(new.values[:3, 0], [-0.4, 0.4, 0.4], atol=0.06)
    assert new.values[3:, 0].tolist() == [0, 0, 0]


def test_crosses_treat_missing_as_a_category() -> None:
    columns = categories(2000, 2)
    columns.values["c0"][columns.values["c0"] == 3] = MISSING_CODE
    encoder = build("crosses")
    encoder.fit_transform(columns, parity(columns), None)
    new = encoder.transform(table(c0=codes(MISSING_CODE, MISSING_CODE), c1=codes(0, 1)))
    np.testing.assert_allclose(new.values[:, 0], [0.4, -0.4], atol=0.06)


def test_crosses_of_several_classes() -> None:
    columns = categories(2000, 3)
    y = (columns.values["c0"] + columns.values["c1"]) % 3
    matrix = build("crosses", Task.MULTICLASS, 3).fit_transform(columns, y, None)
    assert matrix.names[:3] == tuple(f"c0 & c1 (target {code})" for code in range(3))
    assert (matrix.values[:, :3].argmax(axis=1) == y).mean() > 0.99


@pytest.mark.usefixtures("chosen_by_force")
def test_crosses_of_noise_are_not_correlated_with_it() -> None:
    correlations = []
    for seed in range(8):
        columns = mixed(2000, seed).select(SPECS["crosses"].kinds)
        values = dict(columns.values)
        values["many"] = np.where(values["many"] < 0, -1, values["many"] % 40).astype(np.int32)
        y = np.random.default_rng(seed + 50).integers(0, 2, 2000)
        matrix = build("crosses", seed=seed).fit_transform(table(**values), y, None)
        correlations += [np.corrcoef(each, y)[0, 1] for each in matrix.values.T if each.std() > 0]
    assert len(correlations) > 4
    assert abs(np.mean(correlations)) < 0.03
    assert np.abs(correlations).max() < 0.1


def test_crosses_of_a_row_are_not_made_from_its_own_target() -> None:
    columns = categories(500, 2)
    y = 2 * parity(columns) + np.random.default_rng(0).normal(size=500)
    before = build("crosses", Task.REGRESSION, 1).fit_transform(columns, y, None)
    assert before.names == ("c0 & c1 (target)",)
    for row in range(0, 500, 37):
        changed = y.copy()
        changed[row] += 50
        after = build("crosses", Task.REGRESSION, 1).fit_transform(columns, changed, None)
        assert after.names == before.names
        assert after.values[row, 0] == before.values[row, 0]
        assert (after.values != before.values).any()


def test_crosses_leave_out_large_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = categories(2000, 2)
    y = parity(columns)
    # Eight letters, missing and unseen: the table of a pair has ten times ten cells.
    for cells, found in ((99, 0), (100, 1)):
        monkeypatch.setattr(crosses, "MAX_CELLS", cells)
        assert len(build("crosses").fit_transform(columns, y, None).names) == found
    few = columns.take(np.arange(31))
    assert build("crosses").fit_transform(few, y[:31], None).names == ()


@pytest.mark.usefixtures("chosen_by_force")
def test_pairs_are_limited() -> None:
    columns = categories(400, 8)
    y = np.random.default_rng(5).integers(0, 2, 400)
    assert len(build("crosses").fit_transform(columns, y, None).names) == 8


def test_pairs_are_named_apart() -> None:
    rng = np.random.default_rng(0)
    names = ("a", "b & c", "a & b", "c")
    values = {name: rng.integers(0, 4, 2000).astype(np.int32) for name in names}
    y = (values["a"] + values["b & c"]) % 2 + 2.0 * ((values["a & b"] + values["c"]) % 2)
    encoder = build("crosses", Task.REGRESSION, 1)
    matrix = encoder.fit_transform(table(**values), y, None)
    assert matrix.names == ("a & b & c (target)", "a & b & c #2 (target)")
    assert np.corrcoef(matrix.values[:, 0], y)[0, 1] > 0.85
    assert np.corrcoef(matrix.values[:, 1], y)[0, 1] > 0.4


# ------------------------------------------------------------------ arithmetic


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a * b", lambda a, b: a * b),
        ("a / b", lambda a, b: a / b),
        ("b / a", lambda a, b: b / a),
        ("a + b", lambda a, b: np.abs(a + b)),
        ("a - b", lambda a, b: np.cos(3 * (a - b))),
    ],
)
def test_arithmetic_finds_what_two_numbers_tell_together(
    name: str, target: Callable[[Floats, Floats], Floats]
) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 2, (2, 3000)) * rng.choice([-1, 1], (2, 3000))
    y = target(a, b) + 0.1 * rng.normal(size=3000)
    columns = table(a=a, noise=rng.normal(size=3000), b=b)
    encoder = build("arithmetic", Task.REGRESSION, 1)
    matrix = encoder.fit_transform(columns, y, None)
    assert name in matrix.names
    assert not any("noise" in each for each in matrix.names)
    left, operator, right = name.split()
    values = {"a": a, "b": b}
    ufunc = {"*": np.multiply, "/": np.divide, "+": np.add, "-": np.subtract}[operator]
    np.testing.assert_array_equal(column(matrix, name), ufunc(values[left], values[right]))


def test_arithmetic_finds_a_product_among_many_columns() -> None:
    """Two columns that only move the spread of the target are not passed over."""
    columns = numbers(4000, 40)
    y = columns.values["x7"] * columns.values["x31"]
    matrix = build("arithmetic", Task.REGRESSION, 1).fit_transform(columns, y, None)
    assert "x7 * x31" in matrix.names


def test_arithmetic_of_a_class() -> None:
    columns = numbers(1000, 3)
    y = (columns.values["x0"] * columns.values["x2"] > 0).astype(np.int64)
    matrix = build("arithmetic").fit_transform(columns, y, None)
    assert {"x0 * x2", "x0 / x2", "x2 / x0"} & set(matrix.names)
    assert len(matrix.names) <= 12


def test_results_that_are_missing() -> None:
    encoder = build("arithmetic")
    encoder.features = [
        arithmetic.Feature(operator, "a", "b") for operator in ("Add", "Sub", "Mul", "Div")
    ]
    encoder.names = ("a + b", "a - b", "a * b", "a / b")
    nan, inf = np.nan, np.inf
    rows = [
        # a, b, and a + b, a - b, a * b, a / b
        (6.0, 3.0, 9.0, 3.0, 18.0, 2.0),
        (1.0, 0.0, 1.0, 1.0, 0.0, nan),
        (0.0, 0.0, 0.0, 0.0, 0.0, nan),
        (1.0, -0.0, 1.0, 1.0, 0.0, nan),
        (nan, 2.0, nan, nan, nan, nan),
        (2.0, nan, nan, nan, nan, nan),
        (inf, 2.0, nan, nan, nan, nan),
        (2.0, -inf, nan, nan, nan, 0.0),
        (1e30, 1.0, 1e30, 1e30, 1e30, 1e30),
        (1e30, -2e10, 1e30, 1e30, nan, -5e19),
        (-2e30, 4.0, nan, nan, nan, -5e29),
        (1e308, 1e308, nan, 0.0, nan, 1.0),
        (1e-5, 5e-324, 1e-5, 1e-5, 0.0, nan),
    ]
    values = np.array(rows)
    matrix = encoder.transform(table(a=values[:, 0], b=values[:, 1]))
    np.testing.assert_array_equal(matrix.values, values[:, 2:])


# ------------------------------------------------------------------ dates


def test_calendar_parts() -> None:
    dates = np.array(
        ["1969-12-31T23:59", "2024-02-29T06:00", "2023-03-01T00:30", "NaT"], dtype="datetime64[us]"
    )
    encoder, matrix = fit("calendar", table(date=dates))
    assert matrix.names == tuple(
        f"date.{part}"
        for part in ("year", "month", "day", "weekday", "dayofyear", "hour", "minute", "days")
    )
    expected = [
        [1969, 12, 31, 2, 365, 23, 59, -1 / 1440],
        [2024, 2, 29, 3, 60, 6, 0, 19782.25],
        [2023, 3, 1, 2, 60, 0, 30, 19417 + 30 / 1440],
    ]
    np.testing.assert_allclose(matrix.values[:3], expected, rtol=1e-12)
    assert np.isnan(matrix.values[3]).all()
    assert np.isnan(encoder.transform(table(date=dates[3:])).values).all()


def test_calendar_keeps_only_what_varies() -> None:
    dates = np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[us]")
    _, matrix = fit("calendar", table(date=dates))
    assert matrix.names == ("date.day", "date.weekday", "date.dayofyear", "date.days")


def test_cyclic_calendar_closes_its_circles() -> None:
    days = START + np.arange(0, 800).astype("timedelta64[D]")
    encoder, matrix = fit("cyclic_calendar", table(date=days))
    cycles = ("month", "weekday", "dayofyear")
    assert matrix.names == (
        *(f"date.{cycle}.sin" for cycle in cycles),
        *(f"date.{cycle}.cos" for cycle in cycles),
        "date.elapsed",
    )
    for cycle in cycles:
        sines, cosines = (column(matrix, f"date.{cycle}.{part}") for part in ("sin", "cos"))
        np.testing.assert_allclose(sines**2 + cosines**2, 1)
    new_year = np.array(["2024-12-31", "2025-01-01", "2999-01-01"], dtype="datetime64[us]")
    new = encoder.transform(table(date=new_year))
    ends = [column(new, f"date.dayofyear.{part}") for part in ("sin", "cos")]
    np.testing.assert_allclose([end[0] for end in ends], [end[1] for end in ends], atol=0.03)
    assert 2.9 < column(new, "date.elapsed")[2] < 3


def test_cyclic_calendar_tells_missing() -> None:
    dates = np.array(["2024-01-01T04", "2024-05-02T09", "NaT"], dtype="datetime64[us]")
    _, matrix = fit("cyclic_calendar", table(date=dates))
    assert column(matrix, "date (missing)").tolist() == [0, 0, 1]
    assert not matrix.values[2, :-1].any()


# ------------------------------------------------------------------ text


def spam(n_rows: int = 200) -> tuple[Columns, Array]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n_rows)
    fillers = np.array([f"word{i}" for i in range(40)])
    rows = [
        " ".join([*rng.choice(fillers, 5), ("WINNER!" if rng.random() < 0.9 else "") * int(k)])
        for k in y
    ]
    return table(message=texts(*rows)), y


def test_words_that_tell_the_class_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_WORDS", 2)
    columns, y = spam()
    encoder, matrix = fit("words", columns, y)
    assert matrix.names == ("message:!", "message:winner")
    assert np.corrcoef(matrix.values[:, 1], y)[0, 1] > 0.8
    new = encoder.transform(table(message=texts("winner", "Winner !!!", "nothing", None)))
    assert new.values[0].tolist() == [0, 1]
    assert new.values[1, 0] > new.values[1, 1] > 0
    assert not new.values[2:].any()


def test_words_are_scored_by_weighted_chi_square() -> None:
    from scipy.sparse import csr_matrix
    from scipy.stats import chi2_contingency

    rng = np.random.default_rng(0)
    has, y = rng.integers(0, 2, 300), rng.integers(0, 3, 300)
    outputs = (y[:, None] == np.arange(3)).astype(float)
    weight = rng.integers(1, 4, 300).astype(float)
    scores = text._association(csr_matrix(has[:, None]), outputs, weight)
    cells = np.zeros((2, 3))
    np.add.at(cells, (has, y), weight)
    assert scores[0] * weight.sum() == pytest.approx(
        chi2_contingency(cells, correction=False).statistic
    )
    values = rng.normal(size=(300, 1))
    scores = text._association(csr_matrix(has[:, None]), values, np.ones(300))
    assert scores[0] == pytest.approx(np.corrcoef(has, values[:, 0])[0, 1] ** 2)


def test_words_are_shared_by_the_text_columns() -> None:
    rng = np.random.default_rng(0)
    pool = np.array([f"w{i}" for i in range(400)])
    rows = [texts(*(" ".join(rng.choice(pool, 20)) for _ in range(200))) for _ in range(2)]
    _, matrix = fit("words", table(a=rows[0], b=rows[1]), rng.integers(0, 2, 200))
    assert len(matrix.names) == 300
    assert sum(name.startswith("a:") for name in matrix.names) == 150


def test_ngrams_bring_misspelt_words_together() -> None:
    rows = ["electrician", "elektrician", "electricien", "gardener", "gardner", "gardeners"] * 4
    encoder, matrix = fit("ngrams", table(job=texts(*rows)))
    places = [i for i, name in enumerate(matrix.names) if "ngrams" in name]
    # Less than the rank of the six distinct texts, so that the axes are informative.
    assert 1 < len(places) <= 6
    new = encoder.transform(table(job=texts("electrcian", "gardeneer"))).values[:, places]
    near = new @ matrix.values[:, places].T
    assert near[0, 0] > 2 * near[0, 3]
    assert near[1, 3] > 2 * near[1, 0]


def test_ngram_weights_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = ["the cat sat on the mat", "A cat, a mat", "no dogs on the mat", "dog"]
    terms = text._fit_places(texts(*rows), np.random.default_rng(0)).terms
    own = terms(rows)
    theirs = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True, vocabulary=terms.index
    ).fit_transform(rows)
    np.testing.assert_allclose(own, theirs.toarray(), rtol=1e-12)


def test_ngrams_tell_the_shape_of_texts() -> None:
    encoder, _ = fit("ngrams", table(message=texts("one two", "three")))
    new = encoder.transform(table(message=texts("AB 12 cd 34", "", None, "é" * 3000)))
    assert new.names[-4:] == (
        "message.length",
        "message.words",
        "message.digits",
        "message.capitals",
    )
    expected = [[np.log(12), np.log(5), 4 / 11, 2 / 11], [0] * 4, [0] * 4]
    np.testing.assert_allclose(new.values[:3, -4:], expected)
    np.testing.assert_allclose(new.values[3, -4:], [np.log(3001), np.log(2), 0, 0])


def test_text_is_encoded_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, y = spam(90)
    for name in ("ngrams", "words"):
        encoder, fitted = fit(name, columns, y)
        monkeypatch.setattr("automl_fuse.front_end.texts.CHUNK_ROWS", 7)
        np.testing.assert_array_equal(encoder.transform(columns).values, fitted.values)
        monkeypatch.undo()


def test_texts_are_sampled_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "NGRAM_ROWS", 50)
    monkeypatch.setattr(text, "WORD_ROWS", 50)
    columns, y = spam()
    for name in ("ngrams", "words"):
        _, matrix = fit(name, columns, y)
        assert len(matrix.values) == 200
        assert matrix.values.any()


# ------------------------------------------------------------------ over all numbers


def blobs() -> tuple[Columns, Array]:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 240)
    centres = np.array([[0, 0, 0], [8, 8, 0], [0, 8, 8]])
    points = centres[group] + rng.normal(size=(240, 3))
    return table(a=points[:, 0], b=points[:, 1], c=points[:, 2]), group


@pytest.mark.parametrize("name", ["pca", "clusters", "isolation"])
def test_one_varying_column_gives_no_features(name: str) -> None:
    encoder, matrix = fit(name, table(a=np.arange(9.0), b=np.ones(9)))
    assert matrix.values.shape == (9, 0)
    assert encoder.transform(table(a=np.ones(2), b=np.arange(2.0))).values.shape == (2, 0)


def test_components_are_orthogonal_and_ordered() -> None:
    columns, _ = blobs()
    _, matrix = fit("pca", columns)
    assert matrix.names == ("component 1", "component 2", "component 3")
    covariance = np.cov(matrix.values.T)
    assert (np.diff(np.diag(covariance)) < 0).all()
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-10)
    scaled = numeric.squash(numeric.Scale.fit(columns).apply(columns))
    assert matrix.values.var(axis=0).sum() == pytest.approx(scaled.var(axis=0).sum())


def test_components_that_repeat_others_are_left_out() -> None:
    a = np.random.default_rng(0).normal(size=50)
    _, matrix = fit("pca", table(a=a, b=2 * a, c=a + 1))
    assert matrix.names == ("component 1",)


def test_clusters_separate_groups() -> None:
    columns, group = blobs()
    _, matrix = fit("clusters", columns)
    assert len(matrix.names) == 8
    nearest = matrix.values.argmin(axis=1)
    for label in range(8):
        shares = np.bincount(group[nearest == label], minlength=3)
        assert shares.max() > 0.9 * shares.sum()


def test_clusters_of_few_distinct_rows() -> None:
    _, matrix = fit("clusters", table(a=np.array([0.0, 0, 1, 1]), b=np.array([0.0, 0, 5, 5])))
    assert len(matrix.names) == 2
    assert np.sort(matrix.values, axis=1)[:, 0].tolist() == [0] * 4


def test_isolation_scores_agree_with_scikit_learn() -> None:
    from sklearn.ensemble import IsolationForest

    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 3))
    points[:5] += 7
    columns = table(a=points[:, 0], b=points[:, 1], c=points[:, 2])
    _, matrix = fit("isolation", columns)
    own = matrix.values[:, 0]
    theirs = -IsolationForest(random_state=0).fit(points).score_samples(points)
    assert np.corrcoef(own, theirs)[0, 1] > 0.9
    assert own.mean() == pytest.approx(theirs.mean(), abs=0.03)
    assert own[:5].min() > np.quantile(own[5:], 0.98)


def test_isolation_paths_by_hand() -> None:
    assert unsupervised._expected_depth(np.array([0, 1, 2])).tolist() == [0, 0, 1]
    harmonic = np.log(255) + np.euler_gamma
    expected = 2 * harmonic - 2 * 255 / 256
    assert unsupervised._expected_depth(np.array([256]))[0] == pytest.approx(expected)


def test_isolation_is_scored_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, _ = blobs()
    encoder, fitted = fit("isolation", columns)
    monkeypatch.setattr(unsupervised, "CHUNK_ROWS", 11)
    np.testing.assert_array_equal(encoder.transform(columns).values, fitted.values)
