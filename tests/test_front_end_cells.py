"""Steps over images, sounds and sequences: what they make, and their descriptions."""

from __future__ import annotations

import gc
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from automl_fuse.errors import ArtefactError, DataError
from automl_fuse.front_end import (
    CELL_STEPS,
    AudioSummary,
    CellStep,
    FrontEnd,
    ImageSummary,
    LogMel,
    PaddedSequence,
    Pixels,
    SequenceSummary,
    cells,
    read_step,
    run_step,
)
from automl_fuse.specs import Kind, Sound

RNG = np.random.default_rng(0)
QUICK = settings(
    deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)


def column(*given_cells: Any) -> np.ndarray:
    return np.fromiter(given_cells, dtype=object, count=len(given_cells))


IMAGES = column(
    RNG.integers(256, size=(6, 5, 3)).astype(np.uint8),
    None,
    RNG.normal(size=(3, 9, 1)).astype(np.float32),
    np.zeros((1, 1, 3), np.uint8),
)
SOUNDS = column(
    Sound(1_000, RNG.normal(size=700).astype(np.float32)),
    None,
    Sound(4_000, RNG.normal(size=900).astype(np.float32)),
    Sound(1_000, np.zeros(0, np.float32)),
    Sound(1_000, np.ones(1, np.float32)),
)
SEQUENCES = column(
    RNG.normal(size=(9, 2)),
    None,
    np.full((4, 2), np.nan),
    np.empty((0, 1)),
    RNG.normal(size=(40, 2)),
    np.array([[1.0, np.nan]]),
)
STEPS: list[tuple[CellStep, np.ndarray]] = [
    (Pixels(rows=4, columns=3, channels=3), IMAGES),
    (ImageSummary(channels=3), IMAGES),
    (ImageSummary(channels=1), IMAGES),
    (LogMel(rate=1_000, window=25, hop=10, mels=8, frames=20), SOUNDS),
    (AudioSummary(rate=1_000), SOUNDS),
    (PaddedSequence(length=12, channels=2), SEQUENCES),
    (SequenceSummary(channels=2), SEQUENCES),
]
IDS = [f"{step.name} {step.settings}" for step, _ in STEPS]


def described(step: CellStep) -> dict[str, Any]:
    return {"kind": step.name, "column": "a", "settings": step.settings, "width": step.width}


# --------------------------------------------------------------------------- all of them


@pytest.mark.parametrize(("step", "values"), STEPS, ids=IDS)
def test_a_row_alone_is_as_in_a_batch(step: CellStep, values: np.ndarray) -> None:
    whole = step(values)
    assert whole.shape == (len(values), step.width)
    assert whole.dtype == np.float64
    for row in range(len(values)):
        np.testing.assert_array_equal(step(values[row : row + 1]), whole[row : row + 1])
    np.testing.assert_array_equal(step(list(values)), whole)
    assert step(values[:0]).shape == (0, step.width)
    missing = whole[1]
    assert np.isnan(missing[:-1]).all()
    assert (missing[-1] == 0) if step.counts else np.isnan(missing[-1])
    assert not np.isinf(whole).any()


@pytest.mark.parametrize(("step", "values"), STEPS, ids=IDS)
def test_settings_survive_json(step: CellStep, values: np.ndarray) -> None:
    again = read_step(json.loads(json.dumps(described(step))))
    assert again == step
    assert pickle.loads(pickle.dumps(step)) == step
    np.testing.assert_array_equal(run_step(described(step), values), step(values))
    together = FrontEnd({"x": described(step), "y": described(step)})({"a": values})
    np.testing.assert_array_equal(together["x"], step(values))
    np.testing.assert_array_equal(together["y"], step(values))


@pytest.mark.parametrize(("step", "_values"), STEPS, ids=IDS)
def test_malformed_settings_are_refused_by_name(step: CellStep, _values: np.ndarray) -> None:
    right = described(step)
    for name in step.settings:
        for wrong in (0, -1, 1.0, True, "1", None, 10**9):
            with pytest.raises(ArtefactError, match=f"'{name}' of front-end step '{step.name}'"):
                read_step(right | {"settings": step.settings | {name: wrong}})
    with pytest.raises(ArtefactError, match="'settings' of front-end step"):
        read_step(right | {"settings": step.settings | {"more": 1}})
    with pytest.raises(ArtefactError, match="'width' of front-end step"):
        read_step(right | {"width": step.width + 1})


def test_a_file_cannot_ask_for_more_columns_than_memory_has() -> None:
    huge = {"rows": 1_024, "columns": 1_024, "channels": 2}
    with pytest.raises(ArtefactError, match="at most 1048576 columns"):
        read_step({"kind": "pixels", "settings": huge, "width": 2 << 20})


def test_every_step_says_what_it_reads() -> None:
    kinds = {name: step.reads for name, step in CELL_STEPS.items()}
    assert kinds == {
        "pixels": Kind.IMAGE,
        "image_summary": Kind.IMAGE,
        "log_mel": Kind.AUDIO,
        "audio_summary": Kind.AUDIO,
        "padded_sequence": Kind.SEQUENCE,
        "sequence_summary": Kind.SEQUENCE,
    }


def test_texts_and_other_cells_are_not_read_from_one_column() -> None:
    shape = {"kind": "text_shape", "column": "a", "settings": {"characters": 5}, "width": 4}
    with pytest.raises(ArtefactError, match="read one column"):
        FrontEnd({"x": shape, "y": described(STEPS[0][0])})


def test_what_was_made_is_kept_as_long_as_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Counted(SequenceSummary):
        def _of_cell(self, cell: np.ndarray) -> np.ndarray:
            made.append(cell)
            return super()._of_cell(cell)

    monkeypatch.setattr(cells, "_MADE", {})
    values = SEQUENCES.copy()
    first, again = Counted(channels=2)(values), Counted(channels=2)(values)
    assert first is again
    assert not first.flags.writeable
    assert len(made) == 5
    assert Counted(channels=2)(values[:]) is not first
    assert len(made) == 10
    del values
    gc.collect()
    assert not cells._MADE


# --------------------------------------------------------------------------- images


def test_pixels_are_channels_first_in_the_units_of_the_image() -> None:
    image = IMAGES[0]
    made = Pixels(rows=6, columns=5, channels=3)(column(image)).reshape(3, 6, 5)
    np.testing.assert_array_equal(made, image.transpose(2, 0, 1))
    grey = Pixels(rows=6, columns=5, channels=1)(column(image)).reshape(6, 5)
    expected = image @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey, expected, rtol=1e-6)
    three = Pixels(rows=3, columns=9, channels=3)(column(IMAGES[2])).reshape(3, 3, 9)
    assert (three == three[0]).all()
    np.testing.assert_array_equal(three[0], IMAGES[2][:, :, 0])


def test_image_summary_by_hand() -> None:
    image = np.arange(64.0, dtype=np.float32).reshape(8, 8, 1)
    step = ImageSummary(channels=1)
    told = dict(zip(step.features, step(column(image))[0], strict=True))
    assert [told[f"cell {i},{j}"] for i in range(8) for j in range(8)] == list(range(64))
    assert told["mean of channel 0"] == 31.5
    assert told["std of channel 0"] == pytest.approx(np.arange(64).std())
    assert told["skewness of channel 0"] == pytest.approx(0.0, abs=1e-12)
    assert told["change along rows"] == 1.0
    assert told["change along columns"] == 8.0
    assert told["aspect"] == 0.0
    wide = dict(zip(step.features, step(column(np.zeros((2, 4, 1), np.uint8)))[0], strict=True))
    assert wide["aspect"] == pytest.approx(np.log(2))


# --------------------------------------------------------------------------- sounds


def test_log_mel_by_definition() -> None:
    """The definition written out: frames, Hann, power, triangles on the mel scale, logarithm."""
    step = LogMel(rate=1_000, window=25, hop=10, mels=8, frames=20)
    samples = SOUNDS[0].samples[:150].astype(float)
    made = step(column(Sound(1_000, samples.astype(np.float32))))[0]
    starts = range(0, 140, 10)
    padded = np.concatenate([samples, np.zeros(50)])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(25) / 25)
    top = 2595 * np.log10(1 + 500 / 700)
    edges = [700 * (10 ** (top * i / 9 / 2595) - 1) for i in range(10)]
    expected = []
    for start in starts:
        frame = np.zeros(32)
        frame[:25] = padded[start : start + 25] * hann
        power = np.abs(np.fft.fft(frame)[:17]) ** 2
        row = []
        for low, middle, high in zip(edges, edges[1:], edges[2:]):  # noqa: B905
            weights = [
                max(0, min((f - low) / (middle - low), (high - f) / (high - middle)))
                for f in np.arange(17) * 1_000 / 32
            ]
            row.append(np.log(power @ weights + 1e-6))
        expected.append(row)
    assert made[-1] == len(starts)
    np.testing.assert_allclose(made[: 14 * 8].reshape(14, 8), expected, rtol=1e-5)
    assert np.isnan(made[14 * 8 : -1]).all()


@pytest.mark.parametrize("size", [1, 24, 25, 26, 35, 36, 214, 215, 216, 500])
def test_frames_are_counted_as_they_are_made(size: int) -> None:
    step = LogMel(rate=1_000, window=25, hop=10, mels=4, frames=20)
    sound = Sound(1_000, RNG.normal(size=size).astype(np.float32))
    assert step(column(sound))[0, -1] == min(20, step.n_frames(sound))
    assert (step.n_frames(sound) - 1) * 10 < size or step.n_frames(sound) == 1
    assert (step.n_frames(sound) - 1) * 10 + 25 >= size


def test_a_tone_is_told_from_another_at_any_rate() -> None:
    def tone(hertz: float, rate: int) -> Sound:
        return Sound(rate, np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32))

    step = LogMel(rate=8_000, window=200, hop=80, mels=40, frames=50)
    made = step(column(tone(300, 8_000), tone(300, 16_000), tone(2_000, 8_000)))
    bands = made[:, :-1].reshape(3, 50, 40).mean(axis=1).argmax(axis=1)
    assert bands[0] == bands[1] < bands[2]


def test_audio_summary_of_a_loud_and_a_quiet_sound() -> None:
    step = AudioSummary(rate=8_000)
    noise = RNG.normal(scale=0.1, size=4_000).astype(np.float32)
    loud, quiet = step(column(Sound(8_000, noise), Sound(8_000, noise / 10)))
    told, other = (dict(zip(step.features, row, strict=True)) for row in (loud, quiet))
    assert told["seconds"] == 0.5
    assert told["loudness"] == pytest.approx(10 * other["loudness"], rel=1e-5)
    assert told["sign changes"] == other["sign changes"] == pytest.approx(0.5, abs=0.05)
    # A factor adds its logarithm to every band: to the first coefficient alone.
    assert told["mean of mfcc 0"] - other["mean of mfcc 0"] == pytest.approx(
        2 * np.log(10) * np.sqrt(40), rel=0.01
    )
    assert told["std of mfcc 5"] == pytest.approx(other["std of mfcc 5"], rel=0.05)
    assert step.width == len(set(step.features)) == 195


# --------------------------------------------------------------------------- sequences


def test_padded_sequences_by_hand() -> None:
    step = PaddedSequence(length=3, channels=2)
    short = np.array([[1.0, np.nan]])
    long = np.array([[0.0, 1], [2, np.nan], [4, 5], [6, 7], [8, np.nan], [10, np.nan]])
    made = step(column(short, long))
    np.testing.assert_array_equal(made[0], [1, *[np.nan] * 5, 1])
    np.testing.assert_allclose(made[1], [1, 1, 5, 6, 9, np.nan, 3])


def test_sequence_summary_by_hand() -> None:
    step = SequenceSummary(channels=1)
    numbers = [3.0, np.nan, 1.0, 2.0, 6.0]
    told = dict(zip(step.features, step(column(np.array([numbers]).T))[0], strict=True))
    known = np.array([3.0, 1.0, 2.0, 6.0])
    assert told["steps"] == 5
    assert told["mean"] == 3
    assert told["std"] == pytest.approx(known.std())
    assert (told["min"], told["max"], told["first"], told["last"]) == (1, 6, 3, 6)
    assert told["50 %"] == pytest.approx(2.5)
    assert told["90 %"] == pytest.approx(np.quantile(known, 0.9))
    assert told["slope"] == pytest.approx(np.polyfit([0, 1 / 3, 2 / 3, 1], known, 1)[0])
    centred = known - 3
    expected = (centred[1:] @ centred[:-1]) / (centred @ centred)
    assert told["autocorrelation"] == pytest.approx(expected)
    assert told["change"] == pytest.approx(7 / 3)
    assert told["place of min"] == pytest.approx(1 / 3)
    assert told["place of max"] == 1
    quarters = [told[f"mean of quarter {i}"] for i in (1, 2, 3, 4)]
    np.testing.assert_allclose(quarters, known)
    assert sum(told[f"energy of band {i}"] for i in (1, 2, 3, 4)) == pytest.approx(1)


def test_bands_tell_slow_from_fast() -> None:
    time = np.arange(256) / 256
    waves = [np.sin(2 * np.pi * hertz * time)[:, None] for hertz in (3, 20, 40, 100)]
    step = SequenceSummary(channels=1)
    bands = step(column(*waves))[
        :, [step.features.index(f"energy of band {i}") for i in range(1, 5)]
    ]
    np.testing.assert_allclose(bands, np.eye(4), atol=1e-9)


def test_flat_sequences_have_no_energy() -> None:
    step = SequenceSummary(channels=1)
    (flat,) = step(column(np.full((7, 1), 0.1)))
    told = dict(zip(step.features, flat, strict=True))
    assert told["autocorrelation"] == told["energy of band 4"] == 0
    assert told["std"] == pytest.approx(0, abs=1e-15)
    assert told["slope"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "step", [PaddedSequence(length=3, channels=2), SequenceSummary(channels=2)]
)
def test_other_channels_than_at_fit_are_refused_by_row_and_column(step: CellStep) -> None:
    values = column(None, np.zeros((0, 1)), np.zeros((4, 3)))
    with pytest.raises(DataError, match=r"^row 2: a sequence of 3 channels, where those .* 2;"):
        step(values)
    with pytest.raises(DataError, match=r"^column 'a': row 2: a sequence of 3 channels"):
        FrontEnd({"x": described(step)})({"a": values})


@QUICK
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(0, 30), st.just(1)),
        elements=st.one_of(st.floats(-1e30, 1e30), st.just(np.nan), st.integers(-3, 3)),
    )
)
def test_any_sequence_gives_finite_numbers_or_none(sequence: np.ndarray) -> None:
    for step in (SequenceSummary(channels=1), PaddedSequence(length=7, channels=1)):
        (made,) = step(column(sequence))
        assert not np.isinf(made).any()
        assert not np.isnan(made[-1])
        if isinstance(step, SequenceSummary):
            assert np.isnan(made[:-1]).all() or not np.isnan(made).any()
