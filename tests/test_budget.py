import pytest

from automl_fuse.budget import Deadline, Stopwatch, plan, usable_cores
from automl_fuse.errors import SettingsError


@pytest.mark.parametrize("limit", [1, 3, 10, 60, 300, 3600, 36_000, float("inf")])
def test_a_plan_leaves_room_for_every_stage(limit):
    times = plan(limit)
    assert 0 < times.search <= times.choose <= times.fuse <= times.limit == limit


def test_the_search_gets_most_of_it_and_more_where_nothing_is_compressed():
    assert plan(60).search > 0.7 * 60
    assert plan(60, compress=False).search > 0.85 * 60
    assert plan(3600, compress=False).search > 0.85 * 3600


@pytest.mark.parametrize("limit", [0, 0.5, -3, float("nan")])
def test_impossible_limits_are_refused(limit):
    with pytest.raises(SettingsError, match="time_limit"):
        plan(limit)


def test_deadlines_pass():
    assert not Deadline(1000).expired()
    assert Deadline(1000).remaining() == pytest.approx(1000, abs=10)
    assert Deadline(0).expired()
    assert Deadline(-5).remaining() < 0
    assert Deadline(float("inf")).remaining() == float("inf")


def test_stopwatch_and_cores():
    watch = Stopwatch()
    assert 0 <= watch.seconds() <= watch.seconds()
    assert usable_cores() >= 1


def test_a_search_that_ended_early_gives_its_time_back():
    times = plan(60)
    moved = times.with_search_until(10)
    assert moved.search == 10
    assert moved.limit == 60
    assert moved.compress - moved.fuse == pytest.approx(times.compress - times.fuse)
    assert moved.compress == pytest.approx(10 + times.compress - times.search)
