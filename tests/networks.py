"""What tests of networks with branches share: rows of one block, learners, teachers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import automl_fuse_torch
from automl_fuse.specs import (
    Block,
    FitContext,
    FusionContext,
    Kind,
    Matrix,
    Rows,
    Task,
    Teacher,
)
from automl_fuse.testing import TickingDeadline

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Params

SPECS = {spec.name: spec for spec in automl_fuse_torch.automl_fuse_learners()}
SHAPES: dict[Kind, tuple[int, ...]] = {
    Kind.IMAGE: (1, 7, 6),
    Kind.AUDIO: (9, 6),
    Kind.SEQUENCE: (9, 2),
    Kind.TEXT: (7,),
}
READ = {
    "image_cnn": Kind.IMAGE,
    "audio_cnn": Kind.AUDIO,
    "audio_lstm": Kind.AUDIO,
    "sequence_cnn": Kind.SEQUENCE,
    "sequence_rnn": Kind.SEQUENCE,
    "sequence_transformer": Kind.SEQUENCE,
    "text_rnn": Kind.TEXT,
    "text_transformer": Kind.TEXT,
}
SMALL: dict[str, Any] = {"width": 16, "depth": 1, "epochs": 6}
N_TOKENS = 10


class Far:
    """A deadline that never comes."""

    def remaining(self) -> float:
        return 1e9

    def expired(self) -> bool:
        return False


def make_rows(kind: Kind, n_rows: int, seed: int, n_tokens: int = N_TOKENS) -> Rows:
    """Return rows of one block that tell the class by a pattern, not by their mean."""
    rng = np.random.default_rng(seed)
    shape, y = SHAPES[kind], rng.integers(2, size=n_rows)
    size = int(np.prod(shape))
    if kind is Kind.TEXT:
        values = rng.integers(4, N_TOKENS, size=(n_rows, *shape)).astype(float)
        place = rng.integers(1, 3, size=n_rows)
        values[np.arange(n_rows), place] = 2.0 + y
    else:
        values = 0.5 * rng.normal(size=(n_rows, *shape))
        axis = len(shape) - (1 if kind is Kind.AUDIO else 2)
        wave = np.cos(np.pi * np.arange(shape[axis]))
        spread = [-1 if i == axis else 1 for i in range(len(shape))]
        values += (2.0 * y - 1.0).reshape(-1, *[1] * len(shape)) * wave.reshape(spread)
    flat = values.reshape(n_rows, size)
    names = [f"x{i}" for i in range(size)]
    length = None
    if kind is not Kind.IMAGE:
        used = rng.integers(4, shape[0] + 1, size=n_rows)
        flat = (values * beyond(used, shape)).reshape(n_rows, size)
        flat, names, length = np.column_stack([flat, used]), [*names, "steps"], size
    block = Block(
        column="x",
        kind=kind,
        start=0,
        shape=shape,
        length=length,
        n_tokens=n_tokens if kind is Kind.TEXT else 0,
    )
    return Rows(X=Matrix.numbers(flat, names, [block]), y=y)


def beyond(used: Array, shape: tuple[int, ...]) -> Array:
    """Return 1 for steps that are used, else 0."""
    there = np.arange(shape[0]) < used[:, None]
    return there.reshape(len(used), shape[0], *[1] * (len(shape) - 1)).astype(float)


def context(task: Task = Task.BINARY, seed: int = 0) -> FitContext:
    n_classes = {Task.BINARY: 2, Task.REGRESSION: 1}[task]
    return FitContext(task=task, n_classes=n_classes, seed=seed, n_threads=1, deadline=Far())


def params_of(name: str, **changes: Any) -> Params:
    return {**SPECS[name].portfolio[0].params, **SMALL, **changes}


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


def stage(task: Task = Task.BINARY) -> FusionContext:
    return FusionContext(
        task=task,
        n_classes=2,
        loss=lambda y, prediction, weight: 0.0,
        seed=0,
        deadline=TickingDeadline(seconds=1e6),
    )


def propose_by(spec: Any, point: Any, teacher: Teacher, told: Any = None) -> tuple[Any, ...]:
    return tuple(spec.build(point, told or stage()).propose(teacher))
