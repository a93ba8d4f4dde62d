"""Few numbers of each image, sound or sequence: for trees and other learners of tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.front_end import AudioSummary, ImageSummary, SequenceSummary
from automl_fuse.specs import Kind, Matrix
from automl_fuse_media.common import (
    beside,
    channels_of,
    constant,
    first_nan,
    made,
    prepared,
    present,
    rate_of,
    robust_scale,
    unique_names,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Columns, FitContext, Floats, Graph, Tensor

__all__ = ["Summaries"]

FARTHEST: Final = 1e6
"""Scaled values are cut here, so that huge values cannot overflow."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is made of one column.

    Attributes
    ----------
    step : ImageSummary, AudioSummary or SequenceSummary
        What summarises a cell.
    kept : int array of shape (n_kept,)
        Columns of the summary that vary in training.
    centre, factor : array of shape (n_kept,)
        A number x becomes ``(x - centre) * factor``; empty if numbers are not scaled.
    flagged : bool
        Whether a feature tells where the cell is missing.
    """

    step: ImageSummary | AudioSummary | SequenceSummary
    kept: NDArray[np.intp]
    centre: Floats
    factor: Floats
    flagged: bool

    def names(self, column: str) -> list[str]:
        """Return the names of the features."""
        told = [f"{column}: {self.step.features[position]}" for position in self.kept]
        return [*told, f"{column} (missing)"] if self.flagged else told


class Summaries:
    """Encoders of summaries: means, spreads, shapes of each image, sound or sequence.

    What is told is described at ``ImageSummary``, ``AudioSummary`` and ``SequenceSummary`` of
    ``automl_fuse.front_end``. Neither the target nor weights are read. What does not vary in the
    training rows is left out.

    Parameters
    ----------
    context : FitContext
        Not used: nothing is left to chance.
    scaled : bool
        Whether numbers are scaled robustly, clipped smoothly into (-3, 3), and 0 where missing,
        which ``name (missing)`` then tells. For trees they are as they are, NaN where missing.
    """

    def __init__(self, context: FitContext, *, scaled: bool) -> None:
        del context
        self.scaled = scaled
        self.parts: dict[str, Part] = {}

    def fit_transform(self, columns: Columns, y: Array, weight: Floats | None) -> Matrix:
        """Choose what is kept, and return the features of the training rows."""
        del y, weight
        self.parts, features = {}, []
        for column in columns.columns:
            cells = columns.values[column.name]
            known = present(cells)
            if known:
                step = _step(column.kind, known)
                raw = made(step, column.name, cells)
                part = self._part(step, raw)
                if len(part.kept) or part.flagged:
                    self.parts[column.name] = part
                    features.append(self._features(part, raw))
        self.names = unique_names(
            name for column, part in self.parts.items() for name in part.names(column)
        )
        return self._matrix(features, columns.n_rows)

    def transform(self, columns: Columns) -> Matrix:
        """Return the features of any rows."""
        features = [
            self._features(part, made(part.step, name, columns.values[name]))
            for name, part in self.parts.items()
        ]
        return self._matrix(features, columns.n_rows)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Ask the front-end for the summaries, and write how they are scaled.

        All folds and members ask for the same, so that it is made once a row.
        """
        del columns
        return beside(graph, [self._written(graph, *each) for each in self.parts.items()])

    def _part(self, step: ImageSummary | AudioSummary | SequenceSummary, raw: Floats) -> Part:
        missing = np.isnan(raw)
        low, high = (f(raw, axis=0) for f in (np.fmin.reduce, np.fmax.reduce))
        if not self.scaled:
            kept = np.flatnonzero((high > low) | (missing.any(axis=0) & ~missing.all(axis=0)))
            nothing = np.empty(0)
            return Part(step=step, kept=kept, centre=nothing, factor=nothing, flagged=False)
        kept = np.flatnonzero(high > low)
        centre, factor = robust_scale(raw[:, kept]) if len(kept) else (np.empty(0), np.empty(0))
        flagged = bool(missing[:, 0].any() and not missing[:, 0].all())
        return Part(step=step, kept=kept, centre=centre, factor=factor, flagged=flagged)

    def _features(self, part: Part, raw: Floats) -> Floats:
        values: Floats = raw[:, part.kept]
        if not self.scaled:
            return values
        values = np.clip((values - part.centre) * part.factor, -FARTHEST, FARTHEST)
        values = values / np.sqrt(np.square(values / 3) + 1)
        values[np.isnan(values)] = 0.0
        if not part.flagged:
            return values
        return np.hstack([values, np.isnan(raw[:, :1])])

    def _written(self, graph: Graph, column: str, part: Part) -> Tensor:
        raw = prepared(graph, column, part.step)
        flags = [first_nan(graph, raw)] if part.flagged else []
        if not len(part.kept):
            return beside(graph, flags)
        values = raw
        if len(part.kept) < part.step.width:
            values = graph.node("Gather", [raw, graph.constant(part.kept)], {"axis": 1})
        if self.scaled:
            values = _scaled(graph, values, part)
        return beside(graph, [values, *flags])

    def _matrix(self, features: Sequence[Floats], n_rows: int) -> Matrix:
        return Matrix.numbers(np.hstack([np.empty((n_rows, 0)), *features]), self.names)


def _step(kind: Kind, known: Sequence[Any]) -> ImageSummary | AudioSummary | SequenceSummary:
    """Choose what summarises cells like those known."""
    if kind is Kind.IMAGE:
        return ImageSummary(channels=channels_of(known))
    if kind is Kind.AUDIO:
        return AudioSummary(rate=rate_of(known))
    return SequenceSummary(channels=channels_of(known))


def _scaled(graph: Graph, values: Tensor, part: Part) -> Tensor:
    """Write what scales and clips; what is missing is filled last, as NaN passes the rest."""
    missing = graph.node("IsNaN", [values])
    values = graph.node("Sub", [values, constant(graph, part.centre)])
    values = graph.node("Mul", [values, constant(graph, part.factor)])
    limits = [constant(graph, limit) for limit in (-FARTHEST, FARTHEST)]
    values = graph.node("Clip", [values, *limits])
    third = graph.node("Div", [values, constant(graph, 3.0)])
    square = graph.node("Mul", [third, third])
    length = graph.node("Sqrt", [graph.node("Add", [square, constant(graph, 1.0)])])
    values = graph.node("Div", [values, length])
    return graph.node("Where", [missing, constant(graph, 0.0), values])
