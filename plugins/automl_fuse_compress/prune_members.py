"""Fewer members: those of the largest shares, those that backward elimination leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.specs import ALL_TASKS, CompressorSpec, Selection
from automl_fuse_compress.common import some_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Compressor, Floats, FusionContext, Params, Teacher

MAX_ROWS: Final = 10_000
"""Rows that elimination looks at, at most: it only proposes, others score."""
SIZES: Final = (1, 2, 3, 5, 8, 13, 21, 34, 55)


class PruneMembers:
    """Proposes the best single member, the k of largest share, and k left by elimination.

    Parameters
    ----------
    context : FusionContext
        Objective, seed and deadline.
    """

    def __init__(self, context: FusionContext) -> None:
        self._context = context

    def propose(self, teacher: Teacher) -> Sequence[Selection]:
        """Return member sets, each once, larger ones first: they lose least.

        Parameters
        ----------
        teacher : Teacher
            The fused pipeline. Its OOF rows may hold NaN, which are left out.
        """
        rows = self._rows(teacher)
        if not len(rows):
            return ()
        weight = None if teacher.weight is None else teacher.weight[rows]
        oof, y = np.ascontiguousarray(teacher.oof[:, rows]), teacher.y[rows]
        n_members = len(oof)
        by_share = np.argsort(-teacher.shares, kind="stable")
        best = int(np.argmin([self._context.loss(y, member, weight) for member in oof]))
        left = self._eliminate(teacher.shares, oof, y, weight)
        found = {}
        for k in (size for size in reversed(SIZES) if size < n_members):
            found[tuple(sorted(int(m) for m in by_share[:k]))] = f"top_{k}"
            if k in left:
                found.setdefault(left[k], f"backward_{k}")
        found.setdefault((best,), "best_single")
        return tuple(Selection(name=name, members=members) for members, name in found.items())

    def _rows(self, teacher: Teacher) -> NDArray[np.intp]:
        known = np.flatnonzero(np.isfinite(teacher.oof).all(axis=(0, 2)))
        random = np.random.default_rng(self._context.seed)
        return known[some_rows(len(known), MAX_ROWS, random)]

    def _eliminate(
        self, shares: Floats, oof: Floats, y: Array, weight: Floats | None
    ) -> dict[int, tuple[int, ...]]:
        """Drop, one at a time, the member without which the weighted mean does best.

        Returns the members left, by how many; the deadline ends it early. A share of 0 counts
        as a small one, so that the mean is defined whoever is left.
        """
        shares = np.maximum(shares, 1e-6)
        left = list(range(len(shares)))
        total = np.tensordot(shares, oof, axes=1)
        found = {}
        while len(left) > 1 and not self._context.deadline.expired():
            mass = shares[left].sum()
            losses = [
                self._context.loss(y, (total - shares[m] * oof[m]) / (mass - shares[m]), weight)
                for m in left
            ]
            dropped = left.pop(int(np.argmin(losses)))
            total -= shares[dropped] * oof[dropped]
            found[len(left)] = tuple(left)
        return found


def _build(_params: Params, context: FusionContext) -> Compressor:
    return PruneMembers(context)


SPEC = CompressorSpec(name="prune_members", api_version=1, tasks=ALL_TASKS, build=_build)
