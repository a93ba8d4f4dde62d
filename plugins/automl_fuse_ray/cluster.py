"""The connection to a cluster, and what the cluster has."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.errors import SettingsError

if TYPE_CHECKING:
    from automl_fuse_ray.options import Options

LOOKS: Final = 6
"""Looks at free CPUs, at most: those of a run that has just ended are free a little later."""
PAUSE: Final = 0.3
"""Seconds between two looks."""

_state = {"connected by us": False, "executors": 0}


class Cluster:
    """A Ray cluster, connected to unless this process is already.

    Parameters
    ----------
    options : Options
        Address and environment.

    Raises
    ------
    SettingsError
        If there is no cluster at the address.
    """

    def __init__(self, options: Options) -> None:
        import ray

        self._ray = ray
        if not ray.is_initialized():
            _connect(options)
            _state["connected by us"] = True
        self._taken = self._taken_by_others()

    def slots(self, n_threads: int) -> dict[str, int]:
        """Return how many jobs of so many threads fit on each node that is alive.

        As many CPUs as others had taken when this process connected are left to them.
        """
        slots = {name: int(cpus // n_threads) for name, cpus in self._nodes().items()}
        for _ in range(math.ceil(self._taken / n_threads) if slots else 0):
            largest = max(slots, key=lambda name: slots[name])
            slots[largest] = max(0, slots[largest] - 1)
        return slots

    def _nodes(self) -> dict[str, float]:
        """Return the CPUs of each node that is alive."""
        nodes = (node for node in self._ray.nodes() if node["Alive"])
        return {node["NodeID"]: node["Resources"].get("CPU", 0.0) for node in nodes}

    def _taken_by_others(self) -> float:
        least = math.inf
        for _ in range(LOOKS):
            free = self._ray.available_resources().get("CPU", 0.0)
            least = min(least, max(0.0, sum(self._nodes().values()) - free))
            if least == 0.0:
                break
            time.sleep(PAUSE)
        return least


def enter() -> None:
    """Count an executor that uses the connection of this process."""
    _state["executors"] += 1


def leave() -> None:
    """Disconnect when the last executor leaves, unless the user had connected this process."""
    _state["executors"] -= 1
    if _state["connected by us"] and not _state["executors"]:
        import ray

        _state["connected by us"] = False
        ray.shutdown()


def count_cores(options: Options) -> int:
    """Return how many CPUs of a cluster are free; this process stays connected to it.

    Raises
    ------
    SettingsError
        If there is no cluster at the address, or all its CPUs are taken.
    """
    free = sum(Cluster(options).slots(1).values())
    if not free:
        raise SettingsError(
            "The Ray cluster has no free CPU: wait for its other jobs to end, or add nodes."
        )
    return free


def _connect(options: Options) -> None:
    import ray

    arguments: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if options.runtime_env:
        arguments["runtime_env"] = dict(options.runtime_env)
    try:
        ray.init(address=options.address, **arguments)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = options.address or "the address that RAY_ADDRESS says"
        raise SettingsError(
            f"There is no Ray cluster at {where}: {error} Start one with 'ray start --head', or "
            "leave the address out to start one for this run alone."
        ) from error
