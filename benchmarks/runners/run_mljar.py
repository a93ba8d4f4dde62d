"""mljar-supervised in its mode ``Compete``."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from common import Fitted, Job, main
from supervised import AutoML  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

METRICS = {"roc_auc": "auc", "log_loss": "logloss", "rmse": "rmse"}
TASKS = {
    "binary": "binary_classification",
    "multiclass": "multiclass_classification",
    "regression": "regression",
}


def fit(job: Job) -> Fitted:
    """Fit in mode ``Compete``, without its written explanations (they only take time)."""
    folder = job.scratch / "mljar"
    automl = AutoML(
        results_path=str(folder),
        mode="Compete",
        ml_task=TASKS[job.task],
        eval_metric=METRICS[job.metric],
        total_time_limit=int(job.time_limit),
        n_jobs=job.cores,
        random_state=job.seed,
        explain_level=0,
        verbose=0,
    )
    automl.fit(job.features, job.labels)
    is_regression = job.task == "regression"

    def predict(rows: pd.DataFrame) -> Any:
        return automl.predict(rows) if is_regression else automl.predict_proba(rows)

    def save(target: Path) -> None:
        shutil.copytree(folder, target / "mljar")

    return Fitted(
        predict=predict,
        classes=None if is_regression else sorted(job.labels.unique().tolist()),
        save=save,
    )


if __name__ == "__main__":
    main(
        fit,
        ("mljar-supervised", "lightgbm", "xgboost", "catboost", "scikit-learn", "pandas"),
    )
