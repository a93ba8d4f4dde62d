"""Trees and networks in their common form: predicted in NumPy, and in onnxruntime."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_fuse.errors import ExportError
from automl_fuse.graph import MERGED_TREES, GraphBuilder
from automl_fuse.specs import (
    Forest,
    ForestModel,
    Layer,
    Link,
    NetworkModel,
    Split,
    Tensor,
)

N_FEATURES = 5


def grown(seed: int, n_trees: int, n_targets: int, *, vectors: bool, single: bool) -> Forest:
    """Return random trees: sets on the first feature, thresholds on a grid on the others."""
    rng = np.random.default_rng(seed)
    nodes: list[tuple[int, float, int, bool]] = []
    children: list[list[int]] = []
    leaves: list[np.ndarray] = []
    members: dict[int, tuple[float, ...]] = {}

    def grow(depth: int) -> int:
        if depth == 0 or rng.random() < 0.2:
            leaves.append(rng.normal(size=n_targets if vectors else 1))
            return ~(len(leaves) - 1)
        node, feature = len(nodes), int(rng.integers(N_FEATURES))
        split = Split.MEMBER if feature == 0 else Split(int(rng.integers(2)))
        if split is Split.MEMBER:
            members[node] = tuple(np.flatnonzero(rng.random(40) < 0.3).astype(float))
        threshold = float(np.float32(rng.integers(-6, 7) / 2))
        nodes.append((feature, threshold, int(split), bool(rng.integers(2))))
        children.append([0, 0])
        children[node] = [grow(depth - 1), grow(depth - 1)]
        return node

    roots = [grow(4) for _ in range(n_trees)]
    columns = list(zip(*nodes, strict=True)) if nodes else [(), (), (), ()]
    both = np.array(children, dtype=np.int64).reshape(-1, 2)
    return Forest(
        roots=np.array(roots, dtype=np.int64),
        feature=np.array(columns[0], dtype=np.int64),
        threshold=np.array(columns[1], dtype=np.float64),
        split=np.array(columns[2], dtype=np.uint8),
        missing_true=np.array(columns[3], dtype=bool),
        true=both[:, 0],
        false=both[:, 1],
        leaf=np.array(leaves).reshape(len(leaves), -1),
        target=None if vectors else rng.integers(0, n_targets, n_trees),
        base=rng.normal(size=n_targets),
        members=members,
        single=single,
    )


def awkward(seed: int, n_rows: int = 60) -> np.ndarray:
    """Return features on thresholds, beside them, missing, infinite and huge."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-6, 7, (n_rows, N_FEATURES)) / 2
    values[:, 0] = rng.integers(-2, 45, n_rows)
    values += rng.choice([0.0, 1e-9, -1e-9], values.shape) * (np.arange(N_FEATURES) > 0)
    odd = rng.choice([np.nan, np.inf, -np.inf, 1e300, -0.0], values.shape)
    return np.where(rng.random(values.shape) < 0.15, odd, values)


def run(part: ForestModel | NetworkModel, values: np.ndarray) -> np.ndarray:
    builder = GraphBuilder()
    out = part.to_onnx(builder, Tensor("X"))
    model = builder.model({"X": ("double", values.shape[1])}, {"Y": (out, "double")})
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    batch = session.run(None, {"X": values})[0]
    alone = [session.run(None, {"X": row[None]})[0] for row in values[:10]]
    np.testing.assert_allclose(batch[: len(alone)], np.vstack(alone), rtol=0, atol=1e-12)
    return np.asarray(batch)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**20),
    n_trees=st.integers(1, 12),
    n_targets=st.integers(1, 4),
    vectors=st.booleans(),
    single=st.booleans(),
)
def test_a_forest_predicts_alike_in_numpy_and_onnxruntime(
    seed: int, n_trees: int, n_targets: int, vectors: bool, single: bool
) -> None:
    forest = grown(seed, n_trees, n_targets, vectors=vectors, single=single)
    model = ForestModel(forest=forest, link=Link.IDENTITY if vectors else Link.SOFTMAX)
    values = awkward(seed + 1)
    np.testing.assert_allclose(run(model, values), model.predict(values), rtol=0, atol=1e-12)


def test_many_trees_a_class_become_one_operator_each() -> None:
    forest = grown(3, 3 * MERGED_TREES, 3, vectors=False, single=False)
    model = ForestModel(forest=forest, link=Link.SOFTMAX)
    values = awkward(4)
    np.testing.assert_allclose(run(model, values), model.predict(values), rtol=0, atol=1e-12)
    builder = GraphBuilder()
    model.to_onnx(builder, Tensor("X"))
    assert sum(node.op_type == "TreeEnsemble" for node in builder.nodes_) == 3


def test_a_forest_without_trees_predicts_its_base() -> None:
    forest = grown(5, 4, 2, vectors=False, single=False).take(np.array([], dtype=np.intp))
    model = ForestModel(forest=forest, link=Link.IDENTITY)
    values = awkward(6)
    np.testing.assert_array_equal(run(model, values), np.tile(forest.base, (len(values), 1)))


@pytest.mark.parametrize("vectors", [False, True])
def test_taking_trees_apart_and_adding_them_changes_nothing(vectors: bool) -> None:
    forest = grown(7, 9, 3, vectors=vectors, single=False)
    values = awkward(8)
    even, odd = forest.take(np.arange(0, 9, 2)), forest.take(np.arange(1, 9, 2))
    assert len(even.leaf) + len(odd.leaf) == len(forest.leaf)
    total = even.sums(values) + odd.sums(values) - forest.base
    np.testing.assert_allclose(total, forest.sums(values), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("widths", [(2,), (8, 3), (8, 8, 1)])
def test_a_network_predicts_alike_in_numpy_and_onnxruntime(
    kind: type[np.floating], widths: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    sizes = (N_FEATURES, *widths)
    layers = tuple(
        Layer(weight=rng.normal(size=(a, b)).astype(kind), bias=rng.normal(size=b).astype(kind))
        for a, b in itertools.pairwise(sizes)
    )
    model = NetworkModel(
        mean=rng.normal(size=N_FEATURES),
        scale=1 + rng.random(N_FEATURES),
        layers=layers,
        link=Link.LOGISTIC if widths[-1] == 1 else Link.SOFTMAX,
    )
    values = np.where(rng.random((30, N_FEATURES)) < 0.1, np.nan, rng.normal(size=(30, N_FEATURES)))
    np.testing.assert_allclose(run(model, values), model.predict(values), rtol=0, atol=1e-12)


def test_what_is_written_twice_is_there_once() -> None:
    builder = GraphBuilder()
    half = np.array(0.5)
    first, second = (
        builder.node("Mul", [Tensor("X"), builder.constant(half.copy())]) for _ in range(2)
    )
    assert first == second
    assert len(builder.nodes_) == len(builder.initializers) == 1
    assert builder.node("Mul", [Tensor("X"), builder.constant(np.array(0.25))]) != first


def test_what_no_output_needs_is_left_out() -> None:
    builder = GraphBuilder()
    builder.node("Mul", [Tensor("X"), builder.constant(np.array(3.0))])
    out = builder.node("Neg", [Tensor("X")])
    model = builder.model({"X": ("double", 2), "Z": ("string", 1)}, {"Y": (out, "double")})
    assert [node.op_type for node in model.graph.node] == ["Neg"]
    assert [each.name for each in model.graph.input] == ["X"]
    assert not model.graph.initializer


def test_outputs_may_be_inputs_or_one_tensor_twice() -> None:
    builder = GraphBuilder()
    negative = builder.node("Neg", [Tensor("X")])
    outputs = {"a": (negative, "double"), "b": (negative, "double"), "c": (Tensor("X"), "double")}
    model = builder.model({"X": ("double", 1)}, outputs)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(["a", "b", "c"], {"X": np.array([[2.0]])})
    assert [float(each[0, 0]) for each in found] == [-2.0, -2.0, 2.0]


def test_names_of_inputs_are_not_used_in_between() -> None:
    builder = GraphBuilder(reserved=["t1", "c1", "t2"])
    builder.constant(np.array(1.0))
    assert builder.node("Neg", [Tensor("t1")]) not in {"t1", "c1", "t2"}


def test_operators_of_other_domains_are_refused() -> None:
    with pytest.raises(ExportError, match=r"com\.microsoft"):
        GraphBuilder().node("Tokenizer", [Tensor("X")], domain="com.microsoft")


def test_a_prepared_input_is_stated_once() -> None:
    builder = GraphBuilder()
    names = {builder.prepared("shape", "text", {"a": 1}, 4) for _ in range(2)}
    assert names == set(builder.steps)
    assert builder.prepared("shape", "text", {"a": 2}, 4) not in names
