"""Gradient boosting for automl_fuse: LightGBM, XGBoost and CatBoost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_fuse import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import LearnerSpec


@hookimpl
def automl_fuse_learners() -> Sequence[LearnerSpec]:
    """Return the learners; none of the libraries is imported before one is built."""
    from automl_fuse_boosting import (
        catboost_learner,
        lightgbm_distributed,
        lightgbm_learner,
        xgboost_learner,
    )

    return (
        lightgbm_learner.SPEC,
        lightgbm_distributed.SPEC,
        xgboost_learner.SPEC,
        catboost_learner.SPEC,
    )
