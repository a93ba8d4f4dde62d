"""A fitted part written into a graph of its own, run in onnxruntime, compared with Python."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Final
from unittest import SkipTest

import numpy as np

from automl_fuse.calibration import Calibration
from automl_fuse.graph import GraphBuilder
from automl_fuse.specs import Kind, Tensor
from automl_fuse.testing._base import require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automl_fuse.specs import Array, Columns, Floats

TOLERANCE: Final = 1e-6
"""Largest difference between a graph and Python: relative, and absolute below 1."""
_LIBRARIES: Final = ("onnx", "onnxruntime")
_TYPES: Final = {
    Kind.NUMERIC: "double",
    Kind.BOOLEAN: "double",
    Kind.CATEGORY: "int64",
    Kind.DATETIME: "int64",
    Kind.TEXT: "string",
}


def require_exportable(part: object, meaning: str) -> None:
    """Skip, saying what that means, unless the part can write itself and that can be tried."""
    if not hasattr(part, "to_onnx"):
        raise SkipTest(f"{type(part).__name__} has no to_onnx: {meaning}")
    absent = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if absent:
        raise SkipTest(f"export is not checked: {' and '.join(absent)} cannot be imported")


class Exported:
    """A part, written into a graph and loaded by onnxruntime.

    Parameters
    ----------
    inputs : mapping of str to (str, int)
        Element type and width of each input.
    write : callable
        Writes the part into a graph, and returns its result.
    """

    def __init__(
        self, inputs: Mapping[str, tuple[str, int]], write: Callable[[GraphBuilder], Tensor]
    ) -> None:
        import onnxruntime

        builder = GraphBuilder(reserved=[*inputs, "result"])
        result = write(builder)
        self.steps = builder.steps
        declared = dict(inputs) | {n: ("double", s["width"]) for n, s in self.steps.items()}
        size = len(builder.nodes_)
        again = write(builder)
        require(
            (again, len(builder.nodes_)) == (result, size),
            f"to_onnx called again gave {again} after {result}, and the graph grew from {size} to "
            f"{len(builder.nodes_)} nodes: members that share this part would not share its nodes",
        )
        model = builder.model(declared, {"result": (result, "double")})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [each.name for each in self._session.get_inputs()]

    def run(self, feed: Mapping[str, Array]) -> Floats:
        """Return the graph's result (n_rows, n_outputs); ``feed`` may hold more than it reads."""
        given = {name: feed[name] for name in self._inputs}
        result: Floats = self._session.run(["result"], given)[0]
        kind = f"{result.dtype} of shape {result.shape}"
        sound = result.dtype == np.float64 and result.ndim == 2
        require(sound, f"the graph gives {kind}, not float64 of shape (n_rows, n_outputs)")
        return result


# --------------------------------------------------------------------------- comparing


def require_same(got: Floats, expected: Floats, what: str) -> None:
    """Require equality within ``TOLERANCE``, value by value, NaN included."""
    shapes = f"shape {got.shape} from the graph, {expected.shape} from Python"
    require(got.shape == expected.shape, f"{what}: {shapes}")
    same = np.isclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    if not same.all():
        row, column = np.argwhere(~same)[0].tolist()
        raise AssertionError(
            f"{what}: {int((~same).sum())} of {same.size} values differ; in row {row}, column "
            f"{column} the graph gives {got[row, column]!r}, Python {expected[row, column]!r}"
        )


def require_same_labels(got: Floats, expected: Floats, what: str) -> None:
    """Require that probabilities of both give the same labels."""
    left, right = (Calibration().labels(probabilities) for probabilities in (got, expected))
    rows = np.flatnonzero(left != right)
    if len(rows):
        row = int(rows[0])
        raise AssertionError(
            f"{what}: {len(rows)} labels differ; in row {row} the graph gives {got[row]!r}, "
            f"Python {expected[row]!r}"
        )


def require_same_predictions(got: Floats, expected: Floats, what: str) -> None:
    """Require equality of probabilities and labels, or of values."""
    require_same(got, expected, what)
    if expected.shape[1] > 1:
        require_same_labels(got, expected, what)


def quietly(compute: Callable[[], Floats]) -> Floats:
    """Compute on numbers that may overflow."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        return compute()


# --------------------------------------------------------------------------- typed columns


def inputs_of(columns: Columns) -> dict[str, tuple[str, int]]:
    """Return the inputs of a graph that reads typed columns.

    Kinds that no graph can read are left out.
    """
    return {c.name: (_TYPES[c.kind], 1) for c in columns.columns if c.kind in _TYPES}


def feed_of(columns: Columns, steps: Mapping[Tensor, Mapping[str, Any]]) -> dict[str, Array]:
    """Return what is fed: typed columns as a graph reads them, and what the front-end makes."""
    from automl_fuse.front_end import run_step

    feed = {
        c.name: _as_input(columns.values[c.name], c.kind)
        for c in columns.columns
        if c.kind in _TYPES
    }
    made = {str(n): run_step(s, columns.values[s["column"]]) for n, s in steps.items()}
    return feed | made


def _as_input(values: Array, kind: Kind) -> Array:
    if kind is Kind.TEXT:
        values = np.array(["" if text is None else text for text in values], dtype=object)
    elif kind is Kind.DATETIME:
        values = values.astype("datetime64[us]").astype(np.int64)
    elif kind is Kind.CATEGORY:
        values = values.astype(np.int64)
    return values.reshape(-1, 1)
