"""Sums, differences, products and quotients of two numbers."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from automl_fuse.specs import Array, Columns, FitContext, Floats, Matrix
from automl_fuse_encoders.base import unique_names
from automl_fuse_encoders.judging import Allowance, Judge, Slots, choose, most_telling, pairs_of
from automl_fuse_encoders.numeric import (
    FARTHEST,
    centre_and_factor,
    clip_to_onnx,
    side_by_side,
    squash,
    squash_to_onnx,
)
from automl_fuse_encoders.writing import beside, one_or_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from automl_fuse.specs import Graph, Tensor

__all__ = ["BOUND", "Arithmetic", "Feature", "ScaledArithmetic"]

BOUND: Final = 1e30
"""Results beyond ±1e30, infinite ones among them, are missing: learners in single precision
could not hold the largest, and a denominator next to zero says little."""

MAX_FEATURES = 12
MAX_COLUMNS = 10
"""With more columns than this, only those that tell most alone are combined."""
PARENT_BINS = 32
FEATURE_BINS = 16
"""Fewer than a parent has, so that a result that is nearly one parent tells nothing new."""
SHARE, SECONDS = 0.05, 2.0
"""Time for choosing, as a share of what is left and at most."""

_UFUNCS: Final[dict[str, np.ufunc]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
}
"""By the ONNX operator that does the same: each rounds as IEEE 754 says, so to equal bits."""
_SYMBOLS: Final = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/"}


class Feature(NamedTuple):
    """What is made of two columns."""

    operator: str
    left: str
    right: str


class Arithmetic:
    """Encoder ``arithmetic``: up to 12 sums, differences, products and quotients of columns.

    A feature is chosen for what it tells about the target beyond what all the columns that are
    combined tell, added up; one after the other, on a sample of at most 10,000 rows: see
    ``judging``. Without such features there are none. Which are chosen depends on the seed
    alone, unless time runs out.

    A missing operand gives a missing result, NaN. So do 0/0, and results beyond ±1e30, with
    them all other divisions by zero.

    Parameters
    ----------
    context : FitContext
        Its task, seed and deadline are used.
    """

    def __init__(self, context: FitContext) -> None:
        self.context = context

    def __getstate__(self) -> dict[str, object]:
        """Return what was fitted; the deadline belongs to this process."""
        return {name: value for name, value in vars(self).items() if name != "context"}

    def fit_transform(self, columns: Columns, y: Array, weight: Floats | None) -> Matrix:
        """Choose features, and return those of the training rows: the same as of any rows.

        ``y`` and ``weight`` are read to choose; the features are made of a row's own columns.
        """
        chosen = _chosen_features(self.context, columns, y, weight)
        # Equal operators lie side by side, so that each is applied once.
        self.features = sorted(chosen, key=lambda feature: list(_UFUNCS).index(feature.operator))
        self.names = unique_names(
            f"{left} {_SYMBOLS[operator]} {right}" for operator, left, right in self.features
        )
        return Matrix.numbers(self._results(columns), self.names)

    def transform(self, columns: Columns) -> Matrix:
        """Return the features of any rows."""
        return Matrix.numbers(self._results(columns), self.names)

    def _results(self, columns: Columns) -> Floats:
        blocks = [np.empty((columns.n_rows, 0))]
        for operator, left, right in self._operations():
            operands = (side_by_side(columns, names) for names in (left, right))
            blocks.append(_computed(operator, *operands))
        return np.hstack(blocks)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Write one operator a kind of feature, then what is missing.

        Comparing, unlike ``Clip``, treats NaN alike everywhere: it is not beyond the bound.
        """
        blocks = []
        for operator, left, right in self._operations():
            operands = [one_or_all(graph, columns, names) for names in (left, right)]
            blocks.append(graph.node(operator, operands))
        values = beside(graph, blocks)
        size = graph.node("Abs", [values])
        beyond = graph.node("Greater", [size, graph.constant(np.array(BOUND))])
        return graph.node("Where", [beyond, graph.constant(np.array(np.nan)), values])

    def _operations(self) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        """Return each operator with the columns on its left and on its right."""
        for operator, features in groupby(self.features, key=lambda feature: feature.operator):
            _, left, right = zip(*features, strict=True)
            yield operator, left, right


class ScaledArithmetic(Arithmetic):
    """Encoder ``scaled_arithmetic``: the features of ``arithmetic``, for learners of distances.

    Each is centred, scaled and squashed into ±3 as numbers are by ``scaled_numbers``; what is
    missing becomes 0, the median.

    Parameters
    ----------
    context : FitContext
        As for ``arithmetic``: the same features are chosen with the same seed.
    """

    def fit_transform(self, columns: Columns, y: Array, weight: Floats | None) -> Matrix:
        """Choose features, learn their medians and spreads, and return those of these rows."""
        raw = super().fit_transform(columns, y, weight).values
        fitted = [centre_and_factor(raw[:, k]) for k in range(raw.shape[1])]
        self.centre, self.factor = np.array(fitted, dtype=np.float64).reshape(-1, 2).T
        return self._scaled(raw)

    def transform(self, columns: Columns) -> Matrix:
        """Return the features of any rows."""
        return self._scaled(self._results(columns))

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Write the features, then how they are scaled; what is missing is filled last."""
        raw = super().to_onnx(graph, columns)
        centred = graph.node("Sub", [raw, graph.constant(self.centre)])
        scaled = graph.node("Mul", [centred, graph.constant(self.factor)])
        values = squash_to_onnx(graph, clip_to_onnx(graph, scaled))
        missing = graph.node("IsNaN", [raw])
        return graph.node("Where", [missing, graph.constant(np.array(0.0)), values])

    def _scaled(self, raw: Floats) -> Matrix:
        values = (raw - self.centre) * self.factor
        values[np.isnan(values)] = 0.0
        return Matrix.numbers(squash(np.clip(values, -FARTHEST, FARTHEST)), self.names)


def _computed(operator: str, left: Floats, right: Floats) -> Floats:
    """Apply an operator; NaN for results beyond the bound."""
    with np.errstate(all="ignore"):
        values: Floats = _UFUNCS[operator](left, right)
        values[np.abs(values) > BOUND] = np.nan
    return values


def _chosen_features(
    context: FitContext, columns: Columns, y: Array, weight: Floats | None
) -> Sequence[Feature]:
    """Return the features that tell more than their parents, best first."""
    allowance = Allowance(context.deadline, share=SHARE, most=SECONDS)
    judge = Judge.of(context, y, weight)
    sample = columns.take(judge.rows)
    cut = ((c.name, Slots.bins(sample.values[c.name], PARENT_BINS)) for c in sample.columns)
    varying = ((name, slots) for name, slots in cut if slots.n_used > 1)
    parents = most_telling(judge, varying, MAX_COLUMNS, allowance)
    judge.explain(list(parents.values()), allowance)
    candidates = _candidates(pairs_of(parents, sample), sample)
    return choose(judge, candidates, MAX_FEATURES, allowance)


def _candidates(
    pairs: Sequence[tuple[str, str]], sample: Columns
) -> Iterator[tuple[Feature, Slots]]:
    """Return what each pair of columns gives, as bins."""
    for one, other in pairs:
        ways = [Feature(operator, one, other) for operator in _UFUNCS]
        for feature in (*ways, Feature("Div", other, one)):
            left, right = sample.values[feature.left], sample.values[feature.right]
            yield feature, Slots.bins(_computed(feature.operator, left, right), FEATURE_BINS)
