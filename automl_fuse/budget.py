"""Wall clock and processors: the only module that reads either."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from automl_fuse.errors import SettingsError

MIN_SECONDS = 1.0


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Return the seconds since construction."""
        return time.perf_counter() - self._start


class Deadline:
    """A moment on this process's monotonic clock.

    Parameters
    ----------
    seconds : float
        Time from now; may be infinite.
    """

    def __init__(self, seconds: float) -> None:
        self._moment = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left, negative when it has passed."""
        return self._moment - time.monotonic()

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


def plan(limit: float, *, compress: bool = True) -> Plan:
    """Divide a time limit between search, fusion, compression and saving.

    Parameters
    ----------
    limit : float
        Seconds.
    compress : bool
        Whether smaller pipelines are wanted; if not, they get little time.

    Raises
    ------
    SettingsError
        If the limit is not a number of at least one second.
    """
    if not limit >= MIN_SECONDS:
        raise SettingsError(
            f"time_limit={limit!r} is not a time of at least {MIN_SECONDS:g} second: "
            "give seconds, for example time_limit=60."
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


def usable_cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
