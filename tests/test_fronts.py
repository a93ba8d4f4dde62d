"""The front, and the choice of one of its points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_fuse.errors import SettingsError
from automl_fuse.fronts import (
    PREFERENCES,
    Limits,
    Point,
    check_preference,
    front_of,
    pick,
    standard_error,
)


def point(name: str, loss: float, latency: float, size: float, error: float = 0.0) -> Point:
    return Point(name=name, loss=loss, error=error, latency_ms=latency, size_mb=size)


BIG = point("big", 0.200, 5.0, 80.0, error=0.01)
MIDDLE = point("middle", 0.208, 0.2, 2.0, error=0.01)
SMALL = point("small", 0.230, 0.03, 0.1, error=0.01)
ALL = (BIG, MIDDLE, SMALL)


def test_what_another_beats_is_not_on_the_front() -> None:
    worse = point("worse", 0.21, 0.2, 2.0)
    assert front_of([worse, *ALL]) == ALL


@given(
    st.lists(
        st.tuples(*[st.integers(0, 4).map(float)] * 3),
        min_size=1,
        max_size=12,
    )
)
def test_the_front_is_what_nothing_beats(figures: list[tuple[float, float, float]]) -> None:
    points = [point(str(i), *each) for i, each in enumerate(figures)]
    front = front_of(points)
    for one in front:
        assert not any(other.beats(one) for other in points)
    for one in points:
        same = any((p.loss, p.price) == (one.loss, one.price) for p in front)
        assert same or any(other.beats(one) for other in points) or one in front


@pytest.mark.parametrize(
    ("prefer", "name"), [("quality", "big"), ("balanced", "middle"), ("speed", "small")]
)
def test_preferences(prefer: str, name: str) -> None:
    assert pick(ALL, prefer, Limits()).name == name


def test_balanced_stays_within_one_standard_error_of_the_best() -> None:
    certain = [point("big", 0.2, 5, 80, error=0.001), MIDDLE, SMALL]
    assert pick(certain, "balanced", Limits()).name == "big"


def test_speed_takes_the_cheapest_where_none_is_fast() -> None:
    assert pick([BIG, MIDDLE], "speed", Limits()).name == "middle"


def test_limits_come_before_preferences() -> None:
    assert pick(ALL, "quality", Limits(latency_ms=1.0)).name == "middle"
    assert pick(ALL, "quality", Limits(size_mb=0.5)).name == "small"
    assert pick(ALL, "speed", Limits(loss=0.05)).name == "middle"


def test_a_limit_that_nothing_meets_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"max_latency_ms=0\.01.*'small'.*0\.03 ms"):
        pick(ALL, "balanced", Limits(latency_ms=0.01))


@pytest.mark.parametrize("prefer", ["fast", "", "Balanced"])
def test_unknown_preferences_are_refused(prefer: str) -> None:
    with pytest.raises(SettingsError, match=", ".join(PREFERENCES)):
        check_preference(prefer, Limits())


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_limits_that_cannot_be_meant_are_refused(limit: float) -> None:
    with pytest.raises(SettingsError, match="max_size_mb"):
        check_preference("speed", Limits(size_mb=limit))


def test_the_standard_error_shrinks_with_the_root_of_the_rows() -> None:
    rng = np.random.default_rng(0)

    def squared(y: np.ndarray, prediction: np.ndarray, _weight: np.ndarray | None) -> float:
        return float(np.mean((y - prediction[:, 0]) ** 2))

    errors = []
    for n_rows in (1_000, 100_000):
        y = rng.normal(size=n_rows)
        errors.append(standard_error(squared, y, np.zeros((n_rows, 1)), None))
    # Blocks are dealt in the order of the target, which only lowers the spread between them.
    assert errors[1] < errors[0] / 3
