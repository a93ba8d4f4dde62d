"""What several networks read of the same rows, side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from automl_fuse.specs import Array, Block, Floats, Tensor
    from automl_fuse_torch.inputs import Inputs
    from automl_fuse_torch.program import Writer

T = TypeVar("T")


def named(place: int, things: Mapping[str, T]) -> dict[str, T]:
    """Return what belongs to the network at a place, under names that say so."""
    return {f"part{place}.{name}": thing for name, thing in things.items()}


def of_part(place: int, things: Mapping[str, T]) -> dict[str, T]:
    """Return what belongs to the network at a place, under the names that it knows."""
    first = f"part{place}."
    return {n.removeprefix(first): thing for n, thing in things.items() if n.startswith(first)}


@dataclass(frozen=True)
class UnitedInputs:
    """The inputs of several networks.

    Attributes
    ----------
    parts : tuple of Inputs
        Those of each network, in terms of the features of all.
    """

    parts: tuple[Inputs, ...]

    @staticmethod
    def of(parts: Iterable[tuple[Inputs, Array]]) -> UnitedInputs:
        """Unite inputs.

        Parameters
        ----------
        parts : iterable of (Inputs, int array of shape (n_read,))
            Inputs, and where the features that they know stand among those of all.
        """
        return UnitedInputs(tuple(_moved(inputs, columns) for inputs, columns in parts))

    def tables(self, values: Floats) -> dict[str, Array]:
        """Return what the networks read of features (n_rows, n_features), equal tables once."""
        made: dict[str, Array] = {}
        for place, inputs in enumerate(self.parts):
            for name, table in inputs.tables(values).items():
                earlier = (made.get(f"part{before}.{name}") for before in range(place))
                same = (one for one in earlier if one is not None and np.array_equal(one, table))
                made[f"part{place}.{name}"] = next(same, table)
        return made

    def write(self, writer: Writer, features: Tensor) -> dict[str, Tensor]:
        """Write what the networks read."""
        written: dict[str, Tensor] = {}
        for place, inputs in enumerate(self.parts):
            written |= named(place, inputs.write(writer, features))
        return written


def _moved(inputs: Inputs, columns: Array) -> Inputs:
    """Return inputs whose features stand elsewhere."""
    return replace(
        inputs,
        columns=columns[inputs.columns],
        gaps=columns[inputs.gaps],
        flagged=columns[inputs.flagged],
        coded=columns[inputs.coded],
        blocks=tuple(
            tuple(_moved_block(block, columns) for block in group) for group in inputs.blocks
        ),
    )


def _moved_block(block: Block, columns: Array) -> Block:
    """Return a block elsewhere; its features still follow each other, as one encoder made them."""
    length = None if block.length is None else int(columns[block.length])
    return replace(block, start=int(columns[block.start]), length=length)
