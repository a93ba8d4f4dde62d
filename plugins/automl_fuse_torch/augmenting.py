"""Images, series and codes changed a little at random while a network trains.

Each member draws from a source of its own. Labels must survive: nothing is mirrored.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn import functional

from automl_fuse.specs import Kind

if TYPE_CHECKING:
    from automl_fuse_torch.core import Dropping

_TURN: Final = 0.2
"""Radians by which an image is turned at most, and sheared."""
_ZOOM: Final = 0.12
_SHIFT: Final = 0.12
"""Share of an image, or a series, by which it is moved at most."""
_HIDDEN: Final = 0.2
"""Share of the steps, or of the bands of a sound, that is hidden at most."""
_GAIN: Final = 0.1
_TOKENS: Final = 0.1
"""Share of the tokens that become unknown."""
_UNKNOWN: Final = 1
"""Code of what no piece of the vocabulary begins."""


def augmented(x: Any, kind: Kind, strength: float, noise: Dropping) -> Any:
    """Return rows changed at random, or as they are when predicting.

    Parameters
    ----------
    x : tensor of shape (n_members, n_rows, …)
        Images, series or codes, by their kind.
    kind : Kind
        ``IMAGE``: moved, turned, sheared and zoomed, as in Simard et al. (2003), section 2.
        ``AUDIO``: moved in time, with some frames and bands at their mean, as in Park et al.
        (2019), "SpecAugment", section 2. ``SEQUENCE``: moved, louder or softer, with some steps
        at zero. ``TEXT``: some tokens unknown.
    strength : float
        Factor of all changes.
    noise : Dropping
        Source of random numbers.
    """
    n_rows = x.shape[1]
    if kind is Kind.TEXT:
        draws = noise.draws(n_rows, x.shape[2])
        if draws is None:
            return x
        return torch.where((draws < _TOKENS * strength) & (x > 0), _UNKNOWN, x)
    draws = noise.draws(n_rows, 6)
    if draws is None:
        return x
    if kind is Kind.IMAGE:
        return _warped(x, strength * (2.0 * draws - 1.0))
    moved = _moved(x, strength * (2.0 * draws[:, :, 0] - 1.0))
    moved = moved * _shown(moved.shape[2], strength, draws[:, :, 1:3]).unsqueeze(3)
    if kind is Kind.AUDIO:
        return moved * _shown(moved.shape[3], strength, draws[:, :, 3:5]).unsqueeze(2)
    gain = 1.0 + _GAIN * strength * (2.0 * draws[:, :, 5:6] - 1.0)
    return moved * gain.unsqueeze(3)


def _warped(x: Any, draws: Any) -> Any:
    """Return images (n_members, n_rows, channels, height, width) through affine maps."""
    flat = draws.flatten(0, 1)
    turn, shear = _TURN * flat[:, 0], _TURN * flat[:, 1]
    across, down = 1.0 + _ZOOM * flat[:, 2], 1.0 + _ZOOM * flat[:, 3]
    # A whole image is 2 wide in these coordinates.
    shift = 2.0 * _SHIFT * flat[:, 4:6]
    cos, sin = torch.cos(turn), torch.sin(turn)
    rows = [
        torch.stack([across * cos, -down * (sin + shear), shift[:, 0]], dim=1),
        torch.stack([across * sin, down * cos, shift[:, 1]], dim=1),
    ]
    images = x.flatten(0, 1)
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), False)
    made = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return made.unflatten(0, x.shape[:2])


def _moved(x: Any, share: Any) -> Any:
    """Return series (n_members, n_rows, n_steps, channels) moved in time; what is free is zero."""
    n_steps = x.shape[2]
    by = (_SHIFT * n_steps * share).round().long()
    places = torch.arange(n_steps, device=x.device) - by.unsqueeze(2)
    inside = (places >= 0) & (places < n_steps)
    index = places.clamp(0, n_steps - 1).unsqueeze(3).expand(x.shape)
    return x.gather(2, index) * inside.unsqueeze(3)


def _shown(size: int, strength: float, draws: Any) -> Any:
    """Return 0 for one run of places of each row, else 1: (n_members, n_rows, size)."""
    length = (draws[:, :, :1] * math.floor(_HIDDEN * strength * size + 1.0)).floor()
    start = draws[:, :, 1:] * (size - length)
    places = torch.arange(size, device=draws.device)
    return 1.0 - ((places >= start) & (places < start + length)).float()
