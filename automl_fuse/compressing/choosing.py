"""The choice among pipelines whose files were written, checked and measured."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.artefact.writing import checked
from automl_fuse.compressing.mixing import MIXING_ROWS
from automl_fuse.compressing.outcome import Compressed
from automl_fuse.errors import ExportError
from automl_fuse.fronts import (
    BALANCED,
    FULL,
    SPEED,
    Limits,
    Point,
    front_of,
    pick,
    standard_error,
)
from automl_fuse.fusion import fit_calibration
from automl_fuse.measuring import ROWS, row_milliseconds
from automl_fuse.metrics import score, score_all
from automl_fuse.search import fuse_forms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.calibration import Calibration
    from automl_fuse.compressing.mixing import Mixed
    from automl_fuse.compressing.pricing import PriceList
    from automl_fuse.compressing.stage import Stage
    from automl_fuse.compression import Form
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.specs import Array, Floats

_log = logging.getLogger("automl_fuse")

SCORING_ROWS: Final = 100_000
"""Rows, at most, that the weights and the score of a pipeline of the front come from."""
LONGEST_NAME: Final = 60
WRITING: Final = 2.0
"""Writing, loading and checking a pipeline against writing and timing it only."""
MAX_POINTS: Final = 12
"""Pipelines of the front that are measured beside those that are likely to be picked."""


@dataclass(kw_only=True)
class _Candidate:
    """A pipeline that may come onto the front; a mixture is fused when it is first wanted."""

    point: Point
    pipeline: Pipeline | None = None
    forms: tuple[Form, ...] = ()
    is_measured: bool = False


class Choosing:
    """Writes, checks and measures candidates until the choice holds for measured figures.

    Parameters
    ----------
    stage : Stage
        The teacher, the time, preference and limits.
    prices : PriceList
        What the teacher's members cost.
    mixed : Mixed
        The mixtures to choose among, beside the teacher.
    """

    def __init__(self, stage: Stage, prices: PriceList, mixed: Mixed) -> None:
        self._stage = stage
        self._prices = prices
        self._notes: list[str] = []
        self._candidates: dict[str, _Candidate] = {}
        for mixture in mixed.front:
            name = _short(mixture.point.name)
            self._candidates[name] = _Candidate(
                point=replace(mixture.point, name=name),
                forms=tuple(mixed.forms[position] for position in mixture.forms),
            )
        self._add_full(mixed)

    def run(self) -> Compressed:
        """Choose, then measure what else is on the front while there is time.

        Raises
        ------
        SettingsError
            If nothing is within the limits that the user set.
        """
        session = self._stage.session
        self._choose(session.prefer, session.limits)
        # The others that users are likely to pick, then what is quick to write.
        for prefer in (SPEED, BALANCED):
            self._choose(prefer, Limits())
        for point in sorted(self._spread(), key=lambda point: point.size_mb):
            known = self._candidates[point.name]
            if not known.is_measured and self._time_to_measure(point.name):
                self._measure(point.name)
        # What there was no time to measure is left out, but for the fused pipeline: it can
        # always be had. The choice is made among what is left, as ``Pipeline.pick`` would.
        measured = {n: c for n, c in self._candidates.items() if c.is_measured or n == FULL}
        self._candidates = measured or self._candidates
        chosen = self._choose(session.prefer, session.limits)
        candidates = self._candidates
        names = [point.name for point in front_of([c.point for c in candidates.values()])]
        whole = [FULL] if FULL in candidates else []
        names = list(dict.fromkeys([*names, chosen, *whole]))
        return Compressed(
            pipelines={name: self._pipeline(candidates[name]) for name in names},
            points={name: candidates[name].point for name in names},
            chosen=chosen,
            measured=frozenset(name for name in names if candidates[name].is_measured),
            seconds_to_write=self._seconds_to_write(chosen),
            notes=tuple(self._notes),
        )

    # -------------------------------------------------------------------- candidates

    def _add_full(self, mixed: Mixed) -> None:
        """Make the fused pipeline itself a candidate, its cost that of its members."""
        stage, prices = self._stage, self._prices
        names = [member.name for member in stage.kept]
        if prices.unwritable & set(names) and self._candidates:
            return
        costs = [prices.fold_costs[name] for name in names if name in prices.fold_costs]
        scale = len(names) / max(1, len(costs))
        known = mixed.full
        if known is None:
            # On the rows that mixtures were scored on: losses of other rows are not comparable.
            few, _ = stage.session.sampled(stage.y, MIXING_ROWS)
            prediction = stage.fused.choice.result.prediction
            few = few[np.isfinite(prediction[few]).all(axis=1)]
            y, weight = stage.target(few)
            loss_of = stage.context.loss
            known = Point(
                name=FULL,
                loss=loss_of(y, prediction[few], weight) - mixed.gain,
                error=standard_error(loss_of, y, prediction[few], weight),
                latency_ms=scale * sum(cost.latency_ms for cost in costs) if costs else math.inf,
                size_mb=scale * sum(cost.size_mb for cost in costs) if costs else math.inf,
            )
        same = [n for n, c in self._candidates.items() if c.point.price == known.price]
        for name in same:
            del self._candidates[name]
        self._candidates[FULL] = _Candidate(point=replace(known, name=FULL), pipeline=stage.full)

    def _pipeline(self, candidate: _Candidate) -> Pipeline:
        if candidate.pipeline is None:
            candidate.pipeline = self._fused(candidate.forms)
        return candidate.pipeline

    def _fused(self, forms: Sequence[Form]) -> Pipeline:
        """Fuse forms, and put the pipeline together."""
        stage, choice = self._stage, self._stage.fused.choice
        few, splits = stage.session.sampled(stage.y, SCORING_ROWS)
        y, weight = stage.target(few)
        oof = np.stack([form.oof[few] for form in forms])
        result, fitted = fuse_forms(
            choice.spec, choice.params, oof, y, weight, splits, stage.context
        )
        kept = [forms[position] for position in fitted.members]
        calibration = fit_calibration(
            stage.session.objective, stage.context.task, result.prediction, y, weight, splits
        )
        is_one = len(kept) == 1
        report = {
            **stage.full.report,
            **self._scores(y, weight, result.prediction, calibration),
            "fusion": {
                **stage.full.report["fusion"],
                "method": "none" if is_one else choice.spec.name,
                "params": {} if is_one else dict(choice.params),
                "members": len(kept),
                "weights": fitted.weights.tolist(),
            },
        }
        assembler = stage.assembler
        members = [assembler.member(f.member, f.learner, f.params, f.folds) for f in kept]
        return assembler.pipeline(members, fitted.fusion, calibration, report)

    def _scores(
        self, y: Array, weight: Floats | None, prediction: Floats, calibration: Calibration
    ) -> dict[str, Any]:
        """Return the score of cross-fitted predictions, and all metrics, as the report has them."""
        objective, task = self._stage.session.objective, self._stage.context.task
        scored = np.flatnonzero(np.isfinite(prediction).all(axis=1))
        shown = prediction[scored]
        if task.is_classification:
            shown = calibration.probabilities(shown)
        truth, mass = y[scored], None if weight is None else weight[scored]
        threshold = calibration.threshold
        return {
            "score": score(objective, task, truth, shown, mass, threshold),
            "scores": score_all(task, truth, shown, mass, threshold),
        }

    # -------------------------------------------------------------------- choosing

    def _spread(self) -> list[Point]:
        """Return points of the front from the best to the worst, evenly, if there are many."""
        front = front_of([candidate.point for candidate in self._candidates.values()])
        places = np.linspace(0, len(front) - 1, min(MAX_POINTS, len(front)))
        return [front[place] for place in places.round().astype(int)]

    def _choose(self, prefer: str, limits: Limits) -> str:
        """Measure what is preferred until the preference holds for measured figures.

        Where there is no time for that, and no limit to be kept, it holds for estimated ones.
        """
        while True:
            points = [candidate.point for candidate in self._candidates.values()]
            name = pick(points, prefer, limits).name
            if self._candidates[name].is_measured:
                return name
            if limits == Limits() and not self._time_to_measure(name):
                return name
            if not self._measure(name) and not self._candidates:
                self._candidates[FULL] = _Candidate(
                    pipeline=self._stage.full, point=self._unmeasured(), is_measured=True
                )

    def _time_to_measure(self, name: str) -> bool:
        """Return whether there is time to write a pipeline."""
        return self._stage.context.deadline.remaining() > self._seconds_to_write(name)

    def _seconds_to_write(self, name: str) -> float:
        """Return how long a pipeline will take to write and check, going by its members."""
        seconds = self._prices.seconds
        usual = float(np.mean([*seconds.values(), 0.0]))
        parts = [(form.member, len(form.folds)) for form in self._candidates[name].forms] or [
            (member.name, len(member.folds)) for member in self._stage.kept
        ]
        return WRITING * sum(n * seconds.get(member, usual) for member, n in parts)

    def _unmeasured(self) -> Point:
        """Return the point of the full pipeline where nothing can be written into a file."""
        loss = self._stage.fused.choice.result.loss
        return Point(name=FULL, loss=loss, error=0.0, latency_ms=math.inf, size_mb=math.inf)

    def _measure(self, name: str) -> bool:
        """Write and check a candidate, and replace its estimated cost; or drop it."""
        candidate = self._candidates[name]
        try:
            content, portable = checked(self._pipeline(candidate))
        except ExportError as error:
            del self._candidates[name]
            self._notes.append(f"{name}: {error}")
            _log.warning("%s", self._notes[-1])
            return False
        sample = self._stage.assembler.sample
        rows = range(min(ROWS, sample.n_rows))
        feeds = [portable.typed_inputs(sample.take(np.array([row]))) for row in rows]
        candidate.point = replace(
            candidate.point,
            latency_ms=row_milliseconds(portable.session, feeds),
            size_mb=len(content) / 1e6,
        )
        candidate.is_measured = True
        return True


def _short(name: str) -> str:
    """Return a name of bearable length that still tells one mixture from another."""
    parts = name.split(" + ")
    if len(name) <= LONGEST_NAME or len(parts) == 1:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{parts[0]} + {len(parts) - 1} more ({digest})"
