"""Save and load pipelines: a folder of two files, until the portable artefact replaces it.

``manifest.json`` says what the pipeline is, in JSON; ``pipeline.pkl`` holds its Python objects,
whose digest the manifest states. ``docs/artefact.md`` describes both.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_fuse.budget import now
from automl_fuse.errors import ArtefactError
from automl_fuse.version import __version__

if TYPE_CHECKING:
    from automl_fuse.pipeline import Pipeline

FORMAT = 1
"""Number of the folder format; a folder with a newer one is refused."""

MANIFEST = "manifest.json"
PICKLE = "pipeline.pkl"
_LIBRARIES = ("numpy", "scikit-learn", "lightgbm", "xgboost-cpu", "xgboost", "catboost")


def save(pipeline: Pipeline, path: str | Path) -> None:
    """Write a pipeline into a folder, whole or not at all.

    Raises
    ------
    ArtefactError
        If the path exists and is not such a folder, or cannot be written.
    """
    target = Path(path)
    if target.suffix == ".onnx":
        raise ArtefactError(
            f"{target} names an ONNX file, which this version cannot write: name a folder."
        )
    if target.exists() and not (target / MANIFEST).is_file():
        raise ArtefactError(f"{target} exists and is no saved pipeline: name another path.")
    content = pickle.dumps(pipeline, protocol=pickle.HIGHEST_PROTOCOL)
    manifest = describe(pipeline) | {"sha256": hashlib.sha256(content).hexdigest()}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            (fresh / PICKLE).write_bytes(content)
            (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            if target.exists():
                shutil.rmtree(target)
            fresh.chmod(0o755)
            fresh.rename(target)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    except OSError as error:
        raise ArtefactError(f"Cannot write {target}: {error.strerror or error}.") from error


def describe(pipeline: Pipeline) -> dict[str, Any]:
    """Return the manifest of a pipeline, without its digest."""
    classes = pipeline.classes_
    return {
        "format": FORMAT,
        "automl_fuse": __version__,
        "saved": now(),
        "python": platform.python_version(),
        "libraries": _versions(),
        "task": str(pipeline.task),
        "target": pipeline.target,
        "classes": None if classes is None else classes.tolist(),
        "schema": pipeline.schema.to_dict(),
        "members": [
            {"name": member.name, "learner": member.learner, "params": dict(member.params)}
            for member in pipeline.members
        ],
        "report": dict(pipeline.report),
    }


def load(path: str | Path) -> Pipeline:
    """Load a pipeline that ``Pipeline.save`` wrote.

    The folder holds pickled Python objects, which can run code when loaded: load only what
    you, or someone you trust, wrote.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    Pipeline
        It predicts as it did when it was saved.

    Raises
    ------
    ArtefactError
        If it is missing, damaged, or written by a newer version.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    try:
        content = (folder / PICKLE).read_bytes()
    except OSError as error:
        raise ArtefactError(f"Cannot read {folder / PICKLE}: {error.strerror or error}.") from error
    if hashlib.sha256(content).hexdigest() != manifest.get("sha256"):
        raise ArtefactError(f"{folder / PICKLE} is damaged: its digest is not the manifest's.")
    try:
        pipeline: Pipeline = pickle.loads(content)
        pipeline.preload()
    except (ImportError, AttributeError, pickle.UnpicklingError) as error:
        raise ArtefactError(
            f"{folder} was saved with {_stated(manifest)} and cannot be loaded here: {error}. "
            "Install these versions."
        ) from error
    return pipeline


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the manifest of a saved pipeline.

    Raises
    ------
    ArtefactError
        If it is missing, not a manifest, or of a newer format.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise ArtefactError(f"{folder} is no saved pipeline: it has no {MANIFEST}.")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        number = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{file} is damaged: {error!r}.") from error
    if not isinstance(number, int) or number > FORMAT:
        raise ArtefactError(
            f"{folder} has format {number!r}, but this is automl_fuse {__version__}, which reads "
            f"formats up to {FORMAT}: install a newer version."
        )
    return dict(manifest)


def _versions() -> dict[str, str]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _stated(manifest: dict[str, Any]) -> str:
    libraries = manifest.get("libraries", {})
    stated = [f"automl_fuse {manifest.get('automl_fuse')}", f"Python {manifest.get('python')}"]
    return ", ".join(stated + [f"{name} {number}" for name, number in libraries.items()])
