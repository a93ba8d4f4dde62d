"""A crew of processes on this machine, for tests of learners that are fitted over several."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

_spawning = multiprocessing.get_context("spawn")


class LocalCluster:
    """So many machines, all of them this one.

    Attributes
    ----------
    mustered : int
        Crews that were started.
    """

    def __init__(self, n_threads: Sequence[int] = (1, 1)) -> None:
        self._n_threads = n_threads
        self.mustered = 0

    def muster(self, make: Callable[[], Any], seconds: float) -> LocalCrew | None:
        assert seconds > 0
        self.mustered += 1
        return LocalCrew(self._n_threads, make)


class NoRoom:
    """A cluster whose machines have no room."""

    def muster(self, make: Callable[[], Any], seconds: float) -> None:
        return None


class LocalCrew:
    """Processes that do what they are told."""

    def __init__(self, n_threads: Sequence[int], make: Callable[[], Any]) -> None:
        self.n_threads = n_threads
        self.hosts = ["127.0.0.1"] * len(n_threads)
        self._ends, self._processes = [], []
        for _ in n_threads:
            here, there = _spawning.Pipe()
            process = _spawning.Process(target=_serve, args=(make, there), daemon=True)
            process.start()
            self._ends.append(here)
            self._processes.append(process)

    def deal(self, method: str, hands: Sequence[Any]) -> list[Any]:
        for end, hand in zip(self._ends, hands, strict=True):
            end.send((method, (hand,)))
        return [_answer(end) for end in self._ends]

    def call(self, method: str, *arguments: Any) -> list[Any]:
        for end in self._ends:
            end.send((method, arguments))
        return [_answer(end) for end in self._ends]

    def first(self, method: str, *arguments: Any) -> Any:
        self._ends[0].send((method, arguments))
        return _answer(self._ends[0])

    def close(self) -> None:
        for end, process in zip(self._ends, self._processes, strict=True):
            process.kill()
            process.join()
            process.close()
            end.close()


def _answer(end: Connection) -> Any:
    answer = end.recv()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _serve(make: Callable[[], Any], end: Connection) -> None:
    member = make()
    while True:
        method, arguments = end.recv()
        try:
            end.send(getattr(member, method)(*arguments))
        except Exception as error:  # noqa: BLE001 - it is raised where the method was called
            end.send(error)
