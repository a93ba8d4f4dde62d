"""The study over fusion methods and their settings."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.errors import NothingFittedError, PluginError
from automl_fuse.fusion import CrossFitted, cross_fitted
from automl_fuse.search.studies import Study, TrialSuggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.fusion import Splits
    from automl_fuse.search.studies import Storage
    from automl_fuse.specs import Array, Floats, FusionContext, FusionSpec, Params

STUDY = "fusion"
EXTRA_TRIALS = 12
"""Settings drawn by the study after the portfolios of all methods."""


@dataclass(frozen=True, kw_only=True)
class FusionChoice:
    """The fusion that does best on rows that did not choose its weights.

    Attributes
    ----------
    spec, params
        The method and its settings.
    result : CrossFitted
        Its score and predictions.
    tried : tuple of (str, float)
        Every method tried, with its settings, and its cross-fitted loss.
    failures : tuple of (str, str)
        Methods that failed, with the traceback.
    """

    spec: FusionSpec
    params: Params
    result: CrossFitted
    tried: tuple[tuple[str, float], ...]
    failures: tuple[tuple[str, str], ...]


def choose_fusion(
    specs: Sequence[FusionSpec],
    oof: Floats,
    target: tuple[Array, Floats | None],
    splits: Splits,
    context: FusionContext,
    storage: Storage,
) -> FusionChoice:
    """Try the fusions' portfolios by merit, then settings drawn by TPE, until the deadline.

    Parameters
    ----------
    specs : sequence of FusionSpec
        Methods to choose among.
    oof : array of shape (n_members, n_rows, n_outputs)
        Out-of-fold predictions.
    target : pair of arrays of shape (n_rows,)
        Target, and sample weights or None.
    splits : sequence of (choose_rows, score_rows)
        For the cross-fitted score.
    context : FusionContext
        What the fusions are told; its deadline ends the study.
    storage : Storage
        Where the study is kept.

    Raises
    ------
    NothingFittedError
        If every fusion failed.
    """
    usable = {
        spec.name: spec
        for spec in specs
        if context.task in spec.tasks and len(target[0]) >= spec.min_rows
    }
    study = _FusionStudy(usable, oof, target, splits, context, storage)
    for name, point in _portfolio(usable):
        # With one member, all fusions come to the same.
        if study.best is not None and (len(oof) == 1 or context.deadline.expired()):
            break
        study.evaluate({"fusion": name, **{f"{name}.{k}": v for k, v in point.items()}})
    for _ in range(EXTRA_TRIALS if len(oof) > 1 else 0):
        if context.deadline.expired():
            break
        study.evaluate(None)
    return study.choice()


def _portfolio(specs: dict[str, FusionSpec]) -> list[tuple[str, Params]]:
    """Return all configurations by falling merit."""
    ranked = sorted(
        ((-entry.merit, name, entry.params) for name in specs for entry in specs[name].portfolio),
        key=lambda item: item[:2],
    )
    return [(name, params) for _, name, params in ranked]


class _FusionStudy:
    """One Optuna study whose first choice is the method."""

    def __init__(
        self,
        specs: dict[str, FusionSpec],
        oof: Floats,
        target: tuple[Array, Floats | None],
        splits: Splits,
        context: FusionContext,
        storage: Storage,
    ) -> None:
        self._specs = specs
        self._oof = oof
        self._target = target
        self._splits = splits
        self._context = context
        self._study = Study(STUDY, storage, context.seed)
        self._tried: list[tuple[str, float]] = []
        self._failures: list[tuple[str, str]] = []
        self.best: tuple[FusionSpec, Params, CrossFitted] | None = None

    def evaluate(self, point: Params | None) -> None:
        """Score one configuration; ``None`` lets the sampler choose it."""
        try:
            draw = self._study.ask(self._space, point)
        except PluginError:
            self._failures.append(("a fusion drawn", traceback.format_exc()))
            return
        spec: FusionSpec = draw.params["spec"]
        params: dict[str, Any] = draw.params["params"]
        label = ", ".join([spec.name, *(f"{k}={v}" for k, v in params.items())])
        y, weight = self._target
        try:
            result = cross_fitted(spec, params, self._oof, y, weight, self._splits, self._context)
        except (Exception, SystemExit):  # noqa: BLE001 - a plugin may raise anything: it is shown
            error = traceback.format_exc()
            draw.fail(error)
            self._failures.append((label, error))
            return
        draw.finish(result.loss)
        self._tried.append((label, result.loss))
        if np.isfinite(result.loss) and (self.best is None or result.loss < self.best[2].loss):
            self.best = (spec, params, result)

    def choice(self) -> FusionChoice:
        """Return the best, or say why there is none."""
        if self.best is None:
            reasons = "\n".join(f"{label}:\n{error}" for label, error in self._failures)
            raise NothingFittedError(f"No fusion could be fitted.\n{reasons}")
        spec, params, result = self.best
        return FusionChoice(
            spec=spec,
            params=params,
            result=result,
            tried=tuple(self._tried),
            failures=tuple(self._failures),
        )

    def _space(self, suggest: TrialSuggest) -> dict[str, Any]:
        name = suggest.choice("fusion", sorted(self._specs))
        spec = self._specs[name]
        return {"spec": spec, "params": spec.space(suggest.within(f"{name}."))}
