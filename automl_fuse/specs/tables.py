"""What encoders and learners read: typed columns, features, rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs.words import Array, Floats, Kind

MISSING_CODE = -1
"""Code of a missing category in typed columns."""
UNSEEN_CODE = -2
"""Code of a category that was not in the training table."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the schema.

    Attributes
    ----------
    name : str
        Name in the user's table.
    kind : Kind
        What the column holds.
    reason : str
        Why it was taken for that kind, in words for the user.
    categories : tuple of str
        Known categories in code order; empty unless ``kind`` is ``CATEGORY``.
    """

    name: str
    kind: Kind
    reason: str
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Typed columns of one table: what encoders read.

    Attributes
    ----------
    columns : tuple of Column
        Their descriptions, in table order.
    values : mapping of str to array of shape (n_rows,)
        ``NUMERIC`` and ``BOOLEAN``: float64, NaN where missing. ``CATEGORY``: int32 codes into
        ``Column.categories``, ``MISSING_CODE`` or ``UNSEEN_CODE``. ``DATETIME``:
        ``datetime64[us]``, NaT where missing. ``TEXT``: str objects, None where missing. Other
        kinds: objects.
    n_rows : int
        Number of rows, also when there are no columns.
    """

    columns: tuple[Column, ...]
    values: Mapping[str, Array]
    n_rows: int

    def select(self, kinds: frozenset[Kind]) -> Columns:
        """Return only the columns of these kinds, in the same order."""
        chosen = tuple(c for c in self.columns if c.kind in kinds)
        values = {c.name: self.values[c.name] for c in chosen}
        return Columns(columns=chosen, values=values, n_rows=self.n_rows)

    def take(self, rows: NDArray[np.intp]) -> Columns:
        """Return these rows, in the order given."""
        values = {name: column[rows] for name, column in self.values.items()}
        return Columns(columns=self.columns, values=values, n_rows=len(rows))


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Encoded features: what learners read.

    Attributes
    ----------
    values : float64 array of shape (n_rows, n_features)
        NaN marks a missing value where the encoder leaves that to the learner.
    names : tuple of str
        One name a feature, unique.
    cardinalities : tuple of int
        0 for a number; k for a category, whose values are the codes 0 … k-1 (NaN for missing
        or unseen).
    """

    values: Floats
    names: tuple[str, ...]
    cardinalities: tuple[int, ...]

    @property
    def categorical(self) -> tuple[int, ...]:
        """Positions of the features that hold category codes."""
        return tuple(i for i, k in enumerate(self.cardinalities) if k > 0)

    @staticmethod
    def numbers(values: Floats, names: Sequence[str]) -> Matrix:
        """Wrap features that are all numbers."""
        return Matrix(values=values, names=tuple(names), cardinalities=(0,) * len(names))

    @staticmethod
    def concatenate(parts: Sequence[Matrix], n_rows: int) -> Matrix:
        """Put matrices of the same rows side by side."""
        blocks = [part.values for part in parts] or [np.empty((n_rows, 0))]
        values = blocks[0] if len(blocks) == 1 else np.hstack(blocks)
        return Matrix(
            values=np.ascontiguousarray(values, dtype=np.float64),
            names=tuple(name for part in parts for name in part.names),
            cardinalities=tuple(k for part in parts for k in part.cardinalities),
        )


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Encoded rows with their target.

    Attributes
    ----------
    X : Matrix
        Features, of shape (n_rows, n_features).
    y : array of shape (n_rows,)
        Class codes 0 … n_classes-1 (int64), or standardised target values (float64).
    weight : float64 array of shape (n_rows,) or None
        Sample weights, positive, with mean 1.
    soft : float64 array of shape (n_rows, n_classes) or None
        Class probabilities to learn from in place of ``y``, in distillation; only given to
        learners whose spec says ``soft_labels``.
    """

    X: Matrix
    y: Array
    weight: Floats | None = None
    soft: Floats | None = None
