"""The executor: one Ray task a fold."""

from __future__ import annotations

import contextlib
import re
import traceback
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.errors import SettingsError
from automl_fuse.specs import ExecutorSpec, JobResult
from automl_fuse_ray import cluster
from automl_fuse_ray.options import read_options
from automl_fuse_ray.tasks import NoFiles, prepare, run_errand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import ExecutorContext, Job, Params, RemoteRunner

RECOUNT_EVERY: Final = 80
"""Calls of ``collect`` after which the nodes are counted again: some may have come, or gone. Where
nothing else happens they are a quarter of a second apart."""
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
PATIENCE: Final = 60.0
"""Seconds, at most, that are waited for the first worker process."""


class RayExecutor:
    """Runs each job as a task of a Ray cluster.

    The runner, with the training data, is put into the object store once, and each node fetches
    it once. A worker process is given jobs when it has imported what they need: a search kills
    jobs that are late. A task is never repeated by Ray: the search decides what is worth trying.

    Parameters
    ----------
    context : ExecutorContext
        Runner, number of workers, threads of each, and options as in ``Options``.

    Raises
    ------
    SettingsError
        If an option is wrong, there is no cluster, or its nodes cannot run jobs.
    """

    def __init__(self, context: ExecutorContext) -> None:
        import ray

        self._ray = ray
        exceptions = ray.exceptions
        self._losses = (exceptions.NodeDiedError, exceptions.ObjectLostError)
        self._options = read_options(context.options)
        if context.memory_limit is not None:
            raise SettingsError(
                "The executor 'ray' cannot hold a memory_limit over several machines: leave it "
                "out. Ray ends tasks of a node that runs out of memory."
            )
        self._n_workers = context.n_workers
        self._n_threads = context.n_threads
        self._running: dict[Any, Job] = {}
        self._preparing: list[Any] = []
        self._contents: dict[str, Any] = {}
        self._calls = 0
        self._is_open = True
        self._cluster = cluster.Cluster(self._options)
        cluster.enter()
        try:
            self._runner: RemoteRunner = context.remote or NoFiles(context.runner)
            self._shared: Any = ray.put(self._runner)
            self._task, self._preparation = ray.remote(run_errand), ray.remote(prepare)
            self._slots = self._count()
            self._prepare(self._slots)
            self._await_first()
        except BaseException:
            self.close()
            raise

    @property
    def idle(self) -> int:
        """Number of jobs that would start at once if submitted now."""
        ready = self._slots - len(self._preparing)
        if not self._running:
            # Better one job that waits for its process than a search that thinks it is over.
            ready = max(ready, min(1, self._slots))
        return max(0, ready - len(self._running))

    def submit(self, job: Job) -> None:
        """Send a job to the cluster, which queues it if no node is free."""
        errand = self._runner.errand(job)
        task = self._task.options(
            num_cpus=self._n_threads,
            num_gpus=self._options.gpus.get(job.learner, 0),
            max_retries=0,
            name=f"{job.member}.fold-{job.fold}",
        )
        contents = {name: self._content(name) for name in errand.reads}
        self._running[task.remote([self._shared], errand, contents)] = job

    def collect(self, timeout: float) -> Sequence[JobResult]:
        """Wait up to ``timeout`` seconds for results, and return those that are there."""
        self._calls += 1
        if self._calls % RECOUNT_EVERY == 0:
            before, self._slots = self._slots, self._count()
            self._prepare(self._slots - before)
        waiting = [*self._running, *self._preparing]
        if not waiting or not self._ray.wait(waiting, timeout=max(timeout, 0.0))[0]:
            return []
        done = set(self._ray.wait(waiting, num_returns=len(waiting), timeout=0)[0])
        self._preparing = [ref for ref in self._preparing if ref not in done]
        ended = [ref for ref in self._running if ref in done]
        return [self._result(ref, self._running.pop(ref)) for ref in ended]

    def cancel(self, job: Job) -> None:
        """Kill the process that runs the job, or take it out of the queue."""
        for ref, running in list(self._running.items()):
            if running == job:
                del self._running[ref]
                self._ray.cancel(ref, force=True)
                self._prepare(1)

    def close(self) -> None:
        """Cancel what runs, free the data, and leave the cluster unless the user had joined it."""
        if not self._is_open:
            return
        self._is_open = False
        for ref in (*self._running, *self._preparing):
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(ref, force=True)
        self._running.clear()
        self._preparing.clear()
        self._contents.clear()
        self._shared = None
        cluster.leave()

    def _count(self) -> int:
        return min(self._n_workers, self._cluster.slots(self._n_threads))

    def _prepare(self, number: int) -> None:
        """Let the cluster make so many worker processes ready, one on each free slot."""
        task = self._preparation.options(num_cpus=self._n_threads, max_retries=0, name="prepare")
        self._preparing += [task.remote([self._shared]) for _ in range(number)]

    def _await_first(self) -> None:
        ready, self._preparing = self._ray.wait(self._preparing, timeout=PATIENCE)
        try:
            self._ray.get(ready)
        except self._ray.exceptions.RayError as error:
            raise SettingsError(
                "The nodes of the Ray cluster cannot run jobs: install the same automl-fuse on "
                "each, with its plugins, or say what they lack in the option 'runtime_env'. The "
                f"first said:\n{_COLOURS.sub('', str(error))}"
            ) from error

    def _content(self, name: str) -> Any:
        """Return the object that holds a file, put into the store when first asked for."""
        if name not in self._contents:
            self._contents[name] = self._ray.put(self._runner.content(name))
        return self._contents[name]

    def _result(self, ref: Any, job: Job) -> JobResult:
        """Return what became of a job; what goes wrong costs this job alone."""
        result: JobResult
        try:
            result, files = self._ray.get(ref)
            self._runner.keep(files)
        except Exception as error:  # noqa: BLE001 - nodes die, plugins raise, disks fill up
            is_lost = isinstance(error, self._losses)
            if is_lost:
                # The cluster itself takes ten seconds and more to notice.
                self._slots = max(0, self._slots - 1)
                self._calls = 0
            elif isinstance(error, self._ray.exceptions.WorkerCrashedError):
                self._prepare(1)
            return JobResult(
                job=job,
                predictions=None,
                fit_seconds=0.0,
                predict_seconds=0.0,
                bytes=0,
                error=_COLOURS.sub("", traceback.format_exc()),
                lost=is_lost,
            )
        return result


def _cores(options: Params) -> int:
    return cluster.count_cores(read_options(options))


SPEC: Final = ExecutorSpec(
    name="ray", api_version=1, build=RayExecutor, cores=_cores, requires=("ray",), extra="ray"
)
