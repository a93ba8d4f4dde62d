"""Every fusion, on made-up members: valid, equivariant, deterministic, portable."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import automl_fuse_fusion
from automl_fuse.metrics import loss_of, resolve
from automl_fuse.specs import FusionContext, FusionSpec, Task
from automl_fuse_fusion import common, convex, greedy, ranking

BINARY, MULTICLASS, REGRESSION = Task.BINARY, Task.MULTICLASS, Task.REGRESSION
SPECS: dict[str, FusionSpec] = {s.name: s for s in automl_fuse_fusion.automl_fuse_fusions()}
CASES = [
    pytest.param(spec, configuration.params, task, id=f"{name}-{i}-{task}")
    for name, spec in SPECS.items()
    for i, configuration in enumerate(spec.portfolio)
    for task in sorted(spec.tasks)
]


class Never:
    def remaining(self) -> float:
        return float("inf")

    def expired(self) -> bool:
        return False


class Passed(Never):
    def expired(self) -> bool:
        return True


def context_of(task: Task, metric: str | None = None, *, seed=0, deadline=None) -> FusionContext:
    return FusionContext(
        task=task,
        n_classes={BINARY: 2, MULTICLASS: 4, REGRESSION: 1}[task],
        loss=loss_of(resolve(metric, task), task),
        seed=seed,
        deadline=deadline or Never(),
    )


def members_of(task: Task, *, seed=0, n_members=5, n_rows=240):
    """Return (oof, y, weight) of members of different quality that share some error."""
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 2.0, n_rows)
    noise = np.linspace(0.3, 1.5, n_members)[rng.permutation(n_members)]
    if task is REGRESSION:
        y = 50 + 10 * rng.normal(size=n_rows)
        shared = rng.normal(size=n_rows)
        oof = np.array([y + 3 * shared + 10 * s * rng.normal(size=n_rows) for s in noise])
        return oof[:, :, None], y, weight
    k = 2 if task is BINARY else 4
    y = rng.permutation(np.arange(n_rows) % k)
    logits = np.eye(k)[y] + 0.5 * rng.normal(size=(n_rows, k))
    raw = np.array([np.exp(logits + s * rng.normal(size=(n_rows, k))) for s in noise])
    return raw / raw.sum(axis=2, keepdims=True), y, weight


def fitted(spec, params, task, *, metric=None, seed=0, oof=None, weighted=False, **kwargs):
    made, y, weight = members_of(task, **kwargs)
    oof = made if oof is None else oof
    fusion = spec.build(params, context_of(task, metric, seed=seed))
    fusion.fit(oof, y, weight if weighted else None)
    return fusion, oof, y


def assert_valid(fusion, prediction, oof, task):
    assert fusion.weights.shape == (len(oof),)
    assert (fusion.weights >= 0).all()
    assert fusion.weights.sum() == pytest.approx(1)
    assert prediction.shape == oof.shape[1:]
    assert np.isfinite(prediction).all()
    if task is not REGRESSION:
        assert prediction.min() >= 0
        assert prediction.max() <= 1 + 1e-12
        np.testing.assert_allclose(prediction.sum(axis=1), 1, rtol=1e-9)


# ------------------------------------------------------------------ all fusions


@pytest.mark.parametrize(("spec", "params", "task"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_weights_and_predictions_are_valid(spec, params, task, weighted):
    fusion, oof, _ = fitted(spec, params, task, weighted=weighted)
    assert_valid(fusion, fusion.combine(oof), oof, task)


@pytest.mark.parametrize(("spec", "params", "task"), CASES)
def test_a_row_alone_is_predicted_as_in_a_batch(spec, params, task):
    fusion, oof, _ = fitted(spec, params, task)
    batch = fusion.combine(oof)
    for row in range(0, oof.shape[1], 17):
        np.testing.assert_array_equal(fusion.combine(oof[:, row : row + 1])[0], batch[row])
    assert fusion.combine(oof[:, :0]).shape == (0, oof.shape[2])


@pytest.mark.parametrize(("spec", "params", "task"), CASES)
def test_reordered_members_have_reordered_weights(spec, params, task):
    fusion, oof, _ = fitted(spec, params, task)
    order = np.array([3, 0, 4, 2, 1])
    other, _, _ = fitted(spec, params, task, oof=oof[order])
    np.testing.assert_allclose(other.weights, fusion.weights[order], atol=1e-9)
    np.testing.assert_allclose(other.combine(oof[order]), fusion.combine(oof), rtol=1e-7)


@pytest.mark.parametrize(("spec", "params", "task"), CASES)
def test_it_pickles_and_repeats_itself(spec, params, task):
    fusion, oof, _ = fitted(spec, params, task)
    again, _, _ = fitted(spec, params, task)
    stored = pickle.dumps(fusion)
    assert stored == pickle.dumps(again)
    assert b"_MetricLoss" not in stored
    loaded = pickle.loads(stored)
    np.testing.assert_array_equal(loaded.combine(oof), fusion.combine(oof))
    np.testing.assert_array_equal(loaded.weights, fusion.weights)


@pytest.mark.parametrize(("spec", "params", "task"), CASES)
def test_one_member_and_equal_members(spec, params, task):
    made, _, _ = members_of(task)
    alone, oof, _ = fitted(spec, params, task, oof=made[:1])
    assert alone.weights == pytest.approx([1.0])
    assert_valid(alone, alone.combine(oof), oof, task)
    same, oof, _ = fitted(spec, params, task, oof=np.repeat(made[:1], 4, axis=0))
    assert_valid(same, same.combine(oof), oof, task)


@pytest.mark.parametrize(("spec", "params", "task"), CASES)
def test_certain_and_constant_members(spec, params, task):
    oof, y, _ = members_of(task)
    if task is REGRESSION:
        oof[0, :, 0], oof[1] = y, 50.0
    else:
        oof[0] = np.eye(oof.shape[2])[y]  # certain and right
        oof[1] = np.eye(oof.shape[2])[np.roll(y, 1)]  # certain and often wrong
        oof[2] = 1 / oof.shape[2]
    fusion, _, _ = fitted(spec, params, task, oof=oof)
    assert_valid(fusion, fusion.combine(oof), oof, task)


@pytest.mark.parametrize(("spec", "params", "task"), CASES)
def test_few_rows_and_a_missing_class(spec, params, task):
    oof, y, _ = members_of(task, n_rows=8)
    rows = np.flatnonzero(y != y[0])[:3] if task is not REGRESSION else np.arange(3)
    fusion = spec.build(params, context_of(task))
    fusion.fit(oof[:, rows], y[rows], None)
    assert_valid(fusion, fusion.combine(oof), oof, task)


@pytest.mark.parametrize(("spec", "params", "task"), CASES)
def test_a_passed_deadline_still_gives_a_fusion(spec, params, task):
    oof, y, _ = members_of(task)
    fusion = spec.build(params, context_of(task, deadline=Passed()))
    fusion.fit(oof, y, None)
    assert_valid(fusion, fusion.combine(oof), oof, task)


@pytest.mark.parametrize(
    ("name", "task", "metric"),
    [
        (name, task, metric)
        for name, spec in SPECS.items()
        for task, metric in [
            (BINARY, "roc_auc"),
            (BINARY, "f1"),
            (MULTICLASS, "accuracy"),
            (REGRESSION, "mae"),
        ]
        if task in spec.tasks
    ],
)
def test_any_objective(name, task, metric):
    spec = SPECS[name]
    fusion, oof, _ = fitted(spec, spec.portfolio[0].params, task, metric=metric)
    assert_valid(fusion, fusion.combine(oof), oof, task)


class Recorder:
    """A ``Suggest`` that takes one end of every range and notes the names."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.names: list[str] = []

    def integer(self, name, low, high, *, log=False):
        self.names.append(name)
        return (low, high)[self.end]

    real = integer

    def choice(self, name, options):
        self.names.append(name)
        return options[-self.end]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_space_and_portfolio_agree(spec):
    recorder = Recorder(0)
    drawn = spec.space(recorder)
    assert set(drawn) == set(recorder.names)
    assert len(recorder.names) == len(set(recorder.names))
    assert all(set(c.params) == set(drawn) for c in spec.portfolio)
    merits = [c.merit for c in spec.portfolio]
    assert merits == sorted(merits, reverse=True)


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_both_ends_of_every_space(spec, end):
    for task in sorted(spec.tasks):
        fusion, oof, _ = fitted(spec, spec.space(Recorder(end)), task)
        assert_valid(fusion, fusion.combine(oof), oof, task)


# ------------------------------------------------------------------ properties


seeds = st.integers(0, 10_000)


@pytest.mark.parametrize("name", ["greedy", "convex"])
@given(seed=seeds, task=st.sampled_from([BINARY, MULTICLASS, REGRESSION]))
@settings(max_examples=25, deadline=None)
def test_a_perfect_member_never_hurts(name, seed, task):
    spec = SPECS[name]
    oof, y, _ = members_of(task, seed=seed, n_rows=60)
    perfect = y[:, None] if task is REGRESSION else np.eye(oof.shape[2])[y]
    params = {**spec.portfolio[0].params, **({"shrinkage": 0.0} if name == "convex" else {})}
    loss = context_of(task).loss
    before = spec.build(params, context_of(task))
    before.fit(oof, y, None)
    after = spec.build(params, context_of(task))
    more = np.concatenate([oof, perfect[None]])
    after.fit(more, y, None)
    assert loss(y, after.combine(more), None) <= loss(y, before.combine(oof), None) + 1e-6


@given(seed=seeds, task=st.sampled_from([BINARY, MULTICLASS, REGRESSION]))
@settings(max_examples=25, deadline=None)
def test_convex_is_no_worse_than_any_member_nor_greedy(seed, task):
    oof, y, weight = members_of(task, seed=seed, n_rows=60)
    context = context_of(task)
    weights = convex.convex_weights(oof, y, weight, shrinkage=0.0, context=context)
    loss = context.loss(y, common.weighted_sum(weights, oof), weight)
    assert loss <= min(context.loss(y, member, weight) for member in oof) + 1e-9
    chosen = SPECS["greedy"].build({"rounds": 25}, context)
    chosen.fit(oof, y, weight)
    assert loss <= context.loss(y, chosen.combine(oof), weight) + 1e-6


@given(seed=seeds, weighted=st.booleans())
@settings(max_examples=25, deadline=None)
def test_least_log_loss_is_optimal(seed, weighted):
    oof, y, weight = members_of(MULTICLASS, seed=seed, n_rows=60, n_members=8)
    truth = common.true_class(oof, y)
    mass = common.mass_of(weight if weighted else None, len(y))
    weights = convex.least_log_loss(truth, mass, Never())
    # The loss is above the least by no more than its steepest descent toward one member.
    assert ((truth / (weights @ truth)) @ mass).max() <= 1 + 1e-6


@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_greedy_is_no_worse_than_its_best_member(seed):
    for task, metric in [(BINARY, "roc_auc"), (MULTICLASS, "accuracy"), (REGRESSION, "mae")]:
        oof, y, _ = members_of(task, seed=seed, n_rows=60)
        context = context_of(task, metric)
        fusion = SPECS["greedy"].build({"rounds": 8}, context)
        fusion.fit(oof, y, None)
        best = min(context.loss(y, member, None) for member in oof)
        assert context.loss(y, fusion.combine(oof), None) <= best + 1e-9


# ------------------------------------------------------------------ one by one


@pytest.mark.parametrize(
    ("task", "metric", "expected"),
    [
        (BINARY, "log_loss", True),
        (MULTICLASS, "log_loss", True),
        (BINARY, "neg_log_loss", True),
        (BINARY, "brier", False),
        (BINARY, "roc_auc", False),
        (REGRESSION, "rmse", True),
        (REGRESSION, "neg_mean_squared_error", True),
        (REGRESSION, "mae", False),
        (REGRESSION, "r2", False),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_objective_is_recognised(task, metric, expected, weighted):
    _, y, weight = members_of(task)
    got = common.is_likelihood(context_of(task, metric), y, weight if weighted else None)
    assert got is expected


@pytest.mark.parametrize("task", [BINARY, MULTICLASS, REGRESSION])
def test_fast_and_slow_greedy_agree(task):
    oof, y, weight = members_of(task)
    exact = context_of(task)

    def disguised(y, prediction, weight):
        return 2 * exact.loss(y, prediction, weight)

    slow = FusionContext(
        task=task, n_classes=exact.n_classes, loss=disguised, seed=0, deadline=Never()
    )
    fast_weights = greedy.greedy_weights(oof, y, weight, params={}, context=exact)
    slow_weights = greedy.greedy_weights(oof, y, weight, params={}, context=slow)
    np.testing.assert_allclose(fast_weights, slow_weights)


def test_greedy_bags_depend_on_the_seed_only():
    params = SPECS["greedy"].portfolio[1].params
    first, _, _ = fitted(SPECS["greedy"], params, MULTICLASS, seed=1)
    second, _, _ = fitted(SPECS["greedy"], params, MULTICLASS, seed=2)
    assert not np.array_equal(first.weights, second.weights)


def test_greedy_asks_a_likelihood_about_none_of_its_candidates():
    oof, y, _ = members_of(BINARY, n_members=30, n_rows=3_000)
    context, asked = context_of(BINARY), []

    def loss(*arguments):
        asked.append(arguments)
        return context.loss(*arguments)

    greedy.greedy_weights(oof, y, None, params={}, context=replace(context, loss=loss))
    assert len(asked) < len(oof)  # each round would ask about all of them


def test_average_takes_the_best():
    fusion, oof, y = fitted(SPECS["average"], {"k": 2}, BINARY)
    losses = [context_of(BINARY).loss(y, member, None) for member in oof]
    assert set(np.flatnonzero(fusion.weights)) == set(np.argsort(losses)[:2])
    everyone, _, _ = fitted(SPECS["average"], {"k": 0}, BINARY)
    np.testing.assert_allclose(everyone.weights, 0.2)


def test_soft_voting_prefers_the_better():
    fusion, oof, y = fitted(SPECS["soft_voting"], {"k": 0, "power": 1.0}, MULTICLASS)
    losses = [context_of(MULTICLASS).loss(y, member, None) for member in oof]
    assert (np.diff(fusion.weights[np.argsort(losses)]) < 0).all()


def test_hard_votes_are_counted():
    fusion, _, _ = fitted(SPECS["hard_voting"], {"k": 0, "smoothing": 1.0}, BINARY)
    says_yes, says_no = [[0.4, 0.6]], [[0.9, 0.1]]
    got = fusion.combine(np.array([says_yes, says_yes, says_yes, says_no, says_no]))
    np.testing.assert_allclose(got, [[2.5 / 6, 3.5 / 6]])


def test_rank_average_does_not_mind_calibration():
    oof, y, _ = members_of(BINARY, n_rows=400)
    fusion, _, _ = fitted(SPECS["rank_average"], {"k": 0}, BINARY, oof=oof, n_rows=400)
    squeezed = oof.copy()
    squeezed[0, :, 1] = 0.001 * oof[0, :, 1]
    squeezed[0, :, 0] = 1 - squeezed[0, :, 1]
    other, _, _ = fitted(SPECS["rank_average"], {"k": 0}, BINARY, oof=squeezed, n_rows=400)
    auc = context_of(BINARY, "roc_auc").loss
    got = auc(y, other.combine(squeezed), None)
    assert got == pytest.approx(auc(y, fusion.combine(oof), None), abs=2e-3)
    assert got < auc(y, squeezed.mean(axis=0), None)


def test_rank_curve_gives_ties_their_mean_rank():
    points, ranks = ranking.rank_curve(np.array([0.1] * 50 + [0.7] * 50))
    at = np.interp([0.1, 0.7], points, ranks)
    np.testing.assert_allclose(at, [0.25, 0.75], atol=0.01)


def test_strong_regularisation_stacks_to_the_mean():
    spec = SPECS["stacking"]
    for nonnegative in (True, False):
        params = {"l2": 1e6, "nonnegative": nonnegative}
        fusion, oof, _ = fitted(spec, params, REGRESSION)
        np.testing.assert_allclose(fusion.weights, 0.2, atol=1e-4)
        shift = fusion.combine(oof) - oof.mean(axis=0)  # the intercept takes out the bias
        assert np.ptp(shift) < 0.01


def test_stacking_mends_a_biased_member():
    oof, y, _ = members_of(REGRESSION)
    context = context_of(REGRESSION)
    biased = 3 * oof[:1] + 1000
    fusion = SPECS["stacking"].build({"l2": 1e-4, "nonnegative": True}, context)
    fusion.fit(biased, y, None)
    assert context.loss(y, fusion.combine(biased), None) < np.std(y)


def test_nonnegative_stacking():
    for task in (BINARY, MULTICLASS, REGRESSION):
        fusion, _, _ = fitted(SPECS["stacking"], {"l2": 1e-4, "nonnegative": True}, task)
        assert (fusion._coefficients >= 0).all()


def test_listing_is_cheap():
    code = (
        "import sys, automl_fuse_fusion as p, automl_fuse_compress as q\n"
        "p.automl_fuse_fusions(); q.automl_fuse_compressors()\n"
        "heavy = {'sklearn', 'scipy', 'pandas', 'optuna'} & set(sys.modules)\n"
        "raise SystemExit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
