"""A fitted pipeline written into one graph: raw columns in, predictions out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import ExportError
from automl_fuse.graph import ML_DOMAIN, GraphBuilder
from automl_fuse.specs import MISSING_CODE, UNSEEN_CODE, Columns, Kind, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.members import FoldModel, Member
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.specs import Array, Column

LABEL: Final = "label"
PROBABILITIES: Final = "probabilities"
VALUE: Final = "value"
OUTPUTS: Final = frozenset({LABEL, PROBABILITIES, VALUE})
NO_DATE: Final = int(np.iinfo(np.int64).min)
"""What stands for a missing datetime: the integer behind NumPy's NaT."""

_TYPES: Final = {
    Kind.NUMERIC: "double",
    Kind.BOOLEAN: "double",
    Kind.CATEGORY: "string",
    Kind.DATETIME: "int64",
    Kind.TEXT: "string",
}


@dataclass(frozen=True, kw_only=True)
class Input:
    """One raw column as an input of the graph.

    Attributes
    ----------
    name : str
        Name of the input: the column's, unless an output is called so.
    column : Column
        The column of the schema.
    type : str
        ``"double"``, ``"int64"`` or ``"string"``.
    missing : str, int or None
        What stands for a missing value; None for NaN.
    unseen : str or None
        For categories: a text that is none of them.
    """

    name: str
    column: Column
    type: str
    missing: str | int | None
    unseen: str | None = None


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """A graph and what must be known to feed it.

    Attributes
    ----------
    model : onnx.ModelProto
        Without metadata.
    inputs : tuple of Input
        Raw columns that it reads.
    prepared : mapping of str to mapping
        Inputs that the front-end makes, and how.
    """

    model: Any
    inputs: tuple[Input, ...]
    prepared: Mapping[str, Mapping[str, Any]]


def emit(pipeline: Pipeline) -> Emitted:
    """Write a pipeline into a graph.

    Raises
    ------
    ExportError
        If a member, an encoder or the fusion cannot be written: the message names it.
    """
    inputs = inputs_of(pipeline)
    graph = GraphBuilder(reserved=[*(each.name for each in inputs), *OUTPUTS])
    writer = _Writer(graph, pipeline, inputs)
    fused = writer.fused()
    if pipeline.classes_ is None:
        flat = graph.node("Reshape", [fused, graph.constant(np.array([-1]))])
        outputs = {VALUE: (flat, "double")}
    else:
        probabilities, codes = pipeline.calibration.to_onnx(graph, fused, pipeline.n_outputs)
        labels, kind = label_constant(pipeline.classes_)
        label = graph.node("Gather", [graph.constant(labels), codes])
        outputs = {LABEL: (label, kind), PROBABILITIES: (probabilities, "double")}
    declared = {each.name: (each.type, 1) for each in inputs}
    declared |= {name: ("double", step["width"]) for name, step in graph.steps.items()}
    model = graph.model(declared, outputs, flat={LABEL, VALUE})
    read = {each.name for each in model.graph.input}
    return Emitted(
        model=model,
        inputs=tuple(each for each in inputs if each.name in read),
        prepared={name: step for name, step in graph.steps.items() if name in read},
    )


def inputs_of(pipeline: Pipeline) -> tuple[Input, ...]:
    """Return the inputs for the columns of a schema that a graph can read."""
    return tuple(
        _input(column)
        for column in pipeline.schema.columns
        if column.kind in _TYPES and not column.kind.is_dropped
    )


def _input(column: Column) -> Input:
    missing: str | int | None = None
    unseen = None
    if column.kind is Kind.CATEGORY:
        missing = _other_than(column.categories, "")
        unseen = unseen_text(column)
    elif column.kind is Kind.TEXT:
        missing = ""
    elif column.kind is Kind.DATETIME:
        missing = NO_DATE
    return Input(
        name=f"{column.name}_" if column.name in {*OUTPUTS, ""} else column.name,
        column=column,
        type=_TYPES[column.kind],
        missing=missing,
        unseen=unseen,
    )


def unseen_text(column: Column) -> str:
    """Return a text that is none of a column's categories; what is missing is never called so."""
    return _other_than(column.categories, "<unseen>")


def _other_than(known: Sequence[str], text: str) -> str:
    """Return a text that is none of those known: the one given, if it can be."""
    while text in known:
        text = f"<{text}>"
    return text


def label_constant(classes: Array) -> tuple[Array, str]:
    """Return class labels as a graph can hold them, and their element type."""
    if classes.dtype.kind in "iub":
        return classes.astype(np.int64), "int64"
    if classes.dtype.kind == "f":
        return classes.astype(np.float64), "double"
    return np.array([str(label) for label in classes], dtype=object), "string"


class _Writer:
    """Writes the parts of one pipeline, each once."""

    def __init__(self, graph: GraphBuilder, pipeline: Pipeline, inputs: Sequence[Input]) -> None:
        self._graph = graph
        self._pipeline = pipeline
        self._columns = {each.column.name: self._typed(each) for each in inputs}
        self._nothing = missing_row(pipeline)

    def fused(self) -> Tensor:
        """Write all members and their fusion; return fused predictions (n_rows, n_outputs)."""
        predictions = [self._member(member) for member in self._pipeline.members]
        fusion = self._pipeline.fusion
        if not hasattr(fusion, "to_onnx"):
            raise ExportError(
                f"the fusion {type(fusion).__name__} cannot be written into the portable file: "
                "it has no to_onnx; choose another with Settings(fusions=…)"
            )
        fused: Tensor = fusion.to_onnx(self._graph, predictions)
        return fused

    def _typed(self, each: Input) -> Tensor:
        """Turn a raw input into a typed column."""
        raw = Tensor(each.name)
        if each.column.kind is not Kind.CATEGORY:
            return raw
        keys = [*each.column.categories, each.missing]
        codes = [*range(len(each.column.categories)), MISSING_CODE]
        return self._graph.node(
            "LabelEncoder",
            [raw],
            {"keys_strings": keys, "values_int64s": codes, "default_int64": UNSEEN_CODE},
            ML_DOMAIN,
        )

    def _member(self, member: Member) -> Tensor:
        """Write the mean of a member's fold models."""
        folds = [self._fold(member, model) for model in member.folds]
        return self._graph.weighted_sum(folds, [1 / len(folds)] * len(folds))

    def _fold(self, member: Member, model: FoldModel) -> Tensor:
        graph = self._graph
        if model.learner is None:
            return self._prior(model)
        learner = model.learner.get()
        part = learner if hasattr(learner, "to_onnx") else getattr(learner, "form", lambda: None)()
        if part is None:
            raise ExportError(
                f"member {member.name!r} cannot be written into the portable file: learner "
                f"{member.learner!r} has no to_onnx; it can still teach a student"
            )
        try:
            raw: Tensor = part.to_onnx(graph, self._features(model))
        except ExportError as error:
            raise ExportError(f"member {member.name!r}: {error}") from error
        if model.target is not None:
            return model.target.to_onnx(graph, raw)
        if len(model.classes) == model.n_outputs:
            return raw
        spread = np.zeros((len(model.classes), model.n_outputs))
        spread[np.arange(len(model.classes)), list(model.classes)] = 1.0
        return graph.node("MatMul", [raw, graph.constant(spread)])

    def _prior(self, model: FoldModel) -> Tensor:
        # Columns of pictures and the like have no tensor; what is prepared of them has.
        column = next(iter([*self._columns.values(), *self._graph.steps]), None)
        if column is None:
            raise ExportError("no column of this pipeline can be read by a graph")
        return self._graph.repeated(column, np.array(model.prior))

    def _features(self, model: FoldModel) -> Tensor:
        """Write the encoders that a fold model reads; side by side."""
        parts = []
        for name in model.encoders:
            fitted = self._pipeline.encoders[model.fold, name]
            if not fitted.transform(self._nothing).names:
                continue
            encoder = fitted.encoder.get()
            if not hasattr(encoder, "to_onnx"):
                raise ExportError(
                    f"encoder {name!r} cannot be written into the portable file: it has no to_onnx"
                )
            kinds = {c.name for c in self._nothing.select(fitted.kinds).columns}
            columns = {n: tensor for n, tensor in self._columns.items() if n in kinds}
            parts.append(encoder.to_onnx(self._graph, columns))
        return parts[0] if len(parts) == 1 else self._graph.node("Concat", parts, {"axis": 1})


def missing_row(pipeline: Pipeline) -> Columns:
    """Return one row in which every typed column is missing."""
    values: dict[str, Array] = {}
    kept = tuple(column for column in pipeline.schema.columns if not column.kind.is_dropped)
    for column in kept:
        if column.kind in {Kind.NUMERIC, Kind.BOOLEAN}:
            values[column.name] = np.array([np.nan])
        elif column.kind is Kind.CATEGORY:
            values[column.name] = np.array([MISSING_CODE], dtype=np.int32)
        elif column.kind is Kind.DATETIME:
            values[column.name] = np.array(["NaT"], dtype="datetime64[us]")
        else:
            values[column.name] = np.array([None], dtype=object)
    return Columns(columns=kept, values=values, n_rows=1)
