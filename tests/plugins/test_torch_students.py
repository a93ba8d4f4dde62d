"""Tests of light networks that larger ones teach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import automl_fuse
import automl_fuse_torch
from automl_fuse import Settings
from automl_fuse.specs import FitContext, FusionContext, Student, Task, Teacher
from automl_fuse.testing import TickingDeadline
from automl_fuse_torch import light

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("torch", reason="the extra 'torch' is not installed")

SPECS = {spec.name: spec for spec in automl_fuse_torch.automl_fuse_learners()}


def teacher_of(learners: tuple[str, ...], **changes: Any) -> Teacher:
    y = np.arange(20) % 2
    known = {
        "oof": np.repeat(np.eye(2)[y][None] * 0.8 + 0.1, len(learners), axis=0),
        "y": y,
        "weight": None,
        "shares": np.full(len(learners), 1 / len(learners)),
        "bytes": np.full(len(learners), 1e5),
        "seconds": np.full(len(learners), 1e-4),
        "names": tuple(f"{learner}-{i}" for i, learner in enumerate(learners)),
        "learners": learners,
        "students": tuple(SPECS),
    }
    return Teacher(**{**known, **changes})


def context(task: Task = Task.BINARY) -> FusionContext:
    return FusionContext(
        task=task,
        n_classes=2,
        loss=lambda y, prediction, weight: 0.0,
        seed=0,
        deadline=TickingDeadline(seconds=1e6),
    )


def propose(point: Any, teacher: Teacher, task: Task = Task.BINARY) -> tuple[Student, ...]:
    return tuple(light.SPEC.build(point, context(task)).propose(teacher))


POINT = light.SPEC.portfolio[0].params


def wave_table(n_rows: int, seed: int = 0) -> pd.DataFrame:
    """Return series of which one class rises and falls at each step."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n_rows)
    series = []
    for label in y:
        steps = np.arange(rng.integers(8, 12))
        series.append(0.3 * rng.normal(size=len(steps)) + (2 * label - 1) * np.cos(np.pi * steps))
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


# --------------------------------------------------------------------------- a whole run


@pytest.mark.timeout(280)
def test_a_recurrent_network_teaches_convolutions(tmp_path: Path) -> None:
    table = wave_table(90)
    settings = Settings(
        learners=("sequence_rnn", "sequence_cnn"),
        compressors=("light_network",),
        executor="inline",
        workers=1,
        progress=False,
        max_trials=2,
        folds=3,
        fusions=("average",),
    )
    model = automl_fuse.fit(table, target="y", time_limit=150, settings=settings)
    told = model.report["compression"]
    assert not told["failures"]
    assert any(name.startswith("light_network-sequence_cnn_2x32") for name in told["made"])
    # The least of them is on the front by its bytes.
    names = [name for name in model.front()["pipeline"] if "light_network" in name]
    student = model.named(names[0])
    path = tmp_path / "student.onnx"
    student.save(path)
    loaded, fresh = automl_fuse.load(path), wave_table(60, seed=1)
    expected = student.predict_proba(fresh)
    np.testing.assert_allclose(loaded.predict_proba(fresh), expected, atol=1e-5)
    np.testing.assert_allclose(loaded.predict_proba(fresh[7:8]), expected[7:8], atol=1e-5)
    assert (loaded.predict(fresh) == fresh["y"]).mean() > 0.9
