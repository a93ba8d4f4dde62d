"""Models of an earlier run in the directory of this one, from which fold models start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from automl_fuse.errors import RunError
from automl_fuse.hyperparameters import EARLIER
from automl_fuse.specs import ALL_ROWS, Earlier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from automl_fuse.members import Stored
    from automl_fuse.run import RunDirectory
    from automl_fuse.specs import Job, Learner


@dataclass(frozen=True, kw_only=True)
class EarlierModel:
    """A fitted learner of an earlier run.

    Attributes
    ----------
    learner : Stored of Learner
        The learner.
    outputs : tuple of int
        For each class of this run (or its one target), the position of the same one among what
        the learner predicts; -1 for none.
    """

    learner: Stored[Learner]
    outputs: tuple[int, ...]


def keep_earlier_models(
    run: RunDirectory, member: str, models: Sequence[EarlierModel], n_folds: int
) -> None:
    """Write a model for each fold, and for all rows, from those of an earlier member.

    Folds take them in turn. None of them has seen a row of this run, so that any can serve any
    fold; that a fold's name alone tells its file suits jobs that run far from here.
    """
    for fold in (ALL_ROWS, *range(n_folds)):
        run.seals.dump(run.earlier(member, fold), models[max(fold, 0) % len(models)])


def earlier_model_path(run: RunDirectory, job: Job) -> Path:
    """Return the file of the model that a job starts from."""
    return run.earlier(str(job.params[EARLIER]), job.fold)


def earlier_of(run: RunDirectory, job: Job, classes: tuple[int, ...]) -> Earlier | None:
    """Return what the learner of a job starts from, or None if it starts afresh.

    Parameters
    ----------
    run : RunDirectory
        This run.
    job : Job
        Its params name the earlier member.
    classes : tuple of int
        The classes that the learner knows, in its order; empty in regression.

    Raises
    ------
    RunError
        If the model is missing.
    """
    if EARLIER not in job.params:
        return None
    path = earlier_model_path(run, job)
    if not path.exists():
        raise RunError(f"{path} is missing: there is no earlier model to start from.")
    model: EarlierModel = run.seals.load(path)
    outputs = tuple(model.outputs[code] for code in classes) if classes else model.outputs
    return Earlier(learner=model.learner.get(), outputs=outputs)
