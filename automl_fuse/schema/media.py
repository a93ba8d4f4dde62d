"""Images, sounds and sequences converted, cell by cell, to the forms that encoders read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.errors import DataError
from automl_fuse.media import decode_image, decode_sound
from automl_fuse.schema.cells import first_present, shortened, unfit
from automl_fuse.specs import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from automl_fuse.specs import Array, Column, Floats

FARTHEST = 1e30
"""Numbers of sequences beyond ±1e30, infinite ones among them, are missing: learners in single
precision could not add them up."""
_ONE_ROW = "; a table of one row is a list with one dict, whose cells may be lists and arrays"
_EXPECTED = {
    Kind.IMAGE: "image bytes or the path of an image file",
    Kind.AUDIO: "audio bytes or the path of an audio file",
    Kind.SEQUENCE: "a list of numbers",
}


def to_images(column: Column, values: Array) -> Array:
    """Return each cell as ``media.decode_image`` does, None where missing."""
    return _decoded(column, values, decode_image)


def to_sounds(column: Column, values: Array) -> Array:
    """Return each cell as ``media.decode_sound`` does, None where missing."""
    return _decoded(column, values, decode_sound)


def to_sequences(column: Column, values: Array) -> Array:
    """Return each cell as an array (n_steps, n_channels), None where missing."""
    cells = _decoded(column, values, _sequence)
    n_channels = 0
    for row, cell in enumerate(cells):
        if cell is None or not len(cell):
            continue
        n_channels = n_channels or cell.shape[1]
        if cell.shape[1] != n_channels:
            raise DataError(
                f"column {column.name!r}, row {row}: a sequence of shape {cell.shape} among those "
                f"of {n_channels} channels; the shape is (steps, channels): transpose it if "
                "channels come first"
            )
    return cells


def _decoded(column: Column, values: Array, decode: Callable[[Any], Any]) -> Array:
    cells = np.full(len(values), None, dtype=object)
    first = first_present(values)
    if first < 0:
        return cells
    if values.dtype != object or isinstance(values[first], bool):
        wrong = unfit(column, first, values[first], _EXPECTED[column.kind])
        raise DataError(f"{wrong}{_ONE_ROW}")
    for row, cell in enumerate(values):
        if cell is None:
            continue
        try:
            cells[row] = decode(cell)
        except DataError as error:
            raise DataError(f"column {column.name!r}, row {row}: {error}") from error
    return cells


def _sequence(cell: object) -> Floats:
    """Return the numbers of one cell: (n_steps, n_channels)."""
    expected = "a list of numbers was expected, found"
    if not isinstance(cell, list | tuple | np.ndarray):
        raise DataError(f"{expected} {shortened(cell)}")
    try:
        # None becomes NaN.
        numbers = np.array(cell, dtype=np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise DataError(f"{expected} {shortened(cell)}: {error}") from error
    if not numbers.size:
        return np.empty((0, 1))
    if numbers.ndim > 2:
        raise DataError(f"{expected} an array of shape {numbers.shape}: at most (steps, channels)")
    numbers[np.abs(numbers) > FARTHEST] = np.nan
    return numbers.reshape(len(numbers), -1)
