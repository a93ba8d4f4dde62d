"""A search brought back to where its ledger ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import RunError
from automl_fuse.search.arms import Choice
from automl_fuse.search.incumbent import Blend
from automl_fuse.search.ledger import (
    DROPPED,
    FAILED,
    FINISHED,
    OPENED,
    PARTIAL,
    SEARCH_ENDED,
    STOPPED,
)
from automl_fuse.search.outcome import FinishedMember, TrialFailure
from automl_fuse.search.studies import PastTrial

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from automl_fuse.search.arms import Arm
    from automl_fuse.search.ledger import Ledger, Line
    from automl_fuse.search.studies import Draw
    from automl_fuse.search.tally import Tally

_ENDS: Final = (FINISHED, STOPPED, FAILED)


@dataclass(frozen=True, kw_only=True)
class Past:
    """What an interrupted search has left to go on with.

    Attributes
    ----------
    open : list of Choice
        Members without an end, in the order in which they were begun.
    partial : list of FinishedMember
        A member of which it kept some folds, if none was finished.
    """

    open: list[Choice]
    partial: list[FinishedMember]


def replay(ledger: Ledger, arms: Sequence[Arm], tally: Tally) -> Past:
    """Bring arms, their studies and the tally of a search to where its ledger ends.

    Members of learners that are not searched any more are passed over.

    Raises
    ------
    RunError
        If predictions are lost, or a learner has another space than it had.
    """
    known = {arm.name: arm for arm in arms}
    mine = {line["member"]: line for line in ledger.lines if line["event"] == OPENED}
    mine = {name: line for name, line in mine.items() if line["arm"] in known}
    ends = {line["member"]: line for line in ledger.lines if line["event"] in _ENDS}
    draws = _restored(known, mine, ends)
    choices = {
        name: Choice(
            arm=known[line["arm"]],
            draw=draws[name],
            seconds=line["given"],
            max_rows=line["max_rows"],
            is_drawn=line["is_drawn"],
            candidate=line["candidate"],
        )
        for name, line in mine.items()
    }
    scribe = _Scribe(ledger, choices, tally)
    for line in ledger.lines:
        if line.get("member") in mine:
            scribe.hear(line)
    return Past(
        open=[choice for name, choice in choices.items() if name not in ends],
        partial=scribe.partial,
    )


def kept_members(lines: Iterable[Line]) -> dict[str, tuple[int, ...]]:
    """Return the members of a ledger whose files are needed, with their folds."""
    kept: dict[str, tuple[int, ...]] = {}
    for line in lines:
        if line["event"] in {FINISHED, PARTIAL}:
            kept[line["member"]] = tuple(line["folds"])
        elif line["event"] in {DROPPED, STOPPED, FAILED}:
            kept.pop(line["member"], None)
    return kept


def kept_ensemble(lines: Iterable[Line]) -> str | None:
    """Return the name under which the ensemble's predictions lie; None if members give them."""
    names = [line["ensemble"] for line in lines if line["event"] == DROPPED]
    return names[-1] if names else None


def is_over(lines: Sequence[Line], until: float, max_trials: int | None) -> bool:
    """Return whether a search has ended by itself, and has not been given more since.

    Parameters
    ----------
    lines : sequence of Line
        Its ledger.
    until : float
        Seconds into the run at which it must end now.
    max_trials : int or None
        Members to try now.
    """
    if not lines or lines[-1]["event"] != SEARCH_ENDED or lines[-1]["interrupted"]:
        return False
    allowed = lines[-1]["max_trials"]
    is_longer = allowed is not None and (max_trials is None or max_trials > allowed)
    return not is_longer and until <= lines[-1]["until"]


def as_details(member: FinishedMember) -> dict[str, Any]:
    """Return what a ledger says of a finished member beside its predictions."""
    return {
        "folds": list(member.folds),
        "loss": member.loss,
        "fold_losses": member.fold_losses.tolist(),
        "fit_seconds": member.fit_seconds,
        "predict_seconds": member.predict_seconds,
        "row_seconds": member.row_seconds,
        "bytes": member.bytes,
        "n_features": member.n_features,
    }


def _restored(
    arms: Mapping[str, Arm], opened: Mapping[str, Line], ends: Mapping[str, Line]
) -> dict[str, Draw]:
    """Tell each learner's study its past, and return what was drawn for each member."""
    draws: dict[str, Draw] = {}
    for arm in arms.values():
        names = [name for name, line in opened.items() if line["arm"] == arm.name]
        past = [_past(opened[name], ends.get(name)) for name in names]
        try:
            found = arm.study.restore(past, arm.spec.space)
        except (ValueError, KeyError) as error:
            raise RunError(
                f"The run cannot go on: learner {arm.spec.name!r} has another space than when it "
                f"began ({error}). Install the version of its plugin that the run had."
            ) from error
        draws.update(zip(names, found, strict=True))
    return draws


def _past(opened: Line, end: Line | None) -> PastTrial:
    told: dict[str, Any] = {"values": opened["values"], "distributions": opened["distributions"]}
    if end is None:
        return PastTrial(**told)
    if end["event"] == FINISHED:
        return PastTrial(**told, loss=end["loss"])
    if end["event"] == STOPPED:
        return PastTrial(**told, stopped_at=end["loss"])
    return PastTrial(**told, error=end["error"])


class _Scribe:
    """Applies one line of a ledger after the other."""

    def __init__(self, ledger: Ledger, choices: Mapping[str, Choice], tally: Tally) -> None:
        self._ledger = ledger
        self._choices = choices
        self._tally = tally
        self._snapshot = kept_ensemble(ledger.lines)
        self._kept = kept_members(ledger.lines)
        # Without the members of a learner, the ensemble is not what it was.
        self._is_whole = all(name in choices for name in self._kept)
        self.partial: list[FinishedMember] = []

    def hear(self, line: Line) -> None:
        choice, event = self._choices[line["member"]], line["event"]
        if event == OPENED:
            self._tally.open(is_drawn=choice.is_drawn)
            if choice.candidate is not None:
                del choice.arm.portfolio[choice.candidate : choice.candidate + 1]
        elif event in _ENDS:
            choice.arm.costs += [(predicted, measured) for predicted, measured in line["costs"]]
            self._tally.busy = line["busy"]
            self._end(line, choice)
        elif event == PARTIAL and choice.name in self._kept:
            self.partial = [self._member(line, choice)]
        elif event == DROPPED:
            self._drop(line)

    def _end(self, line: Line, choice: Choice) -> None:
        if line["event"] == FINISHED:
            self._finish(line, choice)
        elif line["event"] == STOPPED:
            loss, seconds = line["ensemble_loss"], line["seconds"]
            self._tally.stop(choice.arm, loss, line["fold_seconds"], seconds)
        else:
            failure = TrialFailure(
                member=choice.name,
                learner=choice.arm.spec.name,
                params=choice.params,
                error=line["error"],
            )
            self._tally.fail(choice.arm, failure, line["weight"])

    def _finish(self, line: Line, choice: Choice) -> None:
        tally, is_kept = self._tally, choice.name in self._kept
        member = self._member(line, choice)
        blend = Blend(share=line["share"], loss=line["ensemble_loss"], gain=line["gain"])
        if is_kept and not self._is_whole:
            blend = tally.incumbent.best_blend(member.oof)
        if is_kept and (self._snapshot is None or not self._is_whole):
            tally.incumbent.absorb(member.oof, blend)
        drawn, seconds = choice.draw.params, line["seconds"]
        tally.finish(choice.arm, member, blend, drawn, line["fold_seconds"], seconds)

    def _drop(self, line: Line) -> None:
        """Leave a member out; from the last of these lines on, the ensemble's predictions count."""
        tally = self._tally
        tally.finished = [kept for kept in tally.finished if kept.name != line["member"]]
        tally.dropped += 1
        if line["ensemble"] == self._snapshot and self._is_whole:
            prediction = self._ledger.kept(line["ensemble"])
            tally.incumbent.restore(prediction, line["ensemble_loss"])
            self._snapshot = None

    def _member(self, line: Line, choice: Choice) -> FinishedMember:
        """Return a member as its line describes it; one that was dropped has no predictions."""
        is_kept = choice.name in self._kept
        return FinishedMember(
            name=choice.name,
            learner=choice.arm.spec.name,
            params=choice.params,
            folds=tuple(line["folds"]),
            rows=self._tally.incumbent.rows,
            oof=self._ledger.kept(choice.name) if is_kept else np.empty((0, 0)),
            loss=line["loss"],
            fold_losses=np.array(line["fold_losses"]),
            fit_seconds=line["fit_seconds"],
            predict_seconds=line["predict_seconds"],
            row_seconds=line["row_seconds"],
            bytes=line["bytes"],
            n_features=line["n_features"],
            max_rows=choice.max_rows,
        )
