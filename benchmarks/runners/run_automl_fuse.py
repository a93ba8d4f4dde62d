"""automl_fuse: what predicts is the portable file that it saves.

``--option prefer=quality`` is passed on to ``fit``; every other option is a field of ``Settings``,
its value in JSON: ``--option 'learners=["lightgbm"]'``.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from common import Fitted, Job, main

import automl_fuse

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from automl_fuse.artefact import PortablePipeline


def fit(job: Job) -> Fitted:
    """Fit with the table's metric as objective."""
    options = dict(job.options)
    prefer = options.pop("prefer", "balanced")
    given = {name: _value(text) for name, text in options.items()}
    model = automl_fuse.fit(
        job.train,
        target=job.target,
        time_limit=job.time_limit,
        metric=job.metric,
        prefer=prefer,
        settings=automl_fuse.Settings(seed=job.seed, **given),
    )
    is_regression = job.task == "regression"

    @cache
    def deployed() -> PortablePipeline:
        # On the first call, which only scores: outside every clock.
        path = job.scratch / "model.onnx"
        model.save(path)
        return automl_fuse.load(path)

    def predict(rows: pd.DataFrame) -> Any:
        return deployed().predict(rows) if is_regression else deployed().predict_proba(rows)

    def save(folder: Path) -> None:
        model.save(folder / "model.onnx")

    return Fitted(
        predict=predict,
        classes=None if model.classes_ is None else model.classes_.tolist(),
        save=save,
        extra={
            "seconds": dict(model.report["seconds"]),
            "trials": dict(model.report["trials"]),
            "fusion": model.report["fusion"]["method"],
            "pipeline": next(r["pipeline"] for r in model.report["front"] if r["chosen"]),
        },
    )


def _value(text: str) -> Any:
    """Return a setting; lists become tuples, as ``Settings`` holds them."""
    value = json.loads(text)
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    main(
        fit,
        (
            "automl-fuse",
            "lightgbm",
            "xgboost-cpu",
            "catboost",
            "scikit-learn",
            "onnxruntime",
            "pandas",
        ),
    )
