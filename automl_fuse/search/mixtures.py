"""The study over mixtures: which forms of which members, for quality, latency and bytes."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.bagging import bagging_gain
from automl_fuse.compression import Alone
from automl_fuse.fronts import Point, front_of, standard_error
from automl_fuse.fusion import CrossFitted, FittedFusion, cross_fitted, fit_final
from automl_fuse.search.studies import Study, TrialSuggest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from automl_fuse.compression.forms import Form
    from automl_fuse.fusion import Splits
    from automl_fuse.search.studies import Storage
    from automl_fuse.specs import Array, Floats, FusionContext, FusionSpec, Params

STUDY = "front"
MAX_TRIALS = 150
SLOTS = 5
"""Forms of a mixture that the sampler draws, at most, unless a set given has more."""
NET_GAIN = 0.3
"""Share of the estimated gain of averaging fold models that is left against one model of all
rows, which learns from more rows than each of them. Measured on held-out parts of the training
rows, over the members of a run: a fifth on abalone, all of it on phoneme, less than nothing on
telco."""


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Some forms fused, with what it is expected to be worth.

    Attributes
    ----------
    forms : tuple of int
        Positions of those that the fusion needs.
    fusion : FittedFusion
        Fitted on the study's rows.
    prediction : array of shape (n_rows, n_outputs)
        Cross-fitted.
    point : Point
        Its latency and bytes are sums over forms.
    gain : float
        By how much averaging fold models lowers the loss; it is in the point's loss.
    """

    forms: tuple[int, ...]
    fusion: FittedFusion
    prediction: Floats
    point: Point
    gain: float


def fuse_forms(
    spec: FusionSpec,
    params: Params,
    oof: Floats,
    y: Array,
    weight: Floats | None,
    splits: Splits,
    context: FusionContext,
) -> tuple[CrossFitted, FittedFusion]:
    """Fuse forms and cross-fit the fusion; one form alone needs none.

    Some fusions have curves that cost more than a small member does.

    Parameters
    ----------
    spec, params
        How they are fused.
    oof : array of shape (n_forms, n_rows, n_outputs)
        Their out-of-fold predictions.
    y, weight : array of shape (n_rows,)
        Target and sample weights.
    splits : sequence of (choose_rows, score_rows)
        For the cross-fitted loss.
    context : FusionContext
        What fusions are told.
    """
    if len(oof) > 1:
        result = cross_fitted(spec, params, oof, y, weight, splits, context)
        fitted = fit_final(spec, params, oof, y, weight, context)
        if len(fitted.members) > 1:
            return result, fitted
        oof = oof[list(fitted.members)]
    else:
        fitted = FittedFusion(fusion=Alone(), members=(0,), weights=np.ones(1))
    scored = np.isfinite(oof[0]).all(axis=1)
    mass = None if weight is None else weight[scored]
    loss = context.loss(y[scored], oof[0][scored], mass)
    alone = CrossFitted(loss=loss, std=0.0, prediction=oof[0])
    return alone, replace(fitted, fusion=Alone(), weights=np.ones(1))


class MixtureStudy:
    """A multi-objective Optuna study over sets of forms.

    Parameters
    ----------
    forms : sequence of Form
        What may be fused.
    spec, params
        How they are fused: the fusion that was chosen for all members.
    target : pair of arrays of shape (n_rows,)
        Target, and sample weights or None.
    splits : sequence of (choose_rows, score_rows)
        For the cross-fitted loss.
    n_folds : int
        Models that a form of fold models averages.
    context : FusionContext
        What fusions are told; its deadline ends the study.
    storage : Storage
        Where the study is kept.
    """

    def __init__(
        self,
        forms: Sequence[Form],
        spec: FusionSpec,
        params: Params,
        target: tuple[Array, Floats | None],
        splits: Splits,
        n_folds: int,
        context: FusionContext,
        storage: Storage,
    ) -> None:
        self._forms = forms
        self._spec = spec
        self._params = params
        self._y, self._weight = target
        self._splits = splits
        self._n_folds = n_folds
        self._context = context
        self._study = Study(STUDY, storage, context.seed, n_objectives=3, genetic=True)
        self._names = [form.name for form in forms]
        self._n_slots = min(SLOTS, len(forms))
        self._oof = np.stack([form.oof for form in forms])
        self._known: dict[tuple[int, ...], Mixture] = {}
        self.failures: list[tuple[str, str]] = []

    def run(self, seeds: Iterable[Sequence[int]]) -> tuple[Mixture, ...]:
        """Try each form alone, the sets given, then what the sampler draws, until the deadline.

        Returns the front, by rising loss.
        """
        alone = [(position,) for position in range(len(self._forms))]
        wanted = [*alone, *map(tuple, seeds)]
        self._n_slots = max([self._n_slots, *map(len, wanted)])
        for chosen in wanted:
            if self._known and self._context.deadline.expired():
                break
            self._try(chosen)
        for _ in range(MAX_TRIALS):
            everything = len(self._known) == 2 ** len(self._forms) - 1
            if everything or self._context.deadline.expired():
                break
            self._try(None)
        return self.front()

    @property
    def largest_gain(self) -> float:
        """The most that averaging fold models was worth to any mixture."""
        return max((mixture.gain for mixture in self._known.values()), default=0.0)

    def point_of(self, chosen: Sequence[int]) -> Point | None:
        """Return what was found for a set of forms; None if it was not tried."""
        mixture = self._known.get(tuple(chosen))
        return None if mixture is None else mixture.point

    def front(self) -> tuple[Mixture, ...]:
        """Return the mixtures that no other beats, by rising loss."""
        by_name = {mixture.point.name: mixture for mixture in self._known.values()}
        return tuple(by_name[point.name] for point in front_of([m.point for m in by_name.values()]))

    def _try(self, forms: tuple[int, ...] | None) -> None:
        """Score a set of forms, or what the sampler draws."""
        draw = self._study.ask(self._space, None if forms is None else self._point(forms))
        chosen = tuple(sorted({self._names.index(name) for name in draw.params["forms"]}))
        if chosen in self._known:
            found = self._known[chosen].point
        else:
            try:
                found = self._mixture(chosen).point
            except Exception:  # noqa: BLE001 - a plugin may raise anything; the report shows it
                error = traceback.format_exc()
                self.failures.append((str(chosen), error))
                draw.fail(error)
                return
        draw.finish(found.loss, found.latency_ms, found.size_mb)

    def _space(self, suggest: TrialSuggest) -> dict[str, Any]:
        """Draw how many slots are used, few more often than many, and the form in each."""
        used = suggest.integer("used", 1, self._n_slots, log=True)
        slots = [suggest.choice(f"slot {slot}", self._names) for slot in range(self._n_slots)]
        return {"forms": slots[:used]}

    def _point(self, forms: tuple[int, ...]) -> dict[str, Any]:
        """Return a set of forms as a point of the space."""
        names = [self._names[position] for position in forms]
        filled = names + names[-1:] * (self._n_slots - len(names))
        return {"used": len(names)} | {f"slot {slot}": name for slot, name in enumerate(filled)}

    def _mixture(self, chosen: tuple[int, ...]) -> Mixture:
        context, oof = self._context, self._oof[list(chosen)]
        result, fitted = fuse_forms(
            self._spec, self._params, oof, self._y, self._weight, self._splits, context
        )
        kept = tuple(chosen[position] for position in fitted.members)
        scored = np.isfinite(result.prediction).all(axis=1)
        weight = None if self._weight is None else self._weight[scored]
        error = standard_error(context.loss, self._y[scored], result.prediction[scored], weight)
        # The estimate can be several times too high for members that are too sure of themselves.
        gain = min(self._gain(kept, fitted), error)
        mixture = Mixture(
            forms=kept,
            fusion=fitted,
            prediction=result.prediction,
            point=Point(
                name=" + ".join(self._forms[position].name for position in kept),
                loss=result.loss - gain,
                error=error,
                latency_ms=sum(self._forms[position].latency_ms for position in kept),
                size_mb=sum(self._forms[position].size_mb for position in kept),
            ),
            gain=gain,
        )
        self._known[chosen] = mixture
        return mixture

    def _gain(self, kept: tuple[int, ...], fitted: FittedFusion) -> float:
        """Return what averaging fold models is worth, which out-of-fold predictions do not show."""
        forms = [self._forms[position] for position in kept]
        if all(form.is_single for form in forms):
            return 0.0
        one, other = (
            fitted.fusion.combine(np.stack(parts))
            for parts in ([form.one for form in forms], [form.other for form in forms])
        )
        residuals = None
        if not self._context.task.is_classification:
            residuals = self._y - self._oof[list(kept)].mean(axis=0)[:, 0]
        gain = bagging_gain(
            self._context.loss, one, other, self._n_folds, residuals, self._context.seed
        )
        return NET_GAIN * gain
