from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import automl_fuse
import automl_fuse_media
import automl_fuse_sklearn
from automl_fuse import Settings, hookimpl
from automl_fuse.errors import ArtefactError, DataError
from automl_fuse.members import merge_features
from automl_fuse.schema import infer
from automl_fuse.specs import (
    Array,
    Block,
    Column,
    Columns,
    Encoder,
    FitContext,
    Kind,
    Matrix,
    Sound,
    Task,
)
from automl_fuse.table import prepare
from automl_fuse_media import blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automl_fuse.artefact import PortablePipeline

DATA = Path(__file__).parents[2].parent / "shared" / "data"
SPECS = {spec.name: spec for spec in automl_fuse_media.automl_fuse_encoders()}
RNG = np.random.default_rng(0)


class NoDeadline:
    def remaining(self) -> float:
        return 1e9

    def expired(self) -> bool:
        return False


def build(name: str) -> Encoder:
    context = FitContext(task=Task.BINARY, n_classes=2, seed=3, n_threads=1, deadline=NoDeadline())
    return SPECS[name].build(context)


def objects(cells: Sequence[Any]) -> Array:
    return np.fromiter(cells, dtype=object, count=len(cells))


def table(kind: Kind, **columns: Sequence[Any]) -> Columns:
    described = tuple(Column(name=name, kind=kind, reason="test") for name in columns)
    values = {name: objects(cells) for name, cells in columns.items()}
    return Columns(columns=described, values=values, n_rows=len(next(iter(columns.values()))))


def fit(name: str, columns: Columns) -> tuple[Encoder, Matrix]:
    encoder = build(name)
    return encoder, encoder.fit_transform(columns, np.arange(columns.n_rows) % 2, None)


def images(n: int, *shape: int, high: int = 256) -> list[Any]:
    return list(RNG.integers(high, size=(n, *shape)).astype(np.uint8))


def sounds(*sizes: int, rate: int = 1_000) -> list[Sound]:
    return [Sound(rate, RNG.normal(size=size).astype(np.float32)) for size in sizes]


def in_shape(X: Matrix, block: Block) -> Array:
    return X.values[:, block.columns].reshape(-1, *block.shape)


# --------------------------------------------------------------------------- blocks


def test_blocks_move_along_as_matrices_are_put_side_by_side() -> None:
    numbers = Matrix.numbers(np.ones((4, 2)), ["a", "b"])
    _, pixels = fit("pixels", table(Kind.IMAGE, a=images(4, 3, 5, 1)))
    _, steps = fit(
        "padded_sequence", table(Kind.SEQUENCE, s=[np.ones((i, 2)) for i in range(1, 5)])
    )
    X = merge_features([("numbers", numbers), ("pixels", pixels), ("steps", steps)], 4)
    image, sequence = X.blocks
    np.testing.assert_array_equal(in_shape(X, image), in_shape(pixels, pixels.blocks[0]))
    np.testing.assert_array_equal(in_shape(X, sequence), in_shape(steps, steps.blocks[0]))
    assert (image.column, image.kind, image.shape) == ("a", Kind.IMAGE, (1, 3, 5))
    assert (sequence.kind, sequence.shape) == (Kind.SEQUENCE, (4, 2))
    assert X.values[:, sequence.length].tolist() == [1, 2, 3, 4]
    assert X.plain == (0, 1)
    assert merge_features([("numbers", numbers)], 4).blocks == ()
    # What an older version pickled has no blocks.
    old = pickle.loads(pickle.dumps(numbers))
    del old.__dict__["blocks"]
    assert old.blocks == ()


def test_pixels_are_between_0_and_1_channels_first() -> None:
    cells = images(30, 8, 6, 3, high=17)
    encoder, X = fit("pixels", table(Kind.IMAGE, a=cells))
    (block,) = X.blocks
    assert block.shape == (3, 8, 6)
    expected = np.stack(cells).transpose(0, 3, 1, 2) / 16
    np.testing.assert_allclose(in_shape(X, block), expected, rtol=1e-6)
    assert block.length is None
    assert len(X.names) == block.size
    bright = encoder.transform(table(Kind.IMAGE, a=[np.full((4, 3, 1), 255, np.uint8)]))
    assert np.allclose(bright.values, blocks.FARTHEST)


def test_a_missing_image_is_of_mean_brightness_and_told() -> None:
    cells = [*images(9, 4, 4, 1), None]
    encoder, X = fit("pixels", table(Kind.IMAGE, a=cells))
    (block,) = X.blocks
    np.testing.assert_allclose(in_shape(X, block)[-1], in_shape(X, block)[:-1].mean())
    assert X.names[-1] == "a (missing)"
    assert X.values[:, -1].tolist() == [0] * 9 + [1]
    gone = encoder.transform(table(Kind.IMAGE, a=[None]))
    np.testing.assert_array_equal(gone.values[0], X.values[-1])


def test_sizes_follow_the_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def shape(*cells: Any) -> tuple[int, ...]:
        return fit("pixels", table(Kind.IMAGE, a=cells))[1].blocks[0].shape

    assert shape(*images(3, 8, 6, 1)) == (1, 8, 6)
    assert shape(*images(3, 200, 100, 3)) == (3, 64, 32)
    assert shape(*images(2, 10, 10, 3), *images(1, 30, 30, 3)) == (3, 10, 10)
    assert shape(*images(2, 9, 9, 1), *images(1, 9, 9, 3)) == (1, 9, 9)
    monkeypatch.setattr(blocks, "MOST_VALUES", 3 * 100)
    assert shape(*images(3, 40, 40, 1)) == (1, 10, 10)


def test_log_mel_is_standardised_and_says_how_many_frames_there_are() -> None:
    cells = [*sounds(100, 300, 500, 500), None, *sounds(0)]
    encoder, X = fit("log_mel", table(Kind.AUDIO, a=cells))
    (block,) = X.blocks
    frames, bands = block.shape
    counts = X.values[:, block.length].astype(int)
    assert counts.tolist() == [9, 29, 49, 49, 0, 0]
    assert frames == 49 + (-49) % 8
    values = in_shape(X, block)
    used = np.concatenate([values[row, :count] for row, count in enumerate(counts)])
    np.testing.assert_allclose(used.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(used.std(axis=0), 1, atol=1e-6)
    for row, count in enumerate(counts):
        assert not values[row, count:].any()
    assert bands == 8
    longer = encoder.transform(table(Kind.AUDIO, a=sounds(5_000)))
    assert longer.values[0, block.length] == frames


def test_long_sounds_have_windows_farther_apart() -> None:
    _, X = fit("log_mel", table(Kind.AUDIO, a=sounds(20_000, 20_000)))
    assert X.blocks[0].shape[0] <= blocks.MOST_FRAMES
    assert X.values[0, X.blocks[0].length] > 0.95 * blocks.MOST_FRAMES


def test_sequences_are_scaled_robustly_a_channel_and_padded() -> None:
    lengths = [*range(1, 39), 200]
    cells = [np.column_stack([RNG.normal(5, 3, n), RNG.normal(-2, 0.1, n)]) for n in lengths]
    encoder, X = fit("padded_sequence", table(Kind.SEQUENCE, a=[*cells, None]))
    (block,) = X.blocks
    assert block.shape == (40, 2)
    assert X.values[:, block.length].tolist() == [*lengths[:-1], 40, 0]
    every = np.concatenate(cells)
    low, middle, high = np.quantile(every, (0.25, 0.5, 0.75), axis=0)
    expected = (cells[20] - middle) / (high - low)
    values = in_shape(X, block)
    np.testing.assert_allclose(values[20, :21], expected)
    assert not values[20, 21:].any()
    assert not values[-1].any()
    holes = encoder.transform(table(Kind.SEQUENCE, a=[np.full((3, 2), np.nan)]))
    assert not in_shape(holes, block).any()
    assert holes.values[0, block.length] == 3


def test_folds_of_like_lengths_have_blocks_of_one_shape() -> None:
    lengths = RNG.integers(30, 120, size=500)
    cells = [np.ones((n, 1)) for n in lengths]
    shapes = set()
    for fold in range(5):
        part = [cell for row, cell in enumerate(cells) if row % 5 != fold]
        shapes.add(fit("padded_sequence", table(Kind.SEQUENCE, a=part))[1].blocks[0].shape)
    assert shapes == {(128, 1)}
    same = [np.ones((51, 1))] * 9
    assert fit("padded_sequence", table(Kind.SEQUENCE, a=same))[1].blocks[0].shape == (51, 1)


def test_other_channels_are_refused_with_the_column() -> None:
    encoder, _ = fit("padded_sequence", table(Kind.SEQUENCE, a=[np.ones((3, 2))] * 4))
    with pytest.raises(DataError, match=r"column 'a': row 1: a sequence of 3 channels"):
        encoder.transform(table(Kind.SEQUENCE, a=[None, np.ones((3, 3))]))


def test_tokens_are_words_and_parts_of_the_training_texts() -> None:
    texts = ["free entry now", "Free cash now now", "see you", None, "entrance"]
    encoder, X = fit("tokens", table(Kind.TEXT, a=texts))
    (block,) = X.blocks
    assert (block.kind, block.length) == (Kind.TEXT, block.shape[0])
    codes = in_shape(X, block)
    assert codes[0, 0] == codes[1, 0] > 1
    assert codes[1, 2] == codes[1, 3] == codes[0, 2]
    assert X.values[:, block.length].tolist() == [(row > 0).sum() for row in codes]
    assert X.values[3].sum() == 0
    assert codes.max() < block.n_tokens
    other = encoder.transform(table(Kind.TEXT, a=["FREE 日 now"]))
    assert in_shape(other, block)[0, :4].tolist() == [codes[0, 0], 1, codes[0, 2], 0]
    assert fit("tokens", table(Kind.TEXT, a=[None, ""]))[1].blocks == ()


# --------------------------------------------------------------------------- summaries


def test_summaries_leave_out_what_does_not_vary() -> None:
    cells = [np.full((n, 1), 2.0) for n in (3, 4, 5, 6)]
    _, X = fit("sequence_summary", table(Kind.SEQUENCE, a=cells, b=[None] * 4))
    assert X.names == ("a: steps",)
    assert X.blocks == ()
    assert fit("summaries", table(Kind.SEQUENCE, a=cells[:1] * 4))[1].names == ()


def test_scaled_summaries_are_filled_and_told() -> None:
    cells = [*(RNG.normal(size=(9, 1)) for _ in range(30)), None]
    plain = fit("summaries", table(Kind.SEQUENCE, a=cells))[1]
    scaled = fit("scaled_summaries", table(Kind.SEQUENCE, a=cells))[1]
    assert np.isnan(plain.values[-1, :-1]).all()
    # Nine steps have no frequency in the first band: it never varies, unless missing is a value.
    varying = [name for name in plain.names if name != "a: energy of band 1"]
    assert scaled.names == (*varying[: len(scaled.names) - 1], "a (missing)")
    assert not scaled.values[-1, : len(scaled.names) - 2].any()
    assert scaled.values[:, -1].tolist() == [0.0] * 30 + [1.0]
    assert np.abs(scaled.values).max() < 3
    # The median becomes 0, and the quartiles are 1 apart before they are clipped.
    inside = scaled.values[:-1, 0]
    np.testing.assert_allclose(np.median(inside), 0, atol=1e-12)


def test_names_are_unique_though_a_column_is_named_like_a_feature() -> None:
    cells = [np.ones((n, 1)) for n in (3, 4, 5, 6)]
    odd = {"a": cells, "a (steps)": cells, "a[0]": cells}
    _, X = fit("padded_sequence", table(Kind.SEQUENCE, **odd))
    assert len(set(X.names)) == len(X.names)


# --------------------------------------------------------------------------- real data


def typed(folder: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Columns, Array, Columns, Array]:
    home = DATA / folder
    if not home.is_dir():
        pytest.skip("the real tables of ../shared/data are absent")
    monkeypatch.chdir(home)
    target = json.loads((home / "meta.json").read_text())["target"]
    (train,), (test,) = home.glob("train.*"), home.glob("test.*")
    fitted, held_out = (prepare(path, target=target) for path in (train, test))
    schema = infer(fitted.table, {})
    return (
        schema.convert(fitted.table), fitted.y, schema.convert(held_out.table), held_out.y
    )  # fmt: skip


def trees_on(name: str, train: Columns, y: Array, test: Columns) -> Array:
    encoder = build(name)
    X = encoder.fit_transform(train, y, None)
    trees = ExtraTreesClassifier(200, random_state=0).fit(np.nan_to_num(X.values), y)
    return trees.predict_proba(np.nan_to_num(encoder.transform(test).values))


def test_summaries_of_spoken_digits_tell_them(monkeypatch: pytest.MonkeyPatch) -> None:
    train, y, test, truth = typed("spoken-digits", monkeypatch)
    assert (trees_on("audio_summary", train, y, test).argmax(axis=1) == truth).mean() >= 0.95


def test_spectrograms_of_spoken_digits_tell_them(monkeypatch: pytest.MonkeyPatch) -> None:
    train, y, test, truth = typed("spoken-digits", monkeypatch)
    encoder = build("log_mel")
    X, other = encoder.fit_transform(train, y, None), encoder.transform(test)
    model = LogisticRegression(C=1e-3, max_iter=300).fit(X.values, y)
    assert (model.predict(other.values) == truth).mean() >= 0.8


def test_summaries_of_indoor_movement_tell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    train, y, test, truth = typed("indoor-movement", monkeypatch)
    assert roc_auc_score(truth, trees_on("sequence_summary", train, y, test)[:, 1]) >= 0.95


@pytest.mark.parametrize("name", ["image_summary", "pixels"])
def test_digits_are_told_from_their_pixels(name: str) -> None:
    digits = load_digits()
    cells = [image[:, :, None].astype(np.uint8) for image in digits.images]
    train, test = table(Kind.IMAGE, a=cells[:1300]), table(Kind.IMAGE, a=cells[1300:])
    told = trees_on(name, train, digits.target[:1300], test).argmax(axis=1)
    assert (told == digits.target[1300:]).mean() >= 0.93


# --------------------------------------------------------------------------- portable files


def mixed_rows(n: int, seed: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows in which brightness, pitch and slope tell the class, each of them a little."""
    random = np.random.default_rng(seed)
    up = random.random(n) < 0.5
    rows = []
    for is_up in up.tolist():
        pitch, steps = 0.5 if is_up else 0.2, random.integers(4, 30)
        time = np.arange(int(random.integers(300, 900)))
        rows.append(
            {
                "picture": np.clip(random.normal(140 if is_up else 110, 40, (9, 7)), 0, 255).astype(
                    np.uint8
                ),
                "sound": (2_000, np.sin(pitch * time) + random.normal(size=len(time))),
                "path": (random.normal(size=steps) + is_up * np.arange(steps) / 5).tolist(),
                "number": float(random.normal()),
            }
        )
        if random.random() < 0.1:
            rows[-1][str(random.choice(["picture", "sound", "path"]))] = None
    return rows, np.where(up, "up", "down").tolist()


def reading(extra: dict[str, tuple[str, ...]]) -> Callable[[], Sequence[Any]]:
    """Return the learners of scikit-learn, which read these encoders besides their own."""
    original = automl_fuse_sklearn.automl_fuse_learners

    @hookimpl
    def automl_fuse_learners() -> Sequence[Any]:
        found = {spec.name: spec for spec in original()}
        return [
            replace(found[name], encoders=(*found[name].encoders_for({}), *encoders))
            for name, encoders in extra.items()
        ]

    return automl_fuse_learners


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Fit a linear model on summaries and blocks, as no learner does; save the pipeline."""
    learners = reading({"linear": ("scaled_summaries", "pixels", "log_mel", "padded_sequence")})
    rows, y = mixed_rows(120, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(automl_fuse_sklearn, "automl_fuse_learners", learners)
        settings = Settings(
            executor="inline",
            progress=False,
            folds=2,
            compressors=(),
            learners=("linear",),
            fusions=("average",),
            max_trials=1,
        )
        model = automl_fuse.fit(rows, y, settings=settings)
    path = tmp_path_factory.mktemp("media") / "model.onnx"
    model.save(path)
    return model, path


@pytest.fixture(scope="module")
def loaded(saved: tuple[Any, Path]) -> PortablePipeline:
    return automl_fuse.load(saved[1])


def test_a_file_predicts_what_the_pipeline_does(
    saved: tuple[Any, Path], loaded: PortablePipeline
) -> None:
    rows, y = mixed_rows(80, 2)
    expected = saved[0].predict_proba(rows)
    got = loaded.predict_proba(rows)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
    assert (loaded.predict(rows) == y).mean() > 0.8
    alone = np.concatenate([loaded.predict_proba([row]) for row in rows[:20]])
    np.testing.assert_allclose(alone, got[:20], rtol=0, atol=1e-12)
    assert {each.step["kind"] for each in loaded.manifest.prepared} == {
        "pixels", "log_mel", "padded_sequence", "image_summary", "audio_summary", "sequence_summary"
    }  # fmt: skip
    kinds = {column.name: column.kind.value for column in loaded.schema.columns}
    assert kinds == {
        "picture": "image", "sound": "audio", "path": "sequence", "number": "numeric"
    }  # fmt: skip


def described(cell: Any) -> str:
    """Return an image, a sequence or the samples of a pair as text."""
    return repr(np.asarray(cell[1] if np.isscalar(cell[0]) and len(cell) == 2 else cell).tolist())


def test_rows_of_the_training_table_are_not_given_away(
    saved: tuple[Any, Path], loaded: PortablePipeline
) -> None:
    given = loaded.manifest.golden.columns
    assert {name: len(cells) for name, cells in given.items()} == dict.fromkeys(given, 10)
    assert all(cells[-1] is None for cells in given.values())
    rows, _ = mixed_rows(120, 1)
    for name in ("picture", "sound", "path"):
        known = {described(row[name]) for row in rows if row[name] is not None}
        carried = {described(cell) for cell in given[name][:-1]}
        assert len(carried) > 1
        assert not carried & known
    loaded.verify()


def test_files_predict_like_the_cells_that_they_hold(
    loaded: PortablePipeline, tmp_path: Path
) -> None:
    from PIL import Image

    rows, _ = mixed_rows(12, 3)
    whole = [row for row in rows if not any(cell is None for cell in row.values())]
    stored = []
    for i, row in enumerate(whole):
        Image.fromarray(row["picture"]).save(tmp_path / f"{i}.png")
        stored.append({**row, "picture": str(tmp_path / f"{i}.png")})
    expected = loaded.predict_proba(whole)
    np.testing.assert_array_equal(loaded.predict_proba(stored), expected)


def test_numpy_and_onnxruntime_are_enough(saved: tuple[Any, Path], tmp_path: Path) -> None:
    rows, _ = mixed_rows(6, 4)
    cells = [
        {n: np.asarray(c).tolist() if n == "picture" and c is not None else c for n, c in r.items()}
        for r in rows
    ]
    for row in cells:
        row["sound"] = row["sound"] and [row["sound"][0], np.round(row["sound"][1], 3).tolist()]
    (tmp_path / "rows.json").write_text(json.dumps(cells))
    code = f"""
import sys
class Blocker:
    allowed = {{"automl_fuse", "numpy", "onnxruntime", *sys.stdlib_module_names}}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)
sys.meta_path.insert(0, Blocker())
import json, automl_fuse
model = automl_fuse.load({str(saved[1])!r})
rows = json.load(open("rows.json"))
print(json.dumps(model.predict_proba(rows).tolist()))
try:
    model.predict([{{**rows[0], "picture": b"\\x89PNG"}}])
except automl_fuse.errors.MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    first, second = done.stdout.strip().splitlines()
    expected = automl_fuse.load(saved[1]).predict_proba(cells)
    np.testing.assert_allclose(json.loads(first), expected, rtol=0, atol=1e-12)
    assert "pip install 'automl-fuse[media]'" in second


@pytest.mark.parametrize(
    ("step", "column", "words"),
    [
        ("pixels", "path", "a column of the kind image was expected"),
        ("term_weights", "picture", "a column of the kind text was expected"),
        ("log_mel", "number", "a column of the kind audio was expected"),
    ],
)
def test_a_step_reads_columns_of_its_kind(
    loaded: PortablePipeline, step: str, column: str, words: str
) -> None:
    from automl_fuse.artefact.manifest import read_manifest

    content = json.loads(json.dumps(dict(loaded.manifest.content)))
    name = next(iter(content["prepared"]))
    content["prepared"][name] |= {"kind": step, "column": column}
    with pytest.raises(ArtefactError, match=words):
        read_manifest(json.dumps(content).encode())


def test_cells_that_are_none_are_refused_by_row(loaded: PortablePipeline) -> None:
    rows, _ = mixed_rows(3, 5)
    with pytest.raises(DataError, match=r"column 'path', row 1: a list of numbers"):
        loaded.predict([rows[0], {**rows[1], "path": ["a"]}, rows[2]])
    with pytest.raises(DataError, match=r"one row is a list with one dict"):
        loaded.predict({name: [1.0, 2.0] for name in rows[0]})
