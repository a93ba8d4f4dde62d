"""Training of a perceptron: Adam, on probabilities or values, and on their changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse_sklearn.common import targets, weights_of
from automl_fuse_sklearn.perceptron import Network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import FitContext, Params, Rows
    from automl_fuse_sklearn.common import Scaler
    from automl_fuse_sklearn.perceptron import Singles

_BETA1, _BETA2, _EPSILON = 0.9, 0.99, 1e-8
_LEAST = 1e-4
"""Probability below which it does not matter how small the teacher's is."""


def epochs(n_rows: int) -> int:
    """Return passes over the table: 120 for small ones, falling to 30."""
    return int(np.clip(1_500_000 / max(n_rows, 1), 30, 120))


def batch_size(n_rows: int) -> int:
    """Return rows of a batch: a fiftieth of the table within 32 … 256."""
    return int(np.clip(n_rows // 50, 32, 256))


@dataclass(frozen=True)
class Plan:
    """How to train: epochs, rows of a batch, and the hyperparameters."""

    epochs: int
    batch: int
    rate: float
    decay: float
    dropout: float

    @staticmethod
    def of(params: Params, n_rows: int) -> Plan:
        """Return the plan for a table of this many rows.

        The changes of paired rows are to be seen through the same neurons, so that there is no
        dropout where they are matched.
        """
        return Plan(
            epochs=int(params.get("epochs", epochs(n_rows))),
            batch=batch_size(n_rows),
            rate=params["learning_rate"],
            decay=params["weight_decay"],
            dropout=0.0 if params.get("matching", 0.0) > 0.0 else params["dropout"],
        )


@dataclass(frozen=True)
class Data:
    """Rows ready for training, in single precision.

    Attributes
    ----------
    features : array of shape (n_rows, n_features)
        Scaled.
    goal : array of shape (n_rows, n_outputs)
        Class probabilities, or values.
    weight : array of shape (n_rows, 1)
        Sample weights.
    change : array of shape (n_rows / 2, n_outputs) or None
        How much the teacher's scores change from row i to row i + n_rows / 2.
    pull : float
        Factor of the squared error of the changes.
    """

    features: Singles
    goal: Singles
    weight: Singles
    change: Singles | None = None
    pull: float = 0.0

    @staticmethod
    def of(rows: Rows, scaler: Scaler, params: Params, context: FitContext) -> Data:
        """Return the training rows, paired if ``params["matching"]`` is above 0.

        The squared error of the changes counts ``matching`` times, in units of the teacher's
        mean squared change: a student that does not change at all costs ``matching``.
        """
        goal = targets(rows, context)
        change, pull = None, float(params.get("matching", 0.0))
        if pull > 0.0:
            if len(goal) % 2:
                raise PluginError(
                    f"'matching' is {pull:g} and there are {len(goal)} training rows: it needs an "
                    "even number, row i + n/2 being row i perturbed"
                )
            scores = goal
            if context.task.is_classification:
                # Only differences of class scores matter, to probabilities and so here.
                scores = np.log(np.maximum(goal, _LEAST))
                scores -= scores.mean(axis=1, keepdims=True)
            change = np.subtract(*reversed(np.split(scores, 2)))
            pull /= max(float(np.mean(np.sum(change**2, axis=1))), 1e-12)
        return Data(
            features=scaler.singles(rows.X.values),
            goal=goal.astype(np.float32),
            weight=weights_of(rows).astype(np.float32)[:, None],
            change=None if change is None else change.astype(np.float32),
            pull=pull,
        )

    @property
    def n_units(self) -> int:
        """Number of what is shuffled: rows, or pairs of rows."""
        return len(self.goal) if self.change is None else len(self.change)

    def take(self, units: NDArray[np.intp]) -> Data:
        """Return these rows, or pairs of rows."""
        change = None if self.change is None else self.change[units]
        rows = units if change is None else np.concatenate([units, units + self.n_units])
        return Data(self.features[rows], self.goal[rows], self.weight[rows], change, self.pull)


class Trainer:
    """Adam with decoupled weight decay on one network.

    Loshchilov and Hutter (2019), "Decoupled weight decay regularization", algorithm 2;
    dropout on hidden layers. Changes are matched as in Czarnecki et al. (2017), "Sobolev
    training for neural networks", equation 1, with differences for derivatives.
    """

    def __init__(
        self, network: Network, plan: Plan, context: FitContext, rng: np.random.Generator
    ) -> None:
        self._network = network
        self._plan = plan
        self._is_classification = context.task.is_classification
        self._rng = rng
        self._slope = Network.empty(_sizes(network))
        self._mean = np.zeros_like(network.vector)
        self._square = np.zeros_like(network.vector)
        self._spare = np.zeros_like(network.vector)
        self._step = 0

    def learn(self, batch: Data, rate: float) -> None:
        """Take one step on a batch."""
        activations, masks = self._forward(batch.features)
        error = self._error(activations[-1], batch)
        for i in range(len(self._network.weights) - 1, -1, -1):
            np.matmul(activations[i].T, error, out=self._slope.weights[i])
            np.sum(error, axis=0, out=self._slope.biases[i])
            if i > 0:
                error = (error @ self._network.weights[i].T) * masks[i - 1]
        self._adam(rate)

    def _error(self, scores: Singles, batch: Data) -> Singles:
        """Return the slope of the loss in the scores, (n_rows, n_outputs)."""
        predicted = _softmax(scores) if self._is_classification else scores
        error: Singles = batch.weight * (predicted - batch.goal)
        error /= np.float32(len(scores))
        if batch.change is None:
            return error
        half = len(batch.change)
        slip: Singles = scores[half:] - scores[:half] - batch.change
        if self._is_classification:
            slip -= slip.mean(axis=1, keepdims=True)
        slip *= batch.weight[:half]
        slip *= np.float32(2.0 * batch.pull / half)
        error[half:] += slip
        error[:half] -= slip
        return error

    def _forward(self, features: Singles) -> tuple[list[Singles], list[Singles]]:
        """Return the activations of all layers, inputs first, and slopes of the hidden ones."""
        keep = np.float32(1.0 - self._plan.dropout)
        activations, masks = [features], []
        for weight, bias in zip(self._network.weights, self._network.biases, strict=True):
            signal = activations[-1] @ weight + bias
            if len(activations) < len(self._network.weights):
                mask = (signal > 0.0).astype(np.float32)
                if keep < 1.0:
                    mask *= (self._rng.random(mask.shape, dtype=np.float32) < keep) / keep
                masks.append(mask)
                signal = signal * mask
            activations.append(signal)
        return activations, masks

    def _adam(self, rate: float) -> None:
        self._step += 1
        slope, spare = self._slope.vector, self._spare
        self._mean *= np.float32(_BETA1)
        self._mean += np.multiply(slope, np.float32(1.0 - _BETA1), out=spare)
        self._square *= np.float32(_BETA2)
        np.multiply(slope, slope, out=spare)
        spare *= np.float32(1.0 - _BETA2)
        self._square += spare
        scale = math.sqrt(1.0 - _BETA2**self._step) / (1.0 - _BETA1**self._step)
        for weight in self._network.weights:
            np.multiply(weight, np.float32(1.0 - rate * self._plan.decay), out=weight)
        np.sqrt(self._square, out=spare)
        spare += np.float32(_EPSILON)
        np.divide(self._mean, spare, out=spare)
        spare *= np.float32(rate * scale)
        np.subtract(self._network.vector, spare, out=self._network.vector)


def _sizes(network: Network) -> tuple[int, ...]:
    return (network.weights[0].shape[0], *(weight.shape[1] for weight in network.weights))


def _softmax(scores: Singles) -> Singles:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Singles = powers / powers.sum(axis=1, keepdims=True)
    return result
