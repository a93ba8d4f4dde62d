"""The search: members by learner studies and a bandit, then the fusion by a study of its own.

``studies`` is the only module that imports Optuna.
"""

from automl_fuse.search.fusions import FusionChoice, choose_fusion
from automl_fuse.search.members import MemberSearch
from automl_fuse.search.outcome import FinishedMember, SearchLimits, SearchOutcome, TrialFailure

__all__ = [
    "FinishedMember",
    "FusionChoice",
    "MemberSearch",
    "SearchLimits",
    "SearchOutcome",
    "TrialFailure",
    "choose_fusion",
]
