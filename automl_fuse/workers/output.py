"""What a worker process prints: the last part of it, whatever the amount."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

__all__ = ["KEPT_BYTES", "Output"]

KEPT_BYTES: Final = 1_000_000
"""Of what one worker prints, at least so much is kept in its log, and at most twice that."""
_TAIL: Final = 2_000
"""Characters that the report shows of a worker that died."""
_READ_FOR_TAIL: Final = 20_000
_NOISE: Final = ("Extension modules: ", '  File "<frozen ')
"""Begins of lines, of which the fault handler writes thousands of characters that tell nothing."""
_CHUNK: Final = 1 << 16
_CUT: Final = b"[what was printed before this is left out]\n"
_PATIENCE: Final = 2.0
"""Seconds to wait for the end of a pipe whose writers have been killed."""


class Output:
    """Reads a worker's pipe into its log, of which the last part is kept.

    The pipe slows down a worker that prints faster than this reads, so that a flood can neither
    fill the disk nor the memory.

    Parameters
    ----------
    pipe : binary stream
        Standard output and error of the worker; it is closed at their end.
    path : Path
        The log; what it holds already is kept as if the worker had printed it.
    """

    def __init__(self, pipe: IO[bytes], path: Path) -> None:
        self._pipe = pipe
        self._path = path
        self._tail = b""
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def tail(self) -> str:
        """Return what was printed last."""
        lines = self._tail.decode(errors="replace").splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(_NOISE))[-_TAIL:]

    def finish(self) -> None:
        """Wait for the rest, once the worker has been killed."""
        self._thread.join(_PATIENCE)

    def _drain(self) -> None:
        is_kept = True
        with self._pipe:
            while chunk := os.read(self._pipe.fileno(), _CHUNK):
                self._tail = (self._tail + chunk)[-_READ_FOR_TAIL:]
                if is_kept:
                    is_kept = self._keep(chunk)

    def _keep(self, chunk: bytes) -> bool:
        """Append to the log; return whether that is possible: the disk may be full."""
        with contextlib.suppress(OSError):
            with self._path.open("ab") as log:
                log.write(chunk)
                size = log.tell()
            if size > 2 * KEPT_BYTES:
                last = self._path.read_bytes()[-KEPT_BYTES:]
                self._path.write_bytes(_CUT + last.partition(b"\n")[2])
            return True
        return False
