"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then give it its own.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left behind.
    """
    with whole(path) as stream:
        stream.write(content)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be written under a temporary name; at the end it gets its own.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path.name))
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove_temporaries(folder: Path, pid: int) -> None:
    """Remove what a process that was killed had not finished writing, in all folders below."""
    for path in folder.glob(f"**/{_prefix('*', pid)}*"):
        path.unlink(missing_ok=True)


def _prefix(name: str, pid: int | None = None) -> str:
    """Return how the temporary name of a file begins: it says who writes it."""
    return f".{name}.{os.getpid() if pid is None else pid}."
