"""Networks kept in half precision: half of the bytes; they compute in double precision as before.

A weight is kept to three digits, relative to its size. What is not learned, such as the bins of
numbers, stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.specs import ALL_TASKS, CompressorSpec, Configuration, Edit
from automl_fuse_torch.shrink import LEARNERS

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from automl_fuse.specs import Compressor, FusionContext, Learner, Params, Rows, Suggest, Teacher

_MOST_RANK = 5


@dataclass(frozen=True)
class ToHalves:
    """The edit: the weights of a network in half precision."""

    def __call__(self, learner: Learner, _train: Rows) -> Learner:
        """Return the smaller learner.

        Raises
        ------
        PluginError
            If it is no network of this plugin, or has weights that are too large.
        """
        halved = getattr(learner, "halved", None)
        if halved is None:
            raise PluginError(f"{type(learner).__name__} is no network of automl_fuse_torch")
        result: Learner = halved()
        return result


def networks_by_share(teacher: Teacher, among: Container[str] = LEARNERS) -> list[int]:
    """Return the positions of networks of a share above 0, the largest first.

    Parameters
    ----------
    teacher : Teacher
        The fused pipeline.
    among : container of str
        Learners that count: by default those without branches.
    """
    order = np.argsort(-teacher.shares, kind="stable").tolist()
    return [m for m in order if teacher.shares[m] > 0 and teacher.learners[m] in among]


class Halve:
    """Proposes to halve the network of a rank.

    Parameters
    ----------
    rank : int
        Which: 0 is that of the largest share.
    """

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def propose(self, teacher: Teacher) -> Sequence[Edit]:
        """Return the edit, or none where the teacher has fewer networks of this plugin."""
        found = networks_by_share(teacher)
        if self._rank >= len(found):
            return ()
        member = found[self._rank]
        return (Edit(name=f"{teacher.names[member]}_half", member=member, edit=ToHalves()),)


def _build(params: Params, _context: FusionContext) -> Compressor:
    return Halve(params["rank"])


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a rank."""
    return {"rank": suggest.integer("rank", 0, _MOST_RANK)}


SPEC = CompressorSpec(
    name="halve_network",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=tuple(
        Configuration(params={"rank": rank}, merit=0.7 - 0.04 * rank) for rank in range(3)
    ),
    requires=("torch",),
    extra="torch",
)
