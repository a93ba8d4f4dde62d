"""The body of a worker process: ``python -m automl_fuse.workers.serving RUNNER LEARNERS``."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import queue
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import joblib

from automl_fuse.processes import MARK, end_group, end_marked, give_back
from automl_fuse.run import RunDirectory
from automl_fuse.specs import JobResult
from automl_fuse.workers.wire import BEGUN, receive, send

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automl_fuse.specs import Job, Runner

_DONE: Final = object()
_LATE: Final = 4.0
"""Seconds after which a job that has not ended in time writes into the log where it is; some
later it is killed."""


def main(runner_path: str, proven: str) -> None:
    """Serve jobs from standard input until it closes.

    Parameters
    ----------
    runner_path : str
        File that holds what runs a job.
    proven : str
        Learners, separated by commas, whose libraries may be imported before a job asks for them.
    """
    faulthandler.enable()
    results = os.fdopen(os.dup(1), "wb")
    # Whatever a plugin prints goes to the log, never between results.
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_feed, args=(jobs,), daemon=True).start()
    path = Path(runner_path)
    RunDirectory(path.parent).seals.check(path)
    runner = joblib.load(path, mmap_mode="r")
    known = proven.split(",") if proven else []
    imports: Iterator[None] = runner.imports(known) if known else iter(())
    while True:
        job = _next_job(jobs, imports)
        _tell_if_late(job)
        _prepare(runner, job)
        send(results, BEGUN)
        _tell_if_late(job)
        result = _run(runner, job)
        faulthandler.cancel_dump_traceback_later()
        send(results, result)
        give_back()


def _prepare(runner: Any, job: Job) -> None:
    """Import what a job needs; one that cannot be imported fails again as the job runs."""
    with contextlib.suppress(Exception, SystemExit):
        getattr(runner, "prepare", lambda _job: None)(job)


def _run(runner: Runner, job: Job) -> JobResult:
    try:
        return runner(job)
    except (Exception, SystemExit):  # noqa: BLE001 - this process is there to bear it
        return JobResult(
            job=job,
            predictions=None,
            fit_seconds=0.0,
            predict_seconds=0.0,
            bytes=0,
            error=traceback.format_exc(),
        )


def _tell_if_late(job: Job) -> None:
    """Have a job that does not end in time write into the log where it is."""
    # A leak may have left no memory for the thread that this takes: the log then lacks that.
    with contextlib.suppress(RuntimeError):
        faulthandler.dump_traceback_later(max(job.seconds, 0.0) + _LATE)


def _next_job(jobs: queue.SimpleQueue[Any], imports: Iterator[None]) -> Any:
    """Return the next job; until it comes, import one by one what jobs will need.

    A worker that replaces a killed one would else spend its first seconds on that.
    """
    while jobs.empty() and next(imports, _DONE) is not _DONE:
        pass
    return jobs.get()


def _feed(jobs: queue.SimpleQueue[Any]) -> None:
    try:
        while (job := receive(sys.stdin.buffer)) is not None:
            jobs.put(job)
    except Exception:  # noqa: BLE001 - the process must not wait forever for an unreadable job
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    # The parent is gone or wants an end: leave at once, also in the middle of a fit, with all
    # that was forked.
    end_marked(os.environ.get(MARK, ""), but=os.getpid())
    end_group(os.getpid())
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
