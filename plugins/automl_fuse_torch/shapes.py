"""What the shape of a network depends on, and what tells its inputs apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from automl_fuse.specs import Block, Kind

NUMBERS: Final = "numbers"
FLAGS: Final = "flags"
CODES: Final = "codes"

Group: TypeAlias = tuple["Block", ...]
"""Blocks that are read as one."""


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """What the shape of a branch depends on: see ``specs.Block``.

    Attributes
    ----------
    kind : Kind
        What it holds.
    shape : tuple of int
        Of one row.
    n_tokens : int
        Codes of a text, as a round number, so that the texts of all folds mostly have one shape.
    """

    kind: Kind
    shape: tuple[int, ...]
    n_tokens: int = 0

    @staticmethod
    def of(group: Group) -> BlockShape:
        """Return the shape of blocks that are read as one."""
        first = group[0]
        shape = first.shape
        if len(group) > 1:
            shape = (shape[0], sum(block.shape[1] for block in group))
        step = 1 << max(0, first.n_tokens.bit_length() - 3)
        n_tokens = -(-first.n_tokens // step) * step
        return BlockShape(kind=first.kind, shape=shape, n_tokens=n_tokens)


@dataclass(frozen=True, kw_only=True)
class InputShape:
    """How many of each kind there are: what the shape of a network depends on.

    Attributes
    ----------
    embedded : int
        Numbers of more than two values; the first of the numbers.
    plain : int
        Numbers of two values.
    flags : int
        Zeros and ones: missing numbers, and levels of categories of few levels.
    codes : tuple of int
        For each other category, its codes: 0 for missing and unseen, 1 … for its levels. Codes
        count on from one category to the next, so that all of them share one table.
    blocks : tuple of BlockShape
        Images, sounds, sequences and texts.
    """

    embedded: int
    plain: int
    flags: int
    codes: tuple[int, ...]
    blocks: tuple[BlockShape, ...] = ()

    @property
    def numbers(self) -> int:
        """How many numbers there are."""
        return self.embedded + self.plain

    @property
    def is_flat(self) -> bool:
        """Whether there is anything that is in no block."""
        return bool(self.numbers or self.flags or self.codes)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to learn from."""
        return not (self.is_flat or self.blocks)


@dataclass(frozen=True, kw_only=True)
class InputNames:
    """What each input is, in the order of the inputs: by it, two networks find what they share.

    Attributes
    ----------
    numbers : tuple of str
        Features.
    flags, codes : tuple of (str, str)
        A feature and its category, for each flag and each row of the shared table; ``MISSING``
        for a missing one, and empty for a category that is not told.
    """

    numbers: tuple[str, ...]
    flags: tuple[tuple[str, str], ...]
    codes: tuple[tuple[str, str], ...]

    @property
    def coded(self) -> tuple[str, ...]:
        """The features that are embedded."""
        return tuple(dict.fromkeys(feature for feature, _ in self.codes))


MISSING: Final = "\0missing"
