"""Categories as codes, ranks, one-hot columns and counts.

Every encoder here skips columns that do not vary in the training rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from automl_fuse.specs import Array, Column, Columns, Matrix
from automl_fuse_encoders.base import Unsupervised, unique_names
from automl_fuse_encoders.lookup import FIRST_SLOT, MISSING_SLOT, Lookup, varying
from automl_fuse_encoders.writing import as_double

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from automl_fuse.specs import Graph, Tensor

__all__ = ["AllCodes", "Codes", "Counts", "OneHot", "Ordinals"]

MAX_CODES = 255
"""Categories with a code of their own: what tree learners can bin natively, less "other"."""
MAX_ALL_CODES = 1_000_000
"""The same where all are to be told apart; exact in single precision."""
MAX_ONEHOT = 64
"""Categories of one column with a one-hot feature of their own."""
ROWS_PER_REQUIRED_COUNT = 5_000
"""A one-hot category must be in two rows, or in one row out of this many if that is more."""


class _LookedUp(Unsupervised):
    """Base of encoders whose features are what the tables hold."""

    lookup: Lookup

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Write one gather from the tables of all columns."""
        return self.lookup.to_onnx(graph, columns)


class Codes(_LookedUp):
    """Encoder ``codes``: category codes for trees that split on categories themselves.

    Only categories seen in the training rows have a code; missing and others are NaN. Of more
    than 255 the most frequent keep their own code, and the rest share the last one.
    """

    most: ClassVar[int] = MAX_CODES
    levels: tuple[tuple[str, ...], ...] = ()

    def fit(self, columns: Columns) -> None:
        """Give a code to each category that occurs."""
        tables, sizes, levels = {}, [], []
        for column, counts in varying(columns):
            tables[column.name] = _code_table(counts, self.most)
            sizes.append(int(np.nanmax(tables[column.name])) + 1)
            levels.append(_categories_by_code(column, tables[column.name]))
        self.levels = tuple(levels)
        self.lookup = Lookup.of(tables, np.empty(0, dtype=np.float32))
        self.cardinalities = tuple(sizes)

    def transform(self, columns: Columns) -> Matrix:
        """Return one categorical feature a column, named like it."""
        return Matrix(
            values=self.lookup(columns).astype(np.float64),
            names=self.lookup.names,
            cardinalities=self.cardinalities,
            levels=self.levels,
        )


class AllCodes(Codes):
    """Encoder ``all_codes``: the same for users, items and other categories of many levels.

    Up to a million categories have a code of their own.
    """

    most = MAX_ALL_CODES


class Ordinals(_LookedUp):
    """Encoder ``ordinals``: the rank of a category by frequency, for trees that need numbers.

    The most frequent category is 0; missing and unseen are NaN.
    """

    def fit(self, columns: Columns) -> None:
        """Rank the categories that occur."""
        tables = {column.name: _rank_table(counts) for column, counts in varying(columns)}
        self.lookup = Lookup.of(tables, np.empty(0, dtype=np.float32))
        self.names = unique_names(f"{name} (rank)" for name in self.lookup.names)

    def transform(self, columns: Columns) -> Matrix:
        """Return one number a column."""
        return Matrix.numbers(self.lookup(columns).astype(np.float64), self.names)


class Counts(_LookedUp):
    """Encoder ``counts``: log(1 + rows that hold the category in training), 0 if unseen.

    Missing is counted like a category.
    """

    def fit(self, columns: Columns) -> None:
        """Count the categories."""
        tables: dict[str, Array] = {
            column.name: np.log1p(counts) for column, counts in varying(columns)
        }
        self.lookup = Lookup.of(tables, np.empty(0))
        self.names = unique_names(f"{name} (count)" for name in self.lookup.names)

    def transform(self, columns: Columns) -> Matrix:
        """Return one number a column."""
        return Matrix.numbers(self.lookup(columns), self.names)


class OneHot(Unsupervised):
    """Encoder ``onehot``: a 0/1 feature for each category that is frequent enough.

    The rarer ones share ``name=(infrequent)``, which also takes unseen ones; where it does not
    exist, unseen is all zeros. Missing has a feature if it occurred in training. A column with
    only two levels has one feature, that of the second.
    """

    def fit(self, columns: Columns) -> None:
        """Choose the levels that have a feature."""
        tables: dict[str, Array] = {}
        labels: list[str] = []
        for column, counts in varying(columns):
            levels, table = _levels(column, counts, columns.n_rows)
            if len(levels) == 2:
                levels, table = levels[1:], table - 1
            table[table >= 0] += len(labels)
            tables[column.name] = table
            labels += [f"{column.name}={level}" for level in levels]
        self.lookup = Lookup.of(tables, np.empty(0, dtype=np.int32))
        self.names = unique_names(labels)

    def transform(self, columns: Columns) -> Matrix:
        """Return zeros and ones."""
        values = np.zeros((columns.n_rows, len(self.names)))
        positions = self.lookup(columns)
        known = positions >= 0
        rows, _ = np.nonzero(known)
        values[rows, positions[known]] = 1.0
        return Matrix.numbers(values, self.names)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Write a count of slots, several of which may count for one feature.

        TfIdfVectorizer counts which of a pool of integers a row has, in single precision, which
        is exact here. Unlike a comparison of each position with each feature it takes no
        longer for many features: in onnxruntime, a row of 8 columns and 512 features takes what
        a plain gather of 8 numbers does, and 1,000 rows a twentieth of what comparing takes.
        It refuses a table without rows.
        """
        slots = np.flatnonzero(self.lookup.table >= 0)
        counts = graph.node(
            "TfIdfVectorizer",
            [self.lookup.slots_to_onnx(graph, columns)],
            {
                "mode": "TF",
                "min_gram_length": 1,
                "max_gram_length": 1,
                "max_skip_count": 0,
                "ngram_counts": [0],
                "pool_int64s": slots.tolist(),
                "ngram_indexes": self.lookup.table[slots].tolist(),
            },
        )
        return as_double(graph, counts)


def _by_frequency(counts: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the slots of the categories that occur, most frequent first, ties in order."""
    categories = counts[FIRST_SLOT:]
    order = np.argsort(-categories, kind="stable")
    return order[: np.count_nonzero(categories)] + FIRST_SLOT


def _code_table(counts: NDArray[np.int64], most: int) -> Array:
    table = np.full(len(counts), np.nan, dtype=np.float32)
    slots = _by_frequency(counts)
    kept = np.sort(slots[:most])
    table[kept] = np.arange(len(kept))
    table[slots[most:]] = len(kept)
    return table


def _categories_by_code(column: Column, table: Array) -> tuple[str, ...]:
    """Return the category of each code of a table; empty for a code that several share."""
    codes = table[FIRST_SLOT:]
    known = np.flatnonzero(~np.isnan(codes))
    found = [""] * (int(np.nanmax(table)) + 1)
    shared = np.bincount(codes[known].astype(np.int64), minlength=len(found)) > 1
    for position in known.tolist():
        code = int(codes[position])
        found[code] = "" if shared[code] else column.categories[position]
    return tuple(found)


def _rank_table(counts: NDArray[np.int64]) -> Array:
    table = np.full(len(counts), np.nan, dtype=np.float32)
    slots = _by_frequency(counts)
    table[slots] = np.arange(len(slots))
    return table


def _levels(
    column: Column, counts: NDArray[np.int64], n_rows: int
) -> tuple[list[str], NDArray[np.int32]]:
    """Return the labels of the levels of a column, and each slot's level, -1 for none."""
    required = max(2, n_rows // ROWS_PER_REQUIRED_COUNT)
    slots = _by_frequency(counts)
    frequent = slots[:MAX_ONEHOT]
    frequent = np.sort(frequent[counts[frequent] >= required])
    labels = [column.categories[slot - FIRST_SLOT] for slot in frequent]
    table = np.full(len(counts), -1, dtype=np.int32)
    if len(slots) > len(frequent):
        table[:] = len(labels)
        labels.append("(infrequent)")
    table[frequent] = np.arange(len(frequent))
    table[MISSING_SLOT] = -1
    if counts[MISSING_SLOT]:
        table[MISSING_SLOT] = len(labels)
        labels.append("(missing)")
    return labels, table
