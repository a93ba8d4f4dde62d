"""Portable files: one standard ONNX file that holds a whole pipeline; see ``docs/artefact.md``.

Loading needs NumPy and onnxruntime alone. What writes files is imported when one is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_fuse.artefact.loading import FILE, load
from automl_fuse.artefact.manifest import FORMAT
from automl_fuse.artefact.portable import PortablePipeline

if TYPE_CHECKING:
    from pathlib import Path

    from automl_fuse.pipeline import Pipeline

__all__ = ["FILE", "FORMAT", "PortablePipeline", "load", "save"]


def save(pipeline: Pipeline, path: str | Path) -> None:
    """Write a fitted pipeline into a portable file; see ``artefact.writing.save``."""
    from automl_fuse.artefact.writing import save as write

    write(pipeline, path)
