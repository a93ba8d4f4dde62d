"""Real tables, from file to score on test rows, with every plugin that is installed."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import automl_fuse
from automl_fuse import Settings

DATA = Path(__file__).parents[2] / "shared" / "data"
TABLES = (
    "abalone", "adult", "bikeshare", "california", "credit-g", "diamonds", "hypothyroid", "letter",
    "phoneme", "sms", "telco",
)  # fmt: skip

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared tables are not here")


def learned(name: str, settings: Settings, seconds: float) -> tuple[float, float]:
    """Return the error on test rows, and that of always predicting the training mean."""
    meta = json.loads((DATA / name / "meta.json").read_text())
    model = automl_fuse.fit(
        DATA / name / "train.csv",
        target=meta["target"],
        metric=meta["metric"],
        time_limit=seconds,
        settings=settings,
    )
    scores = model.evaluate(DATA / name / "test.csv")
    test = pd.read_csv(DATA / name / "test.csv")[meta["target"]]
    train = pd.read_csv(DATA / name / "train.csv")[meta["target"]]
    if meta["metric"] == "roc_auc":
        return 1 - scores["roc_auc"], 0.5
    if meta["metric"] == "rmse":
        return scores["rmse"], float(np.sqrt(((test - train.mean()) ** 2).mean()))
    shares = train.value_counts(normalize=True)
    return scores["log_loss"], float(-np.log(test.map(shares)).mean())


@needs_data
@pytest.mark.parametrize("name", ["hypothyroid", "credit-g", "abalone"])
def test_small_tables_in_few_trials(name):
    settings = Settings(learners=("linear", "hist_gradient_boosting"), max_trials=2, folds=3)
    error, constant = learned(name, settings, 60)
    assert error < 0.8 * constant


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_every_table_with_everything_in_twenty_seconds(name):
    error, constant = learned(name, Settings(), 20)
    assert error < 0.65 * constant
