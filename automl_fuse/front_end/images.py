"""What is made of images: pixels in one size, and few numbers that trees can read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from automl_fuse.front_end.cells import CellStep
from automl_fuse.media import resized
from automl_fuse.specs import Kind

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats

MOST_CHANNELS: Final = 64
POOLED: Final = 8
"""Rows and columns of the small picture in a summary."""
_LUMA: Final = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in grey: ITU-R BT.601, section 2.5.1."""
_MOMENTS: Final = ("mean", "std", "skewness")


@dataclass(frozen=True, kw_only=True)
class Pixels(CellStep):
    """Pixels of images in one size: step ``pixels``.

    Columns are those of an array (channels, rows, columns), row by row, single-precision
    numbers in the units of the image, 0 … 255 for bytes; NaN where the image is missing. Each
    pixel is the mean of the area that it covers.

    Attributes
    ----------
    rows, columns : int
        Height and width.
    channels : int
        An image of another number is made grey, and that repeated.
    """

    name: ClassVar[str] = "pixels"
    reads: ClassVar[Kind] = Kind.IMAGE
    limits: ClassVar = {"rows": 1_024, "columns": 1_024, "channels": MOST_CHANNELS}

    rows: int
    columns: int
    channels: int

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.channels * self.rows * self.columns

    def _of_cell(self, image: Array) -> Floats:
        small = resized(with_channels(image, self.channels), self.rows, self.columns)
        return small.transpose(2, 0, 1).astype(np.float32).ravel().astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class ImageSummary(CellStep):
    """Few numbers of an image: step ``image_summary``.

    The picture in grey, pooled to 8 by 8; mean, standard deviation and skewness of each
    channel; mean absolute difference of neighbours along rows and along columns; the logarithm
    of width over height. All NaN where the image is missing.

    Attributes
    ----------
    channels : int
        As for ``Pixels``.
    """

    name: ClassVar[str] = "image_summary"
    reads: ClassVar[Kind] = Kind.IMAGE
    limits: ClassVar = {"channels": MOST_CHANNELS}

    channels: int

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.features)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """What each column holds."""
        cells = (f"cell {row},{column}" for row in range(POOLED) for column in range(POOLED))
        channels = range(self.channels)
        moments = (f"{moment} of channel {c}" for moment in _MOMENTS for c in channels)
        return (*cells, *moments, "change along rows", "change along columns", "aspect")

    def _of_cell(self, image: Array) -> Floats:
        image = with_channels(image, self.channels).astype(np.float64)
        grey = _grey(image)
        points = image.reshape(-1, self.channels)
        mean, std = points.mean(axis=0), points.std(axis=0)
        cubes = ((points - mean) ** 3).mean(axis=0)
        skewness = np.divide(cubes, std**3, out=np.zeros_like(std), where=std > 1e-6)
        changes = [np.abs(np.diff(grey, axis=axis)).mean() if grey.shape[axis] > 1 else 0.0
                   for axis in (1, 0)]  # fmt: skip
        height, width = grey.shape
        pooled = resized(grey[:, :, None], POOLED, POOLED).ravel()
        return np.concatenate(
            [pooled, mean, std, skewness, changes, [np.log(width) - np.log(height)]]
        )


def with_channels(image: Array, channels: int) -> Array:
    """Return an image of so many channels: grey and repeated, if it has another number."""
    if image.shape[2] == channels:
        return image
    return np.repeat(_grey(image)[:, :, None], channels, axis=2)


def _grey(image: Array) -> Floats:
    """Return the brightness of each pixel, (height, width)."""
    weights = _LUMA if image.shape[2] == len(_LUMA) else np.full(image.shape[2], 1.0)
    grey: Floats = (image * (weights / weights.sum())).sum(axis=2)
    return grey
