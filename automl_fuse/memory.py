"""Keeps the processes of a run within its memory limit.

Two bounds, for each does what the other cannot. The kernel refuses every worker private memory
beyond what the limit leaves beside the main process (``RLIMIT_DATA``, which does not count
mapped files): one enormous allocation fails in the line that asks for it, before a page of it is
touched. What workers hold together, children and shared memory included, no such limit can bound,
so that a thread sums it up ten times a second, more often where room is short, and ends the worker
that holds most.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from automl_fuse.budget import Stopwatch, usable_cores
from automl_fuse.errors import SettingsError
from automl_fuse.processes import HAS_PROC, belonging, end_group, proportional, resident

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from automl_fuse.specs import JobResult, Settings

__all__ = ["Guard", "Guarded", "MemoryGuard", "check_limit", "open_guard", "within_limit"]

MIN_SHARE: Final = 250_000_000
"""Bytes that a worker needs: the usual libraries take 150 MB of them."""
_GROWTH: Final = 50_000_000
"""Bytes that this process may come to hold from the choice of a number of workers to their start:
libraries of observers, and columns of objects as they are written for workers."""

_MARGIN: Final = 0.97
"""Share of the limit at which a worker is ended, for it grows on until it is gone."""
_PAUSE: Final = 0.1
"""Seconds, at most, between two looks at the workers."""
_FASTEST: Final = 5e9
"""Bytes a second that workers may come to hold: the less room is left, the sooner the next look."""
_SHORTEST_PAUSE: Final = 0.005
_LONGEST_SHARE: Final = 0.1
"""Share of the time that looking may take: the pause grows where the kernel is slow to answer."""
_LOOKS_BETWEEN_LISTINGS: Final = 10
"""Looks after which it is listed again which processes the workers have started."""
_STACKS: Final = 1_200_000_000
"""Bytes that libraries reserve for stacks of their threads and hardly touch, which the kernel
counts as private memory all the same: CatBoost 1.05 GB for two."""
_OUT_OF_MEMORY: Final = (
    "MemoryError",
    "bad_alloc",
    "Cannot allocate memory",
    "failed to map segment",
    "pthread_create has failed",
)


class Guarded(Protocol):
    """A worker process that leads a session of its own."""

    @property
    def pid(self) -> int:
        """Number of the process."""

    def end(self, cause: str) -> None:
        """End the process; its job, if it has one, fails because of ``cause``."""


def check_limit(limit: int) -> None:
    """Refuse a limit that cannot be held on this machine.

    Raises
    ------
    SettingsError
        If the machine does not tell what memory its processes hold.
    """
    if not HAS_PROC:
        raise SettingsError(
            f"memory_limit={limit} cannot be held here: only Linux tells, in /proc, what memory "
            "a process holds. Leave it out, and set a limit around the whole run instead."
        )


def within_limit(settings: Settings) -> Settings:
    """Return settings with no more worker processes than their memory limit leaves room for.

    A number of workers that the user gave is not changed.
    """
    limit = settings.memory_bytes
    if limit is None or settings.workers is not None or settings.executor != "processes":
        return settings
    check_limit(limit)
    left = int(_MARGIN * limit) - proportional(os.getpid()) - _GROWTH
    room = max(1, left // MIN_SHARE)
    return replace(settings, workers=room) if room < usable_cores() else settings


class Guard(Protocol):
    """What an executor asks of whoever looks after its workers' memory."""

    def confine(self, pid: int) -> None:
        """Hear of a worker that has been started."""

    def is_unfit(self, pid: int, error: str) -> bool:
        """Return whether a worker, its job done or failed by an error, must be replaced."""

    def explained(self, result: JobResult) -> JobResult:
        """Return the result of a job, its error completed."""

    def close(self) -> None:
        """Look no more; may be called twice."""


class NoGuard:
    """Lets workers hold what they like."""

    def confine(self, pid: int) -> None:
        """Leave the worker alone."""

    def is_unfit(self, pid: int, error: str) -> bool:  # noqa: ARG002 - protocol
        """Return that it is not."""
        return False

    def explained(self, result: JobResult) -> JobResult:
        """Return the result as it is."""
        return result

    def close(self) -> None:
        """Do nothing."""


def open_guard(
    limit: int | None, n_workers: int, workers: Callable[[], Sequence[Guarded]]
) -> Guard:
    """Return who holds workers to a limit, at work from now on; see ``MemoryGuard``."""
    return NoGuard() if limit is None else MemoryGuard(limit, n_workers, workers)


class MemoryGuard:
    """Holds the workers of a run, and this process, to a memory limit.

    Parameters
    ----------
    limit : int
        Bytes that all processes together may hold.
    n_workers : int
        Workers there will be.
    workers : callable
        Returns those that live now.

    Raises
    ------
    SettingsError
        If the limit leaves too little for so many workers.
    """

    def __init__(
        self, limit: int, n_workers: int, workers: Callable[[], Sequence[Guarded]]
    ) -> None:
        check_limit(limit)
        self._limit = limit
        self._bound = int(_MARGIN * limit)
        self._n_workers = n_workers
        self._workers = workers
        own = proportional(os.getpid())
        if self._bound - own < n_workers * MIN_SHARE:
            raise SettingsError(
                f"memory_limit={_text(limit)} is too little for {n_workers} workers of at least "
                f"{_text(MIN_SHARE)} beside this process, which holds {_text(own)}: give "
                f"{_text((own + n_workers * MIN_SHARE) / _MARGIN)}, or fewer workers."
            )
        self._most = self._bound - own
        self._families: Mapping[int, tuple[int, ...]] = {}
        self._looks = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="memory guard")
        self._thread.start()

    def close(self) -> None:
        """Stop looking; may be called twice."""
        self._ended.set()
        self._thread.join()

    def confine(self, pid: int) -> None:
        """Have the kernel refuse a worker what could never fit."""
        import resource

        with contextlib.suppress(ProcessLookupError):
            most = self._most + _STACKS
            resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))

    def is_unfit(self, pid: int, error: str) -> bool:
        """Return whether a worker lacked memory, or still holds more than its share.

        What an earlier job leaked, or only reserved, would else be held against a later one.
        """
        if _tells_lack(error):
            return True
        share = (self._bound - resident(os.getpid())) // self._n_workers
        return _sum(resident, belonging(frozenset([pid]))[pid]) > share

    def explained(self, result: JobResult) -> JobResult:
        """Return the result with what the limit had to do with its error, if it had."""
        if not _tells_lack(result.error):
            return result
        note = f"memory_limit={_text(self._limit)} leaves a worker {_text(self._most)} at most"
        return replace(result, error=f"{result.error.rstrip()} ({note})\n")

    def _watch(self) -> None:
        pause = _PAUSE
        while not self._ended.wait(pause):
            watch = Stopwatch()
            room = self._look()
            pause = max(
                _SHORTEST_PAUSE, min(_PAUSE, room / _FASTEST), watch.seconds() / _LONGEST_SHARE
            )

    def _look(self) -> int:
        """End the worker that holds most, if all hold too much; return the bytes left."""
        workers = {worker.pid: worker for worker in self._workers()}
        if self._looks % _LOOKS_BETWEEN_LISTINGS == 0 or workers.keys() != self._families.keys():
            self._families = belonging(frozenset(workers))
        self._looks += 1
        # First what is quickly read, and counts too much rather than too little.
        room = self._bound - self._held(resident)[1]
        if room >= 0:
            return room
        held, total = self._held(proportional)
        # By the pigeonhole principle the largest then exceeds an equal share; if this process
        # alone is beyond the limit, no worker is to blame.
        room = self._bound - total
        if room >= 0 or total - sum(held.values()) >= self._bound:
            return max(0, room)
        pid = max(held, key=lambda leader: held[leader])
        workers[pid].end(
            f"The worker process was ended for its memory: it held {_text(held[pid])}, and all "
            f"processes of the run {_text(total)}, too much for memory_limit={_text(self._limit)}."
        )
        for child in self._families[pid]:
            if child != pid:
                end_group(child)
        return 0

    def _held(self, reading: Callable[[int], int]) -> tuple[dict[int, int], int]:
        """Return the bytes of each worker with its children, and those of all processes."""
        held = {leader: _sum(reading, family) for leader, family in self._families.items()}
        return held, reading(os.getpid()) + sum(held.values())


def _tells_lack(error: str) -> bool:
    """Return whether memory was lacking: an error says so, or what a worker printed at its end."""
    last = error.strip().splitlines()[-2:]
    return any(words in line for line in last for words in _OUT_OF_MEMORY)


def _sum(reading: Callable[[int], int], pids: Iterable[int]) -> int:
    return sum(reading(pid) for pid in pids)


def _text(size: float) -> str:
    return f"{size / 1e9:.3g}GB" if size >= 1e9 else f"{size / 1e6:.3g}MB"
