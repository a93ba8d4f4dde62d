"""Tests of how the learners of the scikit-learn plugin write themselves into a graph."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest

import automl_fuse_sklearn
from automl_fuse.errors import PluginError
from automl_fuse.graph import GraphBuilder
from automl_fuse.specs import (
    FitContext,
    ForestModel,
    Matrix,
    NetworkModel,
    Rows,
    Split,
    Task,
    Tensor,
)
from automl_fuse.testing import TickingDeadline
from automl_fuse_sklearn import forest, trees

if TYPE_CHECKING:
    from automl_fuse.specs import Floats

SPECS = {spec.name: spec for spec in automl_fuse_sklearn.automl_fuse_learners()}
CASES = [(name, task) for name, spec in SPECS.items() for task in sorted(spec.tasks)]
TREES = ("decision_tree", "random_forest", "extra_trees", "hist_gradient_boosting")
NETWORKS = ("linear", "elastic_net", "svm_linear", "mlp")
N_CLASSES = {Task.BINARY: 2, Task.MULTICLASS: 4, Task.REGRESSION: 1}
N_FEATURES = 5
TOLERANCE = 1e-12


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forest, "tree_count", lambda n_rows: 60)


def context(task: Task, n_classes: int = 0) -> FitContext:
    return FitContext(
        task=task,
        n_classes=n_classes or N_CLASSES[task],
        seed=3,
        n_threads=1,
        deadline=TickingDeadline(seconds=1e9),
    )


def make_rows(task: Task, n_rows: int = 300, seed: int = 0, *, missing: bool = False) -> Rows:
    """Return rows of which some columns are coarse, so that values repeat and distances tie."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_rows, N_FEATURES))
    values[:, 1] = np.round(values[:, 1], 1)
    values[:, 2] = rng.integers(0, 3, size=n_rows)
    values[:, 3] *= 40.0
    signal = values[:, 0] ** 2 + values[:, 1] + values[:, 2] + 0.5 * rng.normal(size=n_rows)
    if task is Task.REGRESSION:
        y = (signal - signal.mean()) / signal.std()
    else:
        cuts = np.quantile(signal, np.arange(1, N_CLASSES[task]) / N_CLASSES[task])
        y = np.searchsorted(cuts, signal).astype(np.int64)
    if missing:
        values[rng.random(values.shape) < 0.1] = np.nan
    return Rows(X=Matrix.numbers(values, [f"x{i}" for i in range(N_FEATURES)]), y=y)


def fitted(name: str, task: Task, train: Rows, valid: Rows | None = None, **params: Any) -> Any:
    spec = SPECS[name]
    n_classes = 1 if task is Task.REGRESSION else len(np.unique(train.y))
    learner = spec.build(dict(spec.portfolio[0].params) | params, context(task, n_classes))
    learner.fit(train, valid)
    return learner


def session(learner: Any, n_features: int) -> onnxruntime.InferenceSession:
    graph = GraphBuilder()
    output = learner.to_onnx(graph, Tensor("X"))
    model = graph.model({"X": ("double", n_features)}, {"Y": (output, "double")})
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def exported(learner: Any, values: Floats) -> Floats:
    return session(learner, values.shape[1]).run(None, {"X": values})[0]


def assert_same(learner: Any, values: Floats, rtol: float = 0.0) -> None:
    """Require that the graph predicts what Python does, in a batch and one row at a time."""
    expected = learner.predict(Matrix.numbers(values, [str(i) for i in range(values.shape[1])]))
    run = session(learner, values.shape[1])
    batch = run.run(None, {"X": values})[0]
    alone = np.vstack([run.run(None, {"X": values[[i]]})[0] for i in range(len(values))])
    for actual in (batch, alone):
        assert actual.dtype == np.float64
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=TOLERANCE)
        np.testing.assert_array_equal(actual.argmax(axis=1), expected.argmax(axis=1))


def hard_rows(values: Floats, learner: Any) -> Floats:
    """Return rows that trees might take for others: on thresholds and next to them, and so on."""
    rng = np.random.default_rng(7)
    rows = [values[:40], values[:40].astype(np.float32).astype(np.float64)]
    trees_ = learner.form().forest
    plain = np.flatnonzero((trees_.split != Split.MEMBER) & np.isfinite(trees_.threshold))
    single = np.float32 if trees_.single else np.float64
    for node in rng.permutation(plain)[:40]:
        row = np.repeat(values[rng.integers(len(values))][None], 3, axis=0)
        t = trees_.threshold[node]
        row[:, trees_.feature[node]] = [
            t,
            np.nextafter(single(t), single(np.inf)),
            np.nextafter(single(t), single(-np.inf)),
        ]
        rows.append(row)
    for extreme in (np.nan, np.inf, -np.inf, 1e300, -1e300, 3.5e38, 0.0):
        row = values[:N_FEATURES].copy()
        np.fill_diagonal(row, extreme)
        rows += [row, np.full((1, N_FEATURES), extreme)]
    return np.vstack(rows)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_graphs_predict_what_learners_do(name: str, task: Task) -> None:
    missing = name in TREES
    train, valid = (make_rows(task, seed=s, missing=missing) for s in (0, 1))
    learner = pickle.loads(pickle.dumps(fitted(name, task, train, valid)))
    assert_same(learner, valid.X.values[:80])
    assert_same(learner, train.X.values[:80])
    if missing:
        assert_same(learner, hard_rows(train.X.values, learner))
    else:
        far = valid.X.values[:20].copy()
        far[:5] *= 1e3
        far[5:10] = np.nan
        far[10:15, 0] = np.nan
        assert_same(learner, far, rtol=1e-12)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_forms_predict_what_learners_do(name: str, task: Task) -> None:
    train, test = make_rows(task), make_rows(task, seed=1, missing=True)
    learner = fitted(name, task, train, test)
    form = learner.form()
    if name not in TREES + NETWORKS:
        assert form is None
        return
    assert isinstance(form, ForestModel if name in TREES else NetworkModel)
    values = hard_rows(test.X.values, learner) if name in TREES else test.X.values
    expected = learner.predict(Matrix.numbers(values, test.X.names))
    np.testing.assert_allclose(form.predict(values), expected, rtol=0, atol=TOLERANCE)


def test_forests_are_exact_to_the_last_bit() -> None:
    for name in ("random_forest", "extra_trees", "decision_tree"):
        for task in (Task.BINARY, Task.MULTICLASS):
            train = make_rows(task, missing=True)
            learner = fitted(name, task, train)
            values = hard_rows(train.X.values, learner)
            expected = learner.predict(Matrix.numbers(values, train.X.names))
            np.testing.assert_array_equal(exported(learner, values), expected)
            np.testing.assert_array_equal(learner.form().predict(values), expected)
            np.testing.assert_array_equal(expected.sum(axis=1), 1.0)


def test_leaves_are_counted_in_parts_that_add_up() -> None:
    rng = np.random.default_rng(0)
    for n_trees in (1, 3, 7, 150, 200):
        assert trees._shares(n_trees).sum() == trees._unit(n_trees)
        assert trees._shares(n_trees).max() <= 2**24
        share = rng.dirichlet(np.ones(5), size=50) / n_trees
        share[:5] = np.eye(5) / n_trees
        parts = trees._to_grid(share, int(trees._shares(n_trees)[0]), trees._unit(n_trees))
        assert np.array_equal(parts, parts.astype(np.float32))
        assert set((parts * trees._unit(n_trees)).sum(axis=1)) == {trees._shares(n_trees)[0]}
        np.testing.assert_allclose(parts, share, rtol=0, atol=2.0 / trees._unit(n_trees))


@pytest.mark.parametrize("name", TREES)
def test_trees_that_ask_only_whether_a_value_is_missing(name: str) -> None:
    values = np.random.default_rng(0).normal(size=(300, 1))
    values[::2] = np.nan
    rows = Rows(X=Matrix.numbers(values, ("x",)), y=np.arange(300) % 2)
    learner = fitted(name, Task.BINARY, rows)
    assert_same(learner, np.array([[np.nan], [0.3], [np.inf], [-np.inf], [1e300]]))


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("task", list(Task))
def test_trees_without_a_split(name: str, task: Task) -> None:
    y = make_rows(task).y
    rows = Rows(X=Matrix.numbers(np.ones((300, 2)), ("a", "b")), y=y)
    assert_same(fitted(name, task, rows), np.array([[1.0, 1.0], [np.nan, -np.inf]]))


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_learner_without_features_is_a_constant(name: str, task: Task) -> None:
    rows = Rows(X=Matrix.numbers(np.empty((300, 0)), ()), y=make_rows(task).y)
    learner = fitted(name, task, rows)
    form = learner.form()
    assert form.forest.n_trees == 0
    expected = learner.predict(rows.X)
    np.testing.assert_allclose(form.predict(rows.X.values), expected, atol=1e-15)
    graph = GraphBuilder()
    output = learner.to_onnx(graph, Tensor("X"))
    model = graph.model({"X": ("double", 3)}, {"Y": (output, "double")})
    run = onnxruntime.InferenceSession(model.SerializeToString())
    np.testing.assert_allclose(run.run(None, {"X": np.ones((4, 3))})[0], expected[:4], atol=1e-15)


@pytest.mark.parametrize("task", list(Task))
def test_boosting_on_categories(task: Task) -> None:
    rng = np.random.default_rng(0)
    rows = make_rows(task, n_rows=600)
    many = 100.0 + np.round(15.0 * rows.X.values[:, [1]])
    values = np.hstack([rows.X.values, many])
    values[:, 2] = rng.permutation(30)[(10 * np.abs(values[:, 0])).astype(int) % 30]
    values[values[:, 2] == 7.0, 2] = 8.0
    values[rng.random(600) < 0.1, 2] = np.nan
    X = Matrix(values=values, names=(*rows.X.names, "c"), cardinalities=(0, 0, 31, 0, 0, 200))
    learner = fitted("hist_gradient_boosting", task, Rows(X=X, y=rows.y))
    form = learner.form()
    sets = np.flatnonzero(form.forest.split == Split.MEMBER)
    assert {2, 5} <= set(form.forest.feature[sets].tolist())
    hard = np.repeat(values[:8], 35, axis=0)
    hard[:, 2] = np.tile([*range(31), np.nan, 99.0, -1.0, 7.5], 8)
    hard[::3, 5] = [np.nan, 500.0, 3.0, 199.0] * 23 + [np.inf, -np.inf]
    assert_same(learner, hard)
    expected = learner.predict(Matrix(values=hard, names=X.names, cardinalities=X.cardinalities))
    np.testing.assert_allclose(form.predict(hard), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_neighbours_and_classes_that_tie(n_classes: int) -> None:
    """Many rows are equally far, and classes often have equal votes."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, size=(240, 6)).astype(np.float64)
    X = Matrix.numbers(values, "abcdef")
    for k in (2, 8, 60, 500):
        rows = Rows(X=X, y=np.arange(240) % n_classes)
        task = Task.BINARY if n_classes == 2 else Task.MULTICLASS
        learner = fitted("knn", task, rows, n_neighbors=k, relevance=0.0)
        predicted = learner.predict(X)
        ordered = np.sort(predicted, axis=1)
        assert k > 8 or np.any(ordered[:, -1] == ordered[:, -2])
        assert_same(learner, values[:100])


def test_neighbours_do_not_favour_the_first_rows() -> None:
    values = np.zeros((400, 1))
    values[0] = 1.0
    y = (np.arange(400) >= 200).astype(np.int64)
    learner = fitted("knn", Task.BINARY, Rows(X=Matrix.numbers(values, "a"), y=y), n_neighbors=100)
    assert 0.3 < learner.predict(Matrix.numbers(np.zeros((1, 1)), "a"))[0, 1] < 0.7


def test_constants_take_few_bytes() -> None:
    from automl_fuse_sklearn.knn import in_few_bytes

    for values, kind in (([1.0, -3.0], np.int8), ([0.5, 200.0], np.float32), ([0.1], np.float64)):
        graph = GraphBuilder()
        output = in_few_bytes(graph, np.array(values))
        (kept,) = (onnx.numpy_helper.to_array(each) for each in graph.initializers)
        assert kept.dtype == kind
        model = graph.model({}, {"Y": (output, "double")})
        run = onnxruntime.InferenceSession(model.SerializeToString())
        np.testing.assert_array_equal(run.run(None, {})[0], values)


def test_straight_lines_that_say_nothing_tie() -> None:
    rows = make_rows(Task.BINARY)
    learner = fitted("elastic_net", Task.BINARY, rows, penalty=1e3, l1_share=1.0)
    np.testing.assert_array_equal(learner.predict(rows.X), 0.5)
    assert_same(learner, rows.X.values[:5])


def test_members_of_one_fold_share_their_scaling() -> None:
    rows = make_rows(Task.REGRESSION)
    graph = GraphBuilder()
    for name in ("linear", "svm_rbf", "knn", "mlp"):
        fitted(name, Task.REGRESSION, rows).to_onnx(graph, Tensor("X"))
    assert sum(node.op_type == "IsNaN" for node in graph.nodes_) == 1


def test_nothing_is_written_before_fit() -> None:
    spec = SPECS["linear"]
    learner: Any = spec.build(spec.portfolio[0].params, context(Task.BINARY))
    with pytest.raises(PluginError, match="not fitted"):
        learner.to_onnx(GraphBuilder(), Tensor("X"))
    for ask in (learner.form, learner.tuned):
        with pytest.raises(PluginError, match="not fitted"):
            ask()
