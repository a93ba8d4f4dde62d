"""The executor: one Ray task a fold."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.errors import SettingsError
from automl_fuse.specs import ExecutorSpec, JobResult
from automl_fuse_ray import cluster
from automl_fuse_ray.crews import Post
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
        self._losses = (
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
            exceptions.TaskUnschedulableError,
        )
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
        self._places: dict[Any, str] = {}
        self._spread: set[Any] = set()
        self._dead: set[str] = set()
        self._contents: dict[str, Any] = {}
        self._calls = 0
        self._is_open = True
        self._cluster = cluster.Cluster(self._options)
        cluster.enter()
        try:
            self._runner: RemoteRunner = context.remote or NoFiles(context.runner)
            self._shared: Any = ray.put(self._runner)
            self._task, self._preparation = ray.remote(run_errand), ray.remote(prepare)
            self._slots: dict[str, int] = {}
            self._recount()
            self._await_first()
        except BaseException:
            self.close()
            raise

    @property
    def idle(self) -> int:
        """Number of jobs that would start at once now: none beside one that is on all nodes."""
        if self._spread:
            return 0
        n_slots = min(self._n_workers, sum(self._slots.values()))
        ready = n_slots - len(self._preparing)
        if not self._running:
            # Better one job that waits for its process than a search that thinks it is over.
            ready = max(ready, min(1, n_slots))
        return max(0, ready - len(self._running))

    def submit(self, job: Job) -> None:
        """Send a job to the node with most free slots, where it waits if there is none."""
        errand = self._runner.errand(job)
        options: dict[str, Any] = {
            "num_cpus": self._n_threads,
            "max_retries": 0,
            "name": f"{job.member}.fold-{job.fold}",
        }
        gpus, place = self._options.gpus.get(job.learner, 0), ""
        if gpus:
            # Ray knows which node has one; the slot that is taken is guessed.
            options["num_gpus"] = gpus
        else:
            place = self._freest()
            options["scheduling_strategy"] = self._on(place)
        contents = {name: self._content(name) for name in errand.reads}
        is_large = errand.spread_rows >= self._options.spread_from
        posts = self._posts() if is_large else ()
        ref = self._task.options(**options).remote([self._shared], errand, contents, posts)
        self._running[ref], self._places[ref] = job, place
        if posts:
            self._spread.add(ref)

    def collect(self, timeout: float) -> Sequence[JobResult]:
        """Wait up to ``timeout`` seconds for results, and return those that are there."""
        self._calls += 1
        if self._calls % RECOUNT_EVERY == 0:
            self._recount()
        waiting = [*self._running, *self._preparing]
        if not waiting or not self._ray.wait(waiting, timeout=max(timeout, 0.0))[0]:
            return []
        done = set(self._ray.wait(waiting, num_returns=len(waiting), timeout=0)[0])
        for ref in done.intersection(self._preparing):
            self._places.pop(ref, None)
        self._preparing = [ref for ref in self._preparing if ref not in done]
        ended = [ref for ref in self._running if ref in done]
        self._spread -= done
        return [self._result(ref, self._running.pop(ref)) for ref in ended]

    def cancel(self, job: Job) -> None:
        """Kill the process that runs the job, or take it out of the queue."""
        for ref, running in list(self._running.items()):
            if running == job:
                del self._running[ref]
                self._spread.discard(ref)
                self._ray.cancel(ref, force=True)
                self._prepare(self._places.pop(ref))

    def close(self) -> None:
        """Cancel what runs, free the data, and leave the cluster unless the user had joined it."""
        if not self._is_open:
            return
        self._is_open = False
        for ref in (*self._running, *self._preparing):
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(ref, force=True)
        self._running.clear()
        self._spread.clear()
        self._preparing.clear()
        self._places.clear()
        self._contents.clear()
        self._shared = None
        cluster.leave()

    def _recount(self) -> None:
        """Count the slots of each node again, and prepare processes on those that are new."""
        before, alive = self._slots, self._cluster.slots(self._n_threads)
        # The cluster takes ten seconds and more to notice that a node has gone.
        self._dead &= alive.keys()
        self._slots = {name: n for name, n in alive.items() if name not in self._dead}
        wanted = self._n_workers - len(self._running) - len(self._preparing)
        for name, n_slots in self._slots.items():
            for _ in range(min(n_slots, wanted) if name not in before else 0):
                self._prepare(name)
                wanted -= 1

    def _freest(self) -> str:
        """Return the node with most free slots."""
        taken = Counter(self._places.values())
        return max(self._slots, key=lambda name: self._slots[name] - taken[name], default="")

    def _posts(self) -> tuple[Post, ...]:
        """Return where a fit may be spread to: every node, with what the run may use of it."""
        posts, left = [], self._n_workers
        for name, n_slots in self._slots.items():
            taken = min(n_slots, left)
            left -= taken
            if taken:
                posts.append(Post(node=name, n_cpus=taken * self._n_threads))
        return tuple(posts) if len(posts) > 1 else ()

    def _on(self, place: str) -> Any:
        """Return the strategy that sends a task to a node, and nowhere else.

        Ray itself would send tasks to a node that has died until the whole cluster knows.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(place, soft=False) if place else "DEFAULT"

    def _prepare(self, place: str) -> None:
        """Make a worker process on a node ready for jobs."""
        if place not in self._slots:
            return
        task = self._preparation.options(
            num_cpus=self._n_threads,
            max_retries=0,
            name="prepare",
            scheduling_strategy=self._on(place),
        )
        ref = task.remote([self._shared])
        self._preparing.append(ref)
        self._places[ref] = place

    def _await_first(self) -> None:
        if not self._preparing:
            return
        ready, self._preparing = self._ray.wait(self._preparing, timeout=PATIENCE)
        for ref in ready:
            del self._places[ref]
        try:
            self._ray.get(ready)
        except self._ray.exceptions.RayError as error:
            raise SettingsError(
                "The nodes of the Ray cluster cannot run jobs: install the same automl-fuse on "
                "each, with its plugins, or say what they lack in the option 'runtime_env'. The "
                f"first said:\n{_COLOURS.sub('', str(error))}"
            ) from error

    def _forget(self, node: str) -> None:
        """Send nothing more to a node that was lost."""
        self._dead.add(node)
        self._slots.pop(node, None)

    def _content(self, name: str) -> Any:
        """Return the object that holds a file, put into the store when first asked for."""
        if name not in self._contents:
            self._contents[name] = self._ray.put(self._runner.content(name))
        return self._contents[name]

    def _result(self, ref: Any, job: Job) -> JobResult:
        """Return what became of a job; what goes wrong costs this job alone."""
        result: JobResult
        place = self._places.pop(ref)
        try:
            result, files, lost = self._ray.get(ref)
            for node in lost:
                self._forget(node)
            self._runner.keep(files)
        except Exception as error:  # noqa: BLE001 - nodes die, plugins raise, disks fill up
            is_lost = isinstance(error, self._losses)
            if is_lost and place:
                self._forget(place)
            elif isinstance(error, self._ray.exceptions.WorkerCrashedError):
                self._prepare(place)
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


def _spread_from(options: Params) -> int:
    return read_options(options).spread_from


SPEC: Final = ExecutorSpec(
    name="ray",
    api_version=1,
    build=RayExecutor,
    cores=_cores,
    spreads_from=_spread_from,
    requires=("ray",),
    extra="ray",
)
