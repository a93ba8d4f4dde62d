"""Tests of networks with branches: what the conformance suite does not ask."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from networks import (
    N_TOKENS,
    READ,
    SHAPES,
    SPECS,
    beyond,
    context,
    make_rows,
    params_of,
)

import automl_fuse
from automl_fuse import Settings
from automl_fuse.specs import (
    Block,
    CellSize,
    Column,
    Columns,
    Kind,
    Matrix,
    Rows,
    Shape,
    Task,
)
from automl_fuse_torch.inputs import Inputs
from automl_fuse_torch.shapes import BlockShape

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")


from automl_fuse_torch.augmenting import augmented  # noqa: E402 - they import torch
from automl_fuse_torch.batching import Noise, NoNoise  # noqa: E402
from automl_fuse_torch.devices import Device  # noqa: E402
from automl_fuse_torch.fitting import FitTask, fit_many  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from automl_fuse.specs import Array


def task_of(name: str, rows: tuple[Rows, Rows], seed: int = 0, **changes: Any) -> FitTask:
    return FitTask(
        learner=name,
        params=params_of(name, **changes),
        context=context(seed=seed),
        train=rows[0],
        valid=rows[1],
    )


# --------------------------------------------------------------------------- learning


@pytest.mark.parametrize("name", READ)
def test_a_block_alone_is_learned_from(name: str) -> None:
    kind = READ[name]
    rows = make_rows(kind, 256, 1), make_rows(kind, 100, 2)
    model = fit_many([task_of(name, rows, epochs=24, learning_rate=6e-3)], "cpu")[0]
    test = make_rows(kind, 200, 3)
    right = model.predict(test.X.values).argmax(axis=1) == test.y
    assert right.mean() > 0.85


@pytest.mark.parametrize("name", ["image_cnn", "audio_cnn", "sequence_rnn", "text_transformer"])
def test_members_trained_together_are_those_trained_alone(name: str) -> None:
    kind = READ[name]
    folds = [(make_rows(kind, 90, s), make_rows(kind, 40, s + 10)) for s in (1, 2)]
    tasks = [
        task_of(name, folds[0], seed=1),
        task_of(name, folds[1], seed=2, learning_rate=1e-3, dropout=0.0),
        task_of(name, folds[0], seed=3, dropout=0.4),
    ]
    together = fit_many(tasks, "cpu")
    test = make_rows(kind, 50, 9).X.values
    for task, model in zip(tasks, together, strict=True):
        alone = fit_many([task], "cpu")[0].predict(test)
        np.testing.assert_allclose(model.predict(test), alone, atol=1e-3)


@pytest.mark.parametrize("name", ["sequence_cnn", "sequence_rnn", "sequence_transformer"])
def test_what_lies_beyond_the_end_does_not_matter(name: str) -> None:
    rows = make_rows(Kind.SEQUENCE, 60, 1), make_rows(Kind.SEQUENCE, 30, 2)
    model = fit_many([task_of(name, rows, epochs=2)], "cpu")[0]
    X, shape = rows[1].X, SHAPES[Kind.SEQUENCE]
    values = X.values.copy()
    inside = beyond(values[:, -1], shape).repeat(shape[1], axis=2).reshape(len(values), -1)
    values[:, :-1] += 5.0 * (1.0 - inside)
    assert np.abs(values - X.values).max() == 5.0
    np.testing.assert_allclose(model.predict(values), model.predict(X.values), atol=1e-6)


def test_separable_convolutions_make_a_smaller_network() -> None:
    rows = make_rows(Kind.IMAGE, 60, 1), make_rows(Kind.IMAGE, 30, 2)
    plain, light = (
        fit_many([task_of("image_cnn", rows, depth=2, separable=separable)], "cpu")[0]
        for separable in (False, True)
    )
    assert len(pickle.dumps(light)) < 0.6 * len(pickle.dumps(plain))


def test_predicting_needs_no_torch(tmp_path: Path) -> None:
    learners = []
    for name, kind in READ.items():
        learner = SPECS[name].build(params_of(name, epochs=1), context())
        rows = make_rows(kind, 40, 1)
        learner.fit(rows, None)
        learners.append((learner, rows.X, learner.predict(rows.X)))
    path = tmp_path / "learners.pkl"
    path.write_bytes(pickle.dumps(learners))
    code = (
        "import pickle, sys, numpy as np; sys.modules['torch'] = None\n"
        f"for learner, X, expected in pickle.load(open({str(path)!r}, 'rb')):\n"
        "    np.testing.assert_allclose(learner.predict(X), expected, atol=1e-12)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# --------------------------------------------------------------------------- inputs


def sequences(lengths: list[Array]) -> Matrix:
    """Return a matrix of sequences of three steps, one block for each array of lengths."""
    parts = []
    for used in lengths:
        values = np.column_stack([np.random.default_rng(0).normal(size=(len(used), 3)), used])
        block = Block(column="s", kind=Kind.SEQUENCE, start=0, shape=(3, 1), length=3)
        parts.append(Matrix.numbers(values, list("abcn"), [block]))
    return Matrix.concatenate(parts, len(lengths[0]))


def test_sequences_of_equal_lengths_are_channels_of_one() -> None:
    same, other = np.array([1.0, 2.0, 3.0, 3.0]), np.array([3.0, 2.0, 3.0, 3.0])
    X = sequences([same, other, same])
    inputs = Inputs.fitted(X, 8, reads_blocks=True)
    assert [block.shape for block in inputs.shape.blocks] == [(3, 2), (3, 1)]
    assert inputs.shape.numbers == 0
    tables = inputs.tables(X.values)
    np.testing.assert_array_equal(tables["block0"][:, :, 1], X.values[:, 8:11].astype(np.float32))
    np.testing.assert_array_equal(tables["block1.steps"][:, 0], other)


def test_blocks_are_plain_numbers_to_networks_without_branches() -> None:
    X = sequences([np.array([1.0, 2.0, 3.0, 3.0])])
    shape = Inputs.fitted(X, 8).shape
    assert shape.blocks == ()
    assert shape.numbers == 4


def test_odd_codes_and_counts_are_cut() -> None:
    rows = make_rows(Kind.TEXT, 5, 1)
    values = rows.X.values.copy()
    values[0], values[1], values[2] = 1e6, -3.0, np.nan
    tables = Inputs.fitted(rows.X, 8, reads_blocks=True).tables(values)
    assert tables["block0"].max() == N_TOKENS - 1
    assert tables["block0"].min() == 0
    assert tables["block0.steps"][:3, 0].tolist() == [7.0, 1.0, 1.0]


def test_texts_of_folds_have_one_shape_though_their_vocabularies_differ() -> None:
    blocks = [make_rows(Kind.TEXT, 5, 1, n_tokens=n).X.blocks[0] for n in (4_203, 4_390)]
    one, other = (BlockShape.of((block,)) for block in blocks)
    assert one == other
    assert one.n_tokens >= 4_390


# --------------------------------------------------------------------------- augmentation


def noise(n_members: int) -> Noise:
    return Noise([0.0] * n_members, range(n_members), Device("cpu"))


@pytest.mark.parametrize("kind", SHAPES)
def test_augmentation_changes_rows_by_draws_of_their_member(kind: Kind) -> None:
    X = make_rows(kind, 20, 1).X
    block = X.blocks[0]
    x = torch.as_tensor(X.values[:, block.columns].reshape(1, 20, *block.shape))
    x = x.long() if kind is Kind.TEXT else x.float()
    both = augmented(torch.cat([x, x]), kind, 1.0, noise(2))
    assert both.shape == (2, 20, *block.shape)
    assert both.dtype == x.dtype
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(both[0], x[0])
    torch.testing.assert_close(augmented(x, kind, 1.0, noise(1))[0], both[0])
    assert augmented(x, kind, 1.0, NoNoise()) is x


def test_a_warped_image_is_still_the_image() -> None:
    x = torch.zeros(1, 1, 1, 16, 16)
    x[..., 5:11, 5:11] = 1.0
    moved = augmented(x, Kind.IMAGE, 1.0, noise(1))
    assert 20.0 < float(moved.sum()) < 60.0
    assert float(moved[..., 7:9, 7:9].min()) > 0.9


# --------------------------------------------------------------------------- what they are for


def column(kind: Kind, levels: int = 0) -> Column:
    return Column(name="c", kind=kind, reason="", categories=tuple(map(str, range(levels))))


def test_learners_are_for_tables_that_have_their_columns() -> None:
    number, image, text = (column(kind) for kind in (Kind.NUMERIC, Kind.IMAGE, Kind.TEXT))
    assert "image" in SPECS["image_cnn"].misfit([number, text])
    assert SPECS["image_cnn"].misfit([number, image]) == ""
    assert "2 of the kinds" in SPECS["multimodal"].misfit([image, number, image])
    assert SPECS["multimodal"].misfit([image, text]) == ""
    many, few = column(Kind.CATEGORY, 900), column(Kind.CATEGORY, 5)
    assert "users and items" in SPECS["factorisation"].misfit([many, few])
    assert SPECS["factorisation"].misfit([many, many]) == ""
    assert SPECS["realmlp"].misfit([number]) == ""


@pytest.mark.parametrize("name", [*READ, "multimodal"])
def test_cost_grows_with_cells(name: str) -> None:
    spec = SPECS[name]
    sizes = {
        Kind.IMAGE: [(8, 8, 1), (48, 48, 1)],
        Kind.AUDIO: [(800, 8_000), (8_000, 8_000)],
        Kind.SEQUENCE: [(10, 1), (200, 1)],
        Kind.TEXT: [(20,), (400,)],
    }
    kinds = [READ[name]] if name in READ else list(sizes)
    small, large = (
        spec.cost(
            Shape(
                n_rows=1_000,
                n_features=len(kinds),
                n_classes=2,
                task=Task.BINARY,
                cells=tuple(CellSize(kind=kind, shape=sizes[kind][i]) for kind in kinds),
            ),
            spec.portfolio[0].params,
        ).seconds
        for i in range(2)
    )
    assert large > 1.5 * small


def test_unseen_users_and_items_are_like_missing_ones() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(30, size=(400, 2)).astype(float)
    taste = rng.normal(size=(2, 30))
    y = taste[0][codes[:, 0].astype(int)] + taste[1][codes[:, 1].astype(int)]
    X = Matrix(values=codes, names=("user", "item"), cardinalities=(40, 40))
    learner = SPECS["factorisation"].build(
        {**SPECS["factorisation"].portfolio[0].params, "weight_decay": 0.01},
        context(Task.REGRESSION),
    )
    learner.fit(Rows(X=X, y=(y - y.mean()) / y.std()), None)
    predicted = learner.predict(X)[:, 0]
    assert np.corrcoef(predicted, y)[0, 1] > 0.8
    odd = np.array([[35.0, 5.0], [39.0, 5.0], [np.nan, 5.0]])
    few = learner.predict(replace(X, values=odd))[:, 0]
    np.testing.assert_allclose(few, few[0], atol=1e-12)
    assert learner.predict(replace(X, values=np.full((1, 2), np.nan)))[0, 0] == pytest.approx(
        0.0, abs=0.5
    )


# --------------------------------------------------------------------------- whole runs


def test_usual_cells_are_medians_of_those_that_are_there() -> None:
    from automl_fuse.sizes import usual_cells

    cells = np.full(5, None, dtype=object)
    for row, size in enumerate((4, 6, 8)):
        cells[row] = np.zeros((size, 5, 1))
    texts = np.array(["abc", None, "a", "abcde", "ab"], dtype=object)
    empty = np.full(5, None, dtype=object)
    columns = Columns(
        columns=tuple(
            Column(name=name, kind=kind, reason="")
            for name, kind in (("i", Kind.IMAGE), ("t", Kind.TEXT), ("e", Kind.SEQUENCE))
        ),
        values={"i": cells, "t": texts, "e": empty},
        n_rows=5,
    )
    assert usual_cells(columns) == (
        CellSize(kind=Kind.IMAGE, shape=(6, 5, 1)),
        CellSize(kind=Kind.TEXT, shape=(2,)),
    )


@pytest.mark.timeout(280)
def test_a_table_of_numbers_images_and_texts_becomes_one_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=120)
    images = [(90 * rng.random((6, 6)) + 90 * k).astype(np.uint8) for k in y]
    words = np.array(["amber birch", "cedar delta", "ember fjord"])
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=120) + y,
            "image": images,
            "text": [f"{words[rng.integers(3)]} {'grove' if k else 'heron'} {i}"
                     for i, k in enumerate(y)],
            "y": y,
        }
    )  # fmt: skip
    settings = Settings(
        learners=("multimodal",),
        kinds={"image": "image", "text": "text"},
        folds=2,
        max_trials=1,
        workers=1,
        executor="inline",
        compressors=(),
    )
    pipeline = automl_fuse.fit(frame, target="y", time_limit=200, settings=settings)
    assert [member.learner for member in pipeline.members] == ["multimodal"]
    path = tmp_path / "model.onnx"
    pipeline.save(path)
    loaded = automl_fuse.load(path)
    assert loaded.manifest.content["precision"] == "single"
    expected = pipeline.predict_proba(frame)
    np.testing.assert_allclose(loaded.predict_proba(frame), expected, atol=1e-5)
    one = frame.iloc[3:4]
    np.testing.assert_allclose(loaded.predict_proba(one), expected[3:4], atol=1e-5)
    assert (loaded.predict(frame) == y).mean() > 0.9
