"""Tests of the scikit-learn plugin: every learner on every task it learns."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import automl_fuse_sklearn
from automl_fuse.errors import PluginError
from automl_fuse.specs import Cost, FitContext, Link, Matrix, Rows, Shape, Task, linked
from automl_fuse_sklearn import calibration, common, forest, hist_gradient_boosting, mlp, trees

if TYPE_CHECKING:
    from collections.abc import Sequence

SPECS = {spec.name: spec for spec in automl_fuse_sklearn.automl_fuse_learners()}
CASES = [(name, task) for name, spec in SPECS.items() for task in sorted(spec.tasks)]
POINTS = [(name, i) for name, spec in SPECS.items() for i in range(len(spec.portfolio))]
READS_NAN = ("decision_tree", "random_forest", "extra_trees", "hist_gradient_boosting")
N_CLASSES = {Task.BINARY: 2, Task.MULTICLASS: 3, Task.REGRESSION: 1}


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep forests small: what is tested does not depend on their size."""
    monkeypatch.setattr(forest, "tree_count", lambda n_rows: 40)


class Far:
    """A deadline that never comes."""

    def remaining(self) -> float:
        return 1e9

    def expired(self) -> bool:
        return False


class Past:
    """A deadline that has passed."""

    def remaining(self) -> float:
        return -1.0

    def expired(self) -> bool:
        return True


class Replay:
    """Answers a space with the values of a configuration, and checks them."""

    def __init__(self, params: Any) -> None:
        self.params = params
        self.asked: list[str] = []

    def _ask(self, name: str) -> Any:
        assert name not in self.asked
        self.asked.append(name)
        return self.params[name]

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        value = self._ask(name)
        assert isinstance(value, int)
        assert low <= value <= high
        assert low >= 1 or not log
        return value

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        value = self._ask(name)
        assert isinstance(value, float)
        assert low <= value <= high
        assert low > 0.0 or not log
        return value

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        value = self._ask(name)
        assert value in options
        return value


def context(task: Task, seed: int = 0, deadline: Any = None, n_classes: int = 0) -> FitContext:
    return FitContext(
        task=task,
        n_classes=n_classes or N_CLASSES[task],
        seed=seed,
        n_threads=1,
        deadline=deadline or Far(),
    )


def make_rows(task: Task, n_rows: int = 240, n_features: int = 4, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_rows, n_features))
    signal = 2.0 * values[:, 0] + 0.3 * rng.normal(size=n_rows)
    if task is Task.REGRESSION:
        y = (signal - signal.mean()) / signal.std()
    else:
        cuts = np.quantile(signal, np.arange(1, N_CLASSES[task]) / N_CLASSES[task])
        y = np.searchsorted(cuts, signal).astype(np.int64)
    names = [f"x{i}" for i in range(n_features)]
    return Rows(X=Matrix.numbers(values, names), y=y)


def fitted(name: str, task: Task, train: Rows, valid: Rows | None = None, **changes: Any) -> Any:
    spec = SPECS[name]
    learner = spec.build(spec.portfolio[0].params, context(task, **changes))
    learner.fit(train, valid)
    return learner


def loss(task: Task, y: Any, predictions: Any) -> float:
    if task is Task.REGRESSION:
        return float(np.mean((predictions[:, 0] - y) ** 2))
    return float(-np.mean(np.log(np.maximum(predictions[np.arange(len(y)), y], 1e-9))))


def assert_valid(task: Task, predictions: Any, n_rows: int, n_classes: int = 0) -> None:
    assert predictions.shape == (n_rows, n_classes or N_CLASSES[task])
    assert predictions.dtype == np.float64
    assert np.isfinite(predictions).all()
    if task is not Task.REGRESSION:
        assert (predictions >= 0.0).all()
        np.testing.assert_allclose(predictions.sum(axis=1), 1.0, atol=1e-12)


def one_row(X: Matrix, i: int) -> Matrix:
    return Matrix(values=X.values[i : i + 1], names=X.names, cardinalities=X.cardinalities)


# --------------------------------------------------------------------------- the specs


def test_names_tasks_and_versions() -> None:
    assert set(SPECS) == {
        "linear",
        "elastic_net",
        "svm_linear",
        "svm_rbf",
        "knn",
        "naive_bayes",
        "decision_tree",
        "random_forest",
        "extra_trees",
        "hist_gradient_boosting",
        "mlp",
        "bayesian_factorisation",
    }
    assert all(spec.api_version == 1 for spec in SPECS.values())
    assert Task.REGRESSION not in SPECS["naive_bayes"].tasks
    assert SPECS["svm_rbf"].max_rows == 8_000
    assert SPECS["knn"].max_rows == 50_000


def test_listing_loads_no_heavy_library() -> None:
    code = (
        "import sys, automl_fuse_sklearn as p; p.automl_fuse_learners();"
        "sys.exit(any(m in sys.modules for m in ('sklearn', 'scipy', 'pandas', 'optuna')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.returncode == 0


@pytest.mark.parametrize(("name", "i"), POINTS)
def test_portfolio_lies_in_space(name: str, i: int) -> None:
    spec = SPECS[name]
    params = spec.portfolio[i].params
    replay = Replay(params)
    assert spec.space(replay) == dict(params)
    assert sorted(replay.asked) == sorted(params)


@pytest.mark.parametrize("name", SPECS)
def test_portfolio_merits_fall(name: str) -> None:
    merits = [point.merit for point in SPECS[name].portfolio]
    assert merits == sorted(merits, reverse=True)
    assert len(set(merits)) == len(merits)
    assert all(0.0 < merit <= 1.0 for merit in merits)


@pytest.mark.parametrize(("name", "i"), POINTS)
def test_cost_is_positive_and_grows(name: str, i: int) -> None:
    spec = SPECS[name]
    params = spec.portfolio[i].params

    def cost(n_rows: int, n_features: int, task: Task) -> Cost:
        shape = Shape(n_rows=n_rows, n_features=n_features, n_classes=N_CLASSES[task], task=task)
        return spec.cost(shape, params)

    for task in spec.tasks:
        costs = [cost(n, 20, task) for n in (20, 300, 1_000, 7_000, 30_000, 300_000)]
        seconds = [c.seconds for c in costs]
        assert all(0.0 < a <= b for a, b in pairwise(seconds))
        assert all(isinstance(c.seconds, float) and c.bytes > 0.0 for c in costs)
        assert cost(5_000, 10, task).seconds < cost(5_000, 200, task).seconds


@pytest.mark.parametrize("name", ["linear", "knn", "extra_trees", "random_forest"])
def test_unsupervised_features_on_request(name: str) -> None:
    spec = SPECS[name]
    params = dict(spec.portfolio[0].params)
    plain = spec.encoders_for(params | {"features": "plain"})
    more = spec.encoders_for(params | {"features": "unsupervised"})
    assert more == (*plain, "pca", "clusters", "isolation")


def test_target_features_of_boosting_on_request() -> None:
    spec = SPECS["hist_gradient_boosting"]
    assert "target" not in spec.encoders_for({"features": "plain"})
    assert {"target", "counts"} < set(spec.encoders_for({"features": "target"}))


# --------------------------------------------------------------------------- the contract


@pytest.mark.parametrize(("name", "task"), CASES)
def test_beats_the_mean(name: str, task: Task) -> None:
    train, valid, test = (make_rows(task, seed=s) for s in (0, 1, 2))
    predictions = fitted(name, task, train, valid).predict(test.X)
    assert_valid(task, predictions, len(test.y))
    constant = np.tile(common.mean_target(train, context(task)), (len(test.y), 1))
    assert loss(task, test.y, predictions) < 0.7 * loss(task, test.y, constant)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_same_seed_pickle_and_single_rows(name: str, task: Task) -> None:
    train, valid = make_rows(task), make_rows(task, seed=1)
    learner = fitted(name, task, train, valid)
    predictions = learner.predict(valid.X)
    again = fitted(name, task, train, valid).predict(valid.X)
    np.testing.assert_array_equal(predictions, again)
    restored = pickle.loads(pickle.dumps(learner))
    np.testing.assert_array_equal(restored.predict(valid.X), predictions)
    for i in (0, 17, 239):
        row = learner.predict(one_row(valid.X, i))
        np.testing.assert_allclose(row[0], predictions[i], rtol=0, atol=1e-12)
    assert learner.predict(Matrix.numbers(np.empty((0, 4)), valid.X.names)).shape[0] == 0


@pytest.mark.parametrize(("name", "task"), CASES)
def test_weights_matter(name: str, task: Task) -> None:
    train = make_rows(task)
    rng = np.random.default_rng(3)
    y = train.y.copy()
    wrong = rng.random(len(y)) < 0.5
    y[wrong] = -y[wrong] if task is Task.REGRESSION else (N_CLASSES[task] - 1 - y)[wrong]
    weight = np.where(wrong, 0.01, 1.0)
    mixed = Rows(X=train.X, y=y)
    heavy = Rows(X=train.X, y=y, weight=weight / weight.mean())
    test = make_rows(task, seed=1)
    with_weights = fitted(name, task, heavy).predict(test.X)
    without = fitted(name, task, mixed).predict(test.X)
    assert loss(task, test.y, with_weights) < 0.9 * loss(task, test.y, without)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_past_deadline_gives_a_model_quickly(name: str, task: Task) -> None:
    train, valid = make_rows(task, n_rows=2_000, n_features=20), make_rows(task, n_features=20)
    __import__("sklearn.ensemble")
    start = time.process_time()
    learner = fitted(name, task, train, valid, deadline=Past())
    assert time.process_time() - start < 3.0
    assert_valid(task, learner.predict(valid.X), len(valid.y))


@pytest.mark.parametrize("name", ["extra_trees", "random_forest"])
def test_past_deadline_keeps_one_tree(name: str) -> None:
    learner = fitted(name, Task.BINARY, make_rows(Task.BINARY), deadline=Past())
    assert len(learner.model._trees) == 1
    assert len(fitted(name, Task.BINARY, make_rows(Task.BINARY)).model._trees) == 40


def test_past_deadline_keeps_the_first_chunk_of_boosting() -> None:
    name = "hist_gradient_boosting"
    learner = fitted(name, Task.BINARY, make_rows(Task.BINARY), deadline=Past())
    assert learner.model.model.n_iter_ == 25
    assert fitted(name, Task.BINARY, make_rows(Task.BINARY)).model.model.n_iter_ > 100


@pytest.mark.parametrize(("name", "task"), CASES)
@pytest.mark.parametrize("n_rows", [6, 40])
def test_tiny_tables_of_one_column(name: str, task: Task, n_rows: int) -> None:
    train = make_rows(task, n_rows=n_rows, n_features=1)
    learner = fitted(name, task, train, make_rows(task, n_rows=6, n_features=1, seed=1))
    assert_valid(task, learner.predict(make_rows(task, 30, 1, 2).X), 30)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_class_of_one_row(name: str, task: Task) -> None:
    train = make_rows(task, n_rows=30)
    if task is not Task.REGRESSION:
        last = N_CLASSES[task] - 1
        train.y[train.y == last] = 0
        train.y[5] = last
    assert_valid(task, fitted(name, task, train).predict(train.X), 30)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_constant_features_give_the_mean(name: str, task: Task) -> None:
    train = make_rows(task)
    flat = Matrix.numbers(np.full((240, 2), 3.0), ("a", "b"))
    rows = Rows(X=flat, y=train.y)
    predictions = fitted(name, task, rows, rows).predict(flat)
    assert_valid(task, predictions, 240)
    mean = common.mean_target(rows, context(task))
    np.testing.assert_allclose(predictions, np.tile(mean, (240, 1)), atol=0.2)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_no_features_give_the_mean(name: str, task: Task) -> None:
    train = make_rows(task)
    rows = Rows(X=Matrix.numbers(np.empty((240, 0)), ()), y=train.y)
    predictions = fitted(name, task, rows).predict(rows.X)
    np.testing.assert_allclose(predictions[7], common.mean_target(rows, context(task)))


@pytest.mark.parametrize(("name", "task"), CASES)
def test_missing_and_infinite_values(name: str, task: Task) -> None:
    train, valid = make_rows(task), make_rows(task, seed=1)
    rng = np.random.default_rng(0)
    for rows in (train, valid):
        rows.X.values[rng.random(240) < 0.2, 1] = np.nan
    learner = fitted(name, task, train, valid)
    assert_valid(task, learner.predict(valid.X), 240)
    if name in READS_NAN:
        valid.X.values[3, 0] = np.inf
        valid.X.values[4, 2] = -np.inf
        assert_valid(task, learner.predict(valid.X), 240)


@pytest.mark.parametrize("name", READS_NAN)
def test_missingness_is_read_as_information(name: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 1))
    y = (rng.random(300) < 0.5).astype(np.int64)
    values[y == 1] = np.nan
    rows = Rows(X=Matrix.numbers(values, ("x",)), y=y)
    assert loss(Task.BINARY, y, fitted(name, Task.BINARY, rows).predict(rows.X)) < 0.3


@pytest.mark.parametrize("name", [n for n, s in SPECS.items() if Task.MULTICLASS in s.tasks])
def test_many_classes(name: str) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(9), 25)
    centres = rng.normal(scale=3.0, size=(9, 3))
    rows = Rows(X=Matrix.numbers(centres[y] + rng.normal(size=(225, 3)), "abc"), y=y)
    learner = fitted(name, Task.MULTICLASS, rows, n_classes=9)
    predictions = learner.predict(rows.X)
    assert_valid(Task.MULTICLASS, predictions, 225, n_classes=9)
    assert np.mean(predictions.argmax(axis=1) == y) > 0.6


@pytest.mark.parametrize(("name", "i"), POINTS)
def test_every_portfolio_point_fits(name: str, i: int) -> None:
    spec = SPECS[name]
    task = min(spec.tasks)
    train, valid = make_rows(task, n_rows=120), make_rows(task, n_rows=60, seed=1)
    learner = spec.build(spec.portfolio[i].params, context(task))
    learner.fit(train, valid)
    assert_valid(task, learner.predict(valid.X), 60)


# --------------------------------------------------------------------------- particulars


def test_predicting_before_fitting_is_an_error() -> None:
    spec = SPECS["linear"]
    learner = spec.build(spec.portfolio[0].params, context(Task.BINARY))
    with pytest.raises(PluginError, match="not fitted"):
        learner.predict(make_rows(Task.BINARY).X)


def test_unpickled_learners_only_predict() -> None:
    rows = make_rows(Task.BINARY)
    restored = pickle.loads(pickle.dumps(fitted("linear", Task.BINARY, rows)))
    with pytest.raises(PluginError, match="only predicts"):
        restored.fit(rows, None)


def test_rules_name_features_and_cover_all_rows() -> None:
    rows = make_rows(Task.BINARY)
    named = Matrix.numbers(rows.X.values, ("age", "colour=red", "c", "d"))
    learner = fitted("decision_tree", Task.BINARY, Rows(X=named, y=rows.y))
    lines = learner.rules().splitlines()
    assert lines[0].startswith("if age <= ")
    assert all(" then class " in line for line in lines)
    assert not any("missing" in line for line in lines)
    assert sum(int(line.rsplit("(", 1)[1].split()[0]) for line in lines) == 240


def test_rules_of_a_regression_and_of_missing_values() -> None:
    rows = make_rows(Task.REGRESSION)
    rows.X.values[rows.y > 0, 0] = np.nan
    text = fitted("decision_tree", Task.REGRESSION, rows).rules()
    assert "x0 is known" in text
    assert "x0 is missing" in text
    assert " then value " in text
    mixed = make_rows(Task.REGRESSION)
    mixed.X.values[::5, 0] = np.nan
    assert " or missing" in fitted("decision_tree", Task.REGRESSION, mixed).rules()


def test_rules_of_a_tree_without_splits() -> None:
    flat = Matrix.numbers(np.ones((20, 1)), ("a",))
    rows = Rows(X=flat, y=np.arange(20) % 2)
    assert fitted("decision_tree", Task.BINARY, rows).rules().startswith("always class")


@pytest.mark.parametrize("task", list(Task))
def test_packed_trees_predict_like_scikit_learn(task: Task) -> None:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    train, test = make_rows(task), make_rows(task, seed=1)
    train.X.values[::7, 0] = np.nan
    test.X.values[::5, 0] = np.nan
    test.X.values[:240, 1] = np.float32(train.X.values[:240, 1])
    kind = RandomForestRegressor if task is Task.REGRESSION else RandomForestClassifier
    forest = kind(n_estimators=10, random_state=0).fit(train.X.values, train.y)
    prior = common.mean_target(train, context(task))
    packed = trees.pack([e.tree_ for e in forest.estimators_], prior)
    model = trees.Trees(packed)
    expected = forest.predict(test.X.values)[:, None]
    if task is not Task.REGRESSION:
        expected = forest.predict_proba(test.X.values)
    np.testing.assert_allclose(model.predict(test.X.values), expected, atol=1e-6)
    assert len(pickle.dumps(model)) < 0.3 * len(pickle.dumps(forest))


def test_boosting_reads_categories_as_sets() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 12, size=600).astype(np.float64)
    y = np.isin(codes, [1, 4, 7, 10]).astype(np.int64)
    numbers = rng.normal(size=(600, 1))
    X = Matrix(values=np.hstack([numbers, codes[:, None]]), names=("n", "c"), cardinalities=(0, 12))
    learner = fitted("hist_gradient_boosting", Task.BINARY, Rows(X=X, y=y), Rows(X=X, y=y))
    assert loss(Task.BINARY, y, learner.predict(X)) < 0.05
    unseen = Matrix(values=np.array([[0.0, np.nan]]), names=X.names, cardinalities=(0, 12))
    assert_valid(Task.BINARY, learner.predict(unseen), 1)


def test_boosting_takes_many_categories_as_numbers() -> None:
    X = Matrix(values=np.arange(600.0)[:, None] % 400, names=("c",), cardinalities=(400,))
    y = (X.values[:, 0] < 200).astype(np.int64)
    learner = fitted("hist_gradient_boosting", Task.BINARY, Rows(X=X, y=y))
    assert loss(Task.BINARY, y, learner.predict(X)) < 0.1


def test_boosting_keeps_the_best_iteration() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 5))
    y = (values[:, 0] + 2.0 * rng.normal(size=200) > 0).astype(np.int64)
    rows = Rows(X=Matrix.numbers(values, "abcde"), y=y)
    other = rng.normal(size=(200, 5))
    valid = Rows(
        X=Matrix.numbers(other, "abcde"),
        y=(other[:, 0] + 2.0 * rng.normal(size=200) > 0).astype(np.int64),
    )
    stopped = fitted("hist_gradient_boosting", Task.BINARY, rows, valid)
    long = fitted("hist_gradient_boosting", Task.BINARY, rows)
    params = SPECS["hist_gradient_boosting"].portfolio[0].params
    assert stopped.model.model.n_iter_ < 0.4 * hist_gradient_boosting.iterations(params)
    assert loss(Task.BINARY, valid.y, stopped.predict(valid.X)) < loss(
        Task.BINARY, valid.y, long.predict(valid.X)
    )


def test_elastic_net_drops_useless_features() -> None:
    rows = make_rows(Task.REGRESSION, n_features=12)
    spec = SPECS["elastic_net"]
    learner: Any = spec.build({"penalty": 0.1, "l1_share": 1.0}, context(Task.REGRESSION))
    learner.fit(rows, None)
    used = np.flatnonzero(learner.model.layers[0].weight[:, 0])
    assert used.tolist() == [0]


def test_elastic_net_finds_the_minimum_of_scikit_learn() -> None:
    from sklearn.linear_model import ElasticNet

    rows = make_rows(Task.REGRESSION, n_features=6)
    scaler = common.Scaler.fitted(rows)
    oracle = ElasticNet(alpha=0.05, l1_ratio=0.5, tol=1e-8)
    oracle.fit(scaler.transform(rows.X.values), rows.y)
    learner: Any = SPECS["elastic_net"].build(
        {"penalty": 0.05, "l1_share": 0.5}, context(Task.REGRESSION)
    )
    learner.fit(rows, None)
    np.testing.assert_allclose(learner.model.layers[0].weight[:, 0], oracle.coef_, atol=2e-3)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_kernel_scores_are_those_of_libsvm(n_classes: int) -> None:
    from sklearn.svm import SVC

    from automl_fuse_sklearn.svm_rbf import KernelModel, _sums_of_margins

    rng = np.random.default_rng(0)
    y = np.arange(120) % n_classes
    values = rng.normal(size=(120, 3)) + y[:, None] * 0.5
    model = SVC(C=2.0, gamma=0.3, decision_function_shape="ovo").fit(values, y)
    coefficients, intercept = _sums_of_margins(model)
    plain = common.Scaler(np.zeros(3), np.ones(3))
    kernel = KernelModel(plain, model.support_vectors_, 0.3, coefficients, intercept)
    margins = model.decision_function(values).reshape(120, -1)
    expected = np.zeros((120, n_classes))
    for pair, (i, j) in enumerate(combinations(range(n_classes), 2)):
        sign = -1.0 if n_classes == 2 else 1.0
        expected[:, i] += sign * margins[:, pair] / (n_classes - 1)
        expected[:, j] -= sign * margins[:, pair] / (n_classes - 1)
    np.testing.assert_allclose(kernel.scores(values), expected, atol=1e-10)


def test_equal_distances_do_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, size=(400, 6)).astype(np.float64)
    y = (rng.random(400) < 0.2 + 0.5 * values[:, 0]).astype(np.int64)
    X = Matrix.numbers(values, "abcdef")
    learner = fitted("knn", Task.BINARY, Rows(X=X, y=y))
    batch = learner.predict(X)
    single = np.vstack([learner.predict(one_row(X, i)) for i in range(64)])
    np.testing.assert_allclose(single, batch[:64], rtol=0, atol=1e-12)


def test_calibration_learns_the_scale_of_scores() -> None:
    class Margins:
        def __init__(self, scale: Any = 1.0, shift: Any = 0.0) -> None:
            self.scale, self.shift = scale, shift

        def scores(self, values: Any) -> Any:
            return np.hstack([-values, values]) * self.scale + self.shift

        def calibrated(self, scale: Any, shift: Any) -> Any:
            return Margins(scale, shift)

    rng = np.random.default_rng(0)
    values = rng.normal(size=(4_000, 1))
    y = (rng.random(4_000) < 1.0 / (1.0 + np.exp(-3.0 * values[:, 0]))).astype(np.int64)
    rows = Rows(X=Matrix.numbers(values, ("x",)), y=y)
    model = calibration.fit_calibrated(lambda _rows: Margins(), rows, context(Task.BINARY))
    predicted = linked(model.scores(np.array([[0.0], [0.5], [-1.0]])), Link.SOFTMAX)[:, 1]
    np.testing.assert_allclose(predicted, 1 / (1 + np.exp([0.0, -1.5, 3.0])), atol=0.05)


def test_the_network_follows_its_gradient() -> None:
    rng = np.random.default_rng(0)
    network = mlp.Network.drawn((3, 8, 2), rng)
    plan = mlp.Plan(epochs=1, batch=16, rate=0.0, decay=0.0, dropout=0.0)
    trainer = mlp.Trainer(network, plan, context(Task.BINARY), rng)
    features = rng.normal(size=(16, 3)).astype(np.float32)
    goal = common.indicators(np.arange(16) % 2, 2).astype(np.float32)
    weight = rng.uniform(0.5, 2.0, size=(16, 1)).astype(np.float32)
    trainer.learn(mlp.Data(features, goal, weight), 0.0)
    slope = trainer._slope.vector.astype(np.float64)

    def mean_loss() -> float:
        scaler = common.Scaler(np.zeros(3), np.ones(3))
        predicted = mlp.Perceptron(scaler, network, True).predict(features.astype(np.float64))
        return float(-np.sum(weight * goal * np.log(predicted)) / 16)

    for i in (0, 5, 23, 25, 40, len(slope) - 1):
        network.vector[i] += 1e-3
        above = mean_loss()
        network.vector[i] -= 2e-3
        below = mean_loss()
        network.vector[i] += 1e-3
        assert slope[i] == pytest.approx((above - below) / 2e-3, abs=2e-3)


def test_the_network_keeps_its_best_epoch() -> None:
    train = make_rows(Task.REGRESSION, n_rows=60)
    noise = Rows(X=train.X, y=np.random.default_rng(0).normal(scale=0.01, size=60))
    watched = fitted("mlp", Task.REGRESSION, train, noise).predict(train.X)
    free = fitted("mlp", Task.REGRESSION, train).predict(train.X)
    assert loss(Task.REGRESSION, noise.y, watched) < 0.2 * loss(Task.REGRESSION, noise.y, free)


# --------------------------------------------------------------------------- refits, students


@pytest.mark.parametrize(
    ("name", "expected"), [("mlp", "epochs"), ("hist_gradient_boosting", "iterations")]
)
def test_tuned_params_keep_a_refit_from_overfitting(name: str, expected: str) -> None:
    train, other = (make_rows(Task.BINARY, n_rows=120, seed=s) for s in (0, 1))
    rng = np.random.default_rng(2)
    for rows in (train, other):
        noise = rng.random(120) < 0.4
        rows.y[noise] = 1 - rows.y[noise]
    tuned = dict(fitted(name, Task.BINARY, train, other).tuned())
    assert set(tuned) == {expected}
    spec = SPECS[name]
    refit: Any = spec.build(spec.portfolio[0].params | tuned, context(Task.BINARY))
    refit.fit(train, None)
    assert refit.tuned() == {}
    free = fitted(name, Task.BINARY, train)
    losses = [loss(Task.BINARY, other.y, model.predict(other.X)) for model in (refit, free)]
    assert losses[0] < losses[1] - 0.05


def test_boosting_refits_the_same_number_of_iterations() -> None:
    spec = SPECS["hist_gradient_boosting"]
    learner: Any = spec.build(spec.portfolio[0].params | {"iterations": 31}, context(Task.BINARY))
    learner.fit(make_rows(Task.BINARY), None)
    assert learner.model.model.n_iter_ == 31


def test_other_learners_have_nothing_to_tune() -> None:
    for name in set(SPECS) - {"mlp", "hist_gradient_boosting"}:
        assert fitted(name, Task.BINARY, make_rows(Task.BINARY, n_rows=40)).tuned() == {}


def test_which_learners_read_soft_labels() -> None:
    assert {name for name, spec in SPECS.items() if spec.soft_labels} == {"mlp", "elastic_net"}


@pytest.mark.parametrize("name", ["mlp", "elastic_net"])
@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS])
def test_soft_labels_take_the_place_of_codes(name: str, task: Task) -> None:
    rows = make_rows(task)
    hard = common.indicators(rows.y, N_CLASSES[task])
    plain = fitted(name, task, rows, rows).predict(rows.X)
    certain = Rows(X=rows.X, y=np.zeros_like(rows.y), soft=hard)
    np.testing.assert_allclose(fitted(name, task, certain, certain).predict(rows.X), plain)


@pytest.mark.parametrize("name", ["mlp", "elastic_net"])
def test_soft_labels_are_learned_as_probabilities(name: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 3))
    second = 1.0 / (1.0 + np.exp(-values @ [0.5, -0.3, 0.2]))
    soft = np.column_stack([1.0 - second, second])
    X = Matrix.numbers(values, "abc")
    rows = Rows(X=X, y=rng.integers(0, 2, size=400), soft=soft)
    assert np.abs(fitted(name, Task.BINARY, rows, rows).predict(X) - soft).max() < 0.03


def test_soft_labels_of_validation_rows_end_the_training() -> None:
    rows = make_rows(Task.BINARY)
    predicted = np.full((240, 2), (0.9, 0.1))
    soft = Rows(X=rows.X, y=rows.y, soft=np.full((240, 2), 0.5))
    expected = -0.5 * (np.log(0.9) + np.log(0.1))
    assert common.loss_of(soft, predicted, context(Task.BINARY)) == pytest.approx(expected)


def paired_rows(task: Task, n_pairs: int) -> tuple[Rows, Any]:
    """Return rows labelled by a smooth teacher, and the teacher's scores."""

    def teacher(values: Any) -> Any:
        return 2.0 * np.sin(1.5 * values[:, 0]) + values[:, 1] * values[:, 2]

    rng = np.random.default_rng(5)
    first = rng.normal(size=(n_pairs, 4))
    values = np.vstack([first, first + 0.2 * rng.normal(size=first.shape)])
    scores = teacher(values)
    second = 1.0 / (1.0 + np.exp(-scores))
    X = Matrix.numbers(values, "abcd")
    if task is Task.REGRESSION:
        return Rows(X=X, y=scores), teacher
    soft = np.column_stack([1.0 - second, second])
    return Rows(X=X, y=(second > 0.5).astype(np.int64), soft=soft), teacher


@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_matching_brings_changes_closer_to_the_teachers(task: Task) -> None:
    rows, teacher = paired_rows(task, n_pairs=250)

    def error(matching: float) -> float:
        params = {"width": 32, "depth": 2, "learning_rate": 1e-2, "weight_decay": 0.0}
        params |= {"dropout": 0.0, "epochs": 150, "matching": matching}
        learner = SPECS["mlp"].build(params, context(task))
        learner.fit(rows, None)
        predicted = learner.predict(rows.X)
        if task is not Task.REGRESSION:
            predicted = np.log(predicted[:, 1:] / predicted[:, :1])
        slip = predicted[:, 0] - teacher(rows.X.values)
        return float(np.mean((slip[250:] - slip[:250]) ** 2))

    assert error(0.3) < 0.5 * error(0.0)


@pytest.mark.parametrize("task", list(Task))
def test_matching_follows_its_gradient(task: Task) -> None:
    rng = np.random.default_rng(0)
    n_outputs = N_CLASSES[task]
    goal = rng.dirichlet(np.ones(3), size=16)[:, :n_outputs]
    soft = None if task is Task.REGRESSION else goal / goal.sum(axis=1, keepdims=True)
    rows = Rows(
        X=Matrix.numbers(rng.normal(size=(16, 3)), "abc"),
        y=goal[:, 0] if soft is None else soft.argmax(axis=1),
        soft=soft,
        weight=np.tile(rng.uniform(0.5, 1.5, size=8), 2),
    )
    scaler = common.Scaler(np.zeros(3), np.ones(3))
    data = mlp.Data.of(rows, scaler, {"matching": 0.5}, context(task))
    network = mlp.Network.drawn((3, 8, n_outputs), rng)
    plan = mlp.Plan(epochs=1, batch=16, rate=0.0, decay=0.0, dropout=0.0)
    trainer = mlp.Trainer(network, plan, context(task), rng)
    scores = rng.normal(size=(16, n_outputs)).astype(np.float32)
    slope = trainer._error(scores, data) - trainer._error(
        scores, mlp.Data(data.features, data.goal, data.weight)
    )
    teacher = goal if soft is None else np.log(np.maximum(soft, 1e-4))

    def penalty(student: Any) -> float:
        slip = (student - teacher)[8:] - (student - teacher)[:8]
        change = teacher[8:] - teacher[:8]
        if soft is not None:
            slip, change = (each - each.mean(axis=1, keepdims=True) for each in (slip, change))
        spread = np.mean(np.sum(change**2, axis=1))
        return float(0.5 * np.mean(data.weight[:8, 0] * np.sum(slip**2, axis=1)) / spread)

    for i, j in ((0, 0), (7, n_outputs - 1), (8, 0), (15, n_outputs - 1)):
        step = np.zeros((16, n_outputs))
        step[i, j] = 1e-4
        expected = (penalty(scores + step) - penalty(scores - step)) / 2e-4
        assert slope[i, j] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_matching_takes_pairs() -> None:
    rows = make_rows(Task.REGRESSION, n_rows=61)
    params = SPECS["mlp"].portfolio[0].params | {"matching": 0.1}
    learner = SPECS["mlp"].build(params, context(Task.REGRESSION))
    with pytest.raises(PluginError, match="61 training rows"):
        learner.fit(rows, None)
    data = mlp.Data.of(
        make_rows(Task.REGRESSION, n_rows=60),
        common.Scaler(np.zeros(4), np.ones(4)),
        params,
        context(Task.REGRESSION),
    )
    batch = data.take(np.array([3, 29]))
    np.testing.assert_array_equal(batch.goal, data.goal[[3, 29, 33, 59]])
    expected = data.goal[[33, 59]] - data.goal[[3, 29]]
    np.testing.assert_allclose(batch.change, expected, rtol=1e-6)
    assert mlp.Plan.of(params, 60).dropout == 0.0
