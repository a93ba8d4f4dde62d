"""Compressors of automl_fuse: fewer members, students, smaller forests and networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_fuse import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import CompressorSpec


@hookimpl
def automl_fuse_compressors() -> Sequence[CompressorSpec]:
    """Return the compressors of this plugin."""
    from automl_fuse_compress import (
        distil,
        prune_leaves,
        prune_members,
        prune_neurons,
        prune_trees,
        quantise_network,
        quantise_trees,
        refit,
        soup,
    )

    members = (prune_members, refit, soup, distil)
    trees = (prune_trees, prune_leaves, quantise_trees)
    networks = (prune_neurons, quantise_network)
    return tuple(module.SPEC for module in (*members, *trees, *networks))
