"""AutoGluon with one of its presets: ``--option preset=medium_quality``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autogluon.tabular import TabularPredictor  # type: ignore[import-not-found]
from common import Fitted, Job, folder_bytes, main

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

METRICS = {"roc_auc": "roc_auc", "log_loss": "log_loss", "rmse": "root_mean_squared_error"}


def fit(job: Job) -> Fitted:
    """Fit the preset, all else by default.

    AutoGluon has no seed argument of its own for ``fit``: its members use fixed seeds.
    """
    folder = job.scratch / "autogluon"
    predictor = TabularPredictor(
        label=job.target,
        problem_type=job.task,
        eval_metric=METRICS[job.metric],
        path=str(folder),
        verbosity=2,
    ).fit(
        job.train,
        time_limit=job.time_limit,
        presets=job.options["preset"],
        num_cpus=job.cores,
        num_gpus=0,
    )
    is_regression = job.task == "regression"

    def predict(rows: pd.DataFrame) -> Any:
        return predictor.predict(rows) if is_regression else predictor.predict_proba(rows)

    def save(target: Path) -> None:
        predictor.clone_for_deployment(path=str(target / "clone"))

    return Fitted(
        predict=predict,
        classes=None if is_regression else list(predictor.class_labels),
        save=save,
        # What its manual advises for online inference: without it, each call reads from disk.
        load=lambda: predictor.persist(max_memory=None),
        extra={
            "best_model": predictor.model_best,
            "members": len(predictor.model_names()),
            "full_bytes": folder_bytes(folder),
        },
    )


if __name__ == "__main__":
    main(
        fit,
        (
            "autogluon.tabular",
            "lightgbm",
            "xgboost-cpu",
            "catboost",
            "fastai",
            "torch",
            "ray",
            "scikit-learn",
            "pandas",
        ),
    )
