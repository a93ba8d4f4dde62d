"""A reader of UBJSON: where a file is mostly arrays of numbers, ten times as fast as JSON."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np

_INTEGERS: Final = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8"}
_NUMBERS: Final = {**_INTEGERS, b"d": ">f4", b"D": ">f8"}
_SCALARS: Final = {
    marker: struct.Struct(">" + code)
    for marker, code in {
        b"i": "b", b"U": "B", b"I": "h", b"l": "i", b"L": "q", b"d": "f", b"D": "d"
    }.items()
}  # fmt: skip
_CONSTANTS: Final = {b"T": True, b"F": False, b"Z": None}


def read_ubjson(content: bytes) -> Any:
    """Return what UBJSON of draft 12 holds.

    Objects become dicts, arrays lists, and arrays of one numeric type NumPy arrays that share
    memory with ``content``, in its byte order, which is not the machine's.

    Raises
    ------
    ValueError
        For a marker that is none of UBJSON's; for high-precision numbers, single characters
        and objects of one type, which XGBoost does not write.
    """
    return _Reader(content).value()


class _Reader:
    """Walks through the bytes once."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def value(self) -> Any:
        """Return the value that starts here."""
        marker = self._take(1)
        if marker == b"{":
            return self._object()
        if marker == b"[":
            return self._array()
        if marker == b"S":
            return self._text()
        if marker in _SCALARS:
            return self._scalar(marker)
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        raise ValueError(f"UBJSON: unknown marker {marker!r} at byte {self._at - 1}")

    def _object(self) -> dict[str, Any]:
        found = {}
        while self._content[self._at : self._at + 1] != b"}":
            name = self._text()
            found[name] = self.value()
        self._at += 1
        return found

    def _array(self) -> Any:
        marker = self._take(1)
        if marker == b"$":
            kind = self._take(1)
            if kind not in _NUMBERS or self._take(1) != b"#":
                raise ValueError(f"UBJSON: array of type {kind!r} at byte {self._at}")
            dtype, count = np.dtype(_NUMBERS[kind]), self._count()
            start, self._at = self._at, self._at + count * dtype.itemsize
            return np.frombuffer(self._content, dtype, count, start)
        if marker == b"#":
            return [self.value() for _ in range(self._count())]
        self._at -= 1
        found = []
        while self._content[self._at : self._at + 1] != b"]":
            found.append(self.value())
        self._at += 1
        return found

    def _text(self) -> str:
        return self._take(self._count()).decode()

    def _count(self) -> int:
        count = self._scalar(self._take(1))
        return int(count)

    def _scalar(self, marker: bytes) -> Any:
        form = _SCALARS[marker]
        (value,) = form.unpack_from(self._content, self._at)
        self._at += form.size
        return value

    def _take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        return self._content[start : self._at]
