"""More rows for a student: copies of rows with some columns drawn anew, given the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import Columns, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Column, Floats

    Indices = NDArray[np.intp]

__all__ = ["augment", "paired"]

SHARE: Final = 0.25
"""Share of a row's columns that one copy draws anew, all from one other row."""
PARTITIONS: Final = 8
"""Sets of columns drawn anew in each round of copies; a row belongs to one of them."""
LEAF_ROWS: Final = 20
"""Rows of a neighbourhood, at least; fewer where the table is small."""
TREE_ROWS: Final = 10_000
"""Rows that one tree is grown on, at most; its leaves then hold all rows."""

_SPLITS_TRIED: Final = 32
_MAX_TARGETS: Final = 8
_MAX_CELLS: Final = 20_000_000
_MISSING: Final = -0.5
_REPEATS: Final = 5
"""Texts that occur this often on average are treated as categories."""


def augment(columns: Columns, copies: int, seed: int) -> tuple[Columns, Indices]:
    """Make rows near the given ones: unlabelled, for a teacher to label.

    Each copy of a row keeps most of its values; a random quarter of its columns (at least one)
    takes the values of one other row that is alike in the remaining columns. So the new values
    follow, approximately, their distribution given those that stay, and go together.

    Parameters
    ----------
    columns : Columns
        Columns of every kind. A value is taken over whole: integers stay integers, what is
        missing travels as a value. Columns that identify rows or never vary stay as they are.
    copies : int
        Copies of each row.
    seed : int
        Seed of every random choice.

    Returns
    -------
    columns : Columns
        ``copies * n_rows`` rows: first one copy of each row in order, then the next of each.
    source : array of shape (copies * n_rows,)
        The row of which each is a copy: the other one, where that gave all columns, as in a table
        of one. Whoever must not hear of a row leaves out what was made from it.

    Notes
    -----
    One round of the Gibbs sampling of Fakoor et al. 2020 ("Fast, Accurate, and Simple Models
    for Tabular Data via Augmented Distillation", section 4), with blocks of columns in place of
    single ones. In place of their network the conditional distribution is that in the leaves of
    a tree grown on the columns that stay, as in Reiter 2005 ("Using CART to generate partially
    synthetic public use microdata"); thresholds are random (Geurts et al. 2006, "Extremely
    randomized trees"), so that a tree takes milliseconds. Free text and objects have no order
    to grow a tree on: they are drawn with the other columns, but say nothing about them.
    """
    rng = np.random.default_rng(seed)
    n_rows = columns.n_rows
    source = np.tile(np.arange(n_rows), copies)
    values = {name: column[source] for name, column in columns.values.items()}
    drawable = [column.name for column in columns.columns if not column.kind.is_dropped]
    neighbours = _Neighbours(columns, drawable)
    if n_rows > 1 and drawable:
        hands = _hands(drawable, rng)
        for copy in range(copies):
            for rows in np.array_split(rng.permutation(n_rows), min(PARTITIONS, n_rows)):
                drawn = next(hands)
                donors = neighbours.draw(rows, drawn, rng)
                for name in drawn:
                    values[name][copy * n_rows + rows] = columns.values[name][donors]
                if len(drawn) == len(drawable):
                    source[copy * n_rows + rows] = donors
    return Columns(columns=columns.columns, values=values, n_rows=len(source)), source


def paired(source: Indices, is_told: NDArray[np.bool_]) -> tuple[Indices, Floats]:
    """Arrange rows in pairs of the same source, for learners that match a teacher's changes.

    Parameters
    ----------
    source : array of shape (n_rows,)
        What each row is, or was made from.
    is_told : array of bool of shape (n_rows,)
        Whether its label is the teacher's: others tell nothing about how the teacher changes.

    Returns
    -------
    order : array of int of shape (2 * n_pairs,)
        Position of a row for each place: that at place i and that at i + n_pairs are a pair.
        Rows of one source that are told are paired in the order given; what is left over, and
        what is not told, is paired with itself.
    share : array of shape (2 * n_pairs,)
        Share of its weight that a row has at a place: a half where it is paired with itself.
    """
    told = np.flatnonzero(is_told)
    told = told[np.argsort(source[told], kind="stable")]
    _, start, count = np.unique(source[told], return_index=True, return_counts=True)
    place = np.arange(len(told)) - np.repeat(start, count)
    first = np.flatnonzero((place % 2 == 0) & (place + 1 < np.repeat(count, count)))
    one, other = told[first], told[first + 1]
    single = np.setdiff1d(np.arange(len(source)), np.concatenate([one, other]))
    share = np.concatenate([np.ones(len(one)), np.full(len(single), 0.5)])
    order: Indices = np.concatenate([one, single, other, single])
    return order, np.tile(share, 2)


def _hands(names: list[str], rng: np.random.Generator) -> Iterator[list[str]]:
    """Deal the columns to draw, each as often as any other, from packs that are shuffled."""
    size = max(1, round(SHARE * len(names)))
    pack: list[str] = []
    while True:
        hand = pack[:size]
        if len(hand) < size:
            fresh = [names[i] for i in rng.permutation(len(names))]
            rest = [name for name in fresh if name not in hand]
            # What is still in hand goes back to the end of the new pack.
            pack = hand + rest + [name for name in fresh if name in hand]
            hand = pack[:size]
        pack = pack[size:]
        yield hand


class _Neighbours:
    """Finds, for rows, others that are alike in the columns that stay."""

    def __init__(self, columns: Columns, names: list[str]) -> None:
        self._n_rows = columns.n_rows
        described = {
            column.name: _described(column, columns.values[column.name])
            for column in columns.columns
            if column.name in set(names)
        }
        self._codes: Mapping[str, _Codes] = {
            name: codes for name, codes in described.items() if codes is not None
        }

    def draw(self, rows: Indices, drawn: list[str], rng: np.random.Generator) -> Indices:
        """Return for each row another one, at random from its leaf."""
        leaf = self._leaves(drawn, rng)
        order = np.argsort(leaf, kind="stable")
        position = np.empty_like(order)
        position[order] = np.arange(len(order))
        size = np.bincount(leaf)
        start = np.cumsum(size) - size
        mine = leaf[rows]
        # A step of at least one round the leaf never ends where it began.
        step = 1 + rng.integers(np.maximum(size[mine] - 1, 1))
        offset = (position[rows] - start[mine] + step) % size[mine]
        donors: Indices = order[start[mine] + offset]
        return donors

    def _leaves(self, drawn: list[str], rng: np.random.Generator) -> Indices:
        """Return the leaf of every row in a tree that predicts these columns from the others."""
        from sklearn.tree import ExtraTreeRegressor

        inputs = [name for name in self._codes if name not in drawn]
        targets = [name for name in self._codes if name in drawn] or inputs
        limit = max(32, _MAX_CELLS // self._n_rows)
        if len(inputs) > limit:
            inputs = [inputs[i] for i in np.sort(rng.choice(len(inputs), limit, replace=False))]
        if not inputs:
            return np.zeros(self._n_rows, dtype=np.intp)
        X = np.column_stack([self._codes[name].numbers(rng) for name in inputs])
        Y = np.column_stack([self._codes[name].numbers(rng) for name in targets])
        if Y.shape[1] > _MAX_TARGETS:
            Y = Y @ rng.normal(size=(Y.shape[1], _MAX_TARGETS)).astype(np.float32)
        grown_on = rng.permutation(self._n_rows)[:TREE_ROWS]
        share = len(grown_on) / self._n_rows
        tree = ExtraTreeRegressor(
            min_samples_leaf=max(5, round(share * _leaf_rows(self._n_rows))),
            max_features=min(_SPLITS_TRIED, len(inputs)),
            random_state=int(rng.integers(2**31)),
        )
        tree.fit(X[grown_on], Y[grown_on])
        leaves: Indices = tree.apply(X)
        return leaves


def _leaf_rows(n_rows: int) -> int:
    """Return the least rows of a leaf: a small table would otherwise have a handful of leaves."""
    return int(np.clip(round(np.sqrt(n_rows) / 2), 5, LEAF_ROWS))


@dataclass(frozen=True, kw_only=True)
class _Codes:
    """A column as a tree can read it: ranks in [0, 1], or codes of categories without order."""

    codes: Array
    n_categories: int = 0

    def numbers(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return (n_rows,) numbers; categories are put in a random order each time."""
        if self.n_categories == 0:
            return self.codes
        numbers: NDArray[np.float32] = rng.random(self.n_categories, dtype=np.float32)[self.codes]
        return numbers


def _described(column: Column, values: Array) -> _Codes | None:
    if column.kind is Kind.CATEGORY:
        return _categories(values)
    if column.kind is Kind.TEXT:
        return _categories(values) if _repeats(values) else None
    if values.dtype.kind in "fiub":
        return _Codes(codes=_ranks(values, np.isnan(values)))
    if values.dtype.kind == "M":
        return _Codes(codes=_ranks(values, np.isnat(values)))
    return None


def _categories(values: Array) -> _Codes:
    codes, n_categories = _factorised(values)
    return _Codes(codes=codes, n_categories=n_categories)


def _factorised(values: Any) -> tuple[Indices, int]:
    import pandas as pd

    codes, found = pd.factorize(values, use_na_sentinel=False)
    return codes.astype(np.intp, copy=False), len(found)


def _repeats(values: Array) -> bool:
    return _factorised(values)[1] * _REPEATS <= len(values)


def _ranks(values: Array, missing: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return mid-ranks in [0, 1], which no outlier stretches; below 0 where a value is missing."""
    ranks = np.full(len(values), _MISSING, dtype=np.float32)
    known = np.flatnonzero(~missing)
    if len(known):
        _, place, count = np.unique(values[known], return_inverse=True, return_counts=True)
        ranks[known] = ((np.cumsum(count) - count / 2) / len(known))[place]
    return ranks
