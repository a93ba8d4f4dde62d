"""Compressors: what they propose, and what their edits make of fitted learners."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import automl_fuse_compress
from automl_fuse.errors import PluginError
from automl_fuse.graph import GraphBuilder
from automl_fuse.host import discover
from automl_fuse.specs import (
    ALL_TASKS,
    CompressorSpec,
    Edit,
    FitContext,
    Forest,
    ForestModel,
    FusionContext,
    Layer,
    Link,
    Matrix,
    NetworkModel,
    Rows,
    Split,
    Student,
    Task,
    Teacher,
    Tensor,
)
from automl_fuse.testing import RandomDraws, TickingDeadline, checks_for
from automl_fuse_compress import (
    distil,
    prune_leaves,
    prune_members,
    prune_neurons,
    prune_trees,
    soup,
)
from automl_fuse_compress.common import Chain, EditedLearner, members_by_share
from automl_fuse_compress.imitation import goal_of
from automl_fuse_compress.lasso import sparse_weights
from automl_fuse_compress.prune_leaves import KeepLeaves
from automl_fuse_compress.prune_neurons import KeepNeurons
from automl_fuse_compress.prune_trees import KeepTrees
from automl_fuse_compress.quantise_network import SCALES, ToHalves, ToIntegers
from automl_fuse_compress.quantise_trees import RoundLeaves, merged
from automl_fuse_compress.quantised import HIGHEST_ACTIVATION, HIGHEST_WEIGHT
from automl_fuse_compress.students import KINDS
from automl_fuse_compress.trees import Leaves, collapsed, second_only

if TYPE_CHECKING:
    from automl_fuse.specs import Learner

SPECS = {spec.name: spec for spec in automl_fuse_compress.automl_fuse_compressors()}
LEARNERS = discover().learners
FIRST = (1 + np.arange(6.0)) / 21


# --------------------------------------------------------------------------- helpers


def squared_loss(y, prediction, weight):
    return float(np.average((prediction[:, -1] - y) ** 2, weights=weight))


def context_of(task: Task = Task.BINARY) -> FusionContext:
    return FusionContext(
        task=task, n_classes=2, loss=squared_loss, seed=0, deadline=TickingDeadline(1e9)
    )


def teacher_of(n_members: int = 6, **changes: Any) -> Teacher:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    p = 1 / (1 + np.exp(-(2 * y - 1 + rng.normal(size=(n_members, 60)))))
    values = {
        "oof": np.stack([1 - p, p], axis=2),
        "y": y,
        "weight": None,
        "shares": FIRST[:n_members],
        "bytes": np.full(n_members, 1e5),
        "seconds": np.full(n_members, 1e-4),
        "names": tuple(f"m{i}" for i in range(n_members)),
        "learners": ("lightgbm",) * n_members,
        "students": tuple(KINDS),
    }
    return Teacher(**{**values, **changes})


def propose(spec: CompressorSpec, params: dict[str, Any], teacher: Teacher, **context: Any):
    return spec.build(params, context_of(**context)).propose(teacher)


@dataclass
class Fitted:
    """A learner that is nothing but its form."""

    model: Any

    def form(self) -> Any:
        return self.model

    def predict(self, X: Matrix):
        return self.model.predict(X.values)


def rows_of(X, y, weight=None) -> Rows:
    names = [f"x{i}" for i in range(X.shape[1])]
    return Rows(X=Matrix.numbers(np.asarray(X, float), names), y=y, weight=weight)


def fit(name: str, params: dict[str, Any], train: Rows, task: Task, valid: Rows | None = None):
    """Fit a learner of another plugin; skip the test where its library or form is absent."""
    if name not in LEARNERS:
        pytest.skip(f"{name} cannot be imported")
    n_classes = int(train.y.max()) + 1 if task.is_classification else 1
    context = FitContext(
        task=task, n_classes=n_classes, seed=0, n_threads=1, deadline=TickingDeadline(1e9)
    )
    learner = LEARNERS[name].build(params, context)
    learner.fit(train, valid)
    return learner


def trees_of(leaves: int, rate: float, **changes: Any) -> dict[str, Any]:
    """Return params of lightgbm."""
    params = KINDS["lightgbm"].fixed | {
        "categories": "native",
        "learning_rate": rate,
        "num_leaves": leaves,
        "min_data_in_leaf": 5,
    }
    return {**params, **changes}


@pytest.fixture(scope="module")
def friedman() -> tuple[Rows, Rows]:
    from sklearn.datasets import make_friedman1

    X, y = make_friedman1(2_000, noise=1.0, random_state=0)
    y = (y - y.mean()) / y.std()
    return rows_of(X[:1_400], y[:1_400]), rows_of(X[1_400:], y[1_400:])


@pytest.fixture(scope="module")
def cancer() -> tuple[Rows, Rows]:
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:400], order[400:]
    return rows_of(X[train], y[train].astype(np.int64)), rows_of(X[test], y[test].astype(np.int64))


@pytest.fixture(scope="module")
def boosted(friedman) -> Learner:
    return fit("lightgbm", trees_of(15, 0.1, trees=120), friedman[0], Task.REGRESSION)


@pytest.fixture(scope="module")
def averaged(cancer) -> Learner:
    params = {"max_features": 0.4, "min_samples_leaf": 1, "features": "plain"}
    return fit("random_forest", params, cancer[0], Task.BINARY)


@pytest.fixture(scope="module")
def network(friedman) -> Learner:
    params = {
        "width": 64,
        "depth": 2,
        "learning_rate": 5e-3,
        "weight_decay": 0.03,
        "dropout": 0.0,
    }
    return fit("mlp", params, friedman[0], Task.REGRESSION, friedman[1])


def rmse(learner: Any, rows: Rows) -> float:
    return float(np.sqrt(np.mean((learner.predict(rows.X)[:, 0] - rows.y) ** 2)))


def log_loss(learner: Any, rows: Rows) -> float:
    predicted = learner.predict(rows.X)
    return float(-np.mean(np.log(predicted[np.arange(len(rows.y)), rows.y])))


def through_onnx(learner: Any, values):
    import onnxruntime

    graph = GraphBuilder()
    output = learner.to_onnx(graph, Tensor("X"))
    model = graph.model({"X": ("double", values.shape[1])}, {"Y": (output, "double")})
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"X": np.ascontiguousarray(values)})[0]


# --------------------------------------------------------------------------- proposals


def test_members_are_ranked_by_share_and_those_without_are_left_out():
    teacher = teacher_of(4, shares=np.array([0.2, 0.0, 0.5, 0.3]))
    assert members_by_share(teacher) == [2, 3, 0]
    found = [propose(SPECS["refit"], {"rank": rank}, teacher) for rank in range(4)]
    assert [[(each.name, each.member) for each in one] for one in found] == [
        [("m2", 2)],
        [("m3", 3)],
        [("m0", 0)],
        [],
    ]


def test_members_without_names_are_named_by_position():
    (first,) = propose(SPECS["refit"], {"rank": 0}, teacher_of(2, names=()))
    assert first.name == "member_1"


@pytest.mark.parametrize("name", ["prune_trees", "prune_leaves", "prune_neurons"])
def test_one_point_edits_the_member_of_its_rank(name):
    params = dict(SPECS[name].portfolio[0].params)
    forms = ("forest", "network", "forest", "network", "", "forest")
    kind = "network" if name == "prune_neurons" else "forest"
    expected = [i for i in (5, 4, 3, 2, 1, 0) if forms[i] == kind]
    for rank in range(6):
        found = propose(SPECS[name], params | {"rank": rank}, teacher_of(forms=forms))
        assert [edit.member for edit in found] == expected[rank : rank + 1]


def test_points_of_a_portfolio_have_unlike_names():
    # No member of this teacher has weights that a soup could average.
    for spec in (spec for name, spec in SPECS.items() if name != "soup"):
        names = [
            proposal.name
            for point in spec.portfolio
            for proposal in propose(spec, dict(point.params), teacher_of())
        ]
        assert names
        assert len(set(names)) == len(names)


# --------------------------------------------------------------------------- students

POINTS = [dict(point.params) for point in distil.SPEC.portfolio]


def student_of(point: dict[str, Any], **changes: Any) -> Student:
    (student,) = propose(distil.SPEC, point, teacher_of(**changes))
    return student


def test_students_that_cannot_be_fitted_are_not_proposed():
    for point in POINTS:
        assert propose(distil.SPEC, point, teacher_of(students=())) == ()


def test_histograms_stand_in_only_where_there_is_no_lightgbm():
    (point, *_) = [p for p in POINTS if p["student"] == "hist_gradient_boosting"]
    assert propose(distil.SPEC, point, teacher_of()) == ()
    left = tuple(set(KINDS) - {"lightgbm"})
    assert student_of(point, students=left).learner == "hist_gradient_boosting"


def test_large_students_are_for_small_teachers():
    (point, *_) = [p for p in POINTS if p.get("lightgbm_trees", 0) >= 1000]
    assert propose(distil.SPEC, point, teacher_of(bytes=np.full(6, 1e6))) == ()
    assert student_of(point, bytes=np.full(6, 1e4)).learner == "lightgbm"
    # Members that the fusion does not use do not make it large.
    unused = np.array([1e7, 1e4, 1e4, 1e4, 1e4, 1e4])
    shares = np.array([0, 0.2, 0.2, 0.2, 0.2, 0.2])
    assert student_of(point, bytes=unused, shares=shares).learner == "lightgbm"


def test_the_best_member_teaches_where_the_point_says_so():
    (point, *_) = [p for p in POINTS if p["teacher"] == "best"]
    teacher = teacher_of()
    losses = [squared_loss(teacher.y, member, None) for member in teacher.oof]
    assert student_of(point).teacher == (int(np.argmin(losses)),)
    assert student_of(point | {"teacher": "fusion"}).teacher == ()
    unknown = np.full_like(teacher.oof, np.nan)
    assert student_of(point, oof=unknown).teacher == ()


def test_values_have_neither_temperature_nor_certain_classes():
    (point, *_) = [p for p in POINTS if p["hard"]]
    warm = point | {"temperature": 2.0}
    (student,) = propose(distil.SPEC, warm, teacher_of(), task=Task.REGRESSION)
    assert (student.temperature, student.hard) == (1.0, False)
    (student,) = propose(distil.SPEC, warm, teacher_of())
    assert (student.temperature, student.hard) == (2.0, True)


def test_slopes_are_matched_on_copies():
    (point, *_) = [p for p in POINTS if p.get("mlp_matching")]
    assert student_of(point | {"copies": 0}).copies == 1.0
    assert student_of(point | {"copies": 3}).copies == 3.0


@pytest.mark.parametrize("seed", range(12))
def test_students_name_every_hyperparameter_of_their_learner(seed):
    point = POINTS[seed] if seed < len(KINDS) else distil.space(RandomDraws(seed))
    students = tuple(KINDS) if point["student"] != "hist_gradient_boosting" else (point["student"],)
    student = student_of(point, students=students, bytes=np.full(6, 10.0))
    if student.learner not in LEARNERS:
        pytest.skip(f"{student.learner} cannot be imported")
    asked = set(LEARNERS[student.learner].space(RandomDraws(0)))
    assert asked <= set(student.params)
    # Those besides the space are documented by the learners that read them.
    assert set(student.params) - asked <= {"trees", "matching"}


@pytest.mark.parametrize("point", POINTS[:11], ids=lambda point: point["student"])
def test_students_of_the_portfolio_can_be_fitted(point, cancer):
    kind = KINDS[point["student"]]
    train = cancer[0]
    half = np.arange(len(train.y)) % 200
    even = rows_of(train.X.values[half], train.y[half])
    learner = fit(kind.learner, kind.params_of(point), even, Task.BINARY)
    assert log_loss(learner, cancer[1]) < 0.6


# --------------------------------------------------------------------------- lasso


def test_the_lasso_finds_the_predictors_that_matter():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 40))
    weights = np.zeros(40)
    weights[[3, 11, 29]] = (1.0, 2.0, 0.5)
    y = X @ weights + 0.1 * rng.normal(size=300)
    X, y = X - X.mean(axis=0), y - y.mean()
    chosen, found = sparse_weights(X.T @ X, X.T @ y, 3)
    assert sorted(chosen.tolist()) == [3, 11, 29]
    assert np.allclose(found, weights[chosen], atol=0.05)


def test_the_lasso_keeps_to_its_count_and_scale():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(100, 30)) * 10.0 ** rng.integers(-3, 3, 30)
    X -= X.mean(axis=0)
    X[:, 4] = 0.0
    X[:, 5] = X[:, 6]
    y = X @ ((np.arange(30) != 4) / X.std(axis=0).clip(1e-9))
    y -= y.mean()
    for count in (1, 5, 30):
        chosen, weights = sparse_weights(X.T @ X, X.T @ y, count)
        assert 1 <= len(chosen) <= count
        assert 4 not in chosen
        assert np.isfinite(weights).all()
    assert np.linalg.norm(y - X[:, chosen] @ weights) < 0.05 * np.linalg.norm(y)


def test_the_lasso_of_constants_chooses_one():
    chosen, weights = sparse_weights(np.zeros((3, 3)), np.zeros(3), 2)
    assert len(chosen) == len(weights) == 1
    assert np.isfinite(weights).all()


# --------------------------------------------------------------------------- forests


def stumps(features, thresholds, leaves, link=Link.IDENTITY) -> ForestModel:
    """Return a forest of one split a tree, with two leaf values each."""
    n = len(features)
    forest = Forest(
        roots=np.arange(n),
        feature=np.array(features),
        threshold=np.array(thresholds, float),
        split=np.zeros(n, np.uint8),
        missing_true=np.zeros(n, bool),
        true=~(2 * np.arange(n)),
        false=~(2 * np.arange(n) + 1),
        leaf=np.array(leaves, float).reshape(-1, 1),
        target=np.zeros(n, np.int64),
        base=np.zeros(1),
    )
    return ForestModel(forest=forest, link=link)


def walked(forest: Forest, row, tree: int) -> int:
    """Return the leaf that a row reaches in a tree, node by node."""
    at = int(forest.roots[tree])
    while at >= 0:
        x, threshold = row[forest.feature[at]], forest.threshold[at]
        goes = {
            Split.AT_MOST: x <= threshold,
            Split.BELOW: x < threshold,
            Split.MEMBER: x in forest.members.get(at, ()),
        }[Split(forest.split[at])]
        goes = bool(forest.missing_true[at]) if np.isnan(x) else goes
        at = int((forest.true if goes else forest.false)[at])
    return ~at


@st.composite
def forests(draw) -> Forest:
    """Draw trees of all kinds of splits on two features."""
    roots, nodes, members, n_leaves = [], [], {}, 0

    def grow(depth: int) -> int:
        nonlocal n_leaves
        if depth == 0 or not draw(st.booleans()):
            n_leaves += 1
            return ~(n_leaves - 1)
        here = len(nodes)
        kind = draw(st.sampled_from(Split))
        nodes.append(None)
        if kind is Split.MEMBER:
            members[here] = tuple(draw(st.sets(st.sampled_from((0.0, 1.0, 2.0)))))
        own = (draw(st.integers(0, 1)), draw(st.integers(0, 2)), kind, draw(st.booleans()))
        nodes[here] = (*own, grow(depth - 1), grow(depth - 1))
        return here

    roots.extend(grow(3) for _ in range(draw(st.integers(1, 4))))
    columns = list(zip(*nodes, strict=True)) if nodes else [()] * 6
    values = st.lists(st.integers(0, 2), min_size=n_leaves, max_size=n_leaves)
    return Forest(
        roots=np.array(roots, dtype=np.int64),
        feature=np.array(columns[0], dtype=np.int64),
        threshold=np.array(columns[1], dtype=np.float64),
        split=np.array(columns[2], dtype=np.uint8),
        missing_true=np.array(columns[3], dtype=bool),
        true=np.array(columns[4], dtype=np.int64),
        false=np.array(columns[5], dtype=np.int64),
        leaf=np.array(draw(values), dtype=np.float64)[:, None],
        target=np.zeros(len(roots), np.int64),
        base=np.zeros(1),
        members=members,
    )


GRID = np.array([-np.inf, 0.0, 0.5, 1.0, 2.0, 3.0, np.inf, np.nan])
EVERYWHERE = np.array([(a, b) for a in GRID for b in GRID])


@given(forests())
@settings(max_examples=60, deadline=None)
def test_leaves_are_those_of_walking_node_by_node(forest):
    reached = forest.leaves(EVERYWHERE)
    expected = [[walked(forest, row, tree) for tree in range(forest.n_trees)] for row in EVERYWHERE]
    assert np.array_equal(reached, expected)


@given(forests())
@settings(max_examples=60, deadline=None)
def test_every_leaf_knows_its_tree_and_number(forest):
    leaves = Leaves.of(forest)
    reached = forest.leaves(EVERYWHERE)
    for tree in range(forest.n_trees):
        assert (leaves.tree[reached[:, tree]] == tree).all()
    for tree, of_tree in enumerate(leaves.of_tree):
        assert (leaves.tree[of_tree] == tree).all()
        assert leaves.number[of_tree].tolist() == list(range(len(of_tree)))
    assert sum(map(len, leaves.of_tree)) == len(forest.leaf)


@given(forests(), st.data())
@settings(max_examples=60, deadline=None)
def test_rows_reach_the_leaf_that_covers_theirs(forest, data):
    n_nodes = len(forest.feature)
    chosen = data.draw(st.sets(st.integers(0, n_nodes - 1)) if n_nodes else st.just(set()))
    cut = np.array(sorted(chosen), dtype=np.intp)
    smaller, cover = collapsed(forest, cut, np.full((len(cut), 1), 7.0))
    assert np.array_equal(cover[forest.leaves(EVERYWHERE)], smaller.leaves(EVERYWHERE))
    tidy = smaller.take(np.arange(forest.n_trees))
    assert np.array_equal(tidy.sums(EVERYWHERE), smaller.sums(EVERYWHERE))


@given(forests())
@settings(max_examples=60, deadline=None)
def test_merging_equal_sides_changes_no_prediction(forest):
    smaller = merged(forest)
    assert np.array_equal(smaller.sums(EVERYWHERE), forest.sums(EVERYWHERE))
    both_leaves = (smaller.true < 0) & (smaller.false < 0)
    sides = smaller.leaf[~smaller.true[both_leaves]], smaller.leaf[~smaller.false[both_leaves]]
    assert not (sides[0] == sides[1]).all(axis=1).any()


# --------------------------------------------------------------------------- fewer trees


def test_trees_that_add_next_to_nothing_go_first():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 10))
    leaves = np.array([[-1, 1], [2, -1], [0.5, 0], [1, -1], [0, 3]])
    little = 1e-3 * rng.normal(size=(5, 2))
    model = stumps(range(10), rng.normal(size=10) / 3, np.vstack([little, leaves]))
    train = rows_of(X, model.predict(X)[:, 0])
    edited = KeepTrees(0.5, "lasso", 0.0, "own", 0)(Fitted(model), train)
    assert edited.form().forest.n_trees == 5
    assert edited.form().forest.feature.tolist() == [5, 6, 7, 8, 9]
    assert np.allclose(edited.predict(train.X), model.predict(X), atol=0.05)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_chosen_trees_beat_the_first_ones(boosted, friedman, share):
    train, test = friedman
    edited = KeepTrees(share, "auto", 0.2, "auto", 0)(boosted, train)
    model = boosted.form()
    count = int(share * 120)
    assert edited.form().forest.n_trees == count
    first = Fitted(replace(model, forest=model.forest.take(np.arange(count))))
    assert rmse(edited, test) < 0.97 * rmse(first, test)


def test_averaged_trees_stay_probabilities(averaged, cancer):
    train, test = cancer
    edited = KeepTrees(0.1, "auto", 0.2, "auto", 0)(averaged, train)
    predicted = edited.predict(test.X)
    assert np.allclose(predicted.sum(axis=1), 1.0)
    assert predicted.min() > 0
    assert log_loss(edited, test) < 1.5 * log_loss(averaged, test)
    assert np.allclose(through_onnx(edited, test.X.values), predicted, atol=1e-9)


def test_trees_that_know_the_training_rows_by_heart_are_asked_about_others(cancer):
    """Every extra tree says the same of its training rows: nothing tells them apart there."""
    train, test = cancer
    params = {"max_features": 0.75, "min_samples_leaf": 1, "features": "plain"}
    learner = fit("extra_trees", params, train, Task.BINARY)
    by_heart = KeepTrees(0.1, "lasso", 0.0, "own", 0)(learner, train)
    asked = KeepTrees(0.1, "auto", 0.0, "auto", 0)(learner, train)
    assert log_loss(asked, test) < 0.9 * log_loss(by_heart, test)


def test_what_a_forest_is_asked_about(averaged, boosted, cancer, friedman):
    for learner, rows, kind in ((averaged, cancer[0], "both"), (boosted, friedman[0], "own")):
        goals = {
            kind: goal_of(learner.form(), rows, kind, 0)
            for kind in ("auto", "own", "shuffled", "both")
        }
        n = len(rows.y)
        assert {kind: len(goal.scores) for kind, goal in goals.items()} == {
            "auto": len(goals[kind].scores),
            "own": n,
            "shuffled": n,
            "both": 2 * n,
        }
        assert np.allclose(goals["own"].scores, learner.form().forest.sums(rows.X.values))
        assert goals["own"].step.any()
        assert not goals["shuffled"].step.any()
        assert not goals["both"].step[n:].any()


def test_the_first_of_averaged_trees_count_for_all(averaged, cancer):
    train, test = cancer
    edited = KeepTrees(0.5, "first", 0.0, "own", 0)(averaged, train)
    before, after = averaged.form().forest, edited.form().forest
    count = before.n_trees // 2
    assert after.n_trees == count
    assert np.array_equal(after.feature, before.take(np.arange(count)).feature)
    assert np.allclose(edited.predict(test.X), averaged.predict(test.X), atol=0.1)


def test_two_probabilities_need_one_value_a_leaf(averaged, cancer):
    train, test = cancer
    before = averaged.form().forest
    edited = RoundLeaves(12)(averaged, train)
    assert edited.model.forest.leaf.shape[1] == 1
    assert edited.form().forest.leaf.shape[1] == 2
    assert np.allclose(edited.form().predict(test.X.values), edited.predict(test.X), atol=2e-3)
    assert np.allclose(edited.predict(test.X), before.sums(test.X.values), atol=5e-3)
    assert np.array_equal(through_onnx(edited, test.X.values), edited.predict(test.X))


@given(forests())
@settings(max_examples=30, deadline=None)
def test_only_probabilities_lose_a_column(forest):
    assert second_only(forest) is None
    two = {"target": None, "base": np.zeros(2)}
    assert second_only(replace(forest, leaf=np.hstack([forest.leaf] * 2), **two)) is None
    shares = np.hstack([1 - forest.leaf, forest.leaf]) / forest.n_trees
    probabilities = replace(forest, leaf=shares, **two)
    second = second_only(probabilities).sums(EVERYWHERE)
    assert np.allclose(second, probabilities.sums(EVERYWHERE)[:, 1:])


def test_weights_of_rows_count():
    """A tree that only rows of no weight would miss is the one to go."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(300, 2))
    model = stumps([0, 1], [0.0, 0.0], [[-1, 1], [-1.2, 1.2]])
    heavy = np.where(np.abs(X[:, 0]) > 0, 1.0, 1.0)
    # Where the second feature is one-sided, its tree is a constant.
    heavy[X[:, 1] > 0] = 1e-6
    for weight, kept in ((None, 1), (heavy, 0)):
        train = rows_of(X, model.predict(X)[:, 0], weight)
        edited = KeepTrees(0.5, "lasso", 0.0, "own", 0)(Fitted(model), train)
        assert edited.form().forest.feature.tolist() == [kept]


# --------------------------------------------------------------------------- fewer leaves


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_a_share_of_the_leaves_is_kept(boosted, friedman, share):
    train, test = friedman
    before = boosted.form().forest
    after = KeepLeaves(share, "auto", 0)(boosted, train)
    count = len(after.form().forest.leaf)
    assert 0.9 * share * len(before.leaf) < count <= share * len(before.leaf)
    assert after.form().forest.n_trees == before.n_trees
    assert rmse(after, test) < 1.5 * rmse(boosted, test)


def test_splits_that_say_the_same_go_first():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    model = stumps([0, 1, 2, 3], [0.0] * 4, [[-1, 1], [0.4, 0.4], [2, -2], [0.1, 0.1]])
    train = rows_of(X, model.predict(X)[:, 0])
    edited = KeepLeaves(0.75, "own", 0)(Fitted(model), train)
    assert sorted(edited.form().forest.feature.tolist()) == [0, 2]
    assert np.allclose(edited.predict(train.X), model.predict(X), atol=1e-9)


def test_a_chain_ends_with_few_values(boosted, friedman):
    train, test = friedman
    steps = (KeepTrees(0.5, "auto", 0.2, "auto", 0), KeepLeaves(0.4, "auto", 0), RoundLeaves(8))
    edited = Chain(steps)(boosted, train)
    before, after = boosted.form().forest, edited.form().forest
    assert after.n_trees == before.n_trees // 2
    assert len(after.leaf) <= 0.2 * len(before.leaf)
    assert len(np.unique(after.leaf)) <= 256
    assert rmse(edited, test) < 1.15 * rmse(boosted, test)
    assert np.allclose(through_onnx(edited, test.X.values), edited.predict(test.X), atol=1e-9)


@pytest.mark.parametrize("bits", [2, 8, 12])
def test_rounding_moves_a_leaf_by_half_a_step(boosted, friedman, bits):
    before = boosted.form().forest
    after = RoundLeaves(bits)(boosted, friedman[0]).form().forest
    assert len(np.unique(after.leaf)) <= 2**bits
    step = np.ptp(before.leaf) / (2**bits - 1)
    off = np.abs(after.sums(friedman[1].X.values) - before.sums(friedman[1].X.values))
    assert off.max() <= before.n_trees * (step / 2 + 1e-6)


# --------------------------------------------------------------------------- networks


def doubled(seed: int = 0) -> NetworkModel:
    """Return a network whose hidden neurons are all there twice."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(4, 8)), rng.normal(size=(8, 3))
    bias = rng.normal(size=8)
    return NetworkModel(
        mean=rng.normal(size=4),
        scale=rng.uniform(0.5, 2, 4),
        layers=(
            Layer(weight=np.hstack([first, first]), bias=np.hstack([bias, bias])),
            Layer(weight=np.vstack([second, second]), bias=rng.normal(size=3)),
        ),
        link=Link.SOFTMAX,
    )


def test_of_neurons_that_are_all_there_twice_half_suffice():
    X = np.random.default_rng(1).normal(size=(300, 4))
    model = doubled()
    edited = KeepNeurons(0.5, 0)(Fitted(model), rows_of(X, np.zeros(300, int)))
    assert [layer.weight.shape for layer in edited.form().layers] == [(4, 8), (8, 3)]
    assert np.allclose(edited.predict(rows_of(X, X[:, 0]).X), model.predict(X), atol=0.01)


def test_thinned_layers_beat_the_smallest_weights_left_out(network, friedman):
    train, test = friedman
    edited = KeepNeurons(0.25, 0)(network, train)
    layers = list(network.form().layers)
    assert [len(layer.bias) for layer in edited.form().layers] == [16, 16, 1]
    for i in range(2):
        size = np.abs(layers[i].weight).sum(axis=0) * np.abs(layers[i + 1].weight).sum(axis=1)
        kept = np.sort(np.argsort(-size)[:16])
        layers[i] = Layer(weight=layers[i].weight[:, kept], bias=layers[i].bias[kept])
        layers[i + 1] = replace(layers[i + 1], weight=layers[i + 1].weight[kept])
    magnitude = Fitted(replace(network.form(), layers=tuple(layers)))
    assert rmse(edited, test) < 0.7 * rmse(magnitude, test)
    assert rmse(edited, test) < 1.5 * rmse(network, test)
    dtypes = [layer.weight.dtype for layer in edited.form().layers]
    assert dtypes == [layer.weight.dtype for layer in network.form().layers]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("reach", ["all", "quantile"])
def test_integers_predict_as_in_the_graph_whatever_they_are_given(network, friedman, scale, reach):
    train, test = friedman
    edited = ToIntegers(scale, reach, 0)(network, train)
    assert rmse(edited, test) < 1.1 * rmse(network, test)
    values = np.vstack([test.X.values, 1e9 * test.X.values, -test.X.values])
    values[3, 1], values[4, 2], values[5] = np.inf, -np.inf, np.nan
    predicted = edited.predict(rows_of(values, values[:, 0]).X)
    assert np.isfinite(predicted).all()
    assert np.array_equal(through_onnx(edited, values), predicted)
    for row in (0, 3, 5, 700):
        assert np.array_equal(through_onnx(edited, values[[row]]), predicted[[row]])


def test_no_pair_of_products_leaves_sixteen_bits():
    """The fastest instruction for 8 bits on x86 cuts the sum of two products."""
    assert 2 * HIGHEST_ACTIVATION * HIGHEST_WEIGHT < 2**15
    rng = np.random.default_rng(0)
    layers = tuple(
        Layer(weight=np.where(rng.random((a, b)) < 0.5, -1.0, 1.0), bias=np.zeros(b))
        for a, b in ((8, 64), (64, 64), (64, 1))
    )
    model = NetworkModel(mean=np.zeros(8), scale=np.ones(8), layers=layers, link=Link.IDENTITY)
    X = np.sign(rng.normal(size=(200, 8)))
    edited = ToIntegers("layer", "all", 0)(Fitted(model), rows_of(X, X[:, 0]))
    assert np.array_equal(through_onnx(edited, X), edited.predict(rows_of(X, X[:, 0]).X))


def test_decompressed_integers_are_the_rounded_weights(network, friedman):
    train, test = friedman
    edited = ToIntegers("output", "all", 0)(network, train)
    floating = edited.decompress()
    for rounded, original in zip(floating.form().layers, network.form().layers, strict=True):
        half = np.abs(original.weight).max(axis=0) / HIGHEST_WEIGHT / 2
        assert (np.abs(rounded.weight - original.weight) <= half * (1 + 1e-6)).all()
        assert not np.array_equal(rounded.weight, original.weight)
    assert np.abs(floating.predict(test.X) - edited.predict(test.X)).max() < 0.3
    assert np.allclose(through_onnx(floating, test.X.values), floating.predict(test.X), atol=1e-9)


def test_one_scale_for_the_whole_network(network, friedman):
    edited = ToIntegers("network", "all", 0)(network, friedman[0])
    steps = np.concatenate([layer.weight_step for layer in edited.model.layers])
    assert np.ptp(steps) == 0.0
    finer = ToIntegers("output", "all", 0)(network, friedman[0])
    assert all(np.ptp(layer.weight_step) > 0 for layer in finer.model.layers[:2])


def test_halves_take_half_the_bytes_and_lose_next_to_nothing(network, friedman):
    train, test = friedman
    edited = ToHalves()(network, train)
    assert {layer.weight.dtype for layer in edited.form().layers} == {np.dtype(np.float16)}
    assert len(pickle.dumps(edited)) < 0.75 * len(pickle.dumps(EditedLearner(network.form())))
    assert np.allclose(edited.predict(test.X), network.predict(test.X), atol=0.02)
    back = edited.decompress()
    assert {layer.weight.dtype for layer in back.form().layers} == {np.dtype(np.float32)}
    assert np.array_equal(back.predict(test.X), edited.predict(test.X))


def test_fewer_neurons_in_integers(network, friedman):
    params = {"rank": 0, "share": 0.5, "integers": True}
    (edit,) = propose(prune_neurons.SPEC, params, teacher_of())
    edited = edit.edit(network, friedman[0])
    assert [layer.weight.dtype for layer in edited.model.layers] == [np.dtype(np.int8)] * 3
    assert len(edited.model.layers[0].bias) == 32
    assert rmse(edited, friedman[1]) < 1.3 * rmse(network, friedman[1])


# --------------------------------------------------------------------------- refusals

FEWER = KeepTrees(0.5, "auto", 0.2, "auto", 0)


@pytest.mark.parametrize(
    ("edit", "model", "message"),
    [
        (
            KeepTrees(0.5, "auto", 0.2, "auto", 0),
            doubled(),
            "has no trees to edit.*gives NetworkModel",
        ),
        (KeepLeaves(0.5, "auto", 0), None, "has no trees to edit.*gives NoneType"),
        (FEWER, stumps([0], [0.0], [[0, 1]]), "has 1 trees"),
        (KeepNeurons(0.5, 0), stumps([0], [0.0], [[0, 1]]), "has no layers.*gives ForestModel"),
        (
            KeepNeurons(0.5, 0),
            replace(doubled(), layers=doubled().layers[:1]),
            "has no hidden layer",
        ),
        (ToHalves(), None, "has no layers"),
        (ToIntegers("layer", "all", 0), None, "has no layers"),
    ],
)
def test_refusals_say_what_is_missing(edit, model, message):
    with pytest.raises(PluginError, match=message):
        edit(Fitted(model), rows_of(np.zeros((4, 4)), np.zeros(4)))


def test_a_forest_of_leaves_has_nothing_to_take_back():
    model = stumps([], [], [])
    leaf = {"roots": np.array([-1]), "leaf": np.ones((1, 1)), "target": np.zeros(1, int)}
    bare = Fitted(replace(model, forest=replace(model.forest, **leaf)))
    train = rows_of(np.zeros((4, 1)), np.zeros(4))
    with pytest.raises(PluginError, match="has no splits"):
        KeepLeaves(0.5, "auto", 0)(bare, train)
    assert RoundLeaves(8)(bare, train).predict(train.X).tolist() == [[1.0]] * 4


def test_an_edited_learner_is_not_fitted_again(boosted, friedman):
    edited = RoundLeaves(8)(boosted, friedman[0])
    with pytest.raises(PluginError, match="only predicts"):
        edited.fit(friedman[0], None)


# --------------------------------------------------------------------------- the suite


@dataclass
class Proposes:
    """A compressor that proposes what it is told to."""

    proposals: list[Any]

    def propose(self, teacher: Any) -> list[Any]:
        return self.proposals


class Impure:
    """Changes the learner that it is given, and predicts with it."""

    def __call__(self, learner, train):
        leaf = learner.model.forest.leaf if hasattr(learner.model, "forest") else None
        if leaf is None:
            raise PluginError("no trees")
        leaf *= 2.0
        return learner


class Silent:
    """Refuses without a word."""

    def __call__(self, learner, train):
        raise PluginError


class Mute:
    """Returns a learner that cannot be exported."""

    def __call__(self, learner, train):
        return Same(learner.predict)


@dataclass
class Same:
    predict: Any

    def fit(self, train, valid): ...


STUDENT = Student(name="s", learner="mlp", params={})


@pytest.mark.parametrize(
    ("proposal", "broken"),
    [
        (replace(STUDENT, learner="unheard"), "proposes_validly"),
        (replace(STUDENT, alpha=1.5), "proposes_validly"),
        (replace(STUDENT, temperature=0.0), "proposes_validly"),
        (replace(STUDENT, copies=-1.0), "proposes_validly"),
        (replace(STUDENT, params={"a": (1,)}), "proposes_validly"),
        (replace(STUDENT, teacher=(9,)), "proposes_validly"),
        (STUDENT, "proposes_no_absent_student"),
        ("prune it", "proposes_validly"),
        (Edit(name="e", member=7, edit=Silent()), "proposes_validly"),
        (Edit(name="e", member=0, edit=Impure()), "edits_soundly"),
        (Edit(name="e", member=0, edit=lambda learner, train: learner), "edits_soundly"),
        (Edit(name="e", member=0, edit=Mute()), "edits_soundly"),
        (Edit(name="e", member=0, edit=Silent()), "refuses_what_it_cannot_edit"),
    ],
)
def test_a_flawed_proposal_is_caught(proposal, broken):
    spec = CompressorSpec(
        name="odd",
        api_version=1,
        tasks=ALL_TASKS,
        build=lambda params, context: Proposes([proposal]),
    )
    found = set()
    for check in checks_for(spec):
        try:
            check()
        except AssertionError:
            found.add(check.rule)
    assert broken in found


def test_prune_members_proposes_selections():
    names = {each.name for each in propose(prune_members.SPEC, {}, teacher_of())}
    assert {"top_1", "top_2", "top_3", "top_5"} <= names


def test_specs_are_those_of_the_modules():
    modules = (distil, prune_leaves, prune_members, prune_neurons, prune_trees)
    assert {module.SPEC.name for module in modules} <= set(SPECS)


# --------------------------------------------------------------------------- soups


def test_a_soup_takes_the_best_of_the_members_that_are_kin() -> None:
    teacher = teacher_of(kin=("a", "", "b", "a", "b", "a"))
    best = sorted((0, 3, 5), key=lambda m: squared_loss(teacher.y, teacher.oof[m], None))
    for count in (2, 3):
        (edit,) = propose(soup.SPEC, {"group": 0, "members": count}, teacher)
        assert [edit.member, *edit.others] == best[:count]
    assert not propose(soup.SPEC, {"group": 0, "members": 4}, teacher)
    (second,) = propose(soup.SPEC, {"group": 1, "members": 2}, teacher)
    assert {second.member, *second.others} == {2, 4}
    assert not propose(soup.SPEC, {"group": 2, "members": 2}, teacher)
    assert not propose(soup.SPEC, {"group": 0, "members": 2}, teacher_of())


def test_a_soup_of_what_has_no_weights_is_refused() -> None:
    with pytest.raises(PluginError, match="no weights that can be averaged"):
        soup.Average()(object(), None)  # type: ignore[arg-type]
