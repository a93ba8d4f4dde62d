"""Which finished members are kept, so that memory and disk stay bounded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.search.ledger import DROPPED

if TYPE_CHECKING:
    from automl_fuse.search.ledger import Ledger
    from automl_fuse.search.tally import Tally

MAX_KEPT: Final = 100
"""Finished members that are kept; beyond it the one of the greatest loss is dropped."""
KEPT_BYTES: Final = 1 << 29
"""Bytes of OOF predictions that are kept, likewise."""


def drop_excess(tally: Tally, ledger: Ledger, disk_bytes: float = math.inf) -> None:
    """Drop the worst members until the others fit, but never the last.

    Parameters
    ----------
    tally : Tally
        Its finished members.
    ledger : Ledger
        Hears of each that is dropped. The ensemble may hold some of it: what that predicts is then
        kept in its place.
    disk_bytes : float
        What fold models and predictions may come to.
    """
    while len(tally.finished) > 1 and _is_too_much(tally, disk_bytes):
        worst = max(tally.finished, key=lambda kept: (not np.isfinite(kept.loss), kept.loss))
        incumbent = tally.incumbent
        snapshot = ledger.snapshot(incumbent.prediction)
        details = {"member": worst.name, "ensemble": snapshot, "ensemble_loss": incumbent.loss}
        ledger.write(DROPPED, details)
        tally.finished.remove(worst)
        tally.dropped += 1
        ledger.discard(worst.name)
        ledger.forget_snapshot()


def _is_too_much(tally: Tally, disk_bytes: float) -> bool:
    kept = tally.finished
    memory = sum(member.oof.nbytes for member in kept)
    disk = memory + sum(member.bytes for member in kept)
    return len(kept) > MAX_KEPT or memory > KEPT_BYTES or disk > disk_bytes
