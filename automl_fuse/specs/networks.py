"""Dense networks, a straight line being the smallest, in a form that compressors can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs.forests import Link, link_to_onnx, linked

if TYPE_CHECKING:
    from automl_fuse.specs.exporting import Graph, Tensor
    from automl_fuse.specs.words import Array, Floats


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One dense layer: ``x @ weight + bias``.

    Attributes
    ----------
    weight : array of shape (n_inputs, n_outputs)
        float64, or float32 or float16 if that is how it is kept; it computes in float64.
    bias : array of shape (n_outputs,)
        Of the same kind.
    """

    weight: Array
    bias: Array


@dataclass(frozen=True, kw_only=True)
class NetworkModel:
    """Scaled features through dense layers, with max(x, 0) between them, and a link.

    Attributes
    ----------
    mean, scale : float64 array of shape (n_features,)
        A feature x becomes (x - mean) / scale; a missing one becomes 0.
    layers : tuple of Layer
        One layer is a linear model.
    link : Link
        From scores to predictions.
    """

    mean: Floats
    scale: Floats
    layers: tuple[Layer, ...]
    link: Link

    def predict(self, values: Floats) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        return linked(self.scores(values), self.link)

    def scores(self, values: Floats) -> Floats:
        """Return what the last layer gives: (n_rows, n_scores)."""
        signal = (values - self.mean) / self.scale
        signal[np.isnan(signal)] = 0.0
        for layer in self.layers[:-1]:
            signal = np.maximum(_apply(layer, signal), 0.0)
        return _apply(self.layers[-1], signal)

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write itself into a graph: see ``ExportableLearner``."""
        zero = graph.constant(np.array(0.0))
        signal = graph.node("Sub", [features, graph.constant(self.mean)])
        if not np.all(self.scale == 1.0):
            signal = graph.node("Div", [signal, graph.constant(self.scale)])
        missing = graph.node("IsNaN", [signal])
        signal = graph.node("Where", [missing, zero, signal])
        for layer in self.layers[:-1]:
            signal = graph.node("Relu", [_layer_to_onnx(graph, signal, layer)])
        scores = _layer_to_onnx(graph, signal, self.layers[-1])
        return link_to_onnx(graph, scores, self.link)


def _apply(layer: Layer, signal: Floats) -> Floats:
    result: Floats = signal @ layer.weight.astype(np.float64, copy=False) + layer.bias
    return result


def _layer_to_onnx(graph: Graph, signal: Tensor, layer: Layer) -> Tensor:
    """Write a layer; ``to`` 11 is double precision."""
    parts = []
    for array in (layer.weight, layer.bias):
        tensor = graph.constant(array)
        parts.append(
            tensor if array.dtype == np.float64 else graph.node("Cast", [tensor], {"to": 11})
        )
    return graph.node("Gemm", [signal, *parts])
