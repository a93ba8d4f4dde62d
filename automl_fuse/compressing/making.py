"""Carries out what compressors propose: students, edits, joints, and models of all rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from automl_fuse.compressing.stage import MAKING
from automl_fuse.errors import DiskFullError
from automl_fuse.search import Orders, TrialFailure, Workshop, medians
from automl_fuse.search.students import MAX_DRAWS
from automl_fuse.teaching import Teaching

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.compressing.pricing import PriceList
    from automl_fuse.compressing.stage import Stage
    from automl_fuse.search import FinishedMember, Made
    from automl_fuse.specs import Executor, LearnerSpec, Selection


class Making:
    """Lets compressors propose, and has it carried out.

    Parameters
    ----------
    stage : Stage
        The teacher and the time.
    learners : sequence of LearnerSpec
        What students can be made of.
    prices : PriceList
        Hears of what was made.

    Attributes
    ----------
    made : list of FinishedMember
        Students, edits and joints that were finished.
    selections : list of Selection
        Sets of members that were proposed.
    failures : list of TrialFailure
        Compressors, and what they proposed, that failed.
    """

    def __init__(self, stage: Stage, learners: Sequence[LearnerSpec], prices: PriceList) -> None:
        self._stage = stage
        self._learners = learners
        self._prices = prices
        self.made: list[FinishedMember] = []
        self.selections: list[Selection] = []
        self.failures: list[TrialFailure] = []

    def run(self, executor: Executor) -> None:
        """Propose and make until the stage's share for it is over."""
        stage, session = self._stage, self._stage.session
        deadline = stage.until(MAKING)
        orders = self._orders()
        workshop = Workshop(
            session.data,
            executor,
            session.workers[0],
            stage.loss_of,
            self._tuned,
            stage.assembler.has_model,
            deadline,
        )

        def hear(made: Made) -> None:
            orders.hear(made)
            if made.member is not None:
                self.made.append(made.member)
                self._prices.add(made.member)

        try:
            with Teaching(session, stage.fused, stage.full, deadline) as teaching:
                workshop.carry_out(teaching.prepared(iter(orders)), hear)
        except DiskFullError as error:
            # What has been made so far may still find room.
            self.failures.append(TrialFailure(member="", learner="", params={}, error=str(error)))
        orders.close()
        self.selections = orders.selections
        self.failures += [*orders.failures, *workshop.failures]
        session.observers("compressed", {"made": [member.name for member in self.made]})

    def _orders(self) -> Orders:
        stage, session = self._stage, self._stage.session
        data = session.data
        return Orders(
            session.compressors,
            {spec.name: spec for spec in self._learners},
            stage.kept,
            stage.teacher(self._learners),
            data.fold_shape,
            replace(stage.context, deadline=stage.until(MAKING)),
            session.storage,
            MAX_DRAWS if session.settings.max_trials is None else 0,
        )

    def _tuned(self, name: str, folds: tuple[int, ...]) -> Mapping[str, Any]:
        """Return what early stopping decided in the folds of a member."""
        assembler = self._stage.assembler
        points = []
        for fold in folds:
            if not assembler.has_model(name, fold):
                continue
            stored = assembler.model(name, fold).learner
            tuned = getattr(stored and stored.get(), "tuned", dict)
            points.append(dict(tuned()))
        return medians(points)
