"""What to try next: portfolios by merit, then a bandit between learners."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.folds import seed_of
from automl_fuse.hyperparameters import TARGET
from automl_fuse.search.studies import Study
from automl_fuse.search.together import seconds_in_waves
from automl_fuse.specs import no_space
from automl_fuse.targets import LOG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.search.studies import Draw, Storage
    from automl_fuse.specs import LearnerSpec, Params, Shape

LOG_DISCOUNT = 0.8
"""Factor on merits of members that learn the target's logarithm, where its tail suggests that."""

USELESS_DISCOUNT = 0.6
"""Factor on a learner's merits for each member of it that added nothing."""
MAX_FAILURES = 2
"""Failed members in a row after which a learner is given up."""
STRETCH = 2.0
"""A member is tried if its predicted time is at most so many times what it may take, since
learners stop at their deadline and keep what they have."""
MOST_BORROWED = 1.5
"""Factor, at most, by which other learners' measured seconds correct the prediction for one that
was not tried yet: part of it is the machine, part their own cost functions' error."""
THRIFT = 0.15
"""Weight of the share of the time left that a member would take, against its merit."""
GREEDY_SHARE = 0.6
"""Share of the time left that a member may take which does not fit otherwise."""
GREEDY_STRETCH = 6.0
"""The same as ``STRETCH`` for such a member."""
GREEDY_DISCOUNT = 0.7
"""Factor on the worth of such a member."""
DISTRUST = 10.0
"""A fold is given so many times its predicted seconds at most: what takes longer is broken."""
SHORT_SECONDS = 3.0
"""A fold is given these seconds whatever was predicted, if there is time: its first fold in a
worker also imports the library."""
EXPLORATION = 0.5
"""Weight of the bandit's confidence bound, relative to the best learner's gain per second."""
SAMPLE_ROWS = 50_000
"""Training rows that a member is tried on first, where all would take too long."""
SAMPLE_SHARE = 0.2
"""Share of the time left beyond which a fold of all rows takes too long for a first try."""
RECENT = 3
"""Members that a learner's gain per second is averaged over."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A configuration that waits to be tried.

    Attributes
    ----------
    params : mapping
        Hyperparameters.
    merit : float
        How early to try it.
    max_rows : int or None
        Training rows of a fold to try it on, at most; decided by the cost if None.
    """

    params: Params
    merit: float
    max_rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Way:
    """Another way to fit a learner, which competes with the plain one as an arm of its own.

    Attributes
    ----------
    label : str
        What its members' names say of it.
    spec : LearnerSpec
        The learner, with the space and the portfolio of this way.
    discount : float
        Factor on its merits; above 1 for a way that is to be tried before others.
    """

    label: str
    spec: LearnerSpec
    discount: float = 1.0


@dataclass(kw_only=True)
class Arm:
    """One learner in the search, in one of the ways in which it can be fitted.

    Attributes
    ----------
    spec : LearnerSpec
        The learner.
    fixed : mapping
        Params that the engine adds to every configuration.
    label : str
        What its members' names say of the way, if it is not the plain one.
    discount : float
        Factor on its merits.
    study : Study
        Its Optuna study.
    portfolio : list of Candidate
        What is left of its portfolio, and what is to be tried again on more rows.
    costs : list of (float, float)
        Predicted and measured seconds of each fold.
    rates : list of float
        Relative gain of the ensemble per second, of each member; 0 for one that was stopped.
    fold_seconds : list of float
        Seconds of one fold, of each member.
    n_features : int
        Features that its members read, at most; 0 before the first.
    useless, failures : int
        Members that added nothing; members that failed since one did not.
    trouble : str
        Why nothing can be drawn from its space; empty where that is not known.
    """

    spec: LearnerSpec
    study: Study
    portfolio: list[Candidate]
    fixed: Params = field(default_factory=dict)
    label: str = ""
    discount: float = 1.0
    costs: list[tuple[float, float]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    fold_seconds: list[float] = field(default_factory=list)
    n_features: int = 0
    useless: int = 0
    failures: int = 0
    trouble: str = ""

    @property
    def name(self) -> str:
        """The learner, its way, and what is fixed: first part of its members' names."""
        ways = [self.label] if self.label else []
        return "-".join([self.spec.name, *ways, *map(str, self.fixed.values())])

    @property
    def is_open(self) -> bool:
        """Whether it may be tried again."""
        return self.failures < MAX_FAILURES

    @property
    def is_searchable(self) -> bool:
        """Whether there is a space to draw from, and a member to compare with."""
        return self.is_open and self.spec.space is not no_space and bool(self.fold_seconds)

    def rows_within(self, n_bytes: float) -> float:
        """Return of how many rows all features take so many bytes; no end before the first fold."""
        return n_bytes / (8.0 * self.n_features) if self.n_features else math.inf

    def correction(self, default: float) -> float:
        """Return measured over predicted seconds, of all together: short fits tell little."""
        return _ratio(self.costs, default)

    def give_up(self, error: PluginError) -> None:
        """Try nothing more, for nothing can be drawn."""
        self.failures, self.trouble = MAX_FAILURES, str(error)

    def record(self, gain: float, loss: float, fold_seconds: Sequence[float]) -> None:
        """Take note of what a member added to an ensemble of this loss, and what it took."""
        share = 1.0 if math.isinf(gain) else max(gain, 0.0) / max(abs(loss), 1e-12)
        self.rates.append(share / max(sum(fold_seconds), 1e-3))
        self.fold_seconds.append(float(np.mean(fold_seconds)))
        self.useless += share < 1e-5
        self.failures = 0


def arms_of(spec: LearnerSpec, storage: Storage, seed: int, *, with_log: bool) -> list[Arm]:
    """Return the arms of a learner: one as the target is, one of its logarithm if wanted.

    Parameters
    ----------
    spec : LearnerSpec
        The learner.
    storage : Storage
        Where studies are kept.
    seed : int
        Seed of the run.
    with_log : bool
        Whether logarithms of the target are worth learning.
    """
    transforms: list[tuple[Params, float]] = [({}, 1.0)]
    if with_log:
        transforms.append(({TARGET: LOG}, LOG_DISCOUNT))
    arms = []
    for fixed, discount in transforms:
        name = "-".join([spec.name, *map(str, fixed.values())])
        study = Study(name, storage, seed_of(seed, "study", name))
        arms.append(
            Arm(
                spec=spec,
                study=study,
                portfolio=[Candidate(params=c.params, merit=c.merit) for c in spec.portfolio],
                fixed=fixed,
                discount=discount,
            )
        )
    return arms


def arm_of(way: Way, storage: Storage, seed: int) -> Arm:
    """Return the arm of another way to fit a learner; parameters as for ``arms_of``."""
    name = f"{way.spec.name}-{way.label}"
    return Arm(
        spec=way.spec,
        study=Study(name, storage, seed_of(seed, "study", name)),
        portfolio=[Candidate(params=c.params, merit=c.merit) for c in way.spec.portfolio],
        label=way.label,
        discount=way.discount,
    )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A member to open: its learner, what was drawn, and what a fold may take.

    Attributes
    ----------
    arm, draw
        The learner, and its configuration.
    seconds : float
        What a fold may take.
    max_rows : int or None
        Training rows of a fold that are read, at most; all if None.
    is_drawn : bool
        Whether a study drew it: no portfolio holds anything that fits the time left.
    candidate : int or None
        Its position in the portfolio from which it was taken; None if it was in none.
    """

    arm: Arm
    draw: Draw
    seconds: float
    max_rows: int | None = None
    is_drawn: bool = False
    candidate: int | None = None

    @property
    def name(self) -> str:
        """Name of the member."""
        return f"{self.arm.name}-{self.draw.number}"

    @property
    def params(self) -> Params:
        """All its params."""
        return {**self.draw.params, **self.arm.fixed}


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What one fold may take, in seconds and bytes.

    Attributes
    ----------
    given : float
        What a fold may take: learners stop then, and keep what they have.
    left : float
        What a fold could take if the member had all the time that is left.
    feature_bytes : float
        Bytes, at most, of the features of its training rows: those of large tables are sampled.
    n_folds, slots : int
        Folds of a member, and jobs that run at once.
    """

    given: float
    left: float
    feature_bytes: float = math.inf
    n_folds: int = 1
    slots: int = 1

    def predicted(self, arm: Arm, shape: Shape, params: Params) -> float:
        """Return the seconds of a fold, not corrected by what was measured."""
        return seconds_in_waves(arm.spec, shape, params, self.n_folds, self.slots)


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A configuration that could be next: where it is, and what it would take and be worth."""

    position: int
    number: int
    predicted: float
    given: float
    worth: float
    max_rows: int | None


def choose(
    arms: Sequence[Arm], shape: Shape, allowance: Allowance, *, at_any_price: bool = False
) -> Choice | None:
    """Return the next member to try, or None if nothing is worth the time that is left.

    Portfolios come first, in falling order of merit, discounted for learners that added nothing
    so far, by the share of the time left that the member would take, and where it needs most of
    that. Then the bandit chooses.

    Parameters
    ----------
    arms : sequence of Arm
        The learners.
    shape : Shape
        Size of one fold's training rows.
    allowance : Allowance
        Time of one fold.
    at_any_price : bool
        Whether to try what is not expected to finish, rather than nothing.
    """
    tiers = (
        (allowance.given, STRETCH, 1.0),
        (max(allowance.given, GREEDY_SHARE * allowance.left), GREEDY_STRETCH, GREEDY_DISCOUNT),
    )
    entries = [
        replace(entry, worth=factor * entry.worth)
        for given, stretch, factor in tiers
        for entry in _entries(arms, shape, replace(allowance, given=given))
        if at_any_price or entry.predicted <= stretch * given
    ]
    if entries:
        best = min(entries, key=lambda e: (-e.worth, e.position, e.number))
        arm = arms[best.position]
        params = arm.portfolio.pop(best.number).params
        try:
            draw = arm.study.ask(arm.spec.space, params)
        except PluginError as error:
            arm.give_up(error)
            return choose(arms, shape, allowance, at_any_price=at_any_price)
        seconds = min(best.given, max(DISTRUST * best.predicted, SHORT_SECONDS))
        return Choice(
            arm=arm, draw=draw, seconds=seconds, max_rows=best.max_rows, candidate=best.number
        )
    return _choose_by_bandit(arms, allowance)


def _entries(arms: Sequence[Arm], shape: Shape, allowance: Allowance) -> list[_Entry]:
    given, left = allowance.given, allowance.left
    machine = _ratio([pair for arm in arms for pair in arm.costs], 1.0)
    machine = min(max(machine, 1 / MOST_BORROWED), MOST_BORROWED)
    found = []
    for position, arm in enumerate(arms):
        ratio = arm.correction(machine)
        most = arm.rows_within(allowance.feature_bytes)
        for number, candidate in enumerate(arm.portfolio if arm.is_open else ()):
            whole = allowance.predicted(arm, shape, candidate.params)
            is_cheap = bool(arm.costs) and whole <= SAMPLE_SHARE * left / ratio
            rows = _rows_to_try(candidate, shape, most, is_cheap=is_cheap)
            tried = replace(shape, n_rows=rows)
            predicted = ratio * allowance.predicted(arm, tried, candidate.params)
            share = min(predicted, given) / max(left, 1e-9)
            merit = arm.discount * candidate.merit * USELESS_DISCOUNT**arm.useless
            worth = merit * (1 - THRIFT * share)
            found.append(
                _Entry(
                    position=position,
                    number=number,
                    predicted=predicted,
                    given=given,
                    worth=worth,
                    max_rows=rows if rows < shape.n_rows else None,
                )
            )
    return found


def _rows_to_try(candidate: Candidate, shape: Shape, most: float, *, is_cheap: bool) -> int:
    """Return how many training rows a candidate is to be tried on: all, if that is cheap.

    What encoders make of a table, and take, is known only after a learner's first member: on a
    large table that one reads a sample. No later one reads more than ``most`` rows.
    """
    if candidate.max_rows is not None:
        return min(candidate.max_rows, shape.n_rows)
    if shape.n_rows <= 2 * SAMPLE_ROWS:
        return shape.n_rows
    return max(SAMPLE_ROWS, int(min(most, shape.n_rows))) if is_cheap else SAMPLE_ROWS


def _choose_by_bandit(arms: Sequence[Arm], allowance: Allowance) -> Choice | None:
    """Pick the learner of the highest upper bound on the ensemble's gain per second.

    The bound follows UCB1 (Auer et al. 2002, figure 1), on the mean of the latest gains, since
    gains fall as the ensemble grows. A learner that never added anything is not played.
    """
    playable = [arm for arm in arms if arm.is_searchable and max(arm.rates) > 0]
    best = max((_recent(arm.rates) for arm in playable), default=0.0) or 1.0
    plays = sum(len(arm.rates) for arm in playable)

    def bound(arm: Arm) -> float:
        exploration = math.sqrt(2 * math.log(plays + 1) / len(arm.rates))
        return _recent(arm.rates) / best + EXPLORATION * exploration

    for arm in sorted(playable, key=bound, reverse=True):
        if _recent(arm.fold_seconds) <= STRETCH * allowance.given:
            try:
                draw = arm.study.ask(arm.spec.space)
            except PluginError as error:
                arm.give_up(error)
                continue
            return Choice(arm=arm, draw=draw, seconds=allowance.given, is_drawn=True)
    return None


def _recent(values: Sequence[float]) -> float:
    return float(np.mean(values[-RECENT:]))


def _ratio(costs: Sequence[tuple[float, float]], default: float) -> float:
    predicted = sum(pair[0] for pair in costs)
    return sum(pair[1] for pair in costs) / predicted if predicted > 0 else default
