"""Nodes of a graph computed in NumPy: a network is written once, and predicts in both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np

from automl_fuse.errors import ExportError
from automl_fuse.specs import Array, Floats, Tensor

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

Operator: TypeAlias = Callable[[Sequence[Array], Mapping[str, Any]], Array]

SINGLE: Final = 1
DOUBLE: Final = 11
INTEGER: Final = 7
"""Values of the attribute ``to`` of Cast."""
_TYPES: Final[Mapping[int, DTypeLike]] = {
    SINGLE: np.float32,
    DOUBLE: np.float64,
    INTEGER: np.int64,
}


class Writer(Protocol):
    """What a network is written with: an ONNX graph, or a ``Program``.

    The two methods of ``automl_fuse.specs.Graph`` that networks need.
    """

    def constant(self, values: Array) -> Tensor:
        """Add an array."""

    def node(
        self,
        operator: str,
        inputs: Sequence[Tensor],
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> Tensor:
        """Add an operator and return its output."""


@dataclass(frozen=True)
class _Step:
    compute: Operator
    inputs: tuple[Tensor, ...]
    attributes: Mapping[str, Any]
    output: Tensor
    last_uses: tuple[Tensor, ...] = ()


class Program:
    """Operators recorded once, and computed for any number of rows.

    What depends on constants only is computed when it is recorded. Results that nothing needs
    any more are dropped at once.

    Parameters
    ----------
    write : callable
        Writes with this program, and returns the tensors that are wanted by name; it is given
        the tensor of the features.
    """

    def __init__(self, write: Callable[[Writer, Tensor], Mapping[str, Tensor]]) -> None:
        self._constants: dict[Tensor, Array] = {}
        self._steps: list[_Step] = []
        self._features = Tensor("features")
        self._results = dict(write(self, self._features))
        self._plan_last_uses()

    def constant(self, values: Array) -> Tensor:
        """Add an array."""
        name = self._name()
        self._constants[name] = np.asarray(values)
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[Tensor],
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> Tensor:
        """Add an operator and return its output.

        Raises
        ------
        ExportError
            If it is none that a program can compute.
        """
        if domain or operator not in _OPERATORS:
            raise ExportError(f"operator {operator!r} cannot be computed here: add it to program")
        compute, given, settings = _OPERATORS[operator], tuple(inputs), dict(attributes or {})
        if all(name in self._constants for name in given):
            return self.constant(compute([self._constants[name] for name in given], settings))
        output = self._name()
        self._steps.append(_Step(compute, given, settings, output))
        return output

    def run(self, features: Floats) -> dict[str, Array]:
        """Compute the results for features (n_rows, n_features)."""
        values: dict[Tensor, Array] = {**self._constants, self._features: features}
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for step in self._steps:
                given = [values[name] for name in step.inputs]
                values[step.output] = step.compute(given, step.attributes)
                for name in step.last_uses:
                    del values[name]
        return {name: values[tensor] for name, tensor in self._results.items()}

    def _name(self) -> Tensor:
        return Tensor(f"{len(self._constants) + len(self._steps)}")

    def _plan_last_uses(self) -> None:
        kept = {*self._constants, *self._results.values(), self._features}
        planned = []
        for step in reversed(self._steps):
            last = tuple(dict.fromkeys(name for name in step.inputs if name not in kept))
            kept.update(last)
            planned.append(_Step(step.compute, step.inputs, step.attributes, step.output, last))
        self._steps = planned[::-1]


# --------------------------------------------------------------------------- operators


def _plain(function: Callable[..., Any]) -> Operator:
    """Return an operator that is a NumPy function of its inputs."""
    return lambda inputs, _: np.asarray(function(*inputs))


def _cast(inputs: Sequence[Array], attributes: Mapping[str, Any]) -> Array:
    return inputs[0].astype(_TYPES[attributes["to"]], copy=False)


def _gather(inputs: Sequence[Array], attributes: Mapping[str, Any]) -> Array:
    return np.take(inputs[0], inputs[1], axis=attributes.get("axis", 0))


def _concat(inputs: Sequence[Array], attributes: Mapping[str, Any]) -> Array:
    return np.concatenate(inputs, axis=attributes["axis"])


def _transpose(inputs: Sequence[Array], attributes: Mapping[str, Any]) -> Array:
    return np.transpose(inputs[0], attributes["perm"])


def _reshape(inputs: Sequence[Array], _: Mapping[str, Any]) -> Array:
    return inputs[0].reshape(inputs[1].tolist())


def _reduce_mean(inputs: Sequence[Array], attributes: Mapping[str, Any]) -> Array:
    keep = bool(attributes.get("keepdims", 1))
    return np.asarray(inputs[0].mean(axis=tuple(inputs[1].tolist()), keepdims=keep))


def _softmax(inputs: Sequence[Array], attributes: Mapping[str, Any]) -> Array:
    axis = attributes["axis"]
    powers = np.exp(inputs[0] - inputs[0].max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


_OPERATORS: Final[Mapping[str, Operator]] = {
    "Add": _plain(np.add),
    "Cast": _cast,
    "Concat": _concat,
    "Cos": _plain(np.cos),
    "Div": _plain(np.divide),
    "Equal": _plain(np.equal),
    "Exp": _plain(np.exp),
    "Gather": _gather,
    "IsNaN": _plain(np.isnan),
    "MatMul": _plain(np.matmul),
    "Max": _plain(np.maximum),
    "Min": _plain(np.minimum),
    "Mul": _plain(np.multiply),
    "ReduceMean": _reduce_mean,
    "Relu": _plain(lambda x: np.maximum(x, 0.0)),
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Sqrt": _plain(np.sqrt),
    "Sub": _plain(np.subtract),
    "Transpose": _transpose,
    "Where": _plain(np.where),
}
