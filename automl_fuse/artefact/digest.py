"""The digest that an artefact carries: SHA-256 of the file, its own 64 characters read as zeros.

It tells damage, not malice: whoever changes a file on purpose can sign it again.
"""

from __future__ import annotations

import hashlib
from typing import Final

from automl_fuse.artefact.outline import read_head
from automl_fuse.errors import ArtefactError

MANIFEST_KEY: Final = "automl_fuse"
DIGEST_KEY: Final = "automl_fuse.sha256"
BLANK: Final = b"0" * 64
"""What stands in the place of the digest while it is computed."""


def sign(content: bytes) -> bytes:
    """Return a file with its digest filled in.

    Parameters
    ----------
    content : bytes
        An ONNX file whose metadata have 64 characters under ``automl_fuse.sha256``.

    Raises
    ------
    ArtefactError
        If it is no such file.
    """
    start = _place(content)
    return content[:start] + _computed(content, start) + content[start + len(BLANK) :]


def check(content: bytes) -> None:
    """Compare a file with the digest that it carries.

    Raises
    ------
    ArtefactError
        If they differ, or there is none.
    """
    start = _place(content)
    if content[start : start + len(BLANK)] != _computed(content, start):
        raise ArtefactError(
            "its digest does not match: the file was damaged or changed after it was written; "
            "copy it again, or export the pipeline again"
        )


def _place(content: bytes) -> int:
    """Return where the digest starts."""
    span = read_head(content).metadata.get(DIGEST_KEY)
    if span is None or span[1] - span[0] != len(BLANK):
        raise ArtefactError(f"its metadata hold no digest of 64 characters ({DIGEST_KEY!r})")
    return span[0]


def _computed(content: bytes, start: int) -> bytes:
    digest = hashlib.sha256(content[:start])
    digest.update(BLANK)
    digest.update(content[start + len(BLANK) :])
    return digest.hexdigest().encode()
