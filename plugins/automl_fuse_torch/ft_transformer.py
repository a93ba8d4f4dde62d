"""FT-Transformer: every feature a token, attention between them, and its learner.

Gorishniy, Rubachev, Khrulkov and Babenko (2021), "Revisiting deep learning models for tabular
data", section 3.3. What differs is in the README.
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
from automl_fuse_torch.embeddings import Categories
from automl_fuse_torch.learner import ENCODERS, Design, Family, Knobs, NetworkLearner, batch_size
from automl_fuse_torch.parameters import Parameter
from automl_fuse_torch.schedules import COSINE
from automl_fuse_torch.shapes import CODES, FLAGS, NUMBERS, InputNames, InputShape
from automl_fuse_torch.starting import FINE_TUNING
from automl_fuse_torch.together import how_together
from automl_fuse_torch.writing import dense, normalised, number, reshaped, side_by_side, weight

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from automl_fuse.specs import Array, Floats, Tensor
    from automl_fuse_torch.parameters import Singles
    from automl_fuse_torch.program import Writer

_ATTENTION_HEADS = 4
_HIDDEN = 4 / 3
"""Width of the hidden layer of a block, in widths of a token."""


@dataclass(frozen=True, kw_only=True)
class FTTransformer:
    """The network: tokens of all features and one of its own, blocks, and a linear head.

    Blocks normalise before they attend, but for the first, and before they transform; the last
    one only computes the network's own token, which is what the head reads.

    Attributes
    ----------
    shape : InputShape
        What it reads.
    width, blocks, attention_heads : int
        Width of a token, blocks, and heads of an attention.
    n_outputs : int
        Scores.
    """

    shape: InputShape
    width: int
    blocks: int
    attention_heads: int
    n_outputs: int

    is_single: ClassVar[bool] = False

    @property
    def hidden_values(self) -> int:
        """Values of the widest layer for one row."""
        return self._tokens * max(3 * self.width, self._tokens * self.attention_heads)

    def parameters(self) -> dict[str, Parameter]:
        """Return what is learned."""
        width = self.width
        undecayed = Parameter(shape=(width,), decay=0.0)
        parameters = {"own": undecayed}
        if self._lines:
            line = Parameter(shape=(self._lines, width), decay=0.0)
            parameters |= {"line.weight": line, "line.bias": line}
        if self.shape.codes:
            bias = Parameter(shape=(len(self.shape.codes), width), decay=0.0)
            parameters |= {"categories.bias": bias, **self._categories.parameters()}
        sizes = {name: (n_inputs, n_outputs) for name, n_inputs, n_outputs in self._dense_layers()}
        for name in self._layers():
            if name in sizes:
                parameters[f"{name}.weight"] = Parameter(shape=sizes[name])
                parameters[f"{name}.bias"] = Parameter(shape=sizes[name][1:], decay=0.0)
            else:
                parameters |= {f"{name}.weight": undecayed, f"{name}.bias": undecayed}
        return parameters

    def labels(self, names: InputNames, outputs: Sequence[Hashable]) -> dict[str, Any]:
        """Return what the places of parameters are for: see ``starting``."""
        lines = [*names.numbers, *names.flags]
        return {
            "line.weight": {0: lines},
            "line.bias": {0: lines},
            "categories.bias": {0: list(names.coded)},
            "categories.table": {0: list(names.codes)},
            "head.weight": {1: outputs},
            "head.bias": {0: outputs},
        }

    def initial(
        self,
        rows: Mapping[str, Any],  # noqa: ARG002 - other networks start from what they see
        prior: Floats,
        rng: np.random.Generator,
    ) -> dict[str, Any]:
        """Draw weights; the head tells the prior."""
        bound = 1.0 / math.sqrt(self.width)
        arrays: dict[str, Any] = {}
        for name, parameter in self.parameters().items():
            if name.endswith("norm.weight"):
                arrays[name] = np.ones(parameter.shape)
            elif name.endswith(("norm.bias", "head.weight")) or _is_inner_bias(name):
                arrays[name] = np.zeros(parameter.shape)
            else:
                arrays[name] = rng.uniform(-bound, bound, size=parameter.shape)
        return arrays | self._categories.initial(rng) | {"head.bias": prior}

    def forward(self, weights: Mapping[str, Any], batch: Mapping[str, Any], noise: Any) -> Any:
        """Compute in torch: see ``core.Network``."""
        import torch

        from automl_fuse_torch import layers

        tokens = self._tokens_of(weights, batch)
        for i in range(self.blocks):
            read = layers.normalised(tokens, weights, f"block{i}.first_norm") if i else tokens
            if i == self.blocks - 1:
                tokens, asked = tokens[:, :, :1], read[:, :, :1]
            else:
                asked = read
            attended = self._attended(weights, f"block{i}", asked, read)
            tokens = tokens + noise.drop(attended)
            read = layers.normalised(tokens, weights, f"block{i}.norm")
            gates, values = _by_token(read, weights, f"block{i}.inner").chunk(2, dim=3)
            inner = noise.drop(values * torch.relu(gates))
            tokens = tokens + _by_token(inner, weights, f"block{i}.outer")
        own = torch.relu(layers.normalised(tokens, weights, "norm")).squeeze(2)
        return layers.output(own, weights, "head").unsqueeze(2)

    def _tokens_of(self, weights: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """Return tokens (n_members, n_rows, n_tokens, width), the network's own first."""
        import torch

        numbers = [batch[name] for name in (NUMBERS, FLAGS) if name in batch]
        any_part = numbers[0] if numbers else batch[CODES]
        n_members, n_rows = any_part.shape[:2]
        own = weights["own"][:, None, None].expand(n_members, n_rows, 1, self.width)
        parts = [own]
        if numbers:
            values = torch.cat(numbers, dim=2).unsqueeze(3)
            lines = values * weights["line.weight"].unsqueeze(1)
            parts.append(lines + weights["line.bias"].unsqueeze(1))
        if self.shape.codes:
            found = self._categories.forward(weights, batch[CODES])
            parts.append(found + weights["categories.bias"].unsqueeze(1))
        return torch.cat(parts, dim=2)

    def _attended(self, weights: Mapping[str, Any], block: str, asked: Any, read: Any) -> Any:
        """Return what the tokens ``asked`` take from those ``read``."""
        queries = self._split(_by_token(asked, weights, f"{block}.query"))
        keys, values = _by_token(read, weights, f"{block}.memory").chunk(2, dim=3)
        # Written out: the gradients of fused attention depend on the order of its threads.
        scores = queries @ self._split(keys).transpose(2, 3)
        shares = (scores * math.sqrt(self.attention_heads / self.width)).softmax(dim=3)
        found = shares @ self._split(values)
        joined = found.transpose(1, 2).reshape(asked.shape)
        return _by_token(joined, weights, f"{block}.result")

    def _split(self, x: Any) -> Any:
        """Return (n_members * n_rows, n_heads, n_tokens, width of a head)."""
        parts = x.flatten(0, 1).unflatten(2, (self.attention_heads, -1))
        return parts.transpose(1, 2)

    def finished(self, weights: Mapping[str, Singles]) -> dict[str, Singles]:
        """Fold the factor of attention scores into the queries.

        onnxruntime would keep it in single precision.
        """
        arrays = dict(weights)
        factor = np.sqrt(self.attention_heads / self.width)
        for i in range(self.blocks):
            for name in (f"block{i}.query.weight", f"block{i}.query.bias"):
                arrays[name] = (weights[name] * factor).astype(np.float32)
        return arrays

    def write(
        self, writer: Writer, arrays: Mapping[str, Array], inputs: Mapping[str, Tensor]
    ) -> Tensor:
        """Write scores (1, n_rows, n_outputs)."""
        tokens = self._write_tokens(writer, arrays, inputs)
        first = writer.constant(np.array([0], dtype=np.int64))
        for i in range(self.blocks):
            read = normalised(writer, tokens, arrays, f"block{i}.first_norm") if i else tokens
            asked = read
            if i == self.blocks - 1:
                asked = writer.node("Gather", [read, first], {"axis": 1})
                tokens = writer.node("Gather", [tokens, first], {"axis": 1})
            attended = self._write_attended(writer, arrays, f"block{i}", (asked, read))
            tokens = writer.node("Add", [tokens, attended])
            read = normalised(writer, tokens, arrays, f"block{i}.norm")
            values = _columns_of(arrays, f"block{i}.inner", 2)
            gates, plain = (dense(writer, read, part, f"block{i}.inner") for part in values)
            inner = writer.node("Mul", [plain, writer.node("Relu", [gates])])
            changed = dense(writer, inner, arrays, f"block{i}.outer")
            tokens = writer.node("Add", [tokens, changed])
        own = writer.node("Relu", [normalised(writer, tokens, arrays, "norm")])
        scores = dense(writer, reshaped(writer, own, -1, self.width), arrays, "head")
        return reshaped(writer, scores, 1, -1, self.n_outputs)

    def _write_tokens(
        self, writer: Writer, arrays: Mapping[str, Array], inputs: Mapping[str, Tensor]
    ) -> Tensor:
        parts = []
        numbers = [inputs[name] for name in (NUMBERS, FLAGS) if name in inputs]
        if numbers:
            values = side_by_side(writer, numbers)
            column = reshaped(writer, values, -1, self._lines, 1)
            lines = writer.node("Mul", [column, weight(writer, arrays["line.weight"])])
            parts.append(writer.node("Add", [lines, weight(writer, arrays["line.bias"])]))
        if self.shape.codes:
            found = self._categories.write(writer, arrays, inputs[CODES])
            parts.append(writer.node("Add", [found, weight(writer, arrays["categories.bias"])]))
        # The network's own token in every row: a multiple of 0 of the first token is added to it.
        first = writer.constant(np.array([0], dtype=np.int64))
        nothing = writer.node("Gather", [parts[0], first], {"axis": 1})
        nothing = writer.node("Mul", [nothing, number(writer, 0.0)])
        own = writer.node("Add", [nothing, weight(writer, arrays["own"])])
        return side_by_side(writer, [own, *parts], axis=1)

    def _write_attended(
        self, writer: Writer, arrays: Mapping[str, Array], block: str, tokens: tuple[Tensor, Tensor]
    ) -> Tensor:
        asked, read = tokens
        heads, each = self.attention_heads, self.width // self.attention_heads
        keys_values = _columns_of(arrays, f"{block}.memory", 2)
        queries = dense(writer, asked, arrays, f"{block}.query")
        keys, values = (dense(writer, read, part, f"{block}.memory") for part in keys_values)
        n_asked = 1 if block == f"block{self.blocks - 1}" else self._tokens

        def split(x: Tensor, n_tokens: int, order: Sequence[int]) -> Tensor:
            parts = reshaped(writer, x, -1, n_tokens, heads, each)
            return writer.node("Transpose", [parts], {"perm": list(order)})

        queries = split(queries, n_asked, (0, 2, 1, 3))
        scores = writer.node("MatMul", [queries, split(keys, self._tokens, (0, 2, 3, 1))])
        shares = writer.node("Softmax", [scores], {"axis": -1})
        found = writer.node("MatMul", [shares, split(values, self._tokens, (0, 2, 1, 3))])
        found = writer.node("Transpose", [found], {"perm": [0, 2, 1, 3]})
        joined = reshaped(writer, found, -1, n_asked, self.width)
        return dense(writer, joined, arrays, f"{block}.result")

    @property
    def _lines(self) -> int:
        """Numbers and flags: each a token on a line."""
        return self.shape.numbers + self.shape.flags

    @property
    def _tokens(self) -> int:
        return 1 + self._lines + len(self.shape.codes)

    @property
    def _categories(self) -> Categories:
        return Categories(self.shape.codes, self.width)

    def _dense_layers(self) -> list[tuple[str, int, int]]:
        width, hidden = self.width, int(_HIDDEN * self.width)
        layers = []
        for i in range(self.blocks):
            layers += [
                (f"block{i}.query", width, width),
                (f"block{i}.memory", width, 2 * width),
                (f"block{i}.result", width, width),
                (f"block{i}.inner", width, 2 * hidden),
                (f"block{i}.outer", hidden, width),
            ]
        return [*layers, ("head", width, self.n_outputs)]

    def _layers(self) -> list[str]:
        """Return dense layers and norms, in the order in which tokens go through them."""
        layers = []
        for i in range(self.blocks):
            names = ("first_norm",) * (i > 0)
            names += ("query", "memory", "result", "norm", "inner", "outer")
            layers += [f"block{i}.{name}" for name in names]
        return [*layers, "norm", "head"]


def _by_token(x: Any, weights: Mapping[str, Any], name: str) -> Any:
    """Return a dense layer of tokens (n_members, n_rows, n_tokens, width)."""
    from automl_fuse_torch import layers

    return layers.dense(x.flatten(1, 2), weights, name).unflatten(1, x.shape[1:3])


def _is_inner_bias(name: str) -> bool:
    return name.startswith("block") and name.endswith("bias")


def _columns_of(arrays: Mapping[str, Array], name: str, parts: int) -> list[dict[str, Array]]:
    """Return a dense layer as several, of equal shares of its outputs."""
    weights = np.split(arrays[f"{name}.weight"], parts, axis=1)
    biases = np.split(arrays[f"{name}.bias"], parts)
    return [{f"{name}.weight": w, f"{name}.bias": b} for w, b in zip(weights, biases, strict=True)]


# --------------------------------------------------------------------------- the learner


def design(params: Params, context: FitContext, shape: InputShape, n_rows: int) -> Design:
    """Return the network of a configuration, and how it is trained."""
    return Design(
        network=FTTransformer(
            shape=shape,
            width=int(params["width"]),
            blocks=int(params["blocks"]),
            attention_heads=_ATTENTION_HEADS,
            n_outputs=context.n_classes,
        ),
        knobs=Knobs(
            rate=params["learning_rate"],
            decay=params["weight_decay"],
            dropout=params["dropout"],
        ),
        epochs=int(params["epochs"]),
        batch=batch_size(n_rows),
        schedule=COSINE,
    )


def cost(shape: Shape, params: Params) -> Cost:
    """Predict seconds and bytes.

    Fitted to processor times of 500 … 5,120 rows, 5 … 60 features and two sizes on one core of a
    busy 2-core cloud machine; early stopping is taken to save a third.
    """
    width, blocks, tokens = params["width"], params["blocks"], shape.n_features + 1
    layer = 8.0 * width**2
    rows = min(batch_size(shape.n_rows), shape.n_rows)
    steps = 0.67 * params["epochs"] * shape.n_rows / rows
    flops = blocks * tokens * (layer + 2.0 * tokens * width)
    seconds = 0.05 + steps * (4e-3 + rows * (1.4e-10 * flops + 5e-9 * blocks * tokens * width))
    size = blocks * layer + width * (2.0 * shape.n_features + shape.n_classes)
    return Cost(seconds=seconds, bytes=4.0 * size + 100.0 * shape.n_features + 8000.0)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the size of the network, and how it is trained."""
    return {
        "width": suggest.choice("width", (16, 32, 64, 128)),
        "blocks": suggest.integer("blocks", 1, 4),
        "epochs": suggest.choice("epochs", (30, 60, 120)),
        "learning_rate": suggest.real("learning_rate", 2e-4, 5e-3, log=True),
        "weight_decay": suggest.real("weight_decay", 1e-4, 1.0, log=True),
        "dropout": suggest.real("dropout", 0.0, 0.4),
    }


FAMILY = Family(design=design, flagged_levels=0)

FT_TRANSFORMER = LearnerSpec(
    name="ft_transformer",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=ENCODERS,
    build=partial(NetworkLearner, "ft_transformer"),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(
            params={
                "width": 32,
                "blocks": 2,
                "epochs": 30,
                "learning_rate": 2e-3,
                "weight_decay": 0.01,
                "dropout": 0.1,
            },
            merit=0.40,
        ),
    ),
    requires=("torch",),
    extra="torch",
    together=how_together(cost),
    soft_labels=True,
    fine_tuning=FINE_TUNING,
)
