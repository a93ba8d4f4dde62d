"""A learner of multilayer perceptrons, trained in NumPy."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.specs import (
    ALL_TASKS,
    Configuration,
    Cost,
    FitContext,
    LearnerSpec,
    Params,
    Rows,
    Shape,
    Suggest,
)
from automl_fuse_sklearn.common import (
    FEATURES,
    ModelLearner,
    Scaler,
    limited,
    loss_of,
    with_features,
)
from automl_fuse_sklearn.perceptron import Network, Perceptron
from automl_fuse_sklearn.training import Data, Plan, Trainer, batch_size, epochs

if TYPE_CHECKING:
    from automl_fuse_sklearn.perceptron import Singles

ENCODERS = ("scaled_numbers", "onehot", "cyclic_calendar", "words", "ngrams", "scaled_summaries")

_LOOK_EVERY = 50
"""Batches between two looks at the deadline."""


def fit_mlp(params: Params, context: FitContext, train: Rows, valid: Rows | None) -> Perceptron:
    """Train under a cosine schedule, keeping the network that was best on ``valid``.

    Where the deadline leaves less time than the schedule needs, the schedule is shortened
    after the first epoch, so that the rate still falls to zero.

    Two more params than the space has may be given. ``epochs`` is the length of the schedule:
    a refit falls to rate zero at the best epoch of earlier fits, which is better than to break
    off a longer schedule there (23 refits on six tables: a loss 2.0 % above that of the mean of
    the fold models, instead of 3.2 %).
    ``matching`` says that the second half of the training rows are perturbed copies of the
    first half: see ``training.Data``.
    """
    scaler = Scaler.fitted(train)
    data = Data.of(train, scaler, params, context)
    rng = np.random.default_rng(context.seed)
    hidden = (int(params["width"]),) * int(params["depth"])
    n_features = data.features.shape[1]
    network = Network.drawn((n_features, *hidden, context.n_classes), rng)
    plan = Plan.of(params, len(train.y))
    watch = _Watch(scaler, network, valid, context)
    with limited(context.n_threads):
        _train(network, plan, context, data, watch, rng)
    return Perceptron(scaler, network, context.task.is_classification, watch.tuned)


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
        self.tuned: dict[str, int] = {}

    def look(self, epoch: int) -> None:
        """Score the network as it is after this many epochs."""
        if self._valid is None:
            return
        model = Perceptron(self._scaler, self._network, self._context.task.is_classification)
        loss = loss_of(self._valid, model.predict(self._valid.X.values), self._context)
        self.epochs_without_gain += 1
        if loss < self._best_loss:
            self._best_loss, self.epochs_without_gain = loss, 0
            self._best = self._network.vector.copy()
            self.tuned["epochs"] = epoch

    def restore(self) -> None:
        """Put the best weights back into the network."""
        if self._best is not None:
            self._network.vector[:] = self._best


def _train(
    network: Network,
    plan: Plan,
    context: FitContext,
    data: Data,
    watch: _Watch,
    rng: np.random.Generator,
) -> None:
    trainer = Trainer(network, plan, context, rng)
    size = plan.batch if data.change is None else plan.batch // 2
    steps = math.ceil(data.n_units / size)
    total, patience = plan.epochs, max(10, plan.epochs // 5)
    before = context.deadline.remaining()
    epoch = 0
    while epoch < total:
        order = rng.permutation(data.n_units)
        for step in range(steps):
            units = order[step * size : (step + 1) * size]
            progress = (epoch + step / steps) / total
            rate = plan.rate * min(1.0, 0.1 + epoch + step / steps)
            rate *= 0.5 * (1.0 + math.cos(math.pi * progress))
            trainer.learn(data.take(units), rate)
            if step % _LOOK_EVERY == _LOOK_EVERY - 1 and context.deadline.expired():
                break
        epoch += 1
        watch.look(epoch)
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
        "features": suggest.choice("features", tuple(FEATURES)),
        "width": suggest.choice("width", (16, 32, 64, 128, 256)),
        "depth": suggest.integer("depth", 1, 3),
        "learning_rate": suggest.real("learning_rate", 3e-4, 2e-2, log=True),
        "weight_decay": suggest.real("weight_decay", 1e-4, 1.0, log=True),
        "dropout": suggest.real("dropout", 0.0, 0.4),
    }


def _point(
    size: tuple[int, int], rate: float, decay: float, dropout: float, features: str = "plain"
) -> dict[str, Any]:
    return {
        "features": features,
        "width": size[0],
        "depth": size[1],
        "learning_rate": rate,
        "weight_decay": decay,
        "dropout": dropout,
    }


MLP = LearnerSpec(
    name="mlp",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=partial(with_features, ENCODERS),
    build=partial(ModelLearner, fit_mlp),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params=_point((128, 2), 0.013, 0.06, 0.2, "arithmetic"), merit=0.96),
        Configuration(params=_point((64, 1), 5e-3, 0.03, 0.0, "arithmetic"), merit=0.84),
        Configuration(params=_point((16, 2), 9e-3, 1.5e-3, 0.13, "unsupervised"), merit=0.68),
        Configuration(params=_point((128, 2), 3e-3, 0.03, 0.1), merit=0.62),
        Configuration(params=_point((128, 2), 3e-3, 0.03, 0.1, "unsupervised"), merit=0.60),
        Configuration(params=_point((256, 2), 2e-3, 0.03, 0.25), merit=0.52),
    ),
    soft_labels=True,
)
