"""Fusions in a graph combine as in Python: to the last bits, with the same votes, in few nodes."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import automl_fuse_fusion
from automl_fuse.graph import GraphBuilder
from automl_fuse.specs import FusionContext, FusionSpec, Task, Tensor
from automl_fuse_fusion.piecewise import Curve, curves_to_onnx

BINARY, MULTICLASS, REGRESSION = Task.BINARY, Task.MULTICLASS, Task.REGRESSION
SPECS: dict[str, FusionSpec] = {s.name: s for s in automl_fuse_fusion.automl_fuse_fusions()}
CASES = [
    pytest.param(spec, configuration.params, task, id=f"{name}-{i}-{task}")
    for name, spec in SPECS.items()
    for i, configuration in enumerate(spec.portfolio)
    for task in sorted(spec.tasks)
]


class Never:
    def remaining(self) -> float:
        return float("inf")

    def expired(self) -> bool:
        return False


def loss(y, prediction, weight):
    if prediction.shape[1] == 1:
        return float(np.mean((prediction[:, 0] - y) ** 2))
    return float(-np.log(np.clip(prediction[np.arange(len(y)), y], 1e-15, 1)).mean())


def members_of(task, *, seed=0, n_members=5, n_rows=300):
    """Return predictions (n_members, n_rows, n_outputs) of falling quality, and the target."""
    rng = np.random.default_rng(seed)
    noise = np.linspace(0.3, 1.5, n_members)
    if task is REGRESSION:
        y = 50 + 10 * rng.normal(size=n_rows)
        return np.array([y + 10 * s * rng.normal(size=n_rows) for s in noise])[:, :, None], y
    k = 2 if task is BINARY else 4
    y = rng.permutation(np.arange(n_rows) % k)
    raw = np.array([np.exp(2 * np.eye(k)[y] + s * rng.normal(size=(n_rows, k))) for s in noise])
    return raw / raw.sum(axis=2, keepdims=True), y


def fitted(spec, params, task, oof=None, y=None):
    made, truth = members_of(task)
    oof, y = (made, truth) if oof is None else (oof, y)
    context = FusionContext(
        task=task, n_classes=oof.shape[2], loss=loss, seed=0, deadline=Never()
    )  # fmt: skip
    fusion = spec.build(params, context)
    fusion.fit(oof, y, None)
    return fusion


class Graphed:
    """A fusion in onnxruntime."""

    def __init__(self, fusion, n_members, n_outputs):
        names = [f"m{i}" for i in range(n_members)]
        builder = GraphBuilder(names)
        result = fusion.to_onnx(builder, [Tensor(name) for name in names])
        inputs = dict.fromkeys(names, ("double", n_outputs))
        self.names = names
        self.model = builder.model(inputs, {"Y": (result, "double")})
        self.session = session_of(self.model)

    @property
    def inputs(self):
        return [each.name for each in self.session.get_inputs()]

    def combine(self, predictions):
        feed = dict(zip(self.names, predictions, strict=True))
        return self.session.run(None, {name: feed[name] for name in self.inputs})[0]


def session_of(model):
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize(("spec", "params", "task"), CASES)
def test_a_graph_combines_to_the_last_bits(spec, params, task):
    oof, _ = members_of(task)
    other, _ = members_of(task, seed=1)
    fusion = fitted(spec, params, task)
    graphed = Graphed(fusion, *oof.shape[::2])
    for predictions in (oof, other, other[:, :1]):
        got, expected = graphed.combine(predictions), fusion.combine(predictions)
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("spec", "params", "task"), CASES)
def test_a_graph_reads_the_members_of_a_share_only(spec, params, task):
    fusion = fitted(spec, params, task)
    n_outputs = members_of(task)[0].shape[2]
    used = Graphed(fusion, 5, n_outputs).inputs
    assert used == [f"m{i}" for i in np.flatnonzero(fusion.weights)]


@pytest.mark.parametrize(("name", "most"), [("stacking", 7), ("hard_voting", 8)])
def test_a_graph_does_not_grow_with_the_members(name, most):
    spec = SPECS[name]
    for n_members in (3, 9):
        oof, y = members_of(MULTICLASS, n_members=n_members)
        fusion = fitted(spec, spec.portfolio[0].params, MULTICLASS, oof, y)
        graphed = Graphed(fusion, n_members, 4)
        assert len(graphed.model.graph.node) <= most + 1  # and one that names the output


# ------------------------------------------------------------------ votes


def test_the_last_bit_turns_no_vote():
    oof, y = members_of(MULTICLASS)
    oof[:, :50] = 0.25
    fusion = fitted(SPECS["hard_voting"], {"k": 0, "smoothing": 1.0}, MULTICLASS, oof, y)
    graphed = Graphed(fusion, *oof.shape[::2])
    rng = np.random.default_rng(3)
    for _ in range(5):
        shaken = oof + rng.choice([-1, 0, 1], size=oof.shape) * np.spacing(oof)
        np.testing.assert_allclose(graphed.combine(shaken), fusion.combine(oof), atol=1e-15)
        np.testing.assert_array_equal(fusion.combine(shaken), fusion.combine(oof))
    # All vote for the first of equal classes, as NumPy's argmax does.
    assert (fusion.combine(oof)[:50].argmax(axis=1) == 0).all()


# ------------------------------------------------------------------ ranks


def curve_session(curves, n_features):
    builder = GraphBuilder(["X"])
    result = curves_to_onnx(builder, Tensor("X"), n_features, curves)
    return session_of(builder.model({"X": ("double", n_features)}, {"Y": (result, "double")}))


def beside(points):
    """Return points, numbers a bit beside them, between them and beyond the ends."""
    numbers = [points, np.nextafter(points, -np.inf), np.nextafter(points, np.inf)]
    ends = [points[0] - 1, points[-1] + 1, -np.inf, np.inf, -1e300, 1e300]
    return np.concatenate([*numbers, (points[1:] + points[:-1]) / 2, ends])


@given(st.integers(0, 10_000), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_a_curve_is_numpys(seed, n_points):
    rng = np.random.default_rng(seed)
    points = np.unique(np.round(rng.normal(size=n_points), rng.integers(1, 6)))
    levels = rng.normal(size=len(points))
    x = beside(points)
    x = x[np.isfinite(x)]
    curve = Curve(feature=0, points=points, levels=levels)
    got = curve_session([curve], 1).run(None, {"X": x[:, None]})[0][:, 0]
    np.testing.assert_allclose(got, np.interp(x, points, levels), rtol=0, atol=1e-12)


def test_curves_of_several_features_are_added():
    rng = np.random.default_rng(0)
    X = rng.uniform(-0.2, 1.2, size=(500, 4))
    curves = [
        Curve(feature=f, points=np.unique(rng.random(n)), levels=rng.random(n), weight=w)
        for f, n, w in [(1, 1001, 0.7), (3, 2, -2.0), (0, 1, 1.0)]
    ]
    expected = sum(c.weight * np.interp(X[:, c.feature], c.points, c.levels) for c in curves)
    got = curve_session(curves, 4).run(None, {"X": X})[0]
    np.testing.assert_allclose(got[:, 0], expected, rtol=0, atol=1e-12)


def test_ranks_of_values_on_the_points_and_beyond():
    oof, y = members_of(BINARY, n_rows=2_000)
    oof[1] = np.round(oof[1], 1)  # many ties
    oof[2] = oof[2, :1]  # one value
    fusion = fitted(SPECS["rank_average"], {"k": 0}, BINARY, oof, y)
    graphed = Graphed(fusion, 5, 2)
    x = beside(np.quantile(oof[0, :, 1], np.linspace(0, 1, 301)))
    x = np.concatenate([x[(x >= 0) & (x <= 1)], np.linspace(0, 1, 101)])
    predictions = np.tile(np.column_stack([1 - x, x]), (5, 1, 1))
    got = graphed.combine(predictions)
    np.testing.assert_allclose(got, fusion.combine(predictions), rtol=0, atol=1e-12)
    assert got.min() >= 0
    assert got.max() <= 1


def test_members_that_hardly_vary_have_no_steep_curve():
    oof, y = members_of(BINARY, n_rows=500)
    second = 0.3 + 1e-15 * np.arange(500)
    oof[0] = np.column_stack([1 - second, second])
    fusion = fitted(SPECS["rank_average"], {"k": 0}, BINARY, oof, y)
    shaken = np.nextafter(oof, 1.0)
    got = Graphed(fusion, 5, 2).combine(shaken)
    np.testing.assert_allclose(got, fusion.combine(oof), rtol=0, atol=1e-9)


# ------------------------------------------------------------------ stacking


@pytest.mark.parametrize("task", [MULTICLASS, REGRESSION])
def test_stacking_where_no_member_counts(task):
    oof, _y = members_of(task)
    fusion = fitted(SPECS["stacking"], {"l2": 0.01, "nonnegative": True}, task)
    fusion._coefficients = np.zeros(5)
    graphed = Graphed(fusion, *oof.shape[::2])
    np.testing.assert_allclose(graphed.combine(oof), fusion.combine(oof), rtol=1e-12)


def test_stacking_of_certain_members():
    oof, y = members_of(MULTICLASS)
    oof[0] = np.eye(4)[y]
    fusion = fitted(SPECS["stacking"], {"l2": 0.1, "nonnegative": False}, MULTICLASS, oof, y)
    graphed = Graphed(fusion, 5, 4)
    np.testing.assert_allclose(graphed.combine(oof), fusion.combine(oof), rtol=0, atol=1e-12)
