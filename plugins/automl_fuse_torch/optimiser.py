"""Adam with decoupled weight decay for many members at once, each with rates of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from automl_fuse_torch.parameters import Packing

_BETA1 = 0.9
_EPSILON = 1e-8


class AdamW:
    """Loshchilov and Hutter (2019), "Decoupled weight decay regularization", algorithm 2.

    Parameters
    ----------
    weights : tensor of shape (n_members, size)
        The parameters; stepped on in place.
    packing : Packing
        Factors of each parameter.
    rates, decays : tensor of shape (n_members, 1)
        Learning rate and weight decay of each member.
    beta2 : float
        How slowly the mean of squared gradients forgets.
    """

    def __init__(
        self, weights: Any, packing: Packing, rates: Any, decays: Any, beta2: float
    ) -> None:
        self._weights = weights
        self._rates, self._decays = rates, decays
        self._beta2 = beta2
        self._factors = torch.as_tensor(packing.rates(), device=weights.device)
        self._decayed = torch.as_tensor(packing.decays(), device=weights.device)
        self._mean = torch.zeros_like(weights)
        self._square = torch.zeros_like(weights)
        self._count = 0

    def step(self, gradient: Any, rate: float, decay: float, learned: Any = None) -> None:
        """Take one step.

        ``rate`` and ``decay`` are factors of the members' own, ``learned`` one for each parameter,
        (n_members, size): 0 for those that rest.
        """
        self._count += 1
        unbiased = 1.0 - _BETA1**self._count
        spread = math.sqrt(1.0 - self._beta2**self._count)
        self._mean.lerp_(gradient, 1.0 - _BETA1)
        self._square.mul_(self._beta2).addcmul_(gradient, gradient, value=1.0 - self._beta2)
        speeds = self._rates * rate
        update = self._square.sqrt().div_(spread).add_(_EPSILON)
        torch.div(self._mean, update, out=update)
        update.mul_(self._factors)
        decayed = self._decayed
        if learned is not None:
            update.mul_(learned)
            decayed = decayed * learned
        with torch.no_grad():
            self._weights.mul_(1.0 - (speeds * self._decays * decay) * decayed)
            self._weights.addcmul_(update, speeds, value=-1.0 / unbiased)

    def keep(self, chosen: Any, weights: Any) -> None:
        """Go on with some of the members, whose parameters are ``weights``."""
        self._weights = weights
        self._rates, self._decays = self._rates[chosen], self._decays[chosen]
        self._mean, self._square = self._mean[chosen], self._square[chosen]
