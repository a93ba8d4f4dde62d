"""Where a network starts that goes on from an earlier one: parameters that fit, and which rest.

Independent of the kind of network: parameters are told by their names. Their shapes must agree,
but for axes of which a network says what each place is for (``labels``): there, places for the
same thing are taken over, such as the weights of a column that both tables have. Yosinski et al.
(2014), "How transferable are features in deep neural networks?"; that the head may learn first,
and the rest after it: Kumar et al. (2022), "Fine-tuning can distort pretrained features and
underperform out-of-distribution", section 3.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from automl_fuse.specs import Configuration, FineTuning

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from automl_fuse.specs import Array, Earlier, Params, Suggest
    from automl_fuse_torch.inputs import Inputs
    from automl_fuse_torch.model import NetworkModel
    from automl_fuse_torch.shapes import InputNames

    Labels: TypeAlias = Mapping[str, Mapping[int, Sequence[Hashable]]]
    """By parameter and axis, what each place is for."""

FROZEN: Final = "frozen"
"""Share of the layers, from the inputs on, that keep their earlier weights."""
THAW: Final = "thaw"
"""Share of the training after which they are learned, too; 1 for never."""
RATE: Final = "rate_factor"
"""Factor of the learning rate."""


def tuning_space(suggest: Suggest) -> dict[str, Any]:
    """Draw how an earlier network is fine-tuned."""
    return {
        FROZEN: suggest.choice(FROZEN, (0.0, 0.5, 1.0)),
        THAW: suggest.choice(THAW, (0.3, 1.0)),
        RATE: suggest.real(RATE, 0.02, 1.0, log=True),
    }


def _point(frozen: float, thaw: float, rate: float) -> dict[str, Any]:
    return {FROZEN: frozen, THAW: thaw, RATE: rate}


FINE_TUNING: Final = FineTuning(
    space=tuning_space,
    portfolio=(
        Configuration(params=_point(0.0, 1.0, 0.2), merit=1.0),
        Configuration(params=_point(1.0, 0.3, 0.2), merit=0.98),
        Configuration(params=_point(0.5, 1.0, 0.2), merit=0.9),
        Configuration(params=_point(1.0, 1.0, 0.5), merit=0.85),
    ),
)
"""All layers, the head first, half of them, the head only."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """An earlier network, and how to go on from it.

    Attributes
    ----------
    model : NetworkModel
        The earlier network.
    outputs : tuple of int
        As in ``specs.Earlier``.
    frozen, thaw, rate : float
        See the names of the params above.
    """

    model: NetworkModel
    outputs: tuple[int, ...]
    frozen: float = 0.0
    thaw: float = 1.0
    rate: float = 1.0

    @staticmethod
    def of(earlier: Earlier | None, params: Params) -> Start | None:
        """Return where a fit starts, or None if there is no earlier network that can be read."""
        model: Any = getattr(earlier and earlier.learner, "model", None)
        if earlier is None or not getattr(model, "weights", None):
            return None
        return Start(
            model=model,
            outputs=earlier.outputs,
            frozen=float(params.get(FROZEN, 0.0)),
            thaw=float(params.get(THAW, 1.0)),
            rate=float(params.get(RATE, 1.0)),
        )

    @property
    def inputs(self) -> Inputs:
        """What the earlier network reads, and how it scales that."""
        return self.model.inputs

    @property
    def origin(self) -> str:
        """What tells the earlier network from others."""
        digest = hashlib.sha256()
        for name, values in self.model.weights.items():
            digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()[:16]

    def taken_over(
        self, fresh: Mapping[str, Array], network: Any, names: InputNames
    ) -> tuple[dict[str, Array], frozenset[str]]:
        """Return a new network's first weights, and the names of those that are not learned.

        Parameters
        ----------
        fresh : mapping of str to array
            Weights as they would start without this.
        network : TabularNetwork
            The new network.
        names : InputNames
            What it reads.
        """
        old = self.model.weights
        old_outputs = [("output", i) for i in range(_n_outputs(self.model.network))]
        outputs = [("output", i) if i >= 0 else ("new", k) for k, i in enumerate(self.outputs)]
        labels = _labels(network, names, outputs)
        old_labels = _labels(self.model.network, self.model.inputs.names, old_outputs)
        head = layers_of(fresh)[-1]
        is_same_head = list(self.outputs) == list(range(len(old_outputs)))
        weights, whole = {}, set()
        for name, values in fresh.items():
            if name not in old or (_layer(name) == head and not (is_same_head or name in labels)):
                weights[name] = values
                continue
            weights[name], is_whole = _moved(
                np.asarray(values), old[name], labels.get(name, {}), old_labels.get(name, {})
            )
            if is_whole:
                whole.add(name)
        return weights, frozenset(whole & _first_layers(fresh, self.frozen))


def layers_of(names: Mapping[str, Any]) -> list[str]:
    """Return the layers of a network, from its inputs to its head, by its parameters' names."""
    return list(dict.fromkeys(map(_layer, names)))


def _layer(name: str) -> str:
    return name.rpartition(".")[0] or name


def _first_layers(names: Mapping[str, Any], share: float) -> set[str]:
    """Return the parameters of so many layers, of those before the head."""
    body = layers_of(names)[:-1]
    chosen = set(body[: round(share * len(body))])
    return {name for name in names if _layer(name) in chosen}


def _labels(network: Any, names: InputNames, outputs: Sequence[Hashable]) -> Labels:
    tell = getattr(network, "labels", None)
    told: Labels = {} if tell is None else tell(names, outputs)
    return told


def _n_outputs(network: Any) -> int:
    return int(network.n_outputs)


def _moved(
    fresh: Array,
    old: Array,
    labels: Mapping[int, Sequence[Hashable]],
    old_labels: Mapping[int, Sequence[Hashable]],
) -> tuple[Array, bool]:
    """Return an array with the places of an old one that fit, and whether these are all."""
    if fresh.ndim != old.ndim:
        return fresh, False
    to, of = [], []
    for axis, (size, old_size) in enumerate(zip(fresh.shape, old.shape, strict=True)):
        if axis in labels and axis in old_labels:
            places, old_places = _matched(labels[axis], old_labels[axis])
        elif size == old_size:
            places = old_places = np.arange(size)
        else:
            return fresh, False
        to.append(places)
        of.append(old_places)
    moved = np.array(fresh, dtype=np.float64)
    moved[np.ix_(*to)] = old[np.ix_(*of)]
    return moved, all(len(places) == size for places, size in zip(to, fresh.shape, strict=True))


def _matched(labels: Sequence[Hashable], old: Sequence[Hashable]) -> tuple[Array, Array]:
    """Return the places of the labels that both have, each once."""
    counts, old_counts = Counter(labels), Counter(old)
    where = {label: place for place, label in enumerate(old) if old_counts[label] == 1}
    pairs = [
        (place, where[label])
        for place, label in enumerate(labels)
        if counts[label] == 1 and label in where
    ]
    places = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return places[:, 0], places[:, 1]
