"""Several machines for one fit: what an executor offers, and a learner asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Crew(Protocol):
    """Objects of one kind, each in a process of its own, that work on one fit together.

    If one of them raises, or its machine is lost, each method raises, and the crew is of no more
    use: close it.
    """

    @property
    def hosts(self) -> Sequence[str]:
        """Network address of each one's machine, which the others can reach."""

    @property
    def n_threads(self) -> Sequence[int]:
        """Threads that each may use."""

    def deal(self, method: str, hands: Sequence[Any]) -> list[Any]:
        """Call a method of all at once, each with an argument of its own, and wait for all."""

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of all at once with the same arguments, and wait for all."""

    def first(self, method: str, *arguments: Any) -> Any:
        """Call a method of the first of them, and wait for it."""

    def close(self) -> None:
        """End all processes."""


class Cluster(Protocol):
    """The machines of an executor, as far as a single fit may use them."""

    def muster(self, make: Callable[[], Any], seconds: float) -> Crew | None:
        """Start a process on each machine, where ``make()`` is called.

        Parameters
        ----------
        make : callable
            Importable on every machine; what it returns stays there.
        seconds : float
            To wait, at most, until the machines have room.

        Returns
        -------
        Crew or None
            None if there are not two machines that have room in time. That is noted: fit without
            them.
        """
