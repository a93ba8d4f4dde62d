"""What each column holds, and tables turned into typed columns.

The kinds are inferred once, from the training table, with a reason for each; after that
``Schema.convert`` reads every table the same way, so that a row alone gives what it gives in a
batch. Needs NumPy alone.
"""

from __future__ import annotations

import functools
import html
import re
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.errors import DataError, SettingsError
from automl_fuse.specs import MISSING_CODE, UNSEEN_CODE, Array, Column, Columns, Floats, Kind
from automl_fuse.table import NULL_TEXTS, Table, describe_near, format_cell, parse_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = ["Schema", "infer"]

_SAMPLE = 200
_MIN_ROWS_FOR_ID = 20
_NEARLY_ALL = 0.95
_MIN_NUMBERS_AS_TEXT = 20
_TRUE = frozenset({"1", "1.0", "t", "true", "y", "yes"})
_FALSE = frozenset({"0", "0.0", "f", "false", "n", "no"})

_IMAGE_NAMES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_AUDIO_NAMES = (".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav")
_IMAGE_BYTES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_AUDIO_BYTES = (b"fLaC", b"OggS", b"ID3", b"FORM", b"\xff\xfb")

_ID_NAME = re.compile(r"(?i:(^|[\W_])(id|uuid|guid|idx|index|row_?id)$)|[a-z]I[dD]$|^Unnamed: \d+$")
_ISO_DATE = re.compile(
    r"(\d{4})[-/](\d{2})[-/](\d{2})"
    r"(?:[T ](\d{2}:\d{2}(?::\d{2})?)(\.\d{1,6})?\d*\s?(?:(Z|UTC)|([+-])(\d{2}):?(\d{2}))?)?"
)
_OTHER_DATE = re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}(\s.*)?")


@dataclass(frozen=True)
class Schema:
    """Kinds of the columns of the training table.

    Attributes
    ----------
    columns : tuple of Column
        All columns, those that are dropped included, in table order.
    warnings : tuple of str
        What was dropped or looks doubtful, in words for the user.
    """

    columns: tuple[Column, ...]
    warnings: tuple[str, ...] = ()

    def convert(self, table: Table) -> Columns:
        """Return the typed columns of a table, those that are dropped left out.

        Parameters
        ----------
        table : Table
            With at least the columns that are not dropped, in any order.

        Returns
        -------
        Columns
            In the order of this schema; rows as in ``table``.

        Raises
        ------
        DataError
            If columns are missing, or a value does not fit the kind of its column.
        """
        kept = tuple(column for column in self.columns if not column.kind.is_dropped)
        missing = [column.name for column in kept if column.name not in table.columns]
        if missing:
            raise DataError(_describe_missing(missing, table, self.columns))
        values = {column.name: self._convert(column, table.columns[column.name]) for column in kept}
        return Columns(columns=kept, values=values, n_rows=table.n_rows)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values from which ``from_dict`` makes an equal schema."""
        return {
            "columns": [
                {**asdict(c), "kind": c.kind.value, "categories": list(c.categories)}
                for c in self.columns
            ],
            "warnings": list(self.warnings),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Schema:
        """Return the schema that ``to_dict`` described."""
        columns = (
            Column(
                name=column["name"],
                kind=Kind(column["kind"]),
                reason=column["reason"],
                categories=tuple(column["categories"]),
            )
            for column in values["columns"]
        )
        return Schema(tuple(columns), tuple(values["warnings"]))

    def __str__(self) -> str:
        rows = [("column", "kind", "reason"), *self._cells()]
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        return "\n".join(f"{n:<{widths[0]}}  {k:<{widths[1]}}  {r}" for n, k, r in rows)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{title}</th>" for title in ("column", "kind", "reason"))
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._cells()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __reduce__(self) -> tuple[type[Schema], tuple[tuple[Column, ...], tuple[str, ...]]]:
        # The look-up tables are cached on the object, and made again where they are needed.
        return Schema, (self.columns, self.warnings)

    def _cells(self) -> list[tuple[str, str, str]]:
        return [(column.name, column.kind.value, column.reason) for column in self.columns]

    def _convert(self, column: Column, values: Array) -> Array:
        if column.kind is not Kind.CATEGORY:
            return _CONVERTERS[column.kind](column, values)
        if column.name not in self._lookups:
            self._lookups[column.name] = _Lookup.of(column.categories)
        return self._lookups[column.name].codes(column, values)

    @functools.cached_property
    def _lookups(self) -> dict[str, _Lookup]:
        return {}


def infer(table: Table, overrides: Mapping[str, str]) -> Schema:
    """Decide what each column holds.

    Parameters
    ----------
    table : Table
        The training features.
    overrides : mapping of str to str
        Kinds, by column, that the user sets; ``"id"`` drops a column.

    Returns
    -------
    Schema
        A kind and a reason for each column, in table order.

    Raises
    ------
    SettingsError
        If an override names no column or no kind.
    DataError
        If no column is left to learn from, or one holds cells of no known kind.
    """
    _check_overrides(table, overrides)
    notes: list[str] = []
    columns = tuple(
        _override(name, values, Kind(overrides[name]))
        if name in overrides
        else _infer_column(table, name, notes)
        for name, values in table.columns.items()
    )
    if all(column.kind.is_dropped for column in columns):
        reasons = "; ".join(f"{c.name!r}: {c.reason}" for c in columns)
        raise DataError(
            f"no column is left to learn from ({reasons}): add features, or set their kinds"
        )
    return Schema(columns, tuple(notes))


# --------------------------------------------------------------------------- inference


@dataclass(frozen=True)
class _Guess:
    """A kind, the reason for it, and what is known with it."""

    kind: Kind
    reason: str
    categories: tuple[str, ...] = ()
    note: str = ""


def _check_overrides(table: Table, overrides: Mapping[str, str]) -> None:
    kinds = [kind.value for kind in Kind]
    for name, kind in overrides.items():
        if name not in table.columns:
            raise SettingsError(
                f"kinds names {name!r}, which is no feature; {describe_near(name, table.names)}"
            )
        if kind not in kinds:
            raise SettingsError(
                f"kind {kind!r} of column {name!r} is unknown; {describe_near(str(kind), kinds)}"
            )


def _override(name: str, values: Array, kind: Kind) -> Column:
    reason = "set by the user"
    if kind is not Kind.CATEGORY:
        return Column(name=name, kind=kind, reason=reason)
    texts = _as_texts(Column(name=name, kind=kind, reason=reason), values)
    known = tuple(sorted({text for text in texts.tolist() if text is not None}))
    return Column(name=name, kind=kind, reason=reason, categories=known)


def _infer_column(table: Table, name: str, notes: list[str]) -> Column:
    values = table.columns[name]
    guess = _guess(table, name, values)
    if guess.kind.is_dropped:
        keep = "category" if values.dtype == object else "numeric"
        advice = f"; kinds={{{name!r}: {keep!r}}} keeps it" if guess.kind is Kind.ID else ""
        notes.append(f"column {name!r} is dropped as {guess.kind.value}: {guess.reason}{advice}")
    if guess.note:
        notes.append(f"column {name!r}: {guess.note}")
    return Column(name=name, kind=guess.kind, reason=guess.reason, categories=guess.categories)


def _guess(table: Table, name: str, values: Array) -> _Guess:
    kind = values.dtype.kind
    if kind == "f":
        return _guess_numbers(name, values, alone=len(table.columns) == 1)
    if kind == "b":
        if values.all() or not values.any():
            return _constant(bool(values[:1].any()))
        return _Guess(Kind.BOOLEAN, "true or false")
    if kind == "M":
        return _guess_dates(values, "dates")
    cells = values.tolist()
    first = next((cell for cell in cells if cell is not None), None)
    if first is None:
        return _constant(None)
    if isinstance(first, str):
        return _guess_texts(cells, declared=name in table.categorical)
    if isinstance(first, bool):
        return _Guess(Kind.BOOLEAN, "true or false" + _missing_note(cells.count(None), len(cells)))
    return _guess_objects(name, cells, first)


def _constant(value: object) -> _Guess:
    return _Guess(Kind.CONSTANT, "always missing" if value is None else f"always {_short(value)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _missing_note(n_missing: int, n_rows: int) -> str:
    return f", {100 * n_missing / n_rows:.2g} % missing" if n_missing else ""


def _guess_numbers(name: str, values: Floats, *, alone: bool) -> _Guess:
    if not len(values) or np.isnan(low := np.fmin.reduce(values)):
        return _constant(None)
    high = np.fmax.reduce(values)
    n_missing = int(np.count_nonzero(np.isnan(values)))
    if low == high and not n_missing:
        return _constant(float(low) + 0.0)
    if n_missing == 0 and len(values) >= _MIN_ROWS_FOR_ID and not alone:
        if high - low == len(values) - 1 and _counts_rows(values):
            return _Guess(Kind.ID, "integers that count the rows")
        if _ID_NAME.search(name) and _is_unique_integer(values):
            return _Guess(Kind.ID, "a different integer in every row, and named like an identifier")
    span = f"numbers from {low + 0.0:.6g} to {high + 0.0:.6g}"
    return _Guess(Kind.NUMERIC, span + _missing_note(n_missing, len(values)))


def _counts_rows(values: Floats) -> bool:
    step = values[1] - values[0]
    if abs(step) != 1 or not float(values[0]).is_integer():
        return False
    return bool((np.diff(values) == step).all())


def _is_unique_integer(values: Floats) -> bool:
    return bool((values == np.floor(values)).all()) and len(np.unique(values)) == len(values)


def _guess_dates(values: Array, what: str) -> _Guess:
    present = values[~np.isnat(values)]
    if not len(present):
        return _constant(None)
    low, high = present.min(), present.max()
    if low == high and len(present) == len(values):
        return _constant(str(low))
    days = (str(moment.astype("datetime64[D]")) for moment in (low, high))
    span = f"{what} from {' to '.join(days)}"
    return _Guess(Kind.DATETIME, span + _missing_note(len(values) - len(present), len(values)))


def _guess_objects(name: str, cells: list[Any], first: object) -> _Guess:
    # list.count would compare arrays with None, element by element.
    note = _missing_note(sum(cell is None for cell in cells), len(cells))
    if isinstance(first, list | tuple | np.ndarray):
        pixels = isinstance(first, np.ndarray) and first.ndim > 1 and first.dtype == np.uint8
        kind = Kind.IMAGE if pixels else Kind.SEQUENCE
        what = "arrays of bytes with two or more dimensions" if pixels else "lists of numbers"
        return _Guess(kind, what + note)
    if isinstance(first, bytes | bytearray):
        head = bytes(first[:12])
        if head.startswith(_IMAGE_BYTES) or (head[:4] == b"RIFF" and head[8:] == b"WEBP"):
            return _Guess(Kind.IMAGE, "bytes of image files" + note)
        if head.startswith(_AUDIO_BYTES) or (head[:4] == b"RIFF" and head[8:] == b"WAVE"):
            return _Guess(Kind.AUDIO, "bytes of audio files" + note)
        raise DataError(
            f"column {name!r} holds bytes such as {_short(first)}, neither an image nor audio: "
            "decode them to text, or drop the column"
        )
    if type(first).__module__.startswith("PIL."):
        return _Guess(Kind.IMAGE, "images" + note)
    raise DataError(f"column {name!r} holds {type(first).__name__} objects: drop it")


def _guess_texts(cells: list[str | None], *, declared: bool) -> _Guess:
    distinct = dict.fromkeys(cells)
    distinct.pop(None, None)
    texts = [text for text in distinct if text is not None]
    n_missing = cells.count(None)
    if len(texts) == 1 and not n_missing:
        return _constant(texts[0])
    note = _missing_note(n_missing, len(cells))
    if declared:
        return _category(texts, f"declared categorical, {len(texts):,} distinct values{note}")
    return (
        _guess_files(texts, note)
        or _guess_date_texts(texts, cells)
        or _guess_number_texts(texts, note)
        or _guess_words(texts, len(cells) - n_missing, note)
    )


def _category(texts: list[str], reason: str, note: str = "") -> _Guess:
    return _Guess(Kind.CATEGORY, reason, tuple(sorted(texts)), note)


def _guess_files(texts: list[str], note: str) -> _Guess | None:
    for kind, names in ((Kind.IMAGE, _IMAGE_NAMES), (Kind.AUDIO, _AUDIO_NAMES)):
        if all(t.lower().endswith(names) for t in texts[:_SAMPLE]) and all(
            t.lower().endswith(names) for t in texts
        ):
            return _Guess(kind, f"names of {kind.value} files{note}")
    return None


def _guess_date_texts(texts: list[str], cells: list[str | None]) -> _Guess | None:
    """Take texts for dates if all are, beside those that mean a missing value."""
    sample = [text for text in texts[:_SAMPLE] if not _is_null(text)]
    if not sample or not all(map(_ISO_DATE.fullmatch, map(str.strip, sample))):
        return None
    moments, bad = _parse_dates(np.array(cells, dtype=object))
    return None if bad >= 0 else _guess_dates(moments, "text that holds dates")


def _guess_number_texts(texts: list[str], note: str) -> _Guess | None:
    """Take texts for numbers where some have a fraction; codes such as 00501 stay texts."""
    present = [text.strip() for text in texts if not _is_null(text)]
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
    return _Guess(Kind.NUMERIC, f"text that holds numbers{note}")


def _guess_words(texts: list[str], n_present: int, note: str) -> _Guess:
    sample = texts[:: max(1, len(texts) // 1000)]
    words = sum(len(text.split()) for text in sample) / len(sample)
    length = sum(map(len, sample)) / len(sample)
    distinct = f"{len(texts):,} distinct values"
    if len(texts) > n_present / 2:
        if words >= 4 or (words >= 2 and length >= 30):
            return _Guess(Kind.TEXT, f"text of {words:.0f} words on average, {distinct}{note}")
        if n_present >= _MIN_ROWS_FOR_ID and len(texts) >= _NEARLY_ALL * n_present:
            doubt = _date_doubt(sample)
            if doubt:
                return _category(texts, f"text, {distinct}{note}", doubt)
            if words < 1.5:
                return _Guess(Kind.ID, f"a different text in nearly every row, like {sample[0]!r}")
            return _Guess(Kind.TEXT, f"short text, {distinct}{note}")
    return _category(texts, f"text, {distinct}{note}", _date_doubt(sample))


def _date_doubt(sample: list[str]) -> str:
    """Return a warning where texts look like dates that are not in ISO order."""
    likely = [text for text in sample if _OTHER_DATE.fullmatch(text.strip())]
    if len(likely) < _NEARLY_ALL * len(sample):
        return ""
    return (
        f"{likely[0]!r} looks like a date, but day and month cannot be told apart: write it as "
        "YYYY-MM-DD, for example with pandas.to_datetime"
    )


def _is_null(text: str) -> bool:
    return text.strip().lower() in NULL_TEXTS


# --------------------------------------------------------------------------- conversion


def _describe_missing(missing: list[str], table: Table, columns: tuple[Column, ...]) -> str:
    known = {column.name for column in columns}
    others = [name for name in table.names if name not in known]
    hint = f"; {describe_near(missing[0], others)}" if others else ""
    listed = ", ".join(map(repr, missing))
    return f"{len(missing)} columns that were there at fit are missing: {listed}{hint}"


def _unfit(column: Column, row: int, value: object, expected: str) -> DataError:
    return DataError(
        f"column {column.name!r}, row {row}: {expected} was expected, found {_short(value)} "
        f"({type(value).__name__})"
    )


def _first_present(values: Array) -> int:
    """Return the position of the first value that is not missing, or -1."""
    kind = values.dtype.kind
    if kind == "f":
        present = ~np.isnan(values)
    elif kind == "M":
        present = ~np.isnat(values)
    elif kind == "O":
        return next((i for i, cell in enumerate(values) if cell is not None), -1)
    else:
        return 0 if len(values) else -1
    return int(np.argmax(present)) if present.any() else -1


def _holds(values: Array, kind: type | tuple[type, ...]) -> bool:
    """Return whether a column of objects holds cells of this kind."""
    first = _first_present(values)
    return values.dtype == object and first >= 0 and isinstance(values[first], kind)


def _to_numeric(column: Column, values: Array) -> Array:
    if values.dtype.kind in "fb":
        return values.astype(np.float64, copy=False)
    first = _first_present(values)
    if first < 0:
        return np.full(len(values), np.nan)
    if _holds(values, bool):
        return values.astype(np.float64)
    if not _holds(values, str):
        raise _unfit(column, first, values[first], "a number")
    numbers, bad = parse_numbers(values)
    if bad >= 0:
        raise _unfit(column, bad, values[bad], "a number")
    return numbers


def _to_boolean(column: Column, values: Array) -> Array:
    if values.dtype.kind == "b" or _holds(values, bool):
        return values.astype(np.float64)
    if values.dtype.kind == "f":
        wrong = ~(np.isnan(values) | (values == 0) | (values == 1))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise _unfit(column, row, float(values[row]), "true or false")
        return values
    flags = np.full(len(values), np.nan)
    first = _first_present(values)
    if first >= 0 and not _holds(values, str):
        raise _unfit(column, first, values[first], "true or false")
    for row, value in enumerate(values) if first >= 0 else ():
        word = None if value is None else value.strip().lower()
        if word in _TRUE or word in _FALSE:
            flags[row] = word in _TRUE
        elif word is not None and word not in NULL_TEXTS:
            raise _unfit(column, row, value, "true or false")
    return flags


def _to_datetime(column: Column, values: Array) -> Array:
    if values.dtype.kind == "M":
        return values
    first = _first_present(values)
    if first < 0:
        return np.full(len(values), "NaT", "datetime64[us]")
    expected = "a date such as 2024-12-31 or 2024-12-31 23:59:59"
    if not _holds(values, str):
        raise _unfit(column, first, values[first], expected)
    moments, bad = _parse_dates(values)
    if bad >= 0:
        raise _unfit(column, bad, values[bad], expected)
    return moments


def _parse_dates(cells: Array) -> tuple[Array, int]:
    """Parse ISO 8601 texts; return UTC moments and the position of the first bad one, or -1."""
    moments = np.full(len(cells), "NaT", "datetime64[us]")
    rows, texts, shifts = [], [], []
    for row, cell in enumerate(cells.tolist()):
        match = None if cell is None else _ISO_DATE.fullmatch(cell.strip())
        if match is None:
            if cell is None or _is_null(cell):
                continue
            return moments, row
        year, month, day, clock, fraction, _, sign, hours, minutes = match.groups()
        texts.append(f"{year}-{month}-{day}T{clock or '00:00'}{fraction or ''}")
        rows.append(row)
        shifts.append(0 if sign is None else int(f"{sign}1") * (int(hours) * 60 + int(minutes)))
    try:
        moments[rows] = np.array(texts, dtype="datetime64[us]") - np.array(shifts, "timedelta64[m]")
    except ValueError:
        return moments, next(
            row for row, text in zip(rows, texts, strict=True) if not _is_moment(text)
        )
    return moments, -1


def _is_moment(text: str) -> bool:
    try:
        np.datetime64(text, "us")
    except ValueError:
        return False
    return True


def _as_texts(column: Column, values: Array) -> Array:
    """Return any scalar column as str objects, None where missing."""
    if _holds(values, str):
        return values
    texts = np.full(len(values), None, dtype=object)
    first = _first_present(values)
    if first < 0:
        return texts
    if values.dtype == object and not isinstance(values[first], bool):
        raise _unfit(column, first, values[first], "text or a number")
    cells = list(values) if values.dtype.kind == "M" else values.tolist()
    known: dict[Any, str | None] = {}
    for row, cell in enumerate(cells):
        if cell is None or cell != cell:  # noqa: PLR0124 (NaN and NaT are unequal to themselves)
            continue
        if cell not in known:
            known[cell] = format_cell(cell)
        texts[row] = known[cell]
    return texts


def _to_text(column: Column, values: Array) -> Array:
    return _as_texts(column, values)


def _to_sequence(column: Column, values: Array) -> Array:
    first = _first_present(values)
    cells = np.full(len(values), None, dtype=object)
    if first < 0:
        return cells
    if values.dtype != object:
        raise _unfit(column, first, values[first], "a list of numbers")
    for row, value in enumerate(values):
        if value is not None:
            cells[row] = _sequence(value)
            if cells[row] is None:
                raise _unfit(column, row, value, "a list of numbers")
    return cells


def _sequence(value: object) -> Floats | None:
    """Return the numbers of one cell, or None where it is no regular list of numbers."""
    if not isinstance(value, list | tuple | np.ndarray):
        return None
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _to_files(column: Column, values: Array) -> Array:
    first = _first_present(values)
    if first < 0:
        return np.full(len(values), None, dtype=object)
    if values.dtype != object or isinstance(values[first], bool):
        expected = f"{column.kind.value} bytes or the path of an {column.kind.value} file"
        raise _unfit(column, first, values[first], expected)
    return values


_CONVERTERS: Mapping[Kind, Callable[[Column, Array], Array]] = {
    Kind.NUMERIC: _to_numeric,
    Kind.BOOLEAN: _to_boolean,
    Kind.DATETIME: _to_datetime,
    Kind.TEXT: _to_text,
    Kind.SEQUENCE: _to_sequence,
    Kind.IMAGE: _to_files,
    Kind.AUDIO: _to_files,
}


@dataclass(frozen=True)
class _Lookup:
    """Codes of the categories of one column, by text, and by number where that is clear.

    A CSV of other rows may give the categories "1" or "00501" as numbers; a number finds the
    one category that it equals.
    """

    by_text: Mapping[str | None, int]
    by_number: Mapping[float, int]

    @staticmethod
    def of(categories: tuple[str, ...]) -> _Lookup:
        by_text: dict[str | None, int] = {text: code for code, text in enumerate(categories)}
        numbers: dict[float, list[int]] = {}
        for code, text in enumerate(categories):
            if (number := _number(text)) is not None:
                numbers.setdefault(number, []).append(code)
        by_number = {n: codes[0] for n, codes in numbers.items() if len(codes) == 1}
        by_number.update({n: by_text[t] for n in numbers if (t := format_cell(n)) in by_text})
        by_text[None] = MISSING_CODE
        return _Lookup(by_text, by_number)

    def codes(self, column: Column, values: Array) -> NDArray[np.int32]:
        """Return the code of each value."""
        if values.dtype.kind == "f":
            return self._codes_of_numbers(values)
        texts = _as_texts(column, values).tolist()
        codes = np.fromiter(map(self.by_text.get, texts, repeat(UNSEEN_CODE)), np.int32, len(texts))
        for row in np.flatnonzero(codes == UNSEEN_CODE) if self.by_number else ():
            number = _number(texts[row]) if texts[row].endswith((".0", "True", "False")) else None
            if number is not None:
                codes[row] = self.by_number.get(number, UNSEEN_CODE)
        return codes

    def _codes_of_numbers(self, values: Floats) -> NDArray[np.int32]:
        distinct, inverse = np.unique(values, return_inverse=True)
        codes = [
            MISSING_CODE if np.isnan(number) else self.by_number.get(number, UNSEEN_CODE)
            for number in distinct.tolist()
        ]
        return np.array(codes, dtype=np.int32)[inverse]


def _number(text: str) -> float | None:
    """Return the number that a text is, 1 or 0 for True or False, or None."""
    if text in {"True", "False"}:
        return float(text == "True")
    if "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None
