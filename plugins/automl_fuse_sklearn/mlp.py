"""A multilayer perceptron, trained in NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automl_fuse.specs import (
    ALL_TASKS,
    Configuration,
    Cost,
    FitContext,
    Floats,
    LearnerSpec,
    Params,
    Rows,
    Shape,
    Suggest,
)
from automl_fuse_sklearn.common import (
    ModelLearner,
    Scaler,
    limited,
    loss_of,
    softmax,
    targets,
    weights_of,
)

Singles = NDArray[np.float32]
_BETA1, _BETA2, _EPSILON = 0.9, 0.99, 1e-8
_LOOK_EVERY = 50
"""Batches between two looks at the deadline."""


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
    """

    def __init__(self, scaler: Scaler, network: Network, is_classification: bool) -> None:
        self._scaler = scaler
        self._is_classification = is_classification
        self._layers = _doubled(list(zip(network.weights, network.biases, strict=True)))

    def predict(self, values: Floats) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        signal = self._scaler.transform(values)
        for weight, bias in self._layers[:-1]:
            signal = np.maximum(signal @ weight + bias, 0.0)
        weight, bias = self._layers[-1]
        scores = signal @ weight + bias
        return softmax(scores) if self._is_classification else scores

    def __getstate__(self) -> dict[str, object]:
        layers = [(w.astype(np.float32), b.astype(np.float32)) for w, b in self._layers]
        return self.__dict__ | {"_layers": layers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._layers = _doubled(self._layers)


def _doubled(layers: list[Any]) -> list[tuple[Floats, Floats]]:
    return [(w.astype(np.float64), b.astype(np.float64)) for w, b in layers]


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
        """Return the plan for a table of this many rows."""
        return Plan(
            epochs=epochs(n_rows),
            batch=batch_size(n_rows),
            rate=params["learning_rate"],
            decay=params["weight_decay"],
            dropout=params["dropout"],
        )


def epochs(n_rows: int) -> int:
    """Return passes over the table: 120 for small ones, falling to 30."""
    return int(np.clip(1_500_000 / max(n_rows, 1), 30, 120))


def batch_size(n_rows: int) -> int:
    """Return rows of a batch: a fiftieth of the table within 32 … 256."""
    return int(np.clip(n_rows // 50, 32, 256))


class Trainer:
    """Adam with decoupled weight decay on one network.

    Loshchilov and Hutter (2019), "Decoupled weight decay regularization", algorithm 2;
    dropout on hidden layers.
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

    def learn(self, features: Singles, goal: Singles, weight: Singles, rate: float) -> None:
        """Take one step on a batch: (n, n_features), (n, n_outputs), (n, 1)."""
        activations, masks = self._forward(features)
        scores = activations[-1]
        predicted = _softmax(scores) if self._is_classification else scores
        error = weight * (predicted - goal) / np.float32(len(goal))
        for i in range(len(self._network.weights) - 1, -1, -1):
            np.matmul(activations[i].T, error, out=self._slope.weights[i])
            np.sum(error, axis=0, out=self._slope.biases[i])
            if i > 0:
                error = (error @ self._network.weights[i].T) * masks[i - 1]
        self._adam(rate)

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


@dataclass(frozen=True)
class _Data:
    """A table ready for training, in single precision."""

    features: Singles
    goal: Singles
    weight: Singles


def fit_mlp(params: Params, context: FitContext, train: Rows, valid: Rows | None) -> Perceptron:
    """Train under a cosine schedule, keeping the network that was best on ``valid``.

    Where the deadline leaves less time than the schedule needs, the schedule is shortened
    after the first epoch, so that the rate still falls to zero.
    """
    scaler = Scaler.fitted(train)
    data = _Data(
        features=scaler.transform(train.X.values).astype(np.float32),
        goal=targets(train, context).astype(np.float32),
        weight=weights_of(train).astype(np.float32)[:, None],
    )
    rng = np.random.default_rng(context.seed)
    hidden = (int(params["width"]),) * int(params["depth"])
    n_features = data.features.shape[1]
    network = Network.drawn((n_features, *hidden, context.n_classes), rng)
    plan = Plan.of(params, len(train.y))
    with limited(context.n_threads):
        _train(network, plan, context, data, _Watch(scaler, network, valid, context), rng)
    return Perceptron(scaler, network, context.task.is_classification)


class _Watch:
    """Remembers the best network on ``valid``."""

    def __init__(
        self, scaler: Scaler, network: Network, valid: Rows | None, context: FitContext
    ) -> None:
        self._scaler = scaler
        self._network = network
        self._valid = valid
        self._context = context
        self._best_loss = math.inf
        self._best: Singles | None = None
        self.epochs_without_gain = 0

    def look(self) -> None:
        """Score the network as it is."""
        if self._valid is None:
            return
        model = Perceptron(self._scaler, self._network, self._context.task.is_classification)
        loss = loss_of(self._valid, model.predict(self._valid.X.values), self._context)
        self.epochs_without_gain += 1
        if loss < self._best_loss:
            self._best_loss, self.epochs_without_gain = loss, 0
            self._best = self._network.vector.copy()

    def restore(self) -> None:
        """Put the best weights back into the network."""
        if self._best is not None:
            self._network.vector[:] = self._best


def _train(
    network: Network,
    plan: Plan,
    context: FitContext,
    data: _Data,
    watch: _Watch,
    rng: np.random.Generator,
) -> None:
    trainer = Trainer(network, plan, context, rng)
    n_rows = len(data.goal)
    steps = math.ceil(n_rows / plan.batch)
    total, patience = plan.epochs, max(10, plan.epochs // 5)
    before = context.deadline.remaining()
    epoch = 0
    while epoch < total:
        order = rng.permutation(n_rows)
        for step in range(steps):
            rows = order[step * plan.batch : (step + 1) * plan.batch]
            progress = (epoch + step / steps) / total
            rate = plan.rate * min(1.0, 0.1 + epoch + step / steps)
            rate *= 0.5 * (1.0 + math.cos(math.pi * progress))
            trainer.learn(data.features[rows], data.goal[rows], data.weight[rows], rate)
            if step % _LOOK_EVERY == _LOOK_EVERY - 1 and context.deadline.expired():
                break
        epoch += 1
        watch.look()
        left = context.deadline.remaining()
        if context.deadline.expired() or watch.epochs_without_gain >= patience:
            break
        total = min(total, epoch + math.floor(0.9 * left * epoch / max(before - left, 1e-9)))
    watch.restore()


def cost(shape: Shape, params: Params) -> Cost:
    """Predict seconds and bytes.

    Fitted to CPU times of 1,000 … 16,000 rows, 20 … 200 features and all portfolio points on
    one core of a 2-core cloud machine; early stopping is taken to save half.
    """
    width, depth = params["width"], params["depth"]
    count = width * (shape.n_features + (depth - 1) * width + shape.n_classes)
    batch = batch_size(shape.n_rows)
    steps = 0.5 * epochs(shape.n_rows) * math.ceil(shape.n_rows / batch)
    seconds = 0.02 + steps * (4e-5 * depth + count * (7e-9 + 1.2e-10 * batch))
    return Cost(seconds=seconds, bytes=4.0 * count + 16.0 * shape.n_features + 2000.0)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the size of the network, and how it is trained."""
    return {
        "width": suggest.choice("width", (64, 128, 256)),
        "depth": suggest.integer("depth", 1, 3),
        "learning_rate": suggest.real("learning_rate", 3e-4, 2e-2, log=True),
        "weight_decay": suggest.real("weight_decay", 1e-4, 1.0, log=True),
        "dropout": suggest.real("dropout", 0.0, 0.4),
    }


def _point(width: int, depth: int, rate: float, dropout: float) -> dict[str, Any]:
    return {
        "width": width,
        "depth": depth,
        "learning_rate": rate,
        "weight_decay": 0.03,
        "dropout": dropout,
    }


MLP = LearnerSpec(
    name="mlp",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=("scaled_numbers", "onehot", "cyclic_calendar", "words", "ngrams"),
    build=partial(ModelLearner, fit_mlp),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params=_point(128, 2, 3e-3, 0.1), merit=0.70),
        Configuration(params=_point(256, 2, 2e-3, 0.25), merit=0.45),
        Configuration(params=_point(64, 1, 5e-3, 0.0), merit=0.30),
    ),
)
