"""Both parts keep the rules that automl_fuse's own keep; one test for each rule and task."""

from __future__ import annotations

import numpy as np
from automl_fuse_example import kernel_map, median

from automl_fuse.specs import FusionContext, Task
from automl_fuse.testing import Check, TickingDeadline, parametrize_with_checks


@parametrize_with_checks([kernel_map.SPEC, median.SPEC])
def test_conforms(check: Check) -> None:
    check()


def fitted_median(task: Task, oof: np.ndarray) -> median.Median:
    context = FusionContext(
        task=task,
        n_classes=oof.shape[2],
        loss=lambda *_: 0.0,
        seed=0,
        deadline=TickingDeadline(),
    )
    fusion = median.Median({}, context)
    fusion.fit(oof, np.zeros(oof.shape[1]), None)
    return fusion


def test_one_member_far_off_does_not_move_the_median() -> None:
    oof = np.array([[[1.0]], [[1.2]], [[1000.0]]])
    assert fitted_median(Task.REGRESSION, oof).combine(oof).tolist() == [[1.2]]


def test_members_that_are_certain_and_disagree_give_their_mean() -> None:
    oof = np.eye(3)[:, None, :]
    combined = fitted_median(Task.MULTICLASS, oof).combine(oof)
    assert np.allclose(combined, 1 / 3)
