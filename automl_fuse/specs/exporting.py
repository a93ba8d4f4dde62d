"""Export: how a fitted part writes itself into the graph of the one portable file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NewType, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs.forests import Forest
    from automl_fuse.specs.words import Array

Tensor = NewType("Tensor", str)
"""Name of a value in a graph."""


class Graph(Protocol):
    """An ONNX graph as it is written: what every ``to_onnx`` is given.

    Operators are those of opset 21 of the default domain and of opset 5 of ``ai.onnx.ml``;
    others are refused. Numbers are double precision and codes are int64 unless the member
    itself computes in single precision. What was written before with equal operators, inputs
    and attributes is not written again: parts that several folds or members share appear once.
    """

    def constant(self, values: Array) -> Tensor:
        """Add an array of float64, float32, float16, integers, bool or str, once for its content.

        A Python number is not an array: wrap it, ``np.array(0.5)``.
        """

    def node(
        self,
        operator: str,
        inputs: Sequence[Tensor],
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> Tensor:
        """Add an operator and return its first output.

        Parameters
        ----------
        operator : str
            Name, such as ``"MatMul"``.
        inputs : sequence of Tensor
            In the operator's order; ``Tensor("")`` leaves an optional one out.
        attributes : mapping, optional
            Values of the types that ``onnx.helper.make_node`` takes; NumPy arrays become
            tensors.
        domain : {"", "ai.onnx.ml"}
            The operator's domain.
        """

    def nodes(
        self,
        operator: str,
        inputs: Sequence[Tensor],
        n_outputs: int,
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> tuple[Tensor, ...]:
        """Add an operator of several outputs, ``TopK`` say, and return the first ``n_outputs``."""

    def forest(self, features: Tensor, forest: Forest) -> Tensor:
        """Add trees that read float64 features (n_rows, n_features).

        Returns the sums of their leaf values and the base, float64 (n_rows, n_targets).
        """

    def prepared(self, kind: str, column: str, settings: Mapping[str, Any], width: int) -> Tensor:
        """Add a float64 input (n_rows, width) that a front-end makes from a column.

        For what a graph cannot express. The artefact then states ``kind`` and ``settings``, and
        whoever loads it runs ``automl_fuse.front_end`` before the graph.

        Parameters
        ----------
        kind : str
            A step that ``automl_fuse.front_end`` knows.
        column : str
            The raw column that it reads.
        settings : mapping
            What the step is told: JSON values.
        width : int
            Columns that it makes.
        """

    def weighted_sum(self, tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Add the sum of float64 tensors of one shape, each times its weight."""


@runtime_checkable
class ExportableEncoder(Protocol):
    """A fitted encoder that can write itself into a graph."""

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Return the features, float64 (n_rows, n_features).

        Only called when there is at least one feature.

        Parameters
        ----------
        graph : Graph
            Where to write.
        columns : mapping of str to Tensor
            Typed columns by name, each (n_rows, 1). ``NUMERIC`` and ``BOOLEAN``: float64, NaN
            where missing. ``CATEGORY``: int64 codes, ``MISSING_CODE`` and ``UNSEEN_CODE``
            included. ``DATETIME``: int64 microseconds since 1970, the least int64 where
            missing. ``TEXT``: str, empty where missing.
        """


@runtime_checkable
class ExportableLearner(Protocol):
    """A fitted learner that can write itself into a graph."""

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Return what ``predict`` returns, float64, from float64 features (n_rows, n_features)."""


@runtime_checkable
class ExportableFusion(Protocol):
    """A fitted fusion that can write itself into a graph."""

    def to_onnx(self, graph: Graph, predictions: Sequence[Tensor]) -> Tensor:
        """Return what ``combine`` returns, (n_rows, n_outputs), from one such tensor a member."""
