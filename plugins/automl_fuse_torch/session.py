"""A graph computed by onnxruntime: for networks that compute in single precision.

What predicts in Python are then the very nodes that a portable file has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from automl_fuse.specs import Array, Floats
    from automl_fuse_torch.program import Writer

_OPSET: Final = 21
_IR_VERSION: Final = 10
"""Versions that ``automl_fuse.specs.Graph`` has."""
_FEATURES: Final = "features"


class Session:
    """Operators written once, and computed for any number of rows on one thread.

    Parameters
    ----------
    write : callable
        Writes, and returns the tensors that are wanted by name; it is given the tensor of the
        features.
    """

    def __init__(self, write: Callable[[Writer, Tensor], Mapping[str, Tensor]]) -> None:
        graph = _Graph()
        results = write(graph, Tensor(_FEATURES))
        self._names, self._tensors = list(results), [str(each) for each in results.values()]
        self._session = _opened(graph.model(self._tensors))

    def run(self, features: Floats) -> dict[str, Array]:
        """Compute the results for features (n_rows, n_features)."""
        given = self._session.run(self._tensors, {_FEATURES: features})
        return dict(zip(self._names, given, strict=True))


class _Graph:
    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, values: Array) -> Tensor:
        """Add an array."""
        from onnx import numpy_helper

        name = Tensor(f"c{len(self._constants)}")
        self._constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[Tensor],
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> Tensor:
        """Add an operator and return its output."""
        from onnx import helper

        name = Tensor(f"t{len(self._nodes)}")
        node = helper.make_node(operator, list(inputs), [name], domain=domain, **attributes or {})
        self._nodes.append(node)
        return name

    def model(self, outputs: Sequence[str]) -> bytes:
        """Return the ONNX file of a graph with these outputs."""
        from onnx import TensorProto, helper

        def value(name: str) -> Any:
            return helper.make_tensor_value_info(name, TensorProto.DOUBLE, None)

        graph = helper.make_graph(
            self._nodes,
            "network",
            [value(_FEATURES)],
            [value(name) for name in outputs],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, ir_version=_IR_VERSION, opset_imports=opsets)
        content: bytes = model.SerializeToString()
        return content


def _opened(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
