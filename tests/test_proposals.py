"""What compressors may propose to join, as the engine checks it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from automl_fuse.budget import Deadline
from automl_fuse.compression import ask
from automl_fuse.errors import PluginError
from automl_fuse.specs import ALL_TASKS, CompressorSpec, FusionContext, Joint, Task, Teacher
from automl_fuse.testing import check_compressor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import FitContext, Learner, Part, Rows

TEACHER = Teacher(
    oof=np.full((3, 4, 2), 0.5),
    y=np.array([0, 1, 0, 1]),
    weight=None,
    shares=np.full(3, 1 / 3),
    bytes=np.ones(3),
    seconds=np.ones(3),
    terms=("log", "log", ""),
)
CONTEXT = FusionContext(
    task=Task.BINARY, n_classes=2, loss=lambda *_: 0.0, seed=0, deadline=Deadline(60.0)
)


def first(parts: Sequence[Part], train: Rows, context: FitContext) -> Learner:
    return parts[0].learner


JOINT = Joint(name="both", members=(0, 1), join=first)


class Proposes:
    def __init__(self, proposal: Any) -> None:
        self.proposal = proposal

    def propose(self, teacher: Teacher) -> list[Any]:
        return [self.proposal]


def spec_of(proposal: Any) -> CompressorSpec:
    return CompressorSpec(
        name="odd", api_version=1, tasks=ALL_TASKS, build=lambda params, context: Proposes(proposal)
    )


def test_members_of_equal_terms_can_be_joined() -> None:
    (found,) = ask(spec_of(JOINT), {}, TEACHER, CONTEXT)
    assert found == replace(JOINT, name="odd:both")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": (0,)}, "two or more"),
        ({"members": (0, 0)}, "each once"),
        ({"members": (0, 3)}, "some of 0 … 2"),
        ({"members": (0, 2)}, "equal Teacher.terms"),
        ({"effort": 0.0}, "above 0"),
    ],
)
def test_others_are_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        ask(spec_of(replace(JOINT, **changes)), {}, TEACHER, CONTEXT)
    with pytest.raises(AssertionError, match="proposes_validly"):
        check_compressor(spec_of(replace(JOINT, **changes)))


def test_members_of_unknown_terms_are_not_joined() -> None:
    with pytest.raises(PluginError, match=r"equal Teacher\.terms"):
        ask(spec_of(JOINT), {}, replace(TEACHER, terms=()), CONTEXT)
