"""Edits of one network of the fused pipeline, chosen by the rank of its share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import Edit
from automl_fuse_torch.shrink import LEARNERS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from automl_fuse.specs import Learner, Rows, Teacher


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


class EditOfRank:
    """Proposes to edit the network of a rank.

    Parameters
    ----------
    rank : int
        Which: 0 is that of the largest share.
    label : str
        What the name of the proposal ends with.
    edit : callable
        As in ``Edit``.
    among : container of str
        Learners that count.
    """

    def __init__(
        self,
        rank: int,
        label: str,
        edit: Callable[[Learner, Rows], Learner],
        among: Container[str] = LEARNERS,
    ) -> None:
        self._rank, self._label, self._edit, self._among = rank, label, edit, among

    def propose(self, teacher: Teacher) -> Sequence[Edit]:
        """Return the edit, or none where the teacher has fewer such networks."""
        found = networks_by_share(teacher, self._among)
        if self._rank >= len(found):
            return ()
        member = found[self._rank]
        name = f"{teacher.names[member]}_{self._label}"
        return (Edit(name=name, member=member, edit=self._edit),)
