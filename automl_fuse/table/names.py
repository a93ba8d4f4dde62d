"""Names that columns have, or that a user may have meant."""

from __future__ import annotations

import difflib
from collections import Counter
from numbers import Integral
from typing import TYPE_CHECKING, Any

from automl_fuse.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable


def checked_names(names: Iterable[Any]) -> list[str]:
    """Return column names as text, or say which cannot be used."""
    texts = []
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | Integral):
            raise DataError(
                f"column names must be text, found {name!r} ({type(name).__name__}): rename it"
            )
        texts.append(str(name))
    for name, count in Counter(texts).items():
        if count > 1:
            raise DataError(
                f"column name {name!r} occurs {count} times: rename or drop all but one"
            )
    return texts


def describe_near(name: str, names: Iterable[str]) -> str:
    """Return a sentence that offers the names most like ``name``, or lists the first ones."""
    known = list(names)
    folded = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(folded[n]) for n in near) + "?"
    shown = ", ".join(repr(other) for other in known[:10])
    return f"there are: {shown}{', …' if len(known) > 10 else ''}"
