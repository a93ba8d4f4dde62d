"""The protocol of fitted models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from automl_fuse.specs import Floats


class Predictor(Protocol):
    """A fitted model: it pickles, and holds nothing that predicting does not need."""

    def predict(self, values: Floats) -> Floats:
        """Return (n_rows, n_outputs) predictions of (n_rows, n_features) features."""


class Scorer(Protocol):
    """A fitted classifier before calibration."""

    def scores(self, values: Floats) -> Floats:
        """Return (n_rows, n_classes) scores, higher for likelier classes."""
