"""The engine's compression stage, with every compressor given its turn and all results kept.

The engine asks compressors by merit, stops where its time ends, and keeps what is best. Here two
of its parts are wrapped: what decides which order comes next, and what carries orders out.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from automl_fuse import compressing
from automl_fuse.calibration import Calibration
from automl_fuse.compressing import making
from automl_fuse.compression import Alone
from automl_fuse.fusion import cross_fitted, fit_final
from automl_fuse.metrics import score
from automl_fuse.search import Order, Orders, Workshop, medians
from automl_fuse.specs import no_space

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from common import Floats

    from automl_fuse.assembly import Assembler
    from automl_fuse.compressing import Compressed
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.search import FinishedMember, Made
    from automl_fuse.session import Session
    from automl_fuse.specs import CompressorSpec, Executor, LearnerSpec, Selection
    from automl_fuse.stages import Fused

MOST_MADE = {"distil": 30}
MOST_MADE_ELSE = 6
"""Proposals of each compressor that are carried out, at most."""
FEWER = (2, 4, 8)
"""So many times fewer trees at so many times the learning rate: what pruning must beat."""
LARGEST_RATE = 0.8


def compressor_of(order: Order) -> str:
    """Return the name of the compressor that proposed an order."""
    proposal = order.student or order.edit
    return proposal.name.partition(":")[0] if proposal else "refit"


class OrdersInTurn:
    """Stands in for ``Orders``: the baseline, then one order of each compressor in turn.

    Only portfolios are asked: nothing is drawn.

    Parameters
    ----------
    baselines : iterator of Order
        What comes first.
    specs : sequence of CompressorSpec
        The compressors.
    others
        What else ``Orders`` is given.
    """

    def __init__(
        self, baselines: Iterator[Order], specs: Sequence[CompressorSpec], *others: Any
    ) -> None:
        self._baselines = baselines
        self._orders = {
            spec.name: Orders([replace(spec, space=no_space)], *others) for spec in specs
        }
        self._made: Counter[str] = Counter()

    @property
    def selections(self) -> list[Selection]:
        """Sets of members that were proposed."""
        return [each for orders in self._orders.values() for each in orders.selections]

    @property
    def failures(self) -> list[Any]:
        """Compressors that failed."""
        return [each for orders in self._orders.values() for each in orders.failures]

    def close(self) -> None:
        """Nothing was drawn that a study waits for."""

    def __iter__(self) -> Iterator[Order]:
        """Give orders until each compressor had enough, or proposes nothing more."""
        yield from self._baselines
        waiting = {name: iter(orders) for name, orders in self._orders.items()}
        while waiting:
            for name, orders in list(waiting.items()):
                order = next(orders, None)
                if order is None or self._made[name] >= MOST_MADE.get(name, MOST_MADE_ELSE):
                    del waiting[name]
                else:
                    yield order

    def hear(self, made: Made) -> None:
        """Count what was made."""
        self._made[compressor_of(made.order)] += 1


@dataclass
class KeptWorkshop:
    """Stands in for ``Workshop``: the engine is not told of the baselines.

    Attributes
    ----------
    workshop : Workshop
        What does the work.
    baselines : mapping of str to str
        See ``Workbench``.
    """

    workshop: Workshop
    baselines: Mapping[str, str]

    def carry_out(self, orders: Iterator[Order], finished: Callable[[Made], None]) -> None:
        """Carry out orders: see ``Workshop``."""

        def hear(made: Made) -> None:
            if made.order.name not in self.baselines:
                finished(made)

        self.workshop.carry_out(orders, hear)

    @property
    def failures(self) -> list[Any]:
        """What could not be made."""
        return self.workshop.failures


@dataclass
class Workbench:
    """Stands in for ``compress``: it keeps what the run knows, and all that was made.

    Attributes
    ----------
    seconds : float
        For the whole stage, of which students and edits get the share that the engine gives.
    session, assembler, fused, full
        What the engine's stage was called with.
    workshop : KeptWorkshop
        What carried out the orders.
    orders : OrdersInTurn
        Which orders.
    baselines : dict of str to str
        Members fitted anew for comparison, and the member that each stands against.
    """

    seconds: float
    session: Session = field(init=False)
    assembler: Assembler = field(init=False)
    fused: Fused = field(init=False)
    full: Pipeline = field(init=False)
    workshop: KeptWorkshop = field(init=False)
    orders: OrdersInTurn = field(init=False)
    baselines: dict[str, str] = field(default_factory=dict)

    def __call__(
        self,
        session: Session,
        assembler: Assembler,
        fused: Fused,
        executor: Executor,
        learners: Sequence[LearnerSpec],
        full: Pipeline,
    ) -> Compressed:
        """Let the engine's stage run with more time and our order of orders."""
        times = replace(session.times, compress=session.watch.seconds() + self.seconds)
        self.session = replace(session, times=times)
        self.assembler, self.fused, self.full = assembler, fused, full
        with ExitStack() as stack:
            for name, stand_in in (("Orders", self._orders), ("Workshop", self._workshop)):
                stack.enter_context(mock.patch.object(making, name, stand_in))
            return compressing.compress(self.session, assembler, fused, executor, learners, full)

    def _orders(self, *arguments: Any) -> OrdersInTurn:
        self.orders = OrdersInTurn(self._fewer_trees(), *arguments)
        return self.orders

    def _workshop(self, *arguments: Any) -> KeptWorkshop:
        self.workshop = KeptWorkshop(Workshop(*arguments), self.baselines)
        return self.workshop

    def _fewer_trees(self) -> Iterator[Order]:
        """Give the boosted member of the largest share anew, with fewer and larger steps."""
        by_share = np.argsort(-self.fused.fitted.weights, kind="stable")
        for member in (self.fused.kept[position] for position in by_share):
            tuned = self._tuned(member)
            if not {"trees", "learning_rate"} <= set(tuned):
                continue
            for times in FEWER:
                rate = min(LARGEST_RATE, times * tuned["learning_rate"])
                trees = max(1, tuned["trees"] // times)
                name = f"{member.name}-{trees}-trees"
                self.baselines[name] = member.name
                yield Order(
                    name=name,
                    learner=member.learner,
                    params={**member.params, "trees": trees, "learning_rate": rate},
                    folds=member.folds,
                    all_rows=False,
                )
            return

    def _tuned(self, member: FinishedMember) -> Mapping[str, Any]:
        """Return what early stopping decided in the folds of a member."""
        learners = [self.assembler.model(member.name, fold).learner for fold in member.folds]
        points = [getattr(stored and stored.get(), "tuned", dict)() for stored in learners]
        return medians([dict(point) for point in points])

    # ----------------------------------------------------------------- what was made

    @property
    def made(self) -> list[Made]:
        """All that was made, baselines included."""
        return self.workshop.workshop.made

    @property
    def failures(self) -> list[str]:
        """What could not be proposed or made, and why, in a line each."""
        found = [*self.orders.failures, *self.workshop.failures]
        return [f"{each.member}: {each.error.strip().splitlines()[-1]}" for each in found]

    def member(self, name: str) -> FinishedMember:
        """Return a member of the teacher."""
        return next(member for member in self.fused.kept if member.name == name)

    def alone(self, name: str, member: FinishedMember, folds: Sequence[int]) -> Pipeline:
        """Return a pipeline of some models of one member, and nothing else."""
        part = self.assembler.member(name, member.learner, member.params, folds)
        return self.assembler.pipeline([part], Alone(), Calibration(), {})

    def fused_again(self, members: Sequence[FinishedMember]) -> tuple[Pipeline, Floats]:
        """Fuse members as the teacher's were; return a pipeline and cross-fitted predictions."""
        choice = self.fused.choice
        y, weight = self._target
        oof = np.stack([member.oof[self.fused.rows] for member in members])
        known = (choice.spec, choice.params, oof, y, weight)
        context = self.session.fusion_context(np.inf)
        result = cross_fitted(*known, self.session.splits(y), context)
        fitted = fit_final(*known, context)
        parts = [
            self.assembler.member(m.name, m.learner, m.params, m.folds)
            for m in (members[position] for position in fitted.members)
        ]
        pipeline = self.assembler.pipeline(parts, fitted.fusion, Calibration(), {})
        return pipeline, result.prediction

    def score(self, prediction: Floats) -> float:
        """Score predictions of the rows that the fusion was fitted on; NaN rows are left out."""
        y, weight = self._target
        known = np.flatnonzero(np.isfinite(prediction).all(axis=1))
        mass = None if weight is None else weight[known]
        session = self.session
        return score(session.objective, session.data.task, y[known], prediction[known], mass)

    @property
    def _target(self) -> tuple[Any, Any]:
        data, rows = self.session.data, self.fused.rows
        return data.y[rows], None if data.weight is None else data.weight[rows]
