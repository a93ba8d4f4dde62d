import math

import pytest

from automl_fuse.errors import SettingsError
from automl_fuse.units import in_words, to_bytes, to_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (60, 60.0),
        (0.5, 0.5),
        ("60", 60.0),
        ("1.5", 1.5),
        ("45s", 45.0),
        ("90m", 5_400.0),
        ("90 min", 5_400.0),
        ("8h", 28_800.0),
        ("8 Hours", 28_800.0),
        ("1.5h", 5_400.0),
        ("1h30m", 5_400.0),
        (" 1 day 2 hrs 3 minutes 4 secs ", 93_784.0),
        (math.inf, math.inf),
    ],
)
def test_times_are_read(text, seconds):
    assert to_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "8x", "h", "1h30", "-5m", "1h-3m", "eight hours", None, True])
def test_what_is_no_time_is_named(text):
    with pytest.raises(SettingsError, match=r"patience=.* is not a time: .*8h"):
        to_seconds(text, "patience")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1_000, 1_000),
        (2e9, 2_000_000_000),
        ("1000", 1_000),
        ("1000 B", 1_000),
        ("12GB", 12_000_000_000),
        ("12G", 12_000_000_000),
        ("1.5 gb", 1_500_000_000),
        ("800MB", 800_000_000),
        ("16GiB", 16 * 1_024**3),
        ("2Ti", 2 * 1_024**4),
        ("64kB", 64_000),
    ],
)
def test_sizes_are_read(text, size):
    assert to_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "much", "12 XB", "-1GB", "GB", "1iB", -1, math.nan, math.inf, None, False]
)
def test_what_is_no_size_is_named(text):
    with pytest.raises(SettingsError, match=r"room=.* is not a size: .*12GB"):
        to_bytes(text, "room")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (59.6, "1m"), (61, "1m 1s"), (3_600, "1h"), (93_784, "1d 2h"), (86_401, "1d 1s")],
)
def test_times_are_told_in_two_units(seconds, words):
    assert in_words(seconds) == words


def test_times_without_end_are_told():
    assert in_words(math.inf) == "no end"
    assert in_words(math.nan) == "unknown"


def test_what_is_told_in_two_units_can_be_read_again():
    for seconds in (1, 75, 4_200, 200_000):
        told = in_words(seconds)
        assert in_words(to_seconds(told)) == told
