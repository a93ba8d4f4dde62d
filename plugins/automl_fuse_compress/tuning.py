"""All weights of a network fitted to what a larger one predicts.

He, Zhang and Sun (2017), "Channel pruning for accelerating very deep neural networks", tune a
thinned network as a last step. Here the larger network is the teacher, of its training rows and,
with little weight, of shuffled copies of them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.specs import Layer, Link, linked
from automl_fuse_compress.common import shuffled, some_rows, weights_of
from automl_fuse_compress.signals import scaled

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats, NetworkModel, Rows

ITERATIONS: Final = 50
"""Of the quasi-Newton method: twice as many gained next to nothing."""
COPY_WEIGHT: Final = 0.2
"""Of a shuffled copy against its row: between 0.1 and 0.3 it made no difference."""
_SHUFFLED_CELLS: Final = 0.3
_WORK: Final = 200_000_000
"""Rows times weights of the network, at most, but for ``_LEAST_ROWS``: some seconds in all."""
_LEAST_ROWS: Final = 1_000
_LEAST: Final = 1e-12
"""Probability below which the loss does not tell how small it is."""


def tuned(smaller: NetworkModel, larger: NetworkModel, train: Rows, seed: int) -> NetworkModel:
    """Return a network fitted to the predictions of another, in the same precision.

    Parameters
    ----------
    smaller : NetworkModel
        Where the fit starts.
    larger : NetworkModel
        The teacher, with the same scaling and link.
    train : Rows
        Training rows, of which some are drawn where there are many.
    seed : int
        Of the draw of rows, and of the cells that are shuffled.
    """
    from scipy.optimize import minimize

    random = np.random.default_rng(seed)
    n_weights = sum(layer.weight.size + layer.bias.size for layer in smaller.layers)
    rows = some_rows(len(train.y), max(_LEAST_ROWS, _WORK // (2 * n_weights)), random)
    own = train.X.values[rows]
    values = np.vstack([own, shuffled(own, _SHUFFLED_CELLS, random)])
    weight = np.concatenate([weights_of(train)[rows], COPY_WEIGHT * weights_of(train)[rows]])
    fit = _Fit(smaller, values, larger.predict(values), weight)
    start = np.concatenate([p for layer in smaller.layers for p in _flat(layer)])
    settings = {"maxiter": ITERATIONS}
    found = minimize(fit, start, jac=True, method="L-BFGS-B", options=settings).x
    layers = tuple(
        like(old, weight, bias)
        for (weight, bias), old in zip(fit.unpacked(found), smaller.layers, strict=True)
    )
    return replace(smaller, layers=layers)


def like(layer: Layer, weight: Floats, bias: Floats) -> Layer:
    """Return a layer kept in the precision of another."""
    return Layer(weight=weight.astype(layer.weight.dtype), bias=bias.astype(layer.bias.dtype))


def _flat(layer: Layer) -> tuple[Array, Array]:
    return layer.weight.astype(np.float64).ravel(), layer.bias.astype(np.float64)


class _Fit:
    """Mean loss of all weights in one vector, and its slope.

    Cross-entropy with the teacher's probabilities, or half the squared error of values.
    """

    def __init__(self, model: NetworkModel, values: Floats, goal: Floats, weight: Floats) -> None:
        self._link = model.link
        self._sizes = [model.layers[0].weight.shape[0], *(len(each.bias) for each in model.layers)]
        self._inputs = scaled(model.mean, model.scale, values)
        self._goal = goal
        self._weight = (weight / weight.sum())[:, None]

    def unpacked(self, vector: Floats) -> list[tuple[Floats, Floats]]:
        """Return weight and bias of each layer."""
        layers, start = [], 0
        for a, b in pairwise(self._sizes):
            middle, end = start + a * b, start + a * b + b
            layers.append((vector[start:middle].reshape(a, b), vector[middle:end]))
            start = end
        return layers

    def __call__(self, vector: Floats) -> tuple[float, Floats]:
        """Return the loss and its slope."""
        layers = self.unpacked(vector)
        signals = [self._inputs]
        for weight, bias in layers[:-1]:
            signals.append(np.maximum(signals[-1] @ weight + bias, 0.0))
        loss, error = self._loss(signals[-1] @ layers[-1][0] + layers[-1][1])
        slopes: list[Floats] = []
        for signal, (weight, _) in zip(reversed(signals), reversed(layers), strict=True):
            slopes += [error.sum(axis=0), (signal.T @ error).ravel()]
            error = (error @ weight.T) * (signal > 0.0)
        return loss, np.concatenate(slopes[::-1])

    def _loss(self, scores: Floats) -> tuple[float, Floats]:
        """Return the loss, and its slope by the scores."""
        predicted = linked(scores, self._link)
        error = self._weight * (predicted - self._goal)
        if self._link is Link.IDENTITY:
            return float(0.5 * np.sum(error * (predicted - self._goal))), error
        surprise = self._goal * np.log(np.maximum(predicted, _LEAST))
        loss = -float(np.sum(self._weight * surprise))
        return loss, error[:, 1:] if self._link is Link.LOGISTIC else error
