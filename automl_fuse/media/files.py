"""Bytes of a cell: its own, or those of the file that it names."""

from __future__ import annotations

from pathlib import Path

from automl_fuse.errors import DataError


def content_of(cell: str | bytes | bytearray) -> bytes:
    """Return bytes as they are, and those of the file for a path.

    Raises
    ------
    DataError
        If the file does not exist, or cannot be read.
    """
    if not isinstance(cell, str):
        return bytes(cell)
    try:
        return Path(cell).expanduser().read_bytes()
    except FileNotFoundError as error:
        raise DataError(_not_found(cell)) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"the file {cell[:200]!r} cannot be read: {error}") from error


def _not_found(path: str) -> str:
    if Path(path).is_absolute():
        return f"the file {path[:200]!r} does not exist"
    return (
        f"the file {path[:200]!r} does not exist: paths are relative to the working directory, "
        f"{str(Path.cwd())!r}; run from the folder that they are relative to, or give whole paths"
    )


def shown(content: bytes) -> str:
    """Return the beginning of bytes as a message shows it."""
    return repr(content[:12])
