"""A fitted model of several networks with branches: predicts without torch, as a graph does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from automl_fuse_torch.model import computed
from automl_fuse_torch.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Array, Floats, Graph, Tensor
    from automl_fuse_torch.program import Writer
    from automl_fuse_torch.united import UnitedInputs


class JointNetwork(Protocol):
    """The shape of several networks with one prediction."""

    @property
    def hidden_values(self) -> int:
        """Values of the widest layer for one row."""

    def write(
        self, writer: Writer, arrays: Mapping[str, Array], inputs: Mapping[str, Tensor]
    ) -> Tensor:
        """Write predictions (n_rows, n_outputs) of the finished arrays, in double precision."""


class JointModel:
    """Networks that were joined. They compute in single precision, see ``session``.

    Parameters
    ----------
    inputs : UnitedInputs
        From features to what the networks read.
    network : JointNetwork
        Their shape.
    arrays : mapping of str to array
        Their finished parameters, and those of what joins them.
    """

    def __init__(
        self, inputs: UnitedInputs, network: JointNetwork, arrays: Mapping[str, Array]
    ) -> None:
        self._inputs, self._network, self._arrays = inputs, network, dict(arrays)
        self._session: Session | None = None

    def predict(self, values: Floats) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        if self._session is None:
            self._session = Session(lambda writer, x: {"result": self._write(writer, x)})
        return computed(self._session, values, self._network.hidden_values)

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write the inputs and the networks into a graph."""
        return self._write(graph, features)

    def _write(self, writer: Writer, features: Tensor) -> Tensor:
        return self._network.write(writer, self._arrays, self._inputs.write(writer, features))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_session": None}
