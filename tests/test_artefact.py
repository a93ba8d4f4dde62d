"""What is read of a portable file, and what is refused, and with which words."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from handmade import Handmade, handmade
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import automl_fuse
from automl_fuse.artefact import FILE, FORMAT, load
from automl_fuse.artefact.audit import audit
from automl_fuse.artefact.digest import DIGEST_KEY, check, sign
from automl_fuse.artefact.inspection import inspect
from automl_fuse.artefact.loading import open_bytes
from automl_fuse.artefact.outline import ATTRIBUTE
from automl_fuse.artefact.trees import MOST_LEVELS
from automl_fuse.artefact.wire import parse
from automl_fuse.errors import ArtefactError, MissingDependencyError, SettingsError
from automl_fuse.graph import GraphBuilder
from automl_fuse.operators import OPERATORS
from automl_fuse.specs import Forest, Split, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTENT = handmade().content()


@pytest.fixture
def made() -> Handmade:
    model = onnx.ModelProto.FromString(CONTENT)
    manifest = json.loads(model.metadata_props[0].value)
    return Handmade(model, manifest)


def refused(content: bytes, words: str) -> None:
    with pytest.raises(ArtefactError, match=words):
        open_bytes(content)


# ------------------------------------------------------------------ whole files


def test_a_file_loads_from_its_path_and_from_a_run_directory(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(CONTENT)
    assert load(tmp_path / FILE).target == "bought"
    assert automl_fuse.load(str(tmp_path)).manifest.content["format"] == FORMAT


def test_the_digest_is_that_of_the_file_with_zeros_in_its_place() -> None:
    entry = onnx.ModelProto.FromString(CONTENT).metadata_props[1]
    assert entry.key == DIGEST_KEY
    blank = CONTENT.replace(entry.value.encode(), b"0" * 64)
    assert hashlib.sha256(blank).hexdigest() == entry.value
    assert sign(CONTENT) == CONTENT
    check(CONTENT)


@pytest.mark.parametrize("position", [0, 100, len(CONTENT) // 2, len(CONTENT) - 1])
def test_one_changed_bit_is_noticed(position: int) -> None:
    harmed = bytearray(CONTENT)
    harmed[position] ^= 1
    refused(bytes(harmed), "damaged")


@pytest.mark.parametrize("kept", [1, 10, 1_000, len(CONTENT) - 200, len(CONTENT) - 1])
def test_truncated_files_are_refused(kept: int) -> None:
    refused(CONTENT[:kept], "truncated|damaged")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"age,colour\n3,red\n", "not written by automl_fuse"),
        (b"PK\x03\x04" + bytes(100), "not written by automl_fuse"),
        (b'{"format": 2}', "not written by automl_fuse"),
    ],
)
def test_files_that_are_no_onnx_are_refused(content: bytes, words: str) -> None:
    refused(content, words)


def test_the_onnx_file_of_another_program_is_refused(made: Handmade) -> None:
    del made.model.metadata_props[:]
    refused(made.model.SerializeToString(), "another program")


def test_paths_are_named_in_errors(tmp_path: Path) -> None:
    (tmp_path / "some.onnx").write_bytes(CONTENT[:-1])
    for path in ("some.onnx", "absent.onnx"):
        with pytest.raises(ArtefactError, match=path):
            load(tmp_path / path)
    with pytest.raises(ArtefactError, match=r"without model\.onnx"):
        load(tmp_path)
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "pipeline.pkl").write_bytes(b"")
    with pytest.raises(ArtefactError, match="format 1"):
        load(tmp_path)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_are_a_positive_integer(tmp_path: Path, threads: Any) -> None:
    (tmp_path / FILE).write_bytes(CONTENT)
    with pytest.raises(SettingsError, match="threads"):
        load(tmp_path, threads=threads)


@pytest.mark.parametrize("runtime", [None, SimpleNamespace(__version__="1.23.2")])
def test_the_runtime_must_be_there_and_recent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Any
) -> None:
    (tmp_path / FILE).write_bytes(CONTENT)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    with pytest.raises(MissingDependencyError, match=r"pip install 'onnxruntime>=1\.24'"):
        load(tmp_path)


def test_loading_imports_what_predicting_needs(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(CONTENT)
    code = """
import sys, automl_fuse
automl_fuse.load(sys.argv[1])
late = {f"automl_fuse.specs.{name}" for name in ("fitting", "fusing", "running", "settings")}
print(late & sys.modules.keys(), {"html", "pandas", "onnx"} & sys.modules.keys())
from automl_fuse import specs
print([name for name in specs.__all__ if not hasattr(specs, name)], late <= sys.modules.keys())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("set() set()\n[] True\n", "")


# ------------------------------------------------------------------ the graph


def no_external_data(made: Handmade) -> None:
    tensor = made.model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def external_attribute(made: Handmade) -> None:
    tensor = made.attribute("TreeEnsemble", "nodes_splits").t
    tensor.external_data.add(key="location", value="weights.bin")


def custom_operator(made: Handmade) -> None:
    made.node("Softmax").domain = "com.microsoft"


def unknown_operator(made: Handmade) -> None:
    made.node("Softmax").op_type = "RandomUniformLike"


def subgraph(made: Handmade) -> None:
    made.node("Softmax").attribute.append(
        helper.make_attribute("then_branch", helper.make_graph([], "inner", [], []))
    )


def function(made: Handmade) -> None:
    made.model.functions.add(name="f", domain="custom")


def training(made: Handmade) -> None:
    made.model.training_info.add()


def sparse(made: Handmade) -> None:
    made.model.graph.sparse_initializer.add()


def metadata(made: Handmade) -> None:
    made.metadata["author"] = "me"


def newer_opset(made: Handmade) -> None:
    made.model.opset_import[0].version = 99


def newer_file(made: Handmade) -> None:
    made.model.ir_version = 99


def older_opset(made: Handmade) -> None:
    made.model.opset_import[0].version = 13


def foreign_opset(made: Handmade) -> None:
    made.model.opset_import.add(domain="com.microsoft", version=1)


def newer_format(made: Handmade) -> None:
    made.manifest["format"] = FORMAT + 1


def extra_input(made: Handmade) -> None:
    made.model.graph.input.append(
        helper.make_tensor_value_info("more", TensorProto.DOUBLE, ["rows", 1])
    )


def wider_input(made: Handmade) -> None:
    made.model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2


def fixed_rows(made: Handmade) -> None:
    made.model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def other_input_type(made: Handmade) -> None:
    made.model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def less_output(made: Handmade) -> None:
    del made.model.graph.output[0]


def short_tensor(made: Handmade) -> None:
    made.model.graph.initializer[0].raw_data = made.model.graph.initializer[0].raw_data[:-1]


def negative_shape(made: Handmade) -> None:
    tensor = next(each for each in made.model.graph.initializer if each.dims)
    tensor.dims[0] = -tensor.dims[0]


def not_raw(made: Handmade) -> None:
    made.model.graph.initializer.append(helper.make_tensor("loose", TensorProto.DOUBLE, [1], [1.0]))


def odd_boolean(made: Handmade) -> None:
    tensor = numpy_helper.from_array(np.array([True]), "flag")
    tensor.raw_data = b"\x07"
    made.model.graph.initializer.append(tensor)


def name_twice(made: Handmade) -> None:
    made.model.graph.initializer.append(made.model.graph.initializer[0])


def read_too_early(made: Handmade) -> None:
    nodes = made.model.graph.node
    first = copy.deepcopy(nodes[0])
    del nodes[0]
    nodes.append(first)


def lacking_input(made: Handmade) -> None:
    made.node("Concat").input[0] = ""


def attribute_of_another_type(made: Handmade) -> None:
    made.node("Softmax").attribute[0].type = onnx.AttributeProto.FLOAT


def attribute_twice(made: Handmade) -> None:
    made.node("Softmax").attribute.append(made.node("Softmax").attribute[0])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (no_external_data, "another file"),
        (external_attribute, "another file"),
        (custom_operator, r"'Softmax' is of the domain 'com\.microsoft'"),
        (unknown_operator, "RandomUniformLike"),
        (subgraph, "a graph inside an operator"),
        (function, "functions"),
        (training, "training information"),
        (sparse, "sparse"),
        (metadata, "'author'"),
        (newer_opset, "install a newer"),
        (newer_file, "install a newer"),
        (newer_format, "install a newer"),
        (older_opset, "does not write"),
        (foreign_opset, "does not write"),
        (extra_input, "disagree about the input 'more'"),
        (wider_input, "disagree about the input 'age'"),
        (fixed_rows, "'age' is no column"),
        (other_input_type, "disagree about the input 'age'"),
        (less_output, "label and probabilities"),
        (short_tensor, "does not hold the values"),
        (negative_shape, "negative size"),
        (not_raw, "not raw bytes"),
        (odd_boolean, "beyond 0 and 1"),
        (name_twice, "exists twice"),
        (read_too_early, "before it is"),
        (lacking_input, "lacks an input"),
        (attribute_of_another_type, "type that it states"),
        (attribute_twice, "twice"),
    ],
)
def test_graphs_beyond_what_is_written_are_refused(
    made: Handmade, harm: Callable[[Handmade], None], words: str
) -> None:
    harm(made)
    refused(made.content(), words)


def changed_list(name: str, at: int, value: int) -> Callable[[Handmade], None]:
    def harm(made: Handmade) -> None:
        made.attribute("TreeEnsemble", name).ints[at] = value

    return harm


def one_less(name: str) -> Callable[[Handmade], None]:
    def harm(made: Handmade) -> None:
        del made.attribute("TreeEnsemble", name).ints[-1]

    return harm


def other_mode(made: Handmade) -> None:
    tensor = made.attribute("TreeEnsemble", "nodes_modes").t
    tensor.raw_data = b"\x09" + tensor.raw_data[1:]


def fewer_sets(made: Handmade) -> None:
    tensor = made.attribute("TreeEnsemble", "membership_values").t
    tensor.raw_data = tensor.raw_data[:-8]
    tensor.dims[0] -= 1


def no_roots(made: Handmade) -> None:
    node = made.node("TreeEnsemble")
    node.attribute.remove(made.attribute("TreeEnsemble", "tree_roots"))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (changed_list("nodes_truenodeids", 0, 10**9), "out of range"),
        (changed_list("nodes_falsenodeids", 0, -1), "out of range"),
        (changed_list("nodes_truenodeids", 0, 0), "form no trees"),
        (changed_list("nodes_truenodeids", 1, 0), "form no trees"),
        (changed_list("tree_roots", 0, 7), "form no trees"),
        (changed_list("leaf_targetids", 0, 2), "out of range"),
        (changed_list("nodes_featureids", 0, -1), "out of range"),
        (one_less("nodes_trueleafs"), "values, not"),
        (one_less("leaf_targetids"), "values, not"),
        (other_mode, "comparison"),
        (fewer_sets, "one set for each node"),
        (no_roots, "'tree_roots' is unknown or absent"),
    ],
)
def test_trees_that_are_none_are_refused(
    made: Handmade, harm: Callable[[Handmade], None], words: str
) -> None:
    harm(made)
    refused(made.content(), f"'TreeEnsemble' is malformed: .*{words}")


def test_trees_may_be_deep_but_not_without_end(made: Handmade) -> None:
    for levels, fits in ((MOST_LEVELS - 1, True), (MOST_LEVELS + 1, False)):
        deep = copy.deepcopy(made)
        graph = GraphBuilder()
        chain = np.arange(levels)
        forest = Forest(
            roots=np.array([0]),
            feature=np.zeros(levels, np.int64),
            threshold=np.zeros(levels),
            split=np.full(levels, Split.AT_MOST, np.uint8),
            missing_true=np.zeros(levels, bool),
            true=~chain,
            false=np.append(chain[1:], ~levels),
            leaf=np.zeros((levels + 1, 1)),
            target=np.zeros(1, np.int64),
            base=np.zeros(1),
        )
        graph.forest(Tensor("age"), forest)
        node = deep.model.graph.node.add()
        node.CopyFrom(graph.nodes_[0])
        node.output[0] = "unread"
        if fits:
            assert len(audit(deep.content()).outline.nodes) > 1
        else:
            refused(deep.content(), "levels")


# ------------------------------------------------------------------ the manifest


def paths(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where fields stand that are checked: objects, and the first of a list of objects."""
    found = []
    for key, inner in values.items() if isinstance(values, dict) else [(0, values[0])]:
        here = (*path, key)
        if isinstance(values, dict):
            found.append(here)
        free = key in {"report", "params", "settings", "versions", "metrics"}
        if not free and (isinstance(inner, dict) or (inner and isinstance(inner, list))):
            found += paths(inner, here) if isinstance(inner, dict | list) else []
    return found


def fields() -> list[tuple[Any, ...]]:
    manifest = handmade().manifest
    plain = {name: value for name, value in manifest.items() if name != "golden"}
    plain["classes"] = dict.fromkeys(manifest["classes"])
    plain["inputs"] = [manifest["inputs"][3]]
    known = [path for path in paths(_without_cells(plain)) if path[-1] != "prepared"]
    return [*known, ("golden", "columns"), ("golden", "label"), ("golden", "probabilities")]


def _without_cells(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _without_cells(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_without_cells(value) for value in values if isinstance(value, dict)]
    return None


def reach(manifest: Any, path: tuple[Any, ...]) -> tuple[Any, Any]:
    *way, last = path
    if way[:1] == ["inputs"]:
        way = ["inputs", 3, *way[2:]]
    for key in way:
        manifest = manifest[key]
    return manifest, last


@pytest.mark.parametrize("path", fields(), ids=lambda path: ".".join(map(str, path)))
def test_each_field_is_needed_and_checked(made: Handmade, path: tuple[Any, ...]) -> None:
    place, name = reach(made.manifest, path)
    kept = place[name]
    for wrong in (complex, [1], 1.5, {"a": []}):
        if wrong is complex:
            del place[name]
        elif type(wrong) is type(kept) or (isinstance(kept, float) and wrong == 1.5):
            continue
        else:
            place[name] = wrong
        refused(made.content(), str(name))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("task",), "ranking", "task"),
        (("task",), "multiclass", "does not fit the task"),
        (("task",), "regression", "does not fit the task"),
        (("classes",), None, "has classes"),
        (("classes", "values"), ["no", "no"], "does not fit"),
        (("classes", "values"), ["no", 1], "labels of type str"),
        (("calibration", "temperature"), 0, "positive"),
        (("precision",), "half", "one of double, single"),
        (("calibration", "threshold"), 0.99, "otherwise than it states"),
        (("inputs", 0, "missing"), -1, "null"),
        (("inputs", 3, "missing"), "red", "no category"),
        (("inputs", 3, "unseen"), "red", "no category"),
        (("inputs", 3, "unseen"), "<missing>", "no category"),
        (("inputs", 0, "column"), "row", "a column of the schema"),
        (("inputs", 0, "kind"), "text", "kind numeric"),
        (("schema", "columns", 0, "kind"), "colour", "one of numeric"),
        (("schema", "columns", 0, "name"), "vip", "different names"),
        (("prepared", "words.term_weights1", "kind"), "spell", "unknown"),
        (("prepared", "words.term_weights1", "width"), 4, "disagree about the input"),
        (("golden", "label"), ["yes"] * 6, "otherwise than it states"),
        (("golden", "label"), ["yes"], "one length"),
        (("golden", "columns", "age"), [None] * 6, "otherwise than it states"),
        (("golden", "columns", "colour"), [3] * 6, "texts"),
        (("golden", "columns", "age"), ["old"] * 6, "numbers"),
        (("golden", "probabilities"), [[0.5, 0.5]] * 6, "otherwise than it states"),
        (("golden", "probabilities"), [[1.0]] * 6, "lists"),
        (("golden", "columns"), {}, "values of 'age'"),
    ],
)
def test_wrong_values_are_named(
    made: Handmade, path: tuple[Any, ...], value: Any, words: str
) -> None:
    place, name = reach(made.manifest, path) if path[0] != "inputs" else (
        made.manifest["inputs"][path[1]], path[2]
    )  # fmt: skip
    place[name] = value
    refused(made.content(), words)


def test_files_in_single_precision_may_differ_more(made: Handmade) -> None:
    for row in made.manifest["golden"]["probabilities"]:
        row[:] = [row[0] + 3e-6, row[1] - 3e-6]
    refused(made.content(), "otherwise than it states")
    made.manifest["precision"] = "single"
    assert open_bytes(made.content()).manifest.tolerance == 1e-5
    for row in made.manifest["golden"]["probabilities"]:
        row[:] = [row[0] + 3e-5, row[1] - 3e-5]
    refused(made.content(), "otherwise than it states")


def test_classes_in_another_order_are_refused(made: Handmade) -> None:
    made.manifest["classes"]["values"].reverse()
    refused(made.content(), "otherwise than it states")


def test_more_fields_of_the_same_format_are_allowed(made: Handmade) -> None:
    made.manifest["note"] = "new"
    made.manifest["inputs"][0]["unit"] = "years"
    assert open_bytes(made.content()).manifest.content["note"] == "new"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 200_000, '{"format": NaN}', "\xff"])
def test_a_manifest_is_a_json_object(made: Handmade, text: str) -> None:
    made.metadata["automl_fuse"] = text
    refused(made.content(), "JSON")


def test_inspection_needs_no_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).write_bytes(CONTENT)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    manifest, parts = inspect(tmp_path)
    assert [member.name for member in manifest.members] == ["t-0", "l-0"]
    assert parts.total == len(CONTENT)
    assert parts.operators["TreeEnsemble"][0] == 2
    used = sum(used for _, used in parts.operators.values())
    assert parts.total * 0.9 < parts.manifest + parts.constants + used < parts.total
    shutil.copy(__file__, tmp_path / FILE)
    with pytest.raises(ArtefactError, match=str(tmp_path)):
        inspect(tmp_path)


# ------------------------------------------------------------------ the wire format, operators


ATTRIBUTES = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50),
    st.lists(st.text(), min_size=1, max_size=20),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(width=32, allow_nan=False),
)


@given(ATTRIBUTES)
@settings(max_examples=200, deadline=None)
def test_attributes_are_read_as_protocol_buffers_read_them(value: Any) -> None:
    attribute = helper.make_attribute("some name", value)
    content = b"\x00" * 3 + attribute.SerializeToString() + b"\x40\x01"
    found = parse(content, (3, len(content) - 2), ATTRIBUTE)
    assert found["name"] == "some name"
    assert found["type"] == attribute.type
    read = found[{1: "float", 2: "integer", 6: "floats", 7: "integers", 8: "texts"}[attribute.type]]
    assert (read.tolist() if isinstance(read, np.ndarray) else read) == value


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50))
@settings(max_examples=100, deadline=None)
def test_packed_integers_are_read(values: list[int]) -> None:
    packed = TensorProto(int64_data=values).SerializeToString()
    # Field 7 of a tensor is packed; under the tag of an attribute's integers it is the same.
    content = b"\x42" + packed[1:] if values else b"\x42\x00"
    assert parse(content, (0, len(content)), ATTRIBUTE)["integers"].tolist() == values


@given(st.binary(max_size=200))
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    found: dict[str, Any] = {}
    with contextlib.suppress(ArtefactError):
        found = parse(content, (0, len(content)), ATTRIBUTE)
    assert found.keys() <= {name for name, _ in ATTRIBUTE.fields.values()}


@pytest.mark.parametrize("domain", sorted(OPERATORS))
def test_operators_are_standard_and_hold_no_graphs(domain: str) -> None:
    version = {"": 21, "ai.onnx.ml": 5}[domain]
    for name in OPERATORS[domain]:
        schema = onnx.defs.get_schema(name, version, domain)
        assert not schema.deprecated, name
        kinds = {attribute.type for attribute in schema.attributes.values()}
        assert onnx.defs.OpSchema.AttrType.GRAPH not in kinds, name
        assert "seed" not in schema.attributes, name
