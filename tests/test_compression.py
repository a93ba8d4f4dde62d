"""Candidates of compressors, their cross-fitted scores, and the front."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import automl_fuse_compress
from automl_fuse.compression import FUSED, Point, candidates, compress, front, score_candidates
from automl_fuse.errors import PluginError
from automl_fuse.fusion import cross_fitted
from automl_fuse.metrics import loss_of, resolve
from automl_fuse.specs import (
    ALL_TASKS,
    REGRESSION,
    Candidate,
    CompressorSpec,
    FusionContext,
    Task,
    Teacher,
)
from automl_fuse_fusion import averaging, convex

(PRUNE,) = automl_fuse_compress.automl_fuse_compressors()


class Countdown:
    """A deadline that passes after some questions."""

    def __init__(self, questions: float = float("inf")) -> None:
        self.left = questions

    def remaining(self) -> float:
        return self.left

    def expired(self) -> bool:
        self.left -= 1
        return self.left < 0


def context_of(questions: float = float("inf")) -> FusionContext:
    return FusionContext(
        task=Task.BINARY,
        n_classes=2,
        loss=loss_of(resolve(None, Task.BINARY), Task.BINARY),
        seed=0,
        deadline=Countdown(questions),
    )


def teacher_of(n_members=6, n_rows=120, seed=0, **changes) -> Teacher:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n_rows)
    p = 1 / (1 + np.exp(-(2 * y - 1 + rng.normal(size=(n_members, n_rows)))))
    shares = rng.dirichlet(np.ones(n_members))
    values = {
        "oof": np.stack([1 - p, p], axis=2),
        "y": y,
        "weight": None,
        "shares": shares,
        "bytes": np.arange(1.0, n_members + 1),
        "seconds": np.full(n_members, 0.5),
    }
    return Teacher(**{**values, **changes})


def splits_of(n_rows: int):
    part = np.arange(n_rows) % 3
    return [(np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(3)]


def proposing(*members: tuple[int, ...], tasks=ALL_TASKS) -> CompressorSpec:
    class Proposer:
        def propose(self, teacher):
            return [Candidate(name=f"c{i}", members=m) for i, m in enumerate(members)]

    return CompressorSpec(
        name="mine", api_version=1, tasks=tasks, build=lambda params, context: Proposer()
    )


# ------------------------------------------------------------------ prune_members


def test_prune_members_proposes_nested_sets():
    teacher = teacher_of()
    found = {c.name: c.members for c in PRUNE.build({}, context_of()).propose(teacher)}
    order = np.argsort(-teacher.shares)
    for k in (1, 2, 3, 5):
        assert found[f"top_{k}"] == tuple(sorted(int(m) for m in order[:k]))
    assert len(set(found.values())) == len(found)
    sizes = [len(members) for members in found.values()]
    assert sizes == sorted(sizes, reverse=True)


def test_prune_members_finds_the_best_pair_by_loss():
    """Shares prefer noise; elimination must not."""
    teacher = teacher_of(n_rows=400)
    oof = teacher.oof.copy()
    oof[:4] = 0.5
    teacher = teacher_of(n_rows=400, oof=oof, shares=np.array([0.3, 0.3, 0.1, 0.1, 0.1, 0.1]))
    found = {c.name: c.members for c in PRUNE.build({}, context_of()).propose(teacher)}
    assert found["backward_2"] == (4, 5)
    losses = [context_of().loss(teacher.y, member, None) for member in oof]
    assert (int(np.argmin(losses)),) in found.values()


def test_prune_members_leaves_unknown_rows_out_and_keeps_time():
    teacher = teacher_of()
    teacher.oof[0, :20] = np.nan
    found = PRUNE.build({}, context_of()).propose(teacher)
    assert any(c.name.startswith("backward") for c in found)
    hasty = PRUNE.build({}, context_of(0)).propose(teacher)
    assert hasty
    assert not any(c.name.startswith("backward") for c in hasty)
    teacher.oof[:] = np.nan
    assert PRUNE.build({}, context_of()).propose(teacher) == ()


def test_prune_members_of_one_member_and_zero_shares():
    alone = PRUNE.build({}, context_of()).propose(teacher_of(1))
    assert [c.members for c in alone] == [(0,)]
    zero = np.array([1.0, 0.0, 0.0, 0.0])
    found = PRUNE.build({}, context_of()).propose(teacher_of(4, shares=zero))
    assert {len(c.members) for c in found} == {1, 2, 3}


# ------------------------------------------------------------------ candidates


def test_each_member_set_once_and_the_teacher_first():
    found = candidates([proposing((2, 0), (0, 2, 2), (1,))], teacher_of(3), context_of())
    assert [(c.name, c.members) for c in found] == [
        (FUSED, (0, 1, 2)),
        ("mine:c0", (0, 2)),
        ("mine:c2", (1,)),
    ]


@pytest.mark.parametrize("members", [(), (-1,), (3,)])
def test_impossible_members_name_the_compressor(members):
    with pytest.raises(PluginError, match="Compressor 'mine' proposed 'c0'"):
        candidates([proposing(members)], teacher_of(3), context_of())


def test_compressors_of_other_tasks_are_not_asked():
    found = candidates([proposing((0,), tasks=REGRESSION)], teacher_of(3), context_of())
    assert [c.name for c in found] == [FUSED]


def test_scores_are_those_of_the_refitted_fusion():
    teacher, context = teacher_of(3), context_of()
    proposal = Candidate(name="pair", members=(0, 2))
    (point,) = score_candidates(
        [proposal], teacher, averaging.AVERAGE, {"k": 0}, splits_of(120), context
    )
    assert point.loss == pytest.approx(
        context.loss(teacher.y, teacher.oof[[0, 2]].mean(axis=0), None)
    )
    assert point.bytes == 4.0
    assert point.seconds == 1.0
    assert point.std > 0


def test_a_passed_deadline_scores_nothing_and_leaves_the_teacher_on_the_front():
    teacher, splits = teacher_of(), splits_of(120)
    found = candidates([PRUNE], teacher, context_of())
    assert score_candidates(found, teacher, convex.SPEC, {}, splits, context_of(0)) == ()
    fused = cross_fitted(
        convex.SPEC, {}, teacher.oof, teacher.y, teacher.weight, splits, context_of()
    )
    got = compress([PRUNE], teacher, fused, convex.SPEC, {}, splits, context_of(0))
    assert [(p.name, p.loss) for p in got.points] == [(FUSED, fused.loss)]


# ------------------------------------------------------------------ front


def point(loss: float, seconds: float, size: float, name: str = "p") -> Point:
    return Point(name=name, members=(0,), loss=loss, std=0.0, bytes=size, seconds=seconds)


def test_front_keeps_what_nothing_beats():
    points = [point(1, 3, 3), point(2, 2, 3), point(2, 3, 3), point(3, 3, 1), point(3, 3, 2)]
    kept = [(p.loss, p.seconds, p.bytes) for p in front(points).points]
    assert kept == [(1, 3, 3), (2, 2, 3), (3, 3, 1)]


def test_front_keeps_the_first_of_equals():
    assert [p.name for p in front([point(1, 1, 1, "a"), point(1, 1, 1, "b")]).points] == ["a"]


numbers = st.integers(0, 4)


@given(st.lists(st.builds(point, numbers, numbers, numbers), max_size=30))
@settings(max_examples=100, deadline=None)
def test_front_by_definition(points):
    kept = front(points).points
    assert bool(kept) == bool(points)
    for one in kept:
        assert not any(other.beats(one) for other in points)
    for one in points:
        assert any(
            k.beats(one) or (k.loss, k.seconds, k.bytes) == (one.loss, one.seconds, one.bytes)
            for k in kept
        )


def test_compress_ends_in_a_frame():
    teacher = teacher_of(6, 300)
    params, splits, context = {"shrinkage": 0.1}, splits_of(300), context_of()
    fused = cross_fitted(
        convex.SPEC, params, teacher.oof, teacher.y, teacher.weight, splits, context
    )
    got = compress([PRUNE], teacher, fused, convex.SPEC, params, splits, context)
    frame = got.as_frame()
    assert list(frame.columns) == ["name", "members", "loss", "std", "bytes", "seconds"]
    assert len(frame) >= 2
    assert frame["loss"].is_monotonic_increasing
    assert frame["seconds"].iloc[0] > frame["seconds"].iloc[-1]
    assert list(front([]).as_frame().columns) == list(frame.columns)
