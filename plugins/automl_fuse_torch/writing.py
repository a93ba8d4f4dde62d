"""Parts of networks that several of them write: weights, dense layers, activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse_torch.program import DOUBLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs import Array, Tensor
    from automl_fuse_torch.program import Writer

# Klambauer et al. (2017), "Self-normalizing neural networks", equation 2.
SELU_ALPHA: Final = 1.6732632423543772
SELU_SCALE: Final = 1.0507009873554805
_MISH_LINEAR: Final = 20.0
"""Above it mish(x) is x in double precision."""
NORM_EPSILON: Final = 1e-5
"""Added to variances before they are divided by."""


def number(writer: Writer, value: float) -> Tensor:
    """Return a constant of one number."""
    return writer.constant(np.array(float(value)))


def weight(writer: Writer, values: Array) -> Tensor:
    """Return an array, kept in single precision, for computing in double precision."""
    return writer.node("Cast", [writer.constant(values)], {"to": DOUBLE})


def reshaped(writer: Writer, x: Tensor, *shape: int) -> Tensor:
    """Return a tensor in another shape; -1 stands for the number of rows."""
    return writer.node("Reshape", [x, writer.constant(np.array(shape, dtype=np.int64))])


def side_by_side(writer: Writer, parts: Sequence[Tensor], axis: int = 1) -> Tensor:
    """Return tensors joined along an axis."""
    return parts[0] if len(parts) == 1 else writer.node("Concat", list(parts), {"axis": axis})


def dense(writer: Writer, x: Tensor, arrays: Mapping[str, Array], name: str) -> Tensor:
    """Return ``x @ weight + bias`` of the layer of this name, over the last axis."""
    product = writer.node("MatMul", [x, weight(writer, arrays[f"{name}.weight"])])
    return writer.node("Add", [product, weight(writer, arrays[f"{name}.bias"])])


def selu(writer: Writer, x: Tensor) -> Tensor:
    """Return the scaled exponential linear unit."""
    zero = number(writer, 0.0)
    powers = writer.node("Exp", [writer.node("Min", [x, zero])])
    below = writer.node("Sub", [powers, number(writer, 1.0)])
    below = writer.node("Mul", [below, number(writer, SELU_ALPHA)])
    total = writer.node("Add", [writer.node("Max", [x, zero]), below])
    return writer.node("Mul", [total, number(writer, SELU_SCALE)])


def mish(writer: Writer, x: Tensor) -> Tensor:
    """Return x tanh(log(1 + exp(x))), without the logarithm: Misra (2019), "Mish"."""
    two = number(writer, 2.0)
    power = writer.node("Exp", [writer.node("Min", [x, number(writer, _MISH_LINEAR)])])
    product = writer.node("Mul", [power, writer.node("Add", [power, two])])
    share = writer.node("Div", [product, writer.node("Add", [product, two])])
    return writer.node("Mul", [x, share])


def normalised(writer: Writer, x: Tensor, arrays: Mapping[str, Array], name: str) -> Tensor:
    """Return layer normalisation over the last axis: Ba et al. (2016), equation 4."""
    last = writer.constant(np.array([-1], dtype=np.int64))
    centred = writer.node("Sub", [x, writer.node("ReduceMean", [x, last])])
    square = writer.node("Mul", [centred, centred])
    variance = writer.node("ReduceMean", [square, last])
    deviation = writer.node("Sqrt", [writer.node("Add", [variance, number(writer, NORM_EPSILON)])])
    scaled = writer.node("Div", [centred, deviation])
    scaled = writer.node("Mul", [scaled, weight(writer, arrays[f"{name}.weight"])])
    return writer.node("Add", [scaled, weight(writer, arrays[f"{name}.bias"])])
