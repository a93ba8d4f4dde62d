"""FLAML: the defaults of ``AutoML.fit``, the table's metric and limit."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from common import Fitted, Job, main
from flaml import AutoML  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def fit(job: Job) -> Fitted:
    """Fit with FLAML's own choice of learners, resampling and search."""
    automl = AutoML()
    automl.fit(
        job.features,
        job.labels,
        task=job.task,
        metric=job.metric,
        time_budget=job.time_limit,
        n_jobs=job.cores,
        seed=job.seed,
        verbose=0,
    )
    is_regression = job.task == "regression"

    def predict(rows: pd.DataFrame) -> Any:
        return automl.predict(rows) if is_regression else automl.predict_proba(rows)

    def save(folder: Path) -> None:
        with (folder / "automl.pkl").open("wb") as file:
            pickle.dump(automl, file, pickle.HIGHEST_PROTOCOL)

    return Fitted(
        predict=predict,
        classes=None if is_regression else list(automl.classes_),
        save=save,
        extra={"best_estimator": automl.best_estimator},
    )


if __name__ == "__main__":
    main(fit, ("flaml", "lightgbm", "xgboost-cpu", "catboost", "scikit-learn", "pandas"))
