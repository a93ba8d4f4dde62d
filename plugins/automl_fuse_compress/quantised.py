"""A network that computes in integers, equally in NumPy and in a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.specs import Layer, Link, NetworkModel, link_to_onnx, linked
from automl_fuse_compress.common import EditedLearner
from automl_fuse_compress.signals import scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Floats, Graph, Tensor

HIGHEST_INPUT: Final = 127
"""Scaled features lie within plus and minus this, in int8."""
HIGHEST_ACTIVATION: Final = 255
"""Rectified activations lie between 0 and this, in uint8."""
HIGHEST_WEIGHT: Final = 64
"""Weights lie within plus and minus this, in int8.

On x86 processors without VNNI, onnxruntime adds two products of 8 bits in 16, and cuts what does
not fit: 2 * 255 * 64 does.
"""
_INT8, _UINT8, _DOUBLE = 3, 2, 11
"""Element types of ONNX."""


@dataclass(frozen=True, kw_only=True)
class QuantisedLayer:
    """One dense layer on integers.

    Attributes
    ----------
    weight : int8 array of shape (n_inputs, n_outputs)
        In units of ``weight_step``.
    weight_step : float64 array of shape (n_outputs,)
        Size of one unit of each output's weights.
    bias : float64 array of shape (n_outputs,)
        Added.
    step : float
        Size of one unit of what the layer is given.
    """

    weight: NDArray[np.int8]
    weight_step: Floats
    bias: Floats
    step: float


@dataclass(frozen=True, kw_only=True)
class QuantisedNetwork:
    """Layers on integers, with max(x, 0) between them, and a link.

    Attributes
    ----------
    mean, scale : float64 array of shape (n_features,)
        As in ``automl_fuse.specs.NetworkModel``.
    layers : tuple of QuantisedLayer
        From the features to the scores.
    link : Link
        From scores to predictions.
    """

    mean: Floats
    scale: Floats
    layers: tuple[QuantisedLayer, ...]
    link: Link

    def factors(self) -> list[tuple[Floats, Floats]]:
        """Return what the integer sums of each layer are multiplied by, and what is added.

        Of hidden layers that gives the integers of the next layer, before they are rounded.
        """
        units = [layer.step for layer in self.layers[1:]] + [1.0]
        return [
            (layer.step * layer.weight_step / unit, layer.bias / unit)
            for layer, unit in zip(self.layers, units, strict=True)
        ]

    def predict(self, values: Floats) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        signal = scaled(self.mean, self.scale, values) / self.layers[0].step
        low, high = -HIGHEST_INPUT, HIGHEST_INPUT
        for layer, (factor, offset) in zip(self.layers, self.factors(), strict=True):
            whole = np.clip(np.rint(signal), low, high)
            # Sums of integers below 2 ** 53 are exact in double precision, in any order.
            signal = (whole @ layer.weight.astype(np.float64)) * factor + offset
            low, high = 0, HIGHEST_ACTIVATION
        return linked(signal, self.link)

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write itself into a graph: see ``automl_fuse.specs.ExportableLearner``."""
        signal = graph.node("Sub", [features, graph.constant(self.mean)])
        if not np.all(self.scale == 1.0):
            signal = graph.node("Div", [signal, graph.constant(self.scale)])
        zero = graph.constant(np.array(0.0))
        signal = graph.node("Where", [graph.node("IsNaN", [signal]), zero, signal])
        signal = graph.node("Div", [signal, graph.constant(np.array(self.layers[0].step))])
        low, high, kind = -HIGHEST_INPUT, HIGHEST_INPUT, _INT8
        for layer, (factor, offset) in zip(self.layers, self.factors(), strict=True):
            limits = [graph.constant(np.array(float(limit))) for limit in (low, high)]
            whole = graph.node("Clip", [graph.node("Round", [signal]), *limits])
            whole = graph.node("Cast", [whole], {"to": kind})
            sums = graph.node("MatMulInteger", [whole, graph.constant(layer.weight)])
            signal = graph.node("Cast", [sums], {"to": _DOUBLE})
            signal = graph.node("Mul", [signal, graph.constant(factor)])
            signal = graph.node("Add", [signal, graph.constant(offset)])
            low, high, kind = 0, HIGHEST_ACTIVATION, _UINT8
        return link_to_onnx(graph, signal, self.link)

    def floating(self) -> NetworkModel:
        """Return a network on floating-point numbers with the same, rounded, weights."""
        layers = tuple(
            Layer(weight=layer.weight * layer.weight_step, bias=layer.bias) for layer in self.layers
        )
        return NetworkModel(mean=self.mean, scale=self.scale, layers=layers, link=self.link)


@dataclass(frozen=True)
class QuantisedLearner(EditedLearner):
    """A fitted network on integers."""

    model: QuantisedNetwork

    def decompress(self) -> EditedLearner:
        """Return a network on floating-point numbers: its weights stay rounded."""
        return EditedLearner(self.model.floating())
