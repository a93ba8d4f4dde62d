"""Cells that are images or sounds, decoded: arrays, objects of pillow, bytes and files.

Nothing but NumPy and the standard library is imported here; pillow and soundfile are, late, where
a file needs them.
"""

from automl_fuse.media.images import LONGEST_SIDE, averaged, decode_image, resized
from automl_fuse.media.sounds import HIGHEST_RATE, decode_sound, is_pair, resampled

__all__ = [
    "HIGHEST_RATE",
    "LONGEST_SIDE",
    "averaged",
    "decode_image",
    "decode_sound",
    "is_pair",
    "resampled",
    "resized",
]
