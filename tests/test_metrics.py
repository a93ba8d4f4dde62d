"""Metrics against scikit-learn, their edges, and every way to name one."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import sklearn
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_fuse.errors import MetricError
from automl_fuse.metrics import (
    METRICS,
    default_metric,
    implied_task,
    loss_of,
    resolve,
    score,
    score_all,
)
from automl_fuse.specs import ALL_TASKS, CLASSIFICATION, MetricSpec, Task

BINARY, MULTICLASS, REGRESSION = Task.BINARY, Task.MULTICLASS, Task.REGRESSION


def rows_of(task: Task, seed: int, n: int = 60):
    """Return (y, prediction, weight); probabilities on a coarse grid, so that they tie."""
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.1, 3.0, n)
    if task is REGRESSION:
        y = rng.normal(size=n)
        return y, (y + rng.normal(size=n))[:, None], weight
    k = 2 if task is BINARY else 4
    y = rng.permutation(np.arange(n) % k)
    raw = rng.integers(1, 5, size=(n, k)) + 2.0 * (np.arange(k) == y[:, None])
    return y, raw / raw.sum(axis=1, keepdims=True), weight


def by_sklearn(name: str, task: Task, y, prediction, weight):
    """Score with scikit-learn what our metric of this name should give."""
    average = {"average": "binary" if task is BINARY else "macro", "zero_division": 0}
    label = (prediction[:, 1] > 0.5).astype(int) if task is BINARY else prediction.argmax(axis=1)
    probability = prediction[:, 1] if task is BINARY else prediction
    w = {"sample_weight": weight}
    functions = {
        "accuracy": lambda: reference.accuracy_score(y, label, **w),
        "balanced_accuracy": lambda: reference.balanced_accuracy_score(y, label, **w),
        "precision": lambda: reference.precision_score(y, label, **average, **w),
        "recall": lambda: reference.recall_score(y, label, **average, **w),
        "f1": lambda: reference.f1_score(y, label, **average, **w),
        "f1_macro": lambda: reference.f1_score(y, label, average="macro", **w),
        "f1_weighted": lambda: reference.f1_score(y, label, average="weighted", **w),
        "mcc": lambda: reference.matthews_corrcoef(y, label, **w),
        "roc_auc": lambda: reference.roc_auc_score(y, probability, multi_class="ovr", **w),
        "log_loss": lambda: reference.log_loss(y, prediction, **w),
        "brier": lambda: (
            reference.brier_score_loss(y, probability, **w)
            if task is BINARY
            else np.average(((np.eye(4)[y] - prediction) ** 2).sum(axis=1), weights=weight)
        ),
        "rmse": lambda: reference.root_mean_squared_error(y, prediction[:, 0], **w),
        "mae": lambda: reference.mean_absolute_error(y, prediction[:, 0], **w),
        "median_ae": lambda: reference.median_absolute_error(y, prediction[:, 0], **w),
        "r2": lambda: reference.r2_score(y, prediction[:, 0], **w),
        "mape": lambda: reference.mean_absolute_percentage_error(y, prediction[:, 0], **w),
    }
    return functions[name]()


CASES = [(name, task) for name, m in METRICS.items() for task in sorted(m.tasks)]


def ovr_auc(y, prediction, weight):
    """Average the one-vs-rest areas, which scikit-learn refuses to do with weights."""
    classes = range(prediction.shape[1])
    areas = [
        reference.roc_auc_score(y == c, prediction[:, c], sample_weight=weight) for c in classes
    ]
    return np.mean(areas)


@pytest.mark.parametrize(("name", "task"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_sklearn(name, task, weighted):
    for seed in range(5):
        y, prediction, weight = rows_of(task, seed)
        weight = weight if weighted else None
        got = score(METRICS[name], task, y, prediction, weight)
        if (name, task) == ("roc_auc", MULTICLASS):
            expected = ovr_auc(y, prediction, weight)
        else:
            expected = by_sklearn(name, task, y, prediction, weight)
        assert got == pytest.approx(expected, rel=1e-10, abs=1e-12)


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 4), st.integers(1, 3)), min_size=2, max_size=40
    )
)
@settings(max_examples=60, deadline=None)
def test_auc_counts_pairs(rows):
    y = np.array([int(r[0]) for r in rows])
    p = np.array([r[1] / 4 for r in rows])
    w = np.array([float(r[2]) for r in rows])
    got = score(METRICS["roc_auc"], BINARY, y, np.column_stack([1 - p, p]), w)
    won = total = 0.0
    for i in np.flatnonzero(y == 1):
        for j in np.flatnonzero(y == 0):
            total += w[i] * w[j]
            won += w[i] * w[j] * (float(p[i] > p[j]) + 0.5 * float(p[i] == p[j]))
    assert np.isnan(got) if total == 0 else got == pytest.approx(won / total)


def median_of(errors, weight) -> float:
    errors = np.asarray(errors, dtype=float)
    return score(METRICS["median_ae"], REGRESSION, errors, np.zeros((len(errors), 1)), weight)


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(1, 5)), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_whole_weight_counts_a_row_so_often_in_the_median(rows):
    errors, weight = np.array(rows).T
    expected = np.median(np.repeat(np.abs(errors), weight))
    assert median_of(errors, weight) == expected
    # Where two halves are equal they stay so, though thirds and tenths are not exact.
    for factor in (1 / 3, 0.1, 1 / weight.mean()):
        assert median_of(errors, factor * weight) == expected


EVEN_HALVES_ARE_AVERAGED = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("whole", [False, True])
def test_the_weighted_median_is_that_of_sklearn(seed, whole):
    if whole and not EVEN_HALVES_ARE_AVERAGED:
        pytest.skip("scikit-learn averages the two middle rows since 1.8")
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 50))
    errors = rng.integers(-3, 4, n) if seed % 2 else rng.normal(size=n)
    weight = rng.integers(1, 4, n).astype(float) if whole else rng.uniform(0.1, 3.0, n)
    expected = reference.median_absolute_error(errors, np.zeros(n), sample_weight=weight)
    assert median_of(errors, weight) == pytest.approx(expected, rel=1e-15)


def test_one_class_in_the_rows():
    y, p = np.zeros(4, dtype=int), np.array([[0.9, 0.1]] * 4)
    scores = score_all(BINARY, y, p)
    assert np.isnan(scores["roc_auc"])
    assert scores["accuracy"] == 1.0
    assert scores["balanced_accuracy"] == 1.0
    assert scores["f1"] == scores["precision"] == scores["recall"] == scores["mcc"] == 0.0
    assert scores["log_loss"] == pytest.approx(-np.log(0.9))
    assert loss_of(METRICS["roc_auc"], BINARY)(y, p, None) == np.inf


def test_class_missing_in_multiclass_rows():
    y, p = np.array([0, 1, 0, 1]), np.full((4, 3), 1 / 3)
    scores = score_all(MULTICLASS, y, p)
    assert scores["roc_auc"] == pytest.approx(0.5)  # over the classes that occur
    assert all(np.isfinite(list(scores.values())))


def test_mape_leaves_zero_targets_out():
    y, p = np.array([0.0, 2.0]), np.array([[5.0], [3.0]])
    assert score(METRICS["mape"], REGRESSION, y, p) == 0.5
    assert np.isnan(score(METRICS["mape"], REGRESSION, y[:1], p[:1]))


def test_r2_of_a_constant_target():
    y = np.ones(3)
    assert score(METRICS["r2"], REGRESSION, y, y[:, None]) == 1.0
    assert score(METRICS["r2"], REGRESSION, y, y[:, None] + 1) == 0.0
    assert np.isnan(score(METRICS["r2"], REGRESSION, y[:1], y[:1, None]))


def test_extreme_probabilities_have_finite_log_loss():
    y, p = np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]])
    assert 15 < score(METRICS["log_loss"], BINARY, y, p) < 20


@pytest.mark.parametrize("task", sorted(ALL_TASKS))
def test_no_rows_and_broken_predictions_are_nan(task):
    y, p, _ = rows_of(task, 0)
    assert all(np.isnan(v) for v in score_all(task, y[:0], p[:0]).values())
    p[3] = np.nan
    assert all(np.isnan(v) for v in score_all(task, y, p).values())


@pytest.mark.parametrize("task", sorted(ALL_TASKS))
def test_score_all_has_every_metric_of_the_task(task):
    y, p, w = rows_of(task, 1)
    assert set(score_all(task, y, p, w)) == {n for n, m in METRICS.items() if task in m.tasks}


def test_threshold_moves_labels_only():
    y, p, _ = rows_of(BINARY, 2)
    low = score_all(BINARY, y, p, threshold=0.01)
    assert low["recall"] == 1.0
    assert low["log_loss"] == score_all(BINARY, y, p)["log_loss"]


# ------------------------------------------------------------------ resolve


@pytest.mark.parametrize("task", sorted(ALL_TASKS))
def test_default(task):
    assert resolve(None, task).name == default_metric(task)


def test_f1_is_macro_in_multiclass():
    y, p, _ = rows_of(MULTICLASS, 3)
    expected = reference.f1_score(y, p.argmax(axis=1), average="macro")
    assert score(resolve("f1", MULTICLASS), MULTICLASS, y, p) == pytest.approx(expected)
    assert score(resolve("f1", MULTICLASS), MULTICLASS, y[y < 2], p[y < 2]) == pytest.approx(
        reference.f1_score(y[y < 2], p[y < 2].argmax(axis=1), average="macro")
    )


def fits(name: str) -> set[Task]:
    found = set()
    for task in ALL_TASKS:
        try:
            resolve(name, task)
        except MetricError:
            continue
        found.add(task)
    return found


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        ("neg_log_loss", set(CLASSIFICATION)),
        ("roc_auc_ovr", set(CLASSIFICATION)),
        ("roc_auc_ovo_weighted", set(CLASSIFICATION)),
        ("f1_micro", set(CLASSIFICATION)),
        ("matthews_corrcoef", set(CLASSIFICATION)),
        ("average_precision", set(CLASSIFICATION)),
        ("jaccard", {BINARY}),
        ("neg_brier_score", {BINARY, MULTICLASS}),
        ("neg_mean_absolute_percentage_error", {REGRESSION}),
        ("neg_mean_squared_log_error", {REGRESSION}),
        ("explained_variance", {REGRESSION}),
        ("max_error", {REGRESSION}),
        ("adjusted_rand_score", set()),
    ],
)
def test_sklearn_names_fit_their_tasks(name, tasks):
    names = reference.get_scorer_names()
    name = f"neg_{name}" if name not in names else name
    assert fits(name) == tasks


def test_every_sklearn_scorer_scores_or_is_refused():
    usable = dict.fromkeys(ALL_TASKS, 0)
    for name in reference.get_scorer_names():
        for task in ALL_TASKS:
            y, p, w = rows_of(task, 4)
            if task is REGRESSION:
                y, p = np.exp(y), np.exp(p)  # some deviances want positive values
            try:
                metric = resolve(name, task)
            except MetricError:
                continue
            weight = None if "ovo" in name else w  # scikit-learn has no weighted one-vs-one
            assert np.isfinite(score(metric, task, y, p, weight)), name
            usable[task] += 1
    assert min(usable.values()) >= 10


def test_a_sklearn_scorer_keeps_its_sign():
    y, p, w = rows_of(BINARY, 5)
    metric = resolve("neg_log_loss", BINARY)
    assert metric.greater_is_better
    assert score(metric, BINARY, y, p, w) == pytest.approx(-score_all(BINARY, y, p, w)["log_loss"])
    ours = loss_of(METRICS["log_loss"], BINARY)(y, p, w)
    assert loss_of(metric, BINARY)(y, p, w) == pytest.approx(ours)


def test_scorer_objects():
    y, p, w = rows_of(REGRESSION, 6)
    scorer = reference.make_scorer(reference.d2_pinball_score, alpha=0.9)
    expected = reference.d2_pinball_score(y, p[:, 0], alpha=0.9, sample_weight=w)
    assert score(resolve(scorer, REGRESSION), REGRESSION, y, p, w) == pytest.approx(expected)
    lower = reference.make_scorer(reference.mean_pinball_loss, greater_is_better=False)
    metric = resolve(lower, REGRESSION)
    assert not metric.greater_is_better
    assert loss_of(metric, REGRESSION)(y, p, w) > 0


def test_a_scorer_that_names_classes_is_refused():
    scorer = reference.make_scorer(reference.f1_score, pos_label="yes")
    with pytest.raises(MetricError, match="pos_label='yes'"):
        resolve(scorer, BINARY)


def test_a_sklearn_function_has_its_direction():
    assert not resolve(reference.mean_squared_error, REGRESSION).greater_is_better
    assert resolve(reference.log_loss, BINARY).needs == "probability"
    assert resolve(reference.f1_score, BINARY).greater_is_better


def test_plain_functions():
    y, p, w = rows_of(BINARY, 7)

    def profit(y_true, y_pred):
        return float(np.sum((y_true == 1) & (y_pred == 1)))

    metric = resolve(profit, BINARY)
    assert metric.name == "profit"
    assert score(metric, BINARY, y, p, w) == profit(y, (p[:, 1] > 0.5).astype(int))
    assert loss_of(metric, BINARY)(y, p, w) == -score(metric, BINARY, y, p, w)


def test_a_function_takes_weights_if_it_can():
    y, p, w = rows_of(REGRESSION, 8)
    metric = resolve(
        lambda y_true, y_pred, sample_weight=None: float(np.sum(sample_weight)), REGRESSION
    )
    assert score(metric, REGRESSION, y, p, w) == pytest.approx(w.sum())


def test_plugin_metrics():
    mine = MetricSpec(
        name="mine",
        api_version=1,
        tasks=frozenset({BINARY}),
        needs="probability",
        greater_is_better=True,
        score=lambda y, p, weight: 3.0,
    )
    found = resolve("mine", BINARY, {"mine": mine})
    assert replace(found, score=mine.score) == mine
    assert found.score(np.zeros(2), np.zeros((2, 2)), None) == 3.0


def test_a_plugin_metric_that_raises_is_named():
    def broken(y, p, weight):
        raise KeyError("no such column")

    mine = MetricSpec(
        name="mine",
        api_version=1,
        tasks=frozenset({BINARY}),
        needs="probability",
        greater_is_better=True,
        score=broken,
    )
    found = resolve("mine", BINARY, {"mine": mine})
    with pytest.raises(MetricError, match="Metric 'mine' cannot score these rows: KeyError"):
        found.score(np.zeros(2), np.zeros((2, 2)), None)
    assert resolve(mine, BINARY) is mine
    with pytest.raises(MetricError, match="binary, and the task is regression"):
        resolve("mine", REGRESSION, {"mine": mine})


@pytest.mark.parametrize(
    ("metric", "task", "message"),
    [
        ("log_los", BINARY, "Did you mean 'log_loss'"),
        ("Accuracy", BINARY, "Did you mean 'accuracy'"),
        ("rmse", BINARY, "'rmse' is for regression, and the task is binary"),
        ("accuracy", REGRESSION, "Choose one of rmse"),
        ("roc_auc_ovr", REGRESSION, "the task is regression"),
        ("jaccard", MULTICLASS, "cannot score"),
        (3, BINARY, "not 3"),
        (lambda estimator, X, y: 0.0, BINARY, "y_true and y_pred"),
    ],
)
def test_refusals(metric, task, message):
    with pytest.raises(MetricError, match=message):
        resolve(metric, task)


def test_a_failing_function_is_named():
    def broken(y_true, y_pred):
        raise ValueError("no such thing")

    y, p, w = rows_of(BINARY, 9)
    with pytest.raises(MetricError, match="'broken' cannot score these rows: no such thing"):
        score(resolve(broken, BINARY), BINARY, y, p, w)


@pytest.mark.parametrize("name", [*METRICS, "neg_log_loss"])
def test_losses_pickle(name):
    task = next(iter(sorted(METRICS[name].tasks))) if name in METRICS else BINARY
    loss = loss_of(resolve(name, task), task)
    y, p, w = rows_of(task, 10)
    assert pickle.loads(pickle.dumps(loss))(y, p, w) == loss(y, p, w)


@pytest.mark.parametrize(
    ("metric", "task"),
    [("rmse", "regression"), ("r2", "regression"), ("log_loss", None), ("accuracy", None),
     ("nonsense", None), (None, None), (METRICS["mae"], "regression"), (max, None)],
)  # fmt: skip
def test_a_metric_of_numbers_implies_regression(metric, task):
    assert implied_task(metric) == task
