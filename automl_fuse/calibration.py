"""The last step of predicting: one temperature for probabilities, one threshold for labels.

Predicting needs these and not how they were chosen (``fusion``), so they stand alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.measures import LABEL_GRID, label_bound, labels_of

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats, Graph, Tensor

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
        applies after the temperature. ``measures.labels_of`` says what above means.
    """

    temperature: float = 1.0
    threshold: float = 0.5

    def probabilities(self, prediction: Floats) -> Floats:
        """Return calibrated probabilities (n_rows, n_classes) from fused ones."""
        return apply_temperature(prediction, self.temperature)

    def labels(self, probabilities: Floats) -> Array:
        """Return class codes (n_rows,) from calibrated probabilities (n_rows, n_classes)."""
        return labels_of(probabilities, self.threshold)

    def to_onnx(self, graph: Graph, fused: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
        """Write ``probabilities`` and ``labels`` into a graph.

        Parameters
        ----------
        graph : Graph
            Where to write.
        fused : Tensor
            Fused predictions, float64 (n_rows, n_classes).
        n_classes : int
            Number of classes.

        Returns
        -------
        tuple of Tensor
            Probabilities, float64 (n_rows, n_classes), and class codes, int64 (n_rows,).
        """
        probabilities = fused
        if self.temperature != 1.0:
            smallest = graph.constant(np.array(_SMALLEST))
            logits = graph.node("Log", [graph.node("Max", [fused, smallest])])
            scaled = graph.node("Div", [logits, graph.constant(np.array(self.temperature))])
            probabilities = graph.node("Softmax", [scaled], {"axis": 1})
        if n_classes == 2:
            second = graph.node("Gather", [probabilities, graph.constant(np.array(1))], {"axis": 1})
            bound = graph.constant(np.array(label_bound(self.threshold)))
            codes = graph.node("Cast", [graph.node("Greater", [second, bound])], {"to": 7})
        else:
            grid = graph.constant(np.array(LABEL_GRID))
            rounded = graph.node("Round", [graph.node("Mul", [probabilities, grid])])
            codes = graph.node("ArgMax", [rounded], {"axis": 1, "keepdims": 0})
        return probabilities, codes
