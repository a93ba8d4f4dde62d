"""Images and sounds decoded from whatever a cell holds."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from automl_fuse.errors import DataError, MissingDependencyError
from automl_fuse.media import (
    HIGHEST_RATE,
    LONGEST_SIDE,
    averaged,
    decode_image,
    decode_sound,
    is_pair,
    resampled,
    resized,
)
from automl_fuse.specs import Sound

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(256, size=(6, 5, 3)).astype(np.uint8)


def file_of(pixels: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


# --------------------------------------------------------------------------- images


def test_every_form_of_one_image_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(file_of(COLOURS))
    transparent = np.dstack([COLOURS, np.full((6, 5), 9, np.uint8)])
    forms = [
        COLOURS,
        COLOURS.tolist(),
        COLOURS.astype(np.int64),
        COLOURS.transpose(2, 0, 1),
        transparent,
        Image.fromarray(COLOURS),
        Image.fromarray(transparent),
        path.read_bytes(),
        bytearray(path.read_bytes()),
        str(path),
        file_of(COLOURS, "BMP"),
        file_of(COLOURS, "TIFF"),
    ]
    for form in forms:
        decoded = decode_image(form)
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, COLOURS)


@pytest.mark.parametrize(
    ("cell", "dtype", "shape"),
    [
        (np.zeros((4, 7)), np.float32, (4, 7, 1)),
        (np.zeros((4, 7), bool), np.uint8, (4, 7, 1)),
        (np.full((4, 7), 300), np.float32, (4, 7, 1)),
        (np.zeros((1, 4, 7), np.uint8), np.uint8, (4, 7, 1)),
        (np.zeros((9, 9, 13)), np.float32, (9, 9, 13)),
        (Image.fromarray(np.zeros((4, 7), np.uint8)), np.uint8, (4, 7, 1)),
        (Image.new("1", (7, 4)), np.uint8, (4, 7, 1)),
        (Image.new("P", (7, 4)), np.uint8, (4, 7, 3)),
        (Image.new("CMYK", (7, 4)), np.uint8, (4, 7, 3)),
        (Image.new("LA", (7, 4)), np.uint8, (4, 7, 1)),
        (Image.fromarray(np.full((4, 7), 60_000, np.uint16)), np.float32, (4, 7, 1)),
    ],
)
def test_types_and_shapes(cell: Any, dtype: type, shape: tuple[int, ...]) -> None:
    decoded = decode_image(cell)
    assert decoded.dtype == dtype
    assert decoded.shape == shape


def test_large_images_are_reduced_in_proportion() -> None:
    steps = np.repeat(np.arange(200, dtype=np.uint8)[:, None], 1000, axis=1)
    for cell in (steps, Image.fromarray(steps), file_of(steps), steps.astype(np.float64) + 0.25):
        decoded = decode_image(cell)
        assert decoded.shape == (51, LONGEST_SIDE, 1)
        assert abs(float(decoded[:, 5, 0].mean()) - 99.5) < 1
        assert (np.diff(decoded[:, 0, 0].astype(float)) > 0).all()


def test_a_photograph_is_turned_as_its_camera_noted() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    blocks = np.repeat(np.repeat(np.array([[0, 255]], np.uint8), 16, axis=0), 16, axis=1)
    turned = decode_image(file_of(blocks, "JPEG", exif=exif, quality=95))
    assert turned.shape == (32, 16, 1)
    assert turned[0].mean() < 30
    assert turned[-1].mean() > 220


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (b"\x89PNG\r\n\x1a\n", "begin with .* are no image that pillow reads"),
        (b"no image", "are no image that pillow reads"),
        (file_of(COLOURS)[:60], "are no image that pillow reads"),
        ("absent/a.png", "does not exist: paths are relative to the working directory"),
        (str(Path("/absent/a.png")), "'/absent/a.png' does not exist$"),
        ("nul\0.png", "cannot be read"),
        (".", "cannot be read"),
        ([[1, 2], [3]], "regular array of numbers"),
        ([["a"]], "must hold numbers"),
        (np.array([[None, 1]], dtype=object), "finite numbers"),
        (np.array([[np.nan, 1.0]]), "finite numbers"),
        (np.array([[1e300, 1.0]]), "finite numbers"),
        (np.zeros(4), r"not \(4,\)"),
        (np.zeros((2, 2, 2, 2)), r"not \(2, 2, 2, 2\)"),
        (np.zeros((0, 4)), "not "),
        (np.zeros((9, 9, 65)), "more than 64 channels"),
        (1.5, "not float"),
    ],
)
def test_what_is_no_image_is_refused(cell: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode_image(cell)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (6, 4), (12, 10), (7, 9)])
def test_resized_pixels_are_means_of_the_areas_they_cover(height: int, width: int) -> None:
    # Each pixel becomes a tile, so that every area is one of whole tiles.
    fine = np.kron(COLOURS[:, :, 0].astype(float), np.ones((height, width)))
    expected = fine.reshape(height, 6, width, 5).mean(axis=(1, 3))
    got = resized(COLOURS[:, :, :1], height, width)[:, :, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_averaging_keeps_what_has_the_size() -> None:
    values = RNG.normal(size=(7, 2))
    assert np.array_equal(averaged(values, 7), values)
    np.testing.assert_allclose(averaged(values, 1)[0], values.mean(axis=0))


# --------------------------------------------------------------------------- sounds


def wave_file(samples: np.ndarray, rate: int = 8_000, code: int = 1, *, extended: int = 0) -> bytes:
    """Write a WAVE file by the book; an extensible header names the encoding elsewhere."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    size = 3 if samples.dtype.kind == "V" else samples.dtype.itemsize
    frame = size * channels
    layout = struct.pack(
        "<HHIIHH", 0xFFFE if extended else code, channels, rate, rate * frame, frame, 8 * size
    )
    if extended:
        layout += struct.pack("<HHIH", 22, 8 * size, 0, extended) + bytes(14)
    data = samples.tobytes()
    note = b"LIST" + struct.pack("<I", 3) + b"odd\0"
    body = b"WAVE" + note + b"fmt " + struct.pack("<I", len(layout)) + layout
    body += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


TONE = 0.5 * np.sin(np.arange(400) / 5)
SHORTS = np.round(TONE * 2**15).astype("<i2")
TRIPLES = np.frombuffer(
    b"".join(int(s).to_bytes(3, "little", signed=True) for s in np.round(TONE * 2**23)), "V3"
)


def test_every_form_of_one_sound_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as stream:
        stream.setparams((1, 2, 8_000, 0, "NONE", ""))
        stream.writeframes(SHORTS.tobytes())
    forms = [
        (8_000, SHORTS),
        [8_000, SHORTS.tolist()],
        (SHORTS, 8_000),
        (8_000.0, TONE),
        (np.int64(8_000), TONE.astype(np.float32)),
        (8_000, np.stack([TONE, TONE], axis=1)),
        (8_000, np.round(TONE * 2**31).astype(np.int32)),
        Sound(8_000, TONE.astype(np.float32)),
        str(path),
        path.read_bytes(),
        wave_file(SHORTS),
        wave_file(np.stack([SHORTS, SHORTS], axis=1)),
        wave_file(np.round(TONE * 2**31).astype("<i4")),
        wave_file(TRIPLES),
        wave_file(TONE.astype("<f4"), code=3),
        wave_file(TONE.astype("<f8"), code=3),
        wave_file(SHORTS, extended=1),
        wave_file(TONE.astype("<f4"), extended=3),
    ]
    for form in forms:
        sound = decode_sound(form)
        assert sound.rate == 8_000
        assert sound.samples.dtype == np.float32
        np.testing.assert_allclose(sound.samples, TONE, atol=2**-15)
    bytes_ = np.round(TONE * 128 + 128).astype(np.uint8)
    for form in ((8_000, bytes_), wave_file(bytes_)):
        np.testing.assert_allclose(decode_sound(form).samples, TONE, atol=2**-7)


def test_channels_are_averaged() -> None:
    stereo = np.stack([np.ones(50), np.zeros(50)], axis=1)
    np.testing.assert_allclose(decode_sound((8_000, stereo)).samples, 0.5)


def test_fast_and_long_sounds_are_reduced() -> None:
    time = np.arange(48_000) / 48_000
    low, high = np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 15_000 * time)
    sound = decode_sound((48_000, 0.5 * (low + high)))
    assert sound.rate == HIGHEST_RATE
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(sound.samples, expected, atol=1e-4)
    assert len(decode_sound((100, np.zeros(100 * 90))).samples) == 100 * 60


@pytest.mark.parametrize("rate", [400, 800, 3_000])
def test_resampling_keeps_what_is_slow(rate: int) -> None:
    sound = Sound(800, np.sin(2 * np.pi * 3 * np.arange(800) / 800).astype(np.float32))
    other = resampled(sound, rate)
    expected = np.sin(2 * np.pi * 3 * np.arange(rate) / rate)
    assert other.rate == rate
    np.testing.assert_allclose(other.samples, expected, atol=1e-5)


def test_sounds_of_few_samples() -> None:
    for size in (0, 1, 2, 3):
        sound = decode_sound((48_000, np.full(size, 0.25)))
        assert len(sound.samples) == round(size / 3)
        np.testing.assert_allclose(sound.samples, 0.25, rtol=1e-6)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (TONE, "a sound is a pair"),
        ((1, 2), "a sound is a pair"),
        ((True, TONE), "a sound is a pair"),
        ((44_100.5, TONE), "a whole number of samples a second"),
        ((0, TONE), "beyond 100"),
        ((10**9, TONE), "beyond 100"),
        ((8_000, ["a"]), "samples are numbers"),
        ((8_000, [[1], [2, 3]]), "regular array"),
        ((8_000, np.zeros((2, 2, 2))), "samples are numbers"),
        ((8_000, [0.0, np.nan]), "finite numbers"),
        ("absent/a.wav", "does not exist: paths are relative"),
        (wave_file(SHORTS)[:30], "damaged: it lacks a format or data"),
        (wave_file(SHORTS, code=7), "16 bits in encoding 7: save it as PCM"),
        (wave_file(SHORTS, rate=0), "damaged"),
    ],
)
def test_what_is_no_sound_is_refused(cell: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode_sound(cell)


def test_a_file_that_was_cut_short_is_read_as_far_as_it_goes() -> None:
    assert len(decode_sound(wave_file(SHORTS)[:-101]).samples) == 349


def test_pairs_are_told_from_sequences() -> None:
    assert is_pair((8_000, TONE))
    assert is_pair([TONE, 8_000])
    assert not any(map(is_pair, [(1, 2), (TONE, TONE), (8_000, TONE, 1), TONE, (True, TONE), "ab"]))


# --------------------------------------------------------------------------- what is installed


@pytest.mark.parametrize(
    ("module", "decode", "cell", "words"),
    [
        ("PIL", decode_image, b"\x89PNG", r"needs pillow: pip install 'automl-fuse\[media\]'"),
        ("soundfile", decode_sound, b"fLaC", "needs soundfile: pip install soundfile"),
    ],
)
def test_a_missing_library_is_named(
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    decode: Callable[[Any], Any],
    cell: bytes,
    words: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=words):
        decode(cell)


def test_other_files_than_wave_are_given_to_soundfile(monkeypatch: pytest.MonkeyPatch) -> None:
    class Soundfile:
        @staticmethod
        def read(stream: io.BytesIO, *, dtype: str, always_2d: bool) -> tuple[np.ndarray, int]:
            if stream.read() != b"fLaC whole":
                raise RuntimeError("broken")
            return np.stack([TONE, TONE], axis=1).astype(dtype), 8_000

    monkeypatch.setitem(sys.modules, "soundfile", Soundfile)  # type: ignore[arg-type]
    np.testing.assert_allclose(decode_sound(b"fLaC whole").samples, TONE, atol=1e-6)
    with pytest.raises(DataError, match="are no audio that soundfile reads: broken"):
        decode_sound(b"fLaC cut")


def test_numpy_is_enough_for_arrays_and_wave_files(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wave_file(SHORTS))
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        first = name.split('.')[0]\n"
        "        if first not in {'numpy', 'automl_fuse', *sys.stdlib_module_names}:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "import numpy as np\n"
        "from automl_fuse.media import decode_image, decode_sound\n"
        "print(decode_image(np.zeros((3, 4))).shape, len(decode_sound('a.wav').samples))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "(3, 4, 1) 400"
