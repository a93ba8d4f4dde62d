"""What encoders and learners read: typed columns, features, rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, NamedTuple

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


class Sound(NamedTuple):
    """One cell of an ``AUDIO`` column.

    Attributes
    ----------
    rate : int
        Samples per second.
    samples : float32 array of shape (n_samples,)
        One channel; full scale is -1 to 1.
    """

    rate: int
    samples: NDArray[np.float32]


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
        ``datetime64[us]``, NaT where missing. The others are objects, None where missing.
        ``TEXT``: str. ``IMAGE``: arrays (height, width, channels), uint8 or float32, of one
        channel (grey) or more. ``AUDIO``: ``Sound``. ``SEQUENCE``: float64 arrays
        (n_steps, n_channels), NaN where a number is missing; all of a column have as many
        channels, but those of no steps.
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
class Block:
    """Features that belong together: one image, sound, sequence or text of each row.

    A network reshapes ``X.values[:, block.columns]`` to ``(n_rows, *shape)`` and gives it to a
    branch of its own; whoever does not look at blocks sees plain numbers.

    Attributes
    ----------
    column : str
        Name of the column that it was made from.
    kind : Kind
        ``IMAGE``, ``AUDIO``, ``SEQUENCE``, or ``TEXT`` for tokens.
    start : int
        Position of its first feature in the matrix; the others follow it.
    shape : tuple of int
        ``IMAGE``: (channels, height, width). ``AUDIO`` and ``SEQUENCE``: (n_steps, n_channels).
        ``TEXT``: (n_steps,). The last axis varies fastest.
    length : int or None
        Position of the feature that counts the steps of a row which are used, from 0 (missing)
        to ``n_steps``; the steps after them are 0. None if all are used.
    n_tokens : int
        ``TEXT``: values are codes 0 … n_tokens-1, of which 0 fills up; else 0.
    """

    column: str
    kind: Kind
    start: int
    shape: tuple[int, ...]
    length: int | None = None
    n_tokens: int = 0

    @property
    def size(self) -> int:
        """Number of features."""
        return prod(self.shape)

    @property
    def columns(self) -> slice:
        """Positions of the features in the matrix, without that of the length."""
        return slice(self.start, self.start + self.size)

    def moved(self, by: int) -> Block:
        """Return the block in a matrix in which it stands so many features farther right."""
        length = None if self.length is None else self.length + by
        return replace(self, start=self.start + by, length=length)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Encoded features: what learners read.

    Attributes
    ----------
    values : float64 array of shape (n_rows, n_features)
        NaN marks a missing value where the encoder leaves that to the learner; there is none
        in blocks. Double precision also there: it is one array and one tensor of the exported
        graph, and learners that know no blocks compare with thresholds in it.
    names : tuple of str
        One name a feature, unique.
    cardinalities : tuple of int
        0 for a number; k for a category, whose values are the codes 0 … k-1 (NaN for missing
        or unseen).
    blocks : tuple of Block
        Features that are parts of an image, a sound, a sequence or a text; none overlap.
    levels : tuple of tuple of str
        What the codes of each feature stand for, if that is told: the categories by code for a
        category, nothing for a number. Empty if it is not.
    """

    values: Floats
    names: tuple[str, ...]
    cardinalities: tuple[int, ...]
    blocks: tuple[Block, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()

    @property
    def categorical(self) -> tuple[int, ...]:
        """Positions of the features that hold category codes."""
        return tuple(i for i, k in enumerate(self.cardinalities) if k > 0)

    @property
    def plain(self) -> tuple[int, ...]:
        """Positions of the features that are in no block, nor the length of one."""
        taken = np.zeros(len(self.names), dtype=np.bool_)
        for block in self.blocks:
            taken[block.columns] = True
            if block.length is not None:
                taken[block.length] = True
        return tuple(np.flatnonzero(~taken).tolist())

    @staticmethod
    def numbers(values: Floats, names: Sequence[str], blocks: Sequence[Block] = ()) -> Matrix:
        """Wrap features that are all numbers."""
        return Matrix(
            values=values,
            names=tuple(names),
            cardinalities=(0,) * len(names),
            blocks=tuple(blocks),
        )

    @staticmethod
    def concatenate(parts: Sequence[Matrix], n_rows: int) -> Matrix:
        """Put matrices of the same rows side by side."""
        tables = [part.values for part in parts] or [np.empty((n_rows, 0))]
        values = tables[0] if len(tables) == 1 else np.hstack(tables)
        starts = np.cumsum([0, *(len(part.names) for part in parts)]).tolist()
        return Matrix(
            values=np.ascontiguousarray(values, dtype=np.float64),
            names=tuple(name for part in parts for name in part.names),
            cardinalities=tuple(k for part in parts for k in part.cardinalities),
            blocks=tuple(
                block.moved(start)
                for start, part in zip(starts, parts, strict=False)
                for block in part.blocks
            ),
            levels=_joined_levels(parts),
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


def _joined_levels(parts: Sequence[Matrix]) -> tuple[tuple[str, ...], ...]:
    """Return the levels of matrices side by side: empty if none of them tells any."""
    if not any(part.levels for part in parts):
        return ()
    return tuple(each for part in parts for each in part.levels or ((),) * len(part.names))
