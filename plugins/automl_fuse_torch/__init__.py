"""First-party plugin: neural networks for tables, images, sounds, sequences and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_fuse import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import CompressorSpec, LearnerSpec


@hookimpl
def automl_fuse_learners() -> Sequence[LearnerSpec]:
    """Return the learners of this plugin; torch is not imported before one is fitted."""
    from automl_fuse_torch import factorisation, ft_transformer, media, realmlp, tabm

    return (
        realmlp.REALMLP,
        tabm.TABM,
        ft_transformer.FT_TRANSFORMER,
        factorisation.FACTORISATION,
        *media.MEDIA,
    )


@hookimpl
def automl_fuse_compressors() -> Sequence[CompressorSpec]:
    """Return what makes these networks smaller, or one of several."""
    from automl_fuse_torch import (
        frozen_branches,
        halve,
        imitate,
        integer,
        joint_networks,
        light,
        narrow,
        shrink,
    )

    return (
        shrink.SPEC,
        light.SPEC,
        imitate.SPEC,
        narrow.SPEC,
        integer.SPEC,
        halve.SPEC,
        joint_networks.SPEC,
        frozen_branches.SPEC,
    )
