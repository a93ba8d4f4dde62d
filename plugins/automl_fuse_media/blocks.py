"""Images, sounds and sequences as blocks of numbers: what the branches of a network read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from automl_fuse.front_end import CellStep, LogMel, PaddedSequence, Pixels, usual_window
from automl_fuse.specs import Block, Kind, Matrix
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
    round_length,
    unique_names,
    usual,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs import Array, Columns, FitContext, Floats, Graph, Sound, Tensor

__all__ = ["LogMels", "PaddedSequences", "PixelBlocks"]

FARTHEST: Final = 10.0
"""Scaled numbers are cut here, so that nothing that a network adds up can overflow."""
MOST_VALUES: Final = 1 << 26
"""Numbers of a block in all training rows, half a gigabyte: with more rows, blocks are smaller."""
LONGEST_SIDE: Final = 64
MOST_FRAMES: Final = 512
MOST_STEPS: Final = 1_024
FEWEST: Final = 8


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is made of one column.

    Attributes
    ----------
    step : CellStep
        What makes raw numbers of a cell.
    shape : tuple of int
        Of the block.
    centre, factor : array of shape () or (shape[-1],)
        A raw number x becomes ``(x - centre) * factor``, cut at ``FARTHEST``.
    fill : float
        What a number that is missing becomes.
    flagged : bool
        Whether a feature tells where the cell is missing.
    """

    step: CellStep
    shape: tuple[int, ...]
    centre: Floats
    factor: Floats
    fill: float
    flagged: bool

    @property
    def size(self) -> int:
        """Number of features in the block."""
        return prod(self.shape)

    def names(self, column: str) -> list[str]:
        """Return the names of the features: those of the block, then that beside it."""
        inside = [f"{column}[{position}]" for position in range(self.size)]
        beside_it = [f"{column} (steps)"] if self.step.counts else []
        return inside + beside_it + ([f"{column} (missing)"] if self.flagged else [])

    def features(self, raw: Floats) -> Floats:
        """Return the features (n_rows, n_features) of what the step made."""
        values = raw[:, : self.size].reshape(-1, *self.shape)
        values = (values - self.centre) * self.factor
        values[np.isnan(values)] = self.fill
        np.clip(values, -FARTHEST, FARTHEST, out=values)
        parts = [values.reshape(len(raw), self.size), raw[:, self.size :]]
        if self.flagged:
            parts.append(np.isnan(raw[:, :1]).astype(np.float64))
        return np.hstack(parts)

    def to_onnx(self, graph: Graph, column: str) -> Tensor:
        """Write what ``features`` does."""
        raw = prepared(graph, column, self.step)
        values, parts = raw, []
        if self.step.counts:
            sizes = graph.constant(np.array([self.size, 1]))
            values, steps = graph.nodes("Split", [raw, sizes], 2, {"axis": 1})
            parts.append(steps)
        if self.flagged:
            parts.append(first_nan(graph, raw))
        if self.centre.ndim:
            values = graph.node("Reshape", [values, graph.constant(np.array([-1, *self.shape]))])
        values = graph.node("Sub", [values, constant(graph, self.centre)])
        values = graph.node("Mul", [values, constant(graph, self.factor)])
        missing = graph.node("IsNaN", [values])
        values = graph.node("Where", [missing, constant(graph, self.fill), values])
        limits = [constant(graph, limit) for limit in (-FARTHEST, FARTHEST)]
        values = graph.node("Clip", [values, *limits])
        if self.centre.ndim:
            values = graph.node("Reshape", [values, graph.constant(np.array([-1, self.size]))])
        return beside(graph, [values, *parts])


class BlockEncoder(ABC):
    """Base of encoders that make one block of each column.

    Neither the target nor weights are read. A column without any cell in training gives nothing.

    Parameters
    ----------
    context : FitContext
        Not used: nothing is left to chance.
    """

    kind: ClassVar[Kind]

    def __init__(self, context: FitContext) -> None:
        del context
        self.parts: dict[str, Part] = {}

    def fit_transform(self, columns: Columns, y: Array, weight: Floats | None) -> Matrix:
        """Choose sizes and scales, and return the features of the training rows."""
        del y, weight
        features = []
        self.parts = {}
        for column in columns.columns:
            cells = columns.values[column.name]
            known = present(cells)
            if known:
                step = self._step(known, MOST_VALUES // columns.n_rows)
                raw = made(step, column.name, cells)
                part = self._part(step, raw, known)
                self.parts[column.name] = part
                features.append(part.features(raw))
        names: list[str] = []
        self.blocks: tuple[Block, ...] = ()
        for name, part in self.parts.items():
            self.blocks += (self._block(name, part, len(names)),)
            names += part.names(name)
        self.names = unique_names(names)
        return self._matrix(features, columns.n_rows)

    def transform(self, columns: Columns) -> Matrix:
        """Return the features of any rows."""
        features = [
            part.features(made(part.step, name, columns.values[name]))
            for name, part in self.parts.items()
        ]
        return self._matrix(features, columns.n_rows)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Ask the front-end for raw numbers, and write how they are scaled."""
        del columns
        return beside(graph, [part.to_onnx(graph, name) for name, part in self.parts.items()])

    @abstractmethod
    def _step(self, known: Sequence[Any], most: int) -> CellStep:
        """Choose what makes raw numbers, about ``most`` a row at most, of the cells known."""

    @abstractmethod
    def _part(self, step: CellStep, raw: Floats, known: Sequence[Any]) -> Part:
        """Choose how raw numbers are scaled."""

    def _block(self, column: str, part: Part, start: int) -> Block:
        length = start + part.size if part.step.counts else None
        return Block(column=column, kind=self.kind, start=start, shape=part.shape, length=length)

    def _matrix(self, features: Sequence[Floats], n_rows: int) -> Matrix:
        values = np.hstack([np.empty((n_rows, 0)), *features])
        return Matrix.numbers(values, self.names, self.blocks)


class PixelBlocks(BlockEncoder):
    """Encoder ``pixels``: images in one size, 0 … 1, of shape (channels, height, width).

    The size is the median of the training images, reduced in proportion to at most 64 pixels a
    side. 0 is black, or the darkest number if that is below; 1 is the brightest of the training
    images. A missing image is of their mean brightness, and told by ``name (missing)`` if one
    was missing in training.
    """

    kind = Kind.IMAGE

    def _step(self, known: Sequence[Array], most: int) -> Pixels:
        channels = channels_of(known)
        rows, columns = np.median([image.shape[:2] for image in known], axis=0)
        shrink = min(1.0, LONGEST_SIDE / max(rows, columns))
        shrink = min(shrink, float(np.sqrt(most / (channels * rows * columns))))
        sides = (max(1, round(float(side) * shrink)) for side in (rows, columns))
        return Pixels(rows=next(sides), columns=next(sides), channels=channels)

    def _part(self, step: CellStep, raw: Floats, known: Sequence[Array]) -> Part:
        low = min(0.0, *(float(image.min()) for image in known))
        high = max(float(image.max()) for image in known)
        factor = 1 / (high - low) if high > low else 0.0
        return Part(
            step=step,
            shape=_image_shape(step),
            centre=np.array(low),
            factor=np.array(factor),
            fill=float((np.nanmean(raw) - low) * factor),
            flagged=bool(np.isnan(raw[:, 0]).any()),
        )


def _image_shape(step: CellStep) -> tuple[int, ...]:
    return tuple(step.settings[name] for name in ("channels", "rows", "columns"))


class LogMels(BlockEncoder):
    """Encoder ``log_mel``: log-mel spectrograms of shape (frames, bands), and how many frames.

    Windows of 25 ms every 10 ms, at the rate of most training sounds, up to 40 bands. Each band
    is standardised over the frames of the training sounds; frames after the end are 0. There are
    as many as 95 % of the training sounds need, up to 512: windows of longer sounds are farther
    apart. What is beyond is cut off.
    """

    kind = Kind.AUDIO

    def _step(self, known: Sequence[Sound], most: int) -> LogMel:
        rate = rate_of(known)
        window, hop, mels = usual_window(rate)
        sizes = [round(len(sound.samples) * rate / sound.rate) for sound in known]
        limit = max(FEWEST, min(MOST_FRAMES, most // mels))
        hop = max(hop, -(-usual(sizes) // limit))
        counts = [1 + max(0, -(-(size - window) // hop)) for size in sizes]
        frames = round_length(counts, limit)
        return LogMel(rate=rate, window=window, hop=hop, mels=mels, frames=frames)

    def _part(self, step: CellStep, raw: Floats, known: Sequence[Sound]) -> Part:
        del known
        shape = (step.settings["frames"], step.settings["mels"])
        bands = raw[:, :-1].reshape(-1, shape[1])
        spread = np.nanstd(bands, axis=0)
        return Part(
            step=step,
            shape=shape,
            centre=np.nanmean(bands, axis=0),
            factor=np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-6),
            fill=0.0,
            flagged=False,
        )


class PaddedSequences(BlockEncoder):
    """Encoder ``padded_sequence``: sequences of shape (steps, channels), and how many steps.

    Each channel is centred at its median and divided by the distance of its quartiles; numbers
    that are missing, and steps after the end, are 0. There are as many steps as 95 % of the
    training sequences have, up to 1,024; longer ones are averaged down to so many.
    """

    kind = Kind.SEQUENCE

    def _step(self, known: Sequence[Floats], most: int) -> PaddedSequence:
        channels = channels_of(known)
        limit = max(FEWEST, min(MOST_STEPS, most // channels))
        length = round_length([len(cell) for cell in known], limit)
        return PaddedSequence(length=length, channels=channels)

    def _part(self, step: CellStep, raw: Floats, known: Sequence[Floats]) -> Part:
        del raw
        shape = (step.settings["length"], step.settings["channels"])
        numbers = np.concatenate(known)
        # A channel without any number would have no quantiles.
        numbers = np.vstack([numbers, np.where(np.isnan(numbers).all(axis=0), 0.0, np.nan)])
        centre, factor = robust_scale(numbers)
        return Part(step=step, shape=shape, centre=centre, factor=factor, fill=0.0, flagged=False)
