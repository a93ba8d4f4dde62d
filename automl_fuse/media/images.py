"""Images as arrays of shape (height, width, channels)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import DataError, MissingDependencyError
from automl_fuse.media.files import content_of, shown

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats

LONGEST_SIDE: Final = 256
"""Larger images are reduced to it as they are read, so that a table of photographs fits memory."""
_COLOURS: Final = frozenset({3, 4})
_MOST_CHANNELS: Final = 64


def decode_image(cell: object) -> Array:
    """Return one cell as an image.

    Parameters
    ----------
    cell : object
        An array (height, width), (height, width, channels) or (channels, height, width), lists
        of that shape, an image of pillow, or the bytes or path of an image file.

    Returns
    -------
    array of shape (height, width, channels)
        uint8, or float32 for numbers that are no bytes; one channel for grey, three for colour:
        transparency is left out. No side is longer than ``LONGEST_SIDE``.

    Raises
    ------
    DataError
        If it is no image, or its file cannot be read.
    MissingDependencyError
        If it takes pillow to read it, and that is not installed.
    """
    if isinstance(cell, str | bytes | bytearray):
        return _reduced(_opened(content_of(cell)))
    if isinstance(cell, np.ndarray | list | tuple):
        return _reduced(_of_array(cell))
    if type(cell).__module__.startswith("PIL."):
        return _reduced(_of_pillow(cell))
    raise DataError(
        f"an image is an array, an image of pillow, or the bytes or path of an image file, not "
        f"{type(cell).__name__}"
    )


def _opened(content: bytes) -> Array:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError(
            "reading image files needs pillow: pip install 'automl-fuse[media]'; arrays of pixels "
            "need nothing"
        ) from error
    try:
        with Image.open(io.BytesIO(content)) as image:
            # A JPEG can be decoded at a half, a quarter or an eighth of its size, much faster.
            image.draft(None, (LONGEST_SIDE, LONGEST_SIDE))
            return _of_pillow(image)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"bytes that begin with {shown(content)} are no image that pillow reads: {error}"
        ) from error


def _of_pillow(image: Any) -> Array:
    """Return an image of pillow the way up that its camera noted."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    modes = {"1": "L", "LA": "L", "La": "L"}
    if upright.mode not in {"L", "RGB", "I", "F", "I;16"}:
        upright = upright.convert(modes.get(upright.mode, "RGB"))
    factor = max(upright.size) // LONGEST_SIDE
    if factor > 1 and upright.mode in {"L", "RGB"}:
        upright = upright.reduce(factor)
    return _of_array(np.asarray(upright))


def _of_array(cell: Any) -> Array:
    try:
        pixels = np.asarray(cell)
        if pixels.dtype == object:
            pixels = pixels.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"an image must be a regular array of numbers: {error}") from error
    if pixels.dtype.kind not in "biuf":
        raise DataError(f"an image must hold numbers, not {pixels.dtype}")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise DataError(
            f"an image has the shape (height, width) or (height, width, channels), not "
            f"{pixels.shape}"
        )
    first, last = pixels.shape[0], pixels.shape[2]
    if last not in {1, *_COLOURS} and first in {1, *_COLOURS}:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.shape[2] > _MOST_CHANNELS:
        raise DataError(f"an image of shape {pixels.shape} has more than {_MOST_CHANNELS} channels")
    if pixels.shape[2] == max(_COLOURS):
        pixels = pixels[:, :, :3]
    return np.ascontiguousarray(_as_pixels(pixels))


def _as_pixels(pixels: Array) -> Array:
    """Return bytes where these are bytes, also if an integer type holds them, else float32."""
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8)
    if pixels.dtype.kind in "iu" and pixels.min() >= 0 and pixels.max() <= 255:
        return pixels.astype(np.uint8)
    with np.errstate(over="ignore"):
        single = pixels.astype(np.float32)
    if not np.isfinite(single).all():
        raise DataError("an image must hold finite numbers: mend or drop it")
    return single


def _reduced(image: Array) -> Array:
    height, width, _ = image.shape
    longest = max(height, width)
    if longest <= LONGEST_SIDE:
        return image
    sizes = [max(1, round(side * LONGEST_SIDE / longest)) for side in (height, width)]
    smaller = resized(image, *sizes)
    if image.dtype == np.uint8:
        return np.round(smaller).astype(np.uint8)
    return smaller.astype(np.float32)


def resized(image: Array, height: int, width: int) -> Floats:
    """Return an image in another size: each pixel is the mean of the area that it covers.

    Parameters
    ----------
    image : array of shape (old_height, old_width, n_channels)
        Of any size; proportions are not kept.

    Returns
    -------
    float64 array of shape (height, width, n_channels)
    """
    return np.moveaxis(averaged(np.moveaxis(averaged(image, height), 1, 0), width), 0, 1)


def averaged(values: Array, size: int) -> Floats:
    """Return means over equal parts of the first axis: (size, …) of (length, …), length > 0.

    A part that begins or ends within an element takes that share of it.
    """
    length = len(values)
    if length == size:
        return values.astype(np.float64)
    sums = np.zeros((length + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, dtype=np.float64, out=sums[1:])
    edges = np.arange(size + 1) * (length / size)
    whole = np.minimum(edges.astype(np.intp), length - 1)
    rest = (edges - whole).reshape(-1, *[1] * (values.ndim - 1))
    means: Floats = np.diff(sums[whole] + rest * values[whole], axis=0) * (size / length)
    return means
