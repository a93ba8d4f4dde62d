"""The wire format of protocol buffers: as much of it as an ONNX file needs, and no more.

Every position is checked against the end of the message it belongs to, and messages inside
messages are returned as spans, not entered: whoever knows what they hold reads them, so nothing
here recurses. A layout names the fields that are expected; any other is refused.
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from automl_fuse.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Span: TypeAlias = tuple[int, int]
"""First position of a message, and the one after its last."""

_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_MORE: Final = 0x80
"""From here on a byte says that its integer goes on."""
_LONGEST_VARINT: Final = 10
_FIRST_NEGATIVE: Final = 1 << 63
_BEYOND: Final = 1 << 64


class Form(Enum):
    """How the content of a field is read."""

    INTEGER = auto()  # int64
    FLOAT = auto()  # float32
    TEXT = auto()  # UTF-8
    SPAN = auto()  # where a message, or bytes, lie
    TEXTS = auto()
    SPANS = auto()
    INTEGERS = auto()  # an int64 array
    FLOATS = auto()  # a float32 array


@dataclass(frozen=True)
class Layout:
    """The fields that a message may have.

    Attributes
    ----------
    name : str
        What the message is, for errors.
    fields : mapping of int to (str, Form)
        Name and form by number.
    refused : mapping of int to str
        What some other fields would hold, for errors.
    """

    name: str
    fields: Mapping[int, tuple[str, Form]]
    refused: Mapping[int, str] = field(default_factory=dict)


def parse(content: bytes, span: Span, layout: Layout) -> dict[str, Any]:
    """Read the fields of one message.

    Parameters
    ----------
    content : bytes
        The whole file.
    span : (int, int)
        Where the message lies.
    layout : Layout
        What it may hold.

    Returns
    -------
    dict of str to object
        Content by name of field, in the form that the layout states; fields that are absent are
        left out.

    Raises
    ------
    ArtefactError
        If the message is cut off, malformed, or holds a field that is not in the layout.
    """
    return _Message(content, span, layout).read()


def varint(content: bytes, at: int, stop: int) -> tuple[int, int]:
    """Return an unsigned integer of variable length, and the position after it.

    Raises
    ------
    ArtefactError
        If it does not end before ``stop``, or has more than 64 bits.
    """
    value = shift = 0
    for position in range(at, min(stop, at + _LONGEST_VARINT)):
        byte = content[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= _BEYOND:
                break
            return value, position + 1
        shift += 7
    if stop - at < _LONGEST_VARINT:
        raise _truncated(at)
    raise ArtefactError(f"the integer at byte {at} has more than 64 bits")


class _Message:
    """One message as it is read; ``_at`` is where the content of the present field starts."""

    def __init__(self, content: bytes, span: Span, layout: Layout) -> None:
        self._content = content
        self._at, self._stop = span
        self._layout = layout
        self._tag = 0
        self._name = ""
        self._found: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        fields, found, stop = self._layout.fields, self._found, self._stop
        while self._at < stop:
            tag, self._at = varint(self._content, self._at, stop)
            known = fields.get(tag >> 3)
            if known is None:
                raise ArtefactError(self._unknown(tag >> 3))
            self._tag = tag
            self._name, form = known
            if self._name in found and form not in _SCATTERED:
                raise ArtefactError(
                    f"{self._layout.name} has its field {self._name!r} in more than one place"
                )
            _READERS[form](self)
        return found

    def integer(self) -> None:
        value = self._varint()
        self._found[self._name] = value - _BEYOND if value >= _FIRST_NEGATIVE else value

    def float(self) -> None:
        self._expect(_FIXED32)
        if self._stop - self._at < 4:
            raise _truncated(self._at)
        self._found[self._name] = struct.unpack_from("<f", self._content, self._at)[0]
        self._at += 4

    def text(self) -> None:
        self._found[self._name] = self._text()

    def texts(self) -> None:
        self._found.setdefault(self._name, []).append(self._text())

    def span(self) -> None:
        self._found[self._name] = self._span()

    def spans(self) -> None:
        self._found.setdefault(self._name, []).append(self._span())

    def integers(self) -> None:
        """Read integers side by side, packed or each behind a tag: forests have very many."""
        if self._tag & 7 == _BYTES:
            start, stop = self._span()
            block = self._block(start, stop)
            ends = np.flatnonzero(block < _MORE)
            if len(block) and (not len(ends) or ends[-1] != len(block) - 1):
                raise _truncated(start)
            starts = np.concatenate([[0], ends + 1])[:-1]
            self._found[self._name] = _decoded(block, starts, ends)
            return
        self._expect(_VARINT)
        start = self._at - 1
        block = self._block(start, self._stop)
        ends = np.flatnonzero(block < _MORE)
        # Tags and integers alternate. Behind the run this division into pieces means nothing.
        starts = np.concatenate([[0], ends + 1])[:-1]
        n_pairs = len(ends) // 2
        tags = starts[0 : 2 * n_pairs : 2]
        n_pairs = _run((block[tags] == self._tag) & (tags == ends[0 : 2 * n_pairs : 2]))
        if not n_pairs:
            raise _truncated(self._at)
        firsts, lasts = starts[1 : 2 * n_pairs : 2], ends[1 : 2 * n_pairs : 2]
        self._found[self._name] = _decoded(block, firsts, lasts)
        self._at = start + int(lasts[-1]) + 1

    def floats(self) -> None:
        """Read numbers side by side, packed or each behind a tag."""
        if self._tag & 7 == _BYTES:
            start, stop = self._span()
            if (stop - start) % 4:
                raise _truncated(stop)
            self._found[self._name] = self._block(start, stop).view("<f4")
            return
        self._expect(_FIXED32)
        start = self._at - 1
        n_pairs = (self._stop - start) // 5
        pairs = self._block(start, start + 5 * n_pairs).reshape(-1, 5)
        n_pairs = _run(pairs[:, 0] == self._tag)
        if not n_pairs:
            raise _truncated(self._at)
        self._found[self._name] = pairs[:n_pairs, 1:].copy().view("<f4")[:, 0]
        self._at = start + 5 * n_pairs

    def _expect(self, wire: int) -> None:
        if self._tag & 7 != wire:
            raise ArtefactError(
                f"field {self._name!r} of {self._layout.name} is malformed at byte {self._at}"
            )

    def _varint(self) -> int:
        self._expect(_VARINT)
        value, self._at = varint(self._content, self._at, self._stop)
        return value

    def _span(self) -> Span:
        """Return where bytes lie that their length precedes, and step behind them."""
        self._expect(_BYTES)
        length, at = varint(self._content, self._at, self._stop)
        if length > self._stop - at:
            raise ArtefactError(
                f"it is truncated or damaged: {self._name!r} of {self._layout.name} at byte {at} "
                f"should have {length:,} bytes, of which {self._stop - at:,} are there"
            )
        self._at = at + length
        return at, self._at

    def _text(self) -> str:
        start, stop = self._span()
        try:
            return self._content[start:stop].decode("utf-8")
        except UnicodeDecodeError as error:
            raise ArtefactError(
                f"{self._name!r} of {self._layout.name} at byte {start} is not UTF-8 text"
            ) from error

    def _block(self, start: int, stop: int) -> NDArray[np.uint8]:
        return np.frombuffer(self._content, np.uint8, stop - start, start)

    def _unknown(self, number: int) -> str:
        what = self._layout.refused.get(number)
        if what is not None:
            return f"{self._layout.name} holds {what}, which an artefact never does"
        return (
            f"{self._layout.name} holds a field, number {number} at byte {self._at}, that "
            "automl_fuse does not write"
        )


def _truncated(at: int) -> ArtefactError:
    return ArtefactError(f"it is truncated or damaged: what stands at byte {at} does not end")


def _run(holds: NDArray[np.bool_]) -> int:
    """Return how many of the first values are true without a break."""
    wrong = np.flatnonzero(~holds)
    return int(wrong[0]) if len(wrong) else len(holds)


def _decoded(
    block: NDArray[np.uint8], firsts: NDArray[np.intp], lasts: NDArray[np.intp]
) -> NDArray[np.int64]:
    lengths = lasts - firsts + 1
    longest = int(lengths.max(initial=0))
    if longest > _LONGEST_VARINT:
        raise ArtefactError("an integer has more than 64 bits")
    values = np.zeros(len(firsts), np.uint64)
    for k in range(longest):
        there = lengths > k
        part = (block[firsts[there] + k] & 0x7F).astype(np.uint64)
        values[there] |= part << np.uint64(7 * k)
    return values.view(np.int64)


_SCATTERED: Final = frozenset({Form.TEXTS, Form.SPANS})
"""Forms that may stand in several places of a message; scattered numbers would take for ever."""

_READERS: Final = {
    Form.INTEGER: _Message.integer,
    Form.FLOAT: _Message.float,
    Form.TEXT: _Message.text,
    Form.SPAN: _Message.span,
    Form.TEXTS: _Message.texts,
    Form.SPANS: _Message.spans,
    Form.INTEGERS: _Message.integers,
    Form.FLOATS: _Message.floats,
}
