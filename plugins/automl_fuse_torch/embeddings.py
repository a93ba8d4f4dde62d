"""Embeddings of numbers, and of categories: how they start, learn and predict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse_torch.parameters import Parameter
from automl_fuse_torch.writing import reshaped, side_by_side, weight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Array, Tensor
    from automl_fuse_torch.parameters import Singles
    from automl_fuse_torch.program import Writer

Arrays = dict[str, Any]


class Periodic:
    """Each number x becomes x and a linear map of cos(2π (w x) + b): "PBLD".

    Holzmüller et al. (2024), "Better by default", section 3, after Gorishniy et al. (2022), "On
    embeddings for numerical features in tabular deep learning".

    Parameters
    ----------
    n_numbers : int
        Numbers to embed.
    frequencies : int
        Cosines of each.
    width : int
        Features that a number becomes, itself among them.
    """

    DEVIATION = 0.1
    """Of the frequencies w, at the start."""
    RATE = 0.1
    """Factor of the learning rate."""

    def __init__(self, n_numbers: int, frequencies: int = 16, width: int = 4) -> None:
        self._n, self._frequencies, self.width = n_numbers, frequencies, width

    def parameters(self) -> dict[str, Parameter]:
        """Return what is learned."""
        inner, made = (self._n, self._frequencies), self.width - 1
        return {
            "periodic.frequency": Parameter(shape=inner, rate=self.RATE),
            "periodic.phase": Parameter(shape=inner, rate=self.RATE),
            "periodic.weight": Parameter(shape=(*inner, made), rate=self.RATE),
            "periodic.bias": Parameter(shape=(self._n, made), rate=self.RATE),
        }

    def initial(self, rng: np.random.Generator) -> Arrays:
        """Draw where the parameters start."""
        inner, made = (self._n, self._frequencies), self.width - 1
        bound = 1.0 / math.sqrt(self._frequencies)
        return {
            "periodic.frequency": self.DEVIATION * rng.normal(size=inner),
            "periodic.phase": rng.uniform(-math.pi, math.pi, size=inner),
            "periodic.weight": rng.uniform(-bound, bound, size=(*inner, made)),
            "periodic.bias": rng.uniform(-bound, bound, size=(self._n, made)),
        }

    def forward(self, weights: Mapping[str, Any], x: Any) -> Any:
        """Embed numbers (n_members, n_rows, n): (n_members, n_rows, n * width)."""
        import torch

        # (members, numbers, rows, frequencies): a batch of small matrix products.
        speed = (2.0 * math.pi) * weights["periodic.frequency"].unsqueeze(2)
        turns = x.transpose(1, 2).unsqueeze(3) * speed + weights["periodic.phase"].unsqueeze(2)
        made = torch.cos(turns) @ weights["periodic.weight"]
        made = made + weights["periodic.bias"].unsqueeze(2)
        return torch.cat([made.transpose(1, 2), x.unsqueeze(3)], dim=3).flatten(2)

    def finished(self, weights: Mapping[str, Singles]) -> Arrays:
        """Return what predicting needs of the parameters."""
        arrays = {name: weights[name] for name in self.parameters()}
        speed = (2.0 * math.pi) * weights["periodic.frequency"].astype(np.float64)
        return arrays | {"periodic.frequency": speed.astype(np.float32)}

    def write(self, writer: Writer, arrays: Mapping[str, Array], x: Tensor) -> Tensor:
        """Write the embedding of numbers (n_rows, n): (n_rows, n * width)."""
        column = reshaped(writer, x, -1, self._n, 1)
        turns = writer.node("Mul", [column, weight(writer, arrays["periodic.frequency"])])
        turns = writer.node("Add", [turns, weight(writer, arrays["periodic.phase"])])
        waves = writer.node("Transpose", [writer.node("Cos", [turns])], {"perm": [1, 0, 2]})
        made = writer.node("MatMul", [waves, weight(writer, arrays["periodic.weight"])])
        made = writer.node("Transpose", [made], {"perm": [1, 0, 2]})
        made = writer.node("Add", [made, weight(writer, arrays["periodic.bias"])])
        joined = side_by_side(writer, [made, column], axis=2)
        return reshaped(writer, joined, -1, self._n * self.width)


class PiecewiseLinear:
    """Each number becomes a piecewise linear function of it, plus a linear one.

    Gorishniy et al. (2022), section 3.2, with bins from quantiles; the two parts are those of
    version B of the authors' package, used by Gorishniy et al. (2024), "TabM".

    Parameters
    ----------
    n_numbers : int
        Numbers to embed.
    bins : int
        Bins of each, at most.
    width : int
        Features that a number becomes.
    """

    def __init__(self, n_numbers: int, bins: int, width: int) -> None:
        self._n, self._bins, self.width = n_numbers, bins, width

    def parameters(self) -> dict[str, Parameter]:
        """Return what is learned, and the bins, which are not."""
        fixed = Parameter(shape=(self._n, self._bins), rate=0.0, decay=0.0)
        return {
            "piecewise.slope": fixed,
            "piecewise.shift": fixed,
            "piecewise.low": fixed,
            "piecewise.high": fixed,
            "piecewise.weight": Parameter(shape=(self._n, self._bins, self.width)),
            "piecewise.line": Parameter(shape=(self._n, self.width)),
            "piecewise.bias": Parameter(shape=(self._n, self.width), decay=0.0),
        }

    def initial(self, rng: np.random.Generator, x: Singles) -> Arrays:
        """Draw where the parameters start; the bins follow from numbers (n_rows, n)."""
        edges = [_edges(column, self._bins) for column in x.astype(np.float64).T]
        parts = np.stack([_pieces(each, self._bins) for each in edges], axis=1)
        return {
            "piecewise.slope": parts[0],
            "piecewise.shift": parts[1],
            "piecewise.low": parts[2],
            "piecewise.high": parts[3],
            "piecewise.weight": np.zeros((self._n, self._bins, self.width)),
            "piecewise.line": rng.uniform(-1.0, 1.0, size=(self._n, self.width)),
            "piecewise.bias": rng.uniform(-1.0, 1.0, size=(self._n, self.width)),
        }

    def forward(self, weights: Mapping[str, Any], x: Any) -> Any:
        """Embed numbers (n_members, n_rows, n): (n_members, n_rows, n * width)."""
        import torch

        slope, shift, low, high = (
            weights[f"piecewise.{name}"].detach().unsqueeze(2)
            for name in ("slope", "shift", "low", "high")
        )
        column = x.transpose(1, 2).unsqueeze(3)
        pieces = torch.minimum(torch.maximum(column * slope + shift, low), high)
        made = pieces @ weights["piecewise.weight"]
        line = column * weights["piecewise.line"].unsqueeze(2)
        made = made + line + weights["piecewise.bias"].unsqueeze(2)
        return made.transpose(1, 2).flatten(2)

    def finished(self, weights: Mapping[str, Singles]) -> Arrays:
        """Return what predicting needs of the parameters."""
        return {name: weights[name] for name in self.parameters()}

    def write(self, writer: Writer, arrays: Mapping[str, Array], x: Tensor) -> Tensor:
        """Write the embedding of numbers (n_rows, n): (n_rows, n * width)."""
        slope, shift, low, high, table, line, bias = (
            weight(writer, arrays[name]) for name in self.parameters()
        )
        column = reshaped(writer, x, -1, self._n, 1)
        pieces = writer.node("Add", [writer.node("Mul", [column, slope]), shift])
        pieces = writer.node("Min", [writer.node("Max", [pieces, low]), high])
        pieces = writer.node("Transpose", [pieces], {"perm": [1, 0, 2]})
        made = writer.node("MatMul", [pieces, table])
        made = writer.node("Transpose", [made], {"perm": [1, 0, 2]})
        made = writer.node("Add", [made, writer.node("Mul", [column, line])])
        return reshaped(writer, writer.node("Add", [made, bias]), -1, self._n * self.width)


_FAR = 1e9
"""In place of infinity."""
_DIGITS = 3
"""Of the edges of bins: scaled numbers lie within -3 … 3."""


def _edges(values: Array, bins: int) -> Array:
    """Return the edges of at most so many bins, each with about as many values.

    They are rounded, so that no bin is too narrow for single precision.
    """
    return np.unique(np.quantile(values, np.linspace(0.0, 1.0, bins + 1)).round(_DIGITS))


def _pieces(edges: Array, bins: int) -> Array:
    """Return slope, shift, least and greatest value of each bin, (4, bins); 0 for spare ones.

    A bin gives 0 below it, 1 above, and rises in between; the outermost go on rising.
    """
    parts = np.zeros((4, bins))
    widths = np.diff(edges)
    used = len(widths)
    parts[0, :used] = 1.0 / widths
    parts[1, :used] = -edges[:-1] / widths
    parts[3, :used] = 1.0
    if used:
        parts[2, 0] = -_FAR
        parts[3, used - 1] = _FAR
    return parts


class Categories:
    """Rows of one table for all codes; missing and unseen ones start as zeros.

    Parameters
    ----------
    codes : tuple of int
        Codes of each category (see ``inputs.InputShape``).
    width : int
        Features that a category becomes.
    """

    def __init__(self, codes: tuple[int, ...], width: int) -> None:
        self._codes, self.width = codes, width

    @property
    def size(self) -> int:
        """Features that all categories become."""
        return len(self._codes) * self.width

    def parameters(self) -> dict[str, Parameter]:
        """Return what is learned."""
        if not self._codes:
            return {}
        return {"categories.table": Parameter(shape=(sum(self._codes), self.width))}

    def initial(self, rng: np.random.Generator) -> Arrays:
        """Draw where the parameters start."""
        if not self._codes:
            return {}
        table = rng.normal(scale=self.width**-0.5, size=(sum(self._codes), self.width))
        table[np.cumsum((0, *self._codes[:-1]))] = 0.0
        return {"categories.table": table}

    def forward(self, weights: Mapping[str, Any], codes: Any) -> Any:
        """Look codes (n_members, n_rows, n) up: (n_members, n_rows, n, width)."""
        from automl_fuse_torch import layers

        return layers.looked_up(codes, weights["categories.table"])

    def finished(self, weights: Mapping[str, Singles]) -> Arrays:
        """Return what predicting needs of the parameters."""
        return {name: weights[name] for name in self.parameters()}

    def write(self, writer: Writer, arrays: Mapping[str, Array], codes: Tensor) -> Tensor:
        """Write the lookup of codes (n_rows, n): (n_rows, n, width)."""
        table = weight(writer, arrays["categories.table"])
        return writer.node("Gather", [table, codes], {"axis": 0})
