"""The gain of averaging fold models: against simulations whose true gain is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from automl_fuse.bagging import bagging_gain
from automl_fuse.errors import SettingsError
from automl_fuse.metrics import METRICS, loss_of
from automl_fuse.specs import Task

K = 5
RMSE = loss_of(METRICS["rmse"], Task.REGRESSION)
LOG_LOSS = loss_of(METRICS["log_loss"], Task.BINARY)
AUC = loss_of(METRICS["roc_auc"], Task.BINARY)


def draw(n_rows, rng, task):
    X = rng.normal(size=(n_rows, 6))
    signal = 1.5 * X[:, 0] + X[:, 1] * X[:, 2] + np.sin(2 * X[:, 3])
    if task is Task.REGRESSION:
        return X, signal + 0.5 * rng.normal(size=n_rows)
    return X, (rng.random(n_rows) < 1 / (1 + np.exp(-signal))).astype(np.int64)


class Simulation:
    """Fold models of small forests, a large test set, and fresh rows without labels."""

    def __init__(self, task: Task) -> None:
        rng = np.random.default_rng(0)
        X, y = draw(2_000, rng, task)
        X_test, self.y_test = draw(20_000, rng, task)
        X_fresh, _ = draw(2_000, rng, task)
        kind = RandomForestRegressor if task is Task.REGRESSION else RandomForestClassifier
        part = rng.permutation(len(y)) % K
        models = [
            kind(20, min_samples_leaf=8, random_state=f).fit(X[part != f], y[part != f])
            for f in range(K)
        ]
        self.test = [self._outputs(model, X_test) for model in models]
        self.fresh = [self._outputs(model, X_fresh) for model in models]
        self.residuals = None
        if task is Task.REGRESSION:
            self.residuals = np.concatenate(
                [y[part == f] - models[f].predict(X[part == f]) for f in range(K)]
            )

    @staticmethod
    def _outputs(model, X):
        return model.predict_proba(X) if hasattr(model, "classes_") else model.predict(X)[:, None]

    def true_gain(self, loss, k=K):
        alone = np.mean([loss(self.y_test, p, None) for p in self.test[:k]])
        return alone - loss(self.y_test, np.mean(self.test[:k], axis=0), None)


@pytest.fixture(scope="module")
def classification():
    return Simulation(Task.BINARY)


@pytest.fixture(scope="module")
def regression():
    return Simulation(Task.REGRESSION)


@pytest.mark.parametrize("loss", [LOG_LOSS, AUC])
@pytest.mark.parametrize("pair", [(0, 1), (2, 4)])
def test_gain_of_classifiers_is_near_the_true_one(classification, loss, pair):
    one, other = (classification.fresh[i] for i in pair)
    gain = bagging_gain(loss, one, other, K, None, seed=0)
    true = classification.true_gain(loss)
    assert true > 0
    assert true / 1.5 < gain < 1.5 * true


@pytest.mark.parametrize("pair", [(0, 1), (2, 4)])
def test_gain_of_regressors_is_near_the_true_one(regression, pair):
    one, other = (regression.fresh[i] for i in pair)
    gain = bagging_gain(RMSE, one, other, K, regression.residuals, seed=0)
    true = regression.true_gain(RMSE)
    assert true > 0
    assert true / 1.3 < gain < 1.3 * true


def test_gain_of_two_is_less_than_that_of_five(regression):
    one, other = regression.fresh[:2]
    two, five, many = (
        bagging_gain(RMSE, one, other, k, regression.residuals, seed=0) for k in (2, 5, 1_000)
    )
    assert five == pytest.approx(1.6 * two)
    assert many == pytest.approx(2 * two, rel=0.01)
    assert regression.true_gain(RMSE, 2) == pytest.approx(two, rel=0.3)


def test_squared_error_gains_the_ambiguity():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 500, 1))

    def squared(y, prediction, weight):
        return float(np.mean((y - prediction[:, 0]) ** 2))

    ambiguity = float(np.mean((one - other) ** 2)) / 4
    gain = bagging_gain(squared, one, other, 2, rng.normal(size=50), seed=0)
    assert gain == pytest.approx(ambiguity)


def test_log_loss_gains_the_divergence_from_the_mean():
    rng = np.random.default_rng(0)
    one, other = rng.dirichlet([2.0, 3.0, 4.0], size=(2, 20_000))
    mean = (one + other) / 2
    divergence = np.mean(np.sum(mean * np.log(mean / np.sqrt(one * other)), axis=1))
    loss = loss_of(METRICS["log_loss"], Task.MULTICLASS)
    assert bagging_gain(loss, one, other, 2, None, seed=0) == pytest.approx(divergence, rel=0.05)


def test_models_that_agree_gain_nothing(classification, regression):
    p, v = classification.fresh[0], regression.fresh[0]
    assert bagging_gain(LOG_LOSS, p, p, K, None, seed=0) == 0.0
    assert bagging_gain(RMSE, v, v, K, regression.residuals, seed=0) == 0.0


def test_one_fold_model_gains_nothing(classification):
    one, other = classification.fresh[:2]
    assert bagging_gain(LOG_LOSS, one, other, 1, None, seed=0) == 0.0


def test_a_loss_that_averaging_harms_gives_no_negative_gain(classification):
    one, other = classification.fresh[:2]

    def certainty(y, prediction, weight):
        return float(-np.mean(np.abs(prediction[:, 1] - 0.5)))

    assert bagging_gain(certainty, one, other, K, None, seed=0) == 0.0


def test_a_loss_that_is_undefined_everywhere_gains_nothing():
    sure = np.tile([1.0, 0.0], (50, 1))
    assert bagging_gain(AUC, sure, sure, K, None, seed=0) == 0.0
    assert bagging_gain(AUC, sure[:0], sure[:0], K, None, seed=0) == 0.0


def test_draws_without_a_rare_class_are_left_out():
    rng = np.random.default_rng(0)
    rare = 0.02 * rng.random((2, 100, 1))  # about one positive a draw, in some draws none
    one, other = np.concatenate([1 - rare, rare], axis=2)
    gain = bagging_gain(AUC, one, other, K, None, seed=0)
    assert 0 < gain < 0.5


def test_the_same_seed_gives_the_same_gain(classification):
    one, other = classification.fresh[:2]
    gains = [bagging_gain(AUC, one, other, K, None, seed) for seed in (1, 1, 2)]
    assert gains[0] == gains[1] != gains[2]


def test_exact_out_of_fold_predictions_are_no_obstacle():
    one, other = np.zeros((20, 1)), np.full((20, 1), 0.2)
    gain = bagging_gain(RMSE, one, other, 2, np.zeros(5), seed=0)
    assert gain == pytest.approx(0.1)  # truth is the mean: each alone errs by 0.1


def test_misfits_are_refused():
    with pytest.raises(SettingsError, match="same rows"):
        bagging_gain(RMSE, np.zeros((5, 1)), np.zeros((4, 1)), K, np.ones(3), seed=0)
    with pytest.raises(SettingsError, match="residuals"):
        bagging_gain(RMSE, np.zeros((5, 1)), np.ones((5, 1)), K, None, seed=0)
