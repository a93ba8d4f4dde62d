"""Images, sounds and sequences made up for the rows that a file carries.

Those of the training table would be given away: to shuffle a column hides who a text or a number
belongs to, but not whom a picture shows. What is made up has the shape of what was learned from,
and is written as anyone may give it: lists of numbers, and pairs of a rate and samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.schema import Schema
from automl_fuse.specs import Kind
from automl_fuse.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automl_fuse.specs import Array, Column, Floats, Sound

_LONGEST_SIDE: Final = 16
_SAMPLES: Final = (200, 1_200)
_LOUDEST: Final = 8_000
_STEPS: Final = (1, 40)
_LOOKED_AT: Final = 32
"""Cells of the training table whose range is imitated."""


def invented(kind: Kind, known: Array, n_cells: int, rng: np.random.Generator) -> list[Any]:
    """Return cells as JSON values.

    Parameters
    ----------
    kind : Kind
        One of ``INVENTABLE``.
    known : object array
        Typed cells of the training table, None where missing.
    n_cells : int
        Cells to make up; None if no cell is known.
    rng : Generator
        Where chance comes from.
    """
    present = [cell for cell in known if cell is not None][:_LOOKED_AT]
    if not present:
        return [None] * n_cells
    return [INVENTABLE[kind](present, rng) for _ in range(n_cells)]


def typed(column: Column, cells: list[Any]) -> Array:
    """Return cells as a table of them is read."""
    raw = np.fromiter(cells, dtype=object, count=len(cells))
    table = Table(columns={column.name: raw}, n_rows=len(cells))
    return Schema((column,)).convert(table).values[column.name]


def _image(known: list[Array], rng: np.random.Generator) -> list[Any]:
    shape = (*(min(side, _LONGEST_SIDE) for side in known[0].shape[:2]), known[0].shape[2])
    low, high = (float(f([f(image) for image in known])) for f in (np.min, np.max))
    pixels = low + rng.random(shape) * (high - low)
    if all(image.dtype == np.uint8 for image in known):
        pixels = np.round(pixels).astype(int)
    cell: list[Any] = _written(pixels)
    return cell


def _sound(known: list[Sound], rng: np.random.Generator) -> list[Any]:
    noise = rng.uniform(-_LOUDEST, _LOUDEST, int(rng.integers(*_SAMPLES)))
    fading = np.cumsum(noise) / np.sqrt(np.arange(1, len(noise) + 1))
    return [known[0].rate, np.round(fading).astype(int).tolist()]


def _sequence(known: list[Floats], rng: np.random.Generator) -> list[Any]:
    steps = np.concatenate([cell for cell in known if len(cell)] or [np.zeros((1, 1))])
    steps = np.nan_to_num(steps)
    shape = (int(rng.integers(*_STEPS)), steps.shape[1])
    cell: list[Any] = _written(steps.mean(axis=0) + steps.std(axis=0) * rng.normal(size=shape))
    return cell


def _written(numbers: Array) -> Any:
    """Return numbers as JSON values, in few digits."""
    if numbers.ndim:
        return [_written(part) for part in numbers]
    return int(numbers) if numbers.dtype.kind == "i" else float(f"{float(numbers):.6g}")


INVENTABLE: Final[Mapping[Kind, Callable[[list[Any], np.random.Generator], list[Any]]]] = {
    Kind.IMAGE: _image,
    Kind.AUDIO: _sound,
    Kind.SEQUENCE: _sequence,
}
"""What makes one cell of each kind, like those that are known."""
