"""What is made of sequences: arrays of one length, and few numbers that trees can read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from automl_fuse.errors import DataError
from automl_fuse.front_end.cells import CellStep
from automl_fuse.media import averaged
from automl_fuse.specs import Kind

if TYPE_CHECKING:
    from automl_fuse.specs import Floats

MOST_CHANNELS: Final = 4_096
SEGMENTS: Final = 4
BANDS: Final = 4
QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
_STATISTICS: Final = (
    *("mean", "std", "min", "max", "first", "last"),
    *(f"{100 * share:g} %" for share in QUANTILES),
    *("slope", "autocorrelation", "change", "place of min", "place of max"),
    *(f"mean of quarter {part + 1}" for part in range(SEGMENTS)),
    *(f"energy of band {band + 1}" for band in range(BANDS)),
)


@dataclass(frozen=True, kw_only=True)
class PaddedSequence(CellStep):
    """Sequences in one length: step ``padded_sequence``.

    Columns are those of an array (length, channels), row by row, NaN after the last step and
    where a number is missing, then the number of steps, at most ``length``, which is 0 where the
    sequence is missing. Of a longer one, each step is the mean of those that it stands for.

    Attributes
    ----------
    length : int
        Steps.
    channels : int
        Numbers a step.
    """

    name: ClassVar[str] = "padded_sequence"
    reads: ClassVar[Kind] = Kind.SEQUENCE
    limits: ClassVar = {"length": 1 << 20, "channels": MOST_CHANNELS}
    counts: ClassVar[bool] = True

    length: int
    channels: int

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.length * self.channels + 1

    def _of_cell(self, sequence: Floats) -> Floats:
        features = np.full(self.width, np.nan)
        _require_channels(sequence, self.channels)
        if len(sequence) > self.length:
            sequence = _shortened(sequence, self.length)
        features[: sequence.size] = sequence.ravel()
        features[-1] = len(sequence)
        return features


def _shortened(sequence: Floats, length: int) -> Floats:
    """Return means over equal parts, of the numbers that are there; NaN where there are none."""
    known = np.isfinite(sequence)
    share = averaged(known, length)
    sums = averaged(np.where(known, sequence, 0.0), length)
    means: Floats = np.full_like(sums, np.nan)
    return np.divide(sums, share, out=means, where=share > 1e-9)


@dataclass(frozen=True, kw_only=True)
class SequenceSummary(CellStep):
    """Few numbers of a sequence: step ``sequence_summary``.

    For each channel, of the numbers that are not missing: mean, standard deviation, extremes,
    first and last, five quantiles, slope of the least-squares line over the whole, lag-one
    autocorrelation, mean absolute change, the places of the extremes (0 first, 1 last), the mean
    of each quarter, and the shares of four bands of frequencies, each twice as wide as the one
    before, in the power of the discrete Fourier transform; NaN where there is no number. Then the
    number of steps, 0 where the sequence is missing.

    Attributes
    ----------
    channels : int
        Numbers a step.
    """

    name: ClassVar[str] = "sequence_summary"
    reads: ClassVar[Kind] = Kind.SEQUENCE
    limits: ClassVar = {"channels": MOST_CHANNELS}
    counts: ClassVar[bool] = True

    channels: int

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.channels * len(_STATISTICS) + 1

    @cached_property
    def features(self) -> tuple[str, ...]:
        """What each column holds."""
        if self.channels == 1:
            return (*_STATISTICS, "steps")
        channels = range(self.channels)
        return (*(f"{what} of channel {c}" for c in channels for what in _STATISTICS), "steps")

    def _of_cell(self, sequence: Floats) -> Floats:
        features = np.full(self.width, np.nan)
        _require_channels(sequence, self.channels)
        for channel in range(self.channels if len(sequence) else 0):
            numbers = sequence[:, channel]
            numbers = numbers[np.isfinite(numbers)]
            if len(numbers):
                start = channel * len(_STATISTICS)
                features[start : start + len(_STATISTICS)] = _statistics(numbers)
        features[-1] = len(sequence)
        return features


def _require_channels(sequence: Floats, channels: int) -> None:
    if len(sequence) and sequence.shape[1] != channels:
        raise DataError(
            f"a sequence of {sequence.shape[1]} channels, where those at fit had {channels}; the "
            "shape is (steps, channels)"
        )


def _statistics(numbers: Floats) -> Floats:
    """Return what is told of the numbers (n_steps,) of one channel, in the order of the names."""
    last = max(len(numbers) - 1, 1)
    ends = [numbers.min(), numbers.max(), numbers[0], numbers[-1]]
    places = [np.argmin(numbers) / last, np.argmax(numbers) / last]
    # In units of the largest, what is rounding noise can be told from what varies.
    size = float(np.abs(numbers).max()) or 1.0
    unit = numbers / size
    centred = unit - unit.mean()
    moments = [unit.mean() * size, np.sqrt(np.mean(np.square(centred))) * size]
    time = np.linspace(-0.5, 0.5, len(numbers)) if len(numbers) > 1 else np.ones(1)
    slope = (time @ centred) / (time @ time) * size
    power = centred @ centred
    correlation = (centred[1:] @ centred[:-1]) / power if power > 1e-24 else 0.0
    change = np.abs(np.diff(unit)).mean() * size if len(numbers) > 1 else 0.0
    return np.concatenate(
        [
            *(moments, ends, np.quantile(unit, QUANTILES) * size),
            *([slope, correlation, change], places),
            *(averaged(unit, SEGMENTS) * size, _band_shares(centred)),
        ]
    )


def _band_shares(centred: Floats) -> Floats:
    """Return the shares of bands in the power, low ones first: the last is the upper half."""
    power = np.square(np.abs(np.fft.rfft(centred)[1:]))
    total = power.sum()
    if not total > 1e-24:
        return np.zeros(BANDS)
    edges = np.round(len(power) * 0.5 ** np.arange(BANDS - 1, 0, -1)).astype(int)
    bands = np.split(power, edges)
    shares: Floats = np.array([band.sum() for band in bands]) / total
    return shares
