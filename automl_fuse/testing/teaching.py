"""Rules of learners that compressors rely on: soft labels, early stopping, forms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.specs import ForestModel, Link, NetworkModel, linked
from automl_fuse.testing._base import (
    TickingDeadline,
    require,
    require_close,
    survives_json,
    through_pickle,
)
from automl_fuse.testing._data import with_missing

if TYPE_CHECKING:
    from automl_fuse.testing.learners import LearnerCase

_NEAR = 0.13
"""Average distance from soft labels. Learners that take them come nearer than 0.1; fitted to the
likeliest classes instead they miss by 0.18 or more, and so does who predicts the mean."""


def learns_soft_labels(case: LearnerCase) -> None:
    """Require that it comes near soft labels, ``Rows.soft``, where its spec says it takes them."""
    if not case.spec.soft_labels or not case.task.is_classification:
        return
    rows = case.rows(240, seed=1)
    one, other = rows.X.values[:, 0], rows.X.values[:, 1]
    scores = [np.zeros_like(one), one] if case.n_classes == 2 else [one, other, -one - other]
    soft = linked(np.stack(scores, axis=1), Link.SOFTMAX)
    y = soft.argmax(axis=1)
    model = case.fit(replace(rows, y=y, soft=soft), None, deadline=TickingDeadline(seconds=50.0))
    predicted = case.predict(model, rows.X)
    off = float(np.abs(predicted - soft)[np.arange(len(y)), y].mean())
    require(off < _NEAR, f"soft labels of training rows are missed by {off:.3f} on average")


def fits_again_as_tuned(case: LearnerCase) -> None:
    """Require that ``tuned``, where it is, gives params that fit without validation rows."""
    tell = getattr(case.model, "tuned", None)
    if tell is None:
        return
    tuned = dict(tell())
    require(survives_json(tuned), f"tuned gives {tuned}, which are not JSON values")
    params = {**case.params, **tuned}
    again = case.fit(case.train, None, params=params, deadline=TickingDeadline(seconds=60.0))
    case.predict(again, case.test.X)


def predicts_by_its_form(case: LearnerCase) -> None:
    """Require that ``form``, where it is, gives trees or a network that predict the same."""
    model: Any = through_pickle(case.model)
    form = model.form() if hasattr(model, "form") else None
    if form is None:
        return
    known = isinstance(form, ForestModel | NetworkModel)
    require(known, f"form gives {type(form).__name__}, no ForestModel, NetworkModel or None")
    tables = [case.train.X, case.test.X]
    if case.keeps_missing:
        tables.append(with_missing(case.test.X))
    for X in tables:
        require_close(form.predict(X.values), case.model.predict(X), 1e-6, "by the form")


TEACHING_RULES = (learns_soft_labels, fits_again_as_tuned, predicts_by_its_form)
