"""Guesses at columns of text."""

from __future__ import annotations

import re

import numpy as np

from automl_fuse.schema.cells import is_null
from automl_fuse.schema.dates import looks_like_date, parse_dates
from automl_fuse.schema.guesses import (
    MIN_ROWS_FOR_ID,
    Guess,
    category,
    constant,
    guess_dates,
    missing_note,
)
from automl_fuse.specs import Kind
from automl_fuse.table import parse_numbers

_SAMPLE = 200
_NEARLY_ALL = 0.95
_MIN_NUMBERS_AS_TEXT = 20
_IMAGE_NAMES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_AUDIO_NAMES = (".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav")
_OTHER_DATE = re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}(\s.*)?")


def guess_texts(cells: list[str | None], *, declared: bool) -> Guess:
    """Guess a column of texts, None where missing."""
    distinct = dict.fromkeys(cells)
    distinct.pop(None, None)
    texts = [text for text in distinct if text is not None]
    n_missing = cells.count(None)
    if len(texts) == 1 and not n_missing:
        return constant(texts[0])
    note = missing_note(n_missing, len(cells))
    if declared:
        return category(texts, f"declared categorical, {len(texts):,} distinct values{note}")
    return (
        _guess_files(texts, note)
        or _guess_date_texts(texts, cells)
        or _guess_number_texts(texts, note)
        or _guess_words(texts, len(cells) - n_missing, note)
    )


def _guess_files(texts: list[str], note: str) -> Guess | None:
    for kind, names in ((Kind.IMAGE, _IMAGE_NAMES), (Kind.AUDIO, _AUDIO_NAMES)):
        if all(t.lower().endswith(names) for t in texts[:_SAMPLE]) and all(
            t.lower().endswith(names) for t in texts
        ):
            return Guess(kind, f"names of {kind.value} files{note}")
    return None


def _guess_date_texts(texts: list[str], cells: list[str | None]) -> Guess | None:
    """Take texts for dates if all are, beside those that mean a missing value."""
    sample = [text for text in texts[:_SAMPLE] if not is_null(text)]
    if not sample or not all(map(looks_like_date, sample)):
        return None
    moments, bad = parse_dates(np.array(cells, dtype=object))
    return None if bad >= 0 else guess_dates(moments, "text that holds dates")


def _guess_number_texts(texts: list[str], note: str) -> Guess | None:
    """Take texts for numbers where some have a fraction; codes such as 00501 stay texts."""
    present = [text.strip() for text in texts if not is_null(text)]
    sample = np.array(present[:_SAMPLE], dtype=object)
    if not present or parse_numbers(sample)[1] >= 0:
        return None
    if any(len(text) > 1 and text[0] == "0" and text[1].isdigit() for text in present):
        return None
    fractions = any("." in text and not text.endswith(".0") for text in present)
    holes = len(present) < len(texts)
    if not fractions and not (holes and len(present) > _MIN_NUMBERS_AS_TEXT):
        return None
    if parse_numbers(np.array(present, dtype=object))[1] >= 0:
        return None
    return Guess(Kind.NUMERIC, f"text that holds numbers{note}")


def _guess_words(texts: list[str], n_present: int, note: str) -> Guess:
    sample = texts[:: max(1, len(texts) // 1000)]
    words = sum(len(text.split()) for text in sample) / len(sample)
    length = sum(map(len, sample)) / len(sample)
    distinct = f"{len(texts):,} distinct values"
    if len(texts) > n_present / 2:
        if words >= 4 or (words >= 2 and length >= 30):
            return Guess(Kind.TEXT, f"text of {words:.0f} words on average, {distinct}{note}")
        if n_present >= MIN_ROWS_FOR_ID and len(texts) >= _NEARLY_ALL * n_present:
            doubt = _date_doubt(sample)
            if doubt:
                return category(texts, f"text, {distinct}{note}", doubt)
            if words < 1.5:
                return Guess(Kind.ID, f"a different text in nearly every row, like {sample[0]!r}")
            return Guess(Kind.TEXT, f"short text, {distinct}{note}")
    return category(texts, f"text, {distinct}{note}", _date_doubt(sample))


def _date_doubt(sample: list[str]) -> str:
    """Return a warning where texts look like dates that are not in ISO order."""
    likely = [text for text in sample if _OTHER_DATE.fullmatch(text.strip())]
    if len(likely) < _NEARLY_ALL * len(sample):
        return ""
    return (
        f"{likely[0]!r} looks like a date, but day and month cannot be told apart: write it as "
        "YYYY-MM-DD, for example with pandas.to_datetime"
    )
