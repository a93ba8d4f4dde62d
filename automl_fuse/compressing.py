"""The stage after fusion: smaller pipelines made, mixed, measured, and one of them chosen."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.artefact.writing import checked
from automl_fuse.augmentation import augment
from automl_fuse.budget import Deadline, Stopwatch
from automl_fuse.calibration import Calibration
from automl_fuse.compression import Alone, Form
from automl_fuse.errors import ExportError
from automl_fuse.folds import seed_of
from automl_fuse.fronts import Limits, Point, front_of, pick
from automl_fuse.fusion import cross_fitted, fit_calibration, fit_final
from automl_fuse.measuring import Measured, measure, row_milliseconds
from automl_fuse.metrics import score as score_of
from automl_fuse.metrics import score_all
from automl_fuse.search import FinishedMember, MixtureStudy, Orders, Workshop, medians
from automl_fuse.search.students import MAX_DRAWS
from automl_fuse.session import CROSS_FITTING_SPLITS
from automl_fuse.specs import ALL_ROWS, ForestModel, NetworkModel, Shape, Teacher
from automl_fuse.teaching import Teaching

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.assembly import Assembler
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.search import TrialFailure
    from automl_fuse.session import Session
    from automl_fuse.specs import Array, Executor, Floats, LearnerSpec, Selection
    from automl_fuse.stages import Fused

_log = logging.getLogger("automl_fuse")

FULL: Final = "all members"
"""Name of the fused pipeline itself on the front."""
MAKING: Final = 0.60
"""Share of the stage that students, edits and refits may take."""
MIXING: Final = 0.80
"""Share of the stage at whose end the study over mixtures is over."""
MAX_FORMS: Final = 24
"""Forms that are mixed, at most."""
MAX_KEPT_FORMS: Final = 8
"""Of those, members of the fused pipeline, by share; the others are the best by loss."""
FRESH_ROWS: Final = 300
"""Rows, made by augmentation, on which fold models are compared with each other."""
MIXING_ROWS: Final = 8_000
"""Rows, at most, that the study over mixtures reads; what is kept is scored on all."""
SCORING_ROWS: Final = 20_000
"""Rows, at most, that the weights and the score of a pipeline of the front come from."""
LONGEST_NAME: Final = 60
WRITING: Final = 2.0
"""Writing, loading and checking a pipeline against writing it only."""
MAX_POINTS: Final = 12
"""Pipelines of the front that are written and measured, at most."""


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """What the stage found.

    Attributes
    ----------
    pipelines : mapping of str to Pipeline
        Those of the front, each written, checked and measured.
    points : mapping of str to Point
        Their loss, latency and bytes.
    chosen : str
        Name of the one to return.
    measured : frozenset of str
        Names of those whose latency and bytes were measured on their file; there may have been no
        time to do so for the one chosen.
    notes : tuple of str
        What could not be written into the portable file, and why, for the user.
    failures : tuple of TrialFailure
        Compressors, students and edits that failed.
    made : tuple of str
        Students and edits that were finished.
    """

    pipelines: Mapping[str, Pipeline]
    points: Mapping[str, Point]
    chosen: str
    measured: frozenset[str]
    notes: tuple[str, ...]
    failures: tuple[TrialFailure, ...] = ()
    made: tuple[str, ...] = ()


def compress(
    session: Session,
    assembler: Assembler,
    fused: Fused,
    executor: Executor,
    learners: Sequence[LearnerSpec],
    full: Pipeline,
) -> Compressed:
    """Make smaller pipelines, put the best on a front, and choose one.

    Parameters
    ----------
    session : Session
        Settings, data, deadlines, preference and limits.
    assembler : Assembler
        Reads what trials have fitted.
    fused : Fused
        The teacher.
    executor : Executor
        Where students are fitted; idle.
    learners : sequence of LearnerSpec
        What students can be made of.
    full : Pipeline
        The fused pipeline.

    Raises
    ------
    SettingsError
        If nothing is within the limits that the user set.
    """
    stage = _Stage(session, assembler, fused, full)
    stage.make(executor, learners)
    stage.choose_mixtures()
    return stage.finish()


@dataclass(kw_only=True)
class _Candidate:
    """A pipeline that may come onto the front; a mixture is fused when it is first wanted."""

    point: Point
    pipeline: Pipeline | None = None
    forms: tuple[Form, ...] = ()
    is_measured: bool = False


@dataclass
class _Stage:
    session: Session
    assembler: Assembler
    fused: Fused
    full: Pipeline
    made: list[FinishedMember] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[TrialFailure] = field(default_factory=list)
    selections: list[Selection] = field(default_factory=list)
    candidates: dict[str, _Candidate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.context = self.session.fusion_context(self.session.times.compress)
        self.seconds = self.context.deadline.remaining()
        self.rows = self.fused.rows
        data = self.session.data
        self.y = data.y[self.rows]
        self.weight = None if data.weight is None else data.weight[self.rows]
        self.kept = self.fused.kept
        self._unwritable: set[str] = set()
        self._fold_costs: dict[str, Measured] = {}
        self._full_point: Point | None = None
        self._gain = 0.0
        self._seconds_per_mb = 0.0

    def _until(self, share: float) -> Deadline:
        """Return the deadline of a part of the stage."""
        return Deadline(self.context.deadline.remaining() - (1 - share) * self.seconds)

    # -------------------------------------------------------------------- making

    def make(self, executor: Executor, learners: Sequence[LearnerSpec]) -> None:
        """Let compressors propose, and carry out what they propose."""
        session, deadline = self.session, self._until(MAKING)
        teacher = self._teacher(learners)
        data = session.data
        orders = Orders(
            session.compressors,
            {spec.name: spec for spec in learners},
            self.kept,
            teacher,
            Shape(
                n_rows=max(len(fold.train) for fold in data.folds),
                n_features=max(1, len(data.columns.columns)),
                n_classes=data.n_classes,
                task=data.task,
            ),
            replace(self.context, deadline=deadline),
            session.storage,
            MAX_DRAWS if session.settings.max_trials is None else 0,
        )
        workshop = Workshop(
            data,
            executor,
            session.workers[0],
            self._loss_of,
            self._tuned,
            self.assembler.has_model,
            deadline,
        )
        teaching = Teaching(session, self.fused, self.full, deadline)
        workshop.carry_out(teaching.prepared(iter(orders)), orders.hear)
        self.selections = orders.selections
        self.failures += [*orders.failures, *workshop.failures]
        self.made = [made.member for made in workshop.made if made.member is not None]
        session.observers("compressed", {"made": [member.name for member in self.made]})

    def _teacher(self, learners: Sequence[LearnerSpec]) -> Teacher:
        members = self.fused.members
        kept = list(self.fused.fitted.members)
        return Teacher(
            oof=np.stack([members[position].oof[self.rows] for position in kept]),
            y=self.y,
            weight=self.weight,
            shares=self.fused.fitted.weights,
            bytes=np.array([members[position].bytes for position in kept], dtype=float),
            seconds=np.array([members[position].row_seconds for position in kept]),
            names=tuple(members[position].name for position in kept),
            learners=tuple(members[position].learner for position in kept),
            forms=tuple(self._form_of(members[position]) for position in kept),
            students=tuple(spec.name for spec in learners),
        )

    def _form_of(self, member: FinishedMember) -> str:
        stored = self.assembler.model(member.name, member.folds[0]).learner
        form = getattr(stored and stored.get(), "form", lambda: None)()
        if isinstance(form, NetworkModel):
            return "network" if len(form.layers) > 1 else "line"
        return "forest" if isinstance(form, ForestModel) else ""

    def _loss_of(self, prediction: Floats, rows: Any) -> float:
        data = self.session.data
        weight = None if data.weight is None else data.weight[rows]
        return float(self.session.loss(data.y[rows], prediction, weight))

    def _tuned(self, name: str, folds: tuple[int, ...]) -> Mapping[str, Any]:
        points = []
        for fold in folds:
            if not self.assembler.has_model(name, fold):
                continue
            stored = self.assembler.model(name, fold).learner
            tuned = getattr(stored and stored.get(), "tuned", dict)
            points.append(dict(tuned()))
        return medians(points)

    # -------------------------------------------------------------------- mixing

    def choose_mixtures(self) -> None:
        """Search for mixtures, and put together the pipelines that look best."""
        forms = self._forms()
        if not forms:
            return
        kept = {member.name for member in self.kept}
        few, splits = self.session.sampled(self.y, MIXING_ROWS)
        choice = self.fused.choice
        study = MixtureStudy(
            [replace(form, oof=form.oof[few]) for form in forms],
            choice.spec,
            choice.params,
            (self.y[few], None if self.weight is None else self.weight[few]),
            splits,
            len(self.session.data.folds),
            replace(self.context, deadline=self._until(MIXING)),
            self.session.storage,
        )
        front = study.run(self._seeds(forms))
        self.notes += [f"A mixture could not be scored: {error}" for _, error in study.failures]
        for mixture in front[:MAX_POINTS]:
            chosen = tuple(forms[position] for position in mixture.forms)
            name = _short(mixture.point.name)
            point = replace(mixture.point, name=name)
            self.candidates[name] = _Candidate(point=point, forms=chosen)
        self._gain = study.largest_gain
        self._full_point = study.point_of(
            [at for at, form in enumerate(forms) if not form.is_single and form.member in kept]
        )

    def _seeds(self, forms: Sequence[Form]) -> list[list[int]]:
        """Return sets of forms worth trying first: all, and what compressors select."""
        names = [member.name for member in self.kept]
        sets = [tuple(names), *(tuple(names[m] for m in s.members) for s in self.selections)]
        return [
            found
            for wanted in sets
            for single in (False, True)
            if (
                found := [
                    position
                    for position, form in enumerate(forms)
                    if form.member in wanted and form.is_single == single
                ]
            )
        ]

    def _forms(self) -> list[Form]:
        """Return what may be mixed: fold models and single models, with what they cost."""
        known = {member.name for member in self.kept}
        others = [member for member in self.fused.members if member.name not in known]
        heaviest = np.argsort(-self.fused.fitted.weights, kind="stable")[:MAX_KEPT_FORMS]
        ranked = [
            *(self.kept[position] for position in heaviest),
            *sorted([*self.made, *others], key=lambda member: member.loss),
        ]
        deadline = self._until((MAKING + MIXING) / 2)
        fresh, _ = augment(self._fresh_source(), 1, seed_of(self.session.data.seed, "fresh"))
        forms: list[Form] = []
        for member in ranked:
            if len(forms) >= MAX_FORMS or (forms and deadline.expired()):
                break
            forms += self._forms_of(member, fresh)
        return forms

    def _fresh_source(self) -> Any:
        sample = self.assembler.sample
        return sample.take(np.arange(min(FRESH_ROWS, sample.n_rows)))

    def _forms_of(self, member: FinishedMember, fresh: Any) -> list[Form]:
        """Return a member as fold models, and as one model of all rows if there is one."""
        known: dict[str, Any] = {
            "member": member.name,
            "learner": member.learner,
            "params": member.params,
            "oof": member.oof[self.rows],
        }
        found = []
        try:
            first, second = member.folds[0], member.folds[-1]
            cost = self._cost(member, first)
            self._fold_costs[member.name] = Measured(
                latency_ms=cost.latency_ms * len(member.folds),
                size_mb=cost.size_mb * len(member.folds),
            )
            one, other = (self._predicted(member, fold, fresh) for fold in (first, second))
            found.append(
                Form(
                    folds=member.folds,
                    latency_ms=cost.latency_ms * len(member.folds),
                    size_mb=cost.size_mb * len(member.folds),
                    one=one,
                    other=other,
                    **known,
                )
            )
            if self.assembler.has_model(member.name, ALL_ROWS):
                cost = self._cost(member, ALL_ROWS)
                one = self._predicted(member, ALL_ROWS, fresh)
                found.append(
                    Form(
                        folds=(ALL_ROWS,),
                        latency_ms=cost.latency_ms,
                        size_mb=cost.size_mb,
                        one=one,
                        other=one,
                        **known,
                    )
                )
        except ExportError as error:
            self._unwritable.add(member.name)
            self.notes.append(f"{error}; the members that can be written stand in for it.")
            _log.warning(self.notes[-1])
        return found

    def _alone(self, member: FinishedMember, folds: Sequence[int]) -> Pipeline:
        """Return a pipeline of one member and nothing else."""
        part = self.assembler.member(member.name, member.learner, member.params, folds)
        return self.assembler.pipeline([part], Alone(), Calibration(), {})

    def _cost(self, member: FinishedMember, fold: int) -> Measured:
        watch = Stopwatch()
        cost = measure(self._alone(member, [fold]))
        self._seconds_per_mb = max(self._seconds_per_mb, watch.seconds() / max(cost.size_mb, 0.1))
        return cost

    def _predicted(self, member: FinishedMember, fold: int, fresh: Any) -> Floats:
        return self._alone(member, [fold]).fused(fresh)

    def _fused_forms(self, forms: Sequence[Form]) -> Pipeline:
        """Fuse forms, and put the pipeline together."""
        choice, context = self.fused.choice, self.context
        few, splits = self.session.sampled(self.y, SCORING_ROWS)
        y, weight = self.y[few], None if self.weight is None else self.weight[few]
        oof = np.stack([form.oof[few] for form in forms])
        result = cross_fitted(choice.spec, choice.params, oof, y, weight, splits, context)
        fitted = fit_final(choice.spec, choice.params, oof, y, weight, context)
        kept = [forms[position] for position in fitted.members]
        if len(kept) == 1:
            # One member needs no fusion: some have curves that cost more than a small member.
            fitted = replace(fitted, fusion=Alone())
            result = replace(result, prediction=kept[0].oof[few])
        calibration = fit_calibration(
            self.session.objective, context.task, result.prediction, y, weight, splits
        )
        report = {
            **self.full.report,
            **self._scores(y, weight, result.prediction, calibration),
            "fusion": {
                "method": choice.spec.name,
                "params": dict(choice.params),
                "members": len(kept),
                "weights": fitted.weights.tolist(),
            },
        }
        members = [
            self.assembler.member(form.member, form.learner, form.params, form.folds)
            for form in kept
        ]
        return self.assembler.pipeline(members, fitted.fusion, calibration, report)

    def _scores(
        self, y: Array, weight: Floats | None, prediction: Floats, calibration: Calibration
    ) -> dict[str, Any]:
        """Return the score of cross-fitted predictions, and all metrics, as the report has them."""
        scored = np.flatnonzero(np.isfinite(prediction).all(axis=1))
        shown = prediction[scored]
        if self.full.classes_ is not None:
            shown = calibration.probabilities(shown)
        truth, mass = y[scored], None if weight is None else weight[scored]
        objective, task, threshold = (
            self.session.objective,
            self.context.task,
            calibration.threshold,
        )
        return {
            "score": score_of(objective, task, truth, shown, mass, threshold),
            "scores": score_all(task, truth, shown, mass, threshold),
        }

    # -------------------------------------------------------------------- choosing

    def finish(self) -> Compressed:
        """Write, check and measure what is on the front, and choose."""
        self._add_full()
        chosen = self._choose()
        for point in front_of([c.point for c in self.candidates.values()]):
            if not self.candidates[point.name].is_measured and self._time_to_measure(point.name):
                self._measure(point.name)
        measured = {n: c for n, c in self.candidates.items() if c.is_measured or n == chosen}
        front = [point.name for point in front_of([c.point for c in measured.values()])]
        # The fused pipeline can always be had, measured or not.
        whole = [FULL] if FULL in self.candidates else []
        names = list(dict.fromkeys([*front, chosen, *whole]))
        measured |= {name: self.candidates[name] for name in whole}
        return Compressed(
            pipelines={n: self._pipeline(measured[n]) for n in names},
            points={n: measured[n].point for n in names},
            chosen=chosen,
            measured=frozenset(n for n in names if measured[n].is_measured),
            notes=tuple(dict.fromkeys(self.notes)),
            failures=tuple(self.failures),
            made=tuple(member.name for member in self.made),
        )

    def _add_full(self) -> None:
        """Make the fused pipeline itself a candidate, its cost that of its members."""
        names = [member.name for member in self.kept]
        if self._unwritable & set(names) and self.candidates:
            return
        costs = [self._fold_costs[name] for name in names if name in self._fold_costs]
        scale = len(names) / max(1, len(costs))
        known = self._full_point
        if known is None:
            result = self.fused.choice.result
            known = Point(
                name=FULL,
                loss=result.loss - self._gain,
                error=result.std / math.sqrt(CROSS_FITTING_SPLITS),
                latency_ms=scale * sum(cost.latency_ms for cost in costs) if costs else math.inf,
                size_mb=scale * sum(cost.size_mb for cost in costs) if costs else math.inf,
            )
        same = [n for n, c in self.candidates.items() if c.point.price == known.price]
        for name in same:
            del self.candidates[name]
        self.candidates[FULL] = _Candidate(point=replace(known, name=FULL), pipeline=self.full)

    def _choose(self) -> str:
        """Measure what is preferred until the preference holds for measured figures."""
        prefer, limits = self.session.prefer, self.session.limits
        while True:
            points = [candidate.point for candidate in self.candidates.values()]
            name = pick(points, prefer, limits).name
            if self.candidates[name].is_measured:
                return name
            if limits == Limits() and not self._time_to_measure(name):
                return self._first_measured(points) or name
            if not self._measure(name) and not self.candidates:
                self.candidates[FULL] = _Candidate(
                    pipeline=self.full, point=self._unmeasured(), is_measured=True
                )

    def _first_measured(self, points: Sequence[Point]) -> str | None:
        """Return the choice among what has been measured, where there is no time for more."""
        known = [point for point in points if self.candidates[point.name].is_measured]
        return pick(known, self.session.prefer, Limits()).name if known else None

    def _time_to_measure(self, name: str) -> bool:
        """Return whether there is time to write a pipeline, going by its size."""
        needed = WRITING * self._seconds_per_mb * self.candidates[name].point.size_mb
        return self.context.deadline.remaining() > needed

    def _pipeline(self, candidate: _Candidate) -> Pipeline:
        if candidate.pipeline is None:
            candidate.pipeline = self._fused_forms(candidate.forms)
        return candidate.pipeline

    def _unmeasured(self) -> Point:
        """Return the point of the full pipeline where nothing can be written into a file."""
        loss = self.fused.choice.result.loss
        return Point(name=FULL, loss=loss, error=0.0, latency_ms=math.inf, size_mb=math.inf)

    def _measure(self, name: str) -> bool:
        """Write and check a candidate, and replace its estimated cost; or drop it."""
        candidate = self.candidates[name]
        try:
            content, portable = checked(self._pipeline(candidate))
        except ExportError as error:
            del self.candidates[name]
            self.notes.append(f"{name}: {error}")
            _log.warning("%s", self.notes[-1])
            return False
        feed = portable.typed_inputs(self.assembler.sample.take(np.arange(1)))
        candidate.point = replace(
            candidate.point,
            latency_ms=row_milliseconds(portable.session, feed),
            size_mb=len(content) / 1e6,
        )
        candidate.is_measured = True
        return True


def _short(name: str) -> str:
    """Return a name of bearable length that still tells one mixture from another."""
    if len(name) <= LONGEST_NAME:
        return name
    parts = name.split(" + ")
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{parts[0]} + {len(parts) - 1} more ({digest})"
