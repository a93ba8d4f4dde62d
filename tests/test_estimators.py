import logging

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from automl_fuse import AutoFuseClassifier, AutoFuseRegressor, Settings

QUICK = Settings(
    compressors=(),
    executor="inline",
    learners=("linear",),
    fusions=("average",),
    folds=2,
    max_trials=1,
    progress=False,
)

WEIGHTS = (
    "A row of weight 2 is in one fold, two copies of it may be in two: cross-validation makes "
    "weights and copies differ by design."
)
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
    "check_sample_weight_equivalence_on_sparse_data": WEIGHTS,
}


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(logging.getLogger("automl_fuse"), "disabled", True)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        AutoFuseClassifier(time_limit=60, settings=QUICK),
        AutoFuseRegressor(time_limit=60, settings=QUICK),
    ],
    expected_failed_checks=lambda _: EXPECTED_FAILURES,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_classifier_keeps_labels_and_names():
    data = load_breast_cancer(as_frame=True)
    labels = data.target.map({0: "malignant", 1: "benign"})
    model = AutoFuseClassifier(time_limit=60, metric="roc_auc", settings=QUICK)
    model.fit(data.data, labels)
    assert model.classes_.tolist() == ["benign", "malignant"]
    assert model.feature_names_in_.tolist() == list(data.data.columns)
    assert model.score(data.data, labels) > 0.9
    assert model.predict_proba(data.data).shape == (569, 2)
    assert list(model.leaderboard().learner) == ["linear"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(data.data.rename(columns={"mean radius": "radius"}))


def test_regressor_in_cross_validation_and_pipelines():
    X, y = load_diabetes(return_X_y=True)
    model = make_pipeline(FunctionTransformer(), AutoFuseRegressor(time_limit=60, settings=QUICK))
    assert cross_val_score(model, X, y, cv=3).min() > 0.3


def test_clone_keeps_parameters():
    model = AutoFuseClassifier(time_limit=7, metric="f1", settings=QUICK)
    copy = clone(model)
    assert copy.get_params() == model.get_params()


def test_metadata_is_routed():
    X, y = load_diabetes(return_X_y=True)
    with config_context(enable_metadata_routing=True):
        routed = AutoFuseRegressor().set_fit_request(sample_weight=True, groups=True)
        request = routed.get_metadata_routing().fit.requests
    assert request == {"sample_weight": True, "groups": True}
    groups = np.arange(len(y)) % 4
    AutoFuseRegressor(time_limit=60, settings=QUICK).fit(
        X, y, sample_weight=np.ones(len(y)), groups=groups
    )


def test_html_representation():
    assert "AutoFuseClassifier" in AutoFuseClassifier()._repr_html_()


def test_a_frame_of_mixed_columns_needs_no_preparation():
    n = 120
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "town": rng.choice(["Bath", "York", None], n),
            "day": pd.date_range("2024-01-01", periods=n).to_series().to_numpy(),
        }
    )
    y = (frame["size"] + (frame["town"] == "York") > 0).to_numpy()
    model = AutoFuseClassifier(time_limit=60, settings=QUICK).fit(frame, y)
    assert model.score(frame, y) > 0.9
    assert model.predict(frame).dtype == bool
