"""The search: members by learner studies and a bandit, then the fusion by a study of its own.

``studies`` is the only module that imports Optuna.
"""

from automl_fuse.search.arms import Way
from automl_fuse.search.fusions import FusionChoice, choose_fusion
from automl_fuse.search.members import MemberSearch
from automl_fuse.search.mixtures import Mixture, MixtureStudy, fuse_forms
from automl_fuse.search.outcome import FinishedMember, SearchLimits, SearchOutcome, TrialFailure
from automl_fuse.search.students import Orders
from automl_fuse.search.workshop import Made, Order, Workshop, medians

__all__ = [
    "FinishedMember",
    "FusionChoice",
    "Made",
    "MemberSearch",
    "Mixture",
    "MixtureStudy",
    "Order",
    "Orders",
    "SearchLimits",
    "SearchOutcome",
    "TrialFailure",
    "Way",
    "Workshop",
    "choose_fusion",
    "fuse_forms",
    "medians",
]
