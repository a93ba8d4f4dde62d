"""Descriptions of steps, which come from a file and are not trusted."""

from __future__ import annotations

import sys
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import ArtefactError
from automl_fuse.front_end.images import ImageSummary, Pixels
from automl_fuse.front_end.sequences import PaddedSequence, SequenceSummary
from automl_fuse.front_end.sounds import AudioSummary, LogMel
from automl_fuse.front_end.terms import Cut, TermPlaces, TermWeights, TextSplit, Vocabulary
from automl_fuse.front_end.texts import TextShape
from automl_fuse.front_end.tokens import Tokens

if TYPE_CHECKING:
    from automl_fuse.front_end.cells import CellStep
    from automl_fuse.front_end.texts import Step, Texts
    from automl_fuse.specs import Floats


MOST_COLUMNS: Final = 1 << 20
"""Columns of images, sounds, sequences and tokens: a file must not fill the memory."""

CELL_STEPS: Final[Mapping[str, type[CellStep]]] = {
    step.name: step
    for step in (Pixels, ImageSummary, LogMel, AudioSummary, PaddedSequence, SequenceSummary)
}
"""Steps that read other cells than texts, by name."""


def run_step(step: Mapping[str, Any], values: Texts) -> Floats:
    """Do one step for some rows.

    Parameters
    ----------
    step : mapping
        See ``read_step``, which need run only once where rows come one by one.
    values : array or sequence of shape (n_rows,)
        Texts, None where missing, which is the empty text; or an array of the cells of another
        kind of column, as ``specs.Columns`` describes them.

    Returns
    -------
    float64 array of shape (n_rows, width)
        Dense: give many rows in parts.

    Raises
    ------
    ArtefactError
        If the step is unknown, or its settings are malformed.
    DataError
        If a value is not of the kind that the step reads.
    """
    return read_step(step)(values)


def read_step(step: Mapping[str, Any]) -> Step:
    """Check the description of a step, and return what does it.

    Parameters
    ----------
    step : mapping
        JSON values under ``kind``, ``settings`` and ``width``; what else it holds, such as the
        name of the column, is not read. The kinds that read texts:

        ``term_weights``
            TF-IDF weights of terms: see ``TermWeights``. Settings: ``split`` (``"ngrams"`` or
            ``"words"``), ``characters``, ``vocabulary`` (distinct terms, in the order of the
            columns) and ``rarity`` (a positive number for each).
        ``term_places``
            Places of such weights on axes: see ``TermPlaces``. Settings: those of
            ``term_weights`` and ``axes``, single-precision numbers (n_terms, n_axes), row by
            row, the least byte first, in Base64.
        ``text_shape``
            Length and make-up of a text: see ``TextShape``. Settings: ``characters``.
        ``tokens``
            Codes of the pieces of a text: see ``Tokens``. Settings: ``characters``, ``length``
            and ``vocabulary`` (distinct pieces, in the order of their codes).

        Those that read images, sounds and sequences are ``CELL_STEPS``; their settings are the
        fields of these classes, whole numbers from 1 on.

    Raises
    ------
    ArtefactError
        If the kind is unknown, a setting is missing, unknown or malformed, or ``width`` is not
        the number of columns that the settings make.
    """
    if not isinstance(step, Mapping):
        raise ArtefactError(f"a front-end step is {_shown(step)}, not a mapping")
    kind = step.get("kind")
    if not isinstance(kind, str) or kind not in _READERS:
        raise ArtefactError(
            f"front-end step {_shown(kind)} is unknown; known are {', '.join(_READERS)}. A newer "
            f"automl_fuse may have written the file"
        )
    names, read = _READERS[kind]
    settings: Any = step.get("settings")
    width = step.get("width")
    _require(isinstance(settings, Mapping), kind, "settings", settings, "a mapping")
    given = sorted(map(str, settings))
    _require(set(settings) == names, kind, "settings", given, f"exactly {sorted(names)}")
    result = read(kind, settings)
    _require(type(width) is int and width == result.width, kind, "width", width, str(result.width))
    return result


def _read_term_weights(kind: str, settings: Mapping[str, Any]) -> TermWeights:
    split, terms, rarity = settings["split"], settings["vocabulary"], settings["rarity"]
    _require(split in list(TextSplit), kind, "split", split, " or ".join(TextSplit))
    texts = isinstance(terms, list) and all(isinstance(term, str) for term in terms)
    _require(texts, kind, "vocabulary", terms, "a list of texts")
    distinct = len(set(terms)) == len(terms)
    _require(distinct, kind, "vocabulary", terms, "a list without repetitions")
    positive = isinstance(rarity, list) and len(rarity) == len(terms) and _all_positive(rarity)
    _require(positive, kind, "rarity", rarity, "a positive number for each term")
    cut = Cut(TextSplit(split), _read_characters(kind, settings))
    return TermWeights(vocabulary=Vocabulary(cut, terms), rarity=np.array(rarity, dtype=np.float64))


def _read_term_places(kind: str, settings: Mapping[str, Any]) -> TermPlaces:
    terms, text = _read_term_weights(kind, settings), settings["axes"]
    try:
        axes = np.frombuffer(b64decode(text, validate=True), dtype="<f4").astype(np.float64)
        axes = axes.reshape(terms.width, axes.size // max(terms.width, 1))
    except (TypeError, ValueError):
        axes = np.array(np.nan)
    expected = f"Base64 of finite numbers, equally many for each of {terms.width} terms"
    _require(bool(np.isfinite(axes).all()), kind, "axes", text, expected)
    return TermPlaces(terms=terms, axes=axes)


def _read_text_shape(kind: str, settings: Mapping[str, Any]) -> TextShape:
    return TextShape(characters=_read_characters(kind, settings))


def _read_tokens(kind: str, settings: Mapping[str, Any]) -> Tokens:
    length, pieces = settings["length"], settings["vocabulary"]
    inside = isinstance(length, int) and not isinstance(length, bool) and 1 <= length < MOST_COLUMNS
    _require(inside, kind, "length", length, f"a whole number from 1 to {MOST_COLUMNS - 1}")
    texts = isinstance(pieces, list) and all(isinstance(piece, str) and piece for piece in pieces)
    _require(texts, kind, "vocabulary", pieces, "a list of texts, none of them empty")
    distinct = len(set(pieces)) == len(pieces)
    _require(distinct, kind, "vocabulary", pieces, "a list without repetitions")
    characters = _read_characters(kind, settings)
    return Tokens(characters=characters, length=length, vocabulary=tuple(pieces))


def _read_cell_step(kind: str, settings: Mapping[str, Any]) -> CellStep:
    build = CELL_STEPS[kind]
    for name, most in build.limits.items():
        value = settings[name]
        inside = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
        _require(inside, kind, name, value, f"a whole number from 1 to {most}")
    step = build(**settings)
    bounded = step.width <= MOST_COLUMNS
    _require(bounded, kind, "settings", dict(settings), f"of at most {MOST_COLUMNS} columns")
    return step


def _read_characters(kind: str, settings: Mapping[str, Any]) -> int:
    value = settings["characters"]
    positive = isinstance(value, int) and not isinstance(value, bool) and value > 0
    _require(positive, kind, "characters", value, "a whole number from 1 on")
    return int(value)


def _all_positive(values: list[Any]) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return numbers and all(0 < value <= sys.float_info.max for value in values)


def _require(holds: bool, kind: str, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ArtefactError(
            f"{name!r} of front-end step {kind!r} is {_shown(value)}, not {expected}: the file "
            f"is damaged, or a newer automl_fuse wrote it"
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


_WEIGHTS = {"split", "characters", "vocabulary", "rarity"}

_READERS: Final[dict[str, tuple[set[str], Callable[[str, Mapping[str, Any]], Step]]]] = {
    "term_weights": (_WEIGHTS, _read_term_weights),
    "term_places": (_WEIGHTS | {"axes"}, _read_term_places),
    "text_shape": ({"characters"}, _read_text_shape),
    "tokens": ({"characters", "length", "vocabulary"}, _read_tokens),
    **{kind: (set(step.limits), _read_cell_step) for kind, step in CELL_STEPS.items()},
}
