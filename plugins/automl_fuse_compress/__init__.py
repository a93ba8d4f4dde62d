"""Compressors of automl_fuse: fewer members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_fuse import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import CompressorSpec


@hookimpl
def automl_fuse_compressors() -> Sequence[CompressorSpec]:
    """Return the compressors of this plugin."""
    from automl_fuse_compress import prune_members

    return (prune_members.SPEC,)
