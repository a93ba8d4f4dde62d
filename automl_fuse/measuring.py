"""What a pipeline costs as an artefact: milliseconds of one row, and megabytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.emission import emit
from automl_fuse.errors import ArtefactError, ExportError
from automl_fuse.runtime import GraphInputs, bound, call_seconds, open_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.pipeline import Pipeline
    from automl_fuse.specs import Array

ROWS: Final = 8
"""Rows that take turns."""
FEWEST_CALLS: Final = 20
MOST_CALLS: Final = 200
ENOUGH_SECONDS: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured.

    Attributes
    ----------
    latency_ms : float
        Median milliseconds of one row inside onnxruntime with one thread: inputs and outputs
        are its own values, so that no conversion counts.
    size_mb : float
        Megabytes (10⁶ bytes) of the graph.
    """

    latency_ms: float
    size_mb: float


def measure(pipeline: Pipeline) -> Measured:
    """Write a pipeline into a graph, and time it.

    Raises
    ------
    ExportError
        If a part cannot be written, or onnxruntime refuses the graph.
    """
    emitted = emit(pipeline)
    content = emitted.model.SerializeToString()
    try:
        session = open_session(content)
    except ArtefactError as error:
        raise ExportError(f"the graph cannot be run: {error}") from error
    inputs = GraphInputs(emitted.inputs, emitted.prepared)
    n_rows = min(ROWS, pipeline.sample.n_rows)
    feeds = [inputs.of(pipeline.sample, slice(row, row + 1)) for row in range(n_rows)]
    size = len(content) + len(json.dumps(dict(emitted.prepared)))
    return Measured(latency_ms=row_milliseconds(session, feeds), size_mb=size / 1e6)


def row_milliseconds(session: Any, feeds: Sequence[Mapping[str, Array]]) -> float:
    """Return the median milliseconds of one row inside onnxruntime.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        Of one thread.
    feeds : sequence of mapping of str to array of shape (1, width)
        Its inputs, of rows that take turns: the same row again and again takes less.
    """
    calls = [bound(session, feed) for feed in feeds]
    seconds = call_seconds(calls, FEWEST_CALLS, MOST_CALLS, ENOUGH_SECONDS)
    return 1e3 * float(np.median(seconds))
