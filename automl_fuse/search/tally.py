"""What a search has come to, and how each end of a member changes it: live, and when resumed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from automl_fuse.search.arms import Candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.search.arms import Arm
    from automl_fuse.search.incumbent import Blend, Incumbent
    from automl_fuse.search.outcome import FinishedMember, TrialFailure
    from automl_fuse.search.plateau import Plateau
    from automl_fuse.specs import Params

MIN_GAIN: Final = 5e-5
"""Relative gain of the ensemble below which a member is worth nothing."""
SAMPLE_GROWTH: Final = 4
"""Factor on the rows at the next try of a member that was best of all on a sample."""
LEAST_GROWTH: Final = 1.5
"""It is tried again on so many times its rows at least: fewer would tell nothing new."""
AGAIN: Final = 0.9
"""Merit of trying it again."""


@dataclass(kw_only=True)
class Tally:
    """What a search has come to.

    Attributes
    ----------
    incumbent : Incumbent
        The ensemble so far.
    plateau : Plateau
        The history of its loss.
    feature_bytes : float
        Bytes, at most, of the features that a member reads of a large table.
    finished : list of FinishedMember
        Members that are kept, in the order in which they finished.
    failures : list of TrialFailure
        Members that failed.
    opened, stopped, dropped : int
        Members that were begun; that were stopped early; that finished and were not kept.
    busy : float
        Seconds of fitting and predicting, of all workers together.
    portfolios_done : bool
        Whether a study drew the latest member, for no portfolio held anything that fits.
    """

    incumbent: Incumbent
    plateau: Plateau
    feature_bytes: float = math.inf
    finished: list[FinishedMember] = field(default_factory=list)
    failures: list[TrialFailure] = field(default_factory=list)
    opened: int = 0
    stopped: int = 0
    dropped: int = 0
    busy: float = 0.0
    portfolios_done: bool = False

    def open(self, *, is_drawn: bool) -> None:
        """Take note of a member that is begun."""
        self.opened += 1
        self.portfolios_done = is_drawn

    def finish(
        self,
        arm: Arm,
        member: FinishedMember,
        blend: Blend,
        drawn: Params,
        fold_seconds: Sequence[float],
        seconds: float,
    ) -> None:
        """Take a finished member in.

        Parameters
        ----------
        arm : Arm
            Its learner.
        member : FinishedMember
            The member.
        blend : Blend
            How much of it the ensemble has taken in.
        drawn : mapping
            Its params without those that are fixed.
        fold_seconds : sequence of float
            What its folds took.
        seconds : float
            When, in the run.
        """
        self.finished.append(member)
        arm.record(blend.gain, blend.loss, fold_seconds)
        self.plateau.record(seconds, blend.loss)
        arm.n_features = max(arm.n_features, member.n_features)
        if member.max_rows is not None and blend.gain > MIN_GAIN * abs(blend.loss):
            self._try_on_more_rows(arm, member.max_rows, member.loss, drawn)

    def _try_on_more_rows(self, arm: Arm, n_rows: int, loss: float, drawn: Params) -> None:
        """Put the best of a sample in line again, with as many rows as memory allows."""
        if loss > min(member.loss for member in self.finished):
            return
        rows = int(min(SAMPLE_GROWTH * n_rows, arm.rows_within(self.feature_bytes)))
        if rows >= LEAST_GROWTH * n_rows:
            arm.portfolio.append(Candidate(params=drawn, merit=AGAIN, max_rows=rows))

    def stop(self, arm: Arm, loss: float, fold_seconds: Sequence[float], seconds: float) -> None:
        """Take note of a member whose first folds added nothing to an ensemble of this loss."""
        self.stopped += 1
        arm.record(0.0, loss, fold_seconds)
        self.plateau.record(seconds, loss)

    def fail(self, arm: Arm, failure: TrialFailure, weight: int) -> None:
        """Take note of a failure, which counts so often against its learner."""
        self.failures.append(failure)
        arm.failures += weight
