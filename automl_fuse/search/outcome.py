"""What bounds a search, and what it found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from automl_fuse.folds import Indices
    from automl_fuse.specs import Floats, Params


@dataclass(frozen=True, kw_only=True)
class FinishedMember:
    """A member with OOF predictions.

    Attributes
    ----------
    name, learner, params
        Which member it is.
    folds : tuple of int
        Folds that were finished: all, unless the search was cut short.
    rows : array of shape (n_validated,)
        Positions of the rows that any fold validates, in rising order: all, but for a holdout.
    oof : array of shape (n_validated, n_outputs)
        Out-of-fold predictions of these, NaN in rows that no finished fold validated.
    loss : float
        Objective over all rows that have predictions, lower is better.
    fold_losses : array of shape (n_folds,)
        Objective by fold.
    fit_seconds, predict_seconds : float
        Sums over folds.
    row_seconds : float
        Time to predict one row of a batch with all fold models.
    bytes : int
        Size of its fold models.
    n_features : int
        Features that they read, at most.
    max_rows : int or None
        Training rows of a fold that were read, at most; all if None.
    """

    name: str
    learner: str
    params: Params
    folds: tuple[int, ...]
    rows: Indices
    oof: Floats
    loss: float
    fold_losses: Floats
    fit_seconds: float
    predict_seconds: float
    row_seconds: float
    bytes: int
    n_features: int = 0
    max_rows: int | None = None

    def predictions(self, rows: Indices) -> Floats:
        """Return the out-of-fold predictions of these rows, each of which some fold validates."""
        return self.oof[np.searchsorted(self.rows, rows)]


@dataclass(frozen=True, kw_only=True)
class TrialFailure:
    """A member that failed, with its hyperparameters and the traceback."""

    member: str
    learner: str
    params: Params
    error: str


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """What the search found.

    Attributes
    ----------
    members : tuple of FinishedMember
        In the order in which they finished.
    failures : tuple of TrialFailure
        Members that failed.
    stopped : int
        Members stopped after some folds because they added nothing.
    dropped : int
        Members that finished but were not kept, so that memory and disk stay bounded.
    busy_seconds : float
        Sum over workers of the time spent fitting and predicting.
    interrupted : bool
        Whether the user ended the search.
    gainless_seconds : float or None
        Where the search ended by itself: the seconds in which the ensemble had not gained.
    started : float
        Seconds into the run at which the first worker was started.
    disk_full : str
        Where the search ended because the disk was full: which file could not be written.
    """

    members: tuple[FinishedMember, ...]
    failures: tuple[TrialFailure, ...]
    stopped: int
    dropped: int
    busy_seconds: float
    interrupted: bool
    gainless_seconds: float | None = None
    started: float = 0.0
    disk_full: str = ""


@dataclass(frozen=True, kw_only=True)
class SearchLimits:
    """Bounds of a search.

    Attributes
    ----------
    seconds : float
        Time from now.
    max_trials : int or None
        Members to try.
    slots : int
        Jobs that run at once.
    patience : float
        Seconds without a gain of the ensemble after which to end, the portfolios done.
    log_targets : bool
        Whether learners are also tried on the logarithm of the target.
    until : float
        Seconds into the run at which the search ends.
    disk_bytes : float
        What fold models and predictions of finished members may come to.
    """

    seconds: float
    max_trials: int | None
    slots: int
    patience: float = math.inf
    log_targets: bool = False
    until: float = math.inf
    disk_bytes: float = math.inf
