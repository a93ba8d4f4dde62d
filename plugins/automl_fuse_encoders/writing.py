"""What the encoders share when they write themselves into a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs import Array, Graph, Tensor

__all__ = ["as_double", "beside", "doubles", "in_order", "one_or_all", "side_by_side_tensor"]

DOUBLE: Final = 11
"""The number of double precision among ONNX's types."""
MANY: Final = 256
"""Numbers from which on an array is worth an operator that halves it."""


def beside(graph: Graph, blocks: Sequence[Tensor], axis: int = 1) -> Tensor:
    """Put tensors, of shape (n_rows, any) unless the axis is another, side by side."""
    return blocks[0] if len(blocks) == 1 else graph.node("Concat", blocks, {"axis": axis})


def side_by_side_tensor(
    graph: Graph, columns: Mapping[str, Tensor], names: Sequence[str]
) -> Tensor:
    """Return the named columns as one tensor (n_rows, n_names); names may repeat."""
    return beside(graph, [columns[name] for name in names])


def one_or_all(graph: Graph, columns: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """Return the column of each feature, (n_rows, n_names), or (n_rows, 1) if it is always one.

    Either can be combined with something of shape (n_names,).
    """
    unique = list(dict.fromkeys(names))
    return side_by_side_tensor(graph, columns, unique if len(unique) == 1 else names)


def in_order(graph: Graph, features: Tensor, places: Sequence[int]) -> Tensor:
    """Bring features, (n_rows, n_features), to their places, 0 … n_features - 1."""
    order = np.argsort(places)
    if np.array_equal(order, np.arange(len(order))):
        return features
    return graph.node("Gather", [features, graph.constant(order)], {"axis": 1})


def as_double(graph: Graph, tensor: Tensor) -> Tensor:
    """Turn numbers of another type into double precision."""
    return graph.node("Cast", [tensor], {"to": DOUBLE})


def doubles(graph: Graph, values: Array) -> Tensor:
    """Add an array in double precision, kept in single precision if that loses nothing.

    Runtimes cast a constant once, when they load the graph.
    """
    single = values.astype(np.float32)
    exact = np.array_equal(single.astype(np.float64), values, equal_nan=True)
    if exact and values.size >= MANY:
        return as_double(graph, graph.constant(single))
    return graph.constant(values.astype(np.float64))
