"""Executors that need no plugin: this process, or worker processes."""

from __future__ import annotations

import contextlib
import queue
import secrets
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import joblib

from automl_fuse.errors import AutoFuseError, PluginError, SettingsError
from automl_fuse.features import forget_features
from automl_fuse.files import cannot_write, remove_temporaries
from automl_fuse.memory import NoGuard, open_guard
from automl_fuse.workers.process import Worker
from automl_fuse.workers.sentinel import Sentinel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.inventory import Plugins
    from automl_fuse.memory import Guard
    from automl_fuse.run import RunDirectory
    from automl_fuse.specs import Executor, ExecutorContext, Job, JobResult, Runner

__all__ = ["InlineExecutor", "ProcessExecutor", "has_begun", "last_output", "open_executor"]


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
        self._proven: dict[str, None] = {}
        self._mark = secrets.token_hex(8)
        self._sentinel = Sentinel(self._mark)
        self._workers: list[Worker] = []
        self._guard: Guard = NoGuard()
        try:
            _write_runner(context.runner, run)
            self._guard = open_guard(
                context.memory_limit, context.n_workers, lambda: [*self._workers]
            )
            for number in range(context.n_workers):
                self._workers.append(self._start(number))
        except BaseException:
            self.close()
            raise

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
            if not result.error:
                self._proven[result.job.learner] = None
            self._release(result)
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
            remove_temporaries(self._run.root, worker.pid)
        self._workers = []
        self._sentinel.close()
        forget_features(self._run)

    def has_begun(self, job: Job) -> bool:
        """Return whether the worker of a job has started, and imported what the job needs."""
        return any(worker.has_begun for worker in self._workers if worker.job == job)

    def output(self, job: Job) -> str:
        """Return what the worker that runs a job printed last."""
        return next((worker.output() for worker in self._workers if worker.job == job), "")

    def _start(self, number: int) -> Worker:
        # Libraries of other learners may hang or crash at import, at the cost of any job.
        proven = [*self._proven]
        worker = Worker(number, self._run, self._n_threads, self._mark, proven, self._deliver)
        self._guard.confine(worker.pid)
        return worker

    def _deliver(self, result: JobResult) -> None:
        self._results.put(self._guard.explained(result))

    def _release(self, result: JobResult) -> None:
        for position, worker in enumerate(self._workers):
            if worker.job == result.job:
                worker.job = None
                if worker.is_dead or self._guard.is_unfit(worker.pid, result.error):
                    self._replace(position)

    def _replace(self, position: int) -> None:
        worker = self._workers[position]
        worker.kill()
        remove_temporaries(self._run.root, worker.pid)
        self._workers[position] = self._start(worker.number)

    def _dispatch(self) -> None:
        for position, worker in enumerate(self._workers):
            if self._waiting and worker.job is None:
                if worker.is_dead:
                    self._replace(position)
                self._workers[position].send(self._waiting.popleft())


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
    try:
        return plugins.executors[name].build(context)
    except AutoFuseError:
        raise
    except Exception as error:
        raise PluginError(f"executor={name!r} cannot be started: {error!r}") from error


def has_begun(executor: Executor, job: Job) -> bool:
    """Return whether a job runs, its worker started and libraries imported, or none can tell."""
    tell = getattr(executor, "has_begun", None)
    return True if tell is None else bool(tell(job))


def last_output(executor: Executor, job: Job) -> str:
    """Return what was printed last where a job runs; empty if the executor cannot tell."""
    tell = getattr(executor, "output", None)
    return "" if tell is None else str(tell(job))


def _write_runner(runner: Runner, run: RunDirectory) -> None:
    """Write what workers load.

    Raises
    ------
    RunError
        If it cannot be written, naming the file and the reason.
    """
    shared = getattr(runner, "shared", None)
    run.seals.stream(run.runner, partial(joblib.dump, runner if shared is None else shared()))
    logs = run.worker_log(0).parent
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(logs, error) from error
