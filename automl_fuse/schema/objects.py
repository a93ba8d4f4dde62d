"""Guesses at columns of lists, bytes or images."""

from __future__ import annotations

from typing import Any

import numpy as np

from automl_fuse.errors import DataError
from automl_fuse.media import is_pair
from automl_fuse.schema.cells import shortened
from automl_fuse.schema.guesses import Guess, missing_note
from automl_fuse.specs import Kind

_IMAGE_BYTES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_MOST_CHANNELS = 16
_AUDIO_BYTES = (b"fLaC", b"OggS", b"ID3", b"FORM", b"\xff\xfb")


def guess_objects(name: str, cells: list[Any], first: object) -> Guess:
    """Guess a column of objects from the first that is not missing."""
    # list.count would compare arrays with None, element by element.
    note = missing_note(sum(cell is None for cell in cells), len(cells))
    if isinstance(first, list | tuple | np.ndarray):
        kind, what = _guess_arrays([cell for cell in cells if cell is not None])
        return Guess(kind, what + note)
    if isinstance(first, bytes | bytearray):
        head = bytes(first[:12])
        if head.startswith(_IMAGE_BYTES) or (head[:4] == b"RIFF" and head[8:] == b"WEBP"):
            return Guess(Kind.IMAGE, "bytes of image files" + note)
        if head.startswith(_AUDIO_BYTES) or (head[:4] == b"RIFF" and head[8:] == b"WAVE"):
            return Guess(Kind.AUDIO, "bytes of audio files" + note)
        raise DataError(
            f"column {name!r} holds bytes such as {shortened(first)}, neither an image nor audio: "
            "decode them to text, or drop the column"
        )
    if type(first).__module__.startswith("PIL."):
        return Guess(Kind.IMAGE, "images" + note)
    raise DataError(f"column {name!r} holds {type(first).__name__} objects: drop it")


def _guess_arrays(cells: list[Any]) -> tuple[Kind, str]:
    """Guess what lists and arrays hold, none of them missing."""
    if all(map(is_pair, cells)):
        return Kind.AUDIO, "pairs of a rate and samples"
    dtypes = {cell.dtype if isinstance(cell, np.ndarray) else None for cell in cells}
    shapes = [np.shape(cell) for cell in cells] if None not in dtypes else []
    dimensions = set(map(len, shapes))
    if dimensions == {3}:
        return Kind.IMAGE, "arrays of three dimensions"
    if dimensions == {2} and dtypes == {np.dtype(np.uint8)}:
        heights, widths = (set(sizes) for sizes in zip(*shapes, strict=True))
        # Steps of a few channels each look the same, but are not all as many.
        if not (len(heights) > 1 and len(widths) == 1 and min(widths) <= _MOST_CHANNELS):
            return Kind.IMAGE, "arrays of bytes with two or more dimensions"
    return Kind.SEQUENCE, "lists of numbers"
