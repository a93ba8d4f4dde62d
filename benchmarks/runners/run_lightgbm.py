"""Plain LightGBM: native categories, holdout early stopping, refit on all rows."""

from __future__ import annotations

import math
import pickle
import time
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pandas as pd
from common import Fitted, Job, main
from sklearn.model_selection import train_test_split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

MOST_ROUNDS = 5000
PATIENCE = 100
HOLDOUT = 0.2
HOLDOUT_TIME = 0.42
"""Share of the limit for the holdout fit; the refit has 1/0.8 times the rows."""

OBJECTIVES = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}
METRICS = {"roc_auc": "auc", "rmse": "rmse"}


class Features:
    """Makes the frame that LightGBM takes: strings as categories, timestamps as parts."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.dates = list(rows.select_dtypes(include=["datetime", "datetimetz"]).columns)
        text = [c for c in rows.columns if not self._is_number(rows[c]) and c not in self.dates]
        self.categories = {c: pd.CategoricalDtype(rows[c].dropna().unique().tolist()) for c in text}

    @staticmethod
    def _is_number(column: pd.Series[Any]) -> bool:
        return pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)

    def transform(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the features of these rows."""
        features = rows.astype(self.categories)
        for name in self.dates:
            parts = rows[name].dt
            features = features.drop(columns=name)
            for part in ("year", "month", "day", "weekday", "hour"):
                features[f"{name}_{part}"] = getattr(parts, part)
        return features


def stop_at(moment: float) -> Callable[[Any], None]:
    """Return a callback that ends boosting at a moment of ``time.perf_counter``."""

    def callback(env: Any) -> None:
        if time.perf_counter() > moment:
            raise lightgbm.callback.EarlyStopException(
                env.iteration, env.evaluation_result_list or [("", "", math.nan, False)]
            )

    return callback


def parameters(job: Job, n_classes: int) -> dict[str, Any]:
    """Return LightGBM's parameters: its defaults but for the learning rate."""
    chosen: dict[str, Any] = {
        "objective": OBJECTIVES[job.task],
        "learning_rate": 0.05,
        "num_threads": job.cores,
        "seed": job.seed,
        "verbosity": -1,
        "first_metric_only": True,
    }
    if job.task == "multiclass":
        chosen |= {"num_class": n_classes, "metric": "multi_logloss"}
    else:
        chosen["metric"] = METRICS.get(job.metric, "binary_logloss")
    return chosen


def best_rounds(
    job: Job, features: pd.DataFrame, codes: NDArray[Any], params: dict[str, Any], end: float
) -> int:
    """Return the number of rounds that is best on a holdout of one fifth."""
    fitting, held = train_test_split(
        np.arange(len(codes)),
        test_size=HOLDOUT,
        random_state=job.seed,
        stratify=None if job.task == "regression" else codes,
    )
    train = lightgbm.Dataset(features.iloc[fitting], codes[fitting])
    valid = train.create_valid(features.iloc[held], codes[held])
    booster = lightgbm.train(
        params,
        train,
        MOST_ROUNDS,
        valid_sets=[valid],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False), stop_at(end)],
    )
    return max(int(booster.best_iteration), 1)


def fit(job: Job) -> Fitted:
    """Find the number of rounds on a holdout, then fit that many on all rows."""
    start = time.perf_counter()
    classes = None if job.task == "regression" else sorted(job.labels.unique().tolist())
    maker = Features(job.features)
    features = maker.transform(job.features)
    codes = (
        job.labels.to_numpy()
        if classes is None
        else job.labels.map({label: code for code, label in enumerate(classes)}).to_numpy()
    )
    params = parameters(job, len(classes or ()))
    holdout_end = start + HOLDOUT_TIME * job.time_limit
    rounds = best_rounds(job, features, codes, params, holdout_end)
    booster = lightgbm.train(
        params,
        lightgbm.Dataset(features, codes),
        rounds,
        callbacks=[stop_at(start + 0.97 * job.time_limit)],
    )

    def predict(rows: pd.DataFrame) -> Any:
        raw = np.asarray(booster.predict(maker.transform(rows), num_threads=job.cores))
        return np.column_stack([1 - raw, raw]) if job.task == "binary" else raw

    def save(folder: Path) -> None:
        with (folder / "model.pkl").open("wb") as file:
            pickle.dump((maker, booster), file)

    return Fitted(predict=predict, classes=classes, save=save, extra={"rounds": rounds})


if __name__ == "__main__":
    main(fit, ("lightgbm", "pandas", "scikit-learn"))
