"""Pickles that are loaded only if this run has written them.

Loading a pickle can run code. Those of a run end with a tag, HMAC-SHA-256 (RFC 2104) of what comes
before it under a random key of the run, which lies beside them and is its owner's to read; a file
without a valid tag is refused before a byte of it is interpreted.
"""

from __future__ import annotations

import hashlib
import hmac
import mmap
import os
import pickle
import secrets
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.errors import RunError
from automl_fuse.files import cannot_write, stream_whole, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["KEY", "Seals"]

KEY: Final = "key"
_KEY_BYTES: Final = 32
_TAG_BYTES: Final = 32

_checked: dict[tuple[str, int, int, int], None] = {}
"""Mapped files that this process has checked, by path, inode, size and time of last change."""


class Seals:
    """Writes and reads sealed files of one run.

    Parameters
    ----------
    root : Path
        Folder of the key, which is made with the first file at the latest.
    durable : bool
        Whether files must survive a loss of power.
    """

    def __init__(self, root: Path, *, durable: bool) -> None:
        self._root = root
        self._durable = durable

    def __getstate__(self) -> dict[str, Any]:
        # The key stays in its file: a copy in another pickle could leave the run.
        return {"_root": self._root, "_durable": self._durable}

    def write(self, path: Path, content: bytes) -> int:
        """Write content and its tag, whole or not at all, and return the size of the file.

        Raises
        ------
        RunError
            If it cannot be written, naming the file and the reason.
        """
        self.ensure_key()
        try:
            write_whole(path, content, self._tag(content), durable=self._durable)
        except OSError as error:
            raise cannot_write(path, error) from error
        return len(content) + _TAG_BYTES

    def stream(self, path: Path, write: Callable[[Any], None]) -> None:
        """Write what ``write`` puts into a binary stream, and its tag: a file to be mapped.

        It is for workers of this process, and need not survive it.

        Raises
        ------
        RunError
            If it cannot be written, naming the file and the reason.
        """

        def sealed(stream: Any) -> None:
            hashing = _Hashing(stream, hmac.new(self._key, digestmod=hashlib.sha256))
            write(hashing)
            stream.write(hashing.digest())

        self.ensure_key()
        try:
            stream_whole(path, sealed, durable=False)
        except OSError as error:
            raise cannot_write(path, error) from error

    def read(self, path: Path) -> memoryview:
        """Return the content of a sealed file.

        Raises
        ------
        RunError
            If this run has not written it so.
        FileNotFoundError
            If there is none.
        """
        whole = memoryview(path.read_bytes())
        content, tag = whole[:-_TAG_BYTES], whole[-_TAG_BYTES:]
        if not hmac.compare_digest(self._tag(content), tag):
            raise _refused(path)
        return content

    def check(self, path: Path) -> None:
        """Check a file that is to be mapped, once in a process.

        Its pages are hashed where they lie: 0.06 s for 100 MB, which are then in memory for
        whoever reads them next.

        Raises
        ------
        RunError
            If this run has not written it so.
        FileNotFoundError
            If there is none.
        """
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            place = (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
            if place in _checked:
                return
            if status.st_size <= _TAG_BYTES:
                raise _refused(path)
            with (
                mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
                memoryview(mapped) as whole,
                whole[:-_TAG_BYTES] as content,
            ):
                is_ours = hmac.compare_digest(self._tag(content), mapped[-_TAG_BYTES:])
        if not is_ours:
            raise _refused(path)
        _checked[place] = None

    def dump(self, path: Path, thing: object) -> int:
        """Pickle into a sealed file, and return its size; see ``write``."""
        return self.write(path, pickle.dumps(thing, protocol=pickle.HIGHEST_PROTOCOL))

    def load(self, path: Path) -> Any:
        """Return what was pickled into a sealed file; see ``read``."""
        return pickle.loads(self.read(path))

    def _tag(self, content: bytes | memoryview) -> bytes:
        # Not hmac.digest, which refuses more than 2 GB.
        return hmac.new(self._key, content, hashlib.sha256).digest()

    @cached_property
    def _key(self) -> bytes:
        path = self._root / KEY
        try:
            key = path.read_bytes()
        except FileNotFoundError as error:
            raise RunError(
                f"{path} is missing, the key of this run, without which none of its pickles is "
                "loaded. Restore it, or fit anew."
            ) from error
        if len(key) != _KEY_BYTES:
            raise RunError(f"{path} is damaged: it must hold {_KEY_BYTES} bytes, the run's key.")
        return key

    def ensure_key(self) -> None:
        """Make a key if there is none: once, before several processes write.

        Raises
        ------
        RunError
            If it cannot be written.
        """
        path = self._root / KEY
        if "_key" in self.__dict__ or path.exists():
            return
        try:
            write_whole(path, secrets.token_bytes(_KEY_BYTES), durable=self._durable)
        except OSError as error:
            raise cannot_write(path, error) from error


class _Hashing:
    """A binary stream whose content is hashed as it is written."""

    def __init__(self, stream: Any, tag: hmac.HMAC) -> None:
        self._stream = stream
        self._tag = tag

    def write(self, content: Any) -> int:
        self._tag.update(content)
        return int(self._stream.write(content))

    def tell(self) -> int:
        return int(self._stream.tell())

    def flush(self) -> None:
        self._stream.flush()

    def digest(self) -> bytes:
        return self._tag.digest()


def _refused(path: Path) -> RunError:
    return RunError(
        f"{path} was not written by this run, or is damaged: it does not match {KEY!r}, the key "
        "beside it, so that it is not loaded, for a pickle can run code. Restore both, or fit anew."
    )
