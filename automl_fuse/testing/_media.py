"""Small images, sounds and sequences, made the same way every time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import Kind, Sound

if TYPE_CHECKING:
    from automl_fuse.specs import Array

MEDIA: Final = frozenset({Kind.IMAGE, Kind.AUDIO, Kind.SEQUENCE})
"""Kinds whose cells are made here."""
_RATE: Final = 1_000


def media_cells(kind: Kind, random: np.random.Generator, missing: Array) -> Array:
    """Return typed cells of unequal sizes, read-only, None where missing.

    Parameters
    ----------
    missing : bool array of shape (n_rows,)
        Rows without a cell.
    """
    cells = np.full(len(missing), None, dtype=object)
    for row in np.flatnonzero(~missing):
        cells[row] = _cell(kind, random)
    return cells


def _cell(kind: Kind, random: np.random.Generator) -> Any:
    if kind is Kind.IMAGE:
        height, width = random.integers(5, 9, size=2)
        return _fixed(random.integers(256, size=(height, width, 3)).astype(np.uint8))
    if kind is Kind.AUDIO:
        samples = random.normal(scale=0.1, size=random.integers(60, 200))
        return Sound(_RATE, _fixed(samples.astype(np.float32)))
    steps = random.normal(size=(random.integers(3, 20), 2)).cumsum(axis=0)
    steps[random.random(steps.shape) < 0.05] = np.nan
    return _fixed(steps)


def odd_cells(kind: Kind, cells: Array) -> Array:
    """Return cells that are missing, empty, tiny, long, flat, or of other types and numbers."""
    known = [cell for cell in cells if cell is not None][:2]
    odd: list[Any] = [None, *known]
    if kind is Kind.IMAGE:
        odd += [np.zeros((1, 1, 3), np.uint8), np.full((2, 40, 3), 255, np.uint8)]
        odd += [np.full((3, 3, 1), 7, np.uint8), np.full((4, 4, 3), -1e30, np.float32)]
    elif kind is Kind.AUDIO:
        rates = (_RATE, _RATE // 2, 16_000)
        odd += [Sound(rate, np.zeros(size, np.float32)) for rate in rates for size in (0, 1, 900)]
        odd += [Sound(_RATE, np.full(90, 1e30, np.float32))]
    else:
        odd += [np.empty((0, 1)), np.zeros((1, 2)), np.full((5, 2), np.nan)]
        odd += [np.full((300, 2), 1e30), np.arange(8.0).reshape(4, 2) * 1e-300]
    array = np.full(len(odd), None, dtype=object)
    for row, cell in enumerate(odd):
        array[row] = cell
    return array


def _fixed(array: Array) -> Array:
    """Return an array that nothing can change."""
    array.flags.writeable = False
    return array
