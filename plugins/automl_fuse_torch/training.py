"""Operations of many members at once in torch: see ``operations.Operations``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from automl_fuse_torch import layers
from automl_fuse_torch.augmenting import augmented
from automl_fuse_torch.operations import CHANNELS_A_GROUP, FAR
from automl_fuse_torch.writing import NORM_EPSILON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs import Kind
    from automl_fuse_torch.core import Dropping
    from automl_fuse_torch.flat import FlatInput
    from automl_fuse_torch.operations import Shape


class TrainingOperations:
    """Values are tensors (n_members, n_rows, …).

    Parameters
    ----------
    weights : mapping of str to tensor
        Parameters, members first.
    batch : mapping of str to tensor
        Tables.
    noise : Dropping
        Dropout and draws.
    """

    def __init__(
        self, weights: Mapping[str, Any], batch: Mapping[str, Any], noise: Dropping
    ) -> None:
        self._weights, self._batch, self._noise = weights, batch, noise

    def table(self, name: str, shape: Shape) -> Any:
        """See ``Operations``."""
        del shape
        return self._batch[name]

    def flat(self, flat: FlatInput) -> Any:
        """See ``Operations``."""
        return flat.forward(self._weights, self._batch)

    def augmented(self, x: Any, kind: Kind, strength: float) -> Any:
        """See ``Operations``."""
        return augmented(x, kind, strength, self._noise) if strength > 0.0 else x

    def dropped(self, x: Any) -> Any:
        """See ``Operations``."""
        return self._noise.drop(x)

    def dense(self, x: Any, name: str, n_outputs: int) -> Any:
        """See ``Operations``."""
        del n_outputs
        made = layers.dense(x.flatten(1, -2), self._weights, name)
        return made.unflatten(1, x.shape[1:-1])

    def output(self, x: Any, name: str, n_outputs: int) -> Any:
        """See ``Operations``."""
        del n_outputs
        return layers.output(x, self._weights, name)

    def convolved(
        self, x: Any, name: str, n_outputs: int, kernel: int, stride: int, *, depthwise: bool
    ) -> Any:
        """See ``Operations``."""
        n_members, channels = x.shape[0], x.shape[2]
        # Members are groups of the channels of one convolution.
        folded = x.transpose(0, 1).flatten(1, 2)
        weight, bias = (self._weights[f"{name}.{part}"] for part in ("weight", "bias"))
        groups = n_members * channels if depthwise else n_members
        with torch.backends.cudnn.flags(deterministic=True):
            made = functional.conv2d(
                folded, weight.flatten(0, 1), bias.flatten(), stride, kernel // 2, groups=groups
            )
        return made.unflatten(1, (n_members, n_outputs)).transpose(0, 1)

    def convolved_steps(self, x: Any, name: str, n_outputs: int, kernel: int, stride: int) -> Any:
        """See ``Operations``."""
        around = kernel // 2
        padded = functional.pad(x, (0, 0, around, around))
        # (members, rows, steps, channels, kernel): a batch of matrix products.
        windows = padded.unfold(2, kernel, stride).flatten(3)
        return self.dense(windows, name, n_outputs)

    def normalised(self, x: Any, name: str) -> Any:
        """See ``Operations``."""
        return layers.normalised(x, self._weights, name)

    def normalised_image(self, x: Any, name: str) -> Any:
        """See ``Operations``."""
        groups = max(1, x.shape[2] // CHANNELS_A_GROUP)
        plain = functional.group_norm(x.flatten(0, 1), groups, eps=NORM_EPSILON)
        scale, shift = (
            self._weights[f"{name}.{part}"][:, None, :, None, None] for part in ("weight", "bias")
        )
        return plain.unflatten(0, x.shape[:2]) * scale + shift

    def relu(self, x: Any) -> Any:
        """See ``Operations``."""
        return torch.relu(x)

    def added(self, x: Any, other: Any) -> Any:
        """See ``Operations``."""
        return x + other

    def shifted(self, x: Any, name: str) -> Any:
        """See ``Operations``."""
        return x + self._weights[name].unsqueeze(1)

    def embedded(self, codes: Any, name: str, n_codes: int, width: int) -> Any:
        """See ``Operations``."""
        del n_codes, width
        return layers.looked_up(codes, self._weights[name])

    def mask(self, steps: Any, n_steps: int) -> Any:
        """See ``Operations``."""
        places = torch.arange(n_steps, device=steps.device)
        return (places < steps).to(steps.dtype).unsqueeze(3)

    def masked(self, x: Any, mask: Any) -> Any:
        """See ``Operations``."""
        return x * mask

    def halved(self, steps: Any) -> Any:
        """See ``Operations``."""
        return torch.ceil(0.5 * steps)

    def recurrent(self, x: Any, name: str, cell: str, size: int, mask: tuple[Any, Any]) -> Any:
        """See ``Operations``."""
        n_members, n_rows, n_steps = x.shape[:3]
        kept = mask[1]
        both = torch.stack([x, x.flip(2)], 1).flatten(0, 1)
        weights = {
            f"{name}.{part}": self._weights[f"{name}.{part}"].flatten(0, 1)
            for part in ("weight", "bias", "recurrent")
        }
        read = layers.dense(both.flatten(1, 2), weights, name).unflatten(1, (n_rows, n_steps))
        kept = torch.stack([kept, kept.flip(2)], 1).flatten(0, 1)
        step = _lstm_step if cell == "lstm" else _gru_step
        state = (read.new_zeros(2 * n_members, n_rows, size),) * 2
        given = []
        for gates, there in zip(read.unbind(2), kept.unbind(2), strict=True):
            after = step(gates, state, weights[f"{name}.recurrent"])
            state = tuple(old + there * (new - old) for old, new in zip(state, after, strict=True))
            given.append(state[0] * there)
        made = torch.stack(given, 2).unflatten(0, (n_members, 2))
        return torch.cat([made[:, 0], made[:, 1].flip(2)], dim=3)

    def attended(self, asked: tuple[Any, Any, Any], heads: int, mask: Any) -> Any:
        """See ``Operations``."""
        queries, keys, values = (
            each.flatten(0, 1).unflatten(2, (heads, -1)).transpose(1, 2) for each in asked
        )
        # Written out: the gradients of fused attention depend on the order of its threads.
        scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[3])
        hidden = FAR * (1.0 - mask.flatten(0, 1)[:, None].transpose(2, 3))
        found = (scores - hidden).softmax(dim=3) @ values
        return found.transpose(1, 2).flatten(2).unflatten(0, asked[0].shape[:2])

    def pooled_image(self, x: Any) -> Any:
        """See ``Operations``."""
        points = x.flatten(3)
        return torch.cat([points.mean(dim=3), points.amax(dim=3)], dim=2)

    def pooled(self, x: Any, mask: Any) -> Any:
        """See ``Operations``."""
        mean = (x * mask).sum(dim=2) / mask.sum(dim=2)
        most = (x - FAR * (1.0 - mask)).amax(dim=2)
        return torch.cat([mean, most], dim=2)

    def as_image(self, x: Any) -> Any:
        """See ``Operations``."""
        return x.unsqueeze(2)

    def joined(self, parts: Sequence[Any]) -> Any:
        """See ``Operations``."""
        return torch.cat(list(parts), dim=2)


def _lstm_step(gates: Any, state: tuple[Any, ...], recurrent: Any) -> tuple[Any, Any]:
    """Return hidden state and cell after a step: Gers et al. (2000), section 3, as in ONNX."""
    hidden, cell = state
    gates = torch.baddbmm(gates, hidden, recurrent)
    size = hidden.shape[2]
    enter, leave, keep = gates[:, :, : 3 * size].sigmoid().chunk(3, dim=2)
    cell = keep * cell + enter * gates[:, :, 3 * size :].tanh()
    return leave * cell.tanh(), cell


def _gru_step(gates: Any, state: tuple[Any, ...], recurrent: Any) -> tuple[Any, Any]:
    """Return the state after a step: Cho et al. (2014), section 2.3, reset after the product."""
    hidden = state[0]
    size = hidden.shape[2]
    memory = hidden @ recurrent
    both = (gates[:, :, : 2 * size] + memory[:, :, : 2 * size]).sigmoid()
    update, reset = both.chunk(2, dim=2)
    fresh = (gates[:, :, 2 * size :] + reset * memory[:, :, 2 * size :]).tanh()
    hidden = fresh + update * (hidden - fresh)
    return hidden, hidden
