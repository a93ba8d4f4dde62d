"""What networks of branches cost: predicted from the sizes of cells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from automl_fuse.specs import CellSize, Cost, Kind, Params, Shape
from automl_fuse_torch.learner import batch_size
from automl_fuse_torch.shapes import BlockShape, InputShape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automl_fuse_torch.branching import BranchNetwork
    from automl_fuse_torch.operations import Declaration

_USUAL: Final = (
    CellSize(kind=Kind.IMAGE, shape=(32, 32, 3)),
    CellSize(kind=Kind.AUDIO, shape=(16_000, 16_000)),
    CellSize(kind=Kind.SEQUENCE, shape=(64, 1)),
    CellSize(kind=Kind.TEXT, shape=(200,)),
)
"""Cells where nothing is known of them."""
_FRAMES_A_SECOND, _BANDS, _MOST_FRAMES = 100, 40, 512
_LONGEST_SIDE, _MOST_STEPS, _MOST_PIECES = 64, 1_024, 256
_CHARACTERS_A_PIECE, _PIECES = 2.5, 6_000
"""What the encoders of blocks make of cells, about."""
_STARTING: Final = 0.1
_A_CALL: Final = 1.6e-4
"""Seconds of a layer in one step, back included, whatever its size."""
_A_PRODUCT: Final = 2.4e-10
"""Seconds of a multiplication in a step, back included."""


def branch_cost(
    network: Callable[[Params, InputShape, int], BranchNetwork],
    kinds: Sequence[Kind],
    shape: Shape,
    params: Params,
) -> Cost:
    """Predict seconds and bytes of a fit.

    Parameters
    ----------
    network : callable
        Makes the network of a configuration for inputs and a number of outputs.
    kinds : sequence of Kind
        What it has branches for.
    shape : Shape
        Size of the fit.
    params : mapping
        The configuration.

    Notes
    -----
    Early stopping is taken to save a third.
    """
    cells = [cell for cell in shape.cells or _USUAL if cell.kind in kinds]
    plain = max(0, shape.n_features - len(cells))
    inputs = InputShape(
        embedded=plain, plain=0, flags=0, codes=(), blocks=tuple(map(_block, cells))
    )
    declared = network(params, inputs, shape.n_classes).declared
    seconds = _STARTING + 0.67 * params["epochs"] * epoch_seconds(declared, shape.n_rows)
    size = sum(parameter.size for parameter in declared.parameters.values())
    return Cost(seconds=seconds, bytes=4.0 * size + 10_000.0)


def epoch_seconds(declared: Declaration, n_rows: int) -> float:
    """Return how long a pass over so many rows takes on one processor, about."""
    rows = min(batch_size(n_rows), n_rows)
    each = declared.calls * _A_CALL + rows * declared.products * _A_PRODUCT
    return math.ceil(n_rows / rows) * each


def _block(cell: CellSize) -> BlockShape:
    """Return about the block that an encoder makes of such cells."""
    if cell.kind is Kind.IMAGE:
        height, width, channels = cell.shape
        shrink = min(1.0, _LONGEST_SIDE / max(height, width, 1))
        sides = (max(1, round(shrink * side)) for side in (height, width))
        return BlockShape(kind=cell.kind, shape=(channels, *sides))
    if cell.kind is Kind.AUDIO:
        frames = math.ceil(_FRAMES_A_SECOND * cell.shape[0] / cell.shape[1])
        shape = (min(max(frames, 1), _MOST_FRAMES), _BANDS)
        return BlockShape(kind=cell.kind, shape=shape)
    if cell.kind is Kind.SEQUENCE:
        steps, channels = cell.shape
        shape = (min(max(steps, 1), _MOST_STEPS), max(channels, 1))
        return BlockShape(kind=cell.kind, shape=shape)
    pieces = min(math.ceil(1.0 + cell.shape[0] / _CHARACTERS_A_PIECE), _MOST_PIECES)
    return BlockShape(kind=cell.kind, shape=(pieces,), n_tokens=_PIECES)
