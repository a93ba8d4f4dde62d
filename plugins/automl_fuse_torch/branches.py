"""Branches of networks: from one image, sound, series or text of a row to features."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from automl_fuse.specs import Kind

if TYPE_CHECKING:
    from automl_fuse_torch.operations import Operations, Value
    from automl_fuse_torch.shapes import BlockShape

_LARGE_IMAGE: Final = 1024
"""Points beyond which the first convolution halves the sides."""
_SMALLEST: Final = 2
"""Shortest side that is not halved any more."""
_FEW_STEPS: Final = 8
"""Steps that temporal convolutions do not halve any more."""
_MOST_STATES: Final = 64
"""Steps of recurrent cells at most: one waits for the other."""
_MOST_ATTENDED: Final = 128
_HEADS: Final = 4
_KERNEL, _LONG_KERNEL = 3, 5


class Body(StrEnum):
    """What a branch computes with."""

    RESIDUAL = "residual"
    TEMPORAL = "temporal"
    LSTM = "lstm"
    GRU = "gru"
    ATTENTION = "attention"


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A branch of a network.

    Attributes
    ----------
    place : int
        Of its block among those of the row.
    block : BlockShape
        What it reads.
    body : Body
        What it computes with.
    width, depth : int
        Channels, of the first layers in ``RESIDUAL``, and layers or stages.
    separable : bool
        Whether convolutions of images are depthwise-separable: Howard et al. (2017),
        "MobileNets", section 3.1.
    strength : float
        Of the changes at random while training.
    """

    place: int
    block: BlockShape
    body: Body
    width: int
    depth: int
    separable: bool = False
    strength: float = 0.0

    def features(self, operations: Operations) -> Value:
        """Compute the features of rows."""
        name, block = f"block{self.place}", self.block
        x = operations.table(name, block.shape)
        x = operations.augmented(x, block.kind, self.strength)
        if block.kind is Kind.IMAGE:
            return self._of_image(operations, x, block.shape)
        if block.kind is Kind.TEXT:
            x = operations.embedded(x, self._name("tokens"), block.n_tokens, self.width)
            x = operations.dropped(x)
        elif self.body is Body.RESIDUAL:
            return self._of_image(operations, operations.as_image(x), (1, *block.shape))
        steps = operations.table(f"{name}.steps", (1,))
        series = _Series(operations, x, steps, block.shape[0])
        if self.body is Body.TEMPORAL:
            return self._of_steps(series)
        if self.body is Body.ATTENTION:
            return self._by_attention(series)
        return self._by_states(series)

    # ----------------------------------------------------------------------- images

    def _of_image(self, operations: Operations, x: Value, shape: tuple[int, ...]) -> Value:
        """Compute a residual network: He et al. (2016), "Deep residual learning", figure 2."""
        _, height, width = shape
        stride = 2 if height * width > _LARGE_IMAGE else 1
        x = operations.convolved(
            x, self._name("stem"), self.width, _KERNEL, stride, depthwise=False
        )
        x = operations.relu(operations.normalised_image(x, self._name("stem_norm")))
        side, before = -(-min(height, width) // stride), self.width
        for stage in range(self.depth):
            stride = 2 if stage and side > _SMALLEST else 1
            after = before if stage == 0 else min(2 * before, 4 * self.width)
            x = self._block(operations, x, f"stage{stage}", (before, after, stride))
            side, before = -(-side // stride), after
        return operations.pooled_image(x)

    def _block(
        self, operations: Operations, x: Value, name: str, sizes: tuple[int, int, int]
    ) -> Value:
        before, after, stride = sizes
        inner = self._convolution(operations, x, f"{name}.first", sizes)
        inner = operations.normalised_image(inner, self._name(f"{name}.first_norm"))
        inner = operations.relu(inner)
        inner = self._convolution(operations, inner, f"{name}.second", (after, after, 1))
        inner = operations.normalised_image(inner, self._name(f"{name}.second_norm"))
        if before != after or stride > 1:
            x = operations.convolved(
                x, self._name(f"{name}.around"), after, 1, stride, depthwise=False
            )
        return operations.relu(operations.added(x, inner))

    def _convolution(
        self, operations: Operations, x: Value, name: str, sizes: tuple[int, int, int]
    ) -> Value:
        before, after, stride = sizes
        name = self._name(name)
        if not self.separable:
            return operations.convolved(x, name, after, _KERNEL, stride, depthwise=False)
        x = operations.convolved(x, f"{name}.each", before, _KERNEL, stride, depthwise=True)
        return operations.convolved(x, name, after, 1, 1, depthwise=False)

    # ----------------------------------------------------------------------- series

    def _of_steps(self, series: _Series) -> Value:
        """Compute residual convolutions over steps: Bai et al. (2018), section 3.3, not causal."""
        operations = series.operations
        series.convolve(self._name("stem"), self.width, stride=1)
        for layer in range(self.depth):
            before = series.x
            is_halved = series.n_steps > _FEW_STEPS
            name = self._name(f"layer{layer}")
            series.convolve(f"{name}.first", self.width, stride=1)
            series.x = operations.dropped(series.x)
            series.convolve(f"{name}.second", self.width, stride=1)
            series.x = operations.added(before, series.x)
            if is_halved and layer < self.depth - 1:
                series.convolve(f"{name}.halve", self.width, stride=2)
        return operations.pooled(series.x, series.mask)

    def _by_states(self, series: _Series) -> Value:
        """Compute recurrent cells from both ends; long series are halved by convolutions first."""
        operations = series.operations
        series.shorten(self._name("stem"), self.width, _MOST_STATES)
        for layer in range(self.depth):
            name = self._name(f"layer{layer}")
            steps = (series.steps, series.mask)
            series.x = operations.recurrent(series.x, name, self.body.value, self.width, steps)
            series.x = operations.dropped(series.x)
        return operations.pooled(series.x, series.mask)

    def _by_attention(self, series: _Series) -> Value:
        """Compute a Transformer that normalises first: Xiong et al. (2020), figure 1b."""
        operations, width = series.operations, self.width
        series.shorten(self._name("stem"), width, _MOST_ATTENDED)
        x = operations.dense(series.x, self._name("enter"), width)
        x = operations.shifted(x, self._name("places"))
        for layer in range(self.depth):
            name = self._name(f"layer{layer}")
            read = operations.normalised(x, f"{name}.norm")
            queries, keys, values = (
                operations.dense(read, f"{name}.{part}", width)
                for part in ("query", "key", "value")
            )
            found = operations.attended((queries, keys, values), _HEADS, series.mask)
            found = operations.dense(found, f"{name}.result", width)
            x = operations.added(x, operations.dropped(found))
            read = operations.normalised(x, f"{name}.inner_norm")
            inner = operations.relu(operations.dense(read, f"{name}.inner", 2 * width))
            inner = operations.dense(operations.dropped(inner), f"{name}.outer", width)
            x = operations.added(x, inner)
        x = operations.normalised(x, self._name("norm"))
        return operations.pooled(x, series.mask)

    def _name(self, layer: str) -> str:
        return f"branch{self.place}.{layer}"


class _Series:
    """A series as its layers change it: values, numbers of steps, and their mask."""

    def __init__(self, operations: Operations, x: Value, steps: Value, n_steps: int) -> None:
        self.operations = operations
        self.steps, self.n_steps = steps, n_steps
        self.mask = operations.mask(steps, n_steps)
        self.x = operations.masked(x, self.mask)

    def convolve(self, name: str, width: int, stride: int) -> None:
        """Convolve, normalise and rectify; what lies beyond the end stays zero."""
        operations = self.operations
        x = operations.convolved_steps(self.x, name, width, _LONG_KERNEL, stride)
        x = operations.relu(operations.normalised(x, f"{name}_norm"))
        if stride > 1:
            self.n_steps = -(-self.n_steps // stride)
            self.steps = operations.halved(self.steps)
            self.mask = operations.mask(self.steps, self.n_steps)
        self.x = operations.masked(x, self.mask)

    def shorten(self, name: str, width: int, most: int) -> None:
        """Halve until there are so many steps at most."""
        number = 0
        while self.n_steps > most:
            self.convolve(f"{name}{number}", width, stride=2)
            number += 1
