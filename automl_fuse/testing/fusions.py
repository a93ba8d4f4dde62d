"""The conformance suite of fusions."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import (
    Floats,
    Fusion,
    FusionContext,
    FusionSpec,
    Params,
    Task,
)
from automl_fuse.testing._base import (
    Check,
    TickingDeadline,
    checks_of,
    draw,
    far,
    frozen_copies,
    passed,
    require,
    require_close,
    require_points_of,
    require_valid,
    run_all,
    sound_spec,
    through_pickle,
)
from automl_fuse.testing._data import n_classes_of, sample_target
from automl_fuse.testing.exporting import FUSION_RULES

if TYPE_CHECKING:
    from automl_fuse.specs import Array

_N_ROWS = 80
NOISES = (0.5, 1.0, 1.5, 0.8, 3.0)
"""Of the members of the sample, the fourth almost as good as the first."""


def sample_loss(y: Array, prediction: Floats, weight: Floats | None) -> float:
    """Return log-loss of class codes, or squared error of values: an objective for the suite."""
    if prediction.shape[1] == 1:
        losses = (prediction[:, 0] - y) ** 2
    else:
        losses = -np.log(np.clip(prediction[np.arange(len(y)), y], 1e-15, 1.0))
    return float(np.average(losses, weights=weight))


def sample_oof(y: Array, task: Task, noises: tuple[float, ...], seed: int) -> Floats:
    """Make predictions (n_members, n_rows, n_outputs), each noisier than the truth by a noise."""
    random = np.random.default_rng(seed)
    if not task.is_classification:
        return np.stack([y[:, None] + s * random.normal(size=(len(y), 1)) for s in noises])
    truth = 2.0 * np.eye(n_classes_of(task))[y]
    scores = [truth + s * random.normal(size=truth.shape) for s in noises]
    odds = np.exp(np.stack(scores))
    shares: Floats = odds / odds.sum(axis=2, keepdims=True)
    return shares


class FusionCase:
    """A fusion on one task, members of unlike quality, and a fit that checks share."""

    def __init__(self, spec: FusionSpec, task: Task, params: Params) -> None:
        self.spec = spec
        self.task = task
        self.params = params
        self.n_classes = n_classes_of(task)
        self.y = sample_target(np.random.default_rng(1).normal(size=_N_ROWS), task, seed=2)
        self.oof = sample_oof(self.y, task, NOISES, seed=3)
        self.other = sample_oof(self.y, task, NOISES, seed=4)

    @cached_property
    def fitted(self) -> Fusion:
        """The fit that most checks look at."""
        return self.fit(self.oof)

    def context(self, deadline: TickingDeadline | None = None) -> FusionContext:
        """Return what the fusion is told."""
        return FusionContext(
            task=self.task,
            n_classes=self.n_classes,
            loss=sample_loss,
            seed=7,
            deadline=deadline or far(),
        )

    def fit(
        self,
        oof: Floats,
        *,
        weight: Floats | None = None,
        params: Params | None = None,
        deadline: TickingDeadline | None = None,
    ) -> Fusion:
        """Build a fusion, fit it, and require sound weights."""
        built = self.spec.build(self.params if params is None else params, self.context(deadline))
        built.fit(oof, self.y, weight)
        weights = built.weights
        require(weights.shape == (len(oof),), f"weights have shape {weights.shape}")
        require(np.isfinite(weights).all(), f"weights {weights} are not finite")
        require((weights >= 0).all(), f"weights {weights} are negative")
        require(abs(weights.sum() - 1) < 1e-6, f"weights {weights} sum to {weights.sum()}")
        return built

    def combine(self, fusion: Fusion, predictions: Floats) -> Floats:
        """Combine, and require a valid prediction."""
        combined = fusion.combine(predictions)
        require_valid(combined, self.task, predictions.shape[1], self.n_classes)
        return combined


def combines_validly(case: FusionCase) -> None:
    """Require that weights sum to 1, and the combination is a valid prediction."""
    require(isinstance(case.fitted, Fusion), f"build returned {case.fitted!r}, which is no Fusion")
    case.combine(case.fitted, case.oof)
    case.combine(case.fitted, case.other)


def beats_the_worst_member(case: FusionCase) -> None:
    """Require that on new predictions the combination is better than the worst member."""
    reached = sample_loss(case.y, _as_scored(case.combine(case.fitted, case.other)), None)
    worst = max(sample_loss(case.y, _as_scored(p), None) for p in case.other)
    require(reached < worst, f"loss {reached:.3f}, of the worst member {worst:.3f}")


def _as_scored(prediction: Floats) -> Floats:
    """Bound probabilities away from 0, so that hard votes can be compared too."""
    return np.clip(prediction, 0.02, None) if prediction.shape[1] > 1 else prediction


def repeats_with_its_seed(case: FusionCase) -> None:
    """Require that two fits with one seed give the same weights and combinations."""
    again = case.fit(case.oof)
    require_close(again.weights, case.fitted.weights, 1e-9, "weights of two fits")
    left, right = again.combine(case.other), case.fitted.combine(case.other)
    require_close(left, right, 1e-9, "combinations of two fits")


def pickles(case: FusionCase) -> None:
    """Require that a fitted fusion survives pickle, and combines the same."""
    left = through_pickle(case.fitted).combine(case.other)
    require_close(left, case.fitted.combine(case.other), 1e-12, "before and after pickle")


def combines_rows_alone(case: FusionCase) -> None:
    """Require that the combination of a row does not depend on the other rows."""
    batch = case.combine(case.fitted, case.other)
    for row in (0, 5, _N_ROWS - 1):
        alone = case.combine(case.fitted, case.other[:, row : row + 1])
        require_close(alone, batch[row : row + 1], 1e-9, f"row {row} alone")
    backwards = case.combine(case.fitted, case.other[:, ::-1])[::-1]
    require_close(backwards, batch, 1e-9, "rows in reverse order")


def accepts_one_member(case: FusionCase) -> None:
    """Require that a single member has all the weight."""
    fusion = case.fit(case.oof[:1])
    case.combine(fusion, case.other[:1])


def accepts_identical_members(case: FusionCase) -> None:
    """Require that members that predict the same can be fused."""
    same = np.repeat(case.oof[:1], 3, axis=0)
    case.combine(case.fit(same), same)


def accepts_certain_members(case: FusionCase) -> None:
    """Require that it fuses probabilities of exactly 0 and 1, and constant members."""
    oof = case.oof.copy()
    if case.task.is_classification:
        oof[1] = np.eye(case.n_classes)[case.y]
        oof[2] = np.eye(case.n_classes)[np.zeros(_N_ROWS, dtype=np.intp)]
    oof[3] = oof[3].mean(axis=0)
    fusion = case.fit(oof)
    case.combine(fusion, oof)
    case.combine(fusion, case.other)


def ignores_members_of_no_weight(case: FusionCase) -> None:
    """Require that the predictions of a member of weight 0 do not matter."""
    unused = case.fitted.weights == 0
    other = case.other.copy()
    other[unused] = 1 / case.n_classes
    left, right = case.combine(case.fitted, other), case.combine(case.fitted, case.other)
    require_close(left, right, 1e-9, f"without members {np.flatnonzero(unused).tolist()}")


def does_not_favour_a_position(case: FusionCase) -> None:
    """Require that it fuses as well whatever the order of the members."""
    backwards = case.fit(case.oof[::-1])
    left = sample_loss(case.y, _as_scored(case.combine(backwards, case.other[::-1])), None)
    right = sample_loss(case.y, _as_scored(case.combine(case.fitted, case.other)), None)
    message = f"loss {right:.4f}, with the members in reverse order {left:.4f}"
    require(abs(left - right) < 0.1 * right + 0.01, message)


def accepts_weights(case: FusionCase) -> None:
    """Require that it fits weighted rows."""
    weight = np.random.default_rng(5).uniform(0.1, 2.0, size=_N_ROWS)
    case.combine(case.fit(case.oof, weight=weight / weight.mean()), case.other)


def honours_a_passed_deadline(case: FusionCase) -> None:
    """Require that sound weights come of a deadline that has passed, or passes soon."""
    for deadline in (passed(), TickingDeadline(seconds=3.0)):
        case.combine(case.fit(case.oof, deadline=deadline), case.other)


def leaves_its_input_alone(case: FusionCase) -> None:
    """Require that neither fitting nor combining changes the arrays it is given."""
    # Made anew: an earlier check may have left its marks on what checks share.
    fresh = FusionCase(case.spec, case.task, case.params)
    weight = np.ones(_N_ROWS)
    pairs = list(frozen_copies([fresh.oof, fresh.y, fresh.other, weight]))
    fresh.combine(fresh.fit(fresh.oof, weight=weight), fresh.other)
    for array, copy in pairs:
        require(np.array_equal(array, copy), "an array was changed in place")


def has_a_sound_portfolio(case: FusionCase) -> None:
    """Require that configurations are points of the space, and that they and random draws fit."""
    require_points_of(case.spec.space, case.spec.portfolio)
    drawn = [draw(case.spec.space, seed) for seed in range(3)]
    for params in [*(point.params for point in case.spec.portfolio), *drawn]:
        case.combine(case.fit(case.oof, params=params), case.other)


_RULES = (
    combines_validly,
    beats_the_worst_member,
    repeats_with_its_seed,
    pickles,
    combines_rows_alone,
    accepts_one_member,
    accepts_identical_members,
    accepts_certain_members,
    ignores_members_of_no_weight,
    does_not_favour_a_position,
    accepts_weights,
    honours_a_passed_deadline,
    leaves_its_input_alone,
    has_a_sound_portfolio,
    *FUSION_RULES,
)


def fusion_checks(spec: FusionSpec) -> list[Check]:
    """Return the checks of a fusion: every rule on each of its tasks."""
    checks = [sound_spec(spec, "fusion")]
    for task in sorted(spec.tasks):
        case = FusionCase(spec, task, spec.portfolio[0].params)
        checks += checks_of(_RULES, case, kind="fusion", spec=spec.name, label=str(task))
    return checks


def check_fusion(spec: FusionSpec) -> None:
    """Apply every check of a fusion; raise ``AssertionError`` listing all that are broken."""
    run_all(fusion_checks(spec))
