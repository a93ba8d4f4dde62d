"""What to try next: portfolios by merit, then a bandit between learners."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import no_space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.search.studies import Draw, Study
    from automl_fuse.specs import Configuration, LearnerSpec, Shape

USELESS_DISCOUNT = 0.6
"""Factor on a learner's merits for each member of it that added nothing."""
MAX_FAILURES = 2
"""Failed members in a row after which a learner is given up."""
EXPLORATION = 0.5
"""Weight of the bandit's confidence bound, relative to the best learner's gain per second."""
RECENT = 3
"""Members that a learner's gain per second is averaged over."""


@dataclass(kw_only=True)
class Arm:
    """One learner in the search.

    Attributes
    ----------
    spec : LearnerSpec
        The learner.
    study : Study
        Its Optuna study.
    portfolio : list of Configuration
        What is left of its portfolio.
    ratios : list of float
        Measured over predicted seconds of each fold.
    rates : list of float
        Relative gain of the ensemble per second, of each member; 0 for one that was stopped.
    fold_seconds : list of float
        Seconds of one fold, of each member.
    useless, failures : int
        Members that added nothing; members that failed since one did not.
    """

    spec: LearnerSpec
    study: Study
    portfolio: list[Configuration]
    ratios: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    fold_seconds: list[float] = field(default_factory=list)
    useless: int = 0
    failures: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it may be tried again."""
        return self.failures < MAX_FAILURES

    @property
    def is_searchable(self) -> bool:
        """Whether there is a space to draw from, and a member to compare with."""
        return self.is_open and self.spec.space is not no_space and bool(self.fold_seconds)

    def record(self, gain: float, loss: float, fold_seconds: Sequence[float]) -> None:
        """Take note of what a member added to an ensemble of this loss, and what it took."""
        share = 1.0 if math.isinf(gain) else max(gain, 0.0) / max(abs(loss), 1e-12)
        self.rates.append(share / max(sum(fold_seconds), 1e-3))
        self.fold_seconds.append(float(np.mean(fold_seconds)))
        self.useless += share < 1e-5
        self.failures = 0


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A member to open: its learner, what was drawn, and predicted seconds of one fold."""

    arm: Arm
    draw: Draw
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """Time of one fold, in seconds.

    Attributes
    ----------
    given : float
        What a fold may take: learners stop then, and keep what they have.
    stretch : float
        A member is tried if its predicted time is at most so many times ``given``.
    left : float
        What a fold could take if the member had all the time that is left.
    """

    given: float
    stretch: float
    left: float

    def permits(self, seconds: float) -> bool:
        """Return whether a fold of this predicted time is worth beginning."""
        return seconds <= self.stretch * self.given

    def spared(self, seconds: float) -> float:
        """Return the share of the time left that remains after a member of this time."""
        return 1 - min(seconds, self.given) / max(self.left, 1e-9)


def choose(arms: Sequence[Arm], shape: Shape, allowance: Allowance) -> Choice | None:
    """Return the next member to try, or None if nothing fits into the time.

    Portfolios come first, in falling order of merit, discounted for learners that added
    nothing so far and by the share of the time left that the member would take.

    Parameters
    ----------
    arms : sequence of Arm
        The learners.
    shape : Shape
        Size of one fold's training rows.
    allowance : Allowance
        Time of one fold.
    """
    machine = _median([ratio for arm in arms for ratio in arm.ratios])
    ranked = []
    for position, arm in enumerate(arms):
        for number, entry in enumerate(arm.portfolio if arm.is_open else ()):
            seconds = arm.spec.cost(shape, entry.params).seconds * _median(arm.ratios, machine)
            if allowance.permits(seconds):
                worth = entry.merit * USELESS_DISCOUNT**arm.useless * allowance.spared(seconds)
                ranked.append((-worth, position, number, seconds))
    if not ranked:
        return _choose_by_bandit(arms, allowance)
    _, position, number, seconds = min(ranked)
    arm = arms[position]
    entry = arm.portfolio.pop(number)
    return Choice(arm=arm, draw=arm.study.ask(arm.spec.space, entry.params), seconds=seconds)


def _choose_by_bandit(arms: Sequence[Arm], allowance: Allowance) -> Choice | None:
    """Pick the learner of the highest upper bound on the ensemble's gain per second.

    The bound follows UCB1 (Auer et al. 2002, figure 1), on the mean of the latest gains, since
    gains fall as the ensemble grows.
    """
    playable = [arm for arm in arms if arm.is_searchable]
    if not playable:
        return None
    best = max(float(np.mean(arm.rates[-RECENT:])) for arm in playable) or 1.0
    plays = sum(len(arm.rates) for arm in playable)

    def bound(arm: Arm) -> float:
        value = float(np.mean(arm.rates[-RECENT:])) / best
        return value + EXPLORATION * math.sqrt(2 * math.log(plays + 1) / len(arm.rates))

    for arm in sorted(playable, key=bound, reverse=True):
        seconds = _median(arm.fold_seconds[-RECENT:])
        if allowance.permits(seconds):
            return Choice(arm=arm, draw=arm.study.ask(arm.spec.space), seconds=seconds)
    return None


def _median(values: Sequence[float], default: float = 1.0) -> float:
    return float(np.median(values)) if values else default
