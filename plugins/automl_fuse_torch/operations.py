"""What branches of networks are written with, and what such a description declares.

A branch is written once, as a function of ``Operations``. Given ``Declaration`` it tells its
parameters, how they start and what it costs; given ``training.TrainingOperations`` it computes many
members in torch; given ``exporting.GraphOperations`` it writes nodes of a graph.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np

from automl_fuse_torch.parameters import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automl_fuse.specs import Array, Kind
    from automl_fuse_torch.flat import FlatInput

Value: TypeAlias = Any
"""What operations compute: a tensor, the name of one, or its shape."""
Shape: TypeAlias = tuple[int, ...]
"""Of the values of one row."""

GATES: Final = {"lstm": 4, "gru": 3}
"""Kinds of recurrent cell, and how many times its size it computes at a step."""
FORGET: Final = slice(2, 3)
"""Which of the gates of an LSTM forgets, in the order of ONNX: input, output, forget, cell."""
_SHIFT: Final = 0.3
"""Deviation, at the start, of what tells places apart; what it is added to is about 1."""
FAR: Final = 1e4
"""Taken from what a mask hides, before maxima and shares are computed."""
CHANNELS_A_GROUP: Final = 8
"""Of group normalisation."""


class Operations(Protocol):
    """Operations on the values of many rows.

    Images are (channels, height, width), series (n_steps, n_channels). Masks are (n_steps, 1),
    1 for steps that are there and else 0.
    """

    def table(self, name: str, shape: Shape) -> Value:
        """Return a table of the inputs, of which one row has this shape."""

    def flat(self, flat: FlatInput) -> Value:
        """Return what an MLP reads: (flat.size,)."""

    def augmented(self, x: Value, kind: Kind, strength: float) -> Value:
        """Return images, series or codes changed at random, while training."""

    def dropped(self, x: Value) -> Value:
        """Return values with dropout, while training."""

    def dense(self, x: Value, name: str, n_outputs: int) -> Value:
        """Return a dense layer over the last axis."""

    def output(self, x: Value, name: str, n_outputs: int) -> Value:
        """Return a dense layer that starts at zero, in single precision throughout."""

    def convolved(
        self, x: Value, name: str, n_outputs: int, kernel: int, stride: int, *, depthwise: bool
    ) -> Value:
        """Return a convolution of images; a depthwise one keeps the number of channels."""

    def convolved_steps(
        self, x: Value, name: str, n_outputs: int, kernel: int, stride: int
    ) -> Value:
        """Return a convolution of series."""

    def normalised(self, x: Value, name: str) -> Value:
        """Return layer normalisation over the last axis: Ba et al. (2016), equation 4."""

    def normalised_image(self, x: Value, name: str) -> Value:
        """Return group normalisation of images: Wu and He (2018), section 3.

        Unlike batch normalisation it gives a row what it gives it in any batch.
        """

    def relu(self, x: Value) -> Value:
        """Return max(x, 0)."""

    def added(self, x: Value, other: Value) -> Value:
        """Return the sum of two values of one shape."""

    def shifted(self, x: Value, name: str) -> Value:
        """Return ``x`` plus a parameter of its shape."""

    def embedded(self, codes: Value, name: str, n_codes: int, width: int) -> Value:
        """Return rows of a table for codes (n_steps,): (n_steps, width)."""

    def mask(self, steps: Value, n_steps: int) -> Value:
        """Return the mask of series of which so many steps (1,) are used."""

    def masked(self, x: Value, mask: Value) -> Value:
        """Return a series with zeros where the mask is zero."""

    def halved(self, steps: Value) -> Value:
        """Return half of the numbers of steps, rounded up."""

    def recurrent(
        self, x: Value, name: str, cell: str, size: int, mask: tuple[Value, Value]
    ) -> Value:
        """Return what recurrent cells give, from both ends: (n_steps, 2 * size).

        Parameters
        ----------
        x : value
            A series.
        name, cell, size
            Of the layer; ``"lstm"`` or ``"gru"``; the size of the state.
        mask : (value, value)
            Numbers of steps, and their mask.
        """

    def attended(self, asked: tuple[Value, Value, Value], heads: int, mask: Value) -> Value:
        """Return attention between the steps of queries, keys and values."""

    def pooled_image(self, x: Value) -> Value:
        """Return means and maxima of the channels: (2 * n_channels,)."""

    def pooled(self, x: Value, mask: Value) -> Value:
        """Return means and maxima over steps that are there: (2 * n_channels,)."""

    def as_image(self, x: Value) -> Value:
        """Return a series as an image of one channel."""

    def joined(self, parts: Sequence[Value]) -> Value:
        """Return values side by side."""


class Declaration:
    """Learns of a description what there is: values are shapes.

    Attributes
    ----------
    parameters : dict of str to Parameter
        What is learned.
    products : float
        Multiplications for one row.
    widest : int
        Values of the widest layer for one row.
    calls : int
        Layers, steps of recurrent ones counted each.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, Parameter] = {}
        self.products = 0.0
        self.widest = 1
        self.calls = 0
        self._start: dict[str, Callable[[np.random.Generator], Array]] = {}

    def initial(self, rng: np.random.Generator) -> dict[str, Array]:
        """Draw where the parameters start, but for those of flat inputs."""
        return {name: draw(rng) for name, draw in self._start.items()}

    def table(self, name: str, shape: Shape) -> Shape:
        """See ``Operations``."""
        del name
        return self._made(shape)

    def flat(self, flat: FlatInput) -> Shape:
        """See ``Operations``."""
        self.parameters |= flat.parameters()
        return self._made((flat.size,), 16 * flat.size)

    def augmented(self, x: Shape, kind: Kind, strength: float) -> Shape:
        """See ``Operations``."""
        del kind, strength
        return x

    def dropped(self, x: Shape) -> Shape:
        """See ``Operations``."""
        return x

    def dense(self, x: Shape, name: str, n_outputs: int) -> Shape:
        """See ``Operations``."""
        self._weight(name, (x[-1], n_outputs), x[-1])
        self._bias(name, (n_outputs,))
        return self._made((*x[:-1], n_outputs), math.prod(x) * n_outputs)

    def output(self, x: Shape, name: str, n_outputs: int) -> Shape:
        """See ``Operations``."""
        made = self.dense(x, name, n_outputs)
        self._start[f"{name}.weight"] = _filled((x[-1], n_outputs), 0.0)
        return made

    def convolved(
        self, x: Shape, name: str, n_outputs: int, kernel: int, stride: int, *, depthwise: bool
    ) -> Shape:
        """See ``Operations``."""
        inside = 1 if depthwise else x[0]
        self._weight(name, (n_outputs, inside, kernel, kernel), inside * kernel**2)
        self._bias(name, (n_outputs,))
        made = (n_outputs, -(-x[1] // stride), -(-x[2] // stride))
        return self._made(made, math.prod(made) * inside * kernel**2)

    def convolved_steps(
        self, x: Shape, name: str, n_outputs: int, kernel: int, stride: int
    ) -> Shape:
        """See ``Operations``."""
        self._weight(name, (x[1] * kernel, n_outputs), x[1] * kernel)
        self._bias(name, (n_outputs,))
        made = (-(-x[0] // stride), n_outputs)
        return self._made(made, math.prod(made) * x[1] * kernel)

    def normalised(self, x: Shape, name: str) -> Shape:
        """See ``Operations``."""
        self._norm(name, x[-1])
        return self._made(x, math.prod(x))

    def normalised_image(self, x: Shape, name: str) -> Shape:
        """See ``Operations``."""
        self._norm(name, x[0])
        return self._made(x, math.prod(x))

    def relu(self, x: Shape) -> Shape:
        """See ``Operations``."""
        return self._made(x)

    def added(self, x: Shape, other: Shape) -> Shape:
        """See ``Operations``."""
        del other
        return self._made(x)

    def shifted(self, x: Shape, name: str) -> Shape:
        """See ``Operations``."""
        self._add(name, x, _normal(x, _SHIFT), decay=0.0)
        return self._made(x)

    def embedded(self, codes: Shape, name: str, n_codes: int, width: int) -> Shape:
        """See ``Operations``."""
        self._add(name, (n_codes, width), _normal((n_codes, width), width**-0.5), decay=1.0)
        return self._made((*codes, width))

    def mask(self, steps: Shape, n_steps: int) -> Shape:
        """See ``Operations``."""
        del steps
        return self._made((n_steps, 1))

    def masked(self, x: Shape, mask: Shape) -> Shape:
        """See ``Operations``."""
        del mask
        return self._made(x)

    def halved(self, steps: Shape) -> Shape:
        """See ``Operations``."""
        return steps

    def recurrent(self, x: Shape, name: str, cell: str, size: int, mask: tuple[Any, Any]) -> Shape:
        """See ``Operations``."""
        del mask
        n_steps, width = x
        gates = GATES[cell]
        made = gates * size
        self._add(f"{name}.weight", (2, width, made), _uniform((2, width, made), width))
        self._add(f"{name}.recurrent", (2, size, made), _uniform((2, size, made), size))
        bias = np.zeros((2, gates, size))
        if cell == "lstm":
            # Jozefowicz et al. (2015), section 5: an LSTM that starts by remembering.
            bias[:, FORGET] = 1.0
        self._add(f"{name}.bias", (2, made), lambda _: bias.reshape(2, made), decay=0.0)
        self.calls += 4 * n_steps
        return self._made((n_steps, 2 * size), 2 * n_steps * made * (width + size))

    def attended(self, asked: tuple[Shape, Shape, Shape], heads: int, mask: Shape) -> Shape:
        """See ``Operations``."""
        del mask
        n_steps, width = asked[0]
        self._made((heads * n_steps, n_steps))
        return self._made(asked[0], 2 * n_steps**2 * width)

    def pooled_image(self, x: Shape) -> Shape:
        """See ``Operations``."""
        return self._made((2 * x[0],))

    def pooled(self, x: Shape, mask: Shape) -> Shape:
        """See ``Operations``."""
        del mask
        return self._made((2 * x[1],))

    def as_image(self, x: Shape) -> Shape:
        """See ``Operations``."""
        return (1, *x)

    def joined(self, parts: Sequence[Shape]) -> Shape:
        """See ``Operations``."""
        return self._made((sum(part[0] for part in parts),))

    # ----------------------------------------------------------------------- taking note

    def _made(self, shape: Shape, products: float = 0.0) -> Shape:
        self.calls += 1
        self.products += products
        self.widest = max(self.widest, math.prod(shape))
        return shape

    def _weight(self, name: str, shape: Shape, fan_in: int) -> None:
        """Add a weight that keeps the size of what goes through ReLU: He et al. (2015)."""
        self._add(f"{name}.weight", shape, _normal(shape, math.sqrt(2.0 / fan_in)))

    def _bias(self, name: str, shape: Shape) -> None:
        self._add(f"{name}.bias", shape, _filled(shape, 0.0), decay=0.0)

    def _norm(self, name: str, size: int) -> None:
        self._add(f"{name}.weight", (size,), _filled((size,), 1.0), decay=0.0)
        self._bias(name, (size,))

    def _add(
        self,
        name: str,
        shape: Shape,
        draw: Callable[[np.random.Generator], Array],
        decay: float = 1.0,
    ) -> None:
        self.parameters[name] = Parameter(shape=shape, decay=decay)
        self._start[name] = draw


def _filled(shape: Shape, value: float) -> Callable[[np.random.Generator], Array]:
    return lambda _: np.full(shape, value)


def _normal(shape: Shape, deviation: float) -> Callable[[np.random.Generator], Array]:
    return lambda rng: rng.normal(scale=deviation, size=shape)


def _uniform(shape: Shape, fan_in: int) -> Callable[[np.random.Generator], Array]:
    bound = 1.0 / math.sqrt(fan_in)
    return lambda rng: rng.uniform(-bound, bound, size=shape)
