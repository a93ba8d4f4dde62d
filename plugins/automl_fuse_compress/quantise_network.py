"""Networks in small numbers: weights of 8 bits, integer arithmetic; or weights of 16 bits.

Jacob et al. (2018), "Quantization and training of neural networks for efficient integer-only
inference". The scales of activations are fixed beforehand, on training rows: a row's prediction
never depends on the rows beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import ALL_TASKS, CompressorSpec, Layer
from automl_fuse_compress.common import (
    MAX_RANK,
    EditedLearner,
    RankedEdit,
    for_each_rank,
    network_of,
)
from automl_fuse_compress.quantised import (
    HIGHEST_ACTIVATION,
    HIGHEST_INPUT,
    HIGHEST_WEIGHT,
    QuantisedLayer,
    QuantisedLearner,
    QuantisedNetwork,
)
from automl_fuse_compress.signals import Signals

if TYPE_CHECKING:
    from automl_fuse.specs import (
        Compressor,
        Floats,
        FusionContext,
        Learner,
        NetworkModel,
        Params,
        Rows,
        Suggest,
    )

SCALES: Final = ("output", "layer", "network")
"""What shares one scale of weights: an output of a layer, a layer, the whole network."""
_QUANTILE: Final = 0.999
"""Of activations: those beyond are cut, with ``range`` ``"quantile"``."""


@dataclass(frozen=True)
class ToIntegers:
    """Gives the layers of a fitted learner weights of 8 bits.

    Attributes
    ----------
    scale : {"output", "layer", "network"}
        What shares one scale of weights.
    range : {"all", "quantile"}
        Whether the largest activation of the training rows can still be told, or 99.9 % of
        them, with finer steps.
    seed : int
        Of the draw of training rows.
    """

    scale: str
    range: str
    seed: int

    def __call__(self, learner: Learner, train: Rows) -> QuantisedLearner:
        """Return the learner in integers.

        Raises
        ------
        PluginError
            If the learner has no layers.
        """
        model = network_of(learner)
        signals = Signals.of(model, train, self.seed)
        steps = [self._step(signals, position) for position in range(len(model.layers))]
        layers = tuple(
            self._layer(layer, largest, step)
            for layer, largest, step in zip(model.layers, self._largest(model), steps, strict=True)
        )
        return QuantisedLearner(
            QuantisedNetwork(mean=model.mean, scale=model.scale, layers=layers, link=model.link)
        )

    def _step(self, signals: Signals, position: int) -> float:
        """Return the step between two values that a layer can be given."""
        size = np.abs(signals.given(position))
        # Most activations may be 0: only the others tell what must be told apart.
        size = size[size > 0]
        if not size.size:
            return 1.0
        largest = size.max() if self.range == "all" else np.quantile(size, _QUANTILE)
        return float(largest) / (HIGHEST_ACTIVATION if position else HIGHEST_INPUT)

    def _largest(self, model: NetworkModel) -> list[Floats]:
        """Return the largest absolute weight that shares the scale of each output."""
        sizes = [np.abs(layer.weight.astype(np.float64)) for layer in model.layers]
        if self.scale == "output":
            return [size.max(axis=0) for size in sizes]
        largest = [np.full(size.shape[1], size.max()) for size in sizes]
        if self.scale == "layer":
            return largest
        of_all = max(float(each.max()) for each in largest)
        return [np.full_like(each, of_all) for each in largest]

    def _layer(self, layer: Layer, largest: Floats, step: float) -> QuantisedLayer:
        weight_step = np.where(largest > 0, largest, 1.0) / HIGHEST_WEIGHT
        weight = np.rint(layer.weight.astype(np.float64) / weight_step).astype(np.int8)
        bias = layer.bias.astype(np.float64)
        return QuantisedLayer(weight=weight, weight_step=weight_step, bias=bias, step=step)


@dataclass(frozen=True)
class HalvedLearner(EditedLearner):
    """A fitted network whose weights are kept in 16 bits."""

    def decompress(self) -> EditedLearner:
        """Return a network in single precision that predicts the same."""
        return EditedLearner(_in_precision(network_of(self), np.float32))


@dataclass(frozen=True)
class ToHalves:
    """Keeps the layers of a fitted learner in 16 bits: half the bytes of single precision."""

    def __call__(self, learner: Learner, train: Rows) -> HalvedLearner:  # noqa: ARG002 - contract
        """Return the learner with rounded weights; it computes in double precision as before.

        Raises
        ------
        PluginError
            If the learner has no layers.
        """
        return HalvedLearner(_in_precision(network_of(learner), np.float16))


def _in_precision(model: NetworkModel, precision: type[np.floating[Any]]) -> NetworkModel:
    largest = np.finfo(precision).max
    layers = tuple(
        Layer(
            weight=np.clip(layer.weight, -largest, largest).astype(precision),
            bias=np.clip(layer.bias, -largest, largest).astype(precision),
        )
        for layer in model.layers
    )
    return replace(model, layers=layers)


def _build(params: Params, context: FusionContext) -> Compressor:
    """Keep weights in 16 bits, or in 8 with the scales of a point."""
    rank = params["rank"]
    if params["bits"] == 16:
        return RankedEdit(rank=rank, form="network", label="float16", edit=ToHalves())
    scale, reach = params["scale"], params["range"]
    edit = ToIntegers(scale, reach, context.seed)
    return RankedEdit(rank=rank, form="network", label=f"int8_{scale}_{reach}", edit=edit)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a member by its rank, the bits of a weight, and how integers are scaled."""
    params = {
        "rank": suggest.integer("rank", 0, MAX_RANK),
        "bits": suggest.choice("bits", (8, 16)),
    }
    if params["bits"] == 16:
        return params
    return {
        **params,
        "scale": suggest.choice("scale", SCALES),
        "range": suggest.choice("range", ("all", "quantile")),
    }


_INTEGERS: Final = {"bits": 8, "scale": "output", "range": "all"}

SPEC = CompressorSpec(
    name="quantise_network",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=for_each_rank(((0.58, _INTEGERS), (0.48, {"bits": 16}))),
)
