"""Which parameters of each member are learned, and from when on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse_torch.core import Member
    from automl_fuse_torch.devices import Device
    from automl_fuse_torch.parameters import Packing


class Frozen:
    """Factors of the steps of members some of whose parameters rest.

    Parameters
    ----------
    members : sequence of Member
        Those that are trained.
    packing : Packing
        Where their parameters lie.
    device : Device
        Where the factors are needed.
    """

    def __init__(self, members: Sequence[Member], packing: Packing, device: Device) -> None:
        self._learned: Any = None
        if any(member.frozen for member in members):
            rows = np.stack([packing.mask(member.frozen) for member in members])
            self._learned = device.tensor(1.0 - rows)
            thaws = np.array([[member.thaw] for member in members], dtype=np.float32)
            self._thaws = device.tensor(thaws)

    def learned(self, progress: float) -> Any:
        """Return factors (n_members, size) of the steps, or None if all is learned."""
        if self._learned is None:
            return None
        return self._learned.where(self._thaws > progress, 1.0)

    def keep(self, chosen: Any) -> None:
        """Go on with some of the members."""
        if self._learned is not None:
            self._learned, self._thaws = self._learned[chosen], self._thaws[chosen]
