"""What a training keeps of each member: means, the best state so far, its validation rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse_torch.core import Member
    from automl_fuse_torch.devices import Device
    from automl_fuse_torch.parameters import Singles


class Averages:
    """Exponential means of the parameters, where a member asks for them."""

    def __init__(self, weights: Any, shares: Any) -> None:
        self._shares = shares
        self._means = weights.detach().clone() if bool((shares > 0.0).any()) else None
        self._count = 0

    def update(self, weights: Any) -> None:
        """Take the parameters after a step into account."""
        self._count += 1
        if self._means is not None:
            # Early means forget faster: the start is not worth keeping.
            kept = self._shares.clamp(max=(1.0 + self._count) / (10.0 + self._count))
            self._means.lerp_(weights.detach(), 1.0 - kept)

    def of(self, weights: Any) -> Any:
        """Return what predicts: the means, or the parameters themselves."""
        return weights.detach() if self._means is None else self._means

    def keep(self, chosen: Any) -> None:
        """Go on with some of the members."""
        self._shares = self._shares[chosen]
        if self._means is not None:
            self._means = self._means[chosen]


class Best:
    """The best state of each member so far; where it starts, as long as there is none."""

    def __init__(self, weights: Any) -> None:
        self._weights = weights.detach().clone()
        self._losses = torch.full((len(weights),), math.inf, device=weights.device)
        self._epochs = torch.zeros(len(weights), dtype=torch.int64, device=weights.device)
        self._before = self._losses

    def take(self, weights: Any, epoch: int) -> None:
        """Take the state as it is."""
        self._weights.copy_(weights)
        self._epochs.fill_(epoch)

    def compare(self, weights: Any, losses: Any, epoch: int) -> None:
        """Take the states whose loss is less than before; nothing is copied to the host."""
        better = losses < self._losses
        self._losses = torch.where(better, losses, self._losses)
        self._epochs = torch.where(better, epoch, self._epochs)
        self._weights = torch.where(better.unsqueeze(1), weights, self._weights)

    def has_improved(self) -> list[bool]:
        """Return which members are better than at the last call."""
        improved: list[bool] = (self._losses < self._before).tolist()
        self._before = self._losses
        return improved

    def row(self, position: int) -> tuple[Singles, int]:
        """Return a member's parameters, and its epochs."""
        return self._weights[position].cpu().numpy(), int(self._epochs[position])

    def keep(self, chosen: Any) -> None:
        """Go on with some of the members."""
        self._weights, self._losses = self._weights[chosen], self._losses[chosen]
        self._epochs, self._before = self._epochs[chosen], self._before[chosen]


class ValidRows:
    """Positions of validation rows, (n_members, most), and which of them are there."""

    def __init__(self, positions: Any, filled: Any) -> None:
        self._positions, self._filled = positions, filled

    @staticmethod
    def of(members: Sequence[Member], device: Device) -> ValidRows | None:
        """Return the validation rows of all members, or None if there are none."""
        rows = [member.valid for member in members if member.valid is not None]
        if not rows:
            return None
        most = max(len(each) for each in rows)
        positions = np.stack([np.resize(each, most) for each in rows])
        filled = np.stack([np.arange(most) < len(each) for each in rows])
        return ValidRows(device.tensor(positions), device.tensor(filled.astype(np.float32)))

    def pieces(self, weights: Any, places: int) -> list[tuple[Any, Any]]:
        """Return positions and each row's share of the loss, so many rows at a time."""
        shares = weights[self._positions] * self._filled
        shares = shares / shares.sum(dim=1, keepdim=True)
        parts = (each.split(places, 1) for each in (self._positions, shares))
        return list(zip(*parts, strict=True))

    def keep(self, chosen: Any) -> None:
        """Go on with some of the members."""
        self._positions, self._filled = self._positions[chosen], self._filled[chosen]
