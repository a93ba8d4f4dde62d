"""Signals: a first one ends a run early with the best it has, a second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.budget import STOP, Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Ending", "listening"]

_HEARD: Final = (signal.SIGINT, signal.SIGTERM)
_ONCE: Final = 0.5
"""Seconds within which a second signal is the first one again: ``timeout`` sends it to the
process and then to its group, and so do some supervisors."""
_MESSAGE: Final = b"\nautoml-fuse: ending with the best so far; once more ends at once\n"


class Ending:
    """How a command is asked to end.

    Attributes
    ----------
    code : int or None
        Exit code that the signal asks for: 128 and its number, as shells have it. None while
        there was none.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._watch = Stopwatch()

    def hear(self, number: int, _frame: Any) -> None:
        """Handle a signal.

        Raises
        ------
        SystemExit
            If there is no run yet, or no more, that could end early.
        """
        if self.code is not None and self._watch.seconds() < _ONCE:
            return
        if self.code is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.code = 128 + number
        self._watch = Stopwatch()
        if not STOP.is_heeded:
            os.write(2, b"\nautoml-fuse: interrupted\n")
            raise SystemExit(self.code)
        STOP.request()
        # Past the buffers, which the code that was interrupted may be writing to.
        os.write(2, _MESSAGE)


@contextmanager
def listening() -> Iterator[Ending]:
    """Hear SIGINT and SIGTERM; outside the main thread, which alone may, there is nothing to."""
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    before = {number: signal.signal(number, ending.hear) for number in _HEARD}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
