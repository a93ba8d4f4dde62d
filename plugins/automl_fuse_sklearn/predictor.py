"""The protocols of fitted models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Floats, ForestModel, Graph, NetworkModel, Tensor

    Form: TypeAlias = ForestModel | NetworkModel


class Predictor(Protocol):
    """A fitted model: it pickles, and holds nothing that predicting does not need."""

    def predict(self, values: Floats) -> Floats:
        """Return (n_rows, n_outputs) predictions of (n_rows, n_features) features."""

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Return the same from float64 features in a graph."""


@runtime_checkable
class Plain(Protocol):
    """A model that can be read as trees or as dense layers."""

    def form(self) -> Form:
        """Return the model that predicts the same."""


@runtime_checkable
class Stopped(Protocol):
    """A model that may have been stopped early.

    Attributes
    ----------
    tuned : mapping
        Params with which a fit without validation rows stops at the same point; empty if there
        were no validation rows.
    """

    tuned: Mapping[str, Any]


class Scorer(Protocol):
    """A fitted classifier before calibration."""

    def scores(self, values: Floats) -> Floats:
        """Return (n_rows, n_classes) scores, higher for likelier classes."""

    def calibrated(self, scale: Floats, shift: Floats) -> Predictor:
        """Return the softmax of ``scores * scale + shift``, each of shape (n_classes,)."""
