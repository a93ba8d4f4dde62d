"""One model on all rows in place of a member's fold models.

Of ``n`` fold models it takes an ``n``-th of the bytes and the time. What it gives up is the
mean of ``n`` models, and nothing tells its score but theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_fuse.specs import ALL_TASKS, CompressorSpec, Refit
from automl_fuse_compress.common import members_by_share, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Compressor, FusionContext, Params, Teacher


class RefitMembers:
    """Proposes to refit each member of a share above 0, the largest share first."""

    def propose(self, teacher: Teacher) -> Sequence[Refit]:
        """Return a refit for each of these members."""
        return tuple(
            Refit(name=name_of(teacher, member), member=member)
            for member in members_by_share(teacher)
        )


def _build(_params: Params, _context: FusionContext) -> Compressor:
    return RefitMembers()


SPEC = CompressorSpec(name="refit", api_version=1, tasks=ALL_TASKS, build=_build)
