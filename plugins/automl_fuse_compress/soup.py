"""One model in place of several: the mean of weights that were learned from one start.

Wortsman et al. (2022), "Model soups: averaging weights of multiple fine-tuned models improves
accuracy without increasing inference time", section 2. Models of different starts lie in
different valleys, and the mean of their weights is worth nothing: only members of one *kin* are
averaged, such as networks that were fine-tuned from the same model of an earlier run. In each fold
the models of that fold are averaged, so that the soup is scored on rows that none of them saw.

The paper adds models one after the other, best first, and keeps those that help. Here the best
two, three and so on are proposals of their own, and the choice among all pipelines keeps what
does not lose.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.specs import ALL_TASKS, CompressorSpec, Configuration, Edit
from automl_fuse_compress.common import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Compressor, FusionContext, Learner, Params, Rows, Suggest, Teacher

MOST: Final = 8
"""Members of a soup, at most."""
MOST_KIN: Final = 3
"""Groups of members that can be averaged, at most."""


@dataclass(frozen=True)
class Average:
    """The edit: the mean of a learner's weights and those of others."""

    def __call__(self, learner: Learner, _train: Rows, *others: Learner) -> Learner:
        """Return the average.

        Raises
        ------
        PluginError
            If the learner cannot be averaged.
        """
        averaged = getattr(learner, "averaged", None)
        if averaged is None:
            raise PluginError(f"{type(learner).__name__} has no weights that can be averaged")
        result: Learner = averaged(others)
        return result


class Soup:
    """Proposes to average the best members of a group.

    Parameters
    ----------
    group : int
        Which: 0 is that of the largest share.
    members : int
        How many of them, the best first.
    context : FusionContext
        The loss by which members are ordered.
    """

    def __init__(self, group: int, members: int, context: FusionContext) -> None:
        self._group, self._members, self._context = group, members, context

    def propose(self, teacher: Teacher) -> Sequence[Edit]:
        """Return the soup, or none where there are fewer members that can be averaged."""
        groups = _groups(teacher)
        if self._group >= len(groups) or len(groups[self._group]) < self._members:
            return ()
        losses = {member: self._loss(teacher, member) for member in groups[self._group]}
        first, *others = sorted(losses, key=lambda member: losses[member])[: self._members]
        name = f"{name_of(teacher, first)}_soup{self._members}"
        return (Edit(name=name, member=first, edit=Average(), others=tuple(others)),)

    def _loss(self, teacher: Teacher, member: int) -> float:
        known = np.isfinite(teacher.oof[member]).all(axis=1)
        weight = None if teacher.weight is None else teacher.weight[known]
        return self._context.loss(teacher.y[known], teacher.oof[member][known], weight)


def _groups(teacher: Teacher) -> list[list[int]]:
    """Return the members of each kin, those of the largest share together first."""
    found: dict[str, list[int]] = defaultdict(list)
    for member, kin in enumerate(teacher.kin):
        if kin:
            found[kin].append(member)
    return sorted(found.values(), key=lambda members: -float(teacher.shares[members].sum()))


def _build(params: Params, context: FusionContext) -> Compressor:
    return Soup(params["group"], params["members"], context)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a group, and how many members to take."""
    return {
        "group": suggest.integer("group", 0, MOST_KIN - 1),
        "members": suggest.integer("members", 2, MOST),
    }


SPEC = CompressorSpec(
    name="soup",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=tuple(
        Configuration(params={"group": group, "members": members}, merit=merit - 0.05 * group)
        for group in range(2)
        for members, merit in ((2, 0.98), (3, 0.96), (4, 0.9), (6, 0.8))
    ),
)
