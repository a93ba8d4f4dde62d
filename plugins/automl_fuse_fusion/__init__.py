"""Fusions of automl_fuse: averages, votes, ranks, greedy selection, convex weights, stacking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_fuse import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import FusionSpec


@hookimpl
def automl_fuse_fusions() -> Sequence[FusionSpec]:
    """Return the fusions of this plugin."""
    from automl_fuse_fusion import averaging, convex, greedy, ranking, stacking, voting

    return (
        greedy.SPEC,
        convex.SPEC,
        stacking.SPEC,
        averaging.AVERAGE,
        averaging.SOFT_VOTING,
        ranking.SPEC,
        voting.SPEC,
    )
