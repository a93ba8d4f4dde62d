"""The stage after fusion: smaller pipelines made, priced, mixed, measured, and one chosen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from automl_fuse.compressing.choosing import Choosing
from automl_fuse.compressing.making import Making
from automl_fuse.compressing.mixing import mix
from automl_fuse.compressing.outcome import Compressed
from automl_fuse.compressing.pricing import PriceList
from automl_fuse.compressing.stage import Stage
from automl_fuse.fronts import FULL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.assembly import Assembler
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.session import Session
    from automl_fuse.specs import Executor, LearnerSpec
    from automl_fuse.stages import Fused

__all__ = ["FULL", "Compressed", "compress"]


def compress(
    session: Session,
    assembler: Assembler,
    fused: Fused,
    executor: Executor,
    learners: Sequence[LearnerSpec],
    full: Pipeline,
) -> Compressed:
    """Make smaller pipelines, put the best on a front, and choose one.

    Parameters
    ----------
    session : Session
        Settings, data, deadlines, preference and limits.
    assembler : Assembler
        Reads what trials have fitted.
    fused : Fused
        The teacher.
    executor : Executor
        Where students are fitted; idle.
    learners : sequence of LearnerSpec
        What students can be made of.
    full : Pipeline
        The fused pipeline.

    Raises
    ------
    SettingsError
        If nothing is within the limits that the user set.
    """
    stage = Stage.begin(session, assembler, fused, full)
    with PriceList(stage) as prices:
        making = Making(stage, learners, prices)
        making.run(executor)
        forms = prices.forms()
    mixed = mix(stage, forms, making.selections)
    found = Choosing(stage, prices, mixed).run()
    return replace(
        found,
        notes=tuple(dict.fromkeys([*prices.notes, *mixed.notes, *found.notes])),
        failures=tuple(making.failures),
        made=tuple(member.name for member in making.made),
    )
