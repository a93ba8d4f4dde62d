"""A process that outlives this one, to end the workers if it is killed."""

from __future__ import annotations

import contextlib
import subprocess
import sys

from automl_fuse import processes
from automl_fuse.workers.process import started

__all__ = ["Sentinel"]


class Sentinel:
    """Ends all processes with a mark once this process has ended, however that came about.

    Workers end by themselves when their standard input does, but not while compiled code holds the
    interpreter, and a child that a plugin has forked knows nothing of it. The sentinel is a bare
    interpreter of a few megabytes.

    Parameters
    ----------
    mark : str
        Mark of the workers of one executor.

    Raises
    ------
    RunError
        If the system refuses another process.
    """

    def __init__(self, mark: str) -> None:
        self._process = started(
            # -I, -S: nothing is imported but the standard library.
            [sys.executable, "-I", "-S", processes.__file__, mark],
            subprocess.DEVNULL,
        )

    def close(self) -> None:
        """Have what is left ended now; may be called twice."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()
