"""Multilayer perceptrons: one in training, and one that predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automl_fuse.specs import Layer, Link, NetworkModel, linked
from automl_fuse_sklearn.common import chunks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Floats, Graph, Tensor
    from automl_fuse_sklearn.common import Scaler

Singles = NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """Layers of one perceptron as views into one vector, which is what Adam steps on."""

    vector: Singles
    weights: tuple[Singles, ...]
    biases: tuple[Singles, ...]

    @staticmethod
    def empty(sizes: tuple[int, ...]) -> Network:
        """Return a network of zeros with these layer sizes, inputs first."""
        shapes = list(pairwise(sizes))
        vector = np.zeros(sum(a * b + b for a, b in shapes), dtype=np.float32)
        weights, biases, start = [], [], 0
        for a, b in shapes:
            weights.append(vector[start : start + a * b].reshape(a, b))
            biases.append(vector[start + a * b : start + a * b + b])
            start += a * b + b
        return Network(vector, tuple(weights), tuple(biases))

    @staticmethod
    def drawn(sizes: tuple[int, ...], rng: np.random.Generator) -> Network:
        """Return a network with He initialisation; the last layer starts at a tenth of it."""
        network = Network.empty(sizes)
        for i, weight in enumerate(network.weights):
            scale = math.sqrt(2.0 / weight.shape[0])
            last = i == len(network.weights) - 1
            weight[:] = rng.normal(scale=scale * (0.1 if last else 1.0), size=weight.shape)
        return network


class Perceptron:
    """A trained network: float32 when pickled, float64 when predicting.

    In double precision one row and a batch give the same result to 1e-14.

    Attributes
    ----------
    tuned : mapping
        As ``predictor.Stopped`` says: the number of epochs.
    """

    def __init__(
        self,
        scaler: Scaler,
        network: Network,
        is_classification: bool,
        tuned: Mapping[str, Any] | None = None,
    ) -> None:
        self._scaler = scaler
        self._link = Link.SOFTMAX if is_classification else Link.IDENTITY
        self._layers = _doubled(list(zip(network.weights, network.biases, strict=True)))
        self.tuned = tuned or {}

    def predict(self, values: Floats) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        outputs = np.empty((len(values), self._layers[-1][1].shape[-1]))
        for rows in chunks(len(values)):
            outputs[rows] = self._outputs(values[rows])
        return linked(outputs, self._link)

    def _outputs(self, values: Floats) -> Floats:
        signal = self._scaler.transform(values)
        for weight, bias in self._layers[:-1]:
            signal = np.maximum(signal @ weight + bias, 0.0)
        weight, bias = self._layers[-1]
        outputs: Floats = signal @ weight + bias
        return outputs

    def form(self) -> NetworkModel:
        """Return the layers, in single precision as they were trained."""
        layers = tuple(Layer(weight=weight, bias=bias) for weight, bias in self._singles())
        scaler = self._scaler
        return NetworkModel(mean=scaler.mean, scale=scaler.scale, layers=layers, link=self._link)

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write the layers and the link."""
        return self.form().to_onnx(graph, features)

    def _singles(self) -> list[tuple[Singles, Singles]]:
        return [(w.astype(np.float32), b.astype(np.float32)) for w, b in self._layers]

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_layers": self._singles()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._layers = _doubled(self._layers)


def _doubled(layers: list[Any]) -> list[tuple[Floats, Floats]]:
    return [(w.astype(np.float64), b.astype(np.float64)) for w, b in layers]
