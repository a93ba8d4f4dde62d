"""Ways to harm a portable file, each drawn from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, TypeAlias

import onnx

from automl_fuse.artefact.digest import DIGEST_KEY, MANIFEST_KEY, sign
from automl_fuse.errors import ArtefactError

ODD_INTEGERS = (0, 1, -1, 2, 7, 255, 2**31 - 1, 2**31, 2**40, 2**63 - 1, -(2**63))
ODD_VALUES = (None, True, -1, 0, 3, 1e300, "", "x", [], {}, [[]], "NaN", 2**70)
OPERATORS = (
    "Add", "ArgMax", "Cast", "Concat", "ConstantOfShape", "Expand", "Gather", "GatherND", "If",
    "LabelEncoder", "Loop", "MatMul", "Pad", "Range", "Reshape", "ScatterND", "Slice", "Softmax",
    "StringSplit", "TfIdfVectorizer", "Tile", "TopK", "TreeEnsemble", "TreeEnsembleRegressor",
    "Unique", "Where",
)  # fmt: skip

Bytes: TypeAlias = Callable[[bytes, random.Random], bytes]


def harmed(content: bytes, other: bytes, case: int) -> bytes:
    """Return a file changed in the way that a case number stands for.

    Every second one is signed again, if it can be, so that its digest does not tell.
    """
    rng = random.Random(case)
    change = rng.choice(CHANGES)
    changed = _splice(content, other, rng) if change is None else change(content, rng)
    return _signed_again(changed) if case % 2 else changed


def _signed_again(content: bytes) -> bytes:
    try:
        return sign(content)
    except ArtefactError:
        return content


# ------------------------------------------------------------------ bytes, whatever they mean


def _flip_bits(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _change_bytes(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 16))):
        changed[rng.randrange(len(changed))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(changed)


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _range(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(content))
    return start, min(len(content), start + rng.choice((1, 2, 8, 64, 512)))


def _duplicate(content: bytes, rng: random.Random) -> bytes:
    start, stop = _range(content, rng)
    return content[:stop] + content[start:stop] + content[stop:]


def _remove(content: bytes, rng: random.Random) -> bytes:
    start, stop = _range(content, rng)
    return content[:start] + content[stop:]


def _copy_over(content: bytes, rng: random.Random) -> bytes:
    start, stop = _range(content, rng)
    target = rng.randrange(len(content))
    return content[:target] + content[start:stop] + content[target + stop - start :]


def _splice(content: bytes, other: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]


# ------------------------------------------------------------------ the graph, part by part


def _in_graph(change: Callable[[onnx.GraphProto, random.Random], None]) -> Bytes:
    def changed(content: bytes, rng: random.Random) -> bytes:
        model = onnx.ModelProto.FromString(content)
        for _ in range(rng.choice((1, 1, 2))):
            change(model.graph, rng)
        return model.SerializeToString()

    return changed


def _swap(graph: onnx.GraphProto, rng: random.Random) -> None:
    """Swap, repeat or drop operators, constants, inputs or outputs."""
    parts = rng.choice((graph.node, graph.node, graph.initializer, graph.input, graph.output))
    if not len(parts):
        return
    i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
    held = type(parts[0]).FromString(parts[i].SerializeToString())
    action = rng.choice(("swap", "repeat", "drop", "over"))
    if action == "swap":
        parts[i].CopyFrom(parts[j])
        parts[j].CopyFrom(held)
    elif action == "repeat":
        parts.append(held)
    elif action == "drop":
        del parts[i]
    else:
        parts[j].CopyFrom(held)


def _rewire(graph: onnx.GraphProto, rng: random.Random) -> None:
    node = rng.choice(graph.node)
    names = [name for each in graph.node for name in (*each.input, *each.output)]
    names += [each.name for each in graph.initializer]
    ends = rng.choice((node.input, node.input, node.output))
    if len(ends):
        ends[rng.randrange(len(ends))] = rng.choice((*names, "", "nothing"))


def _rename_operator(graph: onnx.GraphProto, rng: random.Random) -> None:
    node = rng.choice(graph.node)
    if rng.random() < 0.2:
        node.domain = rng.choice(("", "ai.onnx.ml", "com.microsoft", "custom"))
    else:
        node.op_type = rng.choice(OPERATORS)


def _change_attribute(graph: onnx.GraphProto, rng: random.Random) -> None:
    node = rng.choice([each for each in graph.node if len(each.attribute)])
    attribute = rng.choice(node.attribute)
    chance = rng.random()
    if chance < 0.08:
        node.attribute.remove(attribute)
    elif chance < 0.16:
        attribute.name = rng.choice([each.name for each in node.attribute] + ["axis", "to"])
    elif len(attribute.ints):
        _change_list(attribute.ints, (*ODD_INTEGERS, *attribute.ints), rng)
    elif len(attribute.floats):
        _change_list(attribute.floats, (0.0, float("nan"), float("inf"), 1e38), rng)
    elif len(attribute.strings):
        _change_list(attribute.strings, (b"", b"\xff", b"red", b"x" * 1000), rng)
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = rng.choice(ODD_INTEGERS)
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = rng.choice((0.0, float("nan"), 1e38))
    elif attribute.type == onnx.AttributeProto.TENSOR:
        _change_tensor(attribute.t, rng)
    if rng.random() < 0.05:
        attribute.type = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 11))


def _change_list(values: Any, odd: tuple[Any, ...], rng: random.Random) -> None:
    at = rng.randrange(len(values))
    action = rng.choice(("set", "set", "set", "drop", "add"))
    if action == "set":
        values[at] = rng.choice(odd)
    elif action == "drop":
        del values[at]
    else:
        values.append(values[at])


def _change_constant(graph: onnx.GraphProto, rng: random.Random) -> None:
    _change_tensor(rng.choice(graph.initializer), rng)


def _change_tensor(tensor: onnx.TensorProto, rng: random.Random) -> None:
    chance = rng.random()
    if chance < 0.2:
        _change_list(tensor.dims, (*ODD_INTEGERS, 3, 4), rng) if len(
            tensor.dims
        ) else tensor.dims.append(1)
    elif chance < 0.3:
        tensor.data_type = rng.randrange(24)
    elif chance < 0.35:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "/etc/hostname"
    elif len(tensor.string_data):
        _change_list(tensor.string_data, (b"", b"\xff\xfe", b"no"), rng)
    elif tensor.raw_data:
        size = rng.choice((1, 4, 8))
        odd = rng.choice(ODD_INTEGERS).to_bytes(8, "little", signed=True)[:size]
        if rng.random() < 0.3:
            odd = b"\xff" * size
        raw = bytearray(tensor.raw_data)
        at = size * rng.randrange(max(1, len(raw) // size))
        raw[at : at + size] = odd
        tensor.raw_data = bytes(raw)


def _change_type(graph: onnx.GraphProto, rng: random.Random) -> None:
    value = rng.choice((*graph.input, *graph.output))
    kind = value.type.tensor_type
    chance = rng.random()
    if chance < 0.4:
        kind.elem_type = rng.choice((1, 6, 7, 8, 9, 10, 11))
    elif chance < 0.6:
        value.name = rng.choice((*(each.name for each in graph.input), "nothing", ""))
    elif len(kind.shape.dim):
        kind.shape.dim[rng.randrange(len(kind.shape.dim))].dim_value = rng.choice((0, 1, 2, 5, -1))


# ------------------------------------------------------------------ what stands beside the graph


def _change_head(content: bytes, rng: random.Random) -> bytes:
    model = onnx.ModelProto.FromString(content)
    action = rng.randrange(7)
    if action == 0:
        model.ir_version = rng.choice((0, 3, 9, 11, 2**40))
    elif action == 1:
        rng.choice(model.opset_import).version = rng.choice((0, 1, 20, 22, 2**40))
    elif action == 2:
        model.opset_import.add(domain=rng.choice(("", "custom", "com.microsoft")), version=1)
    elif action == 3:
        model.metadata_props.add(key=rng.choice(("x", MANIFEST_KEY, DIGEST_KEY)), value="0" * 64)
    elif action == 4:
        model.functions.add(name="f", domain="custom")
    elif action == 5:
        model.training_info.add()
    else:
        del model.metadata_props[rng.randrange(len(model.metadata_props))]
    return model.SerializeToString()


def _change_manifest(content: bytes, rng: random.Random) -> bytes:
    model = onnx.ModelProto.FromString(content)
    entry = next(each for each in model.metadata_props if each.key == MANIFEST_KEY)
    manifest = json.loads(entry.value)
    for _ in range(rng.choice((1, 1, 2))):
        _change_json(manifest, rng)
    entry.value = json.dumps(manifest)
    if rng.random() < 0.05:
        entry.value = rng.choice(("", "{", "[]", "null", "[" * 100_000, '{"format": 2}'))
    return model.SerializeToString()


def _change_json(values: Any, rng: random.Random) -> None:
    """Walk down at random, and change what is found there."""
    key: Any = None
    while True:
        keys = list(values) if isinstance(values, dict) else range(len(values))
        if not keys:
            return
        key = rng.choice(keys)
        inner = values[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.15:
            break
        values = inner
    action = rng.randrange(5)
    if action == 0 and isinstance(values, dict):
        del values[key]
    elif action == 1 and isinstance(values, list):
        values.append(values[key])
    elif action == 2 and isinstance(values[key], str):
        values[key] = values[key][::-1] + rng.choice(("", "x"))
    elif action == 3 and isinstance(values[key], int | float) and values[key] is not True:
        values[key] = values[key] * rng.choice((2, -1)) + rng.choice((0, 1, 0.5))
    else:
        values[key] = rng.choice(ODD_VALUES)


CHANGES: tuple[Bytes | None, ...] = (
    _flip_bits, _flip_bits, _flip_bits, _change_bytes, _change_bytes, _truncate, _duplicate,
    _remove, _copy_over, None, _in_graph(_swap), _in_graph(_rewire), _in_graph(_rename_operator),
    _in_graph(_change_attribute), _in_graph(_change_attribute), _in_graph(_change_attribute),
    _in_graph(_change_constant), _in_graph(_change_constant), _in_graph(_change_type),
    _change_head, _change_manifest, _change_manifest, _change_manifest,
)  # fmt: skip
"""None stands for a splice with another file."""
