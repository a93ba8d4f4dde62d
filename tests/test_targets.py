"""Targets on a logarithmic scale: there and back, in NumPy and in onnxruntime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import automl_fuse
from automl_fuse import Settings
from automl_fuse.errors import PluginError
from automl_fuse.hyperparameters import learner_params
from automl_fuse.specs import Tensor
from automl_fuse.targets import LOG, TargetScale, has_tail, transform_of
from automl_fuse.testing._exported import Exported

RNG = np.random.default_rng(0)
TAILS = {
    "lognormal": np.exp(RNG.normal(size=400)),
    "from a million on": 1e6 + 30 * np.exp(RNG.normal(size=400)),
    "negative": -7.0 + RNG.exponential(size=400) ** 2,
    "tiny": 1e-9 * np.exp(2 * RNG.normal(size=400)),
    "mostly zero": np.where(RNG.random(400) < 0.6, 0.0, np.exp(3 + RNG.normal(size=400))),
    "counts": RNG.poisson(np.exp(1 + RNG.normal(size=400))).astype(float),
    "an outlier below": np.append(np.exp(RNG.normal(size=400)), -3.0),
}
NO_TAILS = {
    "normal": RNG.normal(size=400),
    "uniform": RNG.random(400),
    "a tail to the left": -np.exp(RNG.normal(size=400)),
    "constant": np.full(5, 3.0),
    "one row": np.array([2.0]),
}


def skewness(values):
    return float(np.mean(((values - values.mean()) / values.std()) ** 3))


@pytest.mark.parametrize("name", TAILS)
def test_a_tail_is_shortened_and_comes_back(name):
    y = TAILS[name]
    scale = TargetScale.of(y, LOG)
    told = scale.standardised(y)
    assert has_tail(y)
    assert np.isfinite(told).all()
    assert told.mean() == pytest.approx(0, abs=1e-9)
    assert told.std() == pytest.approx(1)
    assert abs(skewness(told)) < 0.7 * abs(skewness(y))
    assert (np.diff(told[np.argsort(y)]) >= 0).all()
    assert np.abs(scale.restored(told) - y).max() <= 1e-12 * (np.ptp(y) + np.abs(y).max())


@pytest.mark.parametrize("name", NO_TAILS)
def test_a_target_without_a_tail_is_only_standardised(name):
    y = NO_TAILS[name]
    assert not has_tail(y)
    assert TargetScale.of(y, LOG) == TargetScale.of(y)
    told = TargetScale.of(y).standardised(y)
    assert told == pytest.approx((y - y.mean()) / (y.std() or 1.0))


def test_unit_and_origin_of_the_target_do_not_matter():
    y = TAILS["lognormal"]
    told = TargetScale.of(y, LOG).standardised(y)
    moved = 1e-4 * y - 17.0
    assert TargetScale.of(moved, LOG).standardised(moved) == pytest.approx(told, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("transform", ["identity", "log"])
def test_wild_predictions_stay_within_the_training_range(transform):
    y = TAILS["lognormal"]
    scale = TargetScale.of(y, transform)
    found = scale.restored(np.array([[-1e300], [-1e4], [0.0], [1e4], [1e300]]))[:, 0]
    assert found[0] == found[1] == pytest.approx(y.min())
    assert found[3] == found[4] == pytest.approx(y.max())
    assert y.min() < found[2] < y.max()


def test_targets_that_training_did_not_see_are_bearable():
    y = TAILS["lognormal"]
    scale = TargetScale.of(y, LOG)
    told = scale.standardised(np.array([y.min() - 100.0, y.min(), y.max() + 1.0, np.nan]))
    assert told[0] == told[1]
    assert told[2] > scale.standardised(y).max()
    assert np.isnan(told[3])


@pytest.fixture
def noisy():
    """Targets with much noise in the logarithm, and the logarithm that is expected."""
    rng = np.random.default_rng(1)
    signal = rng.normal(size=20_000)
    y = np.exp(signal + rng.normal(scale=0.8, size=20_000)) - 5.0
    scale = replace(TargetScale.of(y, LOG), offset=5.0)
    return y, scale, (signal[:, None] - scale.center) / scale.scale


def test_the_mean_of_what_is_restored_is_corrected(noisy):
    y, scale, predictions = noisy
    told = (np.log(y + 5.0) - scale.center) / scale.scale
    corrected = scale.corrected(told, predictions, None)
    assert corrected.factor == pytest.approx(np.exp(0.5 * 0.8**2), rel=0.05)
    before, after = (each.restored(predictions)[:, 0] for each in (scale, corrected))
    assert after.mean() == pytest.approx(y.mean(), abs=0.02)
    assert np.mean((y - after) ** 2) < 0.95 * np.mean((y - before) ** 2)
    assert corrected.corrected(told, predictions, None).factor == pytest.approx(corrected.factor)


def test_the_correction_knows_sample_weights(noisy):
    y, scale, predictions = noisy
    told = (np.log(y + 5.0) - scale.center) / scale.scale
    counts = np.arange(len(y)) % 3
    rows = np.repeat(np.arange(len(y)), counts)
    weighted = scale.corrected(told, predictions, counts.astype(float))
    repeated = scale.corrected(told[rows], predictions[rows], None)
    assert weighted.factor == pytest.approx(repeated.factor)
    assert weighted.factor != pytest.approx(scale.corrected(told, predictions, None).factor)


def test_values_that_are_only_standardised_need_no_correction():
    y = TAILS["lognormal"]
    scale = TargetScale.of(y)
    assert scale.corrected(scale.standardised(y), np.zeros((len(y), 1)), None) == scale


@pytest.mark.parametrize("transform", ["identity", "log"])
@pytest.mark.parametrize("name", [*TAILS, *NO_TAILS])
def test_the_graph_computes_the_same(name, transform):
    y = (TAILS | NO_TAILS)[name]
    scale = TargetScale.of(y, transform)
    scale = scale.corrected(scale.standardised(y), np.full((len(y), 1), -0.2), None)
    predictions = np.append(np.linspace(-4, 4, 101), [-1e300, 1e300])[:, None]
    exported = Exported({"x": ("double", 1)}, lambda graph: scale.to_onnx(graph, Tensor("x")))
    got, expected = exported.run({"x": predictions}), scale.restored(predictions)
    assert np.abs(got - expected).max() <= 1e-12 * (np.abs(y).max() + np.ptp(y))
    assert (np.diff(got[:101, 0]) >= 0).all()


def test_the_engine_keeps_the_name_of_the_transform_to_itself():
    params = {"target": "log", "depth": 3}
    assert learner_params(params) == {"depth": 3}
    assert transform_of(params, "mine") == "log"
    assert transform_of({"depth": 3}, "mine") == "identity"
    with pytest.raises(PluginError, match="learner 'mine' has target='sqrt'"):
        transform_of({"target": "sqrt"}, "mine")


@pytest.fixture(scope="module")
def fitted():
    """Pipelines of lines with and without logarithms of the target, and untouched rows."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(600, 3))
    signal = features @ [0.8, -0.5, 0.3] + rng.normal(scale=0.3, size=600)
    table = pd.DataFrame(features, columns=["a", "b", "c"]).assign(price=100 * np.exp(signal))
    settings = Settings(
        learners=("linear",),
        executor="inline",
        compressors=(),
        folds=3,
        max_trials=2,
        progress=False,
    )
    pipelines = {
        wanted: automl_fuse.fit(
            table.iloc[:400],
            target="price",
            settings=replace(settings, target_transforms=wanted),
        )
        for wanted in (False, True)
    }
    return pipelines, table.iloc[400:]


def test_members_of_logarithms_pay(fitted):
    pipelines, rows = fitted
    transforms = {
        wanted: {member.params.get("target") for member in each.members}
        for wanted, each in pipelines.items()
    }
    assert transforms[False] == {None}
    assert "log" in transforms[True]
    errors = {wanted: each.evaluate(rows)["rmse"] for wanted, each in pipelines.items()}
    assert errors[True] < 0.8 * errors[False]


def test_members_of_logarithms_are_exported_exactly(fitted, tmp_path):
    pipelines, rows = fitted
    pipelines[True].save(tmp_path / "model.onnx")
    portable = automl_fuse.load(tmp_path / "model.onnx")
    assert portable.predict(rows) == pytest.approx(pipelines[True].predict(rows), rel=1e-9)
