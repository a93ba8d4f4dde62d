"""Graphs in onnxruntime: sessions, and the inputs that typed columns become."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from automl_fuse.budget import Stopwatch
from automl_fuse.errors import ArtefactError, MissingDependencyError
from automl_fuse.specs import Array, Column, Columns, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from automl_fuse.front_end import FrontEnd

OLDEST_RUNTIME: Final = (1, 24)
"""Older ones lack ``TreeEnsemble``, or take minutes to load its sets."""
_SILENT: Final = 4


class RawInput(Protocol):
    """A raw column as an input of a graph; the manifest and what is emitted have their own."""

    @property
    def name(self) -> str:
        """Name of the input."""

    @property
    def column(self) -> Column:
        """The column of the schema."""

    @property
    def missing(self) -> str | int | None:
        """What stands for a missing value; None for NaN."""

    @property
    def unseen(self) -> str | None:
        """What stands for a text that is no category."""


class GraphInputs:
    """Makes the inputs of one graph.

    Parameters
    ----------
    raw : sequence of RawInput
        Inputs that are columns.
    prepared : mapping of str to mapping
        Inputs that the front-end makes, and how: see ``front_end.read_step``.

    Attributes
    ----------
    front_end : FrontEnd or None
        What makes the latter; None where there are none.

    Raises
    ------
    ArtefactError
        If a step of the front-end is unknown or malformed.
    """

    def __init__(self, raw: Sequence[RawInput], prepared: Mapping[str, Mapping[str, Any]]) -> None:
        self.front_end = _front_end(prepared) if prepared else None
        self._raw = tuple(raw)
        # Codes -1 (missing) and -2 (unseen) count from the end.
        self._categories = {
            each.name: np.array([*each.column.categories, each.unseen, each.missing], dtype=object)
            for each in raw
            if each.column.kind is Kind.CATEGORY
        }

    def of(self, columns: Columns, rows: slice) -> dict[str, Array]:
        """Return the inputs for some typed rows: (n_rows, 1), or wider if prepared."""
        inputs = {
            each.name: self._values(each, columns.values[each.column.name][rows])[:, None]
            for each in self._raw
        }
        if self.front_end is not None:
            read = self.front_end.columns
            inputs |= self.front_end({name: columns.values[name][rows] for name in read})
        return inputs

    def _values(self, each: RawInput, values: Array) -> Array:
        """Return a typed column as the graph reads it."""
        kind = each.column.kind
        if kind is Kind.CATEGORY:
            texts: Array = self._categories[each.name][values]
            return texts
        if kind is Kind.TEXT:
            filled = [each.missing if text is None else text for text in values.tolist()]
            return np.array(filled, dtype=object)
        if kind is Kind.DATETIME:
            moments = values.view(np.int64)
            return np.where(np.isnat(values), int(each.missing or 0), moments)
        return values


def _front_end(prepared: Mapping[str, Mapping[str, Any]]) -> FrontEnd:
    from automl_fuse.front_end import FrontEnd

    return FrontEnd(prepared)


def open_session(content: bytes) -> Any:
    """Return an onnxruntime session of a graph, in which each call has one thread.

    Parameters
    ----------
    content : bytes
        The ONNX file.

    Raises
    ------
    ArtefactError
        If onnxruntime refuses the graph.
    MissingDependencyError
        If onnxruntime is not installed, or too old.
    """
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ArtefactError(f"onnxruntime {runtime.__version__} refuses it: {error}") from error


def _onnxruntime() -> Any:
    advice = f"pip install 'onnxruntime>={'.'.join(map(str, OLDEST_RUNTIME))}'"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f"running a portable file needs onnxruntime: {advice}"
        ) from error
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if version < OLDEST_RUNTIME:
        raise MissingDependencyError(
            f"onnxruntime {onnxruntime.__version__} is too old for portable files: {advice}"
        )
    return onnxruntime


def bound(session: Any, inputs: Mapping[str, Array]) -> Callable[[], None]:
    """Return what runs a graph on inputs that are onnxruntime's own already.

    So a program in another language sees it: no conversion counts. ``run_with_ort_values`` takes
    such inputs too, but wraps each of them anew at every call: 20 to 45 µs were measured, which is
    more than many a graph takes.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        Of the graph.
    inputs : mapping of str to array of shape (n_rows, width)
        Its inputs.

    Returns
    -------
    callable
        Computes all outputs, which onnxruntime allocates; they are not looked at.
    """
    binding = session.io_binding()
    for name, value in own_values(inputs).items():
        binding.bind_ortvalue_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return partial(session.run_with_iobinding, binding)


def call_seconds(
    calls: Sequence[Callable[[], object]], fewest: int, most: int, enough: float
) -> list[float]:
    """Time calls that take turns, after one round of warm-up.

    Parameters
    ----------
    calls : sequence of callable
        What is timed.
    fewest, most : int
        Calls that are timed.
    enough : float
        Seconds in all after which no more than the fewest are.
    """
    for call in calls:
        call()
    seconds: list[float] = []
    total = Stopwatch()
    while len(seconds) < fewest or (len(seconds) < most and total.seconds() < enough):
        call = calls[len(seconds) % len(calls)]
        watch = Stopwatch()
        call()
        seconds.append(watch.seconds())
    return seconds


def own_values(inputs: Mapping[str, Array]) -> dict[str, Any]:
    """Return inputs as values of onnxruntime's own, so that no call converts them.

    It takes numbers from NumPy, but not texts: those come out of a graph that holds them as
    constants.
    """
    numbers = {name: array for name, array in inputs.items() if array.dtype != object}
    texts = {name: array for name, array in inputs.items() if array.dtype == object}
    from_numpy = _onnxruntime().OrtValue.ortvalue_from_numpy
    values = {name: from_numpy(array) for name, array in numbers.items()}
    if texts:
        session = open_session(_constant_model(list(texts.values())))
        values |= dict(zip(texts, session.run_with_ort_values(None, {}), strict=True))
    return values


def _constant_model(arrays: Sequence[Array]) -> bytes:
    """Return an ONNX file whose outputs are arrays of texts; 1, 2, … are field numbers.

    Written by hand, as this must be possible where onnx is not installed.
    """
    from automl_fuse.graph import IR_VERSION, OPSET

    graph = _bytes(2, b"texts")
    for position, array in enumerate(arrays):
        held, given = b"in%d" % position, b"out%d" % position
        shape = b"".join(_number(1, size) for size in array.shape)
        cells = b"".join(_bytes(6, text.encode()) for text in array.ravel().tolist())
        graph += _bytes(1, _bytes(1, held) + _bytes(2, given) + _bytes(4, b"Identity"))
        graph += _bytes(5, shape + _number(2, 8) + cells + _bytes(8, held))
        graph += _bytes(12, _bytes(1, given) + _bytes(2, _bytes(1, _number(1, 8))))
    return _number(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, _number(2, OPSET))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
