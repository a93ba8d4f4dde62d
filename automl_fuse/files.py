"""Files written whole or not at all, and still there after a loss of power."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.errors import DiskFullError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "cannot_write",
    "remove_leftovers",
    "remove_temporaries",
    "stream_whole",
    "sync_folder",
    "write_whole",
]

_FULL: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


def write_whole(path: Path, content: bytes, *parts: bytes, durable: bool = True) -> None:
    """Write a file under a temporary name, then give it its own.

    Parameters
    ----------
    path : Path
        The file; its folder is made if need be.
    content, parts : bytes
        What it is to hold, one after the other.
    durable : bool
        Whether it must survive a loss of power: it is on the disk when this returns.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left behind.
    """

    def write(stream: Any) -> None:
        for part in (content, *parts):
            stream.write(part)

    stream_whole(path, write, durable=durable)


def stream_whole(path: Path, write: Callable[[Any], None], *, durable: bool = True) -> None:
    """Do the same with a file whose content ``write`` puts into a binary stream.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path.name))
    try:
        with os.fdopen(descriptor, "wb") as stream:
            write(stream)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a loss of power, where the system can promise that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> RunError:
    """Return the error that says which file could not be written, and why."""
    kind = DiskFullError if error.errno in _FULL else RunError
    return kind(f"Cannot write {path}: {error.strerror or error}.")


def remove_leftovers(root: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote."""
    for path in root.rglob(".*"):
        # Somebody else may remove it first, or it may be a folder, which is none of ours.
        with contextlib.suppress(OSError):
            path.unlink()


def remove_temporaries(folder: Path, pid: int) -> None:
    """Remove what a process that was killed had not finished writing, in all folders below."""
    for path in folder.glob(f"**/{_prefix('*', pid)}*"):
        path.unlink(missing_ok=True)


def _prefix(name: str, pid: int | None = None) -> str:
    """Return how the temporary name of a file begins: it says who writes it."""
    return f".{name}.{os.getpid() if pid is None else pid}."
