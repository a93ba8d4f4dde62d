"""The last hidden layers of several networks side by side, under one head.

The networks stay as they are. The head starts as the mean of theirs, and is moved from there only
as far as that lowers the loss on training rows that it was not fitted to: see ``head``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse_torch.program import DOUBLE
from automl_fuse_torch.united import named, of_part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs import Array, Floats, Tensor
    from automl_fuse_torch.branching import BranchNetwork
    from automl_fuse_torch.core import Dropping
    from automl_fuse_torch.parameters import Singles
    from automl_fuse_torch.program import Writer

WEIGHT: Final = "joint.weight"
BIAS: Final = "joint.bias"
_HEAD: Final = "head.scores"


@dataclass(frozen=True, kw_only=True)
class Concatenation:
    """Networks and their one head.

    Attributes
    ----------
    parts : tuple of BranchNetwork
        The networks, of equal outputs.
    is_classification : bool
        Whether scores become probabilities.
    """

    parts: tuple[BranchNetwork, ...]
    is_classification: bool

    @property
    def hidden_values(self) -> int:
        """Values of the widest layer for one row."""
        return max(part.hidden_values for part in self.parts)

    def features(
        self, weights: Sequence[Mapping[str, Any]], batch: Mapping[str, Any], noise: Dropping
    ) -> Any:
        """Compute, in torch, the last hidden layers (1, n_rows, n_features).

        Parameters
        ----------
        weights : sequence of mapping of str to tensor
            The parameters of each network, as of one member.
        batch : mapping of str to tensor
            Rows, as of one member.
        noise : Dropping
            Changes rows at random, or not.
        """
        import torch

        from automl_fuse_torch.training import TrainingOperations

        made = [
            part.penultimate(TrainingOperations(own, of_part(place, batch), noise))
            for place, (part, own) in enumerate(zip(self.parts, weights, strict=True))
        ]
        return torch.cat(made, dim=2)

    def start(self, weights: Sequence[Mapping[str, Array]]) -> tuple[Floats, Floats]:
        """Return the mean of the networks' heads: (n_features, n_outputs), and (n_outputs,)."""
        n_parts = len(self.parts)
        weight = np.concatenate([np.asarray(own[f"{_HEAD}.weight"], float) for own in weights])
        bias = np.sum([np.asarray(own[f"{_HEAD}.bias"], float) for own in weights], axis=0)
        return weight / n_parts, bias / n_parts

    def finished(
        self, weights: Sequence[Mapping[str, Singles]], head: tuple[Floats, Floats]
    ) -> dict[str, Array]:
        """Return what predicting needs."""
        arrays: dict[str, Array] = {WEIGHT: head[0], BIAS: head[1]}
        for place, (part, own) in enumerate(zip(self.parts, weights, strict=True)):
            body = {n: a for n, a in part.finished(own).items() if not n.startswith(_HEAD)}
            arrays |= named(place, body)
        return arrays

    def write(
        self, writer: Writer, arrays: Mapping[str, Array], inputs: Mapping[str, Tensor]
    ) -> Tensor:
        """Write predictions: see ``joint_model.JointNetwork``."""
        from automl_fuse_torch.exporting import GraphOperations

        features = [
            part.penultimate(GraphOperations(writer, of_part(p, arrays), of_part(p, inputs)))
            for p, part in enumerate(self.parts)
        ]
        together = GraphOperations(writer, arrays, inputs).joined(features).tensor
        doubled = writer.node("Cast", [together], {"to": DOUBLE})
        product = writer.node("MatMul", [doubled, writer.constant(arrays[WEIGHT])])
        scores = writer.node("Add", [product, writer.constant(arrays[BIAS])])
        if not self.is_classification:
            return scores
        return writer.node("Softmax", [scores], {"axis": -1})
