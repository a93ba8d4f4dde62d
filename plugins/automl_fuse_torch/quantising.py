"""Networks with branches computed in integers of 8 bits, but for the layers that this costs most.

Jacob et al. (2018), "Quantization and training of neural networks for efficient integer-only
inference". Ranges are measured on training rows beforehand, so that a row's prediction never
depends on the rows beside it. Nodes round to integers and back (QuantizeLinear and
DequantizeLinear), and onnxruntime computes what lies between in integers. Which layers stay in
floating point is told by what it costs to round each of them alone: the partial quantization of Wu
et al. (2020), "Integer quantization for deep learning inference".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse_torch.exporting import GraphOperations, Value
from automl_fuse_torch.program import DOUBLE
from automl_fuse_torch.rounding import signal, with_integers
from automl_fuse_torch.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Array, Floats, Tensor
    from automl_fuse_torch.branching import BranchNetwork
    from automl_fuse_torch.model import NetworkModel
    from automl_fuse_torch.program import Writer

_MEASURED: Final = 512
"""Training rows that ranges and costs are measured on, at most."""
_AT_ONCE: Final = 64
_LEAST: Final = 1e-9


def quantised(model: NetworkModel, values: Floats, floating: float) -> dict[str, Array]:
    """Return the arrays of a network with branches, most of its layers in integers.

    Parameters
    ----------
    model : NetworkModel
        A network with branches, in single precision.
    values : array of shape (n_rows, n_features)
        Its training rows.
    floating : float
        Share of the layers that stay in floating point: those that cost most.
    """
    network: Any = model.network
    spread = np.linspace(0, len(values) - 1, min(_MEASURED, len(values))).astype(np.intp)
    rows = values[spread]
    layers = _layers(network, model, rows)
    kept = round(floating * len(layers))
    if kept:
        costs = {name: _cost(model, layer, rows) for name, layer in layers.items()}
        dearest = sorted(costs, key=lambda name: -costs[name])[:kept]
        layers = {name: layer for name, layer in layers.items() if name not in dearest}
    return _rounded(model.arrays, *layers.values())


_Layer = tuple[tuple[str, ...], dict[str, Any]]
"""Arrays that are kept in integers, and steps of what goes in and comes out, by their names."""


def _rounded(arrays: Mapping[str, Array], *layers: _Layer) -> dict[str, Array]:
    """Return arrays with some layers in integers."""
    made = dict(arrays)
    for names, signals in layers:
        made = with_integers(made, names) | signals
    return made


def _cost(model: NetworkModel, layer: _Layer, rows: Floats) -> float:
    """Return how far predictions move where one layer is rounded: their divergence, or square."""
    before, after = model.predict(rows), model.with_arrays(_rounded(model.arrays, layer))
    found = after.predict(rows)
    if not model.is_classification:
        return float(np.mean(np.square(found - before)))
    ratio = np.log(np.maximum(before, _LEAST) / np.maximum(found, _LEAST))
    return float(np.mean((before * ratio).sum(axis=1)))


def _layers(network: BranchNetwork, model: NetworkModel, rows: Floats) -> dict[str, _Layer]:
    """Return what rounding each layer takes: ranges of these rows."""
    listened: list[_Listening] = []

    def write(writer: Writer, features: Tensor) -> dict[str, Tensor]:
        inputs = model.inputs.write(writer, features)
        operations = _Listening(writer, model.arrays, inputs)
        network.scores(operations)
        listened.append(operations)
        return operations.limits

    session = Session(write)
    parts = [session.run(rows[i : i + _AT_ONCE]) for i in range(0, len(rows), _AT_ONCE)]
    lows, highs = (
        {name: float(pick([part[name] for part in parts])) for name in parts[0]}
        for pick in (np.min, np.max)
    )
    heard = listened[0]
    return {
        layer: (
            names,
            {
                layer + side: signal(lows[f"{layer}{side}.low"], highs[f"{layer}{side}.high"])
                for side in heard.sides.get(layer, ())
            },
        )
        for layer, names in heard.kept.items()
    }


class _Listening(GraphOperations):
    """Writes a network that also tells the limits of what its layers are given and make.

    Attributes
    ----------
    limits : dict of str to Tensor
        Least and largest value, by layer and side.
    kept : dict of str to tuple of str
        Arrays of each layer that can be kept in integers.
    sides : dict of str to list of str
        Of each layer, what is rounded beside its arrays.
    """

    def __init__(
        self, writer: Writer, arrays: Mapping[str, Array], inputs: Mapping[str, Tensor]
    ) -> None:
        super().__init__(writer, arrays, inputs)
        self.limits: dict[str, Tensor] = {}
        self.kept: dict[str, tuple[str, ...]] = {}
        self.sides: dict[str, list[str]] = {}

    def embedded(self, codes: Value, name: str, n_codes: int, width: int) -> Value:
        """See ``Operations``."""
        self.kept[name] = (name,)
        return super().embedded(codes, name, n_codes, width)

    def _kept(self, name: str, axis: int, arranged: Any = lambda values: values) -> Tensor:
        layer = name.rpartition(".")[0]
        self.kept[layer] = (*self.kept.get(layer, ()), name)
        return super()._kept(name, axis, arranged)

    def _within(self, x: Tensor, layer: str, side: str) -> Tensor:
        self.sides.setdefault(layer, []).append(side)
        for operator, limit in (("ReduceMin", "low"), ("ReduceMax", "high")):
            found = self._node(operator, [x], {"keepdims": 0})
            self.limits[f"{layer}{side}.{limit}"] = self._node("Cast", [found], {"to": DOUBLE})
        return x
