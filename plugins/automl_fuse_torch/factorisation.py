"""Factorisation: what users and items, or other categories, have in common, and its learner.

Vectors of all categories of a row are multiplied pairwise: He and Chua (2017), "Neural
factorization machines", equation 4. Beside that product a hidden layer reads the vectors and all
other features, as in Guo et al. (2017), "DeepFM", and each category has a bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from automl_fuse.specs import (
    ALL_TASKS,
    Column,
    Configuration,
    Cost,
    FitContext,
    Kind,
    LearnerSpec,
    Params,
    Shape,
    Suggest,
)
from automl_fuse_torch.embeddings import Categories
from automl_fuse_torch.flat import FlatInput
from automl_fuse_torch.learner import Design, Family, Knobs, NetworkLearner, batch_size
from automl_fuse_torch.parameters import Parameter
from automl_fuse_torch.schedules import COSINE
from automl_fuse_torch.shapes import CODES, InputShape
from automl_fuse_torch.together import how_together
from automl_fuse_torch.writing import dense, number, reshaped, side_by_side, weight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs import Array, Floats, Tensor
    from automl_fuse_torch.parameters import Singles
    from automl_fuse_torch.program import Writer

_ENCODERS = ("numbers", "all_codes", "cyclic_calendar", "ngrams")
_NUMBER_WIDTH = 4
_LEVELS = 30
"""Levels from which a category may be a user or an item."""
_SPREAD = 0.1
"""Of the vectors at the start."""


@dataclass(frozen=True, kw_only=True)
class Factorisation:
    """The network: products of pairs, a hidden layer, and a bias for each category.

    Missing and unseen categories have a vector and a bias of their own, which start as zeros.

    Attributes
    ----------
    flat : FlatInput
        What it reads; its categories are as wide as the vectors.
    hidden : int
        Neurons of the hidden layer.
    n_outputs : int
        Scores.
    """

    flat: FlatInput
    hidden: int
    n_outputs: int

    is_single: ClassVar[bool] = False

    @property
    def hidden_values(self) -> int:
        """Values of the widest layer for one row."""
        return max(self.flat.size, self.hidden, 16 * self.flat.shape.embedded)

    def parameters(self) -> dict[str, Parameter]:
        """Return what is learned."""
        parameters = self.flat.parameters()
        if self._n_codes:
            n_codes = sum(self.flat.shape.codes)
            parameters["bias.table"] = Parameter(shape=(n_codes, self.n_outputs))
        for name, n_inputs, n_outputs in self._layers():
            parameters[f"{name}.weight"] = Parameter(shape=(n_inputs, n_outputs))
            parameters[f"{name}.bias"] = Parameter(shape=(n_outputs,), decay=0.0)
        return parameters

    def initial(
        self, rows: Mapping[str, Any], prior: Floats, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Draw small vectors and weights; the scores tell the prior."""
        arrays = self.flat.initial(rows, rng)
        if self._n_codes:
            arrays["categories.table"] *= _SPREAD * math.sqrt(self.flat.category_width)
            arrays["bias.table"] = np.zeros(self.parameters()["bias.table"].shape)
        for name, n_inputs, n_outputs in self._layers():
            scale = math.sqrt(2.0 / n_inputs)
            arrays[f"{name}.weight"] = rng.normal(scale=scale, size=(n_inputs, n_outputs))
            arrays[f"{name}.bias"] = np.zeros(n_outputs)
        return arrays | {"scores.bias": prior}

    def forward(self, weights: Mapping[str, Any], batch: Mapping[str, Any], noise: Any) -> Any:
        """Compute in torch: see ``core.Network``."""
        import torch

        from automl_fuse_torch import layers

        flat = noise.drop(self.flat.forward(weights, batch))
        read = noise.drop(torch.relu(layers.dense(flat, weights, "hidden")))
        if not self._n_codes:
            return layers.output(read, weights, "scores").unsqueeze(2)
        vectors = self._categories.forward(weights, batch[CODES])
        total = vectors.sum(dim=2)
        pairs = 0.5 * (total.square() - vectors.square().sum(dim=2))
        scores = layers.output(torch.cat([pairs, read], dim=2), weights, "scores")
        biases = layers.looked_up(batch[CODES], weights["bias.table"]).sum(dim=2)
        return (scores + biases).unsqueeze(2)

    def finished(self, weights: Mapping[str, Singles]) -> dict[str, Singles]:
        """Return all of the parameters."""
        return dict(weights) | self.flat.finished(weights)

    def write(
        self, writer: Writer, arrays: Mapping[str, Array], inputs: Mapping[str, Tensor]
    ) -> Tensor:
        """Write scores (1, n_rows, n_outputs)."""
        flat = self.flat.write(writer, arrays, inputs)
        read = writer.node("Relu", [dense(writer, flat, arrays, "hidden")])
        if not self._n_codes:
            scores = dense(writer, read, arrays, "scores")
            return reshaped(writer, scores, 1, -1, self.n_outputs)
        vectors = self._categories.write(writer, arrays, inputs[CODES])
        total = self._summed(writer, vectors)
        squares = self._summed(writer, writer.node("Mul", [vectors, vectors]))
        pairs = writer.node("Sub", [writer.node("Mul", [total, total]), squares])
        pairs = writer.node("Mul", [pairs, number(writer, 0.5)])
        scores = dense(writer, side_by_side(writer, [pairs, read]), arrays, "scores")
        table = weight(writer, arrays["bias.table"])
        biases = writer.node("Gather", [table, inputs[CODES]], {"axis": 0})
        scores = writer.node("Add", [scores, self._summed(writer, biases)])
        return reshaped(writer, scores, 1, -1, self.n_outputs)

    def _summed(self, writer: Writer, x: Tensor) -> Tensor:
        """Write the sum over categories of (n_rows, n_categories, size)."""
        axis = writer.constant(np.array([1], dtype=np.int64))
        mean = writer.node("ReduceMean", [x, axis], {"keepdims": 0})
        return writer.node("Mul", [mean, number(writer, self._n_codes)])

    @property
    def _n_codes(self) -> int:
        return len(self.flat.shape.codes)

    @property
    def _categories(self) -> Categories:
        return Categories(self.flat.shape.codes, self.flat.category_width)

    def _layers(self) -> list[tuple[str, int, int]]:
        rank = self.flat.category_width if self._n_codes else 0
        return [
            ("hidden", self.flat.size, self.hidden),
            ("scores", rank + self.hidden, self.n_outputs),
        ]


# --------------------------------------------------------------------------- the learner


def design(params: Params, context: FitContext, shape: InputShape, n_rows: int) -> Design:
    """Return the network of a configuration, and how it is trained."""
    flat = FlatInput(
        shape=shape,
        kind="periodic",
        width=_NUMBER_WIDTH,
        category_width=int(params["rank"]),
    )
    return Design(
        network=Factorisation(flat=flat, hidden=int(params["hidden"]), n_outputs=context.n_classes),
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
    """Predict seconds and bytes, with about as many categories as the square root of the rows.

    Early stopping is taken to save a third.
    """
    rank, hidden = params["rank"], params["hidden"]
    table = 4.0 * math.sqrt(shape.n_rows) * shape.n_features * (rank + shape.n_classes)
    count = hidden * shape.n_features * rank
    rows = min(batch_size(shape.n_rows), shape.n_rows)
    steps = 0.67 * params["epochs"] * shape.n_rows / rows
    seconds = 0.05 + steps * (1.5e-3 + rows * 3e-10 * count + 4e-9 * table)
    return Cost(seconds=seconds, bytes=4.0 * (table + count) + 10_000.0)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the size of the network, and how it is trained."""
    return {
        "rank": suggest.choice("rank", (8, 16, 32, 64)),
        "hidden": suggest.choice("hidden", (16, 64, 128)),
        "epochs": suggest.choice("epochs", (10, 20, 40)),
        "learning_rate": suggest.real("learning_rate", 5e-4, 1e-2, log=True),
        "weight_decay": suggest.real("weight_decay", 1e-2, 3.0, log=True),
        "dropout": suggest.real("dropout", 0.0, 0.6),
        "averaging": suggest.choice("averaging", (0.0, 0.99)),
    }


def misfit(columns: Sequence[Column]) -> str:
    """Return why a table has no users and items."""
    large = [c for c in columns if c.kind is Kind.CATEGORY and len(c.categories) >= _LEVELS]
    if len(large) < 2:
        return f"it needs two columns of {_LEVELS} categories or more, such as users and items"
    return ""


FAMILY = Family(design=design, flagged_levels=0)

FACTORISATION = LearnerSpec(
    name="factorisation",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=_ENCODERS,
    build=partial(NetworkLearner, "factorisation"),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(
            params={
                "rank": 32,
                "hidden": 64,
                "epochs": 20,
                "learning_rate": 2e-3,
                "weight_decay": 1.0,
                "dropout": 0.3,
                "averaging": 0.0,
            },
            merit=0.55,
        ),
        Configuration(
            params={
                "rank": 64,
                "hidden": 64,
                "epochs": 20,
                "learning_rate": 1e-3,
                "weight_decay": 2.0,
                "dropout": 0.3,
                "averaging": 0.99,
            },
            merit=0.3,
        ),
    ),
    requires=("torch",),
    extra="torch",
    together=how_together(cost),
    soft_labels=True,
    misfit=misfit,
)
