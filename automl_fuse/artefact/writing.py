"""Writes a pipeline into the one portable file."""

from __future__ import annotations

import json
import math
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.artefact import gate
from automl_fuse.artefact.digest import BLANK, DIGEST_KEY, MANIFEST_KEY, sign
from automl_fuse.artefact.invented import INVENTABLE, invented, typed
from automl_fuse.artefact.loading import open_bytes
from automl_fuse.artefact.manifest import FORMAT
from automl_fuse.budget import now
from automl_fuse.emission import NO_DATE, PROBABILITIES, VALUE, emit, unseen_text
from automl_fuse.errors import ArtefactError, ExportError
from automl_fuse.files import write_whole
from automl_fuse.operators import SINGLE
from automl_fuse.specs import MISSING_CODE, UNSEEN_CODE, Kind
from automl_fuse.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automl_fuse.artefact.portable import PortablePipeline
    from automl_fuse.emission import Emitted
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.specs import Array, Column

GOLDEN_ROWS: Final = 8
_WRITTEN_DATES: Final = np.array(["0000-01-01", "9999-12-31T23:59:59.999999"], "datetime64[us]")
"""First and last moment of golden rows: beyond, ISO 8601 dates are a matter of agreement."""
REPORTED: Final = (
    "task", "metric", "greater_is_better", "rows", "folds", "score", "leaderboard", "trials",
    "seconds",
)  # fmt: skip
"""What of a run's report goes into the file; the rest is in the run directory."""
_LIBRARIES: Final = (
    "numpy", "scikit-learn", "lightgbm", "xgboost-cpu", "xgboost", "catboost", "onnx",
    "onnxruntime",
)  # fmt: skip


def save(pipeline: Pipeline, path: str | Path) -> None:
    """Write a pipeline into a file, whole or not at all; see ``Pipeline.save``."""
    target = Path(path)
    if target.suffix != ".onnx":
        raise ArtefactError(f"{target} must end in .onnx: the pipeline becomes one ONNX file.")
    content, _ = checked(pipeline)
    try:
        write_whole(target, content)
        target.chmod(0o644)
    except OSError as error:
        raise ArtefactError(f"Cannot write {target}: {error.strerror or error}.") from error


def checked(pipeline: Pipeline) -> tuple[bytes, PortablePipeline]:
    """Return the file of a pipeline once the parity gate has passed it, and what it loads as.

    Raises
    ------
    ExportError
        If a part cannot be written, or the file predicts otherwise than the pipeline.
    """
    emitted = emit(pipeline)
    manifest = describe(pipeline, emitted)
    for key, value in ((MANIFEST_KEY, json.dumps(manifest)), (DIGEST_KEY, BLANK.decode())):
        entry = emitted.model.metadata_props.add()
        entry.key, entry.value = key, value
    content = sign(emitted.model.SerializeToString())
    try:
        portable = open_bytes(content)
    except ArtefactError as error:
        raise ExportError(f"the file cannot be loaded: {error}") from error
    gate.check(pipeline, portable)
    return content, portable


def describe(pipeline: Pipeline, emitted: Emitted) -> dict[str, Any]:
    """Return the manifest: JSON values."""
    report = pipeline.report
    weights = np.asarray(pipeline.fusion.weights, dtype=float)
    calibration = pipeline.calibration
    return {
        "format": FORMAT,
        "task": str(pipeline.task),
        "target": pipeline.target,
        "classes": _classes(pipeline.classes_),
        "schema": pipeline.schema.to_dict(),
        "inputs": [
            {
                "name": each.name,
                "column": each.column.name,
                "kind": each.column.kind.value,
                "type": each.type,
                "missing": each.missing,
                **({"unseen": each.unseen} if each.unseen is not None else {}),
            }
            for each in emitted.inputs
        ],
        "prepared": {name: dict(step) for name, step in emitted.prepared.items()},
        "calibration": {
            "temperature": calibration.temperature,
            "threshold": calibration.threshold,
        },
        "fusion": {"method": type(pipeline.fusion).__name__, **report.get("fusion", {})},
        "members": [
            {
                "name": member.name,
                "learner": member.learner,
                "weight": float(weight),
                "models": len(member.folds),
                "params": _plain(dict(member.params)),
            }
            for member, weight in zip(pipeline.members, weights, strict=True)
        ],
        "metric": report.get("metric", ""),
        "score": _plain(report.get("score")),
        "metrics": _plain(report.get("scores", {})),
        "data": {"rows": report.get("rows"), "sha256": report.get("data_sha256", "")},
        "versions": versions(),
        "created": now(),
        "report": _plain(_told(report)),
        "golden": golden(pipeline),
        "precision": _precision(emitted),
    }


def _precision(emitted: Emitted) -> str:
    """Return in which precision the file computes: see ``manifest.TOLERANCES``."""
    used = {node.op_type for node in emitted.model.graph.node}
    return "double" if SINGLE.isdisjoint(used) else "single"


def _told(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file tells of the run; of failures the reason, without paths of a machine."""
    told = {key: report[key] for key in REPORTED if key in report}
    reasons = [
        {**failure, "error": str(failure["error"]).strip().rsplit("\n", 1)[-1]}
        for failure in report.get("failures", [])
    ]
    return told | {"failures": reasons}


def _classes(classes: Array | None) -> dict[str, Any] | None:
    if classes is None:
        return None
    kinds = {"b": "bool", "i": "int", "u": "int", "f": "float"}
    return {"dtype": kinds.get(classes.dtype.kind, "str"), "values": classes.tolist()}


def golden(pipeline: Pipeline) -> dict[str, Any]:
    """Return rows with the predictions that whoever loads the file must get.

    Every column is shuffled on its own, so that no row of the training table is given away, and
    images, sounds and sequences are made up; the last row is all missing, the one before has
    categories that were never seen.
    """
    sample = pipeline.sample
    rng = np.random.default_rng(0)
    values: dict[str, Array] = {}
    cells: dict[str, list[Any]] = {}
    for column in sample.columns:
        known = sample.values[column.name][rng.permutation(sample.n_rows)]
        values[column.name], cells[column.name] = _golden_column(column, known, rng)
    n_rows = len(next(iter(values.values())))
    rows = type(sample)(columns=sample.columns, values=values, n_rows=n_rows)
    labels, numbers = pipeline.predict_typed(rows)
    found: dict[str, Any] = {"columns": cells}
    if pipeline.classes_ is None:
        return found | {VALUE: numbers[:, 0].tolist()}
    return found | {"label": labels.tolist(), PROBABILITIES: numbers.tolist()}


def _golden_column(
    column: Column, known: Array, rng: np.random.Generator
) -> tuple[Array, list[Any]]:
    """Return typed cells of one column, and these as JSON values."""
    if column.kind not in INVENTABLE:
        values = _with_odd_end(column, known[:GOLDEN_ROWS])
        return values, [_JSON[column.kind](column, value) for value in values]
    n_cells = min(len(known), GOLDEN_ROWS) + 1
    cells = [*invented(column.kind, known, n_cells, rng), None]
    return typed(column, cells), cells


def _with_odd_end(column: Column, values: Array) -> Array:
    """Append an unseen category (or any value) and a missing one."""
    if column.kind is Kind.CATEGORY:
        return np.append(values, np.array([UNSEEN_CODE, MISSING_CODE], dtype=values.dtype))
    if column.kind in {Kind.NUMERIC, Kind.BOOLEAN}:
        return np.append(values, [values[0], np.nan])
    if column.kind is Kind.DATETIME:
        values = np.clip(values, *_WRITTEN_DATES)
        return np.append(values, np.array([values[0], "NaT"], dtype=values.dtype))
    return np.append(values, np.array([values[0], None], dtype=object))


def _number(_column: Column, value: Any) -> Any:
    return _plain(float(value))


def _category(column: Column, code: Any) -> str | None:
    if code == MISSING_CODE:
        return None
    return unseen_text(column) if code == UNSEEN_CODE else column.categories[int(code)]


def _moment(_column: Column, value: Any) -> str | None:
    moment = value.astype("datetime64[us]")
    return None if moment.astype(np.int64) == NO_DATE else str(moment)


def _text(_column: Column, value: Any) -> str | None:
    return None if value is None else str(value)


_JSON: Final[Mapping[Kind, Callable[[Column, Any], Any]]] = {
    Kind.NUMERIC: _number,
    Kind.BOOLEAN: _number,
    Kind.CATEGORY: _category,
    Kind.DATETIME: _moment,
    Kind.TEXT: _text,
}


def _plain(value: Any) -> Any:
    """Return JSON values only: NaN as null, infinities as texts, NumPy's numbers as numbers."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
    return value


def versions() -> dict[str, str]:
    """Return the versions that wrote the file."""
    found = {"automl_fuse": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
