"""Tests of light networks that the fused pipeline teaches, or the network that they replace."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from networks import SPECS, propose_by, stage, teacher_of

import automl_fuse
from automl_fuse import Settings
from automl_fuse.errors import PluginError
from automl_fuse.specs import (
    Block,
    Edit,
    FitContext,
    FusionContext,
    Kind,
    Matrix,
    Rows,
    Student,
    Task,
    Teacher,
)
from automl_fuse.testing import TickingDeadline
from automl_fuse_torch import imitate, light
from automl_fuse_torch.imitate import Lesson
from automl_fuse_torch.media import light_params

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("torch", reason="the extra 'torch' is not installed")


def propose(point: Any, teacher: Teacher, task: Task = Task.BINARY) -> tuple[Student, ...]:
    return propose_by(light.SPEC, point, teacher, stage(task))


POINT = light.SPEC.portfolio[0].params


def slope_table(n_rows: int, seed: int = 0) -> pd.DataFrame:
    """Return series of which one class rises, and the other falls."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n_rows)
    series = []
    for label in y:
        steps = np.linspace(-1.0, 1.0, rng.integers(8, 12))
        series.append(0.3 * rng.normal(size=len(steps)) + (2 * label - 1) * steps)
    return pd.DataFrame({"series": series, "y": y})


# --------------------------------------------------------------------------- what is proposed


@pytest.mark.parametrize(
    ("learner", "pupil"),
    [
        ("audio_lstm", "audio_cnn"),
        ("sequence_rnn", "sequence_cnn"),
        ("sequence_transformer", "sequence_cnn"),
        ("text_transformer", "text_rnn"),
        ("image_cnn", "image_cnn"),
        ("multimodal", "multimodal"),
    ],
)
def test_a_student_is_a_light_network_of_the_same_columns(learner: str, pupil: str) -> None:
    (student,) = propose(POINT | {"narrower": 2}, teacher_of((learner, "linear")))
    usual = SPECS[pupil].portfolio[0].params
    assert student.learner == pupil
    assert set(student.params) == set(usual)
    assert student.params["width"] == usual["width"] // 2
    assert student.params.get("separable", True)
    assert student.params["epochs"] == POINT["patience"] * usual["epochs"]
    assert student.params["weight_decay"] == POINT["weight_decay"]
    assert (student.alpha, student.temperature) == (POINT["alpha"], POINT["temperature"])
    fit = FitContext(
        task=Task.BINARY, n_classes=2, seed=0, n_threads=1, deadline=TickingDeadline(seconds=1e6)
    )
    assert SPECS[pupil].build(student.params, fit) is not None


def test_a_student_is_of_the_kind_whose_networks_have_the_largest_share() -> None:
    learners = ("text_rnn", "sequence_rnn", "sequence_transformer", "lightgbm")
    for shares, pupil in (
        ([0.3, 0.2, 0.2, 0.3], "sequence_cnn"),
        ([0.4, 0.2, 0.1, 0.3], "text_rnn"),
        ([0.0, 0.0, 0.1, 0.9], "sequence_cnn"),
    ):
        (student,) = propose(POINT, teacher_of(learners, shares=np.array(shares)))
        assert student.learner == pupil


def test_without_a_network_that_is_used_nobody_is_taught() -> None:
    assert not propose(POINT, teacher_of(("lightgbm", "realmlp")))
    assert not propose(POINT, teacher_of(("audio_lstm",), students=("audio_lstm",)))
    unused = teacher_of(("audio_lstm", "linear"), shares=np.array([0.0, 1.0]))
    assert not propose(POINT, unused)


def test_values_have_no_temperature() -> None:
    (student,) = propose(POINT, teacher_of(("audio_lstm",)), Task.REGRESSION)
    assert student.temperature == 1.0


# --------------------------------------------------------------------------- imitation

IMITATION = imitate.SPEC.portfolio[0].params


def edits(point: Any, teacher: Teacher, told: FusionContext) -> tuple[Edit, ...]:
    return propose_by(imitate.SPEC, point, teacher, told)


def test_networks_with_branches_are_imitated_by_their_share() -> None:
    learners = ("audio_lstm", "realmlp", "sequence_rnn")
    teacher = teacher_of(learners, shares=np.array([0.2, 0.5, 0.3]))
    found = [edits(IMITATION | {"rank": rank}, teacher, stage()) for rank in range(3)]
    assert [[edit.member for edit in each] for each in found] == [[2], [0], []]
    assert found[1][0].name.startswith("audio_lstm-0_audio_cnn_3x8")
    lesson: Any = found[0][0].edit
    assert lesson.learner == "sequence_cnn"
    assert pickle.loads(pickle.dumps(lesson)) == lesson


def test_an_imitation_takes_no_longer_than_there_is_time() -> None:
    teacher = teacher_of(("audio_lstm",))
    (edit,) = edits(IMITATION, teacher, replace(stage(), deadline=TickingDeadline(seconds=60)))
    lesson: Any = edit.edit
    assert 0.0 < lesson.seconds < 10.0
    over = replace(stage(), deadline=TickingDeadline(seconds=0))
    assert not edits(IMITATION, teacher, over)


def series_rows(n_rows: int, seed: int, task: Task = Task.BINARY) -> Rows:
    """Return series of nine steps that rise or fall, by their class or value."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n_rows) if task.is_classification else rng.normal(size=n_rows)
    size = 2.0 * y - 1.0 if task.is_classification else y
    steps = size[:, None] * np.linspace(-1.0, 1.0, 9) + 0.4 * rng.normal(size=(n_rows, 9))
    used = rng.integers(6, 10, size=n_rows)
    steps *= np.arange(9) < used[:, None]
    block = Block(column="x", kind=Kind.SEQUENCE, start=0, shape=(9, 1), length=9)
    names = [*(f"x{i}" for i in range(9)), "steps"]
    return Rows(X=Matrix.numbers(np.column_stack([steps, used]), names, [block]), y=y)


def recurrent(rows: Rows, task: Task = Task.BINARY, **changes: Any) -> Any:
    """Return a fitted GRU."""
    fit = FitContext(
        task=task,
        n_classes=2 if task.is_classification else 1,
        seed=0,
        n_threads=1,
        deadline=TickingDeadline(seconds=1e6),
    )
    usual = SPECS["sequence_rnn"].portfolio[0].params
    params = {**usual, "width": 16, "epochs": 20, "learning_rate": 1e-2, **changes}
    learner = SPECS["sequence_rnn"].build(params, fit)
    learner.fit(rows, None)
    return learner


def lesson_of(epochs: int = 20, augmentation: float = 1.0, **changes: Any) -> Lesson:
    params = light_params("sequence_cnn", narrower=4, depth=1, weight_decay=0.01, patience=1)
    params |= {"epochs": epochs, "dropout": 0.0, "learning_rate": 1e-2}
    params |= {"augmentation": augmentation}
    return Lesson(**{"learner": "sequence_cnn", "params": params, **changes})


def off(one: Any, other: Any, rows: Rows) -> float:
    return float(np.abs(one.predict(rows.X) - other.predict(rows.X)).mean())


@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_a_student_follows_its_teacher_and_not_the_labels(task: Task) -> None:
    rows, test = series_rows(120, 0, task), series_rows(100, 1, task)
    teacher = recurrent(rows, task)
    before = teacher.predict(test.X)
    shuffled = replace(rows, y=np.random.default_rng(0).permutation(rows.y))
    taught, misled = (lesson_of(alpha=alpha)(teacher, shuffled) for alpha in (1.0, 0.0))
    assert off(taught, teacher, test) < 0.5 * off(misled, teacher, test)
    assert taught.model.network != teacher.model.network
    assert len(pickle.dumps(taught)) < 0.7 * len(pickle.dumps(teacher))
    np.testing.assert_array_equal(teacher.predict(test.X), before)


@pytest.mark.parametrize("changes", [{"temperature": 4.0}, {"hint": 1.0, "slope": 0.1}])
def test_an_imitation_is_repeated_exactly(changes: Any) -> None:
    rows = series_rows(100, 0)
    teacher, lesson = recurrent(rows), lesson_of(epochs=3, **changes)
    one, other = (lesson(each, rows) for each in (teacher, pickle.loads(pickle.dumps(teacher))))
    expected = one.predict(rows.X)
    np.testing.assert_array_equal(other.predict(rows.X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one)).predict(rows.X), expected)
    assert set(one.model.weights) == set(one.model.network.parameters())
    plain = lesson_of(epochs=3)(teacher, rows).predict(rows.X)
    assert np.abs(plain - expected).max() > 1e-4


def features_of(learner: Any, rows: Rows) -> Any:
    """Return what the head of a network reads, and the slopes of its first score."""
    import torch

    from automl_fuse_torch.batching import NoNoise
    from automl_fuse_torch.training import TrainingOperations

    model = learner.model
    tables = model.inputs.tables(rows.X.values)
    batch = {name: torch.as_tensor(table)[None] for name, table in tables.items()}
    weights = {name: torch.as_tensor(w)[None] for name, w in model.weights.items()}
    series = batch["block0"].requires_grad_()
    operations = TrainingOperations(weights, batch, NoNoise())
    features = model.network.features(operations)
    scores = model.network.read_out(operations, features)
    log = torch.log_softmax(scores, dim=-1)[0, :, 0].sum()
    (slopes,) = torch.autograd.grad(log, series)
    return features[0].detach().numpy(), slopes[0].flatten(1).numpy()


def test_a_hint_brings_hidden_features_closer() -> None:
    rows, test = series_rows(120, 0), series_rows(100, 1)
    teacher = recurrent(rows, epochs=10)
    goals = [features_of(teacher, each)[0] for each in (rows, test)]
    # Labels that tell nothing: what hidden features have in common comes of the hint.
    shuffled = replace(rows, y=np.random.default_rng(0).permutation(rows.y))
    left = {}
    for hint in (0.0, 1.0):
        lesson = lesson_of(epochs=40, augmentation=0.0, alpha=0.0, hint=hint)
        pupil = lesson(teacher, shuffled)
        read = [
            np.column_stack([features_of(pupil, each)[0], np.ones(len(each.y))])
            for each in (rows, test)
        ]
        # What the teacher's features are, as far as the student's tell it.
        told = read[1] @ np.linalg.lstsq(read[0], goals[0], rcond=None)[0]
        left[hint] = np.mean(np.square(told - goals[1]) / goals[0].var(axis=0).clip(1e-6))
    assert left[1.0] < 0.9 * left[0.0]


def test_slopes_are_matched() -> None:
    rows, test = series_rows(150, 0), series_rows(100, 1)
    teacher = recurrent(rows, epochs=10)
    goal = features_of(teacher, test)[1]
    left = {
        slope: np.square(features_of(lesson_of(slope=slope)(teacher, rows), test)[1] - goal).mean()
        for slope in (0.0, 3.0)
    }
    assert left[3.0] < 0.7 * left[0.0]


def test_what_cannot_teach_says_why() -> None:
    rows = series_rows(60, 0)
    plain = Rows(X=Matrix.numbers(rows.X.values, rows.X.names), y=rows.y)
    fit = FitContext(
        task=Task.BINARY, n_classes=2, seed=0, n_threads=1, deadline=TickingDeadline(seconds=1e6)
    )
    mlp = SPECS["realmlp"].build({**SPECS["realmlp"].portfolio[0].params, "epochs": 1}, fit)
    mlp.fit(plain, None)
    for learner, message in (
        (object(), "no network of automl_fuse_torch"),
        (mlp, "RealMLP has no branches"),
    ):
        with pytest.raises(PluginError, match=message):
            lesson_of()(learner, plain)  # type: ignore[arg-type]


# --------------------------------------------------------------------------- a whole run


@pytest.mark.timeout(280)
def test_networks_of_a_run_teach_lighter_ones_and_are_kept_in_integers(tmp_path: Path) -> None:
    settings = Settings(
        learners=("sequence_rnn", "sequence_cnn"),
        compressors=("light_network", "imitate_network", "integer_network"),
        executor="inline",
        workers=1,
        progress=False,
        max_trials=2,
        folds=3,
        fusions=("average",),
    )
    model = automl_fuse.fit(slope_table(90), target="y", time_limit=200, settings=settings)
    told = model.report["compression"]
    assert not told["failures"]
    made = " ".join(told["made"])
    assert "light_network-sequence_cnn_3x16" in made
    assert "imitate_network-sequence_" in made
    assert "integer_network-sequence_" in made
    fresh = slope_table(60, seed=1)
    # The least of each are on the front by their bytes.
    names = [n for n in model.front()["pipeline"] if "_network-" in n]
    assert any("light_network" in name or "imitate_network" in name for name in names)
    for name in names:
        small, path = model.named(name), tmp_path / f"{len(name)}.onnx"
        small.save(path)
        loaded, expected = automl_fuse.load(path), small.predict_proba(fresh)
        np.testing.assert_allclose(loaded.predict_proba(fresh), expected, atol=1e-5)
        np.testing.assert_allclose(loaded.predict_proba(fresh[7:8]), expected[7:8], atol=1e-5)
        assert (loaded.predict(fresh) == fresh["y"]).mean() > 0.9
        if "integer_network" in name:
            off = np.abs(small.decompress().predict_proba(fresh) - expected).max()
            assert 0.0 < off < 0.05
