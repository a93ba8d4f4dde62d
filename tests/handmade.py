"""Portable files written by hand, small and with every kind of input, and how to change them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime

from automl_fuse.artefact.digest import BLANK, DIGEST_KEY, MANIFEST_KEY
from automl_fuse.graph import ML_DOMAIN, GraphBuilder
from automl_fuse.schema import Schema
from automl_fuse.specs import Column, Forest, Kind, Split, Tensor

CATEGORIES = ("blue", "green", "red")
FEATURES = 9  # age, vip, joined, three of colour, three of words
SETTINGS = {
    "split": "words",
    "characters": 100,
    "vocabulary": ["good", "bad", "fine"],
    "rarity": [1.0, 2.0, 1.5],
}
COLUMNS = (
    Column(name="age", kind=Kind.NUMERIC, reason="numbers"),
    Column(name="vip", kind=Kind.BOOLEAN, reason="true or false"),
    Column(name="joined", kind=Kind.DATETIME, reason="dates"),
    Column(name="colour", kind=Kind.CATEGORY, reason="text", categories=CATEGORIES),
    Column(name="words", kind=Kind.TEXT, reason="text"),
    Column(name="title", kind=Kind.TEXT, reason="text"),
    Column(name="spare", kind=Kind.NUMERIC, reason="numbers"),
    Column(name="row", kind=Kind.ID, reason="integers that count the rows"),
)
ROWS: dict[str, list[Any]] = {
    "age": [30.5, None, -1.0, 1e300, 42.0, 17.25],
    "vip": [True, False, None, True, True, False],
    "joined": ["2024-01-31", "2001-02-03T04:05:06.789", None, "1969-12-31", "2024-06-01", None],
    "colour": ["red", "green", None, "mauve", "blue", "red"],
    "words": ["good good bad", "fine", None, "", "bad", "Good, fine"],
    "title": ["Dr", "", None, "Mr", "Dr", "Prof"],
    "spare": [0.0, 0.0, 0.0, 0.0, 0.0, None],
}
CLASSES: dict[str, list[Any]] = {
    "str": ["no", "yes"],
    "int": [0, 1],
    "float": [0.5, 1.5],
    "bool": [False, True],
}


@dataclass
class Handmade:
    """What goes into a file: change it, then ``content()``."""

    model: onnx.ModelProto
    manifest: dict[str, Any]
    metadata: dict[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        del self.model.metadata_props[:]
        entries = {MANIFEST_KEY: json.dumps(self.manifest), DIGEST_KEY: BLANK.decode()}
        for key, value in (entries | self.metadata).items():
            entry = self.model.metadata_props.add()
            entry.key, entry.value = key, value
        content = self.model.SerializeToString()
        digest = hashlib.sha256(content).hexdigest().encode()
        assert content.count(BLANK) == 1
        return content.replace(BLANK, digest)

    def node(self, operator: str) -> onnx.NodeProto:
        return next(node for node in self.model.graph.node if node.op_type == operator)

    def attribute(self, operator: str, name: str) -> onnx.AttributeProto:
        return next(each for each in self.node(operator).attribute if each.name == name)


def handmade(task: str = "binary", dtype: str = "str", *, plain: bool = False) -> Handmade:
    """Return a pipeline for ``binary``, ``multiclass`` or ``regression``.

    A plain one has no input that the front-end must prepare.
    """
    outputs = {"binary": 2, "multiclass": 3, "regression": 1}[task]
    graph = GraphBuilder()
    fused = _fused(graph, outputs, plain=plain)
    classes = None
    if task == "regression":
        flat = graph.node("Reshape", [fused, graph.constant(np.array([-1]))])
        ends = {"value": (flat, "double")}
    else:
        known = CLASSES[dtype] if task == "binary" else ["a", "b", "c"]
        classes = {"dtype": dtype, "values": known}
        ends = _labelled(graph, fused, known, dtype)
    inputs = _inputs() | {str(name): ("double", 3) for name in graph.steps}
    model = graph.model(inputs, ends, flat={"label", "value"})
    manifest = _manifest(task, classes, graph)
    manifest["golden"] = _golden(model, dtype)
    return Handmade(model, manifest)


def _fused(graph: GraphBuilder, outputs: int, *, plain: bool) -> Tensor:
    def cast(name: str) -> Tensor:
        return graph.node("Cast", [Tensor(name)], {"to": 11})

    code = graph.node(
        "LabelEncoder",
        [Tensor("colour")],
        {
            "keys_strings": [*CATEGORIES, "<missing>"],
            "values_int64s": [0, 1, 2, -1],
            "default_int64": -2,
        },
        ML_DOMAIN,
    )
    table = np.vstack([np.eye(3), np.full((2, 3), 0.25)])
    colour = graph.node("Gather", [graph.constant(table), code])
    colour = graph.node("Reshape", [colour, graph.constant(np.array([-1, 3]))])
    title = graph.node(
        "LabelEncoder",
        [Tensor("title")],
        {"keys_strings": ["Dr", "Prof"], "values_floats": [1.0, 2.0], "default_float": -1.0},
        ML_DOMAIN,
    )
    title = graph.node("Cast", [title], {"to": 11})
    words = colour if plain else graph.prepared("term_weights", "words", SETTINGS, 3)
    day = graph.node("Div", [cast("joined"), graph.constant(np.array(86_400e6))])
    parts = [Tensor("age"), Tensor("vip"), day, colour, words]
    features = graph.node("Concat", parts, {"axis": 1})
    trees = graph.forest(features, _forest(outputs))
    filled = graph.node(
        "Where",
        [graph.node("IsNaN", [features]), graph.constant(np.array(0.0)), features],
    )
    limits = [graph.constant(np.array(limit)) for limit in (-50.0, 50.0)]
    clipped = graph.node("Clip", [filled, *limits])
    weights = np.random.default_rng(1).normal(scale=0.1, size=(FEATURES, outputs))
    linear = graph.node("MatMul", [clipped, graph.constant(weights)])
    linear = graph.node("Add", [linear, graph.node("Mul", [title, graph.constant(np.array(0.1))])])
    prior = graph.repeated(features, np.full(outputs, 0.125))
    leaves = graph.forest(features, _leafy(outputs))
    return graph.weighted_sum([trees, linear, prior, leaves], [0.5, 0.25, 0.125, 0.125])


def _leafy(outputs: int) -> Forest:
    """Return trees whose leaves have a value for each target."""
    plain = _forest(1)
    leaf = np.random.default_rng(2).normal(size=(len(plain.leaf), outputs))
    target = np.zeros(len(plain.roots), np.int64) if outputs == 1 else None
    return replace(plain, leaf=leaf, target=target, base=np.zeros(outputs))


def _forest(outputs: int, trees: int = 6) -> Forest:
    """Return trees of seven nodes and eight leaves, with sets and missing values."""
    rng = np.random.default_rng(0)
    nodes = trees * 7
    first = 7 * np.arange(trees)[:, None]
    leaves = 8 * np.arange(trees)[:, None]
    left, right = np.array([1, 3, 5]), np.array([2, 4, 6])
    even, odd = np.array([0, 2, 4, 6]), np.array([1, 3, 5, 7])
    true = np.hstack([first + left, ~(leaves + even)]).ravel()
    false = np.hstack([first + right, ~(leaves + odd)]).ravel()
    split = rng.choice([Split.AT_MOST, Split.BELOW, Split.MEMBER], nodes, p=[0.5, 0.3, 0.2])
    return Forest(
        roots=first.ravel(),
        feature=rng.integers(0, FEATURES, nodes),
        threshold=rng.normal(scale=20.0, size=nodes),
        split=split.astype(np.uint8),
        missing_true=rng.random(nodes) < 0.5,
        true=true,
        false=false,
        leaf=rng.normal(size=(8 * trees, 1)),
        target=np.arange(trees) % outputs,
        base=np.zeros(outputs),
        members={int(i): (0.0, 1.0, 17.25) for i in np.flatnonzero(split == Split.MEMBER)},
    )


def _labelled(
    graph: GraphBuilder, fused: Tensor, classes: list[Any], dtype: str
) -> dict[str, tuple[Tensor, str]]:
    probabilities = graph.node("Softmax", [fused], {"axis": 1})
    if len(classes) == 2:
        second = graph.node("Gather", [probabilities, graph.constant(np.array(1))], {"axis": 1})
        above = graph.node("Greater", [second, graph.constant(np.array(0.4))])
        code = graph.node("Cast", [above], {"to": 7})
    else:
        code = graph.node("ArgMax", [probabilities], {"axis": 1, "keepdims": 0})
    kinds = {"str": (object, "string"), "float": (np.float64, "double")}
    numpy_type, kind = kinds.get(dtype, (np.int64, "int64"))
    label = graph.node("Gather", [graph.constant(np.array(classes, dtype=numpy_type)), code])
    return {"label": (label, kind), "probabilities": (probabilities, "double")}


def _inputs() -> dict[str, tuple[str, int]]:
    return {
        "age": ("double", 1),
        "vip": ("double", 1),
        "joined": ("int64", 1),
        "colour": ("string", 1),
        "title": ("string", 1),
    }


def _manifest(task: str, classes: Any, graph: GraphBuilder) -> dict[str, Any]:
    kinds = {column.name: column.kind.value for column in COLUMNS}
    missing = {"colour": "<missing>", "title": "", "joined": -(2**63)}
    return {
        "format": 2,
        "task": task,
        "target": "bought",
        "classes": classes,
        "schema": Schema(COLUMNS).to_dict(),
        "inputs": [
            {
                "name": name,
                "column": name,
                "kind": kinds[name],
                "type": kind,
                "missing": missing.get(name),
                **({"unseen": "<unseen>"} if name == "colour" else {}),
            }
            for name, (kind, _) in _inputs().items()
        ],
        "prepared": {str(name): step for name, step in graph.steps.items()},
        "calibration": {"temperature": 1.0, "threshold": 0.4},
        "fusion": {"method": "average"},
        "members": [
            {"name": "t-0", "learner": "tree", "weight": 0.75, "models": 1, "params": {}},
            {"name": "l-0", "learner": "linear", "weight": 0.25, "models": 1, "params": {}},
        ],
        "metrics": {"log_loss": 0.5, "mcc": None},
        "metric": "log_loss",
        "score": 0.5,
        "data": {"rows": 100, "sha256": "1" * 64},
        "versions": {"automl_fuse": "0.1.0", "onnx": onnx.__version__},
        "created": "2026-11-01T00:00:00+00:00",
        "report": {
            "metric": "log_loss",
            "score": 0.5,
            "fusion": {"method": "average", "members": 2},
            "trials": {"finished": 2, "stopped": 0, "failed": 0},
            "seconds": {"wall": 1.0},
            "failures": [],
            "leaderboard": [
                {"member": "t-0", "learner": "tree", "score": 0.5, "weight": 0.75},
                {"member": "l-0", "learner": "linear", "score": 0.6, "weight": 0.25},
            ],
        },
    }


def reference_feeds() -> dict[str, np.ndarray]:
    """Return the inputs of the graph for ``ROWS``, written out by hand."""
    text = {"colour": ("<missing>", "colour"), "title": ("", "title")}
    feeds = {
        name: np.array([[gap if cell is None else cell] for cell in ROWS[column]], dtype=object)
        for name, (gap, column) in text.items()
    }
    for name in ("age", "vip"):
        cells = [np.nan if cell is None else float(cell) for cell in ROWS[name]]
        feeds[name] = np.array(cells)[:, None]
    moments = np.array(["NaT" if cell is None else cell for cell in ROWS["joined"]])
    feeds["joined"] = moments.astype("datetime64[us]").astype(np.int64)[:, None]
    log2 = 1 + np.log(2)
    weights = np.array(
        [[log2, 2.0, 0], [0, 0, 1.5], [0, 0, 0], [0, 0, 0], [0, 2.0, 0], [1.0, 0, 1.5]]
    )
    norm = np.linalg.norm(weights, axis=1, keepdims=True)
    feeds["words.term_weights1"] = weights / np.where(norm == 0, 1, norm)
    return feeds


def run_graph(model: onnx.ModelProto) -> list[np.ndarray]:
    """Return what onnxruntime makes of ``ROWS`` alone, without this package's loader."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    read = {each.name for each in session.get_inputs()}
    feeds = {name: values for name, values in reference_feeds().items() if name in read}
    return session.run(None, feeds)


def _golden(model: onnx.ModelProto, dtype: str) -> dict[str, Any]:
    names = [output.name for output in model.graph.output]
    results = dict(zip(names, run_graph(model), strict=True))
    if dtype == "bool":
        results["label"] = results["label"].astype(bool)
    return {"columns": ROWS, **{name: values.tolist() for name, values in results.items()}}
