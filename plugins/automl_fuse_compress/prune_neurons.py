"""Smaller networks: whole neurons removed, the layers behind them fitted anew.

He, Zhang and Sun (2017), "Channel pruning for accelerating very deep neural networks": what a
layer is given is thinned out, and its weights are fitted to what it gave before, by least
squares on data. Which neuron goes is decided one at a time by the error that remains after
that fit: Hassibi and Stork (1993), "Second order derivatives for network pruning: optimal brain
surgeon", for rows of weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.specs import ALL_TASKS, CompressorSpec
from automl_fuse_compress.common import (
    MAX_RANK,
    Chain,
    EditedLearner,
    RankedEdit,
    for_each_rank,
    network_of,
)
from automl_fuse_compress.quantise_network import ToIntegers
from automl_fuse_compress.signals import Signals
from automl_fuse_compress.tuning import like, tuned

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import (
        Compressor,
        Floats,
        FusionContext,
        Layer,
        Learner,
        Params,
        Rows,
        Suggest,
    )

_RIDGE = 1e-4
"""Share of the mean variance of a neuron by which weights are held to what they were."""


@dataclass(frozen=True)
class KeepNeurons:
    """Keeps a share of the neurons of each hidden layer of a fitted learner.

    Attributes
    ----------
    share : float
        Of the neurons, in (0, 1).
    seed : int
        Of the draw of training rows, and of cells to shuffle.
    """

    share: float
    seed: int

    def __call__(self, learner: Learner, train: Rows) -> EditedLearner:
        """Return the smaller learner.

        Raises
        ------
        PluginError
            If the learner has no hidden layer.
        """
        model = network_of(learner)
        if len(model.layers) < 2:
            raise PluginError(f"{type(learner).__name__} has no hidden layer to thin out")
        signals = Signals.of(model, train, self.seed)
        signal, first = signals.inputs, model.layers[0]
        weight, bias = first.weight.astype(np.float64), first.bias.astype(np.float64)
        layers = []
        for position, following in enumerate(model.layers[1:], start=1):
            active = np.maximum(signal @ weight + bias, 0.0)
            count = max(1, math.floor(self.share * len(bias)))
            kept, *fitted = _thinned(active, following, signals, position, count)
            layers.append(like(model.layers[position - 1], weight[:, kept], bias[kept]))
            signal = active[:, kept]
            weight, bias = fitted
        layers.append(like(model.layers[-1], weight, bias))
        thinner = replace(model, layers=tuple(layers))
        return EditedLearner(tuned(thinner, model, train, self.seed))


def _thinned(
    active: Floats, layer: Layer, signals: Signals, position: int, count: int
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Choose the neurons whose activations (n_rows, n_neurons) the layer behind shall read.

    Returns their positions, and weights and bias of the layer behind.
    """
    share = signals.weight / signals.weight.sum()
    mean, goal_mean = share @ active, share @ signals.sums[position]
    centred = active - mean
    gram = centred.T @ (centred * share[:, None])
    held = _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12) * np.eye(len(gram))
    moment = centred.T @ ((signals.sums[position] - goal_mean) * share[:, None])
    inverse = np.linalg.inv(gram + held)
    weight = inverse @ (moment + held @ layer.weight.astype(np.float64))
    left = np.ones(len(gram), dtype=bool)
    for _ in range(len(gram) - count):
        diagonal = np.where(left, np.diag(inverse), 1.0)
        errors = np.where(left, (weight**2).sum(axis=1) / diagonal, np.inf)
        gone = int(np.argmin(errors))
        column = inverse[:, gone] / inverse[gone, gone]
        weight -= np.outer(column, weight[gone])
        inverse -= np.outer(column, inverse[gone])
        left[gone] = False
    kept = np.flatnonzero(left)
    return kept, weight[kept], goal_mean - mean[kept] @ weight[kept]


def _build(params: Params, context: FusionContext) -> Compressor:
    """Leave out some of the neurons; if a point says so, in integers after that."""
    thin = KeepNeurons(params["share"], context.seed)
    whole = ToIntegers("output", "all", context.seed)
    return RankedEdit(
        rank=params["rank"],
        form="network",
        label=f"{params['share']:.3g}" + ("_int8" if params["integers"] else ""),
        edit=Chain((thin, whole)) if params["integers"] else thin,
    )


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a member by its rank, a share of its neurons, and whether integers come after."""
    return {
        "rank": suggest.integer("rank", 0, MAX_RANK),
        "share": suggest.real("share", 0.05, 0.7, log=True),
        "integers": suggest.choice("integers", (False, True)),
    }


_POINTS = (
    (0.72, {"share": 0.5, "integers": False}),
    (0.66, {"share": 0.25, "integers": False}),
    (0.56, {"share": 0.5, "integers": True}),
)

SPEC = CompressorSpec(
    name="prune_neurons",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=for_each_rank(_POINTS),
)
