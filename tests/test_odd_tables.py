"""Small and odd tables, through ``fit``: better than a constant, or an error that mends them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

import automl_fuse
from automl_fuse import Settings
from automl_fuse.errors import DataError, TargetError

QUICK = Settings(
    compressors=(),
    executor="inline",
    folds=4,
    learners=("linear", "decision_tree"),
    max_trials=5,
    progress=False,
)
"""Learners that take little time, of which each can do what the other cannot."""


def numbers(rng: np.random.Generator, n_rows: int, n_columns: int) -> pd.DataFrame:
    names = [f"x{position}" for position in range(n_columns)]
    return pd.DataFrame(rng.normal(size=(n_rows, n_columns)), columns=names)


def answers(scores: object) -> np.ndarray:
    return np.where(np.asarray(scores) > 0, "yes", "no")


# --------------------------------------------------------------------------- the tables


@dataclass(frozen=True)
class Odd:
    """A table, how many of its rows train, and what is asked of the others.

    Attributes
    ----------
    table : DataFrame
        Features and the target ``y``.
    n_train : int
        The first rows train, the others test.
    metric : str
        The objective.
    most : float
        Of the error of a constant prediction, what may be left.
    """

    table: pd.DataFrame
    n_train: int
    metric: str
    most: float


def hundred_rows(rng):
    X = numbers(rng, 400, 4)
    y = answers(2 * X["x0"] - X["x1"] + 0.5 * rng.normal(size=400))
    return Odd(X.assign(y=y), 100, "log_loss", 0.6)


def more_columns_than_rows(rng):
    X = numbers(rng, 650, 750)
    y = answers(2 * X["x0"] + 2 * X["x1"] - X["x2"] + 0.5 * rng.normal(size=650))
    return Odd(X.assign(y=y), 250, "log_loss", 0.95)


def hundred_classes(rng):
    """Ninety classes of twenty rows, five of two rows and five of one."""
    counts = np.concatenate([np.full(90, 20), np.full(5, 2), np.full(5, 1)])
    train = rng.permutation(np.repeat(np.arange(100), counts))
    y = np.concatenate([train, np.repeat(np.arange(100), 4)])
    X = 2 * rng.normal(size=(100, 6))[y] + rng.normal(size=(len(y), 6))
    table = pd.DataFrame(X, columns=list("abcdef")).assign(y=[f"class {code}" for code in y])
    return Odd(table, len(train), "log_loss", 0.6)


def imbalanced(rng, metric, most):
    """One row of two hundred is positive."""
    X = numbers(rng, 8000, 5)
    score = X["x0"] + X["x1"] + 0.3 * rng.normal(size=8000)
    y = np.where(score >= np.sort(score)[-40], "fraud", "fine")
    return Odd(X.assign(y=y), 4000, metric, most)


def categories_only(rng):
    codes = {name: rng.integers(size, size=900) for name, size in {"a": 3, "b": 5, "c": 40}.items()}
    score = rng.normal(size=40)[codes["c"]] + (codes["a"] == 1) - (codes["b"] > 2)
    table = pd.DataFrame({n: [f"{n}{code}" for code in c] for n, c in codes.items()})
    y = answers(score - np.median(score) + 0.3 * rng.normal(size=900))
    return Odd(table.assign(y=y), 600, "log_loss", 0.75)


def heavy_tailed_target(rng):
    X = numbers(rng, 900, 5)
    y = 1000 * np.exp(1.2 * X["x0"] - X["x1"] + 0.4 * rng.normal(size=900))
    return Odd(X.assign(y=y), 600, "rmse", 0.85)


def one_class_at_nearly_all_rows(rng):
    """Four of 4,000 training rows are of the other class."""
    X = numbers(rng, 8000, 3)
    y = np.full(8000, "common")
    for half in (slice(0, 4000), slice(4000, 8000)):
        y[np.argsort(-X["x0"].to_numpy()[half])[:4] + half.start] = "rare"
    return Odd(X.assign(y=y), 4000, "log_loss", 0.8)


def single_column(rng):
    x = rng.normal(size=500)
    table = pd.DataFrame({"x": x, "y": np.sin(3 * x) + 0.1 * rng.normal(size=500)})
    return Odd(table, 300, "rmse", 0.6)


def strange_names(rng):
    X = rng.normal(size=(400, 4))
    table = pd.DataFrame(X, columns=["a b", "größe ✓", "", 'x["1"] <= 2'])
    return Odd(table.assign(y=answers(X[:, 1] + X[:, 2])), 200, "log_loss", 0.6)


def columns_without_values(rng):
    X = numbers(rng, 400, 2)
    table = X.assign(gone=np.nan, empty=None, y=answers(X["x0"]))
    return Odd(table, 200, "log_loss", 0.6)


ODD = {
    "a hundred rows": hundred_rows,
    "more columns than rows": more_columns_than_rows,
    "a hundred classes": hundred_classes,
    "imbalanced, AUC": lambda rng: imbalanced(rng, "roc_auc", 0.2),
    "imbalanced, F1": lambda rng: imbalanced(rng, "f1", 0.6),
    "imbalanced, log-loss": lambda rng: imbalanced(rng, "log_loss", 0.6),
    "categories only": categories_only,
    "a heavy-tailed target": heavy_tailed_target,
    "one class at 99.9 %": one_class_at_nearly_all_rows,
    "a single column": single_column,
    "strange names": strange_names,
    "columns without values": columns_without_values,
}


def error_left(odd, settings, seconds):
    """Return the error on test rows as a share of that of a constant prediction."""
    train, test = odd.table.iloc[: odd.n_train], odd.table.iloc[odd.n_train :]
    model = automl_fuse.fit(
        train, target="y", metric=odd.metric, time_limit=seconds, settings=settings
    )
    scores = model.evaluate(test)
    if odd.metric == "rmse":
        return scores["rmse"] / np.sqrt(np.mean((test["y"] - train["y"].mean()) ** 2))
    if odd.metric == "log_loss":
        shares = train["y"].value_counts(normalize=True)
        return scores["log_loss"] / -np.log(test["y"].map(shares)).mean()
    return (1 - scores[odd.metric]) / {"roc_auc": 0.5, "f1": 1.0}[odd.metric]


@pytest.mark.parametrize("name", ODD)
def test_an_odd_table_is_learned_by_cheap_members(name):
    odd = ODD[name](np.random.default_rng(0))
    assert error_left(odd, QUICK, 120) < odd.most


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_an_odd_table_is_learned_by_everything_in_ten_seconds(name):
    odd = ODD[name](np.random.default_rng(1))
    assert error_left(odd, Settings(progress=False), 10) < odd.most


def test_few_rows_with_many_copies_are_learned_if_copies_stay_together():
    rng = np.random.default_rng(0)
    X = numbers(rng, 330, 3)
    table = X.assign(y=answers(X["x0"]))
    rows = np.concatenate([np.tile(np.arange(30), 20), np.arange(30, 330)])
    train, test = table.iloc[rows[:600]], table.iloc[rows[600:]]
    model = automl_fuse.fit(train, target="y", metric="roc_auc", groups=rows[:600], settings=QUICK)
    assert model.evaluate(test)["roc_auc"] > 0.85


# --------------------------------------------------------------------------- what has no signal


def test_two_rows_give_a_model_that_stays_between_them():
    table = pd.DataFrame({"x": [0.0, 1.0], "y": [1.5, 2.5]})
    settings = Settings(**{**vars(QUICK), "folds": None})
    model = automl_fuse.fit(table, target="y", settings=settings)
    found = model.predict(pd.DataFrame({"x": [-9.0, 0.0, 0.5, 1.0, np.nan]}))
    assert ((found >= 1.5) & (found <= 2.5)).all()


def test_two_rows_of_two_classes_give_probabilities():
    table = pd.DataFrame({"x": [0.0, 1.0], "y": ["no", "yes"]})
    settings = Settings(**{**vars(QUICK), "folds": None})
    model = automl_fuse.fit(table, target="y", settings=settings)
    assert model.predict_proba(table).sum(axis=1) == pytest.approx(1)
    assert any("one row each" in note for note in model.report["warnings"])


def test_constant_columns_alone_are_named():
    table = pd.DataFrame({"a": 1.0, "b": "same", "y": np.arange(60) % 2})
    with pytest.raises(DataError, match=r"no column is left.*'a': always 1.*add features"):
        automl_fuse.fit(table, target="y", settings=QUICK)


def test_a_target_of_distinct_texts_is_named():
    table = numbers(np.random.default_rng(0), 100, 2)
    table["y"] = [f"customer {row}" for row in range(100)]
    with pytest.raises(TargetError, match=r"'y' has 100 classes over 100 rows.*identifier"):
        automl_fuse.fit(table, target="y", settings=QUICK)


def test_a_name_that_two_columns_have_is_named():
    table = numbers(np.random.default_rng(0), 60, 3).set_axis(["a", "b", "a"], axis=1)
    with pytest.raises(DataError, match="'a'"):
        automl_fuse.fit(table.assign(y=0.5 * table["b"]), target="y", settings=QUICK)


def test_columns_without_values_are_reported_and_not_asked_for_again():
    odd = columns_without_values(np.random.default_rng(0))
    model = automl_fuse.fit(odd.table, target="y", settings=QUICK)
    kinds = {column.name: str(column.kind) for column in model.schema.columns}
    assert kinds["gone"] == kinds["empty"] == "constant"
    rows = odd.table[["x0", "x1"]]
    assert model.predict_proba(rows) == pytest.approx(model.predict_proba(odd.table))


def test_strange_names_go_into_the_portable_file(tmp_path):
    odd = strange_names(np.random.default_rng(0))
    model = automl_fuse.fit(odd.table, target="y", settings=QUICK)
    model.save(tmp_path / "model.onnx")
    portable = automl_fuse.load(tmp_path / "model.onnx")
    rows = odd.table.iloc[:50]
    assert portable.predict_proba(rows) == pytest.approx(model.predict_proba(rows), abs=1e-9)
