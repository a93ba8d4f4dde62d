"""Leaks, planted: nothing that a row's own target or a validation row says reaches a feature."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import automl_fuse
from automl_fuse import Settings
from automl_fuse.budget import Deadline
from automl_fuse.encoding import FoldEncoder, TrialData
from automl_fuse.errors import SettingsError
from automl_fuse.folds import Fold, make_folds
from automl_fuse.host import discover
from automl_fuse.inventory import without_encoders
from automl_fuse.run import RunDirectory
from automl_fuse.schema import infer
from automl_fuse.specs import FitContext, Kind, Task
from automl_fuse.table import prepare
from automl_fuse.testing import TickingDeadline

ENCODERS = discover().encoders
READABLE = frozenset({Kind.NUMERIC, Kind.BOOLEAN, Kind.CATEGORY, Kind.DATETIME, Kind.TEXT})


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write a plugin module; return its name."""

    def written(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        return name

    return written


def settings_of(**changes):
    quick = {"executor": "inline", "progress": False, "compressors": (), "max_trials": 1}
    return Settings(**{**quick, "fusions": ("average",), **changes})


# --------------------------------------------------------------------------- random categories

READERS = """
import numpy as np

from dataclasses import replace

from automl_fuse import hookimpl
from automl_fuse.specs import EncoderSpec, Kind, Matrix
from automl_fuse_sklearn.linear import LINEAR

NUMBERS = ("scaled_numbers", "arithmetic")
CATEGORIES = ("onehot", "counts", "target", "crosses")


class OwnTarget:
    def fit_transform(self, columns, y, weight):
        self.means = {
            column.name: np.bincount(columns.values[column.name] + 2, y)
            / np.maximum(1, np.bincount(columns.values[column.name] + 2))
            for column in columns.columns
        }
        return self.transform(columns)

    def transform(self, columns):
        features = [
            np.append(means, np.zeros(10_000))[columns.values[name] + 2]
            for name, means in self.means.items()
        ]
        return Matrix.numbers(np.column_stack(features), tuple(self.means))


@hookimpl
def automl_fuse_encoders():
    kinds = frozenset({Kind.CATEGORY})
    return [EncoderSpec(name="leak", api_version=1, kinds=kinds, build=lambda _: OwnTarget())]


@hookimpl
def automl_fuse_learners():
    readers = {
        "reads_numbers": NUMBERS,
        "reads_all": (*NUMBERS, *CATEGORIES),
        "reads_leak": (*NUMBERS, "leak"),
    }
    return [
        replace(LINEAR, name=name, encoders=encoders) for name, encoders in readers.items()
    ]
"""


def with_random_categories(n_rows, signal, seed):
    """Return a table with two random categories of four rows each, and a number that may tell."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(n_rows, 3))
    logit = signal * numbers[:, 0]
    categories = {
        name: [f"v{code}" for code in rng.integers(n_rows // 4, size=n_rows)] for name in "pq"
    }
    return pd.DataFrame(numbers, columns=["a", "b", "c"]).assign(
        **categories, y=np.where(rng.random(n_rows) < 1 / (1 + np.exp(-logit)), "yes", "no")
    )


def auc_of(table, plugins, reader):
    """Return cross-validated AUC, and that of rows drawn anew."""
    settings = settings_of(
        plugins=plugins,
        learners=(reader,),
        folds=4,
        kinds={"p": "category", "q": "category"},
    )
    known = table.iloc[: len(table) * 2 // 3]
    model = automl_fuse.fit(known, target="y", metric="roc_auc", settings=settings)
    return model.report["score"], model.evaluate(table.iloc[len(known) :])["roc_auc"]


def test_random_categories_leave_the_score_at_chance(plugin):
    table = with_random_categories(1800, signal=0.0, seed=0)
    scores = auc_of(table, (plugin("readers", READERS),), "reads_all")
    assert scores == pytest.approx((0.5, 0.5), abs=0.06)


def test_random_categories_take_nothing_from_what_tells_and_a_leak_would(plugin):
    table = with_random_categories(1800, signal=2.0, seed=1)
    plugins = (plugin("readers", READERS),)
    alone, beside, leaking = (
        auc_of(table, plugins, reader) for reader in ("reads_numbers", "reads_all", "reads_leak")
    )
    assert alone[0] > 0.75
    assert beside == pytest.approx(alone, abs=0.03)
    assert leaking[0] < alone[0] - 0.1
    assert leaking[1] < alone[1] - 0.1


# --------------------------------------------------------------------------- rows, spied upon

SPIES = """
import numpy as np

from automl_fuse import hookimpl
from automl_fuse.specs import ALL_TASKS, Cost, EncoderSpec, Kind, LearnerSpec, Matrix

FITTED, TRANSFORMED, TAUGHT = [], [], []


class Spy:
    def fit_transform(self, columns, y, weight):
        FITTED.append((columns.values["row"].astype(int), y.copy()))
        return Matrix.numbers(columns.values["row"][:, None], ("row",))

    def transform(self, columns):
        TRANSFORMED.append(columns.values["row"].astype(int))
        return Matrix.numbers(columns.values["row"][:, None], ("row",))


class Pupil:
    def fit(self, train, valid):
        TAUGHT.append((train.X.values[:, 0].astype(int), valid.X.values[:, 0].astype(int)))

    def predict(self, X):
        return np.zeros((len(X.values), 1))


@hookimpl
def automl_fuse_encoders():
    kinds = frozenset({Kind.NUMERIC})
    return [EncoderSpec(name="spy", api_version=1, kinds=kinds, build=lambda _: Spy())]


@hookimpl
def automl_fuse_learners():
    return [
        LearnerSpec(
            name="pupil",
            api_version=1,
            tasks=ALL_TASKS,
            encoders=("spy",),
            build=lambda params, context: Pupil(),
            cost=lambda shape, params: Cost(seconds=0.01, bytes=10),
        )
    ]
"""


def test_encoders_and_learners_are_fitted_to_the_training_rows_of_a_fold_alone(plugin):
    name = plugin("spies", SPIES)
    spies = importlib.import_module(name)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"row": rng.permutation(200) * 1.0, "y": rng.normal(size=200)})
    order = rng.permutation(200)
    folds = [(np.sort(order[40:]), np.sort(order[:40])), (order[:120], order[120:])]
    settings = settings_of(
        plugins=(name,), learners=("pupil",), folds=folds, kinds={"row": "numeric"}
    )
    automl_fuse.fit(table, target="y", settings=settings)
    row = table["row"].to_numpy().astype(int)
    target_of = dict(zip(row, table["y"], strict=True))
    expected = [(set(row[train]), set(row[valid])) for train, valid in folds]
    assert [(set(train), set(valid)) for train, valid in spies.TAUGHT] == expected
    assert [set(rows) for rows, _ in spies.FITTED] == [train for train, _ in expected]
    assert [set(rows) for rows in spies.TRANSFORMED] == [valid for _, valid in expected]
    for rows, y in spies.FITTED:
        assert [target_of[each] for each in rows] == y.tolist()


# --------------------------------------------------------------------------- every encoder


def mixed(n_rows=400, seed=0):
    """Return a table of many kinds of column, of which some tell together only."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n_rows))
    city, size = rng.integers(4, size=n_rows), rng.integers(3, size=n_rows)
    together = a * b + 2.0 * ((city + size) % 2)
    days = pd.Timestamp("2021-03-01") + pd.to_timedelta(rng.integers(900, size=n_rows), unit="D")
    words = [f"word{number}" for number in range(12)]
    return pd.DataFrame({
        "a": a,
        "b": np.where(rng.random(n_rows) < 0.1, np.nan, b),
        "flag": rng.random(n_rows) < 0.4,
        "city": np.array(["Bonn", "Graz", "Lyon", "Pisa"])[city],
        "size": np.array(["large", "medium", "small"])[size],
        "shop": rng.choice([f"s{k}" for k in range(30)], n_rows),
        "day": days,
        "note": [" ".join(rng.choice(words, 7)) for _ in range(n_rows)],
        "y": together + 0.1 * rng.normal(size=n_rows),
    })  # fmt: skip


def trial_data(table):
    """Return a table in four folds."""
    dataset = prepare(table, target="y", task="regression")
    kinds = {"note": "text", "shop": "category"}
    present = {name: kind for name, kind in kinds.items() if name in table}
    schema = infer(dataset.table, present)
    folds = make_folds(dataset.y, Task.REGRESSION, 0, folds=4)
    return TrialData(
        columns=schema.convert(dataset.table),
        y=dataset.y,
        weight=None,
        folds=folds,
        task=Task.REGRESSION,
        n_classes=1,
        seed=0,
    )


def encoded(data, folder, names, fold=0):
    """Return features of the fold's training and validation rows, and the fitted encoders."""
    folder.mkdir()
    run = RunDirectory(folder)
    encoder = FoldEncoder(data, run, ENCODERS, 1)
    keys = encoder.readable(names, fold)
    train, valid = encoder.of_fold(fold, keys, Deadline(60))
    fitted = {key: run.seals.load(run.encoder(key, fold)) for key in keys}
    return train, valid, fitted


@pytest.mark.parametrize("name", [n for n, spec in ENCODERS.items() if spec.kinds <= READABLE])
def test_validation_rows_change_nothing_that_an_encoder_knows(name, tmp_path):
    table = mixed()
    data = trial_data(table)
    valid_rows = data.folds[0].valid
    other = mixed(seed=9)
    columns = trial_data(other).columns
    values = {}
    for column in data.columns.columns:
        own = data.columns.values[column.name].copy()
        theirs = columns.values[column.name][valid_rows]
        if column.kind is Kind.CATEGORY:
            theirs = (own[valid_rows] + 1) % len(column.categories)
        own[valid_rows] = theirs
        values[column.name] = own
    y = data.y.copy()
    y[valid_rows] = 1000.0 - 3 * y[valid_rows]
    changed = replace(data, columns=replace(data.columns, values=values), y=y)
    before, _, fitted = encoded(data, tmp_path / "before", (name,))
    after, _, refitted = encoded(changed, tmp_path / "after", (name,))
    assert before.names
    assert before.names == after.names
    np.testing.assert_array_equal(before.values, after.values)
    rows = trial_data(mixed(seed=5)).columns
    known = [each[name].transform(rows).values for each in (fitted, refitted)]
    np.testing.assert_array_equal(*known)


def test_arithmetic_is_chosen_without_validation_rows(tmp_path):
    """A product that tells the target of validation rows only is not chosen, and is if turned."""
    rng = np.random.default_rng(4)
    table = pd.DataFrame({**dict(zip("abc", rng.normal(size=(3, 1200)), strict=True)), "y": 0.0})
    columns = trial_data(table.assign(y=rng.normal(size=1200))).columns
    product = columns.values["a"] * columns.values["b"]
    noise = rng.normal(size=1200)
    halves = (np.arange(600), np.arange(600, 1200))
    data = TrialData(
        columns=columns,
        y=np.where(np.arange(1200) < 600, noise, product),
        weight=None,
        folds=(
            Fold(train=halves[0], valid=halves[1]),
            Fold(train=halves[1], valid=halves[0]),
        ),
        task=Task.REGRESSION,
        n_classes=1,
        seed=0,
    )
    blind, _, _ = encoded(data, tmp_path / "blind", ("arithmetic",), fold=0)
    seeing, _, _ = encoded(data, tmp_path / "seeing", ("arithmetic",), fold=1)
    assert blind.names == ()
    assert "a * b" in seeing.names


# --------------------------------------------------------------------------- out of fold


@pytest.mark.parametrize("name", ["target", "crosses"])
def test_training_features_do_not_know_the_noise_of_their_own_rows(name, tmp_path):
    rng = np.random.default_rng(2)
    n_rows, levels = 3000, 25
    p, q = rng.integers(levels, size=(2, n_rows))
    noise = rng.normal(size=n_rows)
    effects = rng.normal(size=(levels, levels))[p, q]
    table = pd.DataFrame({
        "p": [f"p{code}" for code in p], "q": [f"q{code}" for code in q], "y": effects + noise,
    })  # fmt: skip
    if name == "target":
        table["p"] = [f"p{a} {b}" for a, b in zip(p, q, strict=True)]
        table = table.drop(columns="q")
    dataset = prepare(table, target="y", task="regression")
    columns = infer(dataset.table, {"p": "category"}).convert(dataset.table)
    deadline = TickingDeadline(100.0, tick=1e-6)
    context = FitContext(task=Task.REGRESSION, n_classes=1, seed=0, n_threads=1, deadline=deadline)
    encoder = ENCODERS[name].build(context)
    told = encoder.fit_transform(columns, dataset.y, None).values[:, 0]
    later = encoder.transform(columns).values[:, 0]
    assert not np.array_equal(told, later)
    assert np.corrcoef(told, effects)[0, 1] > 0.7
    assert abs(np.corrcoef(told, noise)[0, 1]) < 0.06
    assert np.corrcoef(later, noise)[0, 1] > 0.12


# --------------------------------------------------------------------------- turned off


@pytest.mark.parametrize("name", ENCODERS)
def test_each_encoder_can_be_turned_off(name, tmp_path):
    data = trial_data(mixed())
    run = RunDirectory(tmp_path)
    names = tuple(ENCODERS)
    everything = FoldEncoder(data, run, ENCODERS, 1).readable(names)
    left = without_encoders(discover(), (name,)).encoders
    assert FoldEncoder(data, run, left, 1, (name,)).readable(names) == tuple(
        each for each in everything if each != name
    )


def test_no_member_reads_an_encoder_that_is_turned_off():
    table = mixed()
    for blocked in ((), ("onehot", "words")):
        settings = settings_of(
            learners=("linear",), folds=2, block_encoders=blocked, kinds={"note": "text"}
        )
        model = automl_fuse.fit(table, target="y", settings=settings)
        read = {name for member in model.members for fold in member.folds for name in fold.encoders}
        assert read.isdisjoint(blocked)
        assert {"scaled_numbers", "onehot", "words"} - set(blocked) <= read
        assert len(model.predict(table)) == len(table)


def test_a_column_that_nothing_reads_any_more_is_named(caplog):
    settings = settings_of(learners=("linear",), folds=2, block_encoders=("onehot",))
    automl_fuse.fit(mixed(), target="y", settings=settings)
    assert "Column 'city' is not used: no installed encoder reads category columns." in caplog.text


def test_unknown_encoders_to_turn_off_are_named():
    with pytest.raises(SettingsError, match="Unknown encoder 'targets': did you mean 'target'"):
        automl_fuse.fit(mixed(), target="y", settings=settings_of(block_encoders=("targets",)))
    with pytest.raises(SettingsError, match=r"block_encoders is 'target': give a tuple"):
        automl_fuse.fit(mixed(), target="y", settings=settings_of(block_encoders="target"))
