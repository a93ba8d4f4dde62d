"""Objects on a pipe: the pickle of each, after its length."""

from __future__ import annotations

import pickle
import struct
from typing import Any, BinaryIO, Final

__all__ = ["BEGUN", "receive", "send"]

BEGUN: Final = "begun"
"""What a worker sends before the result of a job, once the job's libraries are imported."""

_HEADER: Final = struct.Struct("!Q")


def send(stream: BinaryIO | Any, thing: object) -> None:
    """Write an object.

    Raises
    ------
    BrokenPipeError
        If nobody reads any more.
    """
    content = pickle.dumps(thing, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_HEADER.pack(len(content)) + content)
    stream.flush()


def receive(stream: BinaryIO | Any) -> Any:
    """Read what ``send`` wrote; None at the end of the stream."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    (length,) = _HEADER.unpack(header)
    content = stream.read(length)
    return pickle.loads(content) if len(content) == length else None
