"""Tests of networks that are joined: trained on together behind a gate, or under one head."""

from __future__ import annotations

import pickle
import subprocess
import sys
import types
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import automl_fuse
import automl_fuse_torch
from automl_fuse import Settings, hookimpl
from automl_fuse.errors import PluginError
from automl_fuse.specs import (
    ALL_TASKS,
    Block,
    FitContext,
    FusionContext,
    FusionSpec,
    Joint,
    Kind,
    Matrix,
    Part,
    Rows,
    Task,
    Teacher,
    Tensor,
)
from automl_fuse.testing import TickingDeadline

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from automl_fuse.testing._exported import Exported  # noqa: E402 - nothing else needs it above
from automl_fuse_torch import frozen_branches, head, joint_networks  # noqa: E402
from automl_fuse_torch.batching import Noise, NoNoise  # noqa: E402
from automl_fuse_torch.devices import Device  # noqa: E402
from automl_fuse_torch.frozen_branches import FitHead  # noqa: E402
from automl_fuse_torch.joining import Networks  # noqa: E402
from automl_fuse_torch.joint_networks import TrainTogether  # noqa: E402
from automl_fuse_torch.losses import Loss, training_loss  # noqa: E402
from automl_fuse_torch.mixture import Mixture  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from automl_fuse.specs import Array

SPECS = {spec.name: spec for spec in automl_fuse_torch.automl_fuse_learners()}
SMALL: dict[str, Any] = {"width": 8, "depth": 1, "epochs": 6, "augmentation": 0.5}
N_STEPS, SIDE = 8, 5
N_SERIES = 2 * N_STEPS + 1
JOINS = {
    "joint_networks": TrainTogether(epochs=2, rate=0.1),
    "frozen_branches": FitHead(copies=1),
}


class Far:
    """A deadline that never comes."""

    def remaining(self) -> float:
        return 1e9

    def expired(self) -> bool:
        return False


class Passed(Far):
    """A deadline that has passed."""

    def remaining(self) -> float:
        return -1.0

    def expired(self) -> bool:
        return True


def make_rows(n_rows: int, seed: int, task: Task = Task.MULTICLASS) -> Rows:
    """Return rows of a series and an image: each tells one of two things, the class is both."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(2, size=(2, n_rows))
    wave = np.where(np.arange(N_STEPS) % 2, 1.0, -1.0)
    series = rng.normal(size=(n_rows, N_STEPS, 2))
    series += (2.0 * first - 1.0)[:, None, None] * wave[None, :, None]
    used = np.full((n_rows, 1), float(N_STEPS))
    images = rng.normal(size=(n_rows, 1, SIDE, SIDE))
    images[:, 0, :, :2] += 2.0 * second[:, None, None]
    blocks = [
        Block(column="s", kind=Kind.SEQUENCE, start=0, shape=(N_STEPS, 2), length=N_SERIES - 1),
        Block(column="i", kind=Kind.IMAGE, start=N_SERIES, shape=(1, SIDE, SIDE)),
    ]
    values = np.hstack([series.reshape(n_rows, -1), used, images.reshape(n_rows, -1)])
    names = [f"x{i}" for i in range(values.shape[1])]
    y: Array = first + 2 * second if task is Task.MULTICLASS else first + second - 1.0
    return Rows(X=Matrix.numbers(values, names, blocks), y=y)


SERIES = np.arange(N_SERIES)
IMAGE = np.arange(N_SERIES, N_SERIES + SIDE * SIDE)


def some(X: Matrix, columns: Array) -> Matrix:
    """Return some features, with their blocks."""
    first, last = int(columns[0]), int(columns[-1])
    blocks = tuple(b.moved(-first) for b in X.blocks if first <= b.start <= last)
    names = tuple(X.names[i] for i in columns)
    return Matrix.numbers(X.values[:, columns], names, blocks)


def context(task: Task = Task.MULTICLASS, **changes: Any) -> FitContext:
    known: dict[str, Any] = {
        "task": task,
        "n_classes": 4 if task is Task.MULTICLASS else 1,
        "seed": 0,
        "n_threads": 1,
        "deadline": Far(),
    }
    return FitContext(**{**known, **changes})


def fitted(name: str, rows: Rows, columns: Array, **changes: Any) -> Part:
    """Return a network that was fitted to some features of rows."""
    task = Task.REGRESSION if rows.y.dtype.kind == "f" else Task.MULTICLASS
    params = {**SPECS[name].portfolio[0].params, **SMALL, **changes}
    learner = SPECS[name].build(params, context(task))
    learner.fit(replace(rows, X=some(rows.X, columns)), None)
    return Part(learner=learner, columns=columns)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return make_rows(160, 0)


@pytest.fixture(scope="module")
def parts(rows: Rows) -> list[Part]:
    """A network of the series, and one of the image: neither can tell all classes."""
    return [
        fitted("sequence_rnn", rows, SERIES, epochs=12, learning_rate=1e-2),
        fitted("image_cnn", rows, IMAGE, epochs=12),
    ]


def predictions(parts: list[Part], X: Matrix) -> Array:
    return np.stack([part.learner.predict(some(X, part.columns)) for part in parts])


def log_loss(predicted: Array, rows: Rows) -> float:
    return float(-np.log(predicted[np.arange(len(rows.y)), rows.y]).mean())


# --------------------------------------------------------------------------- what they are worth


def test_the_gate_starts_as_the_equal_mean(parts: list[Part], rows: Rows) -> None:
    joint = TrainTogether(epochs=2, rate=0.1)(parts, rows, context(deadline=Passed()))
    test = make_rows(30, 5).X
    np.testing.assert_allclose(
        joint.predict(test), predictions(parts, test).mean(axis=0), atol=1e-6
    )


def test_the_head_starts_as_the_mean_of_the_heads(parts: list[Part], rows: Rows) -> None:
    joint = FitHead(copies=1)(parts, rows, context(deadline=Passed()))
    test = make_rows(30, 5).X
    mean = np.log(predictions(parts, test)).mean(axis=0)
    expected = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(joint.predict(test), expected, atol=1e-5)


@pytest.mark.parametrize("name", JOINS)
def test_networks_of_unlike_columns_tell_more_together(
    name: str, parts: list[Part], rows: Rows
) -> None:
    test = make_rows(300, 1)
    each = predictions(parts, test.X)
    alone = [log_loss(one, test) for one in each]
    join = replace(JOINS[name], epochs=6) if name == "joint_networks" else JOINS[name]
    together = log_loss(join(parts, rows, context()).predict(test.X), test)
    assert together < log_loss(each.mean(axis=0), test)
    # A mixture cannot multiply what two networks know, a head on both can.
    assert name == "joint_networks" or together < 0.8 * min(alone)


@pytest.mark.parametrize("name", JOINS)
def test_what_is_given_stays_as_it_was(name: str, parts: list[Part], rows: Rows) -> None:
    test = make_rows(30, 5).X
    before = pickle.dumps([part.learner for part in parts]), predictions(parts, test)
    join = pickle.loads(pickle.dumps(JOINS[name]))
    first = join(parts, rows, context()).predict(test)
    assert pickle.dumps([part.learner for part in parts]) == before[0]
    np.testing.assert_array_equal(predictions(parts, test), before[1])
    again = join(parts, rows, context()).predict(test)
    np.testing.assert_allclose(again, first, atol=1e-9)


@pytest.mark.parametrize("name", JOINS)
def test_a_far_part_of_the_time_is_not_taken(name: str, parts: list[Part], rows: Rows) -> None:
    slow = {"joint_networks": TrainTogether(epochs=10**6, rate=0.1), "frozen_branches": FitHead(
        copies=10**6
    )}[name]  # fmt: skip
    deadline = TickingDeadline(seconds=40.0)
    joint = slow(parts, rows, context(deadline=deadline))
    assert deadline.seconds > -20.0
    assert np.isfinite(joint.predict(rows.X)).all()


@pytest.mark.parametrize("name", JOINS)
def test_values_are_joined_too(name: str) -> None:
    rows, test = make_rows(160, 0, Task.REGRESSION), make_rows(200, 1, Task.REGRESSION)
    parts = [
        fitted("sequence_rnn", rows, SERIES, epochs=12, learning_rate=1e-2),
        fitted("image_cnn", rows, IMAGE, epochs=12),
    ]
    weighted = replace(rows, weight=np.linspace(0.5, 1.5, len(rows.y)))
    joint = JOINS[name](parts, weighted, context(Task.REGRESSION)).predict(test.X)
    assert joint.shape == (200, 1)
    each = predictions(parts, test.X)
    errors = [float(np.square(one[:, 0] - test.y).mean()) for one in (*each, joint)]
    assert errors[-1] < min(errors[:-1])


# --------------------------------------------------------------------------- what they are made of


def test_the_loss_is_that_of_the_mixture_and_of_each_network(parts: list[Part], rows: Rows) -> None:
    networks = Networks.of(parts)
    mixture = Mixture(parts=networks.shapes, is_classification=True)
    device = Device("cpu")
    weights = {
        n: device.tensor(np.asarray(w, np.float32)[None])
        for n, w in mixture.start(networks.weights).items()
    }
    tables = networks.inputs.tables(rows.X.values[:20])
    batch = {name: device.tensor(table[None]) for name, table in tables.items()}
    mixed = mixture.forward(weights, batch, NoNoise())
    assert mixed.shape == (1, 20, 1, 4)
    each = predictions(parts, replace(rows.X, values=rows.X.values[:20]))
    np.testing.assert_allclose(mixed[0, :, 0].exp(), each.mean(axis=0), atol=1e-5)
    scores = mixture.forward(weights, batch, Noise([0.0], [0], device))
    assert scores.shape == (1, 20, 3, 4)
    goal = torch.eye(4)[torch.as_tensor(rows.y[:20])][None]
    smoothing = torch.zeros(1, 1, 1)
    loss = training_loss(Loss.CROSS_ENTROPY, scores, goal, smoothing)
    heads = [
        training_loss(Loss.CROSS_ENTROPY, scores[:, :, [i]], goal, smoothing) for i in range(3)
    ]
    torch.testing.assert_close(3.0 * loss, sum(heads))


def test_the_gate_prefers_the_network_that_knows() -> None:
    rows, test = make_rows(200, 0), make_rows(100, 1)
    # Of the series alone: the class is what the series tells, the image is noise.
    y = rows.y % 2
    two = replace(rows, y=y)
    told = context(Task.BINARY, n_classes=2)
    parts = []
    for name, columns in (("sequence_rnn", SERIES), ("image_cnn", IMAGE)):
        params = {**SPECS[name].portfolio[0].params, **SMALL, "epochs": 12, "dropout": 0.0}
        learner = SPECS[name].build(params, told)
        learner.fit(replace(two, X=some(rows.X, columns)), None)
        parts.append(Part(learner=learner, columns=columns))
    joint = TrainTogether(epochs=10, rate=0.3)(parts, two, told).predict(test.X)
    series, image = predictions(parts, test.X)
    target = replace(test, y=test.y % 2)
    assert log_loss(joint, target) < log_loss(0.5 * (series + image), target)


def test_equal_tables_are_held_once(rows: Rows) -> None:
    pair = [fitted("sequence_rnn", rows, SERIES, epochs=1, width=width) for width in (8, 16)]
    tables = Networks.of(pair).inputs.tables(rows.X.values)
    assert set(tables) == {
        f"part{p}.{name}" for p in range(2) for name in ("block0", "block0.steps")
    }
    assert tables["part0.block0"] is tables["part1.block0"]


def test_a_penalty_without_worth_leaves_the_head_alone() -> None:
    rng = np.random.default_rng(0)
    features, goal = rng.normal(size=(60, 3)), np.eye(2)[rng.integers(2, size=60)]
    lesson = head.Lesson(
        features=features,
        start=np.zeros((60, 2)),
        goal=goal,
        weight=np.ones(60),
        source=np.arange(60),
        is_classification=True,
    )
    noise = head.moved(lesson, 0, Far())
    assert np.abs(noise[0]).max() < 0.2
    told = replace(lesson, goal=np.eye(2)[(features[:, 0] > 0).astype(int)])
    weight, _ = head.moved(told, 0, Far())
    assert weight[0, 1] - weight[0, 0] > 2.0
    for few in (replace(lesson, source=np.zeros(60, dtype=int)), told):
        deadline = Passed() if few is told else Far()
        assert not np.any(head.moved(few, 0, deadline)[0])


def test_a_ridge_towards_a_head_is_that_of_its_residuals() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3)) * [1.0, 5.0, 0.2] + 2.0
    start = rng.normal(size=(200, 1))
    goal = start + features @ np.array([[1.0], [0.0], [-2.0]]) - 3.0
    lesson = head.Lesson(
        features=features,
        start=start,
        goal=goal,
        weight=np.ones(200),
        source=np.arange(200),
        is_classification=False,
    )
    weight, bias = head.moved(lesson, 0, Far())
    np.testing.assert_allclose(weight[:, 0], [1.0, 0.0, -2.0], atol=0.02)
    np.testing.assert_allclose(features @ weight + bias, goal - start, atol=0.05)


# --------------------------------------------------------------------------- graphs


@pytest.mark.parametrize("name", JOINS)
def test_a_joint_model_predicts_as_its_graph_does(
    name: str, parts: list[Part], rows: Rows, tmp_path: Path
) -> None:
    learner: Any = JOINS[name](parts, rows, context())
    test = make_rows(40, 7).X
    expected = learner.predict(test)
    assert expected.sum(axis=1) == pytest.approx(1.0)
    width = test.values.shape[1]
    graph = Exported({"X": ("double", width)}, lambda g: learner.to_onnx(g, Tensor("X")))
    np.testing.assert_allclose(graph.run({"X": test.values}), expected, atol=1e-6)
    np.testing.assert_allclose(graph.run({"X": test.values[3:4]}), expected[3:4], atol=1e-6)
    path = tmp_path / "learner.pkl"
    path.write_bytes(pickle.dumps((learner, test, expected)))
    code = (
        "import pickle, sys, numpy as np; sys.modules['torch'] = None\n"
        f"learner, X, expected = pickle.load(open({str(path)!r}, 'rb'))\n"
        "np.testing.assert_allclose(learner.predict(X), expected, atol=1e-12)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# --------------------------------------------------------------------------- proposals


def teacher_of(learners: tuple[str, ...], **changes: Any) -> Teacher:
    y = np.arange(20) % 2
    n = len(learners)
    known: dict[str, Any] = {
        "oof": np.repeat(np.eye(2)[y][None] * 0.8 + 0.1, n, axis=0),
        "y": y,
        "weight": None,
        "shares": np.arange(n, 0, -1) / np.arange(n, 0, -1).sum(),
        "bytes": np.full(n, 1e5),
        "seconds": np.full(n, 1e-4),
        "names": tuple(f"{learner}-{i}" for i, learner in enumerate(learners)),
        "learners": learners,
        "terms": ("",) * n,
    }
    return Teacher(**{**known, **changes})


def propose(spec: Any, teacher: Teacher, **changes: Any) -> list[Joint]:
    told = FusionContext(task=Task.BINARY, n_classes=2, loss=lambda *_: 0.0, seed=0, deadline=Far())
    return list(spec.build({**spec.portfolio[0].params, **changes}, told).propose(teacher))


@pytest.mark.parametrize(
    "spec", [joint_networks.SPEC, frozen_branches.SPEC], ids=lambda spec: spec.name
)
def test_only_networks_with_branches_and_equal_terms_are_joined(spec: Any) -> None:
    audio = ("audio_cnn", "lightgbm", "audio_cnn", "audio_lstm", "realmlp")
    (unlike,) = propose(spec, teacher_of(audio))
    assert unlike.members == (0, 3)
    assert "audio_cnn-0+audio_lstm-3" in unlike.name
    (heaviest,) = propose(spec, teacher_of(audio), choice="heaviest")
    assert heaviest.members == (0, 2)
    (three,) = propose(spec, teacher_of(audio), count=3)
    assert three.members == (0, 3, 2)
    assert propose(spec, teacher_of(("lightgbm", "realmlp", "audio_cnn"))) == []
    assert propose(spec, teacher_of(audio, terms=("log", "", "", "", ""))) == []
    assert propose(spec, teacher_of(audio, terms=())) == []
    unused = np.array([0.5, 0.5, 0.0, 0.0, 0.0])
    assert propose(spec, teacher_of(audio, shares=unused)) == []


@pytest.mark.parametrize("name", JOINS)
def test_what_cannot_be_joined_says_why(name: str, parts: list[Part], rows: Rows) -> None:
    with pytest.raises(PluginError, match="no network of automl_fuse_torch with branches"):
        JOINS[name]([parts[0], Part(learner=object(), columns=IMAGE)], rows, context())  # type: ignore[arg-type]
    small: Any = parts[0].learner
    halved = Part(learner=small.halved(), columns=SERIES)
    with pytest.raises(PluginError, match="made smaller"):
        JOINS[name]([halved, parts[1]], rows, context())
    with pytest.raises(PluginError, match="only predicts"):
        JOINS[name](parts, rows, context(deadline=Passed())).fit(rows, None)


# --------------------------------------------------------------------------- whole runs


class Everyone:
    """A fusion of all members alike: which ones are joined must not hang on chance."""

    def __init__(self, *_: Any) -> None:
        self.weights = np.ones(0)

    def fit(self, oof: Array, *_: Any) -> None:
        self.weights = np.full(len(oof), 1.0 / len(oof))

    def combine(self, predictions: Array) -> Array:
        mean: Array = predictions.mean(axis=0)
        return mean

    def to_onnx(self, graph: Any, tensors: Any) -> Any:
        return graph.weighted_sum(list(tensors), self.weights.tolist())


@pytest.fixture
def everyone(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("everyone_plugin")

    @hookimpl
    def automl_fuse_fusions() -> list[FusionSpec]:
        return [FusionSpec(name="everyone", api_version=1, tasks=ALL_TASKS, build=Everyone)]

    module.automl_fuse_fusions = automl_fuse_fusions  # type: ignore[attr-defined]
    Everyone.__module__ = "everyone_plugin"
    module.Everyone = Everyone  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "everyone_plugin", module)
    return "everyone_plugin"


@pytest.mark.timeout(280)
def test_networks_of_a_run_are_joined_and_become_one_file(everyone: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(2, size=(2, 160))
    left = np.arange(6) < 3
    frame = pd.DataFrame(
        {
            "series": [0.5 * rng.normal(size=10) + k for k in first],
            "image": [(100 * rng.random((6, 6)) + 90 * k * left).astype(np.uint8) for k in second],
            "y": np.array(["a", "b", "c", "d"])[first + 2 * second],
        }
    )
    settings = Settings(
        learners=("sequence_rnn", "image_cnn"),
        compressors=("joint_networks", "frozen_branches"),
        kinds={"series": "sequence", "image": "image"},
        plugins=(everyone,),
        fusions=("everyone",),
        folds=2,
        max_trials=2,
        workers=1,
        executor="inline",
    )
    model = automl_fuse.fit(frame, target="y", time_limit=120, settings=settings)
    told = model.report["compression"]
    assert told["failures"] == []
    for name in ("joint_networks", "frozen_branches"):
        assert any(made.startswith(name) for made in told["made"]), told["made"]
    shown = [n for n in model.front().pipeline if n.startswith(("joint_networks", "frozen"))]
    assert shown, model.front()
    for name in shown:
        pipeline = model.named(name)
        path = tmp_path / "model.onnx"
        pipeline.save(path)
        loaded = automl_fuse.load(path)
        assert loaded.manifest.content["precision"] == "single"
        expected = pipeline.predict_proba(frame)
        np.testing.assert_allclose(loaded.predict_proba(frame), expected, atol=1e-5)
        one = frame.iloc[3:4]
        np.testing.assert_allclose(loaded.predict_proba(one), expected[3:4], atol=1e-5)
