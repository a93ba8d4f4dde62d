"""A mixture of networks with branches: a gate says for each row how much each of them counts.

Jacobs, Jordan, Nowlan and Hinton (1991), "Adaptive mixtures of local experts", figure 1: the gate
is a softmax, here of straight lines of the last hidden layers of all networks. The loss is that of
their mixture plus those of the networks, each alone, so that none learns to lean on the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse_torch.parameters import Parameter
from automl_fuse_torch.program import DOUBLE
from automl_fuse_torch.united import named, of_part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs import Array, Tensor
    from automl_fuse_torch.branching import BranchNetwork
    from automl_fuse_torch.core import Dropping
    from automl_fuse_torch.parameters import Singles
    from automl_fuse_torch.program import Writer

_GATE: Final = "gate"
_GATE_RATE: Final = 10.0
"""Factor of the learning rate of the gate, which starts afresh among networks that do not."""


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Networks and their gate; also a ``core.Network``.

    Attributes
    ----------
    parts : tuple of BranchNetwork
        The networks, of equal outputs.
    is_classification : bool
        Whether probabilities are mixed, or values.
    """

    parts: tuple[BranchNetwork, ...]
    is_classification: bool

    @property
    def hidden_values(self) -> int:
        """Values of the widest layer for one row."""
        return max(part.hidden_values for part in self.parts)

    @property
    def steps_between_looks(self) -> int:
        """Steps after which training looks at the clock."""
        return max(1, math.floor(1.0 / sum(1.0 / p.steps_between_looks for p in self.parts)))

    def parameters(self) -> dict[str, Parameter]:
        """Return what is learned."""
        parameters: dict[str, Parameter] = {}
        for place, part in enumerate(self.parts):
            parameters |= named(place, part.parameters())
        n_features, n_parts = sum(part.hidden for part in self.parts), len(self.parts)
        weight = Parameter(shape=(n_features, n_parts), rate=_GATE_RATE)
        bias = Parameter(shape=(n_parts,), rate=_GATE_RATE, decay=0.0)
        return parameters | {f"{_GATE}.weight": weight, f"{_GATE}.bias": bias}

    def start(self, weights: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """Return the weights of fitted networks, and those of a gate that weighs all alike."""
        started: dict[str, Array] = {}
        for place, own in enumerate(weights):
            started |= named(place, own)
        gate = {n: p for n, p in self.parameters().items() if n.startswith(_GATE)}
        return started | {name: np.zeros(parameter.shape) for name, parameter in gate.items()}

    def finished(self, weights: Mapping[str, Singles]) -> dict[str, Singles]:
        """Return what predicting needs of the parameters."""
        arrays = {name: values for name, values in weights.items() if name.startswith(_GATE)}
        for place, part in enumerate(self.parts):
            arrays |= named(place, part.finished(of_part(place, weights)))
        return arrays

    def forward(self, weights: Mapping[str, Any], batch: Mapping[str, Any], noise: Dropping) -> Any:
        """Compute in torch: see ``core.Network``.

        The heads are the mixture and, while training, the networks.
        """
        import torch

        from automl_fuse_torch.training import TrainingOperations

        features, scores = [], []
        for place, part in enumerate(self.parts):
            own = TrainingOperations(of_part(place, weights), of_part(place, batch), noise)
            features.append(part.penultimate(own))
            scores.append(part.scores_of(own, features[-1]))
        operations = TrainingOperations(weights, batch, noise)
        gate = operations.output(operations.joined(features), _GATE, len(self.parts)).unsqueeze(3)
        each = torch.stack(scores, dim=2).float()
        if self.is_classification:
            likely = each.log_softmax(dim=3) + gate.log_softmax(dim=2)
            mixed = likely.logsumexp(dim=2, keepdim=True)
        else:
            mixed = (each * gate.softmax(dim=2)).sum(dim=2, keepdim=True)
        return torch.cat([mixed, each], dim=2) if noise.is_training else mixed

    def write(
        self, writer: Writer, arrays: Mapping[str, Array], inputs: Mapping[str, Tensor]
    ) -> Tensor:
        """Write predictions: see ``joint_model.JointNetwork``."""
        from automl_fuse_torch.exporting import GraphOperations

        features, predictions = [], []
        for place, part in enumerate(self.parts):
            own = GraphOperations(writer, of_part(place, arrays), of_part(place, inputs))
            features.append(part.penultimate(own))
            scores = part.scores_of(own, features[-1]).tensor
            predictions.append(self._linked(writer, scores))
        operations = GraphOperations(writer, arrays, inputs)
        gate = operations.output(operations.joined(features), _GATE, len(self.parts)).tensor
        shares = writer.node("Softmax", [_doubled(writer, gate)], {"axis": -1})
        mixed = [
            writer.node("Mul", [prediction, _column(writer, shares, place)])
            for place, prediction in enumerate(predictions)
        ]
        return writer.node("Sum", mixed)

    def _linked(self, writer: Writer, scores: Tensor) -> Tensor:
        """Write the prediction of one network."""
        doubled = _doubled(writer, scores)
        if not self.is_classification:
            return doubled
        return writer.node("Softmax", [doubled], {"axis": -1})


def _doubled(writer: Writer, x: Tensor) -> Tensor:
    return writer.node("Cast", [x], {"to": DOUBLE})


def _column(writer: Writer, x: Tensor, place: int) -> Tensor:
    """Return one column of (n_rows, n_columns), as (n_rows, 1)."""
    return writer.node("Gather", [x, writer.constant(np.array([place]))], {"axis": 1})
