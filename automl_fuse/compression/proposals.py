"""What compressors propose, checked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from automl_fuse.errors import PluginError
from automl_fuse.specs import Edit, Joint, Proposal, Refit, Selection, Student

if TYPE_CHECKING:
    from automl_fuse.specs import CompressorSpec, FusionContext, Params, Teacher


def ask(
    spec: CompressorSpec, params: Params, teacher: Teacher, context: FusionContext
) -> tuple[Proposal, ...]:
    """Return what a compressor proposes, each under the name ``compressor:name``.

    Parameters
    ----------
    spec : CompressorSpec
        The compressor.
    params : mapping
        A point of its space.
    teacher : Teacher
        The fused pipeline.
    context : FusionContext
        Its deadline ends the proposing.

    Raises
    ------
    PluginError
        If a proposal names members or a learner that are not there, or none.
    """
    proposals = spec.build(params, context).propose(teacher)
    return tuple(_checked(spec.name, each, teacher) for each in proposals)


def _checked(compressor: str, proposal: Proposal, teacher: Teacher) -> Proposal:
    name = f"{compressor}:{proposal.name}"
    n_members = len(teacher.shares)
    if isinstance(proposal, Student):
        _require_members(name, proposal.teacher, n_members)
        if proposal.learner not in teacher.students:
            raise PluginError(
                f"Compressor proposal {name!r} names the learner {proposal.learner!r}, which "
                f"cannot be fitted here: there are {', '.join(teacher.students)}."
            )
        return replace(proposal, name=name)
    if isinstance(proposal, Selection):
        if not proposal.members:
            raise PluginError(f"Compressor proposal {name!r} keeps no member.")
        _require_members(name, proposal.members, n_members)
        return replace(proposal, name=name, members=tuple(sorted(set(proposal.members))))
    if isinstance(proposal, Refit | Edit):
        others = proposal.others if isinstance(proposal, Edit) else ()
        _require_members(name, (proposal.member, *others), n_members)
        return replace(proposal, name=name)
    if isinstance(proposal, Joint):
        _require_joinable(name, proposal, teacher)
        return replace(proposal, name=name)
    raise PluginError(
        f"Compressor {compressor!r} proposed {proposal!r}: it must be a Selection, Refit, "
        "Student, Edit or Joint."
    )


def _require_joinable(name: str, joint: Joint, teacher: Teacher) -> None:
    members = joint.members
    _require_members(name, members, len(teacher.shares))
    if len(set(members)) < max(2, len(members)):
        raise PluginError(
            f"Compressor proposal {name!r} joins the members {members}: they must be two or more, "
            "each once."
        )
    if not teacher.terms or len({teacher.terms[member] for member in members}) > 1:
        raise PluginError(
            f"Compressor proposal {name!r} joins the members {members}, which were fitted to "
            "different rows or transforms of the target: join those of equal Teacher.terms."
        )
    if joint.effort <= 0.0:
        raise PluginError(
            f"Compressor proposal {name!r} has the effort {joint.effort}: it must be above 0."
        )


def _require_members(name: str, members: tuple[int, ...], n_members: int) -> None:
    if any(not 0 <= member < n_members for member in members):
        raise PluginError(
            f"Compressor proposal {name!r} names the members {members}: they must be some of "
            f"0 … {n_members - 1}."
        )
