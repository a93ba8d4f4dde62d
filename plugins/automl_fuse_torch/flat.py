"""What an MLP reads: embedded numbers, numbers, flags and embedded categories side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from automl_fuse_torch.embeddings import Categories, Periodic, PiecewiseLinear
from automl_fuse_torch.program import Program
from automl_fuse_torch.shapes import CODES, FLAGS, NUMBERS, InputNames, InputShape
from automl_fuse_torch.writing import reshaped, side_by_side

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Array, Tensor
    from automl_fuse_torch.parameters import Parameter, Singles
    from automl_fuse_torch.program import Writer

Embedding: TypeAlias = Periodic | PiecewiseLinear


@dataclass(frozen=True, kw_only=True)
class FlatInput:
    """Puts what a network reads side by side.

    Attributes
    ----------
    shape : InputShape
        What there is.
    kind : {"periodic", "piecewise"}
        How numbers are embedded.
    bins : int
        Of piecewise linear embeddings.
    width : int
        Features that a number becomes.
    category_width : int
        Features that a category becomes.
    """

    shape: InputShape
    kind: str
    width: int
    category_width: int
    bins: int = 0

    @property
    def size(self) -> int:
        """Features that there are."""
        shape = self.shape
        return shape.embedded * self.width + shape.plain + shape.flags + self._categories.size

    @property
    def sections(self) -> list[int]:
        """Sizes of what comes of one input each, in the order of the features."""
        shape = self.shape
        return (
            [self.width] * shape.embedded
            + [1] * (shape.plain + shape.flags)
            + [self.category_width] * len(shape.codes)
        )

    def parameters(self) -> dict[str, Parameter]:
        """Return what is learned."""
        numbers = self._numbers.parameters() if self.shape.embedded else {}
        return numbers | self._categories.parameters()

    def labels(self, names: InputNames) -> dict[str, dict[int, list[Any]]]:
        """Return what the places of parameters are for: see ``starting``."""
        first = dict.fromkeys(self._numbers.parameters() if self.shape.embedded else ())
        numbers = list(names.numbers[: self.shape.embedded])
        labels: dict[str, dict[int, list[Any]]] = {name: {0: numbers} for name in first}
        return labels | {name: {0: list(names.codes)} for name in self._categories.parameters()}

    def places(self, names: InputNames) -> list[Any]:
        """Return what each feature comes from: an input, and a number."""
        sources = [*names.numbers, *names.flags, *names.coded]
        return [
            (source, place)
            for source, size in zip(sources, self.sections, strict=True)
            for place in range(size)
        ]

    def initial(self, rows: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Draw where the parameters start."""
        arrays: dict[str, Any] = {}
        if self.shape.embedded:
            numbers = self._numbers
            if isinstance(numbers, Periodic):
                arrays = numbers.initial(rng)
            else:
                arrays = numbers.initial(rng, rows[NUMBERS][:, : self.shape.embedded])
        return arrays | self._categories.initial(rng)

    def forward(self, weights: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """Return the features (n_members, n_rows, size)."""
        import torch

        embedded, parts = self.shape.embedded, []
        if embedded:
            parts.append(self._numbers.forward(weights, batch[NUMBERS][:, :, :embedded]))
        if self.shape.plain:
            parts.append(batch[NUMBERS][:, :, embedded:])
        if self.shape.flags:
            parts.append(batch[FLAGS])
        if self.shape.codes:
            parts.append(self._categories.forward(weights, batch[CODES]).flatten(2))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def finished(self, weights: Mapping[str, Singles]) -> dict[str, Singles]:
        """Return what predicting needs of the parameters."""
        numbers = self._numbers.finished(weights) if self.shape.embedded else {}
        return numbers | self._categories.finished(weights)

    def write(
        self, writer: Writer, arrays: Mapping[str, Array], inputs: Mapping[str, Tensor]
    ) -> Tensor:
        """Write the features (n_rows, size)."""
        embedded, parts = self.shape.embedded, []
        if embedded:
            first = inputs[NUMBERS]
            if self.shape.plain:
                first = _positions(writer, first, 0, embedded)
            parts.append(self._numbers.write(writer, arrays, first))
        if self.shape.plain:
            plain = inputs[NUMBERS]
            if embedded:
                plain = _positions(writer, plain, embedded, self.shape.numbers)
            parts.append(plain)
        if self.shape.flags:
            parts.append(inputs[FLAGS])
        if self.shape.codes:
            found = self._categories.write(writer, arrays, inputs[CODES])
            parts.append(reshaped(writer, found, -1, self._categories.size))
        return side_by_side(writer, parts)

    def computed(self, arrays: Mapping[str, Array], rows: Mapping[str, Array]) -> Array:
        """Return the features of rows for parameters as they start, (n_rows, size)."""
        finished = self.finished(arrays)
        program = Program(
            lambda writer, _: {
                "made": self.write(
                    writer,
                    finished,
                    {name: writer.constant(_doubled(table)) for name, table in rows.items()},
                )
            }
        )
        return program.run(np.empty((0, 0)))["made"]

    @property
    def _numbers(self) -> Embedding:
        if self.kind == "periodic":
            return Periodic(self.shape.embedded, width=self.width)
        return PiecewiseLinear(self.shape.embedded, self.bins, self.width)

    @property
    def _categories(self) -> Categories:
        return Categories(self.shape.codes, self.category_width)


def _positions(writer: Writer, x: Tensor, start: int, stop: int) -> Tensor:
    return writer.node("Gather", [x, writer.constant(np.arange(start, stop))], {"axis": 1})


def _doubled(table: Array) -> Array:
    return table if table.dtype.kind == "i" else table.astype(np.float64)
