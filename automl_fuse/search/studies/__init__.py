"""Optuna behind a few small classes: the only package that imports it."""

from automl_fuse.search.studies.storage import Storage
from automl_fuse.search.studies.study import Draw, PastTrial, Study, TrialSuggest

__all__ = ["Draw", "PastTrial", "Storage", "Study", "TrialSuggest"]
