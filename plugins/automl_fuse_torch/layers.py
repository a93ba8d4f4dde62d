"""Layers of many members at once: every parameter has a leading dimension of members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from automl_fuse_torch.writing import NORM_EPSILON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def dense(x: Any, weights: Mapping[str, Any], name: str, gain: float = 1.0) -> Any:
    """Return ``gain * x @ weight + bias`` of rows (n_members, n_rows, n_inputs)."""
    bias = weights[f"{name}.bias"].unsqueeze(1)
    return torch.baddbmm(bias, x, weights[f"{name}.weight"], alpha=gain)


def output(x: Any, weights: Mapping[str, Any], name: str, gain: float = 1.0) -> Any:
    """Return the same in single precision, also where products are computed in bfloat16."""
    with torch.autocast(x.device.type, enabled=False):
        return dense(x.float(), weights, name, gain)


def looked_up(codes: Any, table: Any) -> Any:
    """Return rows of each member's table (n_members, n_codes, size) for codes (n_members, …).

    As one lookup in all tables: its gradient is deterministic, on a card as well.
    """
    n_members, n_codes, size = table.shape
    first = torch.arange(n_members, device=codes.device) * n_codes
    places = codes + first.reshape((n_members,) + (1,) * (codes.dim() - 1))
    return functional.embedding(places, table.reshape(n_members * n_codes, size))


def blended(x: Any, activation: Callable[[Any], Any], share: Any) -> Any:
    """Return x + share * (activation(x) - x), ``share`` being (n_members, n_features)."""
    return x + share.unsqueeze(1).to(x.dtype) * (activation(x) - x)


def normalised(x: Any, weights: Mapping[str, Any], name: str) -> Any:
    """Return layer normalisation of tokens (n_members, n_rows, n_tokens, width)."""
    plain = functional.layer_norm(x, x.shape[-1:], eps=NORM_EPSILON)
    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return plain * scale[:, None, None] + shift[:, None, None]
