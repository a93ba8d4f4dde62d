"""Features as the libraries that compute in single precision read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Floats

_LARGEST: Final = float(np.finfo(np.float32).max)


def single_precision(values: Floats) -> NDArray[np.float32]:
    """Round features to single precision, within its range: infinities become its ends.

    XGBoost refuses infinities, and an exported graph has to know what they are taken for.
    """
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)
