"""What a pipeline costs as an artefact: milliseconds of one row, and megabytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.budget import Stopwatch
from automl_fuse.emission import emit
from automl_fuse.graph import IR_VERSION, OPSET
from automl_fuse.specs import Columns, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.emission import Emitted
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.specs import Array

WARM_UPS: Final = 5
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
        If a part cannot be written.
    """
    emitted = emit(pipeline)
    content = emitted.model.SerializeToString()
    session = open_session(content)
    feed = feeds(emitted, pipeline.sample.take(np.arange(1)))
    size = len(content) + len(json.dumps(dict(emitted.prepared)))
    return Measured(latency_ms=row_milliseconds(session, feed), size_mb=size / 1e6)


def row_milliseconds(session: Any, feed: Mapping[str, Array]) -> float:
    """Return the median milliseconds of one row inside onnxruntime.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        Of one thread.
    feed : mapping of str to array of shape (1, width)
        Its inputs.
    """
    binding = session.io_binding()
    for name, value in own_values(feed).items():
        binding.bind_ortvalue_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    for _ in range(WARM_UPS):
        session.run_with_iobinding(binding)
    seconds: list[float] = []
    total = Stopwatch()
    while len(seconds) < FEWEST_CALLS or (
        len(seconds) < MOST_CALLS and total.seconds() < ENOUGH_SECONDS
    ):
        watch = Stopwatch()
        session.run_with_iobinding(binding)
        seconds.append(watch.seconds())
    return 1e3 * float(np.median(seconds))


def own_values(feed: Mapping[str, Array]) -> dict[str, Any]:
    """Return inputs as values of onnxruntime's own.

    It converts numbers, but not texts: those come out of a graph that holds them as constants.
    """
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import OrtValue

    numbers = {name: array for name, array in feed.items() if array.dtype != object}
    values = {name: OrtValue.ortvalue_from_numpy(array) for name, array in numbers.items()}
    texts = {name: array for name, array in feed.items() if array.dtype == object}
    if texts:
        graph = helper.make_graph(
            [helper.make_node("Identity", [f"{name} "], [name]) for name in texts],
            "texts",
            [],
            [helper.make_tensor_value_info(name, TensorProto.STRING, None) for name in texts],
            [numpy_helper.from_array(array, f"{name} ") for name, array in texts.items()],
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opset)
        session = open_session(model.SerializeToString())
        values |= dict(zip(texts, session.run_with_ort_values(None, {}), strict=True))
    return values


def open_session(content: bytes) -> Any:
    """Return an onnxruntime session of one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def feeds(emitted: Emitted, columns: Columns) -> dict[str, Array]:
    """Return the inputs of a graph for typed rows."""
    from automl_fuse.front_end import run_step

    found: dict[str, Array] = {}
    for each in emitted.inputs:
        values = columns.values[each.column.name]
        if each.column.kind is Kind.CATEGORY:
            texts = np.array([*each.column.categories, each.unseen, each.missing], dtype=object)
            values = texts[values]
        elif each.column.kind is Kind.DATETIME:
            values = values.astype("datetime64[us]").astype(np.int64)
        found[each.name] = values.reshape(-1, 1)
    for name, step in emitted.prepared.items():
        found[name] = run_step(step, columns.values[step["column"]])
    return found
