"""Numbers: as they are for trees, scaled and filled for everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import Array, Columns, Floats, Matrix
from automl_fuse_encoders.base import Unsupervised, unique_names
from automl_fuse_encoders.writing import as_double, side_by_side_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Graph, Tensor

__all__ = [
    "FARTHEST",
    "Numbers",
    "Scale",
    "ScaledNumbers",
    "centre_and_factor",
    "clip_to_onnx",
    "squash",
    "squash_to_onnx",
]

FARTHEST = 1e6
"""Scaled values are cut here, so that infinities and huge values cannot overflow."""


class Numbers(Unsupervised):
    """Encoder ``numbers``: the values, NaN kept; columns without any value are left out."""

    def fit(self, columns: Columns) -> None:
        """Choose the columns that have a value."""
        self.names = tuple(
            c.name for c in columns.columns if not np.isnan(columns.values[c.name]).all()
        )

    def transform(self, columns: Columns) -> Matrix:
        """Return one feature a column, named like it."""
        return Matrix.numbers(side_by_side(columns, self.names), self.names)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Put the columns side by side."""
        return side_by_side_tensor(graph, columns, self.names)


class ScaledNumbers(Unsupervised):
    """Encoder ``scaled_numbers``: robust scaling, smooth clipping, missing as the median.

    A column that had missing values in training has a 0/1 feature ``name (missing)`` besides.
    Columns that do not vary in training have no feature of their own.
    """

    def fit(self, columns: Columns) -> None:
        """Learn medians and spreads."""
        self.scale = Scale.fit(columns)
        self.gaps = tuple(
            c.name for c in columns.columns if 0 < np.isnan(columns.values[c.name]).mean() < 1
        )
        self.names = unique_names([*self.scale.names, *(f"{name} (missing)" for name in self.gaps)])

    def transform(self, columns: Columns) -> Matrix:
        """Return scaled values within ±3, then the indicators of missing ones."""
        values = squash(self.scale.apply(columns))
        if self.gaps:
            missing = np.isnan(side_by_side(columns, self.gaps))
            values = np.hstack([values, missing])
        return Matrix.numbers(values, self.names)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Write both kinds of feature as one: an indicator is 0, and becomes 1 where missing.

        For that, its column is brought into 0 … 0 where others are brought into ±``FARTHEST``.
        """
        scale, gaps = self.scale, len(self.gaps)
        if not gaps:
            return scale.squashed_to_onnx(graph, columns)
        raw = side_by_side_tensor(graph, columns, scale.names + self.gaps)
        missing = graph.node("IsNaN", [raw])
        if not scale.names:
            return as_double(graph, missing)
        farthest = np.repeat([FARTHEST, 0.0], [len(scale.names), gaps])
        values = graph.node("Sub", [raw, graph.constant(np.append(scale.centre, np.zeros(gaps)))])
        factor = graph.constant(np.append(scale.factor, np.ones(gaps)))
        values = graph.node("Mul", [values, factor])
        values = graph.node("Max", [values, graph.constant(-farthest)])
        values = graph.node("Min", [values, graph.constant(farthest)])
        filler = graph.constant((farthest == 0).astype(np.float64))
        return graph.node("Where", [missing, filler, squash_to_onnx(graph, values)])


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Median and spread of each numeric column that varies.

    Attributes
    ----------
    names : tuple of str
        Columns that vary in training.
    centre, factor : array of shape (n_columns,)
        A value x becomes ``(x - centre) * factor``.
    """

    names: tuple[str, ...]
    centre: Floats
    factor: Floats

    @classmethod
    def fit(cls, columns: Columns) -> Scale:
        """Learn from the values that are neither missing nor infinite."""
        fitted = {c.name: centre_and_factor(columns.values[c.name]) for c in columns.columns}
        names = tuple(name for name, (_, factor) in fitted.items() if factor > 0)
        return cls(
            names=names,
            centre=np.array([fitted[name][0] for name in names], dtype=np.float64),
            factor=np.array([fitted[name][1] for name in names], dtype=np.float64),
        )

    def apply(self, columns: Columns) -> Floats:
        """Return scaled values (n_rows, n_columns), 0 where missing."""
        with np.errstate(over="ignore"):
            values = (side_by_side(columns, self.names) - self.centre) * self.factor
        values[np.isnan(values)] = 0.0
        return np.clip(values, -FARTHEST, FARTHEST, out=values)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Return scaled values in a graph: neither filled nor cut, unlike those of ``apply``."""
        raw = side_by_side_tensor(graph, columns, self.names)
        centred = graph.node("Sub", [raw, graph.constant(self.centre)])
        return graph.node("Mul", [centred, graph.constant(self.factor)])

    def squashed_to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Return ``squash(apply(columns))`` in a graph.

        What is missing is filled last: NaN passes all operators before.
        """
        missing = graph.node("IsNaN", [side_by_side_tensor(graph, columns, self.names)])
        values = squash_to_onnx(graph, clip_to_onnx(graph, self.to_onnx(graph, columns)))
        return graph.node("Where", [missing, graph.constant(np.array(0.0)), values])


def centre_and_factor(values: Floats) -> tuple[float, float]:
    """Return the median of a column and one over its spread, 0 if it does not vary.

    The spread is the distance of the quartiles; where they coincide, half the range. Source:
    Holzmüller, Grinsztajn & Steinwart 2024, "Better by default" (RealMLP), section 3,
    "robust scale".
    """
    known = np.sort(values[np.isfinite(values)])
    if not len(known):
        return 0.0, 0.0
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        low, first, median, third, high = _quartiles(known)
        spread = third - first if third > first else (high - low) / 2
        factor = 1 / spread
    usable = spread > 0 and np.isfinite(factor) and factor > 0 and np.isfinite(median)
    return (float(median), float(factor)) if usable else (0.0, 0.0)


def _quartiles(known: Floats) -> Floats:
    """Return the least, the three quartiles and the greatest of sorted values.

    As ``numpy.quantile`` does, but several times faster once they are sorted.
    """
    ranks = np.array((0, 0.25, 0.5, 0.75, 1)) * (len(known) - 1)
    below = ranks.astype(np.intp)
    above = np.minimum(below + 1, len(known) - 1)
    quartiles: Floats = known[below] + (known[above] - known[below]) * (ranks - below)
    return quartiles


def squash(values: Floats) -> Floats:
    """Clip smoothly into (-3, 3): x / sqrt(1 + (x / 3)²) (RealMLP, as above)."""
    clipped: Floats = values / np.sqrt(1 + np.square(values / 3))
    return clipped


def clip_to_onnx(graph: Graph, values: Tensor) -> Tensor:
    """Cut values at ±``FARTHEST`` in a graph."""
    limits = [graph.constant(np.array(limit)) for limit in (-FARTHEST, FARTHEST)]
    return graph.node("Clip", [values, *limits])


def squash_to_onnx(graph: Graph, values: Tensor) -> Tensor:
    """Return ``squash(values)`` in a graph."""
    third = graph.node("Div", [values, graph.constant(np.array(3.0))])
    square = graph.node("Mul", [third, third])
    length = graph.node("Sqrt", [graph.node("Add", [square, graph.constant(np.array(1.0))])])
    return graph.node("Div", [values, length])


def side_by_side(columns: Columns, names: tuple[str, ...]) -> Array:
    """Return the named columns as the columns of one array (n_rows, n_names)."""
    values = np.empty((columns.n_rows, len(names)))
    for position, name in enumerate(names):
        values[:, position] = columns.values[name]
    return values
