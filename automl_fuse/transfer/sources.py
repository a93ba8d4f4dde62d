"""The earlier run: read from its directory, its portable file, or a pipeline in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_fuse.artefact import load
from automl_fuse.artefact.portable import PortablePipeline
from automl_fuse.errors import SettingsError
from automl_fuse.fronts import FULL
from automl_fuse.pipeline import Pipeline
from automl_fuse.run import PIPELINES, load_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.members import Member
    from automl_fuse.specs import Array, Params, Task


@dataclass(frozen=True, kw_only=True)
class Known:
    """A configuration of the earlier run's ensemble, with its share in it."""

    member: str
    learner: str
    params: Params
    weight: float


@dataclass(frozen=True, kw_only=True)
class Source:
    """An earlier run.

    Attributes
    ----------
    name : str
        What it was read from, for people.
    pipeline : Pipeline or PortablePipeline
        It predicts: its whole ensemble, if that is there.
    configurations : tuple of Known
        Of its ensemble, those of the greatest share first.
    members : tuple of Member
        With their fitted learners; none from a portable file, which holds a graph only.
    rows : mapping or None
        What ``overlap.sketch`` said of its training rows, if that is there.
    digest : str
        Of its whole training table and target.
    """

    name: str
    pipeline: Pipeline | PortablePipeline
    configurations: tuple[Known, ...]
    members: tuple[Member, ...]
    rows: Mapping[str, Any] | None
    digest: str

    @property
    def task(self) -> Task:
        """What it predicts."""
        return self.pipeline.task

    @property
    def target(self) -> str:
        """Name of its target."""
        return self.pipeline.target

    @property
    def classes(self) -> Array | None:
        """Its class labels; None in regression."""
        return self.pipeline.classes_


def read_source(given: Any) -> Source:
    """Read an earlier run.

    Parameters
    ----------
    given : str, Path, Pipeline or PortablePipeline
        A run directory, which holds pickled objects (open only your own), a portable file, or
        what ``fit`` or ``load`` returned.

    Raises
    ------
    SettingsError
        If it is something else.
    RunError, ArtefactError
        If it cannot be read.
    """
    if isinstance(given, Pipeline):
        return _of_pipeline(given, "a pipeline in memory")
    if isinstance(given, PortablePipeline):
        return _of_portable(given, "a portable file")
    if not isinstance(given, str | Path):
        raise SettingsError(
            f"transfer_from={given!r} is no earlier run: give a run directory, a portable file "
            "(.onnx), or a pipeline."
        )
    path = Path(given)
    if (path / PIPELINES).is_file():
        return _of_pipeline(load_run(path), str(path))
    return _of_portable(load(path), str(path))


def _of_pipeline(pipeline: Pipeline, name: str) -> Source:
    whole = pipeline.alternatives.get(FULL, pipeline)
    return Source(
        name=name,
        pipeline=whole,
        configurations=_configurations(
            pipeline.report.get("leaderboard", []),
            [(m.name, m.learner, m.params, 1.0) for m in whole.members],
        ),
        members=whole.members,
        rows=pipeline.report.get("rows_sketch"),
        digest=str(pipeline.report.get("data_sha256", "")),
    )


def _of_portable(pipeline: PortablePipeline, name: str) -> Source:
    manifest = pipeline.manifest
    return Source(
        name=name,
        pipeline=pipeline,
        configurations=_configurations(
            pipeline.report.get("leaderboard", []),
            [(m.name, m.learner, m.params, m.weight) for m in manifest.members],
        ),
        members=(),
        rows=None,
        digest=str(manifest.content["data"]["sha256"]),
    )


def _configurations(
    board: Sequence[Mapping[str, Any]], members: Sequence[tuple[str, str, Params, float]]
) -> tuple[Known, ...]:
    """Return those of the whole ensemble, which the leaderboard tells; else the pipeline's own."""
    rows = [
        (row["member"], row["learner"], row["params"], row["weight"])
        for row in board
        if "params" in row and row["weight"] > 0.0
    ]
    known = [
        Known(member=str(member), learner=str(learner), params=params, weight=float(weight))
        for member, learner, params, weight in rows or members
    ]
    return tuple(sorted(known, key=lambda each: -each.weight))
