"""What an ONNX file consists of, as far as it must be known before a runtime is given it.

Field numbers are those of ``onnx.proto``; fields that automl_fuse never writes are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.artefact.wire import Form, Layout, parse
from automl_fuse.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.artefact.wire import Span

_ELSEWHERE = "data that lie in another file"
_SUBGRAPH = "a graph inside an operator"
_SPARSE = "a sparse tensor"
_NOT_RAW = "numbers that are not raw bytes"
_NO_TENSOR = "a sequence, map, optional or sparse value"

MODEL: Final = Layout(
    "the model",
    {
        1: ("ir_version", Form.INTEGER),
        2: ("producer", Form.TEXT),
        3: ("producer_version", Form.TEXT),
        7: ("graph", Form.SPAN),
        8: ("opsets", Form.SPANS),
        14: ("metadata", Form.SPANS),
    },
    {20: "training information", 25: "functions"},
)
OPSET: Final = Layout("an opset", {1: ("domain", Form.TEXT), 2: ("version", Form.INTEGER)})
ENTRY: Final = Layout("the metadata", {1: ("key", Form.TEXT), 2: ("value", Form.SPAN)})
GRAPH: Final = Layout(
    "the graph",
    {
        1: ("nodes", Form.SPANS),
        2: ("name", Form.TEXT),
        5: ("initializers", Form.SPANS),
        11: ("inputs", Form.SPANS),
        12: ("outputs", Form.SPANS),
    },
    {15: _SPARSE},
)
NODE: Final = Layout(
    "an operator",
    {
        1: ("inputs", Form.TEXTS),
        2: ("outputs", Form.TEXTS),
        3: ("name", Form.TEXT),
        4: ("operator", Form.TEXT),
        5: ("attributes", Form.SPANS),
        7: ("domain", Form.TEXT),
    },
)
ATTRIBUTE: Final = Layout(
    "an attribute",
    {
        1: ("name", Form.TEXT),
        2: ("float", Form.FLOAT),
        3: ("integer", Form.INTEGER),
        4: ("text", Form.TEXT),
        5: ("tensor", Form.SPAN),
        7: ("floats", Form.FLOATS),
        8: ("integers", Form.INTEGERS),
        9: ("texts", Form.TEXTS),
        20: ("type", Form.INTEGER),
    },
    {6: _SUBGRAPH, 11: _SUBGRAPH, 22: _SPARSE, 23: _SPARSE, 21: "a reference to a function"},
)
TENSOR: Final = Layout(
    "a tensor",
    {
        1: ("shape", Form.INTEGERS),
        2: ("type", Form.INTEGER),
        6: ("texts", Form.TEXTS),
        8: ("name", Form.TEXT),
        9: ("raw", Form.SPAN),
    },
    {
        4: _NOT_RAW,
        5: _NOT_RAW,
        7: _NOT_RAW,
        10: _NOT_RAW,
        11: _NOT_RAW,
        13: _ELSEWHERE,
        14: _ELSEWHERE,
    },
)
VALUE: Final = Layout(
    "an input or output", {1: ("name", Form.TEXT), 2: ("type", Form.SPAN)}
)  # fmt: skip
TYPE: Final = Layout(
    "the type of an input or output",
    {1: ("tensor", Form.SPAN)},
    {4: _NO_TENSOR, 5: _NO_TENSOR, 8: _NO_TENSOR, 9: _NO_TENSOR},
)
TENSOR_TYPE: Final = Layout(
    "the type of an input or output", {1: ("element", Form.INTEGER), 2: ("shape", Form.SPAN)}
)
SHAPE: Final = Layout("the shape of an input or output", {1: ("sizes", Form.SPANS)})
SIZE: Final = Layout(
    "the shape of an input or output", {1: ("size", Form.INTEGER), 2: ("symbol", Form.TEXT)}
)

_ATTRIBUTE_TYPES: Final = {
    1: "float",
    2: "integer",
    3: "text",
    4: "tensor",
    6: "floats",
    7: "integers",
    8: "texts",
}
"""Field that holds the content of an attribute, by ``AttributeProto.type``."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A constant array: ``raw`` is where its bytes lie, ``texts`` are its strings."""

    name: str
    type: int
    shape: tuple[int, ...]
    raw: Span | None
    texts: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operator; attributes are numbers, text, lists of them, arrays or ``Tensor``."""

    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Value:
    """An input or output; ``shape`` has None for a size that is not fixed, or is None itself."""

    name: str
    type: int
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands outside of the graph.

    Attributes
    ----------
    ir_version : int
        Version of the file format.
    opsets : tuple of (str, int)
        Domains with their versions.
    metadata : mapping of str to Span
        Where the text of each entry lies.
    graph : Span
        Where the graph lies.
    """

    ir_version: int
    opsets: tuple[tuple[str, int], ...]
    metadata: Mapping[str, Span]
    graph: Span


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A graph: operators in order, constants, inputs and outputs."""

    nodes: tuple[Node, ...]
    initializers: tuple[Tensor, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    bytes: int = field(default=0)


def read_head(content: bytes) -> Head:
    """Read everything but the graph.

    Raises
    ------
    ArtefactError
        If it is no ONNX file, truncated, or holds what no artefact holds.
    """
    model = parse(content, (0, len(content)), MODEL)
    metadata: dict[str, Span] = {}
    for span in model.get("metadata", ()):
        entry = parse(content, span, ENTRY)
        key = entry.get("key", "")
        if key in metadata:
            raise ArtefactError(f"the metadata {key!r} occurs twice")
        metadata[key] = entry.get("value", (0, 0))
    if "graph" not in model:
        raise ArtefactError("the model holds no graph: it is truncated, or is no ONNX file")
    opsets = [parse(content, span, OPSET) for span in model.get("opsets", ())]
    return Head(
        ir_version=model.get("ir_version", 0),
        opsets=tuple((opset.get("domain", ""), opset.get("version", 0)) for opset in opsets),
        metadata=metadata,
        graph=model["graph"],
    )


def read_graph(content: bytes, span: Span) -> Outline:
    """Read the graph.

    Raises
    ------
    ArtefactError
        If it is truncated, or holds what no artefact holds.
    """
    graph = parse(content, span, GRAPH)
    return Outline(
        nodes=tuple(_node(content, each) for each in graph.get("nodes", ())),
        initializers=tuple(_tensor(content, each) for each in graph.get("initializers", ())),
        inputs=tuple(_value(content, each) for each in graph.get("inputs", ())),
        outputs=tuple(_value(content, each) for each in graph.get("outputs", ())),
        bytes=span[1] - span[0],
    )


def _node(content: bytes, span: Span) -> Node:
    node = parse(content, span, NODE)
    attributes: dict[str, Any] = {}
    for each in node.get("attributes", ()):
        name, value = _attribute(content, each)
        if name in attributes:
            raise ArtefactError(f"an operator has its attribute {name!r} twice")
        attributes[name] = value
    return Node(
        operator=node.get("operator", ""),
        domain=node.get("domain", ""),
        inputs=tuple(node.get("inputs", ())),
        outputs=tuple(node.get("outputs", ())),
        attributes=attributes,
        bytes=span[1] - span[0],
    )


def _attribute(content: bytes, span: Span) -> tuple[str, Any]:
    attribute = parse(content, span, ATTRIBUTE)
    name = attribute.get("name", "")
    place = _ATTRIBUTE_TYPES.get(attribute.get("type", 0))
    if place is None or not attribute.keys() <= {"name", "type", place}:
        raise ArtefactError(f"the attribute {name!r} is not of the type that it states")
    value = attribute.get(place)
    if value is None:
        # An empty list, text or array is not written; a number always is.
        if place in {"float", "integer", "tensor"}:
            raise ArtefactError(f"the attribute {name!r} has no value")
        return name, "" if place == "text" else ()
    return name, _tensor(content, value) if place == "tensor" else value


def _tensor(content: bytes, span: Span) -> Tensor:
    tensor = parse(content, span, TENSOR)
    return Tensor(
        name=tensor.get("name", ""),
        type=tensor.get("type", 0),
        shape=tuple(int(size) for size in tensor.get("shape", ())),
        raw=tensor.get("raw"),
        texts=tuple(tensor.get("texts", ())),
        bytes=span[1] - span[0],
    )


def _value(content: bytes, span: Span) -> Value:
    value = parse(content, span, VALUE)
    kind = parse(content, value.get("type", (0, 0)), TYPE)
    tensor = parse(content, kind.get("tensor", (0, 0)), TENSOR_TYPE)
    shape = None
    if "shape" in tensor:
        sizes = [
            parse(content, s, SIZE) for s in parse(content, tensor["shape"], SHAPE).get("sizes", ())
        ]
        shape = tuple(size.get("size") for size in sizes)
    return Value(name=value.get("name", ""), type=tensor.get("element", 0), shape=shape)
