"""Parameters of networks: named arrays, and all of them as one row of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Array

Singles = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One array of a network.

    Attributes
    ----------
    shape : tuple of int
        Without the dimension of the members.
    rate : float
        Factor of the learning rate; 0 for what is not learned.
    decay : float
        Factor of the weight decay.
    """

    shape: tuple[int, ...]
    rate: float = 1.0
    decay: float = 1.0

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


class Packing:
    """Where each parameter lies in a row of numbers, which is what an optimiser steps on."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = dict(parameters)
        self._sizes = [parameter.size for parameter in self._parameters.values()]

    def row(self, arrays: Mapping[str, Array]) -> Singles:
        """Return the parameters of one member as one row."""
        parts = [np.ravel(arrays[name]) for name in self._parameters]
        return np.concatenate(parts).astype(np.float32)

    def arrays(self, row: Singles) -> dict[str, Singles]:
        """Return the arrays that a row of numbers holds."""
        parts = np.split(row, np.cumsum(self._sizes)[:-1])
        named = zip(self._parameters.items(), parts, strict=True)
        return {name: part.reshape(parameter.shape) for (name, parameter), part in named}

    def views(self, rows: Any) -> dict[str, Any]:
        """Return views into a torch tensor (n_members, size), members first."""
        parts = rows.split(self._sizes, dim=1)
        named = zip(self._parameters.items(), parts, strict=True)
        return {name: part.unflatten(1, parameter.shape) for (name, parameter), part in named}

    def rates(self) -> Singles:
        """Return the factor of the learning rate of each number."""
        return self._repeated([parameter.rate for parameter in self._parameters.values()])

    def decays(self) -> Singles:
        """Return the factor of rate times decay of each number."""
        values = self._parameters.values()
        return self._repeated([parameter.rate * parameter.decay for parameter in values])

    def mask(self, names: frozenset[str]) -> Singles:
        """Return 1 for each number of the parameters of these names, 0 for the others."""
        return self._repeated([float(name in names) for name in self._parameters])

    def _repeated(self, values: list[float]) -> Singles:
        return np.repeat(np.array(values, dtype=np.float32), self._sizes)
