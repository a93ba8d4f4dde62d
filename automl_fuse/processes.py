"""Processes of this machine, as Linux tells of them in ``/proc``."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "HAS_PROC",
    "MARK",
    "belonging",
    "end_group",
    "end_marked",
    "give_back",
    "identity",
    "is_alive",
    "marked",
    "proportional",
    "resident",
]

_PROC: Final = Path("/proc")
_SESSION, _START = 3, 19
"""Fields of ``/proc/PID/stat`` after the name: session, and start in clock ticks after boot."""

MARK: Final = "AUTOML_FUSE_WORKER"
"""Environment variable that tells a worker process, and all that it starts, from others."""
_ROUNDS: Final = 10
"""Looks, at most, for processes with a mark: those that are ended may have forked meanwhile."""

HAS_PROC: Final = (_PROC / "self" / "smaps_rollup").exists()
"""Whether this machine tells what memory a process holds."""


def identity() -> dict[str, Any]:
    """Return what tells this process from every other, also from a later one of its number."""
    pid = os.getpid()
    stat = _stat(pid)
    return {
        "pid": pid,
        "host": socket.gethostname(),
        "ticks": int(stat[_START]) if stat else None,
    }


def is_alive(process: Mapping[str, Any]) -> bool | None:
    """Return whether a process that ``identity`` described runs; None if that is elsewhere."""
    if process.get("host") != socket.gethostname():
        return None
    pid = int(process["pid"])
    if process.get("ticks") is not None:
        stat = _stat(pid)
        return stat is not None and int(stat[_START]) == process["ticks"] and stat[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def belonging(sessions: frozenset[int]) -> dict[int, tuple[int, ...]]:
    """Return the processes of each session: its leader, and what that has started or forked."""
    found: dict[int, list[int]] = {session: [] for session in sessions}
    for pid in _all():
        if (stat := _stat(pid)) is not None:
            session = int(stat[_SESSION])
            if session in found:
                found[session].append(pid)
    return {session: tuple(pids) for session, pids in found.items()}


def resident(pid: int) -> int:
    """Return the bytes that a process holds and the kernel cannot take back; 0 if it has ended.

    Pages of mapped files are left out: they are read again where memory is short. What several
    processes share, as after a fork, counts in each.
    """
    held = _numbers(_PROC / str(pid) / "status")
    return held.get("RssAnon", 0) + held.get("RssShmem", 0)


def proportional(pid: int) -> int:
    """Return the same with what is shared divided among its holders, so that it can be summed.

    The kernel walks all pages of the process for it: tens of milliseconds for many gigabytes.
    """
    held = _numbers(_PROC / str(pid) / "smaps_rollup")
    if "Pss_Anon" not in held:  # before Linux 5.9
        return held.get("Pss", 0)
    return held["Pss_Anon"] + held.get("Pss_Shmem", 0)


def give_back() -> None:
    """Give freed memory back to the system: the C library would keep that of the largest fit."""
    if sys.platform == "linux":
        import ctypes

        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # it is glibc's
            trim(0)


def end_group(pid: int) -> None:
    """End a process that leads its session, and what it has started, at once."""
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            os.kill(pid, signal.SIGTERM)
        else:
            os.killpg(pid, signal.SIGKILL)


def end_marked(mark: str, *, but: int = 0) -> None:
    """End all processes with this mark, also those that have left their session.

    Where there is no ``/proc``, or a process was started with another environment, nothing
    happens.

    Parameters
    ----------
    mark : str
        What ``MARK`` is for them, or begins with, before a dot; none if it is empty.
    but : int
        A process that is left alone.
    """
    for _ in range(_ROUNDS if mark and _PROC.is_dir() else 0):
        found = [pid for pid in marked(mark) if pid != but]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def marked(mark: str) -> list[int]:
    """Return the live processes with a mark, as for ``end_marked``."""
    wanted = f"\0{MARK}={mark}"
    return [
        pid for pid in _all() if any(f"{wanted}{end}" in _environment(pid) for end in ("\0", "."))
    ]


def _environment(pid: int) -> str:
    """Return the variables of a process, each between two NULs; of one that has ended, none."""
    return "\0" + _read(_PROC / str(pid) / "environ")


def _all() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208 - speed


def _numbers(path: Path) -> dict[str, int]:
    """Return the lines of a file that give kilobytes, in bytes."""
    rows = (line.split() for line in _read(path).splitlines())
    return {row[0][:-1]: 1_024 * int(row[1]) for row in rows if len(row) == 3 and row[2] == "kB"}


def _stat(pid: int) -> list[str] | None:
    """Return the fields after the name of a process, which may hold spaces and brackets."""
    content = _read(_PROC / str(pid) / "stat")
    return content.rpartition(")")[2].split() if content else None


def _read(path: Path) -> str:
    """Return a file of a process, empty if that has ended or is another user's."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":  # as ``automl_fuse.workers.sentinel`` runs it
    sys.stdin.read()
    end_marked(sys.argv[1])
