"""Which rows each member sees at each step, and the noise that it gets: its own, whoever is near.

A member trained beside others must see what it would see alone. So each has its own sources of
random numbers, and only members whose batches have one shape are trained together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse_torch.devices import Device
    from automl_fuse_torch.parameters import Singles

_ALIGNED = 8
_POOL = 1 << 20
"""Random bytes that a member draws at once."""
_LEVELS = 256
"""Dropout rates are multiples of one over this."""


class BatchShape(NamedTuple):
    """Steps of an epoch, and places for rows in each batch."""

    steps: int
    places: int


def batch_shape(n_rows: int, size: int) -> BatchShape:
    """Return the shape of batches of about equal size, at most ``size`` rows each."""
    steps = max(1, math.ceil(n_rows / size))
    return BatchShape(steps, _ALIGNED * math.ceil(math.ceil(n_rows / steps) / _ALIGNED))


def seed_for(seed: int, purpose: int) -> int:
    """Return a seed for one of the uses that a member has for random numbers."""
    sequence = np.random.SeedSequence([seed % 2**63, purpose])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


class Batches:
    """Rows of each member, in a new order each epoch; every row once an epoch.

    Parameters
    ----------
    rows : sequence of integer arrays
        Positions of each member's training rows; all give batches of one shape.
    size : int
        Rows of a batch, at most.
    seeds : sequence of int
        Of each member.
    device : Device
        Where the positions are drawn.
    """

    def __init__(
        self, rows: Sequence[Any], size: int, seeds: Sequence[int], device: Device
    ) -> None:
        self.shape = batch_shape(len(rows[0]), size)
        self._rows = [device.tensor(each) for each in rows]
        self._generators = [device.generator(seed_for(seed, 0)) for seed in seeds]
        places, filled = zip(*(_places(len(each), self.shape) for each in rows), strict=True)
        self._places = [device.tensor(each) for each in places]
        self.filled = device.tensor(np.stack(filled))

    def shuffled(self) -> Any:
        """Return positions (n_members, steps, places) for an epoch.

        A place that is not ``filled`` holds any row of the member.
        """
        orders = []
        for rows, places, generator in zip(self._rows, self._places, self._generators, strict=True):
            order = torch.randperm(len(rows), generator=generator, device=rows.device)
            orders.append(rows[order[places]])
        return torch.stack(orders)

    def keep(self, chosen: Sequence[int]) -> None:
        """Go on with some of the members."""
        self._rows = [self._rows[i] for i in chosen]
        self._places = [self._places[i] for i in chosen]
        self._generators = [self._generators[i] for i in chosen]
        self.filled = self.filled[list(chosen)]


def _places(n_rows: int, shape: BatchShape) -> tuple[Any, Singles]:
    """Return which shuffled row each place takes, and 1 where there is one, else 0."""
    starts = np.arange(shape.steps + 1) * n_rows // shape.steps
    offsets = starts[:-1, None] + np.arange(shape.places)
    filled = offsets < starts[1:, None]
    return np.where(filled, offsets, 0), filled.astype(np.float32)


class Noise:
    """Dropout and draws, each member with random bytes of its own, and other ones for either.

    Dropout is that of Srivastava et al. (2014), each member with its own rate.
    """

    is_training: ClassVar[bool] = True

    def __init__(self, rates: Sequence[float], seeds: Sequence[int], device: Device) -> None:
        self._rates = device.tensor(np.array(rates, dtype=np.float32))
        self._is_on = any(rate > 0.0 for rate in rates)
        # A member without dropout draws the same beside one with dropout as it does alone.
        self._dropped, self._drawn = (_Bytes(seeds, purpose, device) for purpose in (1, 2))
        self._factor = 1.0

    def scale(self, factor: float) -> None:
        """Set the factor of all members' rates."""
        self._factor = factor

    def drop(self, x: Any) -> Any:
        """Return ``x`` (n_members, …) with some values put to 0 and the others scaled up."""
        if not self._is_on:
            return x
        shape = (len(x),) + (1,) * (x.dim() - 1)
        dropped = (self._rates * (self._factor * _LEVELS)).round().reshape(shape)
        kept = self._dropped.take(x[0].numel()).reshape(x.shape) >= dropped.to(torch.uint8)
        return x * (kept * (_LEVELS / (_LEVELS - dropped))).to(x.dtype)

    def draws(self, n_rows: int, count: int) -> Any:
        """Return numbers between 0 and 1, (n_members, n_rows, count), of 256 levels."""
        drawn = self._drawn.take(n_rows * count).reshape(-1, n_rows, count)
        return (drawn.float() + 0.5) / _LEVELS

    def keep(self, chosen: Sequence[int]) -> None:
        """Go on with some of the members."""
        self._rates = self._rates[list(chosen)]
        self._dropped.keep(chosen)
        self._drawn.keep(chosen)


class _Bytes:
    """Random bytes of each member, many drawn at once."""

    def __init__(self, seeds: Sequence[int], purpose: int, device: Device) -> None:
        self._device = device
        self._generators = [device.generator(seed_for(seed, purpose)) for seed in seeds]
        self._pool: Any = None
        self._used = 0

    def take(self, count: int) -> Any:
        """Return the next bytes (n_members, count)."""
        if self._pool is None or self._used + count > self._pool.shape[1]:
            words = max(_POOL, count + 7) // 8
            self._pool = torch.stack([self._words(words, g) for g in self._generators])
            self._pool = self._pool.view(torch.uint8)
            self._used = 0
        taken = self._pool[:, self._used : self._used + count]
        # Words stay whole, so that members of any number draw the same.
        self._used += 8 * math.ceil(count / 8)
        return taken

    def keep(self, chosen: Sequence[int]) -> None:
        """Go on with some of the members."""
        self._generators = [self._generators[i] for i in chosen]
        if self._pool is not None:
            self._pool = self._pool[list(chosen)]

    def _words(self, count: int, generator: Any) -> Any:
        words = torch.empty(count, dtype=torch.int64, device=self._device.name)
        return words.random_(-(2**63), None, generator=generator)


class NoNoise:
    """What predicting gets in place of ``Noise``."""

    is_training: ClassVar[bool] = False

    def drop(self, x: Any) -> Any:
        """Return ``x``."""
        return x

    def draws(self, n_rows: int, count: int) -> None:
        """Return nothing: rows are predicted as they are."""
