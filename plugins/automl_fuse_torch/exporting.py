"""Operations as nodes of a graph, in single precision: see ``operations.Operations``.

onnxruntime computes neither convolutions nor recurrent cells in double precision.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from automl_fuse_torch.operations import CHANNELS_A_GROUP, FAR, GATES
from automl_fuse_torch.program import SINGLE
from automl_fuse_torch.rounding import GIVEN, MADE, STEP, bias_of
from automl_fuse_torch.writing import NORM_EPSILON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from automl_fuse.specs import Array, Kind, Tensor
    from automl_fuse_torch.flat import FlatInput
    from automl_fuse_torch.operations import Shape
    from automl_fuse_torch.program import Writer

_INT32: Final = 6
_NODES: Final = {"lstm": "LSTM", "gru": "GRU"}


class Value(NamedTuple):
    """A tensor (n_rows, *shape)."""

    tensor: Tensor
    shape: Shape


class GraphOperations:
    """Values are tensors of a graph, with the shape of one row.

    Parameters
    ----------
    writer : Writer
        What is written to.
    arrays : mapping of str to array
        Finished parameters, in single precision.
    inputs : mapping of str to Tensor
        Tables.
    """

    def __init__(
        self, writer: Writer, arrays: Mapping[str, Array], inputs: Mapping[str, Tensor]
    ) -> None:
        self._writer, self._arrays, self._inputs = writer, arrays, inputs

    def table(self, name: str, shape: Shape) -> Value:
        """See ``Operations``."""
        return Value(self._inputs[name], shape)

    def flat(self, flat: FlatInput) -> Value:
        """See ``Operations``."""
        made = flat.write(self._writer, self._arrays, self._inputs)
        return Value(self._writer.node("Cast", [made], {"to": SINGLE}), (flat.size,))

    def augmented(self, x: Value, kind: Kind, strength: float) -> Value:
        """See ``Operations``."""
        del kind, strength
        return x

    def dropped(self, x: Value) -> Value:
        """See ``Operations``."""
        return x

    def dense(self, x: Value, name: str, n_outputs: int) -> Value:
        """See ``Operations``."""
        given = self._within(x.tensor, name, GIVEN)
        product = self._node("MatMul", [given, self._kept(f"{name}.weight", axis=1)])
        return Value(self._node("Add", [product, self._bias(name)]), (*x.shape[:-1], n_outputs))

    def output(self, x: Value, name: str, n_outputs: int) -> Value:
        """See ``Operations``."""
        return self.dense(x, name, n_outputs)

    def convolved(
        self, x: Value, name: str, n_outputs: int, kernel: int, stride: int, *, depthwise: bool
    ) -> Value:
        """See ``Operations``."""
        settings = {
            "pads": [kernel // 2] * 4,
            "strides": [stride] * 2,
            "group": x.shape[0] if depthwise else 1,
        }
        weight = self._kept(f"{name}.weight", axis=0)
        made = self._convolution(x.tensor, name, weight, settings)
        sides = (-(-side // stride) for side in x.shape[1:])
        return Value(made, (n_outputs, *sides))

    def convolved_steps(
        self, x: Value, name: str, n_outputs: int, kernel: int, stride: int
    ) -> Value:
        """See ``Operations``."""
        n_steps, width = x.shape
        weight = self._kept(
            f"{name}.weight", 0, lambda w: w.reshape(width, kernel, n_outputs).transpose(2, 0, 1)
        )
        settings = {"pads": [kernel // 2] * 2, "strides": [stride]}
        made = self._convolution(self._turned(x.tensor), name, weight, settings)
        return Value(self._turned(made), (-(-n_steps // stride), n_outputs))

    def normalised(self, x: Value, name: str) -> Value:
        """See ``Operations``."""
        settings = {"axis": -1, "epsilon": NORM_EPSILON}
        inputs = [x.tensor, self._weight(name), self._bias(name)]
        return Value(self._node("LayerNormalization", inputs, settings), x.shape)

    def normalised_image(self, x: Value, name: str) -> Value:
        """See ``Operations``."""
        channels = x.shape[0]
        groups = max(1, channels // CHANNELS_A_GROUP)
        grouped = self._reshaped(x.tensor, groups, math.prod(x.shape) // groups)
        plain = (np.ones(groups, np.float32), np.zeros(groups, np.float32))
        inputs = [grouped, *map(self._writer.constant, plain)]
        made = self._node("InstanceNormalization", inputs, {"epsilon": NORM_EPSILON})
        made = self._reshaped(made, *x.shape)
        scale, shift = (
            self._writer.constant(self._arrays[f"{name}.{part}"][:, None, None])
            for part in ("weight", "bias")
        )
        return Value(self._node("Add", [self._node("Mul", [made, scale]), shift]), x.shape)

    def relu(self, x: Value) -> Value:
        """See ``Operations``."""
        return Value(self._node("Relu", [x.tensor]), x.shape)

    def added(self, x: Value, other: Value) -> Value:
        """See ``Operations``."""
        return Value(self._node("Add", [x.tensor, other.tensor]), x.shape)

    def shifted(self, x: Value, name: str) -> Value:
        """See ``Operations``."""
        shift = self._writer.constant(self._arrays[name])
        return Value(self._node("Add", [x.tensor, shift]), x.shape)

    def embedded(self, codes: Value, name: str, n_codes: int, width: int) -> Value:
        """See ``Operations``."""
        del n_codes
        values = self._arrays[name]
        found = self._node("Gather", [self._writer.constant(values), codes.tensor], {"axis": 0})
        if values.dtype == np.int8:
            found = self._counted(found, name, axis=2)
        return Value(found, (*codes.shape, width))

    def mask(self, steps: Value, n_steps: int) -> Value:
        """See ``Operations``."""
        places = self._writer.constant(np.arange(n_steps, dtype=np.float32))
        there = self._node("Less", [places, steps.tensor])
        made = self._node("Cast", [there], {"to": SINGLE})
        return Value(self._reshaped(made, n_steps, 1), (n_steps, 1))

    def masked(self, x: Value, mask: Value) -> Value:
        """See ``Operations``."""
        return Value(self._node("Mul", [x.tensor, mask.tensor]), x.shape)

    def halved(self, steps: Value) -> Value:
        """See ``Operations``."""
        half = self._node("Mul", [steps.tensor, self._number(0.5)])
        return Value(self._node("Ceil", [half]), steps.shape)

    def recurrent(
        self, x: Value, name: str, cell: str, size: int, mask: tuple[Value, Value]
    ) -> Value:
        """See ``Operations``."""
        n_steps, made = x.shape[0], GATES[cell] * size
        weight, recurrent = (
            self._kept(f"{name}.{part}", 1, lambda w: w.transpose(0, 2, 1))
            for part in ("weight", "recurrent")
        )
        read = self._arrays[f"{name}.bias"]
        bias = self._writer.constant(np.concatenate([read, np.zeros((2, made), read.dtype)], 1))
        lengths = self._reshaped(mask[0].tensor)
        lengths = self._node("Cast", [lengths], {"to": _INT32})
        settings: dict[str, Any] = {"hidden_size": size, "direction": "bidirectional"}
        if cell == "gru":
            settings["linear_before_reset"] = 1
        steps_first = self._node("Transpose", [x.tensor], {"perm": [1, 0, 2]})
        inputs = [steps_first, weight, recurrent, bias, lengths]
        given = self._node(_NODES[cell], inputs, settings)
        # From (steps, directions, rows, size).
        given = self._node("Transpose", [given], {"perm": [2, 0, 1, 3]})
        return Value(self._reshaped(given, n_steps, 2 * size), (n_steps, 2 * size))

    def attended(self, asked: tuple[Value, Value, Value], heads: int, mask: Value) -> Value:
        """See ``Operations``."""
        n_steps, width = asked[0].shape
        orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        queries, keys, values = (
            self._node(
                "Transpose",
                [self._reshaped(each.tensor, n_steps, heads, width // heads)],
                {"perm": order},
            )
            for each, order in zip(asked, orders, strict=True)
        )
        queries = self._node("Mul", [queries, self._number(1.0 / math.sqrt(width // heads))])
        scores = self._node("MatMul", [queries, keys])
        hidden = self._hidden(self._reshaped(mask.tensor, 1, 1, n_steps))
        shares = self._node("Softmax", [self._node("Sub", [scores, hidden])], {"axis": -1})
        found = self._node("MatMul", [shares, values])
        found = self._node("Transpose", [found], {"perm": [0, 2, 1, 3]})
        return Value(self._reshaped(found, n_steps, width), (n_steps, width))

    def pooled_image(self, x: Value) -> Value:
        """See ``Operations``."""
        axes = self._writer.constant(np.array([2, 3], dtype=np.int64))
        parts = [
            self._node(name, [x.tensor, axes], {"keepdims": 0})
            for name in ("ReduceMean", "ReduceMax")
        ]
        return Value(self._node("Concat", parts, {"axis": 1}), (2 * x.shape[0],))

    def pooled(self, x: Value, mask: Value) -> Value:
        """See ``Operations``."""
        axis = self._writer.constant(np.array([1], dtype=np.int64))
        plain = {"keepdims": 0}
        total = self._node("ReduceSum", [self.masked(x, mask).tensor, axis], plain)
        count = self._node("ReduceSum", [mask.tensor, axis], plain)
        there = self._node("Sub", [x.tensor, self._hidden(mask.tensor)])
        most = self._node("ReduceMax", [there, axis], plain)
        parts = [self._node("Div", [total, count]), most]
        return Value(self._node("Concat", parts, {"axis": 1}), (2 * x.shape[1],))

    def as_image(self, x: Value) -> Value:
        """See ``Operations``."""
        return Value(self._reshaped(x.tensor, 1, *x.shape), (1, *x.shape))

    def joined(self, parts: Sequence[Value]) -> Value:
        """See ``Operations``."""
        made = self._node("Concat", [part.tensor for part in parts], {"axis": 1})
        return Value(made, (sum(part.shape[0] for part in parts),))

    # ----------------------------------------------------------------------- writing

    def _node(
        self, operator: str, inputs: Sequence[Tensor], settings: Mapping[str, Any] | None = None
    ) -> Tensor:
        return self._writer.node(operator, inputs, settings)

    def _weight(self, name: str) -> Tensor:
        return self._writer.constant(self._arrays[f"{name}.weight"])

    def _kept(
        self, name: str, axis: int, arranged: Callable[[Array], Array] = lambda values: values
    ) -> Tensor:
        """Return an array, turned back into floating-point numbers if it is kept in integers."""
        values = self._arrays[name]
        made = np.ascontiguousarray(arranged(values))
        tensor = self._writer.constant(made)
        if values.dtype != np.int8:
            return tensor
        if name.rpartition(".")[0] + GIVEN in self._arrays:
            return self._counted(tensor, name, axis)
        # What reads no integers: these two are computed once, when a file is loaded.
        shape = [-1 if each == axis else 1 for each in range(made.ndim)]
        step = self._writer.constant(self._arrays[name + STEP].reshape(shape))
        return self._node("Mul", [self._node("Cast", [tensor], {"to": SINGLE}), step])

    def _counted(self, x: Tensor, name: str, axis: int) -> Tensor:
        """Return integers of an array times its steps, one for each place of an axis."""
        step = self._arrays[name + STEP]
        parts = [self._writer.constant(each) for each in (step, np.zeros(len(step), np.int8))]
        return self._node("DequantizeLinear", [x, *parts], {"axis": axis})

    def _within(self, x: Tensor, layer: str, side: str) -> Tensor:
        """Return what a layer is given, or makes, rounded to the integers it was measured for."""
        if layer + side not in self._arrays:
            return x
        step, zero = self._arrays[layer + side]
        parts = [self._number(step), self._writer.constant(np.array(zero, dtype=np.uint8))]
        whole = self._node("QuantizeLinear", [x, *parts])
        return self._node("DequantizeLinear", [whole, *parts])

    def _convolution(
        self, x: Tensor, layer: str, weight: Tensor, settings: Mapping[str, Any]
    ) -> Tensor:
        """Return a convolution; onnxruntime computes it in integers where both sides have them."""
        bias = self._bias(layer)
        if layer + GIVEN in self._arrays:
            whole, step = bias_of(self._arrays, layer)
            parts = [self._writer.constant(each) for each in (whole, step, np.zeros_like(whole))]
            bias = self._node("DequantizeLinear", parts, {"axis": 0})
        made = self._node("Conv", [self._within(x, layer, GIVEN), weight, bias], settings)
        return self._within(made, layer, MADE)

    def _bias(self, name: str) -> Tensor:
        return self._writer.constant(self._arrays[f"{name}.bias"])

    def _number(self, value: float) -> Tensor:
        return self._writer.constant(np.array(value, dtype=np.float32))

    def _reshaped(self, x: Tensor, *shape: int) -> Tensor:
        size = self._writer.constant(np.array([-1, *shape], dtype=np.int64))
        return self._node("Reshape", [x, size])

    def _turned(self, x: Tensor) -> Tensor:
        """Exchange steps and channels."""
        return self._node("Transpose", [x], {"perm": [0, 2, 1]})

    def _hidden(self, mask: Tensor) -> Tensor:
        """Return what is taken from values: much where a mask is zero."""
        rest = self._node("Sub", [self._number(1.0), mask])
        return self._node("Mul", [rest, self._number(FAR)])
