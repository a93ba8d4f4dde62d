"""Smaller pipelines and the front: what no other beats on quality, seconds and bytes at once.

A compressor proposes member sets; each is fused again over its members, and scored on rows
that did not choose its weights, exactly as the full ensemble is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.fusion import cross_fitted
from automl_fuse.specs import Candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from automl_fuse.fusion import CrossFitted, Splits
    from automl_fuse.specs import CompressorSpec, FusionContext, FusionSpec, Params, Teacher

__all__ = ["FUSED", "Front", "Point", "candidates", "compress", "front", "score_candidates"]

FUSED = "fused"
"""Name of the teacher itself among the points of the front."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One pipeline of the front.

    Attributes
    ----------
    name : str
        Which compressor proposed it, and how; ``fused`` for the teacher.
    members : tuple of int
        Positions of its members in the teacher.
    loss, std : float
        Cross-fitted loss over all rows, and its standard deviation over splits.
    bytes : float
        Size of its members.
    seconds : float
        Time to predict one row.
    """

    name: str
    members: tuple[int, ...]
    loss: float
    std: float
    bytes: float
    seconds: float

    def beats(self, other: Point) -> bool:
        """Return whether it is no worse in loss, seconds and bytes, and better in one."""
        mine = (self.loss, self.seconds, self.bytes)
        others = (other.loss, other.seconds, other.bytes)
        return mine != others and all(a <= b for a, b in zip(mine, others, strict=True))


@dataclass(frozen=True, kw_only=True)
class Front:
    """Pipelines that no other beats, in order of rising loss."""

    points: tuple[Point, ...]

    def as_frame(self) -> pd.DataFrame:
        """Return one row a point: name, members (positions), loss, std, bytes, seconds."""
        import pandas as pd

        columns = ["name", "members", "loss", "std", "bytes", "seconds"]
        return pd.DataFrame([asdict(point) for point in self.points], columns=columns)


def candidates(
    specs: Sequence[CompressorSpec], teacher: Teacher, context: FusionContext
) -> tuple[Candidate, ...]:
    """Ask compressors, with each configuration of their portfolios, for smaller pipelines.

    Parameters
    ----------
    specs : sequence of CompressorSpec
        Those that do not fit the task are not asked.
    teacher : Teacher
        The fused pipeline.
    context : FusionContext
        Its deadline ends the asking.

    Returns
    -------
    tuple of Candidate
        The teacher first; then each member set once, most promising first, with its members
        in rising order.

    Raises
    ------
    PluginError
        If a compressor proposes members that the teacher does not have, or none.
    """
    everyone = tuple(range(len(teacher.shares)))
    found = {everyone: Candidate(name=FUSED, members=everyone)}
    for spec in specs:
        if context.task not in spec.tasks:
            continue
        for configuration in spec.portfolio:
            if context.deadline.expired():
                break
            for proposal in spec.build(configuration.params, context).propose(teacher):
                members = _checked_members(spec, proposal, len(everyone))
                name = f"{spec.name}:{proposal.name}"
                found.setdefault(members, Candidate(name=name, members=members))
    return tuple(found.values())


def _checked_members(spec: CompressorSpec, proposal: Candidate, n_members: int) -> tuple[int, ...]:
    members = tuple(sorted({int(m) for m in proposal.members}))
    if not members or members[0] < 0 or members[-1] >= n_members:
        raise PluginError(
            f"Compressor {spec.name!r} proposed {proposal.name!r} with members "
            f"{proposal.members}: they must be some of 0 … {n_members - 1}."
        )
    return members


def score_candidates(
    proposals: Sequence[Candidate],
    teacher: Teacher,
    spec: FusionSpec,
    params: Params,
    splits: Splits,
    context: FusionContext,
) -> tuple[Point, ...]:
    """Fuse each candidate's members anew and score it cross-fitted.

    Parameters
    ----------
    proposals : sequence of Candidate
        As ``candidates`` gives them. Those left when the deadline passes are not scored.
    teacher : Teacher
        The fused pipeline.
    spec, params
        Its fusion and hyperparameters.
    splits, context
        As for ``fusion.cross_fitted``.
    """
    points: list[Point] = []
    for proposal in proposals:
        if context.deadline.expired():
            break
        kept = np.array(proposal.members)
        result = cross_fitted(
            spec, params, teacher.oof[kept], teacher.y, teacher.weight, splits, context
        )
        points.append(_point(proposal, teacher, result))
    return tuple(points)


def _point(proposal: Candidate, teacher: Teacher, result: CrossFitted) -> Point:
    kept = np.array(proposal.members)
    return Point(
        name=proposal.name,
        members=proposal.members,
        loss=result.loss,
        std=result.std,
        bytes=float(teacher.bytes[kept].sum()),
        seconds=float(teacher.seconds[kept].sum()),
    )


def front(points: Sequence[Point]) -> Front:
    """Return the points that no other beats on loss, seconds and bytes, each kind once."""
    unique: dict[tuple[float, float, float], Point] = {}
    for point in points:
        unique.setdefault((point.loss, point.seconds, point.bytes), point)
    best = [p for p in unique.values() if not any(q.beats(p) for q in unique.values())]
    return Front(points=tuple(sorted(best, key=lambda p: (p.loss, p.seconds, p.bytes))))


def compress(
    specs: Sequence[CompressorSpec],
    teacher: Teacher,
    fused: CrossFitted,
    spec: FusionSpec,
    params: Params,
    splits: Splits,
    context: FusionContext,
) -> Front:
    """Return the front of the teacher and of all that compressors make of it.

    Parameters are those of ``candidates`` and ``score_candidates``; ``fused`` is the teacher's
    own cross-fitted score, which need not be computed again.
    """
    itself, *proposals = candidates(specs, teacher, context)
    smaller = score_candidates(proposals, teacher, spec, params, splits, context)
    return front([_point(itself, teacher, fused), *smaller])
