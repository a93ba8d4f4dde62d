"""What runs on the nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from automl_fuse.specs import Errand
from automl_fuse_ray.crews import RayCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automl_fuse.specs import Cluster, Job, JobResult, RemoteRunner, Runner
    from automl_fuse_ray.crews import Post

_runners: dict[str, RemoteRunner] = {}
"""The runner of the run that this process works for, with what it has encoded so far."""


@dataclass(frozen=True)
class NoFiles:
    """A ``RemoteRunner`` of a plain runner, which reads and writes no files.

    Attributes
    ----------
    runner : callable
        Runs a job.
    """

    runner: Runner

    def errand(self, job: Job) -> Errand:
        """Return the job alone."""
        return Errand(job=job)

    def content(self, name: str) -> bytes:
        """Raise: there are no files."""
        raise FileNotFoundError(name)

    def prepare(self) -> None:
        """Do nothing."""

    def run(
        self,
        errand: Errand,
        fetch: Callable[[str], bytes],  # noqa: ARG002 - protocol
        cluster: Cluster | None = None,  # noqa: ARG002
    ) -> tuple[JobResult, Mapping[str, bytes]]:
        """Run a job."""
        return self.runner(errand.job), {}

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Do nothing."""


def run_errand(
    shared: list[Any],
    errand: Errand,
    contents: Mapping[str, Any],
    posts: tuple[Post, ...] = (),
) -> tuple[JobResult, Mapping[str, bytes], tuple[str, ...]]:
    """Run one job on a node; return its result, its files, and nodes that it saw being lost.

    Parameters
    ----------
    shared : list of one ObjectRef
        The runner. A reference inside a list is not resolved by Ray, so that a process reads the
        training data once, not for every job.
    errand : Errand
        What to run.
    contents : mapping of str to ObjectRef
        Contents of the files that it reads.
    posts : tuple of Post
        Where its fit may be spread to, if that is worth it.
    """
    import ray

    cluster = RayCluster(posts) if posts else None
    runner = _runner(shared[0])
    result, files = runner.run(errand, lambda name: ray.get(contents[name]), cluster)
    if cluster is None:
        return result, files, ()
    notes = tuple(f"{errand.job.learner}: {note}" for note in cluster.notes)
    is_lost = result.lost or bool(result.error and cluster.lost)
    result = replace(result, notes=(*result.notes, *notes), lost=is_lost)
    return result, files, tuple(cluster.lost)


def prepare(shared: list[Any]) -> None:
    """Get the data and the libraries into a process, before its first job."""
    _runner(shared[0]).prepare()


def _runner(shared: Any) -> RemoteRunner:
    import ray

    key = shared.hex()
    if key not in _runners:
        _runners.clear()
        _runners[key] = ray.get(shared)
    return _runners[key]
