"""What the parts of the stage share: the teacher, the rows that judge, and the time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.budget import Deadline
from automl_fuse.calibration import Calibration
from automl_fuse.compression import Alone
from automl_fuse.hyperparameters import TARGET
from automl_fuse.specs import ForestModel, NetworkModel, Teacher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.assembly import Assembler
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.search import FinishedMember
    from automl_fuse.session import Session
    from automl_fuse.specs import Array, Floats, FusionContext, LearnerSpec
    from automl_fuse.stages import Fused

MAKING: Final = 0.62
"""Share of the stage that students, edits and refits may take."""
PRICING: Final = 0.72
"""Share of the stage at whose end what was made must have its price."""
MIXING: Final = 0.80
"""Share of the stage at whose end the study over mixtures is over."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What the parts of the stage share.

    Attributes
    ----------
    session : Session
        Settings, data, deadlines, preference and limits.
    assembler : Assembler
        Reads what trials have fitted.
    fused : Fused
        The teacher.
    full : Pipeline
        The same, put together.
    context : FusionContext
        What fusions and compressors are told; its deadline is that of the stage.
    seconds : float
        How long the stage may take in all.
    """

    session: Session
    assembler: Assembler
    fused: Fused
    full: Pipeline
    context: FusionContext
    seconds: float

    @classmethod
    def begin(cls, session: Session, assembler: Assembler, fused: Fused, full: Pipeline) -> Stage:
        """Return a stage that begins now."""
        context = session.fusion_context(session.times.compress)
        return cls(
            session=session,
            assembler=assembler,
            fused=fused,
            full=full,
            context=context,
            seconds=context.deadline.remaining(),
        )

    def until(self, share: float) -> Deadline:
        """Return the deadline of a part of the stage."""
        return Deadline(self.context.deadline.remaining() - (1 - share) * self.seconds)

    @property
    def kept(self) -> tuple[FinishedMember, ...]:
        """The teacher's members."""
        return self.fused.kept

    @cached_property
    def y(self) -> Array:
        """Target of the rows that have predictions of all members."""
        return self.session.data.y[self.fused.rows]

    @cached_property
    def weight(self) -> Floats | None:
        """Sample weights of the same rows."""
        weight = self.session.data.weight
        return None if weight is None else weight[self.fused.rows]

    def target(self, rows: Array) -> tuple[Array, Floats | None]:
        """Return target and weights of some of those rows."""
        return self.y[rows], None if self.weight is None else self.weight[rows]

    def loss_of(self, prediction: Floats, rows: Any) -> float:
        """Return the loss of predictions for some rows of the training table."""
        data = self.session.data
        weight = None if data.weight is None else data.weight[rows]
        return float(self.session.loss(data.y[rows], prediction, weight))

    def alone(self, member: FinishedMember, folds: Sequence[int]) -> Pipeline:
        """Return a pipeline of some models of one member and nothing else."""
        part = self.assembler.member(member.name, member.learner, member.params, folds)
        return self.assembler.pipeline([part], Alone(), Calibration(), {})

    def teacher(self, learners: Sequence[LearnerSpec]) -> Teacher:
        """Return the fused pipeline as compressors see it; students are made of ``learners``."""
        kept = self.kept
        return Teacher(
            oof=np.stack([member.predictions(self.fused.rows) for member in kept]),
            y=self.y,
            weight=self.weight,
            shares=self.fused.fitted.weights,
            bytes=np.array([member.bytes for member in kept], dtype=float),
            seconds=np.array([member.row_seconds for member in kept]),
            names=tuple(member.name for member in kept),
            learners=tuple(member.learner for member in kept),
            forms=tuple(self._form_of(member) for member in kept),
            students=tuple(spec.name for spec in learners),
            kin=tuple(self._kin_of(member) for member in kept),
            terms=tuple(_terms_of(member) for member in kept),
        )

    def _kin_of(self, member: FinishedMember) -> str:
        """Return what members have in common whose models can be averaged; empty for none."""
        model = self.assembler.model(member.name, member.folds[0])
        kin = getattr(model.learner and model.learner.get(), "kin", str)()
        if not kin:
            return ""
        return f"{member.learner} {kin} {_terms_of(member)} {model.encoders}"

    def _form_of(self, member: FinishedMember) -> str:
        stored = self.assembler.model(member.name, member.folds[0]).learner
        form = getattr(stored and stored.get(), "form", lambda: None)()
        if isinstance(form, NetworkModel):
            return "network" if len(form.layers) > 1 else "line"
        return "forest" if isinstance(form, ForestModel) else ""


def _terms_of(member: FinishedMember) -> str:
    """Return what tells the rows, and the terms of the target, that a member was fitted to."""
    return f"{member.params.get(TARGET, '')} {member.max_rows}"
