"""Notices when further search does not raise the ensemble."""

from __future__ import annotations

from typing import Final

LEAST_GAIN: Final = 2e-4
"""Relative gain of the ensemble within a window, below which it is on a plateau: on rows that
chose nothing, less is left of it."""
MIN_MEMBERS: Final = 15
"""Members that must have been tried within a window: a few in vain say nothing."""


class Plateau:
    """The history of an ensemble's loss, and whether it has stopped falling.

    Parameters
    ----------
    window : float
        Seconds that are looked back; infinite if the search shall never be ended, 0 if any
        history is enough.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._history: list[tuple[float, float]] = []

    def record(self, seconds: float, loss: float) -> None:
        """Take note of the ensemble's loss after a member was tried, so many seconds in."""
        self._history.append((seconds, loss))

    def reached(self) -> bool:
        """Return whether the last window brought next to nothing, though enough was tried."""
        if not self._history:
            return False
        if self._window <= 0:
            return True
        now, loss = self._history[-1]
        before = [entry for entry in self._history if entry[0] <= now - self._window]
        if not before or len(self._history) - len(before) < MIN_MEMBERS:
            return False
        return before[-1][1] - loss < LEAST_GAIN * max(abs(before[-1][1]), 1e-12)
