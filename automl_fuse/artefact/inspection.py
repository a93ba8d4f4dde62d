"""What a portable file holds, without a runtime."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automl_fuse.artefact.audit import audit
from automl_fuse.artefact.digest import MANIFEST_KEY
from automl_fuse.artefact.loading import read_bytes
from automl_fuse.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from automl_fuse.artefact.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Bytes of a file by what they are for.

    Attributes
    ----------
    total, manifest, constants : int
        The file, its manifest, the constants of its graph.
    operators : mapping of str to (int, int)
        Number and bytes of the operators of each kind, the largest first.
    """

    total: int
    manifest: int
    constants: int
    operators: Mapping[str, tuple[int, int]]


def inspect(path: str | Path) -> tuple[Manifest, Parts]:
    """Audit a portable file, and say what it states and what it consists of.

    Raises
    ------
    ArtefactError
        If it is missing, damaged, newer, or not written by automl_fuse.
    """
    content = read_bytes(path)
    try:
        audited = audit(content)
    except ArtefactError as error:
        raise ArtefactError(f"Cannot load {path}: {error}.") from error
    operators: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for node in audited.outline.nodes:
        count, size = operators[node.operator]
        operators[node.operator] = count + 1, size + node.bytes
    start, stop = audited.head.metadata[MANIFEST_KEY]
    largest = sorted(operators.items(), key=lambda item: (-item[1][1], item[0]))
    return audited.manifest, Parts(
        total=len(content),
        manifest=stop - start,
        constants=sum(tensor.bytes for tensor in audited.outline.initializers),
        operators=dict(largest),
    )
