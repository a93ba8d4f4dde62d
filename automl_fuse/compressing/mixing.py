"""The study over mixtures, run on what a stage has made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from automl_fuse.compressing.stage import MIXING
from automl_fuse.search import MixtureStudy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.compressing.stage import Stage
    from automl_fuse.compression import Form
    from automl_fuse.fronts import Point
    from automl_fuse.search import Mixture
    from automl_fuse.specs import Selection

MIXING_ROWS: Final = 8_000
"""Rows, at most, that the study over mixtures reads."""


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """What the study found.

    Attributes
    ----------
    forms : sequence of Form
        What was mixed.
    front : tuple of Mixture
        Mixtures that no other beats, by rising loss, as far as their forms' prices add up.
    full : Point or None
        The mixture of all fold models of the teacher's members, if it was tried.
    gain : float
        The most that averaging fold models was worth to any mixture.
    notes : tuple of str
        Mixtures that could not be scored.
    """

    forms: Sequence[Form] = ()
    front: tuple[Mixture, ...] = ()
    full: Point | None = None
    gain: float = 0.0
    notes: tuple[str, ...] = ()


def mix(stage: Stage, forms: Sequence[Form], selections: Sequence[Selection]) -> Mixed:
    """Search for mixtures of forms; ``selections`` of members are tried first."""
    if not forms:
        return Mixed()
    kept = [member.name for member in stage.kept]
    few, splits = stage.session.sampled(stage.y, MIXING_ROWS)
    choice = stage.fused.choice
    study = MixtureStudy(
        [replace(form, oof=form.oof[few]) for form in forms],
        choice.spec,
        choice.params,
        stage.target(few),
        splits,
        len(stage.session.data.folds),
        replace(stage.context, deadline=stage.until(MIXING)),
        stage.session.storage,
    )
    sets = [tuple(kept), *(tuple(kept[m] for m in each.members) for each in selections)]
    front = study.run(
        found
        for members in sets
        for single in (False, True)
        if (found := _positions(forms, members, single=single))
    )
    return Mixed(
        forms=forms,
        front=front,
        full=study.point_of(_positions(forms, kept, single=False)),
        gain=study.largest_gain,
        notes=tuple(f"A mixture could not be scored: {error}" for _, error in study.failures),
    )


def _positions(forms: Sequence[Form], members: Sequence[str], *, single: bool) -> list[int]:
    """Return where the forms of some members are."""
    return [at for at, f in enumerate(forms) if f.member in members and f.is_single == single]
