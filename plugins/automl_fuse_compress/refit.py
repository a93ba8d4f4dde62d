"""One model on all rows in place of a member's fold models.

Of ``n`` fold models it takes an ``n``-th of the bytes and the time. What it gives up is the
mean of ``n`` models, and nothing tells its score but theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automl_fuse.specs import ALL_TASKS, CompressorSpec, Configuration, Refit
from automl_fuse_compress.common import members_by_share, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Compressor, FusionContext, Params, Suggest, Teacher

MERITS = (1.00, 0.99, 0.97, 0.93, 0.87, 0.81, 0.73, 0.63, 0.53, 0.43)
"""By rank. A refit costs one fit where a student costs one a fold, so the first two go first."""
MAX_RANK = 30


class RefitMember:
    """Proposes to refit one member.

    Parameters
    ----------
    rank : int
        Which: 0 is that of the largest share.
    """

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def propose(self, teacher: Teacher) -> Sequence[Refit]:
        """Return the refit, or none where the teacher has fewer members."""
        members = members_by_share(teacher)
        if self._rank >= len(members):
            return ()
        member = members[self._rank]
        return (Refit(name=name_of(teacher, member), member=member),)


def _build(params: Params, _context: FusionContext) -> Compressor:
    return RefitMember(params["rank"])


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a rank, beyond those of the portfolio too."""
    return {"rank": suggest.integer("rank", 0, MAX_RANK)}


SPEC = CompressorSpec(
    name="refit",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=tuple(
        Configuration(params={"rank": rank}, merit=merit) for rank, merit in enumerate(MERITS)
    ),
)
