"""The last step of predicting: one temperature for probabilities, one threshold for labels.

Predicting needs these and not how they were chosen (``fusion``), so they stand alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats

__all__ = ["Calibration", "apply_temperature"]

_SMALLEST: Final = 1e-15


def apply_temperature(prediction: Floats, temperature: float) -> Floats:
    """Return probabilities (n_rows, n_classes) raised to 1 / temperature, each row of sum 1.

    Temperature scaling of Guo et al. 2017 ("On calibration of modern neural networks",
    section 4.2), with log-probabilities as logits.
    """
    if temperature == 1.0:
        return prediction
    logits = np.log(np.maximum(prediction, _SMALLEST)) / temperature
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    scaled: Floats = raised / raised.sum(axis=1, keepdims=True)
    return scaled


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How fused predictions become the probabilities and labels that a user sees.

    Attributes
    ----------
    temperature : float
        Above 1 it makes probabilities less certain; 1 leaves them as they are.
    threshold : float
        Probability of the second class above which it is the label, in a binary task; it
        applies after the temperature.
    """

    temperature: float = 1.0
    threshold: float = 0.5

    def probabilities(self, prediction: Floats) -> Floats:
        """Return calibrated probabilities (n_rows, n_classes) from fused ones."""
        return apply_temperature(prediction, self.temperature)

    def labels(self, probabilities: Floats) -> Array:
        """Return class codes (n_rows,) from calibrated probabilities (n_rows, n_classes)."""
        if probabilities.shape[1] == 2:
            return (probabilities[:, 1] > self.threshold).astype(np.int64)
        labels: Array = np.argmax(probabilities, axis=1).astype(np.int64)
        return labels
