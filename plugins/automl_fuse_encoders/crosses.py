"""Pairs of category columns, each as one category."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import Array, Column, Columns, FitContext, Floats, Kind, Matrix
from automl_fuse_encoders.base import unique_names
from automl_fuse_encoders.judging import Allowance, Judge, Slots, choose, most_telling, pairs_of
from automl_fuse_encoders.lookup import FIRST_SLOT, varying
from automl_fuse_encoders.target import TargetMeans
from automl_fuse_encoders.writing import side_by_side_tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from automl_fuse.specs import Graph, Tensor

__all__ = ["Crosses"]

MAX_PAIRS = 8
MAX_COLUMNS = 24
"""With more columns than this, only those that tell most alone are paired."""
MAX_CELLS = 20_000
"""Size of the table of a pair: it is kept for every combination of known categories."""
ROWS_PER_CELL = 2
"""Rows that a combination that occurs must have in the mean: with one each, all are noise."""
SHARE, SECONDS = 0.05, 2.0
"""Time for choosing, as a share of what is left and at most."""


class Crosses:
    """Encoder ``crosses``: up to 8 pairs of category columns, as ``target`` has single ones.

    A pair is chosen for what it tells about the target beyond its two columns alone, one after
    the other, on a sample of at most 10,000 rows: see ``judging``. Without such pairs there are
    no features. Missing counts as a category; what is unseen of either column is 0, the prior.
    Which pairs are chosen depends on the seed alone, unless time runs out.

    Parameters
    ----------
    context : FitContext
        Its task, seed and deadline are used.
    """

    def __init__(self, context: FitContext) -> None:
        self.context = context
        self.means = TargetMeans(context)

    def __getstate__(self) -> dict[str, object]:
        """Return what was fitted; the deadline belongs to this process."""
        return {name: value for name, value in vars(self).items() if name != "context"}

    def fit_transform(self, columns: Columns, y: Array, weight: Floats | None) -> Matrix:
        """Choose pairs, fit on all rows, and return out-of-fold features."""
        self.pairs = _chosen_pairs(self.context, columns, y, weight)
        features = self.means.fit_transform(_paired(self.pairs, columns), y, weight)
        lookup = self.means.lookup
        # Tables of pairs are large: rounded, they are stored in single precision.
        rounded = lookup.table.astype(np.float32).astype(np.float64)
        self.means.lookup = replace(lookup, table=rounded)
        return features

    def transform(self, columns: Columns) -> Matrix:
        """Return features that all training rows stand behind."""
        codes = {pair.name: pair.codes(columns) for pair in self.pairs}
        return self.means.transform(Columns(columns=(), values=codes, n_rows=columns.n_rows))

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Write the codes of all pairs as one integer product, and one gather of their effects."""
        names = list(dict.fromkeys(name for pair in self.pairs for name in pair.columns))
        factors = np.zeros((len(names), len(self.pairs)), dtype=np.int64)
        for position, pair in enumerate(self.pairs):
            factors[[names.index(name) for name in pair.columns], position] = pair.width, 1
        first = [FIRST_SLOT * (pair.width + 1) for pair in self.pairs]
        codes = side_by_side_tensor(graph, columns, names)
        joint = graph.node("MatMul", [codes, graph.constant(factors)])
        offsets = graph.constant(self.means.lookup.offsets + np.array(first))
        return self.means.effects_to_onnx(graph, graph.node("Add", [joint, offsets]))


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Two category columns as one.

    Attributes
    ----------
    columns : (str, str)
        Their names.
    width : int
        Slots of the second.
    size : int
        Slots of both, multiplied.
    name : str
        What the pair is called.
    """

    columns: tuple[str, str]
    width: int
    size: int
    name: str

    @classmethod
    def of(cls, first: Column, second: Column) -> _Pair:
        """Describe a pair."""
        width = _n_slots(second)
        return cls(
            columns=(first.name, second.name),
            width=width,
            size=_n_slots(first) * width,
            name=f"{first.name} & {second.name}",
        )

    def codes(self, columns: Columns) -> Array:
        """Return one code for both, 0 … size - 1; missing and unseen have codes too."""
        first, second = (columns.values[name] + FIRST_SLOT for name in self.columns)
        joint: Array = first * self.width + second
        return joint


def _n_slots(column: Column) -> int:
    return len(column.categories) + FIRST_SLOT


def _paired(pairs: tuple[_Pair, ...], columns: Columns) -> Columns:
    """Return the pairs as category columns."""
    described = (
        Column(name=p.name, kind=Kind.CATEGORY, reason="a pair", categories=("",) * p.size)
        for p in pairs
    )
    codes = {pair.name: pair.codes(columns) for pair in pairs}
    return Columns(columns=tuple(described), values=codes, n_rows=columns.n_rows)


def _chosen_pairs(
    context: FitContext, columns: Columns, y: Array, weight: Floats | None
) -> tuple[_Pair, ...]:
    """Return the pairs that tell more than their columns, best first, named uniquely."""
    allowance = Allowance(context.deadline, share=SHARE, most=SECONDS)
    judge = Judge.of(context, y, weight)
    sample = columns.take(judge.rows)
    described = {column.name: column for column, _ in varying(sample)}
    slots = (
        (name, Slots(values=sample.values[name] + FIRST_SLOT, size=_n_slots(column)))
        for name, column in described.items()
        if _n_slots(column) <= MAX_CELLS
    )
    told = most_telling(judge, slots, MAX_COLUMNS, allowance)
    pairs = [_Pair.of(described[a], described[b]) for a, b in pairs_of(told, sample)]
    pairs = [pair for pair in pairs if pair.size <= MAX_CELLS]
    parents = dict.fromkeys(name for pair in pairs for name in pair.columns)
    judge.explain([told[name] for name in parents], allowance)
    chosen = choose(judge, _candidates(pairs, sample), MAX_PAIRS, allowance)
    unique = unique_names(pair.name for pair in chosen)
    return tuple(replace(pair, name=name) for pair, name in zip(chosen, unique, strict=True))


def _candidates(pairs: list[_Pair], sample: Columns) -> Iterator[tuple[_Pair, Slots]]:
    """Return the pairs whose combinations occur more than once in the mean."""
    for pair in pairs:
        slots = Slots(values=pair.codes(sample), size=pair.size)
        if slots.n_used * ROWS_PER_CELL <= sample.n_rows:
            yield pair, slots
