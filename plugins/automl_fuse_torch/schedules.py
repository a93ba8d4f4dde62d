"""How learning rates, weight decay and dropout change over a training, and how long it lasts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from automl_fuse.specs import Deadline

Curve: TypeAlias = Callable[[float], float]
"""A factor by progress, which goes from 0 to 1."""

_USABLE = 0.9
"""Share of the time left that steps may take: the rest is for looks at the validation rows."""
_CYCLES = 4
_WARM = 0.02


def constant(_: float) -> float:
    """Return 1."""
    return 1.0


def coslog4(progress: float) -> float:
    """Return four cycles from 0 to 1 and back, each twice as long as the one before.

    Holzmüller et al. (2024), "Better by default", section 3.
    """
    cycles = math.log2(1.0 + (2**_CYCLES - 1) * progress)
    return 0.5 * (1.0 - math.cos(2.0 * math.pi * cycles))


def flat_cosine(progress: float) -> float:
    """Return 1 during the first half, then half a cosine wave down to 0."""
    return 1.0 if progress < 0.5 else 0.5 * (1.0 + math.cos(math.pi * (2.0 * progress - 1.0)))


def warm_cosine(progress: float) -> float:
    """Return a short rise, then half a cosine wave down to 0."""
    return min(1.0, (progress + 1e-3) / _WARM) * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Factors of a training's settings.

    Attributes
    ----------
    rate, decay, dropout : callable
        Factors of the learning rate, of the weight decay, which is also multiplied by the rate,
        and of the dropout rate.
    pauses : tuple of float
        Progress at which a member that has not improved since the pause before is ended.
    """

    rate: Curve
    decay: Curve = constant
    dropout: Curve = constant
    pauses: tuple[float, ...] = ()


REALMLP = Schedule(
    rate=coslog4,
    decay=flat_cosine,
    dropout=flat_cosine,
    # The ends of the cycles: in between, the loss is above what it has been.
    pauses=tuple((2**cycle - 1) / (2**_CYCLES - 1) for cycle in range(1, _CYCLES)),
)
"""As published for RealMLP."""
COSINE = Schedule(rate=warm_cosine, pauses=(0.2, 0.35, 0.5, 0.65, 0.8, 0.9))
"""For the other networks."""


class Pace:
    """How many steps fit before a deadline, at the pace so far.

    Parameters
    ----------
    deadline : Deadline
        When to be done.
    planned : int
        Steps to take if there is time.
    """

    def __init__(self, deadline: Deadline, planned: int) -> None:
        self._deadline = deadline
        self._planned = planned
        self._before = deadline.remaining()

    def total(self, done: int) -> int:
        """Return the number of steps after which to stop, ``done`` of which are taken."""
        if done == 0:
            return self._planned if self._before > 0.0 else 0
        left = self._deadline.remaining()
        each = max(self._before - left, 1e-9) / done
        return min(self._planned, done + max(0, math.floor(_USABLE * left / each)))
