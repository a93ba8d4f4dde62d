"""Categories as their mean target, out-of-fold for the training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import Array, Columns, FitContext, Floats, Matrix, Task
from automl_fuse_encoders.base import unique_names
from automl_fuse_encoders.lookup import FIRST_SLOT, Lookup, varying
from automl_fuse_encoders.writing import doubles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Graph, Tensor

__all__ = ["TargetMeans", "outputs_of", "shrunken_effects"]

N_FOLDS = 5
MAX_CLASSES = 10
"""With more classes than this, only the most frequent ones have features."""


class TargetMeans:
    """Encoder ``target``: how far the mean target of a category is from that of all rows.

    The mean is that of the probability of class 1, of each class (at most 10) for several
    classes, or of the target in regression. It is shrunk towards the mean of all rows, the
    prior, by an empirical Bayes rule: Micci-Barreca 2001, "A preprocessing scheme for
    high-cardinality categorical attributes", section 3. Departures: the variance within
    categories is pooled over them, so that a category with one row is shrunk too; the variance
    between them is the moment estimate of a one-way random-effects analysis of variance
    (Searle, Casella & McCulloch 1992, chapter 3); and the feature is the difference from
    the prior. So 0 stands for the prior, also for unseen categories.

    Training rows get features from the rows of the other four of five random folds. As a
    difference from the prior of those same rows, a fully shrunk category is 0 in every fold:
    with the prior left in, the feature would tell the fold, and with it the fold's own mean.
    Missing counts as a category.

    Parameters
    ----------
    context : FitContext
        Its task and seed are used.
    """

    def __init__(self, context: FitContext) -> None:
        self.task = context.task
        self.seed = context.seed

    def fit_transform(self, columns: Columns, y: Array, weight: Floats | None) -> Matrix:
        """Fit on all rows, and return out-of-fold features."""
        weight = np.ones(columns.n_rows) if weight is None else weight
        outputs, labels = outputs_of(self.task, y, weight)
        folds = np.random.default_rng(self.seed).permutation(columns.n_rows) % N_FOLDS
        tables: dict[str, Array] = {}
        blocks = [np.empty((columns.n_rows, 0))]
        for column, counts in varying(columns):
            slots = columns.values[column.name] + FIRST_SLOT
            sums = _Sums.of(slots, len(counts), folds, outputs, weight)
            tables[column.name] = sums.all_folds().effects()[0]
            blocks.append(sums.other_folds().effects()[folds, slots])
        self.lookup = Lookup.of(tables, np.empty((0, len(labels))))
        self.names = unique_names(
            f"{name} (target{label})" for name in self.lookup.names for label in labels
        )
        return Matrix.numbers(np.hstack(blocks), self.names)

    def transform(self, columns: Columns) -> Matrix:
        """Return features that all training rows stand behind."""
        values = self.lookup(columns)
        return Matrix.numbers(values.reshape(columns.n_rows, len(self.names)), self.names)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Write one gather from the effects of all columns."""
        return self.effects_to_onnx(graph, self.lookup.slots_to_onnx(graph, columns))

    def effects_to_onnx(self, graph: Graph, slots: Tensor) -> Tensor:
        """Return the features of positions in the table, int64 (n_rows, n_columns)."""
        table = self.lookup.table
        if table.shape[1] == 1:
            return graph.node("Gather", [doubles(graph, table[:, 0]), slots])
        effects = graph.node("Gather", [doubles(graph, table), slots])
        return graph.node("Flatten", [effects], {"axis": 1})


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """Sums over the rows of each slot: all that the effects are made of.

    Attributes
    ----------
    weight : array of shape (n_groups, n_slots)
        Weights.
    target : array of shape (n_groups, n_slots, n_outputs)
        Weighted targets.
    squares : array of shape (n_groups, 1, n_outputs)
        Weighted squared targets, over all slots.
    """

    weight: Floats
    target: Floats
    squares: Floats

    @classmethod
    def of(cls, slots: Array, n_slots: int, folds: Array, outputs: Floats, weight: Floats) -> _Sums:
        """Add up the rows of each fold and slot; there are as many groups as folds with rows."""
        n_folds = int(folds.max(initial=0)) + 1
        cells, n_cells = folds * n_slots + slots, n_folds * n_slots
        weighted = (outputs * weight[:, None]).T
        squared = (np.square(outputs) * weight[:, None]).T
        target = [_add_up(cells, each, n_cells) for each in weighted]
        squares = [_add_up(folds, each, n_folds) for each in squared]
        return cls(
            weight=_add_up(cells, weight, n_cells).reshape(n_folds, n_slots),
            target=np.stack(target, axis=-1).reshape(n_folds, n_slots, -1),
            squares=np.stack(squares, axis=-1)[:, None, :],
        )

    def all_folds(self) -> _Sums:
        """Return the sums over all folds, as one group."""
        return self._mix(np.ones((1, len(self.weight))))

    def other_folds(self) -> _Sums:
        """Return for each fold the sums over the others.

        They are added up, not subtracted from the whole: a category that only one fold has
        must be exactly empty for it.
        """
        return self._mix(1 - np.eye(len(self.weight)))

    def _mix(self, shares: Floats) -> _Sums:
        return _Sums(
            weight=shares @ self.weight,
            target=np.tensordot(shares, self.target, axes=1),
            squares=np.tensordot(shares, self.squares, axes=1),
        )

    def effects(self) -> Floats:
        """Return shrunk differences from the prior: (n_groups, n_slots, n_outputs).

        A slot's mean m, of weight w, becomes (m - prior) · w·b / (w·b + v), where v and b are
        the variances within and between the slots.
        """
        weight = self.weight[:, :, None]
        total = weight.sum(axis=1, keepdims=True)
        levels = np.count_nonzero(weight, axis=1, keepdims=True)
        prior = _ratio(self.target.sum(axis=1, keepdims=True), total)
        means = _ratio(self.target, weight)
        distance = np.where(weight > 0, means - prior, 0.0)
        around_means = self.squares - (weight * np.square(means)).sum(axis=1, keepdims=True)
        around_prior = (weight * np.square(distance)).sum(axis=1, keepdims=True)
        within = _ratio(np.maximum(around_means, 0.0), total - levels)
        size = total - _ratio(np.square(weight).sum(axis=1, keepdims=True), total)
        between = _ratio(around_prior - (levels - 1) * within, size)
        # Without repeated categories, nothing tells noise from effect.
        signal = np.where(total > levels, weight * np.maximum(between, 0.0), 0.0)
        return distance * _ratio(signal, signal + within)


def shrunken_effects(slots: Array, n_slots: int, outputs: Floats, weight: Floats) -> Floats:
    """Return how far the mean of each slot is from that of all rows, shrunk.

    Parameters
    ----------
    slots : int array of shape (n_rows,)
        The slot of each row, 0 … n_slots - 1.
    n_slots : int
        Number of slots, with those that no row is in: their effect is 0.
    outputs : array of shape (n_rows, n_outputs)
        What is averaged.
    weight : array of shape (n_rows,)
        Weights.

    Returns
    -------
    array of shape (n_slots, n_outputs)
    """
    one_fold = np.zeros(len(slots), dtype=np.int64)
    effects: Floats = _Sums.of(slots, n_slots, one_fold, outputs, weight).effects()[0]
    return effects


def _add_up(cells: Array, values: Floats, n_cells: int) -> Floats:
    """Add up the values of each cell."""
    return np.bincount(cells, values, n_cells).astype(np.float64, copy=False)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Divide, giving 0 where there is nothing to divide by."""
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole > 0)


def outputs_of(task: Task, y: Array, weight: Floats) -> tuple[Floats, tuple[str, ...]]:
    """Return the numbers to average (n_rows, n_outputs), and a label for each of them."""
    if task is not Task.MULTICLASS:
        return np.asarray(y, dtype=np.float64)[:, None], ("",)
    masses = np.bincount(y, weight)
    classes = np.sort(np.argsort(-masses, kind="stable")[:MAX_CLASSES])
    return (y[:, None] == classes).astype(np.float64), tuple(f" {code}" for code in classes)
