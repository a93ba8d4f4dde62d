"""Cross-fitting, dropping members, temperature and threshold."""

from __future__ import annotations

import pickle
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import make_scorer, zero_one_loss

from automl_fuse.calibration import Calibration, apply_temperature
from automl_fuse.errors import DataError, PluginError
from automl_fuse.fusion import (
    cross_fitted,
    fit_calibration,
    fit_final,
    fit_temperature,
    fit_threshold,
)
from automl_fuse.metrics import METRICS, loss_of, resolve, score
from automl_fuse.specs import ALL_TASKS, Configuration, FusionContext, FusionSpec, Task
from automl_fuse_fusion import averaging, convex, greedy

BINARY, MULTICLASS, REGRESSION = Task.BINARY, Task.MULTICLASS, Task.REGRESSION


class Never:
    def remaining(self) -> float:
        return float("inf")

    def expired(self) -> bool:
        return False


def context_of(task: Task, metric: str | None = None) -> FusionContext:
    return FusionContext(
        task=task,
        n_classes={BINARY: 2, MULTICLASS: 3, REGRESSION: 1}[task],
        loss=loss_of(resolve(metric, task), task),
        seed=0,
        deadline=Never(),
    )


def splits_of(n_rows: int, k: int = 3):
    part = np.arange(n_rows) % k
    return [(np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(k)]


def noisy(n_rows=90, n_members=4, seed=0):
    """Return (oof, y) of three classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n_rows)
    raw = np.exp(1.5 * np.eye(3)[y] + rng.normal(size=(n_members, n_rows, 3)))
    return raw / raw.sum(axis=2, keepdims=True), y


class Fixed:
    """A fusion of given weights that notes the rows it was fitted on."""

    seen: ClassVar[list[tuple[int, ...]]] = []

    def __init__(self, weights):
        self._given = weights
        self.weights = np.empty(0)

    def fit(self, oof, y, weight):
        Fixed.seen.append(oof.shape)
        self.weights = np.asarray(self._given(len(oof)), dtype=float)

    def combine(self, predictions):
        return np.tensordot(self.weights, predictions, axes=1)


def fixed(weights) -> FusionSpec:
    Fixed.seen = []
    return FusionSpec(
        name="fixed",
        api_version=1,
        tasks=ALL_TASKS,
        build=lambda params, context: Fixed(weights),
        portfolio=(Configuration(),),
    )


def uniform(n: int):
    return np.full(n, 1 / n)


# ------------------------------------------------------------------ cross-fitting


def test_uniform_weights_score_as_the_mean():
    oof, y = noisy()
    result = cross_fitted(fixed(uniform), {}, oof, y, None, splits_of(90), context_of(MULTICLASS))
    np.testing.assert_allclose(result.prediction, oof.mean(axis=0))
    loss = context_of(MULTICLASS).loss
    assert result.loss == pytest.approx(loss(y, oof.mean(axis=0), None))
    by_split = [loss(y[s], oof[:, s].mean(axis=0), None) for _, s in splits_of(90)]
    assert result.std == pytest.approx(np.std(by_split))
    assert Fixed.seen == [(4, 60, 3)] * 3


def test_weights_are_passed_on():
    oof, y = noisy()
    weight = np.where(y == 0, 3.0, 0.5)
    context = context_of(MULTICLASS)
    result = cross_fitted(fixed(uniform), {}, oof, y, weight, splits_of(90), context)
    assert result.loss == pytest.approx(context.loss(y, oof.mean(axis=0), weight))


def test_rows_do_not_choose_their_own_weights():
    """Members of pure noise: choosing on the scored rows would look better than it is."""
    rng = np.random.default_rng(1)
    y = rng.normal(size=60)
    oof = rng.normal(size=(40, 60, 1))
    context = context_of(REGRESSION)
    params = {"shrinkage": 0.0}
    honest = cross_fitted(convex.SPEC, params, oof, y, None, splits_of(60), context)
    final = fit_final(convex.SPEC, params, oof, y, None, context)
    fused = final.fusion.combine(oof[list(final.members)])
    assert context.loss(y, fused, None) < 0.95 * honest.loss


def test_rows_without_oof_are_left_out():
    oof, y = noisy()
    oof[2, :30] = np.nan
    context = context_of(MULTICLASS)
    result = cross_fitted(averaging.AVERAGE, {"k": 0}, oof, y, None, splits_of(90), context)
    assert np.isnan(result.prediction[:30]).all()
    assert np.isfinite(result.prediction[30:]).all()
    assert np.isfinite(result.loss)
    final = fit_final(greedy.SPEC, {}, oof, y, None, context)
    assert np.isfinite(final.weights).all()


def test_repeated_splits_average():
    oof, y = noisy()
    splits = splits_of(90) + splits_of(90, 2)
    result = cross_fitted(fixed(uniform), {}, oof, y, None, splits, context_of(MULTICLASS))
    np.testing.assert_allclose(result.prediction.sum(axis=1), 1)


def test_nothing_to_score_is_an_error():
    oof, y = noisy()
    oof[0] = np.nan
    context = context_of(MULTICLASS)
    with pytest.raises(DataError, match="No row"):
        cross_fitted(averaging.AVERAGE, {}, oof, y, None, splits_of(90), context)
    with pytest.raises(DataError, match="No row"):
        fit_final(averaging.AVERAGE, {}, oof, y, None, context)


@pytest.mark.parametrize(
    "weights",
    [
        lambda n: np.full(n, 1.0),
        lambda n: np.full(n + 1, 1 / (n + 1)),
        lambda n: np.r_[2.0, -1.0, np.zeros(n - 2)],
        lambda n: np.full(n, np.nan),
    ],
)
def test_bad_weights_name_the_fusion(weights):
    oof, y = noisy()
    with pytest.raises(PluginError, match="Fusion 'fixed' gave weights"):
        fit_final(fixed(weights), {}, oof, y, None, context_of(MULTICLASS))


@pytest.mark.parametrize("spoil", [lambda p: p[:, :1], lambda p: p * np.nan])
def test_bad_predictions_name_the_fusion(spoil, monkeypatch):
    oof, y = noisy()
    monkeypatch.setattr(Fixed, "combine", lambda self, predictions: spoil(predictions[0]))
    with pytest.raises(PluginError, match="Fusion 'fixed' combined"):
        cross_fitted(fixed(uniform), {}, oof, y, None, splits_of(90), context_of(MULTICLASS))


# ------------------------------------------------------------------ final fit


def test_useless_members_are_dropped():
    oof, y = noisy(n_members=6)
    context = context_of(MULTICLASS)
    final = fit_final(averaging.AVERAGE, {"k": 2}, oof, y, None, context)
    losses = [context.loss(y, member, None) for member in oof]
    assert final.members == tuple(sorted(int(m) for m in np.argsort(losses)[:2]))
    np.testing.assert_allclose(final.weights, 0.5)
    kept = oof[list(final.members)]
    np.testing.assert_allclose(final.fusion.combine(kept), kept.mean(axis=0))


def test_members_are_dropped_at_most_twice():
    oof, y = noisy(n_members=6)
    drop_last = fixed(lambda n: np.r_[uniform(n - 1), 0.0] if n > 1 else [1.0])
    final = fit_final(drop_last, {}, oof, y, None, context_of(MULTICLASS))
    assert final.members == (0, 1, 2, 3)
    assert [shape[0] for shape in Fixed.seen] == [6, 5, 4]


def test_shares_that_are_all_small_are_kept():
    oof = np.repeat(noisy(n_rows=12)[0][:1], 1_500, axis=0)
    final = fit_final(
        fixed(uniform), {}, oof, np.zeros(12, dtype=int), None, context_of(MULTICLASS)
    )
    assert len(final.members) == 1_500


# ------------------------------------------------------------------ temperature


def calibrated(n_rows=2_000, seed=0, k=2):
    """Return probabilities and classes drawn from them."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(k), size=n_rows)
    y = (rng.random(n_rows)[:, None] > np.cumsum(p, axis=1)).sum(axis=1)
    return p, np.minimum(y, k - 1)


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("temperature", [0.5, 2.0, 4.0])
def test_temperature_is_recovered(k, temperature):
    p, y = calibrated(k=k)
    distorted = apply_temperature(p, 1 / temperature)
    assert fit_temperature(distorted, y, None) == pytest.approx(temperature, rel=0.1)


def test_temperature_is_the_best():
    p, y = calibrated(600, seed=3)
    p = apply_temperature(p, 0.4)
    weight = np.random.default_rng(0).uniform(0.5, 2, 600)
    found = fit_temperature(p, y, weight)
    loss = context_of(BINARY).loss
    at = loss(y, apply_temperature(p, found), weight)
    for other in (0.98 * found, 1.02 * found, 1.0):
        assert at < loss(y, apply_temperature(p, other), weight)


def test_temperature_needs_rows_and_gain():
    p, y = calibrated(150)
    assert fit_temperature(apply_temperature(p, 0.3), y, None) == 1.0
    p, y = calibrated(4_000, seed=5)
    y = np.random.default_rng(1).integers(0, 2, len(y))
    helpful = fit_temperature(p, y, None)
    assert helpful > 5  # labels are noise: less certain is better


def test_temperature_of_odd_predictions():
    y = np.arange(300) % 2
    assert fit_temperature(np.full((300, 2), 0.5), y, None) == 1.0
    assert 0.1 <= fit_temperature(np.eye(2)[y], y, None) <= 1.0
    assert fit_temperature(np.eye(2)[1 - y], y, None) >= 1.0
    p, y = calibrated(400)
    p[:300] = np.nan
    assert fit_temperature(p, y, None) == 1.0


@given(st.floats(0.1, 10.0), st.integers(0, 1_000))
@settings(max_examples=50, deadline=None)
def test_temperature_keeps_order_and_sums(temperature, seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(3, 0.3), size=20)
    p[0] = [1.0, 0.0, 0.0]
    scaled = apply_temperature(p, temperature)
    np.testing.assert_allclose(scaled.sum(axis=1), 1)
    assert (scaled >= 0).all()
    np.testing.assert_array_equal(scaled.argmax(axis=1), p.argmax(axis=1))
    np.testing.assert_array_equal(apply_temperature(p[3:4], temperature)[0], scaled[3])


# ------------------------------------------------------------------ threshold


def test_threshold_helps_f1_of_rare_classes():
    rng = np.random.default_rng(0)
    p1 = rng.beta(0.3, 4, 3_000)
    p = np.column_stack([1 - p1, p1])
    y = (rng.random(3_000) < p1).astype(int)
    metric = METRICS["f1"]
    threshold = fit_threshold(metric, BINARY, p, y, None, splits_of(3_000))
    assert threshold < 0.45
    tuned = score(metric, BINARY, y, p, threshold=threshold)
    assert tuned > score(metric, BINARY, y, p) + 0.02


@pytest.mark.parametrize("name", ["precision", "recall", "roc_auc", "log_loss"])
def test_some_metrics_keep_one_half(name):
    p, y = calibrated(500)
    p1 = p[:, 1] ** 3
    p = np.column_stack([1 - p1, p1])
    assert fit_threshold(METRICS[name], BINARY, p, y, None, splits_of(500)) == 0.5


def test_threshold_is_one_half_where_nothing_is_gained():
    y = np.arange(200) % 2
    p = np.where(y[:, None] == [0, 1], 0.9, 0.1)
    for name in ("accuracy", "balanced_accuracy", "f1", "mcc"):
        assert fit_threshold(METRICS[name], BINARY, p, y, None, splits_of(200)) == 0.5


def test_threshold_leaves_multiclass_alone():
    oof, y = noisy()
    metric = resolve("balanced_accuracy", MULTICLASS)
    assert fit_threshold(metric, MULTICLASS, oof[0], y, None, splits_of(90)) == 0.5


def test_lower_is_better_label_metrics():
    rng = np.random.default_rng(2)
    p1 = rng.random(1_000)
    y = (rng.random(1_000) < p1**2).astype(int)
    p = np.column_stack([1 - p1, p1])
    metric = resolve(make_scorer(zero_one_loss, greater_is_better=False), BINARY)
    threshold = fit_threshold(metric, BINARY, p, y, None, splits_of(1_000))
    assert 0.6 < threshold < 0.85  # the truth is above one half from 0.71 on


def test_calibration_as_a_whole():
    p, y = calibrated(1_500)
    distorted = apply_temperature(p, 0.4)
    got = fit_calibration(METRICS["log_loss"], BINARY, distorted, y, None, splits_of(1_500))
    assert got.temperature == pytest.approx(2.5, rel=0.15)
    assert got.threshold == 0.5
    assert fit_calibration(METRICS["rmse"], REGRESSION, p[:, :1], y, None, []) == Calibration()


def test_calibration_predicts():
    p = np.array([[0.7, 0.3], [0.5, 0.5], [0.2, 0.8]])
    plain = Calibration()
    np.testing.assert_array_equal(plain.probabilities(p), p)
    np.testing.assert_array_equal(plain.labels(p), [0, 0, 1])
    np.testing.assert_array_equal(Calibration(threshold=0.25).labels(p), [1, 1, 1])
    np.testing.assert_array_equal(plain.labels(np.eye(3)), [0, 1, 2])
    assert plain.labels(p).dtype == np.int64
    assert pickle.loads(pickle.dumps(plain)) == plain
