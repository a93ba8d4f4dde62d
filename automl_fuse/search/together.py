"""Folds of a member, and configurations of a learner, that one job fits at the same time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from automl_fuse.errors import PluginError
from automl_fuse.hyperparameters import learner_params
from automl_fuse.specs import no_space

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automl_fuse.search.arms import Choice
    from automl_fuse.specs import Job, LearnerSpec, Params, Shape

MOST_CONFIGURATIONS: Final = 8
"""Configurations of one job: those drawn at once learn nothing from each other."""


def at_once(spec: LearnerSpec, shape: Shape, params: Params, n_models: int) -> int:
    """Return how many of so many models one job fits: 1 unless the learner says that more pay."""
    if spec.together is None or n_models == 1:
        return 1
    return max(1, min(n_models, spec.together.size(shape, params)))


def seconds_each(spec: LearnerSpec, shape: Shape, params: Params, n_models: int) -> float:
    """Return the predicted seconds of each of so many models that one job fits."""
    if spec.together is None or n_models == 1:
        return spec.cost(shape, params).seconds
    return spec.together.seconds(shape, params, n_models) / n_models


def seconds_in_waves(
    spec: LearnerSpec, shape: Shape, params: Params, n_folds: int, slots: int
) -> float:
    """Return the predicted seconds of a member, for each wave of its folds if fitted apart.

    The search plans by folds of which so many run at once. Where one job fits several, it takes
    as long as all of its folds.

    Parameters
    ----------
    spec, shape, params
        What is fitted.
    n_folds : int
        Folds of the member.
    slots : int
        Jobs that run at once.
    """
    n = at_once(spec, shape, params, n_folds)
    each = seconds_each(spec, shape, params, n)
    return each * n * stretch(n_folds, n, slots)


def stretch(n_folds: int, n: int, slots: int) -> float:
    """Return the waves in which ``n_folds`` run where a job fits ``n``, over those of single ones.

    A job may take a wave's seconds over this: then the member takes as long as it would have.
    """
    return math.ceil(math.ceil(n_folds / n) / slots) / math.ceil(n_folds / slots)


def mates_of(choice: Choice, shape: Shape, n_folds: int, seconds: float) -> Iterator[Choice]:
    """Yield other configurations, drawn to be fitted in one job with those of a choice.

    Parameters
    ----------
    choice : Choice
        A member that is begun.
    shape : Shape
        Size of one fold's training rows.
    n_folds : int
        Folds of a member.
    seconds : float
        What the job may take.
    """
    arm, params = choice.arm, choice.draw.params
    together, own = arm.spec.together, learner_params(choice.draw.params)
    if together is None or arm.spec.space is no_space:
        return
    free = own.keys() - together.agreed(own).keys()
    n_members = min(together.size(shape, own) // n_folds, MOST_CONFIGURATIONS) if free else 1
    ratio = arm.correction(1.0)
    while n_members > 1 and ratio * together.seconds(shape, own, n_members * n_folds) > seconds:
        n_members -= 1
    fixed = {name: value for name, value in params.items() if name not in free}
    for _ in range(n_members - 1):
        try:
            draw = arm.study.ask(arm.spec.space, fixed)
        except PluginError as error:
            arm.give_up(error)
            return
        yield replace(choice, draw=draw, candidate=None)


def folds_of(job: Job) -> str:
    """Return the folds of a job in words."""
    first, *others = dict.fromkeys(str(each.fold) for each in job.each)
    return f"a job of the folds {', '.join([first, *others])}" if others else f"fold {first}"
