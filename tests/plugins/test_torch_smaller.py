"""Tests of what makes networks smaller."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import automl_fuse
import automl_fuse_torch
from automl_fuse import Settings
from automl_fuse.errors import PluginError
from automl_fuse.specs import FitContext, FusionContext, Matrix, Rows, Task, Teacher
from automl_fuse.testing import TickingDeadline
from automl_fuse_torch import halve, narrow, shrink

pytest.importorskip("torch", reason="the extra 'torch' is not installed")

SMALL: dict[str, dict[str, Any]] = {
    "realmlp": {"width": 32, "depth": 2, "epochs": 20},
    "tabm": {"width": 32, "heads": 4, "epochs": 10},
    "ft_transformer": {"width": 16, "epochs": 6},
}
SPECS = {s.name: s for s in automl_fuse_torch.automl_fuse_learners() if s.name in SMALL}


def make_rows(n_rows: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    values = np.column_stack([rng.normal(size=(n_rows, 3)), rng.integers(12, size=n_rows)])
    y = (values[:, 0] + values[:, 1] > 0.1 * values[:, 3] - 0.5).astype(np.int64)
    X = Matrix(values=values, names=("a", "b", "c", "d"), cardinalities=(0, 0, 0, 12))
    return Rows(X=X, y=y)


def fitted(name: str, rows: Rows) -> Any:
    context = FitContext(
        task=Task.BINARY, n_classes=2, seed=0, n_threads=1, deadline=TickingDeadline(seconds=1e6)
    )
    learner = SPECS[name].build({**SPECS[name].portfolio[0].params, **SMALL[name]}, context)
    learner.fit(rows, None)
    return learner


def teacher_of(learners: tuple[str, ...], **changes: Any) -> Teacher:
    y = np.arange(20) % 2
    oof = np.repeat(np.eye(2)[y][None] * 0.8 + 0.1, len(learners), axis=0)
    known = {
        "oof": oof,
        "y": y,
        "weight": None,
        "shares": np.full(len(learners), 1 / len(learners)),
        "bytes": np.full(len(learners), 1e5),
        "seconds": np.full(len(learners), 1e-4),
        "names": tuple(f"{learner}-{i}" for i, learner in enumerate(learners)),
        "learners": learners,
        "students": ("realmlp", "tabm", "linear"),
    }
    return Teacher(**{**known, **changes})


def propose(spec: Any, params: Any, teacher: Teacher, task: Task = Task.BINARY) -> Any:
    context = FusionContext(
        task=task,
        n_classes=2,
        loss=lambda y, prediction, weight: 0.0,
        seed=0,
        deadline=TickingDeadline(seconds=1e6),
    )
    return spec.build(params, context).propose(teacher)


@pytest.mark.parametrize("name", SPECS)
def test_half_of_the_bytes_predict_nearly_the_same(name: str) -> None:
    rows, test = make_rows(200, 0), make_rows(80, 1)
    learner = fitted(name, rows)
    half = halve.ToHalves()(learner, rows)
    before, after = learner.predict(test.X), half.predict(test.X)
    off = np.abs(before - after).max()
    assert 0.0 < off < 0.02
    assert len(pickle.dumps(half)) < 0.75 * len(pickle.dumps(learner))
    whole = half.decompress()
    np.testing.assert_allclose(whole.predict(test.X), after, atol=1e-12)
    np.testing.assert_array_equal(learner.decompress().predict(test.X), before)
    np.testing.assert_array_equal(learner.predict(test.X), before)


def test_what_cannot_be_halved_says_why() -> None:
    rows = make_rows(60, 0)
    learner = fitted("realmlp", rows)
    learner.model._arrays["0.weight"][0, 0] = 1e6
    with pytest.raises(PluginError, match=r"0\.weight holds numbers that are too large"):
        halve.ToHalves()(learner, rows)
    with pytest.raises(PluginError, match="no network of automl_fuse_torch"):
        halve.ToHalves()(object(), rows)  # type: ignore[arg-type]
    same = Rows(X=Matrix.numbers(np.ones((20, 1)), ["x"]), y=np.arange(20) % 2)
    with pytest.raises(PluginError, match="a constant has no weights"):
        halve.ToHalves()(fitted("realmlp", same), same)


def test_networks_are_halved_by_their_share() -> None:
    teacher = teacher_of(("linear", "tabm", "realmlp"), shares=np.array([0.5, 0.1, 0.4]))
    edits = [propose(halve.SPEC, {"rank": rank}, teacher) for rank in range(3)]
    assert [[edit.member for edit in found] for found in edits] == [[2], [1], []]


# --------------------------------------------------------------------------- pruning

NARROWABLE = ("realmlp", "tabm")


def loss(learner: Any, rows: Rows) -> float:
    predictions = learner.predict(rows.X)[np.arange(len(rows.y)), rows.y]
    return float(-np.log(np.maximum(predictions, 1e-9)).mean())


@pytest.mark.parametrize("name", NARROWABLE)
def test_neurons_that_do_nothing_can_be_left_out(name: str) -> None:
    learner = fitted(name, make_rows(200, 0))
    network, weights = learner.model.network, dict(learner.model.weights)
    idle = np.arange(network.width) % 2 == 1
    for parameter, axes in network.neurons().items():
        values = weights[parameter].copy()
        for axis in axes:
            np.moveaxis(values, axis, 0)[idle] = 0.0
        weights[parameter] = values
    smaller, kept = narrow.narrowed(network, weights, 0.5)
    assert smaller.width == network.width // 2
    assert {n: v.shape for n, v in kept.items()} == {
        n: p.shape for n, p in smaller.parameters().items()
    }
    X = make_rows(40, 1).X
    model = learner.model
    cut = [
        type(model)(model.inputs, net, net.finished(w), True, 0, w).predict(X.values)
        for net, w in ((network, weights), (smaller, kept))
    ]
    np.testing.assert_allclose(cut[0], cut[1], atol=1e-6)


@pytest.mark.parametrize("name", NARROWABLE)
def test_a_narrow_network_is_trained_on(name: str) -> None:
    rows, test = make_rows(300, 0), make_rows(200, 1)
    learner = fitted(name, rows)
    before = learner.predict(test.X)
    pruned = learner._with(learner.model.narrowed(0.25))
    tuned = narrow.Narrow(0.25)(learner, rows)
    assert tuned.model.network.width == 8
    assert loss(tuned, test) < loss(pruned, test)
    assert loss(tuned, test) < 0.6
    again = pickle.loads(pickle.dumps(learner))
    np.testing.assert_array_equal(
        narrow.Narrow(0.25)(again, rows).predict(test.X), tuned.predict(test.X)
    )
    np.testing.assert_array_equal(learner.predict(test.X), before)


def test_what_has_no_neurons_says_so() -> None:
    rows = make_rows(60, 0)
    for learner, message in (
        (fitted("ft_transformer", rows), "neurons of FTTransformer"),
        (fitted("tabm", rows).halved(), "made smaller already"),
        (object(), "no network of automl_fuse_torch"),
    ):
        with pytest.raises(PluginError, match=message):
            narrow.Narrow(0.5)(learner, rows)


# --------------------------------------------------------------------------- students


@pytest.mark.parametrize("point", [each.params for each in shrink.SPEC.portfolio])
def test_students_are_points_of_their_learners_spaces(point: Any) -> None:
    (student,) = propose(shrink.SPEC, point, teacher_of(("tabm",)))
    names = set(SPECS[student.learner].portfolio[0].params)
    assert set(student.params) == names
    assert student.params["width"] == point["width"]
    assert student.copies == point["copies"]


def test_only_networks_have_smaller_networks_as_students() -> None:
    point = shrink.SPEC.portfolio[0].params
    assert not propose(shrink.SPEC, point, teacher_of(("linear", "lightgbm")))
    assert not propose(shrink.SPEC, point, teacher_of(("tabm",), students=("linear",)))
    unused = teacher_of(("tabm", "linear"), shares=np.array([0.0, 1.0]))
    assert not propose(shrink.SPEC, point, unused)
    softer = {**point, "temperature": 3.0}
    (student,) = propose(shrink.SPEC, softer, teacher_of(("tabm",)), Task.REGRESSION)
    assert student.temperature == 1.0


def test_networks_of_a_run_are_made_smaller() -> None:
    rows = make_rows(150, 0)
    data = {name: rows.X.values[:, i] for i, name in enumerate(rows.X.names)}
    settings = Settings(
        learners=("realmlp",),
        compressors=("shrink_network", "halve_network", "narrow_network"),
        executor="inline",
        progress=False,
        max_trials=1,
        folds=3,
        fusions=("average",),
    )
    model = automl_fuse.fit(data, rows.y, time_limit=25, settings=settings)
    told = model.report["compression"]
    assert not told["failures"]
    made = " ".join(told["made"])
    assert "shrink_network-realmlp_1x32" in made
    assert "halve_network-realmlp-0_half" in made
    assert "narrow_network-realmlp-0_narrow0.5" in made
