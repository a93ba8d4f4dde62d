"""Rules of learners that start from an earlier model: what transfer relies on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import Earlier
from automl_fuse.testing._base import (
    TickingDeadline,
    draw,
    require,
    require_close,
    require_points_of,
    through_pickle,
)
from automl_fuse.testing._data import first_feature

if TYPE_CHECKING:
    from automl_fuse.specs import Learner, Params
    from automl_fuse.testing.learners import LearnerCase

_FEW = 5
"""Rows of a class that are too few to learn all from."""


def has_sound_fine_tuning(case: LearnerCase) -> None:
    """Require that each configuration of its fine-tuning is a point of that space."""
    tuning = case.spec.fine_tuning
    if tuning is not None:
        require_points_of(tuning.space, tuning.portfolio)


def goes_on_from_an_earlier_model(case: LearnerCase) -> None:
    """Require that a fit to few rows stays nearer to an earlier model than a fit without it."""
    if case.spec.fine_tuning is None:
        return
    earlier = through_pickle(case.model)
    few, valid = case.few(_FEW), case.few(2)
    known = case.predict(earlier, case.test.X)
    afresh = case.predict(case.fit(few, valid), case.test.X)
    for point in case.spec.fine_tuning.portfolio:
        params = {**case.params, **point.params}
        tuned = case.fit(few, valid, params=params, earlier=_offered(case, earlier))
        off = float(np.abs(case.predict(tuned, case.test.X) - known).mean())
        limit = float(np.abs(afresh - known).mean())
        require(
            off < limit, f"{dict(point.params)}: off by {off:.4f}, and by {limit:.4f} without it"
        )
        copy = through_pickle(tuned)
        require_close(copy.predict(case.test.X), tuned.predict(case.test.X), 1e-12, "pickled")


def goes_on_from_other_columns_and_outputs(case: LearnerCase) -> None:
    """Require that it fits where the earlier model read other columns, or gave other outputs."""
    if case.spec.fine_tuning is None:
        return
    params: Params = {**case.params, **draw(case.spec.fine_tuning.space, 0)}
    narrow = case.fit(first_feature(case.train), first_feature(case.valid))
    none = Earlier(learner=case.model, outputs=(-1,) * case.n_classes)
    whole = case.rows(60, seed=4)
    renamed = replace(whole, X=replace(whole.X, names=tuple(f"new {n}" for n in whole.X.names)))
    for rows, earlier in (
        (whole, _offered(case, narrow)),
        (first_feature(whole), _offered(case, case.model)),
        (renamed, none),
    ):
        deadline = TickingDeadline(seconds=60.0)
        tuned = case.fit(rows, None, params=params, deadline=deadline, earlier=earlier)
        case.predict(tuned, rows.X)


def _offered(case: LearnerCase, learner: Learner) -> Earlier:
    return Earlier(learner=learner, outputs=tuple(range(case.n_classes)))


STARTING_RULES = (
    has_sound_fine_tuning,
    goes_on_from_an_earlier_model,
    goes_on_from_other_columns_and_outputs,
)
