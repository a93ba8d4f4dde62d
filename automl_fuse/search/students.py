"""Which students, edits, joints and refits are tried: portfolios first, then Optuna's choices."""

from __future__ import annotations

import logging
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from automl_fuse.compression import ask
from automl_fuse.errors import PluginError
from automl_fuse.folds import seed_of
from automl_fuse.hyperparameters import learner_params
from automl_fuse.search.outcome import TrialFailure
from automl_fuse.search.studies import Study
from automl_fuse.search.workshop import Made, Order
from automl_fuse.specs import Edit, Joint, Refit, Selection, Student, no_space

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from automl_fuse.search.outcome import FinishedMember
    from automl_fuse.search.studies import Draw, Storage
    from automl_fuse.specs import (
        CompressorSpec,
        FusionContext,
        LearnerSpec,
        Params,
        Proposal,
        Shape,
        Teacher,
    )

_log = logging.getLogger("automl_fuse")

MAX_DRAWS = 200
"""Points drawn from the compressors' spaces, at most: time ends it long before."""
STUDENT_ROWS = 50_000
"""Training rows of the table that a student reads, at most: its size bounds what it can learn."""


class Orders:
    """Turns what compressors propose into orders for the workshop.

    Parameters
    ----------
    specs : sequence of CompressorSpec
        Those that do not fit the task are not asked.
    learners : mapping of str to LearnerSpec
        What students can be made of.
    members : sequence of FinishedMember
        The teacher's, in its order.
    teacher : Teacher
        The fused pipeline.
    shape : Shape
        Size of a fold, for predicted costs.
    context : FusionContext
        What compressors are told.
    storage : Storage
        Where their studies are kept.
    max_draws : int
        Points drawn from their spaces after the portfolios, at most.

    Attributes
    ----------
    selections : list of Selection
        Member sets that were proposed, each once.
    failures : list of TrialFailure
        Compressors that failed.
    """

    def __init__(
        self,
        specs: Sequence[CompressorSpec],
        learners: Mapping[str, LearnerSpec],
        members: Sequence[FinishedMember],
        teacher: Teacher,
        shape: Shape,
        context: FusionContext,
        storage: Storage,
        max_draws: int = MAX_DRAWS,
    ) -> None:
        self._max_draws = max_draws
        self._specs = [spec for spec in specs if context.task in spec.tasks]
        self._learners = learners
        self._members = members
        self._teacher = teacher
        self._shape = shape
        self._context = context
        self._studies = {
            spec.name: Study(
                f"compressor {spec.name}",
                storage,
                seed_of(context.seed, "compress", spec.name),
                n_objectives=2,
            )
            for spec in self._specs
        }
        self._draws: dict[str, Draw] = {}
        self._names: set[str] = set()
        self.selections: list[Selection] = []
        self.failures: list[TrialFailure] = []

    def __iter__(self) -> Iterator[Order]:
        """Give the portfolios by falling merit, then draws, one compressor after the other."""
        ranked = sorted(
            ((entry.merit, spec, entry.params) for spec in self._specs for entry in spec.portfolio),
            key=lambda item: -item[0],
        )
        for _, spec, params in ranked:
            yield from self._orders(spec, params)
        searchable = [spec for spec in self._specs if spec.space is not no_space]
        for number in range(self._max_draws):
            if not searchable:
                return
            spec = searchable[number % len(searchable)]
            try:
                draw = self._studies[spec.name].ask(spec.space)
            except PluginError as error:
                self._record(spec, {}, error)
                searchable = [other for other in searchable if other is not spec]
                continue
            orders = self._orders(spec, draw.params)
            for order in orders:
                self._draws[order.name] = draw
            if not orders:
                draw.fail("It proposed nothing new.")
            yield from orders

    def hear(self, made: Made) -> None:
        """Tell the study of a compressor the loss and bytes of its proposal.

        Of several proposals for one point the first counts. A refit has the loss of its member.
        """
        draw = self._draws.get(made.order.name)
        if draw is None:
            return
        self._draws = {name: other for name, other in self._draws.items() if other is not draw}
        member = made.member or next(m for m in self._members if m.name == made.order.name)
        draw.finish(member.loss, made.single_bytes or member.bytes / len(member.folds))

    def close(self) -> None:
        """Tell the studies that what they have not heard of will not be made."""
        for draw in {id(draw): draw for draw in self._draws.values()}.values():
            draw.fail("It was not finished.")
        self._draws.clear()

    def _orders(self, spec: CompressorSpec, params: Params) -> list[Order]:
        try:
            proposals = ask(spec, params, self._teacher, self._context)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
            self._record(spec, params, error)
            return []
        found = []
        for proposal in proposals:
            if isinstance(proposal, Selection):
                if proposal.members not in {known.members for known in self.selections}:
                    self.selections.append(proposal)
                continue
            order = self._order(proposal)
            if order.name not in self._names:
                self._names.add(order.name)
                found.append(order)
        return found

    def _record(self, spec: CompressorSpec, params: Params, error: BaseException) -> None:
        _log.warning("Compressor %s failed: %s", spec.name, error)
        trace = "".join(traceback.format_exception(error))
        failure = TrialFailure(member=spec.name, learner="", params=params, error=trace)
        self.failures.append(failure)

    def _order(self, proposal: Proposal) -> Order:
        if isinstance(proposal, Student):
            return self._student(proposal)
        if isinstance(proposal, Joint):
            return self._joint(proposal)
        assert isinstance(proposal, Refit | Edit)  # noqa: S101 - selections are kept apart
        member = self._members[proposal.member]
        known: dict[str, Any] = {
            "learner": member.learner,
            "params": member.params,
            "max_rows": member.max_rows,
        }
        if isinstance(proposal, Refit):
            seconds = 1.3 * _fold_seconds(member)
            return Order(name=member.name, folds=(), seconds=seconds, **known)
        named = member.name in proposal.name
        return Order(
            name=_file_name(proposal.name if named else f"{proposal.name} {member.name}"),
            folds=member.folds,
            edit=proposal,
            source=member.name,
            others=tuple(self._members[position].name for position in proposal.others),
            **known,
        )

    def _joint(self, proposal: Joint) -> Order:
        first, *others = (self._members[position] for position in proposal.members)
        return Order(
            name=_file_name(proposal.name),
            learner=first.learner,
            params=first.params,
            folds=first.folds,
            seconds=proposal.effort * sum(map(_fold_seconds, (first, *others))),
            edit=proposal,
            source=first.name,
            others=tuple(member.name for member in others),
            max_rows=first.max_rows,
        )

    def _student(self, proposal: Student) -> Order:
        spec = self._learners[proposal.learner]
        n_rows = min(STUDENT_ROWS, self._shape.n_rows)
        cost = spec.cost(replace(self._shape, n_rows=n_rows), learner_params(proposal.params))
        return Order(
            name=_file_name(proposal.name),
            learner=proposal.learner,
            params=proposal.params,
            folds=tuple(range(self._n_folds)),
            seconds=cost.seconds * (1.0 + proposal.copies),
            student=proposal,
            max_rows=n_rows if n_rows < self._shape.n_rows else None,
        )

    @property
    def _n_folds(self) -> int:
        return max((max(member.folds) + 1 for member in self._members), default=0)


def _fold_seconds(member: FinishedMember) -> float:
    """Return how long a fold of a member took to fit."""
    return member.fit_seconds / max(1, len(member.folds))


def _file_name(text: str) -> str:
    """Return a name that any file system takes."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)
