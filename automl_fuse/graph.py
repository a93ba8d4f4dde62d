"""The ONNX graph as parts write themselves into it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import ExportError
from automl_fuse.operators import why_refused
from automl_fuse.specs import Forest, Split, Tensor

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from automl_fuse.specs import Array

OPSET: Final = 21
ML_OPSET: Final = 5
ML_DOMAIN: Final = "ai.onnx.ml"
IR_VERSION: Final = 10

MERGED_TREES: Final = 50
"""Trees a class below which one operator for all classes is faster than one for each.

Measured in onnxruntime 1.31: 26 classes of 5 trees 6.8 µs against 13.1 µs, of 100 trees 84 µs
against 54 µs. Merging the forests of several members saves nothing: taking the results apart
again costs what the operators do.
"""
_SUM: Final = 1


class GraphBuilder:
    """Writes nodes and constants, each only once: see ``specs.Graph``.

    Parameters
    ----------
    reserved : iterable of str
        Names of inputs and outputs, which nothing in between may have.

    Attributes
    ----------
    nodes_, initializers : list
        Protocol buffers, in an order in which they can be computed.
    steps : dict of Tensor to dict
        What the front-end must do for each of the inputs that it makes: ``kind``, ``column``,
        ``settings`` and ``width``.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self.nodes_: list[Any] = []
        self.initializers: list[Any] = []
        self.steps: dict[Tensor, dict[str, Any]] = {}
        self._known: dict[Any, tuple[Tensor, ...]] = {}
        self._count = 0
        self._reserved = frozenset(reserved)

    def constant(self, values: Array) -> Tensor:
        """Add an array, once for its content."""
        from onnx import numpy_helper

        array = np.asarray(values)
        if array.dtype.kind in "UO":
            array = array.astype(object)
            content = repr(array.ravel().tolist()).encode()
        else:
            array = np.array(array, order="C", copy=None)  # ascontiguousarray adds a dimension
            content = array.tobytes()
        digest = hashlib.sha256(content).digest()
        key = ("constant", array.dtype.str, array.shape, digest)
        if key not in self._known:
            name = self._name("c")
            self.initializers.append(numpy_helper.from_array(array, name))
            self._known[key] = (name,)
        return self._known[key][0]

    def node(
        self,
        operator: str,
        inputs: Sequence[Tensor],
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> Tensor:
        """Add an operator and return its first output."""
        return self.nodes(operator, inputs, 1, attributes, domain)[0]

    def nodes(
        self,
        operator: str,
        inputs: Sequence[Tensor],
        n_outputs: int,
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> tuple[Tensor, ...]:
        """Add an operator of several outputs."""
        from onnx import helper, numpy_helper

        reason = why_refused(operator, domain, inputs)
        if reason:
            raise ExportError(reason)
        values = {
            name: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
            for name, value in (attributes or {}).items()
        }
        outputs = [self._name("t") for _ in range(n_outputs)]
        node = helper.make_node(operator, list(inputs), [str(o) for o in outputs], domain=domain)
        node.attribute.extend(
            helper.make_attribute(name, value) for name, value in sorted(values.items())
        )
        digest = hashlib.sha256()
        for attribute in node.attribute:
            digest.update(attribute.SerializeToString(deterministic=True))
        key = (operator, domain, tuple(inputs), n_outputs, digest.digest())
        if key not in self._known:
            self.nodes_.append(node)
            self._known[key] = tuple(outputs)
        return self._known[key]

    def forest(self, features: Tensor, forest: Forest) -> Tensor:
        """Add trees; see ``specs.Graph.forest``."""
        if forest.single:
            features = self._single(features)
        if forest.n_trees == 0:
            return self.repeated(features, forest.base)
        if forest.target is None and forest.n_targets > 1:
            sums = self._vector_leaves(features, forest)
        else:
            sums = self._scalar_leaves(features, forest)
        if not forest.base.any():
            return sums
        return self.node("Add", [sums, self.constant(forest.base)])

    def prepared(self, kind: str, column: str, settings: Mapping[str, Any], width: int) -> Tensor:
        """Add an input that the front-end makes; see ``specs.Graph.prepared``."""
        step = {"kind": kind, "column": column, "settings": dict(settings), "width": width}
        for name, known in self.steps.items():
            if known == step:
                return name
        name = Tensor(f"{column}.{kind}{len(self.steps) + 1}")
        self.steps[name] = step
        return name

    def weighted_sum(self, tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Add the sum of tensors, each times its weight; equal weights multiply the sum once."""
        if len(set(weights)) == 1 and len(tensors) > 1 and weights[0] != 1.0:
            total = self.node("Sum", tensors)
            return self.node("Mul", [total, self.constant(np.array(float(weights[0])))])
        terms = [
            tensor
            if weight == 1.0
            else self.node("Mul", [tensor, self.constant(np.array(float(weight)))])
            for tensor, weight in zip(tensors, weights, strict=True)
        ]
        return terms[0] if len(terms) == 1 else self.node("Sum", terms)

    def model(
        self,
        inputs: Mapping[str, tuple[str, int]],
        outputs: Mapping[str, tuple[Tensor, str]],
        flat: Collection[str] = (),
    ) -> Any:
        """Return the whole as an ``onnx.ModelProto``, without what no output needs.

        Parameters
        ----------
        inputs : mapping of str to (str, int)
            Element type (``"double"``, ``"int64"`` or ``"string"``) and width of each input
            that may be read, (n_rows, width). Those that no output needs are left out.
        outputs : mapping of str to (Tensor, str)
            By the name they shall have: the tensor and its element type.
        flat : collection of str
            Outputs of shape (n_rows,); the others have a second dimension.
        """
        from onnx import TensorProto, helper

        types = {
            "double": TensorProto.DOUBLE,
            "int64": TensorProto.INT64,
            "string": TensorProto.STRING,
        }
        nodes, needed = self._needed([tensor for tensor, _ in outputs.values()])
        nodes = _with_outputs(nodes, {name: tensor for name, (tensor, _) in outputs.items()})
        graph = helper.make_graph(
            nodes,
            "automl_fuse",
            [
                helper.make_tensor_value_info(name, types[kind], ["rows", width])
                for name, (kind, width) in inputs.items()
                if name in needed
            ],
            [
                helper.make_tensor_value_info(
                    name, types[kind], ["rows"] if name in flat else ["rows", f"width of {name}"]
                )
                for name, (_, kind) in outputs.items()
            ],
            [each for each in self.initializers if each.name in needed],
        )
        return helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[
                helper.make_opsetid("", OPSET),
                helper.make_opsetid(ML_DOMAIN, ML_OPSET),
            ],
            producer_name="automl_fuse",
        )

    def _needed(self, outputs: Sequence[Tensor]) -> tuple[list[Any], set[str]]:
        """Return the nodes that outputs are made by, and the names of all that they read."""
        needed: set[str] = set(outputs)
        nodes = []
        for node in reversed(self.nodes_):
            if needed & set(node.output):
                needed |= set(node.input)
                nodes.append(node)
        return nodes[::-1], needed

    def _name(self, kind: str) -> Tensor:
        while True:
            self._count += 1
            name = f"{kind}{self._count}"
            if name not in self._reserved:
                return Tensor(name)

    def _single(self, features: Tensor) -> Tensor:
        """Round to single precision, within its range; NaN stays. ``to`` 1 and 11 are types."""
        largest = float(np.finfo(np.float32).max)
        limits = [self.constant(np.array(-largest)), self.constant(np.array(largest))]
        cut = self.node("Clip", [features, *limits])
        return self.node("Cast", [self.node("Cast", [cut], {"to": 1})], {"to": 11})

    def repeated(self, features: Tensor, row: Array) -> Tensor:
        """Add the same row as often as a tensor (n_rows, n) has rows: (n_rows, len(row))."""
        shape = self.node("Shape", [features], {"start": 0, "end": 1})
        width = self.constant(np.array([len(row)]))
        full = self.node("Concat", [shape, width], {"axis": 0})
        return self.node("Expand", [self.constant(row[None, :]), full])

    def _scalar_leaves(self, features: Tensor, forest: Forest) -> Tensor:
        target = np.zeros(forest.n_trees, np.int64) if forest.target is None else forest.target
        counts = np.bincount(target, minlength=forest.n_targets)
        if forest.n_targets == 1 or counts.mean() < MERGED_TREES:
            return self._ensemble(features, forest, target, forest.n_targets)
        parts = [
            self._ensemble(
                features,
                forest.take(np.flatnonzero(target == each)),
                np.zeros(counts[each], np.int64),
                1,
            )
            if counts[each]
            else self.repeated(features, np.zeros(1))
            for each in range(forest.n_targets)
        ]
        return self.node("Concat", parts, {"axis": 1})

    def _vector_leaves(self, features: Tensor, forest: Forest) -> Tensor:
        """Let each tree tell its leaf, look the leaves up, and add them.

        TreeEnsemble has one target a leaf. A copy of a tree for each class is five times as
        large; TreeEnsembleRegressor of opset 3 returns single precision, and cannot stand
        beside TreeEnsemble in one model.
        """
        table, number = np.unique(forest.leaf, axis=0, return_inverse=True)
        numbered = number.reshape(-1, 1).astype(np.float64)
        reached = self._ensemble(
            features, forest, np.arange(forest.n_trees), forest.n_trees, numbered
        )
        single = table.astype(np.float32)
        exact = np.array_equal(single.astype(np.float64), table)
        position = self.node("Cast", [reached], {"to": 7})
        values = self.node("Gather", [self.constant(single if exact else table), position])
        if exact:
            values = self.node("Cast", [values], {"to": 11})
        axis = self.constant(np.array([1]))
        return self.node("ReduceSum", [values, axis], {"keepdims": 0})

    def _ensemble(
        self,
        features: Tensor,
        forest: Forest,
        target: Array,
        n_targets: int,
        leaf: Array | None = None,
    ) -> Tensor:
        """Write one TreeEnsemble."""
        plain = _without_empty_sets(_with_nodes_as_roots(forest))
        values = (plain.leaf if leaf is None else leaf)[:, 0]
        # Equal leaves share an entry; onnxruntime refuses that for nodes only.
        entries = np.column_stack([target[_tree_of_leaf(plain)], values])
        entries, entry = np.unique(entries, axis=0, return_inverse=True)
        true, false = (
            np.where(side < 0, entry.ravel()[np.where(side < 0, ~side, 0)], side)
            for side in (plain.true, plain.false)
        )
        attributes: dict[str, Any] = {
            "n_targets": n_targets,
            "aggregate_function": _SUM,
            "post_transform": 0,
            "tree_roots": plain.roots.tolist(),
            "nodes_featureids": plain.feature.tolist(),
            "nodes_splits": plain.threshold,
            "nodes_modes": plain.split.astype(np.uint8),
            "nodes_truenodeids": true.tolist(),
            "nodes_falsenodeids": false.tolist(),
            "nodes_trueleafs": (plain.true < 0).astype(np.int64).tolist(),
            "nodes_falseleafs": (plain.false < 0).astype(np.int64).tolist(),
            "nodes_missing_value_tracks_true": plain.missing_true.astype(np.int64).tolist(),
            "leaf_weights": np.ascontiguousarray(entries[:, 1]),
            "leaf_targetids": entries[:, 0].astype(np.int64).tolist(),
        }
        if plain.members:
            sets = [[*plain.members[node], np.nan] for node in sorted(plain.members)]
            attributes["membership_values"] = np.concatenate([np.array(s) for s in sets])
        return self.node("TreeEnsemble", [features], attributes, ML_DOMAIN)


def _with_outputs(nodes: Sequence[Any], outputs: Mapping[str, Tensor]) -> list[Any]:
    """Give tensors the names of the outputs that they are."""
    from onnx import NodeProto, helper

    made = {name for node in nodes for name in node.output}
    names: dict[str, str] = {}
    copies = []
    for name, tensor in outputs.items():
        if tensor in made and tensor not in names:
            names[tensor] = name
        else:
            copies.append(helper.make_node("Identity", [names.get(tensor, tensor)], [name]))
    renamed = []
    for node in nodes:
        own = NodeProto()
        own.CopyFrom(node)
        own.input[:] = [names.get(each, each) for each in node.input]
        own.output[:] = [names.get(each, each) for each in node.output]
        renamed.append(own)
    return [*renamed, *copies]


def _with_nodes_as_roots(forest: Forest) -> Forest:
    """Put a node above each root that is a leaf: a tree of ONNX starts with a node."""
    bare = np.flatnonzero(forest.roots < 0)
    if not len(bare):
        return forest
    n_nodes, extra = len(forest.feature), len(bare)
    roots = forest.roots.copy()
    roots[bare] = n_nodes + np.arange(extra)
    children = forest.roots[bare]
    return replace(
        forest,
        roots=roots,
        feature=np.append(forest.feature, np.zeros(extra, np.int64)),
        threshold=np.append(forest.threshold, np.zeros(extra)),
        split=np.append(forest.split, np.full(extra, Split.AT_MOST, np.uint8)),
        missing_true=np.append(forest.missing_true, np.ones(extra, bool)),
        true=np.append(forest.true, children),
        false=np.append(forest.false, children),
    )


def _without_empty_sets(forest: Forest) -> Forest:
    """Write a set that holds nothing as a comparison that no number passes."""
    empty = [node for node, values in forest.members.items() if not values]
    if not empty:
        return forest
    split, threshold = forest.split.copy(), forest.threshold.copy()
    split[empty] = Split.BELOW
    threshold[empty] = -np.inf
    members = {node: values for node, values in forest.members.items() if values}
    return replace(forest, split=split, threshold=threshold, members=members)


def _tree_of_leaf(forest: Forest) -> Array:
    """Return the tree that each leaf belongs to."""
    owner = np.zeros(len(forest.leaf), dtype=np.int64)
    nodes, trees = forest.roots, np.arange(forest.n_trees)
    while len(nodes):
        children = np.concatenate([forest.true[nodes], forest.false[nodes]])
        trees = np.concatenate([trees, trees])
        is_leaf = children < 0
        owner[~children[is_leaf]] = trees[is_leaf]
        nodes, trees = children[~is_leaf], trees[~is_leaf]
    return owner
