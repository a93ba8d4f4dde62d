"""The conformance suite of compressors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from automl_fuse.specs import (
    Candidate,
    Compressor,
    CompressorSpec,
    FusionContext,
    Params,
    Task,
    Teacher,
)
from automl_fuse.testing._base import (
    Check,
    TickingDeadline,
    checks_of,
    far,
    frozen_copies,
    passed,
    require,
    run_all,
    sound_spec,
)
from automl_fuse.testing._data import n_classes_of, sample_target
from automl_fuse.testing.fusions import NOISES, sample_loss, sample_oof

_N_ROWS = 80


class CompressorCase:
    """A compressor on one task, and teachers of five members and of one."""

    def __init__(self, spec: CompressorSpec, task: Task) -> None:
        self.spec = spec
        self.task = task
        y = sample_target(np.random.default_rng(1).normal(size=_N_ROWS), task, seed=2)
        self.teacher = Teacher(
            oof=sample_oof(y, task, NOISES, seed=3),
            y=y,
            weight=None,
            shares=np.array([0.4, 0.2, 0.0, 0.3, 0.1]),
            bytes=np.array([1e6, 2e5, 3e4, 5e6, 1e4]),
            seconds=np.array([1e-3, 2e-3, 1e-4, 5e-3, 1e-5]),
        )

    def propose(
        self, teacher: Teacher, params: Params, deadline: TickingDeadline | None = None
    ) -> list[Candidate]:
        """Build a compressor, let it propose, and require sound candidates."""
        context = FusionContext(
            task=self.task,
            n_classes=n_classes_of(self.task),
            loss=sample_loss,
            seed=7,
            deadline=deadline or far(),
        )
        built = self.spec.build(params, context)
        sound = isinstance(built, Compressor)
        require(sound, f"build returned {built!r}, which is no Compressor")
        candidates = list(built.propose(teacher))
        names = [candidate.name for candidate in candidates]
        require(len(set(names)) == len(names), f"candidate names repeat: {names}")
        for candidate in candidates:
            _require_candidate(candidate, len(teacher.oof))
        return candidates


def _require_candidate(candidate: Candidate, n_members: int) -> None:
    members = candidate.members
    require(isinstance(candidate, Candidate), f"{candidate!r} is no Candidate")
    require(members, f"candidate {candidate.name!r} keeps no member")
    require(len(set(members)) == len(members), f"{candidate.name!r} keeps a member twice")
    inside = all(0 <= member < n_members for member in members)
    require(inside, f"{candidate.name!r} keeps members {members} of {n_members}")


def proposes_validly(case: CompressorCase) -> None:
    """Require that candidates have unlike names, and keep members that there are, each once."""
    for point in case.spec.portfolio:
        case.propose(case.teacher, point.params)


def repeats_with_its_seed(case: CompressorCase) -> None:
    """Require that two compressors with one seed propose the same."""
    params = case.spec.portfolio[0].params
    left, right = (case.propose(case.teacher, params) for _ in range(2))
    require(left == right, f"{left} and {right}")


def accepts_one_member(case: CompressorCase) -> None:
    """Require that a pipeline of one member can be compressed: at worst nothing is proposed."""
    full = case.teacher
    single = Teacher(
        oof=full.oof[:1],
        y=full.y,
        weight=None,
        shares=np.ones(1),
        bytes=full.bytes[:1],
        seconds=full.seconds[:1],
    )
    for point in case.spec.portfolio:
        case.propose(single, point.params)


def accepts_weights(case: CompressorCase) -> None:
    """Require that it proposes for weighted rows."""
    weighted = replace(case.teacher, weight=np.linspace(0.5, 1.5, _N_ROWS))
    case.propose(weighted, case.spec.portfolio[0].params)


def honours_a_passed_deadline(case: CompressorCase) -> None:
    """Require that with a deadline that has passed it returns what it has."""
    case.propose(case.teacher, case.spec.portfolio[0].params, deadline=passed())


def leaves_its_input_alone(case: CompressorCase) -> None:
    """Require that proposing does not change the teacher."""
    # Made anew: an earlier check may have left its marks on what checks share.
    teacher = CompressorCase(case.spec, case.task).teacher
    arrays = [teacher.oof, teacher.y, teacher.shares, teacher.bytes, teacher.seconds]
    pairs = list(frozen_copies(arrays))
    case.propose(teacher, case.spec.portfolio[0].params)
    for array, copy in pairs:
        require(np.array_equal(array, copy), "an array of the teacher was changed in place")


_RULES = (
    proposes_validly,
    repeats_with_its_seed,
    accepts_one_member,
    accepts_weights,
    honours_a_passed_deadline,
    leaves_its_input_alone,
)


def compressor_checks(spec: CompressorSpec) -> list[Check]:
    """Return the checks of a compressor: every rule on each of its tasks."""
    checks = [sound_spec(spec, "compressor")]
    for task in sorted(spec.tasks):
        case = CompressorCase(spec, task)
        label = str(task)
        checks += checks_of(_RULES, case, kind="compressor", spec=spec.name, label=label)
    return checks


def check_compressor(spec: CompressorSpec) -> None:
    """Apply every check of a compressor; raise ``AssertionError`` listing all that are broken."""
    run_all(compressor_checks(spec))
