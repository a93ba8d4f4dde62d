"""Guesses at columns of lists, bytes or images."""

from __future__ import annotations

from typing import Any

import numpy as np

from automl_fuse.errors import DataError
from automl_fuse.schema.cells import shortened
from automl_fuse.schema.guesses import Guess, missing_note
from automl_fuse.specs import Kind

_IMAGE_BYTES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_AUDIO_BYTES = (b"fLaC", b"OggS", b"ID3", b"FORM", b"\xff\xfb")


def guess_objects(name: str, cells: list[Any], first: object) -> Guess:
    """Guess a column of objects from the first that is not missing."""
    # list.count would compare arrays with None, element by element.
    note = missing_note(sum(cell is None for cell in cells), len(cells))
    if isinstance(first, list | tuple | np.ndarray):
        pixels = isinstance(first, np.ndarray) and first.ndim > 1 and first.dtype == np.uint8
        kind = Kind.IMAGE if pixels else Kind.SEQUENCE
        what = "arrays of bytes with two or more dimensions" if pixels else "lists of numbers"
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
