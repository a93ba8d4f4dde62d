"""Sounds as one channel of samples between -1 and 1."""

from __future__ import annotations

import importlib
import io
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import DataError, MissingDependencyError
from automl_fuse.media.files import content_of, shown
from automl_fuse.media.waves import is_wave, parse_wave
from automl_fuse.specs import Sound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Array

HIGHEST_RATE: Final = 16_000
"""Samples a second; faster sounds are resampled to it as they are read, which keeps speech whole
and a table of recordings in memory."""
_LONGEST_SECONDS: Final = 60
"""What is read of a sound."""
_RATES: Final = (100, 1_000_000)


def decode_sound(cell: object) -> Sound:
    """Return one cell as a sound.

    Parameters
    ----------
    cell : object
        A pair of the rate, in samples a second, and the samples, in this or the other order; or
        the bytes or path of an audio file. Samples have the shape (n_samples,) or
        (n_samples, n_channels). Integers are read as PCM: of 16 bits, or as their type says.

    Returns
    -------
    Sound
        The mean of the channels, at ``HIGHEST_RATE`` or less, of the first minute.

    Raises
    ------
    DataError
        If it is no sound, or its file cannot be read.
    MissingDependencyError
        If it takes soundfile to read it, and that is not installed.
    """
    if isinstance(cell, Sound):
        return cell
    if isinstance(cell, str | bytes | bytearray):
        rate, samples = _opened(content_of(cell))
    elif is_pair(cell):
        rate, samples = _of_pair(cell)
    else:
        raise DataError(
            f"a sound is a pair (rate, samples), or the bytes or path of an audio file, not "
            f"{type(cell).__name__}"
        )
    if not _RATES[0] <= rate <= _RATES[1]:
        raise DataError(f"a sound of {rate} samples a second is beyond {_RATES[0]} … {_RATES[1]}")
    mono = _mono(samples[: rate * _LONGEST_SECONDS])
    return resampled(Sound(rate, mono), min(rate, HIGHEST_RATE))


def is_pair(cell: object) -> bool:
    """Return whether a cell is a rate and samples, or samples and a rate."""
    if not isinstance(cell, tuple | list) or len(cell) != 2:
        return False
    arrays = [isinstance(part, np.ndarray | list | tuple) for part in cell]
    rates = [isinstance(part, Real) and not isinstance(part, bool) for part in cell]
    return (arrays == [False, True] and rates[0]) or (arrays == [True, False] and rates[1])


def _of_pair(cell: Any) -> tuple[int, Array]:
    rate, samples = cell if isinstance(cell[0], Real) else cell[::-1]
    if not isinstance(rate, Integral) and not float(rate).is_integer():
        raise DataError(f"a rate is a whole number of samples a second, not {rate!r}")
    try:
        return int(rate), np.asarray(samples)
    except (TypeError, ValueError) as error:
        raise DataError(f"samples must be a regular array of numbers: {error}") from error


def _opened(content: bytes) -> tuple[int, Array]:
    if is_wave(content):
        return parse_wave(content)
    try:
        soundfile: Any = importlib.import_module("soundfile")
    except ImportError as error:
        raise MissingDependencyError(
            "reading audio files other than WAVE needs soundfile: pip install soundfile, or save "
            "them as WAVE"
        ) from error
    try:
        samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except Exception as error:
        raise DataError(
            f"bytes that begin with {shown(content)} are no audio that soundfile reads: {error}"
        ) from error
    return int(rate), np.asarray(samples)


def _mono(samples: Array) -> NDArray[np.float32]:
    """Return the mean of the channels, full scale -1 to 1."""
    if samples.dtype == object or samples.dtype.kind not in "iuf" or samples.ndim not in {1, 2}:
        raise DataError(
            f"samples are numbers of shape (n_samples,) or (n_samples, n_channels), not "
            f"{samples.dtype} of shape {samples.shape}"
        )
    full = {"u1": 128.0, "i1": 128.0, "i4": 2.0**31}.get(samples.dtype.str[1:], 2.0**15)
    values = samples.astype(np.float64)
    if samples.dtype.kind == "u" and samples.dtype.itemsize == 1:
        values -= full
    if samples.dtype.kind in "iu":
        values /= full
    if values.ndim == 2:
        values = values.mean(axis=1) if values.shape[1] else np.empty(0)
    single: NDArray[np.float32] = values.astype(np.float32)
    if not np.isfinite(single).all():
        raise DataError("samples must be finite numbers: mend or drop the sound")
    return single


def resampled(sound: Sound, rate: int) -> Sound:
    """Return a sound at another rate, by way of its spectrum: what is too high is cut off."""
    if rate == sound.rate:
        return sound
    size = round(len(sound.samples) * rate / sound.rate)
    if not size:
        return Sound(rate, np.empty(0, dtype=np.float32))
    spectrum = np.fft.rfft(sound.samples.astype(np.float64))
    kept = np.zeros(size // 2 + 1, dtype=np.complex128)
    n_kept = min(len(kept), len(spectrum))
    kept[:n_kept] = spectrum[:n_kept]
    samples = np.fft.irfft(kept, n=size) * (size / len(sound.samples))
    return Sound(rate, samples.astype(np.float32))
