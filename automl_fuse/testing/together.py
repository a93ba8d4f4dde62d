"""Rules of learners that fit several models at the same time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from automl_fuse.specs import Fit, FitContext, Shape
from automl_fuse.testing._base import SEED, draw, far, require, require_close, through_pickle

if TYPE_CHECKING:
    from automl_fuse.specs import FitTogether, Learner, Params
    from automl_fuse.testing.learners import LearnerCase

_NEAR = 0.01
"""Sums in another order are rounded otherwise: networks in single precision differ by 1e-5 on a
processor, and by more in half precision on a card."""


def fits_together_as_alone(case: LearnerCase) -> None:
    """Require that models which ``together`` fits together predict as they do when fitted alone."""
    together = case.spec.together
    if together is None:
        return
    other, rows = _other_params(case, together), case.rows(len(case.train.y), seed=4)
    alone = _built(case, other, 8)
    alone.fit(rows, case.valid)
    first = Fit(learner=_built(case, case.params, SEED), train=case.train, valid=case.valid)
    second = Fit(learner=_built(case, other, 8), train=rows, valid=case.valid)
    together.fit([first, second])
    for fit, expected in ((first, case.model), (second, alone)):
        predicted = case.predict(through_pickle(fit.learner), case.test.X)
        known = case.predict(expected, case.test.X)
        require_close(predicted, known, _NEAR, "fitted together and alone")


def fits_one_and_unlike_rows_together(case: LearnerCase) -> None:
    """Require that ``together`` fits one model, and rows of unlike numbers without others."""
    together = case.spec.together
    if together is None:
        return
    few, fewer = case.few(3), case.few(2)
    for rows in ([few], [few, fewer]):
        fits = [
            Fit(learner=_built(case, case.params, SEED), train=each, valid=None) for each in rows
        ]
        together.fit(fits)
        for fit in fits:
            case.predict(fit.learner, case.test.X)


def plans_fits_together(case: LearnerCase) -> None:
    """Require that ``together`` says how many models pay, what they take, and where they agree."""
    together = case.spec.together
    if together is None:
        return
    for point in case.spec.portfolio:
        for n_rows in (50, 20_000, 1_000_000):
            shape = Shape(n_rows=n_rows, n_features=20, n_classes=case.n_classes, task=case.task)
            size = together.size(shape, point.params)
            require(isinstance(size, int) and size >= 1, f"size is {size!r}: give 1 or more")
            for n in (2, max(2, size)):
                seconds = together.seconds(shape, point.params, n)
                require(0 < seconds < math.inf, f"{n} models take {seconds!r} seconds")
        agreed = dict(together.agreed(point.params))
        given = dict(point.params)
        foreign = {name for name, value in agreed.items() if given.get(name) != value}
        require(not foreign, f"agreed gives {sorted(foreign)}, which {given} does not hold so")


def _other_params(case: LearnerCase, together: FitTogether) -> Params:
    """Return params of the same shape, the others drawn from the space."""
    drawn = draw(case.spec.space, 3)
    free = case.params.keys() - together.agreed(case.params).keys()
    return {**case.params, **{name: drawn[name] for name in free if name in drawn}}


def _built(case: LearnerCase, params: Params, seed: int) -> Learner:
    context = FitContext(
        task=case.task, n_classes=case.n_classes, seed=seed, n_threads=1, deadline=far()
    )
    return case.spec.build(params, context)


TOGETHER_RULES = (fits_together_as_alone, fits_one_and_unlike_rows_together, plans_fits_together)
