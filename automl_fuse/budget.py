"""Wall clock and processors: the only module that reads either."""

from __future__ import annotations

import math
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from automl_fuse.errors import SettingsError
from automl_fuse.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_SECONDS = 1.0
HURRY = 2.0
"""Seconds, at most, that each deadline gives which is set after a run was asked to end early."""


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def advance(self, seconds: float) -> None:
        """Count so many seconds more, which have passed elsewhere."""
        self._start -= seconds

    def seconds(self) -> float:
        """Return the seconds since construction, and those that were added."""
        return time.perf_counter() - self._start


class Stop:
    """A request that a run end early with what it has; every deadline of this process heeds it.

    A deadline that runs when the request is made is over at once, and those set afterwards are
    short: the stages that are left then do the least that gives a pipeline.
    """

    def __init__(self) -> None:
        self.moment = math.inf
        self.is_heeded = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Say that a run goes on which would end early, and take requests back at its end."""
        self.is_heeded = True
        try:
            yield
        finally:
            self.is_heeded = False
            self.moment = math.inf

    def request(self) -> None:
        """End early; a second request changes nothing."""
        self.moment = min(self.moment, time.monotonic())

    @property
    def is_requested(self) -> bool:
        """Whether the run is to end."""
        return self.moment < math.inf


STOP = Stop()
"""The one of this process: what asks for an end, a signal, is for the whole process too."""


class Deadline:
    """A moment on this process's monotonic clock; a request to stop brings it forward.

    Parameters
    ----------
    seconds : float
        Time from now; may be infinite.
    """

    def __init__(self, seconds: float) -> None:
        self._is_hurried = STOP.is_requested
        self._moment = time.monotonic() + (min(seconds, HURRY) if self._is_hurried else seconds)

    def remaining(self) -> float:
        """Return the seconds left, negative when it has passed."""
        moment = self._moment if self._is_hurried else min(self._moment, STOP.moment)
        return moment - time.monotonic()

    def expired(self) -> bool:
        """Return whether the moment has passed."""
        return self.remaining() <= 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a time limit is divided, in seconds from the start of the run.

    Attributes
    ----------
    limit : float
        All of it.
    search : float
        End of the search: no member is worked on after it.
    choose : float
        End of the choice among fusions.
    fuse : float
        End of fitting the chosen fusion.
    compress : float
        End of making smaller pipelines and of measuring them; what follows is saving.
    """

    limit: float
    search: float
    choose: float
    fuse: float
    compress: float

    def with_search_until(self, seconds: float) -> Plan:
        """Return the plan with its stages as long as they were, after a search that ended early."""
        earlier = self.search - seconds
        return Plan(
            limit=self.limit,
            search=seconds,
            choose=self.choose - earlier,
            fuse=self.fuse - earlier,
            compress=self.compress - earlier,
        )


def plan(limit: float | str, *, compress: bool = True) -> Plan:
    """Divide a time limit between search, fusion, compression and saving.

    Parameters
    ----------
    limit : float or str
        Seconds, or a time such as ``"8h"``.
    compress : bool
        Whether smaller pipelines are wanted; if not, they get little time.

    Raises
    ------
    SettingsError
        If the limit is not a time of at least one second.
    """
    limit = to_seconds(limit)
    if not limit >= MIN_SECONDS:
        raise SettingsError(
            f"time_limit={limit!r} is not a time of at least {MIN_SECONDS:g} second: "
            "give seconds, for example time_limit=60, or a time such as '8h'."
        )
    closing = min(max(0.2, 0.03 * limit), 60.0)
    compressing = min(max(0.3, (0.2 if compress else 0.06) * limit), 900.0)
    fitting = min(max(0.1, 0.02 * limit), 60.0)
    choosing = min(max(0.2, 0.035 * limit), 120.0)
    end = limit - closing
    fuse = end - compressing
    return Plan(
        limit=limit,
        search=max(0.1, fuse - fitting - choosing),
        choose=fuse - fitting,
        fuse=fuse,
        compress=end,
    )


def now() -> str:
    """Return the date and time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def seconds_since(moment: str) -> float:
    """Return the seconds since a moment that ``now`` told, on this or another machine."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def usable_cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
