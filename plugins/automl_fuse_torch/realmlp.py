"""RealMLP: a multilayer perceptron with tuned defaults, and its learner.

Holzmüller, Grinsztajn and Steinwart (2024), "Better by default: strong pre-tuned MLPs and
boosted trees on tabular data", section 3 and appendix A. What differs is in the README.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from automl_fuse.specs import (
    ALL_TASKS,
    Configuration,
    Cost,
    FitContext,
    LearnerSpec,
    Params,
    Shape,
    Suggest,
)
from automl_fuse_torch.flat import FlatInput
from automl_fuse_torch.learner import ENCODERS, Design, Family, Knobs, NetworkLearner
from automl_fuse_torch.parameters import Parameter
from automl_fuse_torch.schedules import REALMLP as SCHEDULE
from automl_fuse_torch.starting import FINE_TUNING
from automl_fuse_torch.together import how_together
from automl_fuse_torch.writing import dense, mish, reshaped, selu, weight

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from automl_fuse.specs import Array, Floats, Tensor
    from automl_fuse_torch.parameters import Singles
    from automl_fuse_torch.program import Writer
    from automl_fuse_torch.shapes import InputNames, InputShape

_BATCH = 256
_FLAGGED_LEVELS = 8
_CATEGORY_WIDTH = 8
_NUMBER_WIDTH = 4
_BETA2 = 0.95
_SCALE_RATE, _BIAS_RATE, _BLEND_RATE = 6.0, 0.1, 0.1
_SIMPLEX = 5
"""Rows whose random mean a neuron's bias starts at: "he+5" of the paper."""


@dataclass(frozen=True, kw_only=True)
class RealMLP:
    """The network: a scaling layer, dense layers in NTK parametrisation, blended activations.

    Attributes
    ----------
    flat : FlatInput
        What it reads.
    width, depth : int
        Neurons of a hidden layer, and hidden layers.
    n_outputs : int
        Scores.
    is_classification : bool
        SELU if it is, else Mish.
    """

    flat: FlatInput
    width: int
    depth: int
    n_outputs: int
    is_classification: bool

    is_single: ClassVar[bool] = False

    @property
    def hidden_values(self) -> int:
        """Values of the widest layer for one row."""
        return max(self.width, 16 * self.flat.shape.embedded, self.flat.size)

    def parameters(self) -> dict[str, Parameter]:
        """Return what is learned."""
        parameters = self.flat.parameters()
        parameters["scale"] = Parameter(shape=(self.flat.size,), rate=_SCALE_RATE)
        for i, (n_inputs, n_outputs) in enumerate(self._sizes()):
            parameters[f"{i}.weight"] = Parameter(shape=(n_inputs, n_outputs))
            parameters[f"{i}.bias"] = Parameter(shape=(n_outputs,), rate=_BIAS_RATE, decay=0.0)
            if i < self.depth:
                parameters[f"{i}.blend"] = Parameter(shape=(n_outputs,), rate=_BLEND_RATE)
        return parameters

    def initial(
        self, rows: Mapping[str, Any], prior: Floats, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Draw weights for which neurons vary by 1 over the rows; the last tells the prior."""
        arrays = self.flat.initial(rows, rng)
        arrays["scale"] = np.ones(self.flat.size)
        signal = self.flat.computed(arrays, rows)
        *hidden, last = self._sizes()
        for i, (n_inputs, n_outputs) in enumerate(hidden):
            drawn = rng.normal(size=(n_inputs, n_outputs))
            made = signal @ drawn / math.sqrt(n_inputs)
            spread = made.std(axis=0)
            spread[spread < 1e-6] = 1.0
            made /= spread
            bias = -_random_means(made, rng)
            arrays |= {f"{i}.weight": drawn / spread, f"{i}.bias": bias}
            arrays[f"{i}.blend"] = np.ones(n_outputs)
            signal = _activated(made + bias, self.is_classification)
        return arrays | {f"{self.depth}.weight": np.zeros(last), f"{self.depth}.bias": prior}

    def labels(self, names: InputNames, outputs: Sequence[Hashable]) -> dict[str, Any]:
        """Return what the places of parameters are for: see ``starting``."""
        places, last = self.flat.places(names), str(self.depth)
        head = {f"{last}.weight": {1: outputs}, f"{last}.bias": {0: outputs}}
        return {**self.flat.labels(names), "scale": {0: places}, "0.weight": {0: places}, **head}

    def neurons(self) -> dict[str, dict[int, int]]:
        """Return the hidden layers that axes of parameters count neurons of: see ``narrow``."""
        axes: dict[str, dict[int, int]] = {f"{self.depth}.weight": {0: self.depth - 1}}
        for i in range(self.depth):
            axes[f"{i}.weight"] = {0: i - 1, 1: i} if i else {1: i}
            axes |= {f"{i}.bias": {0: i}, f"{i}.blend": {0: i}}
        return axes

    def divided(self) -> list[str]:
        """Return the weights whose sums are divided by the root of the neurons summed over."""
        return [f"{i}.weight" for i in range(1, self.depth + 1)]

    def forward(self, weights: Mapping[str, Any], batch: Mapping[str, Any], noise: Any) -> Any:
        """Compute in torch: see ``core.Network``."""
        from torch.nn import functional

        from automl_fuse_torch import layers

        activation = functional.selu if self.is_classification else functional.mish
        signal = self.flat.forward(weights, batch) * weights["scale"].unsqueeze(1)
        for i in range(self.depth):
            gain = 1.0 / math.sqrt(signal.shape[2])
            signal = layers.dense(signal, weights, str(i), gain)
            signal = layers.blended(signal, activation, weights[f"{i}.blend"])
            signal = noise.drop(signal)
        gain = 1.0 / math.sqrt(signal.shape[2])
        return layers.output(signal, weights, str(self.depth), gain).unsqueeze(2)

    def finished(self, weights: Mapping[str, Singles]) -> dict[str, Singles]:
        """Fold scales and gains into the weights."""
        arrays = self.flat.finished(weights)
        for i, (n_inputs, _) in enumerate(self._sizes()):
            factor = np.full((n_inputs, 1), 1.0 / math.sqrt(n_inputs))
            if i == 0:
                factor = factor * weights["scale"][:, None]
            arrays[f"{i}.weight"] = (weights[f"{i}.weight"] * factor).astype(np.float32)
            arrays[f"{i}.bias"] = weights[f"{i}.bias"]
            if i < self.depth:
                arrays[f"{i}.blend"] = weights[f"{i}.blend"]
        return arrays

    def write(
        self, writer: Writer, arrays: Mapping[str, Array], inputs: Mapping[str, Tensor]
    ) -> Tensor:
        """Write scores (1, n_rows, n_outputs)."""
        activation = selu if self.is_classification else mish
        signal = self.flat.write(writer, arrays, inputs)
        for i in range(self.depth):
            made = dense(writer, signal, arrays, str(i))
            change = writer.node("Sub", [activation(writer, made), made])
            change = writer.node("Mul", [change, weight(writer, arrays[f"{i}.blend"])])
            signal = writer.node("Add", [made, change])
        scores = dense(writer, signal, arrays, str(self.depth))
        return reshaped(writer, scores, 1, -1, self.n_outputs)

    def _sizes(self) -> list[tuple[int, int]]:
        inner = [self.width] * self.depth
        return list(zip([self.flat.size, *inner], [*inner, self.n_outputs], strict=True))


def _random_means(values: Floats, rng: np.random.Generator) -> Floats:
    """Return, for each column, a random convex combination of some of its values."""
    n_rows, n_columns = values.shape
    rows = rng.integers(n_rows, size=(_SIMPLEX, n_columns))
    shares = rng.exponential(size=(_SIMPLEX, n_columns))
    chosen = np.take_along_axis(values, rows, axis=0)
    means: Floats = (chosen * shares).sum(axis=0) / shares.sum(axis=0)
    return means


def _activated(values: Floats, is_classification: bool) -> Floats:
    from automl_fuse_torch.program import Program

    activation = selu if is_classification else mish
    program = Program(lambda writer, x: {"made": activation(writer, x)})
    made: Floats = program.run(values)["made"]
    return made


# --------------------------------------------------------------------------- the learner


def design(
    params: Params,
    context: FitContext,
    shape: InputShape,
    n_rows: int,  # noqa: ARG001 - batches of other networks depend on it
) -> Design:
    """Return the network of a configuration, and how it is trained."""
    is_classification = context.task.is_classification
    flat = FlatInput(
        shape=shape, kind="periodic", width=_NUMBER_WIDTH, category_width=_CATEGORY_WIDTH
    )
    return Design(
        network=RealMLP(
            flat=flat,
            width=int(params["width"]),
            depth=int(params["depth"]),
            n_outputs=context.n_classes,
            is_classification=is_classification,
        ),
        knobs=Knobs(
            # Regression takes five times the rate of classification.
            rate=params["learning_rate"] * (1.0 if is_classification else 5.0),
            decay=params["weight_decay"],
            dropout=params["dropout"],
            smoothing=params["label_smoothing"],
        ),
        epochs=int(params["epochs"]),
        batch=_BATCH,
        schedule=SCHEDULE,
        beta2=_BETA2,
    )


def cost(shape: Shape, params: Params) -> Cost:
    """Predict seconds and bytes.

    Fitted to processor times of 500 … 5,120 rows, 5 … 100 features and two sizes on one core of a
    busy 2-core cloud machine; early stopping is taken to save a third.
    """
    width, depth = params["width"], params["depth"]
    count = width * (_NUMBER_WIDTH * shape.n_features + (depth - 1) * width + shape.n_classes)
    rows = min(_BATCH, shape.n_rows)
    steps = 0.67 * params["epochs"] * shape.n_rows / rows
    seconds = 0.05 + steps * (1.6e-3 + rows * (2.2e-10 * count + 1e-7 * shape.n_features))
    return Cost(seconds=seconds, bytes=4.0 * count + 300.0 * shape.n_features + 4000.0)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the size of the network, and how it is trained."""
    return {
        "width": suggest.choice("width", (64, 128, 256, 384)),
        "depth": suggest.integer("depth", 2, 4),
        "epochs": suggest.choice("epochs", (64, 128, 256)),
        "learning_rate": suggest.real("learning_rate", 1e-2, 1e-1, log=True),
        "weight_decay": suggest.real("weight_decay", 1e-3, 1e-1, log=True),
        "dropout": suggest.real("dropout", 0.0, 0.4),
        "label_smoothing": suggest.choice("label_smoothing", (0.0, 0.1)),
    }


def _point(width: int, depth: int, epochs: int, smoothing: float) -> dict[str, Any]:
    return {
        "width": width,
        "depth": depth,
        "epochs": epochs,
        "learning_rate": 0.04,
        "weight_decay": 0.02,
        "dropout": 0.15,
        "label_smoothing": smoothing,
    }


FAMILY = Family(design=design, flagged_levels=_FLAGGED_LEVELS)

REALMLP = LearnerSpec(
    name="realmlp",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=ENCODERS,
    build=partial(NetworkLearner, "realmlp"),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params=_point(256, 3, 256, 0.1), merit=0.60),
        Configuration(params=_point(128, 2, 128, 0.1), merit=0.55),
        Configuration(params=_point(128, 2, 64, 0.0), merit=0.45),
    ),
    requires=("torch",),
    extra="torch",
    together=how_together(cost),
    soft_labels=True,
    fine_tuning=FINE_TUNING,
)
