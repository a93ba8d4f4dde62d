"""TabM: an ensemble in one MLP whose members share nearly all weights, and its learner.

Gorishniy, Kotelnikov and Babenko (2024), "TabM: advancing tabular deep learning with
parameter-efficient ensembling", section 3: the variant that the authors call TabM-mini.
"""

from __future__ import annotations

import itertools
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
from automl_fuse_torch.learner import ENCODERS, Design, Family, Knobs, NetworkLearner, batch_size
from automl_fuse_torch.parameters import Parameter
from automl_fuse_torch.schedules import COSINE
from automl_fuse_torch.starting import FINE_TUNING
from automl_fuse_torch.together import how_together
from automl_fuse_torch.writing import dense, reshaped, weight

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from automl_fuse.specs import Array, Floats, Tensor
    from automl_fuse_torch.parameters import Singles
    from automl_fuse_torch.program import Writer
    from automl_fuse_torch.shapes import InputNames, InputShape

_FLAGGED_LEVELS = 8
_CATEGORY_WIDTH = 8
_NUMBER_WIDTH = 8
_BINS = 16


@dataclass(frozen=True, kw_only=True)
class TabM:
    """The network: a random sign for each input and head, a shared MLP, a last layer a head.

    Attributes
    ----------
    flat : FlatInput
        What it reads.
    heads : int
        Networks in it.
    width, depth : int
        Neurons of a hidden layer, and hidden layers.
    n_outputs : int
        Scores.
    """

    flat: FlatInput
    heads: int
    width: int
    depth: int
    n_outputs: int

    is_single: ClassVar[bool] = False

    @property
    def hidden_values(self) -> int:
        """Values of the widest layer for one row."""
        return max(self.heads * max(self.width, self.flat.size), _BINS * self.flat.shape.embedded)

    def parameters(self) -> dict[str, Parameter]:
        """Return what is learned."""
        parameters = self.flat.parameters()
        parameters["adapter"] = Parameter(shape=(self.heads, self.flat.size))
        for i, (n_inputs, n_outputs) in enumerate(self._sizes()):
            parameters[f"{i}.weight"] = Parameter(shape=(n_inputs, n_outputs))
            parameters[f"{i}.bias"] = Parameter(shape=(n_outputs,), decay=0.0)
        last = (self.heads, self.width, self.n_outputs)
        parameters["last.weight"] = Parameter(shape=last)
        parameters["last.bias"] = Parameter(shape=(self.heads, self.n_outputs), decay=0.0)
        return parameters

    def initial(
        self, rows: Mapping[str, Any], prior: Floats, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Draw weights, and one sign for all features of an input in a head."""
        arrays = self.flat.initial(rows, rng)
        sections = self.flat.sections
        signs = rng.choice([-1.0, 1.0], size=(self.heads, len(sections)))
        arrays["adapter"] = np.repeat(signs, sections, axis=1)
        for i, (n_inputs, n_outputs) in enumerate(self._sizes()):
            bound = 1.0 / math.sqrt(n_inputs)
            arrays[f"{i}.weight"] = rng.uniform(-bound, bound, size=(n_inputs, n_outputs))
            arrays[f"{i}.bias"] = rng.uniform(-bound, bound, size=n_outputs)
        bound = 1.0 / math.sqrt(self.width)
        last = (self.heads, self.width, self.n_outputs)
        arrays["last.weight"] = rng.uniform(-bound, bound, size=last)
        arrays["last.bias"] = np.tile(prior, (self.heads, 1))
        return arrays

    def labels(self, names: InputNames, outputs: Sequence[Hashable]) -> dict[str, Any]:
        """Return what the places of parameters are for: see ``starting``."""
        places = self.flat.places(names)
        head = {"last.weight": {2: outputs}, "last.bias": {1: outputs}}
        return {**self.flat.labels(names), "adapter": {1: places}, "0.weight": {0: places}, **head}

    def neurons(self) -> dict[str, dict[int, int]]:
        """Return the hidden layers that axes of parameters count neurons of: see ``narrow``."""
        axes: dict[str, dict[int, int]] = {"last.weight": {1: self.depth - 1}}
        for i in range(self.depth):
            axes[f"{i}.weight"] = {0: i - 1, 1: i} if i else {1: i}
            axes[f"{i}.bias"] = {0: i}
        return axes

    def forward(self, weights: Mapping[str, Any], batch: Mapping[str, Any], noise: Any) -> Any:
        """Compute in torch: see ``core.Network``."""
        import torch

        from automl_fuse_torch import layers

        signal = self.flat.forward(weights, batch).unsqueeze(2) * weights["adapter"].unsqueeze(1)
        n_members, n_rows = signal.shape[:2]
        signal = signal.flatten(1, 2)
        for i in range(self.depth):
            signal = noise.drop(torch.relu(layers.dense(signal, weights, str(i))))
        by_head = signal.unflatten(1, (n_rows, self.heads)).transpose(1, 2).flatten(0, 1)
        last = {name: weights[f"last.{name}"].flatten(0, 1) for name in ("weight", "bias")}
        scores = layers.output(by_head, {f"last.{n}": last[n] for n in last}, "last")
        return scores.unflatten(0, (n_members, self.heads)).transpose(1, 2)

    def finished(self, weights: Mapping[str, Singles]) -> dict[str, Singles]:
        """Return all of the parameters."""
        return dict(weights) | self.flat.finished(weights)

    def write(
        self, writer: Writer, arrays: Mapping[str, Array], inputs: Mapping[str, Tensor]
    ) -> Tensor:
        """Write scores (n_heads, n_rows, n_outputs)."""
        flat = self.flat.write(writer, arrays, inputs)
        column = reshaped(writer, flat, 1, -1, self.flat.size)
        adapter = arrays["adapter"][:, None, :]
        signal = writer.node("Mul", [column, weight(writer, adapter)])
        # All heads as rows of one matrix product.
        signal = reshaped(writer, signal, -1, self.flat.size)
        for i in range(self.depth):
            signal = writer.node("Relu", [dense(writer, signal, arrays, str(i))])
        signal = reshaped(writer, signal, self.heads, -1, self.width)
        last = {"last.weight": arrays["last.weight"], "last.bias": arrays["last.bias"][:, None, :]}
        return dense(writer, signal, last, "last")

    def _sizes(self) -> list[tuple[int, int]]:
        sizes = [self.flat.size, *[self.width] * self.depth]
        return list(itertools.pairwise(sizes))


# --------------------------------------------------------------------------- the learner


def design(params: Params, context: FitContext, shape: InputShape, n_rows: int) -> Design:
    """Return the network of a configuration, and how it is trained."""
    flat = FlatInput(
        shape=shape,
        kind="piecewise",
        bins=_BINS,
        width=_NUMBER_WIDTH,
        category_width=_CATEGORY_WIDTH,
    )
    return Design(
        network=TabM(
            flat=flat,
            heads=int(params["heads"]),
            width=int(params["width"]),
            depth=int(params["depth"]),
            n_outputs=context.n_classes,
        ),
        knobs=Knobs(
            rate=params["learning_rate"],
            decay=params["weight_decay"],
            dropout=params["dropout"],
            averaging=params["averaging"],
        ),
        epochs=int(params["epochs"]),
        batch=batch_size(n_rows),
        schedule=COSINE,
    )


def cost(shape: Shape, params: Params) -> Cost:
    """Predict seconds and bytes.

    Fitted to processor times of 500 … 5,120 rows, 5 … 100 features and three sizes on one core of
    a busy 2-core cloud machine; early stopping is taken to save a third.
    """
    width, depth, heads = params["width"], params["depth"], params["heads"]
    flat = _NUMBER_WIDTH * shape.n_features
    count = width * (flat + (depth - 1) * width + shape.n_classes)
    rows = min(batch_size(shape.n_rows), shape.n_rows)
    steps = 0.67 * params["epochs"] * shape.n_rows / rows
    seconds = 0.05 + steps * (1.5e-3 + rows * heads * (1.4e-10 * count + 5e-9 * flat))
    size = count + heads * (flat + width * shape.n_classes)
    return Cost(seconds=seconds, bytes=4.0 * size + 900.0 * shape.n_features + 4000.0)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the size of the network, and how it is trained."""
    return {
        "heads": suggest.choice("heads", (8, 16, 32)),
        "width": suggest.choice("width", (64, 128, 256, 512)),
        "depth": suggest.integer("depth", 1, 3),
        "epochs": suggest.choice("epochs", (30, 60, 120)),
        "learning_rate": suggest.real("learning_rate", 1e-3, 2e-2, log=True),
        "weight_decay": suggest.real("weight_decay", 1e-3, 1.0, log=True),
        "dropout": suggest.real("dropout", 0.0, 0.4),
        "averaging": suggest.choice("averaging", (0.0, 0.99)),
    }


def _point(heads: int, width: int, epochs: int) -> dict[str, Any]:
    return {
        "heads": heads,
        "width": width,
        "depth": 2,
        "epochs": epochs,
        "learning_rate": 5e-3,
        "weight_decay": 0.03,
        "dropout": 0.1,
        "averaging": 0.0,
    }


FAMILY = Family(design=design, flagged_levels=_FLAGGED_LEVELS)

TABM = LearnerSpec(
    name="tabm",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=ENCODERS,
    build=partial(NetworkLearner, "tabm"),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params=_point(16, 128, 60), merit=0.55),
        Configuration(params=_point(8, 64, 30), merit=0.48),
        Configuration(params=_point(32, 256, 60), merit=0.42),
    ),
    requires=("torch",),
    extra="torch",
    together=how_together(cost),
    soft_labels=True,
    fine_tuning=FINE_TUNING,
)
