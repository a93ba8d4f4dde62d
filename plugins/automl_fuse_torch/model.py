"""A fitted network: arrays that predict without torch, in Python and in a graph."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.specs import Floats, Forest, ForestModel, Link
from automl_fuse_torch.program import Program, Writer
from automl_fuse_torch.rounding import floating
from automl_fuse_torch.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Array, Graph, Tensor
    from automl_fuse_torch.inputs import Inputs
    from automl_fuse_torch.parameters import Parameter, Singles

_VALUES_AT_ONCE = 1 << 18
"""Hidden values of a layer that are computed at once: they fit into the cache."""

_LARGEST_HALF = float(np.finfo(np.float16).max)

Tables = Mapping[str, Any]


class TabularNetwork(Protocol):
    """The shape of a network for tables: hashable, so that equal shapes train together.

    Also a ``core.Network``.
    """

    @property
    def is_single(self) -> bool:
        """Whether it computes in single precision, with operators that ``Program`` lacks."""

    @property
    def hidden_values(self) -> int:
        """Values of the widest layer for one row."""

    def parameters(self) -> Mapping[str, Parameter]:
        """Return what is learned."""

    def forward(self, weights: Mapping[str, Any], batch: Tables, noise: Any) -> Any:
        """Compute in torch: see ``core.Network``."""

    def initial(self, rows: Tables, prior: Floats, rng: np.random.Generator) -> dict[str, Any]:
        """Draw where parameters start.

        Parameters
        ----------
        rows : mapping of str to array
            Some training rows (see ``inputs.Inputs.tables``).
        prior : array of shape (n_outputs,)
            What to predict before anything is learned: class scores, or the mean.
        rng : numpy.random.Generator
            Source of randomness.
        """

    def finished(self, weights: Mapping[str, Singles]) -> dict[str, Singles]:
        """Return what predicting needs of the parameters, in single precision."""

    def write(
        self, writer: Writer, arrays: Mapping[str, Array], inputs: Mapping[str, Tensor]
    ) -> Tensor:
        """Write scores (n_heads, n_rows, n_outputs) of the finished arrays."""


class NetworkModel:
    """A trained network, its arrays in single precision.

    Networks for tables compute in double precision: one row and a batch predict the same to about
    1e-14, and a graph as well. Those with branches compute in single precision, in onnxruntime,
    what a graph has: there a row and a batch differ by about 1e-7.

    Parameters
    ----------
    inputs : Inputs
        From features to what the network reads.
    network : TabularNetwork
        Its shape.
    arrays : mapping of str to array
        Its finished parameters.
    is_classification : bool
        Whether scores become probabilities.
    epochs : int
        After which it was best; 0 if no validation rows decided that.
    weights : mapping of str to array
        Its parameters as they were learned, from which another network can start. Those that
        are finished as they are take no room of their own, in memory or pickled.
    origin : str
        What tells the earlier network that it started from; empty if it started afresh.

    Attributes
    ----------
    inputs, network, weights
        As above.
    """

    def __init__(
        self,
        inputs: Inputs,
        network: TabularNetwork,
        arrays: Mapping[str, Array],
        is_classification: bool,
        epochs: int,
        weights: Mapping[str, Singles],
        origin: str = "",
    ) -> None:
        self.inputs = inputs
        self.network = network
        self.weights = dict(weights)
        self.origin = origin
        self._arrays: dict[str, Array] = dict(arrays)
        self._is_classification = is_classification
        self.tuned: dict[str, int] = {"epochs": epochs} if epochs else {}
        self._program: Program | Session | None = None

    @property
    def arrays(self) -> Mapping[str, Array]:
        """What it predicts with."""
        return self._arrays

    @property
    def is_classification(self) -> bool:
        """Whether it predicts probabilities."""
        return self._is_classification

    def predict(self, values: Floats) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        if self._program is None:
            made = Session if self.network.is_single else Program
            self._program = made(lambda writer, x: {"result": self._write(writer, x)})
        return computed(self._program, values, self.network.hidden_values)

    def kin(self) -> str:
        """Return what networks have in common whose weights can be averaged; empty for none."""
        if not self.origin:
            return ""
        told = repr((self.network, self.inputs.names, self.origin)).encode()
        scaling = self.inputs.centre.tobytes() + self.inputs.factor.tobytes()
        return hashlib.sha256(told + scaling).hexdigest()[:16]

    def averaged(self, others: Sequence[NetworkModel]) -> NetworkModel:
        """Return the network of the mean of its weights and theirs."""
        members = (self, *others)
        singles: dict[str, Singles] = {
            name: np.asarray(np.mean([m.weights[name] for m in members], axis=0), dtype=np.float32)
            for name in self.weights
        }
        epochs = round(np.mean([member.tuned.get("epochs", 0) for member in members]))
        return NetworkModel(
            self.inputs,
            self.network,
            self.network.finished(singles),
            self._is_classification,
            epochs,
            singles,
            self.origin,
        )

    def halved(self) -> NetworkModel:
        """Return the network with what was learned kept in half precision.

        Raises
        ------
        PluginError
            If a number is too large for it.
        """
        arrays = dict(self._arrays)
        for name, parameter in self.network.parameters().items():
            if parameter.rate > 0.0 and name in arrays:
                arrays[name] = _halves(name, arrays[name])
        return self.with_arrays(arrays)

    def narrowed(self, share: float) -> NetworkModel:
        """Return a network of a share of the neurons of each layer: see ``narrow``.

        Raises
        ------
        PluginError
            If its neurons cannot be told apart, or its weights are not kept.
        """
        from automl_fuse_torch.narrow import narrowed

        if not self.weights:
            raise PluginError("this network has been made smaller already")
        network, weights = narrowed(self.network, self.weights, share)
        arrays = network.finished(weights)
        return NetworkModel(self.inputs, network, arrays, self._is_classification, 0, weights)

    def decompressed(self) -> NetworkModel:
        """Return the network in single precision throughout, without what rounding took."""
        return self.with_arrays(floating(self._arrays))

    def quantised(self, values: Floats, floating_share: float) -> NetworkModel:
        """Return the network with layers in integers, as training rows allow: see ``quantising``.

        Raises
        ------
        PluginError
            If it has no branches, or has been made smaller already.
        """
        from automl_fuse_torch.quantising import quantised

        if not self.network.is_single:
            raise PluginError(f"{type(self.network).__name__} has no branches to quantise")
        if not self.weights:
            raise PluginError("this network has been made smaller already")
        return self.with_arrays(quantised(self, values, floating_share))

    def with_arrays(self, arrays: Mapping[str, Array]) -> NetworkModel:
        """Return a network of other arrays, from which none can start."""
        epochs = self.tuned.get("epochs", 0)
        return NetworkModel(self.inputs, self.network, arrays, self._is_classification, epochs, {})

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write the inputs, the network and the link into a graph."""
        return self._write(graph, features)

    def _write(self, writer: Writer, features: Tensor) -> Tensor:
        inputs = self.inputs.write(writer, features)
        scores = self.network.write(writer, self._arrays, inputs)
        if self._is_classification:
            scores = writer.node("Softmax", [scores], {"axis": -1})
        heads = writer.constant(np.array([0], dtype=np.int64))
        return writer.node("ReduceMean", [scores, heads], {"keepdims": 0})

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_program": None}


def computed(program: Program | Session, values: Floats, hidden_values: int) -> Floats:
    """Return the ``result`` of a program for rows, so many at once that a layer fits the cache.

    Parameters
    ----------
    program : Program or Session
        What computes it.
    values : array of shape (n_rows, n_features)
        One row at least.
    hidden_values : int
        Values of the widest layer for one row.
    """
    size = max(1, _VALUES_AT_ONCE // hidden_values)
    starts = range(0, len(values), size)
    return np.concatenate([program.run(values[s : s + size])["result"] for s in starts])


def _halves(name: str, values: Array) -> Array:
    if np.abs(values).max(initial=0.0) > _LARGEST_HALF:
        raise PluginError(f"{name} holds numbers that are too large for half precision")
    return values.astype(np.float16)


def constant(mean: Floats) -> ForestModel:
    """Return a model that predicts ``mean`` (n_outputs,): trees, of which there are none."""
    none = np.empty(0, dtype=np.int64)
    forest = Forest(
        roots=none,
        feature=none,
        threshold=np.empty(0),
        split=none.astype(np.uint8),
        missing_true=none.astype(bool),
        true=none,
        false=none,
        leaf=np.empty((0, len(mean))),
        target=None,
        base=mean,
    )
    return ForestModel(forest=forest, link=Link.IDENTITY)
