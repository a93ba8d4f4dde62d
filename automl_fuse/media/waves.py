"""RIFF WAVE files, read with the standard library and NumPy.

The module ``wave`` refuses what many programs write: floating-point samples, and before Python
3.12 the extensible header. The layout is that of Microsoft & IBM 1991, "Multimedia Programming
Interface and Data Specifications 1.0", section 3.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automl_fuse.specs import Array

_INTEGER: Final = 1
_FLOAT: Final = 3
_EXTENSIBLE: Final = 0xFFFE


def is_wave(content: bytes) -> bool:
    """Return whether bytes begin like a WAVE file."""
    return content[:4] == b"RIFF" and content[8:12] == b"WAVE"


def parse_wave(content: bytes) -> tuple[int, Array]:
    """Return the rate, in samples a second, and the samples (n_samples, n_channels) of a file.

    Samples are int16, int32, uint8 or floating point, each as the file holds them; of 24 bits,
    they are the upper ones of int32.

    Raises
    ------
    DataError
        If the file is damaged, or compressed.
    """
    layout, data = None, None
    for name, chunk in _chunks(content):
        if name == b"fmt " and layout is None:
            layout = chunk
        elif name == b"data" and data is None:
            data = chunk
    if layout is None or len(layout) < 16 or data is None:
        raise DataError("the WAVE file is damaged: it lacks a format or data")
    code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", layout)
    if code == _EXTENSIBLE and len(layout) >= 26:
        code = struct.unpack_from("<H", layout, 24)[0]
    if not channels or not rate:
        raise DataError(f"the WAVE file is damaged: {channels} channels, {rate} samples a second")
    samples = _samples(code, bits, data)
    whole = len(samples) // channels * channels
    return rate, samples[:whole].reshape(-1, channels)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the names and contents of chunks; the last may be cut short."""
    start = 12
    while start + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, start)
        yield name, content[start + 8 : start + 8 + size]
        start += 8 + size + size % 2


def _samples(code: int, bits: int, data: bytes) -> Array:
    types = {
        (_INTEGER, 8): "u1",
        (_INTEGER, 16): "<i2",
        (_INTEGER, 32): "<i4",
        (_FLOAT, 32): "<f4",
        (_FLOAT, 64): "<f8",
    }
    if (code, bits) == (_INTEGER, 24):
        parts = np.frombuffer(data[: len(data) // 3 * 3], dtype=np.uint8).reshape(-1, 3)
        wide = np.zeros((len(parts), 4), dtype=np.uint8)
        wide[:, 1:] = parts
        return wide.view("<i4")[:, 0]
    if (code, bits) not in types:
        raise DataError(
            f"the WAVE file holds samples of {bits} bits in encoding {code}: save it as PCM"
        )
    dtype = np.dtype(types[code, bits])
    return np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype=dtype)
