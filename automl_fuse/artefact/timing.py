"""How fast an artefact predicts, inside onnxruntime and through ``predict``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import DataError
from automl_fuse.runtime import bound, call_seconds
from automl_fuse.table import read_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from automl_fuse.artefact.portable import PortablePipeline
    from automl_fuse.specs import Array

BATCHES: Final = (1, 10, 100, 1_000, 10_000)
"""Rows at a time that are timed if none are named."""
_FEWEST_CALLS: Final = 10
_MOST_CALLS: Final = 2_000
_ENOUGH_SECONDS: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Time that a batch takes.

    Attributes
    ----------
    rows : int
        Rows of the batch.
    p50_us, p99_us : float
        Median and 99th percentile of a call, in microseconds.
    rows_per_second : float
        At the median.
    """

    rows: int
    p50_us: float
    p99_us: float
    rows_per_second: float


def time_graph(pipeline: PortablePipeline, data: Any, batch: int) -> Speed:
    """Time the graph alone: its inputs and outputs are onnxruntime's own values.

    Parameters
    ----------
    pipeline : PortablePipeline
        What is timed.
    data : table
        Rows, repeated or cut to the size of the batch.
    batch : int
        Rows at a time.

    Raises
    ------
    DataError
        If the table has no row.
    """
    inputs = pipeline.graph_inputs(_batch(pipeline, data, batch))
    return _speed(bound(pipeline.session, inputs), batch)


def time_predict(pipeline: PortablePipeline, data: Any, batch: int) -> Speed:
    """Time ``predict`` of columns in memory; parameters as for ``time_graph``."""
    rows = _batch(pipeline, data, batch)
    return _speed(lambda: pipeline.predict(rows), batch)


def _batch(pipeline: PortablePipeline, data: Any, batch: int) -> dict[str, Array]:
    """Return columns of as many rows as a batch has."""
    table = read_table(data, only=frozenset(pipeline.columns_read_))
    if not table.n_rows:
        raise DataError("the table has no rows to time the pipeline with")
    return dict(table.take(np.arange(batch) % table.n_rows).columns)


def _speed(call: Callable[[], object], rows: int) -> Speed:
    seconds = call_seconds([call], _FEWEST_CALLS, _MOST_CALLS, _ENOUGH_SECONDS)
    median, slow = np.percentile(seconds, [50, 99]).tolist()
    return Speed(rows=rows, p50_us=1e6 * median, p99_us=1e6 * slow, rows_per_second=rows / median)
