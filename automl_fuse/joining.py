"""Fold models made of others: what they read together, and whether they go together."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.encoding import rows_of
from automl_fuse.errors import PluginError
from automl_fuse.specs import Joint, Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.members import FoldModel
    from automl_fuse.specs import Array, Job, Learner


def read_by(models: Sequence[FoldModel]) -> tuple[str, ...]:
    """Return the encoders that any of the fold models reads, each once."""
    return tuple(dict.fromkeys(key for model in models for key in model.encoders))


def require_alike(job: Job, models: Sequence[FoldModel]) -> None:
    """Refuse fold models that do not go together: to be edited, or joined.

    Raises
    ------
    PluginError
        If those of an edit read different features; if those of a joint were fitted to different
        rows, classes or transforms of the target.
    """
    names = f"{job.source!r} and {job.others}"
    if isinstance(job.edit, Joint):
        if any(_terms(model) != _terms(models[0]) for model in models):
            raise PluginError(
                f"{names} were not fitted to the same rows, classes and transform of the target."
            )
    elif len({model.encoders for model in models}) > 1:
        raise PluginError(f"{names} do not read the same features.")


def learners_of(job: Job, models: Sequence[FoldModel]) -> list[Learner]:
    """Return the learners of fold models.

    Raises
    ------
    PluginError
        If one has none.
    """
    learners = [model.learner.get() for model in models if model.learner is not None]
    if len(learners) < len(models):
        names = [job.source, *job.others]
        raise PluginError(f"of {names} one had nothing to learn from in fold {job.fold}.")
    return learners


def parts_of(job: Job, models: Sequence[FoldModel], widths: Mapping[str, int]) -> list[Part]:
    """Return the learners of fold models that may read different features of the same rows.

    Parameters
    ----------
    job : Job
        What asks for it.
    models : sequence of FoldModel
        Of one fold.
    widths : mapping of str to int
        How many features each encoder of ``read_by`` gives, in its order.

    Raises
    ------
    PluginError
        If one has no learner.
    """
    ends = dict(zip(widths, accumulate(widths.values()), strict=True))
    places = {key: np.arange(ends[key] - width, ends[key]) for key, width in widths.items()}
    return [
        Part(learner=learner, columns=_beside([places[key] for key in model.encoders]))
        for learner, model in zip(learners_of(job, models), models, strict=True)
    ]


def _terms(model: FoldModel) -> tuple[object, ...]:
    """Return the rows, the classes and the terms of the target that a model was fitted to."""
    target = None if model.target is None else replace(model.target, factor=1.0)
    return rows_of(model.encoders), model.classes, target


def _beside(parts: Sequence[Array]) -> Array:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])
