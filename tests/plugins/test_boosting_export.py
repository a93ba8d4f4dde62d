"""Gradient boosting: fitted models as forests and graphs, refits, and soft labels."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import xgboost

import automl_fuse_boosting
from automl_fuse.errors import ExportError
from automl_fuse.graph import GraphBuilder
from automl_fuse.specs import FitContext, Link, Matrix, Rows, Shape, Split, Task, Tensor
from automl_fuse_boosting import xgboost_model
from automl_fuse_boosting.lightgbm_trees import forest_of_text
from automl_fuse_boosting.ubjson import read_ubjson

if TYPE_CHECKING:
    from collections.abc import Sequence

SPECS = {
    spec.name: spec
    for spec in automl_fuse_boosting.automl_fuse_learners()
    if not spec.distributed  # on one machine it is lightgbm; see test_boosting_distributed.py
}
DATA = Path(__file__).parents[3] / "shared" / "data"
CARDINALITY = 70
"""More categories than the 64 bits of a word."""
LARGEST = float(np.finfo(np.float32).max)
CLOSE = 1e-12
_ZERO = float(np.float32(1e-35))
EXTREMES = np.array(
    [
        *(np.nan, np.inf, -np.inf, 1e300, -1e300, LARGEST, -LARGEST),
        *(-0.0, 0.0, 1e-300, 1e-35, -1e-35, _ZERO, -_ZERO),
        *(-1.0, -2.0, 1.0, 5.0, 63.0, 64.0, 69.0, 70.0, 1e3, 2.0**24, 2.0**31, 2.0**32, 2.0**64),
    ]
)
"""Values at the ends of formats, at zero, and codes that no training row has."""

every_learner = pytest.mark.parametrize("name", sorted(SPECS))
every_task = pytest.mark.parametrize("task", list(Task))
native_or_not = pytest.mark.parametrize("native", [True, False], ids=["native", "numbers"])
with_soft_labels = pytest.mark.parametrize(
    "name", sorted(name for name, spec in SPECS.items() if spec.soft_labels)
)


@dataclass
class Countdown:
    """A deadline that comes nearer by a fixed step each time it is asked."""

    left: float = math.inf
    step: float = 0.0

    def remaining(self) -> float:
        self.left -= self.step
        return self.left

    def expired(self) -> bool:
        return self.left <= 0


def n_classes(task: Task) -> int:
    return {Task.BINARY: 2, Task.MULTICLASS: 4, Task.REGRESSION: 1}[task]


def table(task: Task, n: int = 500, seed: int = 0, *, native: bool = True) -> Rows:
    """Rows with features on which libraries round, and miss values, in different ways."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 7))
    values[:, 1] = 1e5 + np.round(values[:, 1], 2)  # no float32 holds these
    values[:, 2] = rng.integers(-3, 4, n)  # a grid, with both signs of zero
    values[rng.random(n) < 0.3, 2] = -0.0
    values[:, 3] *= 1e-30
    values[:, 4] = np.where(rng.random(n) < 0.2, np.nan, values[:, 4])
    values[:, 5] = rng.integers(0, CARDINALITY, n)
    values[:, 6] = np.where(rng.random(n) < 0.3, np.nan, rng.integers(0, 5, n))
    signal = values[:, 0] + (values[:, 1] - 1e5) * values[:, 2] + 1e30 * values[:, 3]
    signal = signal + np.nan_to_num(values[:, 4], nan=1.5) + 1.5 * (values[:, 5] % 3)
    signal = signal + np.nan_to_num(values[:, 6] % 2, nan=2.0) + 0.3 * rng.normal(size=n)
    y: Any = (signal - signal.mean()) / signal.std()
    if task is not Task.REGRESSION:
        k = n_classes(task)
        y = np.digitize(signal, np.quantile(signal, np.arange(1, k) / k))
    return Rows(X=matrix(values, native=native), y=y)


def matrix(values: Any, *, native: bool = True) -> Matrix:
    last = (CARDINALITY, 5) if native else (0, 0)
    return Matrix(values=values, names=tuple("abcdefg"), cardinalities=(0, 0, 0, 0, 0, *last))


def params(name: str, **changes: Any) -> dict[str, Any]:
    """Return a fast configuration."""
    return {**SPECS[name].portfolio[0].params, "learning_rate": 0.2, "trees": 30, **changes}


def fitted(
    name: str,
    train: Rows,
    task: Task,
    *,
    valid: Rows | None = None,
    deadline: Countdown | None = None,
    **changes: Any,
) -> Any:
    context = FitContext(
        task=task,
        n_classes=n_classes(task),
        seed=1,
        n_threads=1,
        deadline=deadline or Countdown(),
    )
    given = {k: v for k, v in params(name, **changes).items() if v is not None}
    learner = SPECS[name].build(given, context)
    learner.fit(train, valid)
    # What is exported was stored in between.
    return pickle.loads(pickle.dumps(learner))


def session(learner: Any, n_features: int) -> Any:
    """Return what runs the learner's graph."""
    graph = GraphBuilder()
    out = learner.to_onnx(graph, Tensor("X"))
    model = graph.model({"X": ("double", n_features)}, {"Y": (out, "double")})
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def in_graph(learner: Any, values: Any) -> Any:
    return session(learner, values.shape[1]).run(None, {"X": values})[0]


def hard_values(learner: Any, rows: Rows) -> Any:
    """Rows at which implementations that compare, round or look up differently fall apart."""
    rng = np.random.default_rng(7)
    values = np.repeat(rows.X.values[:200], 4, axis=0)
    forest = learner.form().forest
    codes = np.flatnonzero(rows.X.cardinalities)
    numeric = np.flatnonzero(forest.split != Split.MEMBER)
    node = rng.choice(numeric, size=len(values))
    on_threshold = forest.threshold[node]
    steps = np.arange(len(values)) % 4
    around = np.choose(
        steps,
        [
            on_threshold,
            np.nextafter(on_threshold, np.inf),
            np.nextafter(on_threshold, -np.inf),
            np.clip(on_threshold, -LARGEST, LARGEST).astype(np.float32),
        ],
    )
    values[np.arange(len(values)), forest.feature[node]] = around
    rounded = np.clip(values[:40], -LARGEST, LARGEST).astype(np.float32).astype(np.float64)
    single = np.repeat(values[:1], len(EXTREMES) * values.shape[1], axis=0)
    at = np.arange(len(single))
    single[at, at % values.shape[1]] = np.repeat(EXTREMES, values.shape[1])
    whole = np.repeat(EXTREMES[:, None], values.shape[1], axis=1)
    mixed = rng.choice(EXTREMES, size=(200, values.shape[1]))
    hard = np.concatenate([values, rounded, single, whole, mixed])
    # A category is a code, if perhaps an unknown one, and never between two.
    hard[:, codes] = np.where(np.abs(hard[:, codes]) < 1, 0.0, hard[:, codes])
    return hard


# --------------------------------------------------------------------------- parity


@every_learner
@every_task
@native_or_not
def test_library_form_and_graph_agree(name: str, task: Task, native: bool) -> None:
    rows = table(task, native=native)
    learner = fitted(name, rows, task)
    values = hard_values(learner, rows)
    predicted = learner.predict(matrix(values, native=native))
    form = learner.form()
    assert np.abs(form.predict(values) - predicted).max() <= CLOSE
    exported = in_graph(learner, values)
    assert exported.dtype == np.float64
    assert np.abs(exported - predicted).max() <= CLOSE
    np.testing.assert_array_equal(exported.argmax(axis=1), predicted.argmax(axis=1))
    by_set = (form.forest.split == Split.MEMBER).any()
    assert by_set == (native and name != "catboost")


@every_learner
@every_task
def test_sums_of_the_form_are_those_of_the_library(name: str, task: Task) -> None:
    rows = table(task)
    learner = fitted(name, rows, task)
    learner.predict(rows.X)
    if name == "xgboost":
        told = learner._model._adder._whole.boosters[0].inplace_predict(
            rows.X.values, predict_type="margin"
        )
        close = 1e-5  # XGBoost adds in single precision
    elif name == "lightgbm":
        told, close = learner._model._booster.predict(rows.X.values, raw_score=True), CLOSE
    else:
        told, close = learner._model._model.predict(rows.X.values), CLOSE
    sums = learner.form().forest.sums(rows.X.values)
    assert np.abs(np.reshape(told, sums.shape) - sums).max() <= close


@every_learner
@every_task
def test_a_row_in_the_graph_does_not_depend_on_its_batch(name: str, task: Task) -> None:
    rows = table(task)
    learner = fitted(name, rows, task)
    values = hard_values(learner, rows)[::7]
    run = session(learner, values.shape[1])
    batch = run.run(None, {"X": values})[0]
    alone = np.concatenate([run.run(None, {"X": row[None]})[0] for row in values])
    np.testing.assert_allclose(alone, batch, rtol=0, atol=CLOSE)
    again = np.concatenate([learner.predict(matrix(row[None])) for row in values])
    np.testing.assert_array_equal(again, learner.predict(matrix(values)))


@every_learner
def test_many_trees_of_several_classes_agree(name: str) -> None:
    # Beyond 50 trees a class, the graph has an operator for each class.
    task = Task.MULTICLASS
    rows = table(task)
    learner = fitted(name, rows, task, trees=60)
    values = hard_values(learner, rows)
    predicted = learner.predict(matrix(values))
    assert np.abs(learner.form().predict(values) - predicted).max() <= CLOSE
    assert np.abs(in_graph(learner, values) - predicted).max() <= CLOSE


@every_learner
@every_task
def test_trees_of_one_leaf_agree(name: str, task: Task) -> None:
    rng = np.random.default_rng(3)
    train = Rows(
        X=Matrix(values=rng.normal(size=(12, 1)), names=("a",), cardinalities=(0,)),
        y=np.arange(12) % n_classes(task) if task is not Task.REGRESSION else rng.normal(size=12),
    )
    few = {"lightgbm": "min_data_in_leaf", "xgboost": "min_child_weight"}.get(name)
    learner = fitted(name, train, task, trees=3, **({few: 100} if few else {"depth": 1}))
    forest = learner.form().forest
    assert name == "catboost" or (forest.roots < 0).all()
    values = np.array([[np.nan], [0.0], [np.inf], [-1.0]])
    given = Matrix(values=values, names=("a",), cardinalities=(0,))
    assert np.abs(learner.form().predict(values) - learner.predict(given)).max() <= CLOSE
    assert np.abs(in_graph(learner, values) - learner.predict(given)).max() <= CLOSE


@every_learner
@every_task
@pytest.mark.parametrize("n_features", [1, 3])
def test_a_constant_is_a_forest_without_trees(name: str, task: Task, n_features: int) -> None:
    values = np.full((9, n_features), 2.0)
    X = Matrix(values=values, names=tuple("abc"[:n_features]), cardinalities=(0,) * n_features)
    y = np.arange(9) % n_classes(task) if task is not Task.REGRESSION else np.arange(9) / 9
    learner = fitted(name, Rows(X=X, y=y), task)
    form = learner.form()
    assert form.forest.n_trees == 0
    assert form.link is Link.IDENTITY
    np.testing.assert_array_equal(form.predict(values), learner.predict(X))
    np.testing.assert_array_equal(in_graph(learner, values), learner.predict(X))
    assert learner.tuned() == {}


@every_learner
@every_task
def test_no_rows_give_no_predictions(name: str, task: Task) -> None:
    rows = table(task)
    prediction = fitted(name, rows, task).predict(matrix(rows.X.values[:0]))
    assert prediction.shape == (0, n_classes(task))


@every_learner
def test_infinities_in_training_are_learned_from(name: str) -> None:
    rows = table(Task.BINARY, native=False)
    values = rows.X.values.copy()
    endless = np.arange(len(values)) % 3 == 0
    values[endless, 0] = np.where(rows.y[endless] > 0, np.inf, -np.inf)
    values[1::3, 0] = np.where(rows.y[1::3] > 0, 1e300, -1e300)
    learner = fitted(name, replace(rows, X=matrix(values, native=False)), Task.BINARY)
    given = matrix(np.tile(values[:1], (2, 1)), native=False)
    given.values[:, 0] = [-np.inf, np.inf]
    below, above = learner.predict(given)[:, 1]
    assert above > below + 0.5
    hard = hard_values(learner, replace(rows, X=matrix(values, native=False)))
    predicted = learner.predict(matrix(hard, native=False))
    assert np.abs(in_graph(learner, hard) - predicted).max() <= CLOSE


def test_large_batches_of_xgboost_are_asked_in_slices_and_agree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = table(Task.MULTICLASS)
    learner = fitted("xgboost", rows, Task.MULTICLASS)
    whole = learner.predict(rows.X)
    monkeypatch.setattr(xgboost_model, "SLICE_NODES", 100)
    monkeypatch.setattr(xgboost_model, "_CELLS", 5_000)
    sliced = pickle.loads(pickle.dumps(learner))
    np.testing.assert_array_equal(sliced.predict(rows.X), whole)
    assert len(sliced._model._adder._slices().boosters) > 5


def test_symmetric_trees_lose_the_leaves_that_no_row_can_reach() -> None:
    rng = np.random.default_rng(0)
    X = Matrix(values=rng.normal(size=(400, 1)), names=("a",), cardinalities=(0,))
    train = Rows(X=X, y=np.sin(5 * X.values[:, 0]))
    learner = fitted("catboost", train, Task.REGRESSION, trees=20, depth=5)
    forest = learner.form().forest
    # Five borders of one feature part it into six.
    assert len(forest.leaf) <= 20 * 6
    assert len(forest.feature) == len(forest.leaf) - 20
    values = np.concatenate([forest.threshold, [np.nan, np.inf, -np.inf]])[:, None]
    given = Matrix(values=values, names=("a",), cardinalities=(0,))
    assert np.abs(learner.form().predict(values) - learner.predict(given)).max() <= CLOSE


# --------------------------------------------------------------------------- formats


def test_numbers_that_lightgbm_takes_for_zero() -> None:
    edge = float(np.float32(1e-35))
    values = np.repeat([-1.0, 0.0, 1.0], 40)[:, None]
    settings = {"objective": "regression", "verbosity": -1, "min_data_in_leaf": 1, "num_threads": 1}
    data = lightgbm.Dataset(values, np.abs(values[:, 0]), params=settings)
    booster = lightgbm.train(settings, data, 3)
    forest = forest_of_text(booster.model_to_string())
    hard = np.array([-edge, np.nextafter(-edge, -1), -1e-36, -0.0, 1e-36, edge, 2 * edge, np.nan])
    told = booster.predict(hard[:, None], raw_score=True)
    np.testing.assert_allclose(forest.sums(hard[:, None])[:, 0], told, rtol=0, atol=CLOSE)
    assert len(np.unique(told)) > 1


@pytest.mark.parametrize(
    ("setting", "word"), [("zero_as_missing", "zeros"), ("linear_tree", "linear")]
)
def test_what_a_forest_cannot_say_is_refused(setting: str, word: str) -> None:
    rows = table(Task.REGRESSION, native=False)
    learner = fitted("lightgbm", rows, Task.REGRESSION, **{setting: True})
    with pytest.raises(ExportError, match=word):
        learner.form()


def test_ubjson_is_read_as_json() -> None:
    rows = table(Task.MULTICLASS)
    learner = fitted("xgboost", rows, Task.MULTICLASS, trees=4)
    booster = xgboost.Booster()
    booster.load_model(bytearray(learner._model._content))
    expected = json.loads(bytes(booster.save_raw("json")))
    _require_equal(read_ubjson(bytes(booster.save_raw("ubj"))), expected)


def _require_equal(found: Any, expected: Any) -> None:
    if isinstance(found, dict):
        assert set(found) == set(expected)
        for name, value in found.items():
            _require_equal(value, expected[name])
    elif isinstance(found, list):
        for each, other in zip(found, expected, strict=True):
            _require_equal(each, other)
    elif isinstance(found, np.ndarray):
        np.testing.assert_array_equal(found, np.array(expected, dtype=found.dtype))
    else:
        assert found == expected


def test_ubjson_of_all_kinds_is_read_and_others_are_refused() -> None:
    content = (
        b"{i\x01a[TFZ]i\x01b[#i\x02d\x3f\x80\x00\x00D\x3f\xf0\x00\x00\x00\x00\x00\x00"
        b"U\x01c[$I#i\x02\x00\x01\xff\xffi\x01dSi\x02okI\x00\x01el\x00\x00\x01\x00}"
    )
    found = read_ubjson(content)
    assert found.pop("c").tolist() == [1, -1]
    assert found == {"a": [True, False, None], "b": [1.0, 1.0], "d": "ok", "e": 256}
    for wrong in (b"[?]", b"[$S#i\x01i\x01a"):
        with pytest.raises(ValueError, match="UBJSON"):
            read_ubjson(wrong)


# --------------------------------------------------------------------------- refits


@every_learner
@every_task
def test_a_refit_with_the_tuned_params_gives_the_same_model(name: str, task: Task) -> None:
    train, valid = table(task), table(task, seed=1)
    stopped = fitted(name, train, task, valid=valid, trees=None)
    tuned = stopped.tuned()
    assert set(tuned) == {"trees", "learning_rate"}
    assert tuned["learning_rate"] == 0.2
    assert tuned["trees"] == stopped.form().forest.n_trees / _trees_each(name, task)
    again = fitted(name, train, task, **tuned)
    np.testing.assert_array_equal(again.predict(valid.X), stopped.predict(valid.X))
    assert again.tuned() == tuned


def _trees_each(name: str, task: Task) -> int:
    return n_classes(task) if task is Task.MULTICLASS and name != "catboost" else 1


def test_a_first_iteration_without_a_split_costs_no_tree() -> None:
    values = np.random.default_rng(0).normal(size=(40, 1))
    rows = Rows(X=Matrix.numbers(values, ("a",)), y=values[:, 0])
    # A random threshold seldom leaves 17 of 40 rows on both sides.
    learner = fitted(
        "lightgbm", rows, Task.REGRESSION, extra_trees=True, min_data_in_leaf=17, trees=8
    )
    assert learner.tuned()["trees"] == 8
    is_leaf = learner.form().forest.roots < 0
    assert is_leaf.tolist() == [True] + [False] * 8


@every_learner
def test_validation_rows_do_not_stop_a_fixed_number_of_trees(name: str) -> None:
    train, valid = table(Task.BINARY), table(Task.BINARY, seed=1)
    opposite = replace(valid, y=1 - valid.y)
    learner = fitted(name, train, Task.BINARY, valid=opposite, trees=45)
    assert learner.form().forest.n_trees == 45
    assert learner.tuned()["trees"] == 45


@every_learner
def test_a_deadline_still_ends_a_fixed_number_of_trees(name: str) -> None:
    deadline = Countdown(left=40.0, step=1.0)
    learner = fitted(
        name, table(Task.BINARY), Task.BINARY, deadline=deadline, trees=5_000, learning_rate=0.02
    )
    assert 0 < learner.tuned()["trees"] < 40
    assert deadline.left > 0


@every_learner
def test_a_raised_rate_is_told_as_the_constant_one_that_goes_as_far(name: str) -> None:
    train, valid = table(Task.REGRESSION), table(Task.REGRESSION, seed=1)
    pressed = fitted(
        name,
        train,
        Task.REGRESSION,
        valid=valid,
        deadline=Countdown(left=60.0, step=1.0),
        trees=None,
        learning_rate=0.02,
    )
    tuned = pressed.tuned()
    assert 0.03 < tuned["learning_rate"] <= 0.3
    again = fitted(name, train, Task.REGRESSION, **tuned)
    slow = fitted(name, train, Task.REGRESSION, trees=tuned["trees"], learning_rate=0.02)
    losses = [
        float(np.sqrt(np.mean((valid.y - each.predict(valid.X)[:, 0]) ** 2)))
        for each in (pressed, again, slow)
    ]
    assert losses[1] < 1.15 * losses[0]
    assert losses[1] < 0.9 * losses[2]


@every_learner
def test_costs_follow_the_number_of_trees(name: str) -> None:
    shape = Shape(n_rows=5_000, n_features=10, n_classes=2, task=Task.BINARY)
    few, many = (SPECS[name].cost(shape, params(name, trees=trees)) for trees in (20, 200))
    assert many.seconds == pytest.approx(10 * few.seconds)


@every_learner
@every_task
def test_small_students_need_little_said(name: str, task: Task) -> None:
    size = {"lightgbm": {"num_leaves": 4}, "xgboost": {"max_depth": 2}, "catboost": {"depth": 2}}
    given = {"learning_rate": 0.5, "trees": 20, **size[name]}
    spec = SPECS[name]
    assert spec.encoders_for(given)
    context = FitContext(
        task=task, n_classes=n_classes(task), seed=0, n_threads=1, deadline=Countdown()
    )
    rows = table(task)
    learner = spec.build(given, context)
    learner.fit(rows, None)
    forest = learner.form().forest
    assert forest.n_trees == 20 * _trees_each(name, task)
    assert len(forest.leaf) <= 4 * forest.n_trees
    shape = Shape(n_rows=500, n_features=7, n_classes=n_classes(task), task=task)
    assert spec.cost(shape, given).seconds < 5


# --------------------------------------------------------------------------- soft labels


def softened(rows: Rows, k: int) -> Rows:
    """Give each class a probability by its distance, so that codes alone say too little."""
    signal = rows.X.values[:, 0] + np.nan_to_num(rows.X.values[:, 4])
    # Without noise boosting would go on for thousands of trees.
    signal = signal + np.random.default_rng(len(rows.y)).normal(scale=0.4, size=len(signal))
    scores = -((signal[:, None] - np.linspace(-1.5, 1.5, k)) ** 2)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    soft = powers / powers.sum(axis=1, keepdims=True)
    # The codes say nothing, so that whoever reads them is found out.
    return replace(rows, y=np.arange(len(rows.y)) % k, soft=soft)


def cross_entropy(soft: Any, prediction: Any) -> float:
    return float(np.mean(-(soft * np.log(prediction)).sum(axis=1)))


@with_soft_labels
@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS])
def test_soft_labels_are_learned_from(name: str, task: Task) -> None:
    train, valid = (softened(table(task, seed=s), n_classes(task)) for s in (0, 1))
    learner = fitted(name, train, task, valid=valid, trees=None)
    prediction = learner.predict(valid.X)
    prior = cross_entropy(valid.soft, np.tile(train.soft.mean(axis=0), (len(valid.y), 1)))
    least = cross_entropy(valid.soft, valid.soft)
    assert cross_entropy(valid.soft, prediction) < least + 0.4 * (prior - least)
    values = hard_values(learner, train)
    predicted = learner.predict(matrix(values))
    assert np.abs(learner.form().predict(values) - predicted).max() <= CLOSE
    assert np.abs(in_graph(learner, values) - predicted).max() <= CLOSE


@with_soft_labels
@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS])
def test_soft_validation_rows_decide_when_to_stop(name: str, task: Task) -> None:
    k = n_classes(task)
    train, valid = (softened(table(task, seed=s), k) for s in (0, 1))
    opposite = replace(valid, soft=valid.soft[:, ::-1])
    stopped = fitted(name, train, task, valid=opposite, trees=None).tuned()["trees"]
    assert stopped < fitted(name, train, task, valid=valid, trees=None).tuned()["trees"]
    weight = np.where(np.arange(len(valid.y)) % 2, 1.999, 0.001)
    mixed = replace(opposite, soft=opposite.soft.copy(), weight=weight)
    mixed.soft[1::2] = valid.soft[1::2]
    assert stopped < fitted(name, train, task, valid=mixed, trees=None).tuned()["trees"]


@with_soft_labels
@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS])
def test_weights_count_for_soft_labels(name: str, task: Task) -> None:
    rows = softened(table(task), n_classes(task))
    heavy, light = rows.soft, rows.soft[:, ::-1]
    both = matrix(np.concatenate([rows.X.values, rows.X.values]))
    train = Rows(X=both, y=np.tile(rows.y, 2), soft=np.concatenate([heavy, light]))
    weight = np.repeat([1.9, 0.1], len(rows.y))
    weighted = fitted(name, replace(train, weight=weight), task).predict(rows.X)
    plain = fitted(name, train, task).predict(rows.X)
    # Unweighted, the halves contradict each other and leave nothing to learn.
    least = cross_entropy(heavy, heavy)
    assert cross_entropy(heavy, weighted) - least < 0.5 * (cross_entropy(heavy, plain) - least)


@with_soft_labels
@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS])
def test_certain_soft_labels_are_learned_like_classes(name: str, task: Task) -> None:
    rows = table(task)
    certain = replace(rows, soft=np.eye(n_classes(task))[rows.y])
    soft = fitted(name, certain, task).predict(rows.X)
    hard = fitted(name, rows, task).predict(rows.X)
    # Only where boosting starts from, and rounding on the way, are not the same.
    assert np.abs(soft - hard).mean() < 0.05
    assert (soft.argmax(axis=1) == hard.argmax(axis=1)).mean() > 0.95


@every_learner
def test_soft_labels_without_anything_to_learn_give_their_mean(name: str) -> None:
    X = Matrix(values=np.ones((4, 1)), names=("a",), cardinalities=(0,))
    soft = np.array([[0.9, 0.1], [0.5, 0.5], [0.7, 0.3], [0.3, 0.7]])
    weight = np.array([2.0, 1.0, 0.5, 0.5])
    rows = Rows(X=X, y=np.array([0, 1, 0, 1]), soft=soft, weight=weight)
    prediction = fitted(name, rows, Task.BINARY).predict(X)
    np.testing.assert_allclose(prediction, np.tile(weight @ soft / 4, (4, 1)), atol=1e-12)


# --------------------------------------------------------------------------- real columns


def _codes_and_numbers(frame: Any) -> Matrix:
    """Return text as codes of categories, and the rest as numbers."""
    columns, cardinalities = [], []
    for column in frame.columns:
        values = frame[column]
        if pd.api.types.is_numeric_dtype(values):
            columns.append(values.to_numpy(dtype=np.float64))
            cardinalities.append(0)
        else:
            codes, known = pd.factorize(values, sort=True)
            columns.append(np.where(codes < 0, np.nan, codes))
            cardinalities.append(len(known))
    return Matrix(
        values=np.column_stack(columns),
        names=tuple(map(str, frame.columns)),
        cardinalities=tuple(cardinalities),
    )


def _read(table: str) -> tuple[Matrix, Any]:
    folder = DATA / table
    target = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["target"]
    path: Any = next(iter(sorted(folder.glob("train.*"))))
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    frame = frame.iloc[:3_000]
    return _codes_and_numbers(frame.drop(columns=target)), frame[target]


REAL: Sequence[Any] = [
    ("adult", Task.BINARY),
    ("california", Task.REGRESSION),
    ("hypothyroid", Task.MULTICLASS),
]


@pytest.mark.skipif(not DATA.is_dir(), reason="the real tables of ../shared/data are absent")
@every_learner
@pytest.mark.parametrize(("table_name", "task"), REAL)
def test_real_columns_agree(name: str, table_name: str, task: Task) -> None:
    X, target = _read(table_name)
    if task is Task.REGRESSION:
        y: Any = ((target - target.mean()) / target.std()).to_numpy()
    else:
        codes, _ = pd.factorize(target, sort=True)
        y = np.minimum(codes, n_classes(task) - 1)
        # Classes that do not occur in the first rows would be no classes here.
        y = np.unique(y, return_inverse=True)[1]
    k = 1 if task is Task.REGRESSION else int(y.max()) + 1
    if name == "catboost":
        X = Matrix.numbers(X.values, X.names)
    context = FitContext(task=task, n_classes=k, seed=1, n_threads=1, deadline=Countdown())
    learner = SPECS[name].build(params(name, trees=60), context)
    learner.fit(Rows(X=X, y=y), None)
    forest = learner.form().forest
    values = X.values[:1_000].copy()
    node = np.random.default_rng(0).integers(0, len(forest.feature), len(values))
    by_number = forest.split[node] != Split.MEMBER
    rows = np.flatnonzero(by_number)[::2]
    values[rows, forest.feature[node[rows]]] = forest.threshold[node[rows]]
    predicted = learner.predict(replace(X, values=values))
    assert np.abs(learner.form().predict(values) - predicted).max() <= CLOSE
    exported = in_graph(learner, values)
    assert np.abs(exported - predicted).max() <= CLOSE
    np.testing.assert_array_equal(exported.argmax(axis=1), predicted.argmax(axis=1))
