"""The manifest: what an artefact states about itself, as JSON in the metadata of the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.artefact.fields import Fields, is_number
from automl_fuse.calibration import Calibration
from automl_fuse.errors import ArtefactError
from automl_fuse.schema import Schema
from automl_fuse.specs import Column, Kind, Task
from automl_fuse.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from automl_fuse.specs import Array, Floats

FORMAT: Final = 2
"""Number of the format; files of a newer one are refused. Format 1 was a folder with a pickle."""

TOLERANCES: Final = {"double": 1e-6, "single": 1e-5}
"""By the precision of a file: largest difference of a prediction from the one expected, in units
of 1 or of the value where that is above 1.

In single precision rows alone differ from rows in a batch, and processors from one another."""

_TYPES: Final = {
    Kind.NUMERIC: "double",
    Kind.BOOLEAN: "double",
    Kind.CATEGORY: "string",
    Kind.DATETIME: "int64",
    Kind.TEXT: "string",
}
"""Element type of the input that a column of each kind becomes."""

_LABELS: Final = {"str": "string", "int": "int64", "float": "double", "bool": "int64"}
"""Element type of the output that labels of each type become."""

_SPECIAL: Final = frozenset({"Infinity", "-Infinity", "NaN"})
_INT64: Final = 2**63


@dataclass(frozen=True, kw_only=True)
class Input:
    """A raw column as an input of the graph.

    Attributes
    ----------
    name : str
        Name of the input.
    column : Column
        The column of the schema.
    type : str
        ``"double"``, ``"int64"`` or ``"string"``.
    missing : str, int or None
        What stands for a missing value; None for NaN.
    unseen : str
        For categories: a text that is none of them; else empty.
    """

    name: str
    column: Column
    type: str
    missing: str | int | None
    unseen: str


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An input that the front-end makes from a column: see ``automl_fuse.front_end``."""

    name: str
    column: Column
    step: Mapping[str, Any]
    width: int


@dataclass(frozen=True, kw_only=True)
class Member:
    """A member of the pipeline: ``models`` fold models, of ``bytes`` in all if that is known."""

    name: str
    learner: str
    weight: float
    models: int
    params: Mapping[str, Any]
    bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Rows whose predictions are known.

    Attributes
    ----------
    columns : mapping of str to list
        Raw values; images and sequences are lists of numbers or of lists, sounds pairs of a rate
        and samples.
    label : array of shape (n_rows,) or None
        Expected labels; None in regression.
    prediction : float64 array of shape (n_rows, n_outputs)
        Expected probabilities, or values.
    """

    columns: Mapping[str, list[Any]]
    label: Array | None
    prediction: Floats


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an artefact states about itself; ``docs/artefact.md`` describes the fields.

    Attributes
    ----------
    task, target, classes, schema, calibration
        As in ``Pipeline``.
    inputs : tuple of Input
        Raw columns that the graph reads.
    prepared : tuple of Prepared
        Inputs that must be made before.
    members : tuple of Member
        What is fused.
    golden : Golden
        Rows that every reader must predict as stated.
    tolerance : float
        How far off predictions may be; see ``TOLERANCES``.
    content : mapping
        All of it, as JSON values: the fields above, ``fusion``, ``metrics``, ``metric``,
        ``score``, ``data``, ``versions``, ``created`` and ``report``.
    """

    task: Task
    target: str
    classes: Array | None
    schema: Schema
    inputs: tuple[Input, ...]
    prepared: tuple[Prepared, ...]
    calibration: Calibration
    members: tuple[Member, ...]
    golden: Golden
    tolerance: float
    content: Mapping[str, Any]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the schema that are read, in its order."""
        read = {each.column.name for each in self.inputs}
        read |= {each.column.name for each in self.prepared}
        return tuple(column for column in self.schema.columns if column.name in read)

    def widths(self) -> Iterator[tuple[str, str, int]]:
        """Yield name, element type and width of each input of the graph."""
        for each in self.inputs:
            yield each.name, each.type, 1
        for step in self.prepared:
            yield step.name, "double", step.width

    def outputs(self) -> dict[str, str]:
        """Return the element type of each output of the graph, by name."""
        if self.classes is None:
            return {"value": "double"}
        return {"label": _LABELS[self.content["classes"]["dtype"]], "probabilities": "double"}


def read_manifest(content: bytes) -> Manifest:
    """Read and check a manifest.

    Parameters
    ----------
    content : bytes
        JSON in UTF-8. Fields beyond those of this format are allowed.

    Raises
    ------
    ArtefactError
        If a field is absent or wrong, or the format is newer: the message names it.
    """
    fields = Fields.of_json(content)
    number = fields.integer("format", 1)
    if number != FORMAT:
        raise ArtefactError(
            f"it has format {number}, and automl_fuse {__version__} reads format {FORMAT}: "
            + ("install a newer automl_fuse" if number > FORMAT else "export the pipeline again")
        )
    schema = _schema(fields.part("schema"))
    task = fields.choice("task", Task, [task.value for task in Task])
    classes = _classes(fields, task)
    columns = {column.name: column for column in schema.columns}
    inputs = tuple(_input(each, columns) for each in fields.parts("inputs"))
    steps = fields.part("prepared")
    prepared = tuple(_prepared(steps.part(name), name, columns) for name in steps.values)
    names = [*(each.name for each in inputs), *(each.name for each in prepared)]
    if len(set(names)) < len(names) or not names:
        fields.refuse("inputs", "at least one input, of different names, was expected")
    manifest = Manifest(
        task=task,
        target=fields.text("target"),
        classes=classes,
        schema=schema,
        inputs=inputs,
        prepared=prepared,
        calibration=_calibration(fields.part("calibration")),
        members=tuple(_member(each) for each in fields.parts("members")),
        golden=_golden(fields.part("golden"), fields, columns, classes),
        tolerance=_tolerance(fields),
        content=fields.values,
    )
    _check_notes(fields)
    absent = [c.name for c in manifest.columns if c.name not in manifest.golden.columns]
    if absent:
        fields.part("golden").refuse("columns", f"values of {absent[0]!r} were expected")
    return manifest


def _tolerance(fields: Fields) -> float:
    """Return the tolerance of a file's precision; double unless it states another."""
    if "precision" not in fields.values:
        return TOLERANCES["double"]
    return TOLERANCES[fields.choice("precision", str, list(TOLERANCES))]


def _check_notes(fields: Fields) -> None:
    """Check the fields that are shown, and not needed to predict."""
    fields.part("fusion").text("method")
    metrics = fields.part("metrics")
    for name in metrics.values:
        metrics.number_or_nan(name)
    fields.text("metric")
    fields.number_or_nan("score")
    data = fields.part("data")
    data.integer("rows")
    data.text("sha256")
    versions = fields.part("versions")
    for name in versions.values:
        versions.text(name)
    fields.text("created")
    fields.part("report")


def _schema(fields: Fields) -> Schema:
    columns = tuple(
        Column(
            name=each.text("name"),
            kind=each.choice("kind", Kind, [kind.value for kind in Kind]),
            reason=each.text("reason"),
            categories=tuple(each.texts("categories")),
        )
        for each in fields.parts("columns")
    )
    if len({column.name for column in columns}) < len(columns):
        fields.refuse("columns", "columns of different names were expected")
    return Schema(columns, tuple(fields.texts("warnings")))


def _classes(fields: Fields, task: Task) -> Array | None:
    if fields.is_null("classes"):
        if task.is_classification:
            fields.refuse("classes", f"a pipeline for {task.value} has classes")
        return None
    part = fields.part("classes")
    dtype = part.choice("dtype", str, list(_LABELS))
    labels = _labels(part, "values", dtype)
    fits = {Task.BINARY: len(labels) == 2, Task.MULTICLASS: len(labels) > 2}
    if not fits.get(task, False) or len(set(labels.tolist())) < len(labels):
        part.refuse("values", f"it does not fit the task, {task.value}")
    return labels


def _labels(fields: Fields, name: str, dtype: str) -> Array:
    """Return labels in the type that those of the training target have."""
    kinds: Mapping[str, type | tuple[type, ...]] = {
        "str": str, "int": int, "bool": bool, "float": (int, float)
    }  # fmt: skip
    fits = kinds[dtype]

    def is_label(value: object) -> bool:
        if not isinstance(value, fits) or isinstance(value, bool) is not (dtype == "bool"):
            return False
        return dtype in {"str", "bool"} or (is_number(value) and -_INT64 <= value < _INT64)  # type: ignore[operator]

    values = fields.items(name, is_label, f"labels of type {dtype}")
    return np.array(values, dtype={"str": object, "int": np.int64}.get(dtype, dtype))


def _input(fields: Fields, columns: Mapping[str, Column]) -> Input:
    column = _column(fields, columns)
    kind = fields.text("kind")
    if kind != column.kind.value or column.kind not in _TYPES:
        fields.refuse("kind", f"the column is of the kind {column.kind.value}")
    if fields.text("type") != _TYPES[column.kind]:
        fields.refuse("type", f"{_TYPES[column.kind]!r} was expected")
    return Input(
        name=fields.text("name"),
        column=column,
        type=fields.text("type"),
        missing=_missing(fields, column),
        unseen=_unseen(fields, column),
    )


def _missing(fields: Fields, column: Column) -> str | int | None:
    kind = _TYPES[column.kind]
    if kind == "string":
        text = fields.text("missing")
        if text in column.categories:
            fields.refuse("missing", "a text that is no category was expected")
        return text
    if kind == "int64":
        return fields.integer("missing", -_INT64)
    if not fields.is_null("missing"):
        fields.refuse("missing", "null was expected")
    return None


def _unseen(fields: Fields, column: Column) -> str:
    if column.kind is not Kind.CATEGORY:
        return ""
    text = fields.text("unseen")
    if text in column.categories or text == fields.text("missing"):
        fields.refuse("unseen", "a text that is no category was expected")
    return text


def _prepared(fields: Fields, name: str, columns: Mapping[str, Column]) -> Prepared:
    from automl_fuse.front_end import CELL_STEPS  # most files have no need of it

    width = fields.integer("width", 1)
    step = {
        "kind": fields.text("kind"),
        "column": fields.text("column"),
        "settings": fields.part("settings").values,
        "width": width,
    }
    column = _column(fields, columns)
    form = CELL_STEPS.get(fields.text("kind"))
    reads = Kind.TEXT if form is None else form.reads
    if column.kind is not reads and (reads, column.kind) != (Kind.TEXT, Kind.CATEGORY):
        fields.refuse("column", f"a column of the kind {reads.value} was expected")
    return Prepared(name=name, column=column, step=step, width=width)


def _column(fields: Fields, columns: Mapping[str, Column]) -> Column:
    column = columns.get(fields.text("column"))
    if column is None or column.kind.is_dropped:
        fields.refuse("column", "a column of the schema was expected")
    return column


def _calibration(fields: Fields) -> Calibration:
    temperature, threshold = fields.number("temperature"), fields.number("threshold")
    if temperature <= 0:
        fields.refuse("temperature", "a positive number was expected")
    return Calibration(temperature=temperature, threshold=threshold)


def _member(fields: Fields) -> Member:
    return Member(
        name=fields.text("name"),
        learner=fields.text("learner"),
        weight=fields.number("weight"),
        models=fields.integer("models"),
        params=fields.part("params").values,
        bytes=fields.integer("bytes") if "bytes" in fields.values else None,
    )


def _golden(
    fields: Fields, whole: Fields, columns: Mapping[str, Column], classes: Array | None
) -> Golden:
    part = fields.part("columns")
    cells = {name: _cells(part, name, columns) for name in part.values}
    label = None
    if classes is None:
        values = fields.items("value", is_number, "finite numbers")
        prediction = np.array(values, dtype=np.float64).reshape(-1, 1)
    else:
        label = _labels(fields, "label", whole.part("classes").text("dtype"))
        rows = fields.items("probabilities", lambda row: _is_row(row, len(classes)), "lists")
        prediction = np.array(rows, dtype=np.float64).reshape(-1, len(classes))
    lengths = {len(prediction), *map(len, cells.values()), *([] if label is None else [len(label)])}
    if len(lengths) > 1 or not len(prediction):
        whole.refuse("golden", "columns and predictions of one length, not 0, were expected")
    return Golden(columns=cells, label=label, prediction=prediction)


def _cells(fields: Fields, name: str, columns: Mapping[str, Column]) -> list[Any]:
    """Return the cells of one column; JSON has no name for numbers that are not finite."""
    if name not in columns:
        fields.refuse(name, "a column of the schema was expected")
    if columns[name].kind in {Kind.NUMERIC, Kind.BOOLEAN}:
        cells = fields.items(name, _is_number_cell, "numbers")
        return [float(cell) if isinstance(cell, str) else cell for cell in cells]
    if columns[name].kind in {Kind.IMAGE, Kind.AUDIO, Kind.SEQUENCE}:
        # The way into a table, by which rows are read, looks at what they hold.
        return fields.items(name, lambda cell: cell is None or isinstance(cell, list), "lists")
    return fields.items(name, lambda cell: cell is None or isinstance(cell, str), "texts")


def _is_row(row: object, width: int) -> bool:
    return isinstance(row, list) and len(row) == width and all(map(is_number, row))


def _is_number_cell(cell: object) -> bool:
    if isinstance(cell, str):
        return cell in _SPECIAL
    return cell is None or isinstance(cell, bool) or is_number(cell)
