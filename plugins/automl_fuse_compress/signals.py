"""What the layers of a network are given, and what they give, for its training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse_compress.common import some_rows, weights_of

if TYPE_CHECKING:
    from automl_fuse.specs import Floats, NetworkModel, Rows

MAX_ROWS: Final = 20_000
"""Training rows that an edit of a network looks at, at most."""


@dataclass(frozen=True)
class Signals:
    """Signals of a network.

    Attributes
    ----------
    inputs : array of shape (n_rows, n_features)
        Scaled features.
    sums : tuple of array of shape (n_rows, n_outputs)
        What each layer gives, before it is rectified.
    weight : array of shape (n_rows,)
        Sample weights.
    """

    inputs: Floats
    sums: tuple[Floats, ...]
    weight: Floats

    @staticmethod
    def of(model: NetworkModel, train: Rows, seed: int) -> Signals:
        """Send training rows through a network; some of them, where there are many."""
        rows = some_rows(len(train.y), MAX_ROWS, np.random.default_rng(seed))
        inputs = scaled(model.mean, model.scale, train.X.values[rows])
        sums: list[Floats] = []
        for layer in model.layers:
            given = np.maximum(sums[-1], 0.0) if sums else inputs
            sums.append(given @ layer.weight.astype(np.float64) + layer.bias.astype(np.float64))
        return Signals(inputs, tuple(sums), weights_of(train)[rows])

    def given(self, position: int) -> Floats:
        """Return what a layer is given: scaled features, or rectified sums."""
        return np.maximum(self.sums[position - 1], 0.0) if position else self.inputs


def scaled(mean: Floats, scale: Floats, values: Floats) -> Floats:
    """Return features as the first layer is given them: a missing value is 0."""
    signal: Floats = (values - mean) / scale
    signal[np.isnan(signal)] = 0.0
    return signal
