"""Arrays of a network kept in integers of 8 bits, and back.

Jacob et al. (2018), "Quantization and training of neural networks for efficient integer-only
inference", section 2: weights in steps of their own for each output, what a layer is given and
makes in steps fixed beforehand, with an integer that stands for zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Array
    from automl_fuse_torch.parameters import Singles

STEP: Final = ".step"
"""After the name of an array: the size of one unit of it, for each of its outputs."""
GIVEN: Final = ".given"
MADE: Final = ".made"
"""After the name of a layer: step and zero of what it is given, and of what it makes."""
HIGHEST_WEIGHT: Final = 64
"""On x86 processors without VNNI, onnxruntime adds two products of 8 bits in 16: 2 * 255 * 64
fits."""
HIGHEST_SIGNAL: Final = 255


def with_integers(arrays: Mapping[str, Array], names: tuple[str, ...]) -> dict[str, Array]:
    """Return arrays of which some are kept in integers."""
    made = dict(arrays)
    for name in names:
        values = made[name].astype(np.float64)
        others = tuple(each for each in range(values.ndim) if each != _axis(values.ndim))
        largest = np.abs(values).max(axis=others)
        step = np.where(largest > 0.0, largest, 1.0) / HIGHEST_WEIGHT
        made[name] = np.rint(values / _along(step, values.ndim)).astype(np.int8)
        made[name + STEP] = step.astype(np.float32)
    return made


def signal(low: float, high: float) -> Singles:
    """Return step and zero of values between two limits; 0 is always among them."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / HIGHEST_SIGNAL or 1.0
    return np.array([step, np.rint(-low / step)], dtype=np.float32)


def bias_of(arrays: Mapping[str, Array], layer: str) -> tuple[Array, Singles]:
    """Return the bias of a convolution in integers, in steps of what it is added to."""
    step = arrays[layer + GIVEN][0] * arrays[f"{layer}.weight{STEP}"]
    largest = float(np.iinfo(np.int32).max) / 2.0
    whole = np.rint(arrays[f"{layer}.bias"].astype(np.float64) / step)
    return np.clip(whole, -largest, largest).astype(np.int32), step.astype(np.float32)


def floating(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return arrays in single precision: what rounding took from them stays lost."""
    made: dict[str, Array] = {}
    for name, values in arrays.items():
        if name.endswith((STEP, GIVEN, MADE)):
            continue
        made[name] = values
        if values.dtype == np.float16:
            made[name] = values.astype(np.float32)
        elif values.dtype == np.int8:
            made[name] = values * _along(arrays[name + STEP], values.ndim)
    return made


def _axis(n_dimensions: int) -> int:
    """Return the axis of an array's outputs: filters have them first, all others last."""
    return 0 if n_dimensions == 4 else n_dimensions - 1


def _along(step: Array, n_dimensions: int) -> Array:
    """Return steps in as many dimensions as the array that they are of."""
    axis = _axis(n_dimensions)
    return step.reshape([-1 if each == axis else 1 for each in range(n_dimensions)])
