"""What is checked in a file before a runtime is given it.

onnxruntime is native code that trusts much of what it reads. So an artefact is only what
automl_fuse writes: standard operators, constants that lie in the file, trees that are trees. It
can neither run code nor read another file.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

from automl_fuse.artefact.digest import DIGEST_KEY, MANIFEST_KEY, check
from automl_fuse.artefact.manifest import Manifest, read_manifest
from automl_fuse.artefact.outline import Tensor, Value, read_graph, read_head
from automl_fuse.artefact.trees import check_trees
from automl_fuse.errors import ArtefactError
from automl_fuse.graph import IR_VERSION, ML_DOMAIN, ML_OPSET, OPSET
from automl_fuse.operators import why_refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from automl_fuse.artefact.outline import Head, Node, Outline

MOST_BYTES: Final = 2**31 - 1
"""Protocol buffers hold no more."""
ELEMENT_TYPES: Final[Mapping[str, int]] = {"string": 8, "double": 11, "int64": 7}
"""Numbers of the element types that inputs and outputs have."""

_ITEM_BYTES: Final = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8}
"""Bytes of one value, by number of the element type; texts (8) are no raw bytes."""
_TEXT, _BOOLEAN = 8, 9
_NEWER: Final = "it is newer than this automl_fuse: install a newer version"


@dataclass(frozen=True, kw_only=True)
class Audited:
    """A file that was found to be an artefact."""

    manifest: Manifest
    outline: Outline
    head: Head


def audit(content: bytes) -> Audited:
    """Check a file from its size to its operators.

    Parameters
    ----------
    content : bytes
        The whole file.

    Returns
    -------
    Audited
        What it states, and what it consists of.

    Raises
    ------
    ArtefactError
        If anything is not as automl_fuse writes it: the message says what, and what to do.
    """
    if not content:
        raise ArtefactError("it is empty: copy it again")
    if len(content) > MOST_BYTES:
        raise ArtefactError(f"it has {len(content):,} bytes, and an ONNX file at most 2 GB")
    head = _checked_head(content)
    start, stop = head.metadata[MANIFEST_KEY]
    manifest = read_manifest(content[start:stop])
    _check_versions(head)
    outline = read_graph(content, head.graph)
    for node in outline.nodes:
        _check_node(content, node)
    for tensor in outline.initializers:
        _check_tensor(content, tensor)
    _check_names(outline)
    _check_ends(outline, manifest)
    return Audited(manifest=manifest, outline=outline, head=head)


def _checked_head(content: bytes) -> Head:
    """Return what stands outside of the graph of a file that is ours and whole."""
    try:
        head = read_head(content)
    except ArtefactError as error:
        raise ArtefactError(
            f"it is damaged, or was not written by automl_fuse: {error}; copy it again, or export "
            "the pipeline again"
        ) from error
    if MANIFEST_KEY not in head.metadata:
        raise ArtefactError(
            f"its metadata have no {MANIFEST_KEY!r}: it is truncated, or an ONNX file of another "
            "program, which onnxruntime itself may read"
        )
    check(content)
    foreign = sorted(head.metadata.keys() - {MANIFEST_KEY, DIGEST_KEY})
    if foreign:
        raise ArtefactError(f"its metadata hold {foreign[0]!r}, which automl_fuse does not write")
    return head


def _check_versions(head: Head) -> None:
    opsets = dict(head.opsets)
    if head.ir_version > IR_VERSION:
        raise ArtefactError(f"its ONNX version is {head.ir_version}: {_NEWER}")
    for domain, known in (("", OPSET), (ML_DOMAIN, ML_OPSET)):
        if opsets.get(domain, 0) > known:
            raise ArtefactError(f"its opset of {domain!r} is {opsets[domain]}: {_NEWER}")
    expected = {"": OPSET, ML_DOMAIN: ML_OPSET}
    if head.ir_version != IR_VERSION or opsets != expected or len(head.opsets) != len(opsets):
        raise ArtefactError(
            f"it states ONNX version {head.ir_version} and the opsets {dict(head.opsets)}, which "
            "automl_fuse does not write: export the pipeline again"
        )


def _check_node(content: bytes, node: Node) -> None:
    reason = why_refused(node.operator, node.domain, node.inputs)
    if reason:
        raise ArtefactError(f"{reason}: it was not written by this version of automl_fuse")
    for value in node.attributes.values():
        if isinstance(value, Tensor):
            _check_tensor(content, value)
    if node.operator == "TreeEnsemble":
        check_trees(content, node.attributes)


def _check_tensor(content: bytes, tensor: Tensor) -> None:
    """Check that a tensor holds as many values as its shape states."""
    size = prod(tensor.shape)
    if min(tensor.shape, default=0) < 0:
        raise ArtefactError(f"the tensor {tensor.name!r} has a negative size")
    if tensor.type == _TEXT:
        fits = tensor.raw is None and len(tensor.texts) == size
    else:
        start, stop = tensor.raw or (0, 0)
        item = _ITEM_BYTES.get(tensor.type)
        fits = item is not None and not tensor.texts and stop - start == size * item
        if tensor.type == _BOOLEAN and max(content[start:stop], default=0) > 1:
            raise ArtefactError(f"the tensor {tensor.name!r} holds a boolean beyond 0 and 1")
    if not fits:
        raise ArtefactError(
            f"the tensor {tensor.name!r} does not hold the values that its shape and type state"
        )


def _check_names(outline: Outline) -> None:
    """Check that each value is made once, before it is read."""
    known: set[str] = {""}
    _add_names(known, [value.name for value in outline.inputs], "input")
    _add_names(known, [tensor.name for tensor in outline.initializers], "constant")
    for node in outline.nodes:
        for name in node.inputs:
            if name not in known:
                raise ArtefactError(f"an operator {node.operator!r} reads {name!r} before it is")
        _add_names(known, node.outputs, "result")
    for value in outline.outputs:
        if value.name not in known:
            raise ArtefactError(f"nothing makes the output {value.name!r}")


def _add_names(known: set[str], names: Iterable[str], what: str) -> None:
    for name in names:
        if name in known:
            raise ArtefactError(f"the {what} {name!r} exists twice")
        known.add(name)


def _check_ends(outline: Outline, manifest: Manifest) -> None:
    """Check that inputs and outputs are those that the manifest states."""
    expected = {name: (ELEMENT_TYPES[kind], width) for name, kind, width in manifest.widths()}
    stated = {value.name: _type_and_width(value) for value in outline.inputs}
    for name in sorted(expected.keys() | stated.keys()):
        if expected.get(name) != stated.get(name):
            raise ArtefactError(f"the graph and the manifest disagree about the input {name!r}")
    outputs = {value.name: value.type for value in outline.outputs}
    wanted = {name: ELEMENT_TYPES[kind] for name, kind in manifest.outputs().items()}
    if outputs != wanted or len(outline.outputs) != len(wanted):
        raise ArtefactError(
            f"the outputs of the graph are {', '.join(outputs)}: a pipeline for {manifest.task} "
            f"has {' and '.join(wanted)}"
        )


def _type_and_width(value: Value) -> tuple[int, int | None]:
    if value.shape is None or len(value.shape) != 2 or value.shape[0] is not None:
        raise ArtefactError(f"the input {value.name!r} is no column of any number of rows")
    return value.type, value.shape[1]
