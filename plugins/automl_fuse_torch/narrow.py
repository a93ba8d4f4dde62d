"""Networks made narrower: whole neurons left out, and what is left trained for a little longer.

Li et al. (2017), "Pruning filters for efficient ConvNets", sections 3.1 and 3.3: structured pruning
by the size of weights, here of those that lead to a neuron times those that lead from it, the same
share of each layer, then further training. So much is lost at once that it takes the full rate:
at a tenth of it, the result was worse than training as narrow a network from the start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.specs import ALL_TASKS, CompressorSpec, Configuration
from automl_fuse_torch.ranked import EditOfRank

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Compressor, FusionContext, Learner, Params, Rows, Suggest
    from automl_fuse_torch.parameters import Singles

_MOST_RANK = 5
SHARES: Final = (0.125, 0.25, 0.5, 0.75)
"""Shares of the neurons that are kept."""
_ROWS_SEEN: Final = 200_000
"""Rows of the fine-tuning, over all epochs, about."""
_MOST_EPOCHS: Final = 30


@dataclass(frozen=True)
class Narrow:
    """The edit: a share of the neurons of each hidden layer.

    Attributes
    ----------
    share : float
        Of the neurons, those that are kept.
    """

    share: float

    def __call__(self, learner: Learner, train: Rows) -> Learner:
        """Return the narrower learner, trained further on the rows.

        Raises
        ------
        PluginError
            If it is no network of this plugin whose neurons can be told apart.
        """
        narrowed = getattr(learner, "narrowed", None)
        if narrowed is None:
            raise PluginError(f"{type(learner).__name__} is no network of automl_fuse_torch")
        epochs = int(np.clip(_ROWS_SEEN // max(1, len(train.y)), 1, _MOST_EPOCHS))
        result: Learner = narrowed(self.share, train, epochs)
        return result


def narrowed(
    network: Any, weights: Mapping[str, Singles], share: float
) -> tuple[Any, dict[str, Singles]]:
    """Return a network of a share of the neurons of each hidden layer, and its weights.

    Parameters
    ----------
    network : TabularNetwork
        With a ``width``, and ``neurons``: for each parameter the hidden layer that each of its
        axes counts the neurons of.
    weights : mapping of str to array
        Its parameters.
    share : float
        Of the neurons, those that are kept.

    Raises
    ------
    PluginError
        If the network does not tell its neurons.
    """
    tell = getattr(network, "neurons", None)
    if tell is None:
        raise PluginError(f"the neurons of {type(network).__name__} cannot be left out")
    axes: Mapping[str, Mapping[int, int]] = tell()
    width = max(1, round(share * network.width))
    layers = sorted({layer for of in axes.values() for layer in of.values()})
    kept = {layer: _heaviest(axes, weights, layer, width) for layer in layers}
    smaller = dict(weights)
    for name, of in axes.items():
        for axis, layer in of.items():
            smaller[name] = np.take(smaller[name], kept[layer], axis=axis)
    for name in getattr(network, "divided", lambda: ())():
        # Sums over fewer neurons are divided by the root of fewer.
        smaller[name] = (smaller[name] * np.sqrt(width / network.width)).astype(np.float32)
    return replace(network, width=width), smaller


def _heaviest(
    axes: Mapping[str, Mapping[int, int]],
    weights: Mapping[str, Singles],
    layer: int,
    count: int,
) -> Any:
    """Return the neurons of a layer of the greatest product of weights, in their order."""
    importance: Any = 1.0
    for name, of in axes.items():
        values = np.asarray(weights[name], dtype=np.float64)
        for axis, known in of.items():
            if known == layer and values.ndim > 1:
                others = tuple(each for each in range(values.ndim) if each != axis)
                importance = importance * np.sqrt(np.square(values).sum(axis=others))
    return np.sort(np.argsort(-importance, kind="stable")[:count])


def _build(params: Params, _context: FusionContext) -> Compressor:
    share = params["share"]
    return EditOfRank(params["rank"], f"narrow{share:g}", Narrow(share))


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a rank, and how much of its network is kept."""
    return {
        "rank": suggest.integer("rank", 0, _MOST_RANK),
        "share": suggest.choice("share", SHARES),
    }


SPEC = CompressorSpec(
    name="narrow_network",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=tuple(
        Configuration(params={"rank": rank, "share": share}, merit=merit - 0.04 * rank)
        for share, merit in ((0.5, 0.72), (0.25, 0.66))
        for rank in range(2)
    ),
    requires=("torch",),
    extra="torch",
)
