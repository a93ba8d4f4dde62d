"""Networks of branches, one for each block and one for all other features, and one head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

from automl_fuse_torch.operations import Declaration
from automl_fuse_torch.program import DOUBLE
from automl_fuse_torch.writing import reshaped

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import numpy as np

    from automl_fuse.specs import Array, Floats, Tensor
    from automl_fuse_torch.branches import Branch
    from automl_fuse_torch.flat import FlatInput
    from automl_fuse_torch.operations import Operations, Value
    from automl_fuse_torch.parameters import Parameter, Singles
    from automl_fuse_torch.program import Writer
    from automl_fuse_torch.shapes import InputNames

_FLAT_WIDTH: Final = 64
"""Neurons that read what is in no block."""
_PRODUCTS_BETWEEN_LOOKS: Final = 2e9
"""Multiplications between two looks at the clock: about half a second of a processor."""
_BATCH: Final = 256
"""Rows of a step, at most."""


@dataclass(frozen=True, kw_only=True)
class BranchNetwork:
    """The network: features of all branches side by side, a hidden layer, scores.

    All branches learn jointly. It computes in single precision, see ``session``.

    Attributes
    ----------
    branches : tuple of Branch
        One for each block.
    flat : FlatInput or None
        All other features, if there are any.
    hidden : int
        Neurons of the hidden layer of the head.
    n_outputs : int
        Scores.
    """

    branches: tuple[Branch, ...]
    flat: FlatInput | None
    hidden: int
    n_outputs: int

    is_single: ClassVar[bool] = True

    @property
    def hidden_values(self) -> int:
        """Values of the widest layer for one row."""
        return self.declared.widest

    @property
    def steps_between_looks(self) -> int:
        """Steps after which training looks at the clock: few where each takes long."""
        return max(1, math.floor(_PRODUCTS_BETWEEN_LOOKS / (_BATCH * self.declared.products)))

    @property
    def n_features(self) -> int:
        """Features that the head reads."""
        return int(self.declared.parameters["head.hidden.weight"].shape[0])

    @property
    def declared(self) -> Declaration:
        """What there is to learn and to compute."""
        return _declared(self)

    def parameters(self) -> dict[str, Parameter]:
        """Return what is learned."""
        return self.declared.parameters

    def initial(
        self, rows: Mapping[str, Any], prior: Floats, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Draw weights; the head tells the prior."""
        arrays = self.declared.initial(rng)
        if self.flat is not None:
            arrays |= self.flat.initial(rows, rng)
        return arrays | {"head.scores.bias": prior}

    def labels(self, names: InputNames, outputs: Sequence[Hashable]) -> dict[str, Any]:
        """Return what the places of parameters are for: see ``starting``.

        The pieces of a text are learned anew on other rows, so that no code means what it meant.
        """
        labels: dict[str, Any] = {
            "head.scores.weight": {1: outputs},
            "head.scores.bias": {0: outputs},
        }
        if self.flat is not None:
            labels |= self.flat.labels(names)
            labels["flat.hidden.weight"] = {0: self.flat.places(names)}
        for branch in self.branches:
            if branch.block.n_tokens:
                pieces = [(id(self), code) for code in range(branch.block.n_tokens)]
                labels[f"branch{branch.place}.tokens"] = {0: pieces}
        return labels

    def forward(self, weights: Mapping[str, Any], batch: Mapping[str, Any], noise: Any) -> Any:
        """Compute in torch: see ``core.Network``."""
        from automl_fuse_torch.training import TrainingOperations

        return self.scores(TrainingOperations(weights, batch, noise)).unsqueeze(2)

    def finished(self, weights: Mapping[str, Singles]) -> dict[str, Singles]:
        """Return all of the parameters."""
        return dict(weights) | (self.flat.finished(weights) if self.flat is not None else {})

    def write(
        self, writer: Writer, arrays: Mapping[str, Array], inputs: Mapping[str, Tensor]
    ) -> Tensor:
        """Write scores (1, n_rows, n_outputs)."""
        from automl_fuse_torch.exporting import GraphOperations

        scores = self.scores(GraphOperations(writer, arrays, inputs))
        doubled = writer.node("Cast", [scores.tensor], {"to": DOUBLE})
        return reshaped(writer, doubled, 1, -1, self.n_outputs)

    def features(self, operations: Operations) -> Value:
        """Compute what the head reads."""
        parts = [branch.features(operations) for branch in self.branches]
        if self.flat is not None:
            flat = operations.dense(operations.flat(self.flat), "flat.hidden", _FLAT_WIDTH)
            parts.append(operations.relu(flat))
        return operations.joined(parts)

    def penultimate(self, operations: Operations) -> Value:
        """Compute the hidden layer of the head, (hidden,), of which scores are straight lines."""
        return self._hidden(operations, self.features(operations))

    def scores_of(self, operations: Operations, penultimate: Value) -> Value:
        """Compute scores of what ``penultimate`` gives."""
        return operations.output(operations.dropped(penultimate), "head.scores", self.n_outputs)

    def read_out(self, operations: Operations, features: Value) -> Value:
        """Compute the scores of what ``features`` gave."""
        return self.scores_of(operations, self._hidden(operations, features))

    def scores(self, operations: Operations) -> Value:
        """Compute scores."""
        return self.read_out(operations, self.features(operations))

    def _hidden(self, operations: Operations, features: Value) -> Value:
        dropped = operations.dropped(features)
        return operations.relu(operations.dense(dropped, "head.hidden", self.hidden))


@lru_cache(maxsize=32)
def _declared(network: BranchNetwork) -> Declaration:
    declaration = Declaration()
    network.scores(declaration)
    return declaration
