"""What the stage found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.fronts import Point
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.search import TrialFailure


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """What the stage found.

    Attributes
    ----------
    pipelines : mapping of str to Pipeline
        Those of the front, each written, checked and measured.
    points : mapping of str to Point
        Their loss, latency and bytes.
    chosen : str
        Name of the one to return.
    measured : frozenset of str
        Names of those whose latency and bytes were measured on their file; there may have been no
        time to do so for the one chosen.
    seconds_to_write : float
        How long the pipeline to return will take to write into its file, about.
    notes : tuple of str
        What could not be written or scored, and why, for the user.
    failures : tuple of TrialFailure
        Compressors, students and edits that failed.
    made : tuple of str
        Students and edits that were finished.
    """

    pipelines: Mapping[str, Pipeline]
    points: Mapping[str, Point]
    chosen: str
    measured: frozenset[str]
    seconds_to_write: float
    notes: tuple[str, ...]
    failures: tuple[TrialFailure, ...] = ()
    made: tuple[str, ...] = ()
