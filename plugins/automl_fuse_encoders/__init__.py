"""Column encoders: typed columns in, features out. ``README.md`` lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_fuse import hookimpl
from automl_fuse.specs import Encoder, EncoderSpec, FitContext, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["automl_fuse_encoders"]


@hookimpl
def automl_fuse_encoders() -> Sequence[EncoderSpec]:
    """Return the encoders of this plugin, by the kind of column that they read."""
    from automl_fuse_encoders import (
        arithmetic,
        categories,
        crosses,
        dates,
        numeric,
        target,
        text,
        unsupervised,
    )

    builders: dict[frozenset[Kind], dict[str, Callable[[FitContext], Encoder]]] = {
        frozenset({Kind.NUMERIC, Kind.BOOLEAN}): {
            "numbers": numeric.Numbers,
            "scaled_numbers": numeric.ScaledNumbers,
            "pca": unsupervised.PrincipalComponents,
            "clusters": unsupervised.Clusters,
            "isolation": unsupervised.Isolation,
            "arithmetic": arithmetic.Arithmetic,
            "scaled_arithmetic": arithmetic.ScaledArithmetic,
        },
        frozenset({Kind.CATEGORY}): {
            "codes": categories.Codes,
            "all_codes": categories.AllCodes,
            "ordinals": categories.Ordinals,
            "onehot": categories.OneHot,
            "counts": categories.Counts,
            "target": target.TargetMeans,
            "crosses": crosses.Crosses,
        },
        frozenset({Kind.DATETIME}): {
            "calendar": dates.Calendar,
            "cyclic_calendar": dates.CyclicCalendar,
        },
        frozenset({Kind.TEXT}): {
            "ngrams": text.Ngrams,
            "words": text.Words,
        },
    }
    return [
        EncoderSpec(name=name, api_version=1, kinds=kinds, build=build)
        for kinds, family in builders.items()
        for name, build in family.items()
    ]
