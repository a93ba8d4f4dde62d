"""Several nodes for one fit: an actor on each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at whether an actor is still alive, while all are waited for."""
GRACE: Final = 20.0
"""Seconds after an error in which it may turn out that another actor's node was lost, which is how
that error came about: Ray takes ten seconds and more to notice."""


@dataclass(frozen=True, kw_only=True)
class Post:
    """A place for one of a crew.

    Attributes
    ----------
    node : str
        Identifier of the node.
    n_cpus : int
        CPUs that the run may use there.
    """

    node: str
    n_cpus: int


class RayCluster:
    """The nodes that a job may use: a ``Cluster`` of the specs.

    A job that waits for others gives its own CPU back as long, so that an actor can have it. Two
    such jobs would wait for each other: the executor runs one at a time.

    Parameters
    ----------
    posts : sequence of Post
        One on each node.

    Attributes
    ----------
    notes : list of str
        What the user should know.
    lost : list of str
        Nodes that were lost.
    """

    def __init__(self, posts: Sequence[Post]) -> None:
        self._posts = posts
        self.notes: list[str] = []
        self.lost: list[str] = []

    def muster(self, make: Callable[[], Any], seconds: float) -> RayCrew | None:
        """Start an actor on each node; None, and a note, if they cannot all start in time.

        Raises
        ------
        Exception
            What ``make`` raised.
        """
        crew = RayCrew(self._posts, make, self.lost)
        reason = f"had no room within {seconds:.0f} s"
        try:
            if crew.is_ready(seconds):
                return crew
        except Exception:
            if not self.lost:
                crew.close()
                raise
            reason = "lost one of them"
        crew.close()
        n_cpus = sum(post.n_cpus for post in self._posts)
        self.notes.append(
            f"Fitted on one node: a fit over {len(self._posts)} nodes needs their {n_cpus} CPUs at "
            f"once, and the cluster {reason}."
        )
        return None


class RayCrew:
    """Actors that work on one fit: a ``Crew`` of the specs.

    They end with the job that has started them, however it ends.

    Parameters
    ----------
    posts : sequence of Post
        Where they are.
    make : callable
        Called in each.
    lost : list of str
        Nodes that are lost are added to it.
    """

    def __init__(self, posts: Sequence[Post], make: Callable[[], Any], lost: list[str]) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray = ray
        actor = ray.remote(_Seat)
        self._actors = [
            actor.options(
                num_cpus=post.n_cpus,
                max_restarts=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(post.node, soft=False),
            ).remote(make)
            for post in posts
        ]
        self._nodes = [post.node for post in posts]
        self._lost = lost
        self._losses: tuple[type[Exception], ...] = (
            ray.exceptions.ActorDiedError,
            ray.exceptions.ActorUnavailableError,
            ray.exceptions.ActorUnschedulableError,
        )
        self._n_threads = [post.n_cpus for post in posts]
        self._hosts: list[str] = []

    @property
    def hosts(self) -> Sequence[str]:
        """Address of each one's node."""
        return self._hosts

    @property
    def n_threads(self) -> Sequence[int]:
        """Threads that each may use: the CPUs of its post."""
        return self._n_threads

    def is_ready(self, seconds: float) -> bool:
        """Wait until all are there; return whether they came in time."""
        refs = [actor.host.remote() for actor in self._actors]
        ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=max(0.0, seconds))
        if len(ready) < len(refs):
            return False
        self._hosts = self._all(refs)
        return True

    def deal(self, method: str, hands: Sequence[Any]) -> list[Any]:
        """Call a method of all at once, each with an argument of its own, and wait for all."""
        pairs = zip(self._actors, hands, strict=True)
        return self._all([actor.call.remote(method, hand) for actor, hand in pairs])

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of all at once with the same arguments, and wait for all."""
        return self._all([actor.call.remote(method, *arguments) for actor in self._actors])

    def first(self, method: str, *arguments: Any) -> Any:
        """Call a method of the first of them, and wait for it."""
        return self._ray.get(self._actors[0].call.remote(method, *arguments))

    def close(self) -> None:
        """End all processes."""
        for actor in self._actors:
            self._ray.kill(actor)

    def _all(self, refs: list[Any]) -> list[Any]:
        """Return all results; one that is lost raises though others, which wait for it, do not."""
        waiting = refs
        while waiting:
            # All that are there are looked at: who waits for the dead may wait for ever.
            n_returns = len(waiting)
            done, waiting = self._ray.wait(waiting, num_returns=n_returns, timeout=LOOK_EVERY)
            try:
                self._ray.get(done)
            except self._ray.exceptions.RayError as error:
                self._tell_losses(refs, error)
                raise
        return list(self._ray.get(refs))

    def _tell_losses(self, refs: list[Any], error: Exception) -> None:
        """Raise what says that another of a crew has died, if that is why one failed."""
        patience = 0.0 if isinstance(error, self._losses) else GRACE
        done, _ = self._ray.wait(refs, num_returns=len(refs), timeout=patience)
        told = [
            (node, loss)
            for ref, node in zip(refs, self._nodes, strict=True)
            if ref in done and (loss := self._loss(ref)) is not None
        ]
        # A process may have died by itself, for lack of memory, say, on a node that is well.
        alive = {each["NodeID"] for each in self._ray.nodes() if each["Alive"]}
        self._lost += [node for node, _ in told if node not in alive]
        if told:
            raise told[0][1] from error

    def _loss(self, ref: Any) -> Exception | None:
        """Return the error of an actor that has died; None of others."""
        try:
            self._ray.get(ref)
        except self._losses as loss:
            return loss
        except self._ray.exceptions.RayError:
            return None
        return None


class _Seat:
    """Holds one of a crew in its process."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._member = make()

    def host(self) -> str:
        import ray

        return str(ray.util.get_node_ip_address())

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self._member, method)(*arguments)
