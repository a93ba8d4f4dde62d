"""What ``Settings.executor_options`` may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from automl_fuse.errors import SettingsError

if TYPE_CHECKING:
    from automl_fuse.specs import Params


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the executor.

    Attributes
    ----------
    address : str or None
        Of the cluster, as ``ray.init`` takes it: ``"auto"``, ``"10.0.0.1:6379"`` or
        ``"ray://10.0.0.1:10001"``. By default what the variable ``RAY_ADDRESS`` says, then a
        cluster that runs on this machine, then one that is started for the run.
    gpus : mapping of str to float
        GPUs, or parts of one, that each fold of a learner is given, by the learner's name.
    runtime_env : mapping
        What workers need beside what the nodes have installed, as ``ray.init`` takes it.
    spread_from : int
        Training rows from which a fit of a learner that can be distributed uses all nodes at once.
    """

    address: str | None = None
    gpus: Mapping[str, float] = field(default_factory=dict)
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    spread_from: int = 500_000


def read_options(given: Params) -> Options:
    """Return the options of a run.

    Raises
    ------
    SettingsError
        If one is unknown, or of the wrong type.
    """
    known = [each.name for each in fields(Options)]
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            mend = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
            raise SettingsError(f"The executor 'ray' has no option {name!r}: {mend}")
    options = Options(**given)
    if options.address is not None and not isinstance(options.address, str):
        raise SettingsError(f"address={options.address!r}: give the cluster's address as text.")
    for name, value in (("gpus", options.gpus), ("runtime_env", options.runtime_env)):
        if not isinstance(value, Mapping):
            raise SettingsError(f"{name}={value!r}: give a mapping.")
    rows = options.spread_from
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise SettingsError(f"spread_from={rows!r}: give a number of rows, 1 or more.")
    for learner, number in options.gpus.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not number >= 0:
            raise SettingsError(
                f"gpus has {number!r} for the learner {learner!r}: give a number from 0 on."
            )
    return options
