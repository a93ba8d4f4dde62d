"""What an earlier run offers to a new one: configurations, weights to start from, a teacher."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.assembly import fingerprint
from automl_fuse.earlier import EarlierModel, keep_earlier_models
from automl_fuse.errors import DataError
from automl_fuse.specs import Configuration
from automl_fuse.transfer.labels import CannotTeach, places_of, write_labels
from automl_fuse.transfer.overlap import known_share
from automl_fuse.transfer.points import NotAPoint, point_of
from automl_fuse.transfer.ways import Lessons, taught_way, tuned_way

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.members import FoldModel, Member
    from automl_fuse.run import RunDirectory
    from automl_fuse.search import Way
    from automl_fuse.specs import LearnerSpec
    from automl_fuse.table import Dataset
    from automl_fuse.transfer.sources import Source
    from automl_fuse.trial import TrialData

MOST_KNOWN: Final = 0.05
"""Share of rows, at most, that the earlier run may have seen for its models to be used."""
MEMBERS_TO_START_FROM: Final = 2
"""Members of a learner, at most, from whose models others start: the heaviest."""
MERIT_STEP: Final = 0.01
"""By how much the merit of an earlier configuration is below that of the one before it."""


@dataclass(kw_only=True)
class Offer:
    """What an earlier run offers.

    Attributes
    ----------
    learners : list of LearnerSpec
        Those of this run, the earlier configurations first in their portfolios.
    ways : list of Way
        Other ways to fit them: from earlier weights, with the earlier pipeline as teacher.
    notes : list of str
        What could not be used, and why.
    summary : dict
        What the report says of it, as JSON values.
    """

    learners: list[LearnerSpec]
    ways: list[Way] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


def offered(
    source: Source,
    learners: Sequence[LearnerSpec],
    dataset: Dataset,
    data: TrialData,
    run: RunDirectory,
    seconds: float,
) -> Offer:
    """Return what an earlier run offers to this one, and write what trials read of it.

    Parameters
    ----------
    source : Source
        The earlier run.
    learners : sequence of LearnerSpec
        Those that fit this table.
    dataset, data : Dataset, TrialData
        This run's rows.
    run : RunDirectory
        Where earlier models and the teacher's labels are written.
    seconds : float
        Time limit of the run.
    """
    offer = Offer(learners=list(learners))
    _offer_configurations(offer, source)
    known = _share_seen(offer, source, dataset, data)
    started: dict[str, list[Member]] = {}
    lessons = None
    if known <= MOST_KNOWN:
        lessons = _offer_teacher(offer, source, dataset, data, run, seconds)
        started = _offer_weights(offer, source, dataset, data, run, lessons)
    offer.summary = {
        "source": source.name,
        "configurations": [each.member for each in source.configurations],
        "weights": [member.name for members in started.values() for member in members],
        "teacher": lessons is not None,
        "known_rows": known,
        "notes": offer.notes,
    }
    return offer


# --------------------------------------------------------------------------- configurations


def _offer_configurations(offer: Offer, source: Source) -> None:
    """Put the earlier configurations before the others of each learner's portfolio."""
    first: dict[str, list[Configuration]] = {spec.name: [] for spec in offer.learners}
    spaces = {spec.name: spec.space for spec in offer.learners}
    for position, known in enumerate(source.configurations):
        if known.learner not in first:
            offer.notes.append(
                f"Member {known.member!r} of the earlier run is left out: its learner "
                f"{known.learner!r} is not installed, not wanted, or does not fit this table."
            )
            continue
        try:
            params = point_of(spaces[known.learner], known.params)
        except NotAPoint as error:
            offer.notes.append(
                f"Member {known.member!r} of the earlier run is left out: it is no point of the "
                f"space of {known.learner!r} here ({error})."
            )
            continue
        merit = max(0.5, 1.0 - MERIT_STEP * position)
        if params not in [dict(each.params) for each in first[known.learner]]:
            first[known.learner].append(Configuration(params=params, merit=merit))
    offer.learners = [_led(spec, first[spec.name]) for spec in offer.learners]


def _led(spec: LearnerSpec, first: Sequence[Configuration]) -> LearnerSpec:
    earlier = [dict(each.params) for each in first]
    others = [each for each in spec.portfolio if dict(each.params) not in earlier]
    return replace(spec, portfolio=(*first, *others)) if first else spec


# --------------------------------------------------------------------------- rows that were seen


def _share_seen(offer: Offer, source: Source, dataset: Dataset, data: TrialData) -> float:
    """Return which share of the rows the earlier run has seen, as far as that can be told."""
    share = 1.0 if source.digest == fingerprint(data.columns, data.y) else None
    # Without a column that the earlier table had, rows cannot be compared.
    with contextlib.suppress(DataError):
        if share is None and source.rows is not None:
            columns = source.pipeline.schema.convert(dataset.table)
            share = known_share(source.rows, columns)
    if share is None:
        offer.notes.append(
            "Whether the earlier run has seen rows of this table cannot be told: where it has, "
            "scores of members that start from it, or learn from it, are too good."
        )
        return 0.0
    if share > MOST_KNOWN:
        offer.notes.append(
            f"About {share:.0%} of the rows were training rows of the earlier run: only its "
            "configurations are used, as its models cannot be scored on rows that they know."
        )
    return share


# --------------------------------------------------------------------------- teacher


def _offer_teacher(
    offer: Offer,
    source: Source,
    dataset: Dataset,
    data: TrialData,
    run: RunDirectory,
    seconds: float,
) -> Lessons | None:
    """Write the earlier pipeline's labels; return what there is of them, if anything."""
    try:
        lessons = Lessons(copies=write_labels(source, dataset, data, run, seconds))
    except CannotTeach as error:
        offer.notes.append(f"The earlier pipeline does not teach: {error}.")
        return None
    offer.ways += [taught_way(spec, lessons) for spec in offer.learners]
    return lessons


# --------------------------------------------------------------------------- weights


def _offer_weights(
    offer: Offer,
    source: Source,
    dataset: Dataset,
    data: TrialData,
    run: RunDirectory,
    lessons: Lessons | None,
) -> dict[str, list[Member]]:
    """Write the models from which others can start; return their members by learner."""
    started: dict[str, list[Member]] = {}
    if source.task.is_classification is not data.task.is_classification:
        return started
    shares = {known.member: known.weight for known in source.configurations}
    ranked = sorted(source.members, key=lambda member: -shares.get(member.name, 0.0))
    places = places_of(source, dataset)
    for spec in offer.learners:
        if spec.fine_tuning is None:
            continue
        points: dict[str, Mapping[str, Any]] = {}
        for member in ranked:
            models = [_earlier_model(model, places) for model in member.folds]
            usable = [model for model in models if model is not None]
            if member.learner != spec.name or not usable or len(points) == MEMBERS_TO_START_FROM:
                continue
            try:
                points[member.name] = point_of(spec.space, member.params)
            except NotAPoint:
                continue  # said of its configuration
            keep_earlier_models(run, member.name, usable, len(data.folds))
            started.setdefault(spec.name, []).append(member)
        if points:
            offer.ways.append(tuned_way(spec, points, lessons))
    return started


def _earlier_model(model: FoldModel, places: tuple[int, ...]) -> EarlierModel | None:
    """Return a fold model's learner, and where this run's classes are among what it predicts."""
    if model.learner is None:
        return None
    known = {code: place for place, code in enumerate(model.classes)} or {0: 0}
    return EarlierModel(
        learner=model.learner, outputs=tuple(known.get(code, -1) for code in places)
    )
