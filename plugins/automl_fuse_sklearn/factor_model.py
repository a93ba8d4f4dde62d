"""What a sampled factorisation predicts with: a line, and lookups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from automl_fuse.specs import Link, link_to_onnx, linked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Floats, Graph, Tensor
    from automl_fuse_sklearn.common import Scaler

    Singles: TypeAlias = NDArray[np.float32]

_DOUBLE: Final = 11
_INTEGER: Final = 7
"""Values of the attribute ``to`` of Cast."""
_FARTHEST: Final = 8.0
"""Beyond so many deviations a probability is 0 or 1."""
_SLOPE: Final = float(np.sqrt(8.0 / np.pi))
_CUBE: Final = 0.044715
"""Of the log-odds that stand for the normal distribution, which graphs lack: within 0.0004."""


@dataclass(frozen=True)
class Lookup:
    """Rows of a table by the codes of a feature.

    Attributes
    ----------
    feature : int
        Position of the feature.
    table : float32 array of shape (n_codes + 1, size)
        The first row is for missing and unseen.
    """

    feature: int
    table: Singles

    def __call__(self, values: Floats) -> Floats:
        """Return the rows (n_rows, size) for features (n_rows, n_features)."""
        found = self.table[slots(values[:, self.feature], len(self.table))]
        return found.astype(np.float64)

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write the same lookup, (n_rows, size)."""
        feature, lowest, highest, one = (
            graph.constant(np.array(value))
            for value in (self.feature, -1.0, len(self.table) - 2.0, 1)
        )
        code = graph.node("Gather", [features, feature], {"axis": 1})
        code = graph.node("Where", [graph.node("IsNaN", [code]), lowest, code])
        code = graph.node("Min", [graph.node("Max", [code, lowest]), highest])
        slot = graph.node("Add", [graph.node("Cast", [code], {"to": _INTEGER}), one])
        found = graph.node("Gather", [graph.constant(self.table), slot], {"axis": 0})
        return graph.node("Cast", [found], {"to": _DOUBLE})


def slots(codes: Floats, n_slots: int) -> NDArray[np.int64]:
    """Return the row of a table for each code: 0 for a missing one."""
    known = np.where(np.isnan(codes), -1.0, codes)
    return np.clip(known, -1.0, n_slots - 2.0).astype(np.int64) + 1


@dataclass(frozen=True)
class FactorModel:
    """A line of numbers, effects of categories, and the product of the vectors of two of them.

    Attributes
    ----------
    numbers : int array of shape (n_numbers,)
        Positions of the numbers.
    scaler : Scaler
        Applied to them first.
    line : float64 array of shape (n_numbers + 1,)
        Slopes, and the intercept.
    effects : tuple of Lookup
        Effects of categories, each of size 1.
    pair : tuple of Lookup
        Vectors of two categories, of one size; empty if there are no two.
    deviation : float or None
        Of the hidden target around its mean, whose sign tells the class; None in regression.
    """

    numbers: NDArray[np.int64]
    scaler: Scaler
    line: Floats
    effects: tuple[Lookup, ...]
    pair: tuple[Lookup, ...]
    deviation: float | None

    def predict(self, values: Floats) -> Floats:
        """Return probabilities (n_rows, 2), or values (n_rows, 1)."""
        score = self.scaler.transform(values[:, self.numbers]) @ self.line[:-1] + self.line[-1]
        for effect in self.effects:
            score += effect(values)[:, 0]
        if self.pair:
            left, right = (side(values) for side in self.pair)
            score += (left * right).sum(axis=1)
        column: Floats = score[:, None]
        if self.deviation is None:
            return column
        scaled = np.clip(column / self.deviation, -_FARTHEST, _FARTHEST)
        return linked(_SLOPE * (scaled + _CUBE * scaled**3), Link.LOGISTIC)

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write two lookups and their product, and what is added to it."""
        score = graph.constant(self.line[-1:][None])
        last = graph.constant(np.array([1]))
        if len(self.numbers):
            chosen = graph.node("Gather", [features, graph.constant(self.numbers)], {"axis": 1})
            scaled = self.scaler.to_onnx(graph, chosen)
            score = graph.node("Gemm", [scaled, graph.constant(self.line[:-1, None]), score])
        for effect in self.effects:
            score = graph.node("Add", [score, effect.to_onnx(graph, features)])
        if self.pair:
            left, right = (side.to_onnx(graph, features) for side in self.pair)
            product = graph.node("ReduceSum", [graph.node("Mul", [left, right]), last])
            score = graph.node("Add", [score, product])
        if self.deviation is None:
            return score
        return link_to_onnx(graph, self._log_odds(graph, score), Link.LOGISTIC)

    def _log_odds(self, graph: Graph, score: Tensor) -> Tensor:
        def number(value: float) -> Tensor:
            return graph.constant(np.array(value))

        scaled = graph.node("Div", [score, number(self.deviation or 1.0)])
        scaled = graph.node("Max", [scaled, number(-_FARTHEST)])
        scaled = graph.node("Min", [scaled, number(_FARTHEST)])
        cube = graph.node("Mul", [graph.node("Mul", [scaled, scaled]), scaled])
        cube = graph.node("Mul", [cube, number(_CUBE)])
        return graph.node("Mul", [graph.node("Add", [scaled, cube]), number(_SLOPE)])
