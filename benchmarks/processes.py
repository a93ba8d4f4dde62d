"""Runs one command under a hard limit, with all the processes that it starts.

Some systems start daemons in sessions of their own (Ray) or worker pools that outlive a killed
parent. Where Linux's ``/proc`` exists, all descendants are found by a variable in their
environment: their memory is added up, and they are ended with the run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MARK = "AUTOML_FUSE_BENCHMARK"
PROC = Path("/proc")
SAMPLE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended.

    Attributes
    ----------
    code : int
        Exit status; negative where a signal ended it.
    timed_out : bool
        Whether it was killed at its hard limit.
    seconds : float
        How long it ran.
    peak_bytes : int or None
        Largest memory of all its processes together, sampled once a second, shared pages
        divided among those that share them; None where ``/proc`` does not tell.
    """

    code: int
    timed_out: bool
    seconds: float
    peak_bytes: int | None


def run(
    command: Sequence[str | Path],
    log: Path,
    limit: float,
    *,
    sample_seconds: float = SAMPLE_SECONDS,
    memory_of: Callable[[int], int] | None = None,
) -> Outcome:
    """Run a command; kill it and its descendants at the limit.

    Parameters
    ----------
    command : sequence of str or Path
        Program and arguments.
    log : Path
        Where standard output and error go; its folder is the working directory, since some
        libraries leave files there.
    limit : float
        Seconds.
    sample_seconds : float
        Between two looks at the memory.
    memory_of : callable, optional
        Bytes of a process, given its number; by default all, shared pages divided.

    Returns
    -------
    Outcome
        How it ended.
    """
    mark = uuid.uuid4().hex
    environment = {**os.environ, MARK: mark}
    start = time.monotonic()
    peak = 0
    timed_out = False
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=environment, cwd=log.parent
        )
        try:
            while process.poll() is None:
                held = sum(map(memory_of or _proportional_bytes, _marked(mark)))
                peak = max(peak, held)
                if time.monotonic() - start > limit:
                    timed_out = True
                    break
                _wait(process, sample_seconds)
        finally:
            _end(process, mark)
    return Outcome(
        code=process.wait(),
        timed_out=timed_out,
        seconds=time.monotonic() - start,
        peak_bytes=peak or None,
    )


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of a process, so long at most; return whether it ended."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """End the process if it still runs, and all its descendants."""
    if process.poll() is None:
        process.kill()
        process.wait()
    for _ in range(20):
        left = _marked(mark)
        if not left:
            return
        for identifier in left:
            _kill(identifier)
        time.sleep(0.1)


def _kill(identifier: int) -> bool:
    """Kill a process; return whether it was still there."""
    try:
        os.kill(identifier, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _marked(mark: str) -> list[int]:
    """Return the processes whose environment holds the mark."""
    wanted = f"{MARK}={mark}".encode()
    return [
        int(folder.name)
        for folder in (PROC.iterdir() if PROC.exists() else ())
        if folder.name.isdigit() and wanted in _content(folder / "environ")
    ]


def _proportional_bytes(identifier: int) -> int:
    """Return the memory of one process, shared pages divided; 0 if it is gone."""
    for line in _content(PROC / str(identifier) / "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _content(path: Path) -> bytes:
    """Return the bytes of a file of ``/proc``; none if its process is gone or another's."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
