"""Tests of Bayesian factorisation: users and items, their histories, other columns, export."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest

import automl_fuse
from automl_fuse import Settings
from automl_fuse.graph import GraphBuilder
from automl_fuse.specs import (
    Column,
    FitContext,
    Kind,
    Matrix,
    Rows,
    Shape,
    Task,
    Tensor,
)
from automl_fuse.testing import TickingDeadline
from automl_fuse_sklearn.bayesian_factorisation import BAYESIAN_FACTORISATION as SPEC
from automl_fuse_sklearn.gibbs import Categories, Effects, Line, sample
from automl_fuse_sklearn.mean_product import MeanProduct, truncated

if TYPE_CHECKING:
    from automl_fuse.specs import Floats

PARAMS = {"rank": 4, "history": 0, "sweeps": 60}
N_USERS, N_ITEMS = 60, 50
MOVIELENS = Path(__file__).parents[3] / "shared" / "data" / "movielens" / "train.csv"
FAR = 1e9


def context(task: Task, seed: int = 0, seconds: float = FAR) -> FitContext:
    return FitContext(
        task=task,
        n_classes=2 if task is Task.BINARY else 1,
        seed=seed,
        n_threads=1,
        deadline=TickingDeadline(seconds=seconds),
    )


def fitted(rows: Rows, task: Task = Task.REGRESSION, seed: int = 0, **changes: Any) -> Any:
    learner = SPEC.build(PARAMS | changes, context(task, seed))
    learner.fit(rows, None)
    return learner


def pairs_of(n_rows: int, seed: int) -> Floats:
    """Return a user and an item for each row, in random order, no pair twice."""
    cells = np.random.default_rng(seed).permutation(N_USERS * N_ITEMS)[:n_rows]
    return np.column_stack(np.divmod(cells, N_ITEMS)).astype(np.float64)


def matrix(pairs: Floats) -> Matrix:
    """Return pairs as features; of either category, five levels more are known."""
    sizes = (N_USERS + 5, N_ITEMS + 5)
    return Matrix(values=pairs, names=("user", "item"), cardinalities=sizes)


def tastes(pairs: Floats, rank: int = 2) -> Floats:
    """Return products of vectors of users and items, and what some items are better by."""
    rng = np.random.default_rng(7)
    users, items = rng.normal(size=(N_USERS, rank)), rng.normal(size=(N_ITEMS, rank))
    user, item = pairs.astype(int).T
    result: Floats = (users[user] * items[item]).sum(axis=1) + rng.normal(size=N_ITEMS)[item]
    return result


def ratings(n_rows: int = 2000, seed: int = 0) -> Rows:
    pairs = pairs_of(n_rows, seed)
    y = tastes(pairs) + 0.3 * np.random.default_rng(seed + 1).normal(size=n_rows)
    return Rows(X=matrix(pairs), y=y)


def parts(rows: Rows, n_train: int) -> tuple[Rows, Rows]:
    first, second = (
        Rows(X=replace(rows.X, values=rows.X.values[part]), y=rows.y[part])
        for part in (slice(n_train), slice(n_train, None))
    )
    return first, second


def error(learner: Any, rows: Rows) -> float:
    return float(np.sqrt(np.mean((learner.predict(rows.X)[:, 0] - rows.y) ** 2)))


# --------------------------------------------------------------------------- what it learns


def test_pairs_that_were_not_rated_are_predicted() -> None:
    train, test = parts(ratings(), 1500)
    assert np.std(test.y) > 1.5
    assert error(fitted(train), test) < 0.45


def test_few_draws_are_no_worse_than_effects_that_add_up() -> None:
    train, test = parts(ratings(), 1500)
    user, item = train.X.values.astype(int).T
    effect = np.bincount(item, train.y) / np.bincount(item)
    own = np.bincount(user, train.y - effect[item]) / np.bincount(user)
    user, item = test.X.values.astype(int).T
    added = float(np.sqrt(np.mean((own[user] + effect[item] - test.y) ** 2)))
    assert error(fitted(train, sweeps=2), test) < 1.05 * added


def test_who_rated_an_item_tells_of_it() -> None:
    """Users like what most of what they rate is like; ratings are few, and noisy."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(N_USERS), 12)
    item = rng.integers(N_ITEMS // 2, size=len(user)) * 2 + user % 2
    away = rng.random(len(user)) < 0.15
    item = np.where(away, item ^ 1, item).astype(int)
    signal = np.where((user + item) % 2, -1.0, 1.0)
    rows = Rows(
        X=matrix(np.column_stack([user, item]).astype(float)),
        y=signal + 2.0 * rng.normal(size=len(user)),
    )
    every = np.stack(np.meshgrid(np.arange(N_USERS), np.arange(N_ITEMS)), axis=-1).reshape(-1, 2)
    truth = np.where(every.sum(axis=1) % 2, -1.0, 1.0)
    test = Rows(X=matrix(every.astype(float)), y=truth)
    with_history = [error(fitted(rows, history=50, seed=seed), test) for seed in range(3)]
    without = [error(fitted(rows, seed=seed), test) for seed in range(3)]
    assert np.mean(with_history) < np.mean(without) - 0.1


def test_interactions_are_probabilities_that_hold() -> None:
    pairs = pairs_of(2400, 3)
    chance = 1.0 / (1.0 + np.exp(-1.5 * tastes(pairs) + 1.0))
    y = (np.random.default_rng(4).random(len(pairs)) < chance).astype(np.int64)
    train, test = parts(Rows(X=matrix(pairs), y=y), 1800)
    learner = fitted(train, Task.BINARY)

    def log_loss(factor: float) -> float:
        """Return that of the test rows if predictions are so many times less certain."""
        less = replace(learner.model, deviation=factor * learner.model.deviation)
        predicted = less.predict(test.X.values)
        np.testing.assert_allclose(predicted.sum(axis=1), 1.0, atol=1e-12)
        return float(-np.log(predicted[np.arange(len(test.y)), test.y]).mean())

    share = train.y.mean()
    base = -np.log(np.where(test.y == 1, share, 1.0 - share)).mean()
    assert log_loss(1.0) < 0.75 * base
    assert log_loss(1.0) < min(log_loss(0.7), log_loss(1.4))


def test_other_columns_are_told_apart_from_taste() -> None:
    rows = ratings()
    rng = np.random.default_rng(1)
    number, season = rng.normal(size=len(rows.y)), rng.integers(3, size=len(rows.y))
    values = np.column_stack([season, rows.X.values, number])
    X = Matrix(values=values, names=("s", "user", "item", "n"), cardinalities=(3, 65, 55, 0))
    y = rows.y + 2.0 * number + np.array([-2.0, 0.0, 2.0])[season]
    train, test = parts(Rows(X=X, y=y), 1500)
    learner = fitted(train)
    assert error(learner, test) < 0.5
    odd = replace(test.X, values=test.X.values.copy())
    odd.values[:, 0] = np.nan
    odd.values[:, 3] = np.nan
    left = learner.predict(odd)[:, 0]
    assert np.corrcoef(left, (rows.y)[1500:])[0, 1] > 0.9


# --------------------------------------------------------------------------- unseen and missing


def test_unseen_users_and_items_are_like_missing_ones() -> None:
    rows = ratings()
    learner = fitted(rows, history=30)
    items = np.arange(N_ITEMS, dtype=float)

    def of_user(user: float) -> Floats:
        predicted: Floats = learner.predict(
            matrix(np.column_stack([np.full(N_ITEMS, user), items]))
        )
        return predicted[:, 0]

    unseen = of_user(N_USERS + 2.0)
    np.testing.assert_allclose(unseen, of_user(np.nan), atol=1e-6)
    np.testing.assert_allclose(unseen, of_user(1e9), atol=1e-6)
    item = rows.X.values[:, 1].astype(int)
    means = np.bincount(item, rows.y) / np.bincount(item)
    assert np.corrcoef(unseen, means)[0, 1] > 0.8
    neither = learner.predict(matrix(np.full((1, 2), np.nan)))[0, 0]
    assert neither == pytest.approx(rows.y.mean(), abs=0.7)


def test_missing_users_share_a_vector_of_their_own() -> None:
    rows = ratings()
    values = rows.X.values.copy()
    gone = np.random.default_rng(2).random(len(values)) < 0.2
    values[gone, 0] = np.nan
    y = np.where(gone, rows.y + 3.0, rows.y)
    learner = fitted(Rows(X=replace(rows.X, values=values), y=y), history=30)
    predicted = learner.predict(replace(rows.X, values=values))[:, 0]
    assert predicted[gone].mean() == pytest.approx(y[gone].mean(), abs=0.4)
    assert predicted[~gone].mean() == pytest.approx(y[~gone].mean(), abs=0.2)


# --------------------------------------------------------------------------- the contract


def test_seeds_decide() -> None:
    rows = ratings(600)
    first, again, other = (fitted(rows, seed=seed).predict(rows.X) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


@pytest.mark.parametrize("task", sorted(SPEC.tasks))
def test_graphs_predict_what_learners_do(task: Task) -> None:
    rows = ratings()
    y = (rows.y > 0).astype(np.int64) if task is Task.BINARY else rows.y
    extra = np.random.default_rng(1).normal(size=(len(y), 2))
    values = np.column_stack([extra, rows.X.values, np.arange(len(y)) % 4])
    X = Matrix(values=values, names=tuple("abuic"), cardinalities=(0, 0, 65, 55, 4))
    learner = fitted(Rows(X=X, y=y), task, history=40)
    odd = values[:60].copy()
    odd[::2, 2] = np.tile([np.nan, 64.0, 1e12, -5.0, -np.inf], 6)
    odd[::3, 3] = np.tile([np.nan, np.inf], 10)
    odd[::5, 0] = np.nan
    odd[::7, 4] = np.nan
    odd[5, 1] = 1e200
    expected = learner.predict(replace(X, values=odd))
    graph = GraphBuilder()
    output = learner.to_onnx(graph, Tensor("X"))
    model = graph.model({"X": ("double", 5)}, {"Y": (output, "double")})
    run = onnxruntime.InferenceSession(model.SerializeToString())
    np.testing.assert_allclose(run.run(None, {"X": odd})[0], expected, rtol=1e-12, atol=1e-12)
    alone = np.vstack([run.run(None, {"X": odd[[i]]})[0] for i in range(len(odd))])
    np.testing.assert_allclose(alone, expected, rtol=1e-12, atol=1e-12)


def test_what_is_kept_does_not_grow_with_rows_or_sweeps() -> None:
    small, large = (
        len(pickle.dumps(fitted(ratings(n), sweeps=s))) for n, s in ((900, 20), (2900, 60))
    )
    assert large == pytest.approx(small, rel=0.02)
    assert large < 4.0 * 16 * (N_USERS + N_ITEMS + 12) + 4000.0


def test_only_tables_of_users_and_items_fit() -> None:
    def column(levels: int) -> Column:
        names = tuple(map(str, range(levels)))
        return Column(name="c", kind=Kind.CATEGORY, reason="", categories=names)

    assert "users and items" in SPEC.misfit([column(900), column(5)])
    assert SPEC.misfit([column(900), column(5), column(30)]) == ""


def test_cost_grows_with_each_param() -> None:
    shape = Shape(n_rows=50_000, n_features=3, n_classes=1, task=Task.REGRESSION)
    plain = SPEC.cost(shape, PARAMS).seconds
    for name, value in (("rank", 16), ("history", 1024), ("sweeps", 120)):
        assert SPEC.cost(shape, PARAMS | {name: value}).seconds > 1.2 * plain


# --------------------------------------------------------------------------- its parts


class Counting:
    """A component that counts how often it is drawn and collected."""

    variance = 0.0

    def __init__(self, n_rows: int) -> None:
        self.rows = np.zeros(n_rows)
        self.drawn = self.collected = 0

    def draw(self, residual: Floats, precision: float, rng: np.random.Generator) -> None:
        del residual, precision, rng
        self.drawn += 1

    def collect(self) -> None:
        self.collected += 1


@pytest.mark.parametrize(("seconds", "drawn"), [(-1.0, 1), (25.0, 25), (FAR, 40)])
def test_sampling_ends_in_time_and_counts_its_last_draws(seconds: float, drawn: int) -> None:
    part, y = Counting(5), np.zeros(5)
    deadline = TickingDeadline(seconds=seconds)
    sample(y, np.ones(5), [part], 40, deadline, np.random.default_rng(0))
    assert part.drawn <= drawn
    assert part.drawn >= drawn // 2
    assert 1 <= part.collected <= max(1, part.drawn)
    if seconds == FAR:
        assert part.collected == 30


def test_effects_are_shrunk_as_far_as_they_are_noise() -> None:
    rng = np.random.default_rng(0)
    codes, weight = np.repeat(np.arange(40), 5), np.ones(200)
    noise = rng.normal(size=200)

    def slope(effects: Floats) -> float:
        """Return the mean of sampled effects over that of the plain means of levels."""
        y = effects[codes] + noise
        part, line = Effects(Categories(codes, 40), weight), Line(np.empty((200, 0)), weight)
        deadline = TickingDeadline(seconds=FAR)
        sample(y - y.mean(), weight, [line, part], 300, deadline, np.random.default_rng(1))
        means = np.bincount(codes, y - y.mean()) / 5.0
        return float(part.mean() @ means / (means @ means))

    assert slope(3.0 * rng.normal(size=40)) > 0.9
    assert slope(np.zeros(40)) < 0.6


def test_the_mean_of_products_needs_no_products() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(40, 3)), rng.normal(size=(30, 3))
    mean, dense = MeanProduct(rank=9), np.zeros((40, 30))
    for _ in range(25):
        a = left @ rng.normal(size=(3, 3))
        b = right @ rng.normal(size=(3, 3))
        mean.add(a, b)
        dense += a @ b.T / 25.0
    first, second = mean.factors()
    assert first.shape == (40, 9)
    np.testing.assert_allclose(first @ second.T, dense, atol=1e-6)


def test_truncated_factors_are_the_nearest() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(20, 8)), rng.normal(size=(15, 8))
    u, sizes, v = np.linalg.svd(left @ right.T)
    nearest = (u[:, :3] * sizes[:3]) @ v[:3]
    first, second = truncated(left, right, 3)
    np.testing.assert_allclose(first @ second.T, nearest, atol=1e-8)


# --------------------------------------------------------------------------- whole tables


@pytest.mark.skipif(not MOVIELENS.exists(), reason="the shared tables are not here")
def test_ratings_of_films_are_predicted_well() -> None:
    """A fifth of the training rows is scored: the rows for tests are for benchmarks alone."""
    frame = pd.read_csv(MOVIELENS).sample(frac=1.0, random_state=0)
    pairs = np.column_stack([frame[name].astype("category").cat.codes for name in ("user", "item")])
    n_users, n_items = pairs.max(axis=0) + 1
    X = Matrix(values=pairs * 1.0, names=("user", "item"), cardinalities=(n_users, n_items))
    stars = frame["rating"].to_numpy(dtype=float)
    train, test = parts(Rows(X=X, y=(stars - stars.mean()) / stars.std()), 64_000)
    learner = fitted(train, rank=8, history=256, sweeps=60)
    assert stars.std() * error(learner, test) < 0.905


@pytest.mark.timeout(200)
def test_a_table_of_users_and_items_becomes_one_file(tmp_path: Path) -> None:
    rows = ratings(1200)
    user, item = rows.X.values.astype(int).T
    frame = pd.DataFrame({"user": [f"u{i}" for i in user], "item": [f"i{i}" for i in item]})
    frame["rating"] = rows.y
    settings = Settings(
        learners=("bayesian_factorisation",),
        folds=2,
        max_trials=1,
        workers=1,
        executor="inline",
        compressors=(),
    )
    pipeline = automl_fuse.fit(frame, target="rating", time_limit=100, settings=settings)
    path = tmp_path / "model.onnx"
    pipeline.save(path)
    test = pd.concat(
        [frame.iloc[:50], pd.DataFrame({"user": ["new", None], "item": ["i3", "new"]})]
    )
    expected = pipeline.predict(test)
    np.testing.assert_allclose(automl_fuse.load(path).predict(test), expected, atol=1e-9)
    assert np.corrcoef(expected[:50], frame["rating"][:50])[0, 1] > 0.9
