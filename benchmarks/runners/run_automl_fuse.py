"""automl_fuse, with its defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common import Fitted, Job, main

import automl_fuse

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def fit(job: Job) -> Fitted:
    """Fit with the table's metric as objective."""
    model = automl_fuse.fit(
        job.train,
        target=job.target,
        time_limit=job.time_limit,
        metric=job.metric,
        settings=automl_fuse.Settings(seed=job.seed),
    )
    is_regression = job.task == "regression"

    def predict(rows: pd.DataFrame) -> Any:
        return model.predict(rows) if is_regression else model.predict_proba(rows)

    def save(folder: Path) -> None:
        model.save(str(folder / "model"))

    return Fitted(
        predict=predict,
        classes=None if model.classes_ is None else model.classes_.tolist(),
        save=save,
        extra={"seconds": dict(model.report["seconds"]), "members": len(model.leaderboard())},
    )


if __name__ == "__main__":
    main(fit, ("automl-fuse", "lightgbm", "xgboost-cpu", "catboost", "scikit-learn", "pandas"))
