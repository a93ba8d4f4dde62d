"""One worker process, seen from the process that gives it jobs."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import threading
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from automl_fuse.errors import RunError
from automl_fuse.processes import MARK, end_group, end_marked
from automl_fuse.specs import JobResult
from automl_fuse.workers.output import Output
from automl_fuse.workers.wire import BEGUN, receive, send

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from automl_fuse.run import RunDirectory
    from automl_fuse.specs import Job

__all__ = ["Worker", "started"]

_LAST_SECONDS: Final = 1.0
"""Seconds that a process which gives no more results has to end by itself."""


def started(
    command: Sequence[str], output: int, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, whose input is a pipe.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    output : int
        Where both of its outputs go: ``subprocess.PIPE`` or ``subprocess.DEVNULL``.
    env : mapping of str to str, optional
        Its environment; by default ours.

    Raises
    ------
    RunError
        If the system refuses another process.
    """
    try:
        return subprocess.Popen(  # noqa: S603 - a command of our own
            command,
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=env,
        )
    except OSError as error:
        raise RunError(
            f"A worker process cannot be started: {error.strerror or error}. Leave the machine "
            "more memory and processes, or take fewer workers."
        ) from error


class Worker:
    """One worker process, and the threads that read its results and its output.

    Parameters
    ----------
    number : int
        Its place among the workers, which names its log.
    run : RunDirectory
        Where the runner and the log are.
    n_threads : int
        Threads that a job may use.
    mark : str
        First part of its mark, which tells its processes from others.
    proven : sequence of str
        Learners whose libraries it may import while it waits.
    deliver : callable
        Is given each result, in a thread of its own.

    Raises
    ------
    RunError
        If the system refuses another process.
    """

    def __init__(
        self,
        number: int,
        run: RunDirectory,
        n_threads: int,
        mark: str,
        proven: Sequence[str],
        deliver: Callable[[JobResult], None],
    ) -> None:
        self.number = number
        self.job: Job | None = None
        self.has_begun = False
        self.is_dead = False
        self._killed = False
        self._reported = False
        self._unreadable = ""
        self._cause = ""
        self._dying = threading.Lock()
        self._deliver = deliver
        self.mark = f"{mark}.{secrets.token_hex(8)}"
        # -P: without it the working directory would come first on the import path.
        command = [sys.executable, "-P", "-m", "automl_fuse.workers.serving", str(run.runner)]
        self._process = started(
            [*command, ",".join(proven)],
            subprocess.PIPE,
            {**_environment(n_threads), MARK: self.mark},
        )
        assert self._process.stderr is not None  # noqa: S101 - opened as a pipe above
        self._output = Output(self._process.stderr, run.worker_log(number))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._bury, daemon=True).start()

    @property
    def pid(self) -> int:
        """Number of the process, which leads a session of its own."""
        return self._process.pid

    def output(self) -> str:
        """Return what it printed last."""
        return self._output.tail()

    def end(self, cause: str) -> None:
        """End the process; its job, if it has one, fails because of ``cause``."""
        self._cause = cause
        self._end_family()

    def send(self, job: Job) -> None:
        """Give the worker a job; if it is already dead, its reader thread reports that."""
        self.job, self.has_begun = job, False
        with contextlib.suppress(BrokenPipeError):
            send(self._process.stdin, job)
        if self.is_dead:
            self._report_death()

    def kill(self) -> None:
        """End the process without a result for its job."""
        self._killed = True
        self._end_family()
        self._process.wait()
        self._reader.join()
        self._output.finish()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _end_family(self) -> None:
        """End what it has forked too: a child that holds the pipe would keep the reader waiting."""
        if self._process.returncode is None:  # else its number may be another's by now
            end_group(self.pid)
        end_marked(self.mark)

    def _bury(self) -> None:
        """End what it leaves behind when it dies, which would keep its pipes open."""
        if hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):  # its end was waited for by ``kill``
                # Its number stays its own for as long as nobody has asked for its exit code.
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
                self._end_family()

    def _read(self) -> None:
        try:
            while (result := receive(self._process.stdout)) is not None:
                if result == BEGUN:
                    self.has_begun = True
                elif self.job is not None:
                    # Its copy of the job may have been written into.
                    self._deliver(replace(result, job=self.job))
        except Exception:  # noqa: BLE001 - unpickling may raise anything; the report shows it
            self._unreadable = traceback.format_exc()
            self._end_family()
        self.is_dead = True
        if not self._killed:
            self._report_death()

    def _report_death(self) -> None:
        """Give the job that died with the process its result, once."""
        with self._dying:
            job = self.job
            if job is None or self._reported:
                return
            self._reported = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            # It has closed its results: what it ends with tells more than that it was killed.
            self._process.wait(_LAST_SECONDS)
        self._end_family()
        code = self._process.wait()
        self._output.finish()
        cause = f"signal {-code}" if code < 0 else f"exit code {code}"
        error = f"Its last output:\n{self.output()}\nThe worker process ended with {cause}."
        if self._cause:
            error = f"Its last output:\n{self.output()}\n{self._cause}"
        if self._unreadable:
            error = f"The worker's result could not be read:\n{self._unreadable}"
        self._deliver(
            JobResult(
                job=job,
                predictions=None,
                fit_seconds=0.0,
                predict_seconds=0.0,
                bytes=0,
                error=error,
            )
        )


def _environment(n_threads: int) -> dict[str, str]:
    """Give workers this process's import path, and a bound on every thread pool."""
    threads = dict.fromkeys(
        (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "POLARS_MAX_THREADS",
        ),
        str(n_threads),
    )
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
    return {**os.environ, **threads, "PYTHONPATH": path}
