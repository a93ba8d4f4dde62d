"""How long members, their jobs and the start of a worker may take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automl_fuse.search.arms import Allowance

if TYPE_CHECKING:
    from automl_fuse.budget import Deadline
    from automl_fuse.search.outcome import SearchLimits

FIRST_SHARE = 0.5
"""Share of the search that the first member may take: something must be servable soon."""
FIRST_SECONDS = (6.0, 12.0)
"""Seconds of a fold of the first member, and of all its folds, at most, on a large table."""
SHARE = 0.4
"""Share of the remaining search that a later member may take."""
MARGIN = 0.95
"""Share of the time to the end of the search that the last jobs are given."""
LAST_START = 0.01
"""Share of the search before whose end no member is begun."""
OVERRUN = (1.25, 5.0)
"""A job is killed after its seconds times the first number plus the second."""
START = (0.5, 10.0, 60.0)
"""A worker may take this share of the search to start and to import a job's library, but at least
the second number of seconds and at most the third: long where a machine has much else to do."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """How long members and their jobs may take.

    Attributes
    ----------
    limits : SearchLimits
        Length of the search, and jobs that run at once.
    deadline : Deadline
        Its end.
    n_folds : int
        Folds of a member.
    """

    limits: SearchLimits
    deadline: Deadline
    n_folds: int

    @property
    def is_too_late(self) -> bool:
        """Whether no member is to be begun any more."""
        return self.deadline.remaining() < LAST_START * self.limits.seconds

    def allowance(self, feature_bytes: float, *, is_first: bool) -> Allowance:
        """Return what the next member may take; ``feature_bytes`` as in ``Allowance``."""
        left = self.deadline.remaining() / self._waves(self.n_folds)
        return Allowance(
            given=left * (FIRST_SHARE if is_first else SHARE),
            left=left,
            feature_bytes=feature_bytes,
            n_folds=self.n_folds,
            slots=self.limits.slots,
        )

    def of_member(self, fold_seconds: float) -> float:
        """Return the seconds of all folds of a member, given those of one."""
        return self._waves(self.n_folds) * fold_seconds

    def of_wave(self, fold_seconds: float, n_waiting: int, *, is_urgent: bool) -> float:
        """Return the seconds of each wave of the folds of a member that wait.

        Parameters
        ----------
        fold_seconds : float
            What a fold may take by the choice of the member.
        n_waiting : int
            Folds that wait.
        is_urgent : bool
            Whether nothing is servable yet, of a table so large that it may last.
        """
        seconds = min(fold_seconds, MARGIN * self.deadline.remaining() / self._waves(n_waiting))
        if is_urgent:
            one, every = FIRST_SECONDS
            seconds = min(seconds, one, every / self._waves(self.n_folds))
        return max(seconds, 0.0)

    def at_most(self, seconds: float, *, is_begun: bool) -> float:
        """Return how long a job of so many seconds may run, or its worker may take to begin it."""
        if is_begun:
            factor, extra = OVERRUN
            return factor * seconds + extra
        share, least, most = START
        return min(max(least, share * self.limits.seconds), most)

    def _waves(self, n_folds: int) -> int:
        return math.ceil(n_folds / self.limits.slots)
