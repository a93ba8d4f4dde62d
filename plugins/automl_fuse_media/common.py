"""What the encoders of this plugin share."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from automl_fuse.front_end import CellStep, Step
    from automl_fuse.specs import Array, Floats, Graph, Sound, Tensor

__all__ = [
    "beside",
    "channels_of",
    "commonest",
    "constant",
    "first_nan",
    "made",
    "prepared",
    "prepared_as",
    "present",
    "rate_of",
    "robust_scale",
    "round_length",
    "unique_names",
    "usual",
]

USUAL_SHARE: Final = 0.95
"""Share of training rows that are no longer than a block."""
DOUBLE: Final = 11
"""The number of double precision among ONNX's types."""


def present(cells: Array) -> list[Any]:
    """Return the cells that are not missing and hold something."""
    return [cell for cell in cells if cell is not None and _holds(cell)]


def made(step: CellStep, column: str, cells: Array) -> Floats:
    """Return what a step makes of the cells of a column: (n_rows, width).

    Raises
    ------
    DataError
        If a cell is unlike those of the training rows.
    """
    try:
        return step(cells)
    except DataError as error:
        raise DataError(f"column {column!r}: {error}") from error


def _holds(cell: Any) -> bool:
    return len(getattr(cell, "samples", cell)) > 0


def commonest(values: Iterable[int]) -> int:
    """Return the value that occurs most often, the least of equally many."""
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def rate_of(sounds: Sequence[Sound]) -> int:
    """Return the rate of most sounds."""
    return commonest(sound.rate for sound in sounds)


def channels_of(cells: Sequence[Array]) -> int:
    """Return the channels that most images or sequences have."""
    return commonest(cell.shape[-1] for cell in cells)


def robust_scale(values: Floats) -> tuple[Floats, Floats]:
    """Return the medians of columns and one over their spreads, 0 where one does not vary.

    The spread is the distance of the quartiles; where they coincide, half the range. Source:
    Holzmüller, Grinsztajn & Steinwart 2024, "Better by default" (RealMLP), section 3.

    Parameters
    ----------
    values : array of shape (n_rows, n_columns)
        NaN where missing; every column has a number.
    """
    low, first, median, third, high = np.nanquantile(values, (0, 0.25, 0.5, 0.75, 1), axis=0)
    spread = np.where(third > first, third - first, (high - low) / 2)
    factor = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-300)
    return median, factor


def usual(sizes: Sequence[int]) -> int:
    """Return the size that 95 % do not exceed."""
    return int(np.quantile(sizes, USUAL_SHARE, method="higher"))


def round_length(sizes: Sequence[int], limit: int) -> int:
    """Return the length of a block: the size of all, or a round number that most do not exceed.

    Round numbers, four in each doubling, are mostly those of other folds: networks of all folds
    can then be trained as one.
    """
    size = usual(sizes)
    if min(sizes) < max(sizes):
        step = 1 << max(0, (size - 1).bit_length() - 3)
        size = -(-size // step) * step
    return max(1, min(size, limit))


def unique_names(names: Iterable[str]) -> tuple[str, ...]:
    """Append numbers to repeated names, as in ``("a", "a #2")``."""
    counts: Counter[str] = Counter()
    taken: set[str] = set()
    unique = []
    for name in names:
        candidate = name
        while candidate in taken:
            counts[name] += 1
            candidate = f"{name} #{counts[name] + 1}"
        taken.add(candidate)
        unique.append(candidate)
    return tuple(unique)


# --------------------------------------------------------------------------- writing


def prepared(graph: Graph, column: str, step: CellStep) -> Tensor:
    """Ask the front-end for what a step makes of a column."""
    return prepared_as(graph, step.name, column, step)


def prepared_as(graph: Graph, kind: str, column: str, step: Step) -> Tensor:
    """Ask the front-end for what a step that is called so makes of a column."""
    return graph.prepared(kind, column, step.settings, step.width)


def constant(graph: Graph, values: float | Array) -> Tensor:
    """Add numbers in double precision."""
    return graph.constant(np.asarray(values, dtype=np.float64))


def beside(graph: Graph, parts: Sequence[Tensor]) -> Tensor:
    """Put tensors (n_rows, any) side by side."""
    return parts[0] if len(parts) == 1 else graph.node("Concat", parts, {"axis": 1})


def first_nan(graph: Graph, raw: Tensor) -> Tensor:
    """Return 1 where the first column of a tensor is NaN, else 0: (n_rows, 1)."""
    first = graph.node("Gather", [raw, graph.constant(np.array([0]))], {"axis": 1})
    return graph.node("Cast", [graph.node("IsNaN", [first])], {"to": DOUBLE})
