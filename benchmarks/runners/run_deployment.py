"""One fit of automl_fuse, and what the pipelines of its front score, weigh and take."""

from __future__ import annotations

import json
import math
import pickle
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from common import (
    Floats,
    Job,
    batch_of,
    batch_seconds,
    one_row_ms,
    peak_rss_bytes,
    read_arguments,
    read_job,
    read_test,
    scores,
    versions,
)

import automl_fuse
from automl_fuse.artefact.portable import CHUNK_ROWS
from automl_fuse.compressing import FULL
from automl_fuse.errors import AutoFuseError
from automl_fuse.runtime import bound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

PREFERENCES = ("quality", "balanced", "speed")
PACKAGES = (
    "automl-fuse", "numpy", "onnx", "onnxruntime", "lightgbm", "xgboost-cpu", "catboost",
    "scikit-learn", "pandas",
)  # fmt: skip
ROWS_ALONE = 20
"""Rows that take turns where one row is timed below the public API."""
LEAST_CALLS = 100
MOST_CALLS = 2000
ENOUGH_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Test:
    """The rows that pipelines are measured on: without target, and the target."""

    rows: pd.DataFrame
    truth: NDArray[Any]
    folder: Path


def main() -> None:
    """Fit once, measure the ensemble in Python and three artefacts, write one JSON object."""
    arguments = read_arguments()
    job = read_job(arguments)
    start = time.perf_counter()
    model = fit(job)
    fit_seconds = time.perf_counter() - start
    rows, truth = read_test(arguments, job)
    test = Test(rows=rows, truth=truth, folder=job.scratch)
    forms = {"ensemble": as_ensemble(model, test)}
    chosen = {preference: model.pick(prefer=preference) for preference in PREFERENCES}
    known: dict[str, dict[str, Any]] = {}
    for preference, pipeline in chosen.items():
        name = name_of(pipeline)
        if name not in known:
            known[name] = as_artefact(pipeline, test, f"{preference}.onnx")
        forms[preference] = known[name]
    result = {
        "fit_seconds": fit_seconds,
        "scores": forms["ensemble"]["scores"],
        "forms": forms,
        "front": json.loads(model.front().to_json(orient="records")),
        "compression": {
            "made": model.report["compression"]["made"],
            "notes": model.report["compression"]["notes"],
            "failures": len(model.report["compression"]["failures"]),
        },
        "seconds": dict(model.report["seconds"]),
        "own_peak_rss_bytes": peak_rss_bytes(),
        "versions": versions(PACKAGES),
    }
    arguments.output.write_text(json.dumps(result))


def fit(job: Job) -> Any:
    """Fit with the table's metric as objective, all else by default."""
    return automl_fuse.fit(
        job.train,
        target=job.target,
        time_limit=job.time_limit,
        metric=job.metric,
        settings=automl_fuse.Settings(seed=job.seed),
    )


def name_of(pipeline: Any) -> str:
    """Return the name of a pipeline on its front."""
    return str(next(row["pipeline"] for row in pipeline.report["front"] if row["chosen"]))


def predictor(model: Any) -> Callable[[pd.DataFrame], Any]:
    """Return what gives probabilities, or values in regression."""
    return model.predict if model.classes_ is None else model.predict_proba  # type: ignore[no-any-return]


def _classes(model: Any) -> list[Any] | None:
    return None if model.classes_ is None else model.classes_.tolist()


# --------------------------------------------------------------------------- in Python


def as_ensemble(model: Any, test: Test) -> dict[str, Any]:
    """Measure the fused ensemble as the Python object that the run made.

    That is the pipeline of all members that the fusion kept; where the front has a better one
    in its place, the best of the front.
    """
    names = model.front()["pipeline"].tolist()
    pipeline = model.named(FULL) if FULL in names else model.pick(prefer="quality")
    predict = predictor(pipeline)
    alone = replace(pipeline, alternatives={})
    return {
        **_described(pipeline),
        "scores": scores(test.truth, _numbers(predict(test.rows)), _classes(pipeline)),
        "one_row_ms": one_row_ms(predict, test.rows),
        "batch_seconds": batch_seconds(predict, test.rows),
        "bytes": len(pickle.dumps(alone, pickle.HIGHEST_PROTOCOL)),
    }


def _described(pipeline: Any) -> dict[str, Any]:
    """Say which pipeline it is."""
    return {
        "pipeline": name_of(pipeline),
        "members": len(pipeline.members),
        "models": sum(len(member.folds) for member in pipeline.members),
        "learners": sorted({member.learner for member in pipeline.members}),
    }


def _numbers(prediction: Any) -> Floats:
    return np.asarray(prediction, dtype=np.float64)


# --------------------------------------------------------------------------- as a file


def as_artefact(pipeline: Any, test: Test, name: str) -> dict[str, Any]:
    """Save a pipeline, load the file, and measure what was loaded.

    Parameters
    ----------
    pipeline : Pipeline
        What to save.
    test : Test
        What to measure with.
    name : str
        Name of the file.

    Returns
    -------
    dict
        ``failure`` says why it could not be saved or loaded, and is None else; the README says
        what each figure means.
    """
    path = test.folder / name
    described = _described(pipeline)
    try:
        save_seconds = _seconds(lambda: pipeline.save(path))
        load_seconds = float(np.median([_seconds(lambda: automl_fuse.load(path)) for _ in "123"]))
        loaded = automl_fuse.load(path)
    except AutoFuseError as error:
        return described | {"failure": f"{type(error).__name__}: {error}"}
    predict = predictor(loaded)
    alone = predictor(automl_fuse.load(path, threads=1))
    prediction = _numbers(predict(test.rows))
    return {
        **described,
        "failure": None,
        "scores": scores(test.truth, prediction, _classes(loaded)),
        **parity(pipeline, loaded, test.rows),
        "one_row_ms": one_row_ms(predict, test.rows),
        **one_row_below(loaded, test.rows),
        "batch_seconds": batch_seconds(predict, test.rows),
        "batch_alone_seconds": batch_seconds(alone, test.rows),
        "batch_inside_seconds": batch_inside_seconds(loaded, test.rows),
        "bytes": path.stat().st_size,
        "nodes": _count_nodes(path),
        "save_seconds": save_seconds,
        "load_seconds": load_seconds,
    }


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _count_nodes(path: Path) -> int:
    """Return how many nodes the graph of a file has, those of subgraphs left out."""
    import onnx

    return len(onnx.load(path).graph.node)


def parity(pipeline: Any, loaded: Any, rows: pd.DataFrame) -> dict[str, Any]:
    """Compare what was loaded with the pipeline that it was saved from.

    Parameters
    ----------
    pipeline, loaded : Pipeline, PortablePipeline
        What is compared.
    rows : DataFrame
        Test rows.

    Returns
    -------
    dict
        ``parity``: largest difference of a probability or value; ``parity_relative``: the same
        divided by the size of the value where that is above 1; ``unlike_labels``: rows whose
        label differs, None in regression.
    """
    expected = _numbers(predictor(pipeline)(rows))
    distance = np.abs(_numbers(predictor(loaded)(rows)) - expected)
    unlike = None
    if pipeline.classes_ is not None:
        unlike = int(np.sum(pipeline.predict(rows) != loaded.predict(rows)))
    return {
        "parity": float(distance.max()),
        "parity_relative": float((distance / np.maximum(1.0, np.abs(expected))).max()),
        "unlike_labels": unlike,
    }


def one_row_below(loaded: Any, rows: pd.DataFrame) -> dict[str, float]:
    """Time one row below the public API.

    Returns
    -------
    dict
        Median microseconds: ``one_row_session_us`` of ``InferenceSession.run`` with NumPy arrays
        ready to be fed, and ``one_row_inside_us`` of the graph bound to onnxruntime's own memory,
        so that no conversion counts.
    """
    drawn = rows.iloc[: min(ROWS_ALONE, len(rows))]
    feeds = [loaded.graph_inputs(drawn.iloc[[row]]) for row in range(len(drawn))]
    session = loaded.session
    names = [output.name for output in session.get_outputs()]
    runs = [partial(session.run, names, feed) for feed in feeds]
    return {
        "one_row_session_us": 1e6 * _median(runs),
        "one_row_inside_us": 1e6 * _median([bound(session, feed) for feed in feeds]),
    }


def _median(calls: Sequence[Callable[[], object]]) -> float:
    """Return the median seconds of calls in turn, after one round of warm-up."""
    for call in calls:
        call()
    durations: list[float] = []
    begin = time.perf_counter()
    while len(durations) < LEAST_CALLS or (
        len(durations) < MOST_CALLS and time.perf_counter() - begin < ENOUGH_SECONDS
    ):
        durations.append(_seconds(calls[len(durations) % len(calls)]))
    return float(np.median(durations))


def batch_inside_seconds(loaded: Any, rows: pd.DataFrame) -> float:
    """Return the seconds of 10,000 rows inside onnxruntime: in the parts that ``predict`` makes.

    Each part is timed three times after a warm-up, and its median counts.
    """
    batch = batch_of(rows)
    parts = []
    for start in range(0, len(batch), CHUNK_ROWS):
        feed = loaded.graph_inputs(batch.iloc[start : start + CHUNK_ROWS])
        run = bound(loaded.session, feed)
        run()
        parts.append(float(np.median([_seconds(run) for _ in "123"])))
    return math.fsum(parts)


if __name__ == "__main__":
    main()
