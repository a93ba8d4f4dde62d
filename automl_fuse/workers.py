"""Where trials run: in this process, or in worker processes that can be killed.

A worker process is a fresh interpreter (``python -m automl_fuse.workers``), not a fork, so that
thread pools of the user's process do not matter and the user's script needs no ``__main__``
guard. Jobs and results are pickles on the worker's pipes; the training data are a file that
all workers map into memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
import traceback
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import joblib

from automl_fuse.errors import SettingsError
from automl_fuse.features import forget_features
from automl_fuse.memory import open_guard
from automl_fuse.processes import end_group
from automl_fuse.run import RunDirectory
from automl_fuse.specs import JobResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from automl_fuse.inventory import Plugins
    from automl_fuse.specs import Executor, ExecutorContext, Job, Runner

_HEADER = struct.Struct("!Q")
_LOG_TAIL = 2_000
_DONE = object()


class InlineExecutor:
    """Runs jobs in this process, one at a time, when their results are asked for.

    A job that does not end cannot be stopped: choose worker processes where that matters.

    Parameters
    ----------
    runner : callable
        Runs a job.
    run : RunDirectory, optional
        Where the runner keeps features, which are removed at the end.
    """

    def __init__(self, runner: Runner, run: RunDirectory | None = None) -> None:
        self._runner = runner
        self._run = run
        self._jobs: deque[Job] = deque()

    @property
    def idle(self) -> int:
        """Number of jobs that would start at once if submitted now."""
        return 0 if self._jobs else 1

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._jobs.append(job)

    def collect(self, timeout: float) -> Sequence[JobResult]:  # noqa: ARG002 - protocol
        """Run the next job and return its result; ``timeout`` cannot cut it short."""
        return [self._runner(self._jobs.popleft())] if self._jobs else []

    def cancel(self, job: Job) -> None:
        """Forget a queued job."""
        with contextlib.suppress(ValueError):
            self._jobs.remove(job)

    def close(self) -> None:
        """Forget all queued jobs."""
        self._jobs.clear()
        if self._run is not None:
            forget_features(self._run)


class ProcessExecutor:
    """Runs each job in one of several worker processes, and replaces those that die.

    Parameters
    ----------
    context : ExecutorContext
        Runner, number of workers, threads of each.
    run : RunDirectory
        Where the runner and the workers' output are kept.
    """

    def __init__(self, context: ExecutorContext, run: RunDirectory) -> None:
        self._n_threads = context.n_threads
        self._run = run
        self._waiting: deque[Job] = deque()
        self._results: queue.SimpleQueue[JobResult] = queue.SimpleQueue()
        shared = getattr(context.runner, "shared", None)
        runner = context.runner if shared is None else shared()
        run.seals.stream(run.runner, partial(joblib.dump, runner))
        run.worker_log(0).parent.mkdir(parents=True, exist_ok=True)
        self._workers: list[_Worker] = []
        self._guard = open_guard(context.memory_limit, context.n_workers, lambda: [*self._workers])
        self._workers = [self._start(number) for number in range(context.n_workers)]

    @property
    def idle(self) -> int:
        """Number of jobs that would start at once if submitted now."""
        return sum(worker.job is None for worker in self._workers)

    def submit(self, job: Job) -> None:
        """Start a job on an idle worker, or queue it."""
        self._waiting.append(job)
        self._dispatch()

    def collect(self, timeout: float) -> Sequence[JobResult]:
        """Wait up to ``timeout`` seconds for results, and return those that are there."""
        results = []
        with contextlib.suppress(queue.Empty):
            results.append(self._results.get(timeout=max(timeout, 0.0)))
            while True:
                results.append(self._results.get_nowait())
        for result in results:
            self._release(result.job)
        self._dispatch()
        return results

    def cancel(self, job: Job) -> None:
        """Kill the worker that runs the job and start another in its place."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(job)
        for position, worker in enumerate(self._workers):
            if worker.job == job:
                self._replace(position)
        self._dispatch()

    def close(self) -> None:
        """Kill all workers, and remove the features that they shared."""
        self._guard.close()
        self._waiting.clear()
        for worker in self._workers:
            worker.kill()
        self._workers = []
        forget_features(self._run)

    def _start(self, number: int) -> _Worker:
        worker = _Worker(number, self._run, self._n_threads, self._deliver)
        self._guard.confine(worker.pid)
        return worker

    def _deliver(self, result: JobResult) -> None:
        self._results.put(self._guard.explained(result))

    def _release(self, job: Job) -> None:
        for position, worker in enumerate(self._workers):
            if worker.job == job:
                worker.job = None
                if worker.is_dead or self._guard.is_bloated(worker.pid):
                    self._replace(position)

    def _replace(self, position: int) -> None:
        worker = self._workers[position]
        worker.kill()
        self._workers[position] = self._start(worker.number)

    def _dispatch(self) -> None:
        for position, worker in enumerate(self._workers):
            if self._waiting and worker.job is None:
                if worker.is_dead:
                    self._replace(position)
                self._workers[position].send(self._waiting.popleft())


class _Worker:
    """One worker process, and the thread that reads its results."""

    def __init__(
        self,
        number: int,
        run: RunDirectory,
        n_threads: int,
        deliver: Callable[[JobResult], None],
    ) -> None:
        self.number = number
        self.job: Job | None = None
        self.is_dead = False
        self._killed = False
        self._reported = False
        self._unreadable = ""
        self._cause = ""
        self._dying = threading.Lock()
        self._log = run.worker_log(number)
        self._deliver = deliver
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, this module
                # -P: without it the working directory would come first on the import path.
                [sys.executable, "-P", "-m", "automl_fuse.workers", str(run.runner)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(n_threads),
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Number of the process, which leads a session of its own."""
        return self._process.pid

    def end(self, cause: str) -> None:
        """End the process; its job, if it has one, fails because of ``cause``."""
        self._cause = cause
        self._end_group()

    def send(self, job: Job) -> None:
        """Give the worker a job; if it is already dead, its reader thread reports that."""
        self.job = job
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe above
        with contextlib.suppress(BrokenPipeError):
            _write(self._process.stdin, job)
        if self.is_dead:
            self._report_death()

    def kill(self) -> None:
        """End the process without a result for its job."""
        self._killed = True
        self._end_group()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _end_group(self) -> None:
        """End what it has forked too: a child that holds the pipe would keep the reader waiting."""
        if self._process.returncode is None:  # else its number may be another's by now
            end_group(self.pid)

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe
        try:
            while (result := _read(self._process.stdout)) is not None:
                self._deliver(result)
        except Exception:  # noqa: BLE001 - unpickling may raise anything; the report shows it
            self._unreadable = traceback.format_exc()
            self._end_group()
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
        self._end_group()
        code = self._process.wait()
        cause = f"signal {-code}" if code < 0 else f"exit code {code}"
        error = f"The worker process ended with {cause}. Its last output:\n{_tail(self._log)}"
        if self._cause:
            error = f"Its last output:\n{_tail(self._log)}\n{self._cause}"
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


def open_executor(
    name: str,
    context: ExecutorContext,
    run: RunDirectory,
    plugins: Plugins,
) -> Executor:
    """Start the executor of this name.

    Raises
    ------
    SettingsError
        If there is none, its dependencies are not installed, or it has none of the options.
    """
    if name in {"inline", "processes"} and context.options:
        raise SettingsError(
            f"executor_options has {', '.join(sorted(context.options))}, and executor={name!r} "
            "takes none: name another executor, or leave them out."
        )
    if name == "inline":
        if context.memory_limit is not None:
            raise SettingsError(
                "executor='inline' cannot hold a memory_limit, for its trials run in this process: "
                "take executor='processes', or leave the limit out."
            )
        return InlineExecutor(context.runner, run)
    if name == "processes":
        return ProcessExecutor(context, run)
    for lack in plugins.missing:
        if (lack.kind, lack.name) == ("executor", name):
            needed = ", ".join(lack.modules)
            raise SettingsError(f"executor={name!r} needs {needed}, not installed: {lack.mend}")
    if name not in plugins.executors:
        known = ", ".join(["processes", "inline", *sorted(plugins.executors)])
        raise SettingsError(f"executor={name!r} is not one of {known}.")
    return plugins.executors[name].build(context)


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


def _tail(log: Path) -> str:
    return log.read_bytes()[-_LOG_TAIL:].decode(errors="replace") if log.exists() else ""


def _write(stream: BinaryIO | Any, thing: object) -> None:
    content = pickle.dumps(thing, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_HEADER.pack(len(content)) + content)
    stream.flush()


def _read(stream: BinaryIO | Any) -> Any:
    """Read what ``_write`` wrote; None at the end of the stream."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    (length,) = _HEADER.unpack(header)
    content = stream.read(length)
    return pickle.loads(content) if len(content) == length else None


def main(runner_path: str) -> None:
    """Serve jobs from standard input until it closes: the body of a worker process."""
    results = os.fdopen(os.dup(1), "wb")
    # Whatever a plugin prints goes to the log, never between results.
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_feed, args=(jobs,), daemon=True).start()
    path = Path(runner_path)
    RunDirectory(path.parent).seals.check(path)
    runner = joblib.load(path, mmap_mode="r")
    imports: Iterator[None] = iter(getattr(runner, "imports", tuple)())
    while True:
        _write(results, runner(_next_job(jobs, imports)))
        _give_back()


def _give_back() -> None:
    """Give freed memory back to the system: the C library would keep that of the largest fit."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # it is glibc's
            trim(0)


def _next_job(jobs: queue.SimpleQueue[Any], imports: Iterator[None]) -> Any:
    """Return the next job; until it comes, import one by one what jobs will need.

    A worker that replaces a killed one would else spend its first seconds on that.
    """
    while jobs.empty() and next(imports, _DONE) is not _DONE:
        pass
    return jobs.get()


def _feed(jobs: queue.SimpleQueue[Any]) -> None:
    try:
        while (job := _read(sys.stdin.buffer)) is not None:
            jobs.put(job)
    except Exception:  # noqa: BLE001 - the process must not wait forever for an unreadable job
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    # The parent is gone or wants an end: leave at once, also in the middle of a fit.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
