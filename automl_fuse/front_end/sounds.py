"""What is made of sounds: log-mel spectrograms, and few numbers that trees can read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from automl_fuse.front_end.cells import CellStep
from automl_fuse.media import averaged, resampled
from automl_fuse.specs import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Floats, Sound

MOST_RATE: Final = 48_000
WINDOW_SECONDS: Final = 0.025
HOP_SECONDS: Final = 0.010
MOST_MELS: Final = 40
COEFFICIENTS: Final = 20
SEGMENTS: Final = 4
SEGMENT_COEFFICIENTS: Final = 13
_FLOOR: Final = 1e-6
"""Energy added before the logarithm: silence is not minus infinity, and digital silence is near
that of a quiet room."""
_STATISTICS: Final = ("mean", "std", "10 %", "50 %", "90 %", "change", "change of change")


def usual_window(rate: int) -> tuple[int, int, int]:
    """Return samples of a window and of a hop, and mel bands, that suit a rate."""
    window = max(8, round(WINDOW_SECONDS * rate))
    return window, max(4, round(HOP_SECONDS * rate)), min(MOST_MELS, max(4, _n_fft(window) // 4))


@dataclass(frozen=True, kw_only=True)
class LogMel(CellStep):
    """Log-mel spectrograms of sounds: step ``log_mel``.

    Windows of Hann's form, each ``hop`` samples after the one before, zero samples filling up
    the last; the power of their discrete Fourier transforms of the next power of two; ``mels``
    triangular filters, equally far apart in mel = 2595 log10(1 + Hz / 700) from 0 to half of the
    rate (Young et al. 2006, "The HTK Book" for version 3.4, section 5.4); the natural logarithm
    of 1e-6 plus the energy.

    Columns are those of an array (frames, mels), row by row, NaN after the last frame of the
    sound, then the number of frames that it has, which is 0 where it is missing. Frames beyond
    ``frames`` are left out.

    Attributes
    ----------
    rate : int
        Samples a second; other sounds are resampled.
    window, hop : int
        Samples.
    mels, frames : int
        Bands, and frames that are kept.
    """

    name: ClassVar[str] = "log_mel"
    reads: ClassVar[Kind] = Kind.AUDIO
    limits: ClassVar = {
        "rate": MOST_RATE, "window": 65_536, "hop": 65_536, "mels": 512, "frames": 65_536
    }  # fmt: skip
    counts: ClassVar[bool] = True

    rate: int
    window: int
    hop: int
    mels: int
    frames: int

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.frames * self.mels + 1

    def n_frames(self, sound: Sound) -> int:
        """Return the number of frames of a sound, those beyond ``frames`` included."""
        size = round(len(sound.samples) * self.rate / sound.rate)
        return 0 if size < 1 else 1 + max(0, -(-(size - self.window) // self.hop))

    def _of_cell(self, sound: Sound) -> Floats:
        features = np.full(self.width, np.nan)
        samples = resampled(sound, self.rate).samples
        kept = samples[: (self.frames - 1) * self.hop + self.window]
        spectrum = log_mel(kept, self.rate, self.window, self.hop, self.mels)[: self.frames]
        features[: spectrum.size] = spectrum.astype(np.float32).ravel()
        features[-1] = len(spectrum)
        return features


def log_mel(samples: NDArray[np.float32], rate: int, window: int, hop: int, mels: int) -> Floats:
    """Return the log-mel spectrogram of a sound: (n_frames, mels), see ``LogMel``."""
    if not len(samples):
        return np.empty((0, mels))
    n_frames = 1 + max(0, -(-(len(samples) - window) // hop))
    padded = np.zeros((n_frames - 1) * hop + window)
    padded[: len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    spectrum = np.fft.rfft(frames * _hann(window), n=_n_fft(window))
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return np.log(power @ _mel_filters(rate, _n_fft(window), mels) + _FLOOR)


def _n_fft(window: int) -> int:
    return 1 << (window - 1).bit_length()


@cache
def _hann(window: int) -> Floats:
    """Return Hann's window, periodic."""
    return np.square(np.sin(np.pi * np.arange(window) / window))


@cache
def _mel_filters(rate: int, n_fft: int, mels: int) -> Floats:
    """Return the weight of each frequency in each band: (n_fft // 2 + 1, mels)."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)
    frequencies = np.arange(n_fft // 2 + 1)[:, None] * (rate / n_fft)
    rising = (frequencies - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - frequencies) / np.diff(edges)[1:]
    filters: Floats = np.maximum(0, np.minimum(rising, falling))
    return filters


@dataclass(frozen=True, kw_only=True)
class AudioSummary(CellStep):
    """Few numbers of a sound: step ``audio_summary``.

    Of the first 20 cepstral coefficients (the discrete cosine transform of log-mel frames, as in
    Davis & Mermelstein 1980, "Comparison of parametric representations", section II): mean,
    standard deviation, three percentiles, and mean absolute first and second differences over
    the frames; the means of 13 of them in each quarter of the sound; seconds, root mean square,
    and the share of samples at which the sign changes. All NaN where the sound is missing or
    has no sample.

    Attributes
    ----------
    rate : int
        Samples a second; other sounds are resampled.
    """

    name: ClassVar[str] = "audio_summary"
    reads: ClassVar[Kind] = Kind.AUDIO
    limits: ClassVar = {"rate": MOST_RATE}

    rate: int

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.features)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """What each column holds."""
        whole = (f"{what} of mfcc {i}" for what in _STATISTICS for i in range(self._n_coefficients))
        parts = (
            f"mfcc {i} of quarter {part + 1}"
            for part in range(SEGMENTS)
            for i in range(self._n_in_segments)
        )
        return (*whole, *parts, "seconds", "loudness", "sign changes")

    @property
    def _n_coefficients(self) -> int:
        return min(COEFFICIENTS, usual_window(self.rate)[2])

    @property
    def _n_in_segments(self) -> int:
        return min(SEGMENT_COEFFICIENTS, self._n_coefficients)

    def _of_cell(self, sound: Sound) -> Floats:
        samples = resampled(sound, self.rate).samples
        if not len(samples):
            return np.full(self.width, np.nan)
        window, hop, mels = usual_window(self.rate)
        frames = log_mel(samples, self.rate, window, hop, mels)
        cepstrum = frames @ _cosines(mels, self._n_coefficients)
        first, second = (_mean_change(cepstrum, order) for order in (1, 2))
        percentiles = np.quantile(cepstrum, (0.1, 0.5, 0.9), axis=0).ravel()
        quarters = averaged(cepstrum[:, : self._n_in_segments], SEGMENTS).ravel()
        loudness = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
        signs = float(np.mean(np.diff(np.signbit(samples)))) if len(samples) > 1 else 0.0
        return np.concatenate(
            [
                *(cepstrum.mean(axis=0), cepstrum.std(axis=0), percentiles, first, second),
                *(quarters, [len(samples) / self.rate, loudness, signs]),
            ]
        )


def _mean_change(frames: Floats, order: int) -> Floats:
    """Return the mean absolute difference of some order over frames, 0 for too few."""
    if len(frames) <= order:
        return np.zeros(frames.shape[1])
    change: Floats = np.abs(np.diff(frames, n=order, axis=0)).mean(axis=0)
    return change


@cache
def _cosines(size: int, count: int) -> Floats:
    """Return the orthonormal discrete cosine transform of type II: (size, count)."""
    angle = np.pi / size * (np.arange(size)[:, None] + 0.5) * np.arange(count)
    scale = np.full(count, np.sqrt(2 / size))
    scale[0] = np.sqrt(1 / size)
    cosines: Floats = np.cos(angle) * scale
    return cosines
