"""Members that are worked on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from automl_fuse.specs import Job

if TYPE_CHECKING:
    from automl_fuse.budget import Stopwatch
    from automl_fuse.search.arms import Choice
    from automl_fuse.search.outcome import FinishedMember
    from automl_fuse.specs import JobResult


@dataclass(kw_only=True)
class OpenMember:
    """A member whose folds are being worked on.

    Attributes
    ----------
    choice : Choice
        Its learner, and what was drawn.
    pending : list of int
        Folds that wait.
    mates : list of OpenMember
        Members that wait to be fitted in the job of this one.
    running : dict of int to (Job, Stopwatch)
        Jobs that run now, by their first fold, and since when.
    begun : set of int
        Those of them that a worker has taken up, after its start and imports.
    results : dict of int to JobResult
        Folds that are done.
    gains : list of float
        What each of them would add to the ensemble.
    costs : list of (float, float)
        Predicted and measured seconds of each.
    """

    choice: Choice
    pending: list[int]
    mates: list[OpenMember] = field(default_factory=list)
    running: dict[int, tuple[Job, Stopwatch]] = field(default_factory=dict)
    begun: set[int] = field(default_factory=set)
    results: dict[int, JobResult] = field(default_factory=dict)
    gains: list[float] = field(default_factory=list)
    costs: list[tuple[float, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name."""
        return self.choice.name

    @property
    def fold_seconds(self) -> list[float]:
        """What each fold took that is done."""
        return [result.fit_seconds + result.predict_seconds for result in self.results.values()]

    def job(self, fold: int, seconds: float) -> Job:
        """Return the job of a fold."""
        return Job(
            member=self.name,
            learner=self.choice.arm.spec.name,
            params=self.choice.params,
            fold=fold,
            seconds=seconds,
            max_rows=self.choice.max_rows,
        )

    def ended(self) -> dict[str, Any]:
        """Return what a ledger says of a member at its end, whichever it is."""
        return {"member": self.name, "costs": self.costs, "fold_seconds": self.fold_seconds}


def details_of(choice: Choice) -> dict[str, Any]:
    """Return what a ledger says of a member that is begun."""
    return {
        "member": choice.name,
        "arm": choice.arm.name,
        "values": choice.draw.values,
        "distributions": choice.draw.distributions,
        "candidate": choice.candidate,
        "given": choice.seconds,
        "max_rows": choice.max_rows,
        "is_drawn": choice.is_drawn,
    }


def told_of(member: FinishedMember) -> dict[str, Any]:
    """Return what observers are told of a finished member."""
    return {
        "member": member.name,
        "learner": member.learner,
        "loss": member.loss,
        "fit_seconds": member.fit_seconds,
        "predict_seconds": member.predict_seconds,
        "bytes": member.bytes,
        "params": dict(member.params),
    }


def last_line(error: str) -> str:
    """Return the last line of a traceback, which says what was raised."""
    return error.strip().rsplit("\n", 1)[-1]
