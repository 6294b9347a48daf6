"""Reading the file that is to be sent, such that a file which has changed since the catalog saw it never becomes an
object.

The last chunk is handed out only after the digest of everything has been compared: a sender that dies of the exception
has sent fewer bytes than it announced, and a store keeps no such object.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from typing import Any

from lading_catalog.errors import Damaged, Error, Refused, Unavailable
from ladingd.stores.base import Upload

CHUNK_BYTES = 1 << 20

_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # NONBLOCK: a FIFO must not hang a worker
_GONE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ESTALE, errno.ENXIO)


def _changed(upload: Upload, how: str) -> Damaged:
    return Damaged(
        f"{upload.path!r} {how}",
        reason="source_changed",
        hint="put the file again; the object keeps its other copies",
        path=upload.path,
    )


@contextlib.contextmanager
def open_source(upload: Upload) -> Iterator[SourceReader]:
    """A reader over the file of `upload`. Raises Damaged (`source_changed`) if it is gone, a symlink, no regular file
    or has another size; Refused or Unavailable if it cannot be opened.
    """
    try:
        fd = _open(upload.path)
    except OSError as e:
        if e.errno in _GONE:
            raise _changed(upload, "is gone or a symlink") from e
        if e.errno in (errno.EACCES, errno.EPERM):
            raise Refused(f"{upload.path!r} cannot be read here: {e.strerror}", path=upload.path) from e
        raise Unavailable(f"{upload.path!r} cannot be opened here: {e.strerror}", path=upload.path) from e
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise _changed(upload, "is no regular file")
        if info.st_size != upload.size_bytes:
            raise _changed(upload, f"has {info.st_size} bytes, not {upload.size_bytes}")
        yield SourceReader(fd, upload)
    finally:
        os.close(fd)


def _open(path: str) -> int:
    """Without a trace in its atime, which says when somebody used it. Only the owner may do that."""
    try:
        return os.open(path, _OPEN_FLAGS | getattr(os, "O_NOATIME", 0))
    except PermissionError:
        return os.open(path, _OPEN_FLAGS)


class SourceReader:
    """A file object of exactly `upload.size_bytes` bytes, for SDKs. Rewinds with `seek(0)`; other seeks only measure.

    `failure` keeps what `read` raised, because SDKs wrap it in exceptions of their own. `md5` is complete once all was
    read.
    """

    def __init__(self, fd: int, upload: Upload, *, md5: bool = False) -> None:
        self._fd = fd
        self._upload = upload
        self.with_md5 = md5
        self.failure: Error | None = None
        self._rewind()

    def _rewind(self) -> None:
        self._position = 0
        self._hashed = 0
        self._sha256 = hashlib.sha256()
        self.md5 = hashlib.md5(usedforsecurity=False)

    def __len__(self) -> int:
        return self._upload.size_bytes

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        target = offset + (0, self._position, len(self))[whence]
        if target == 0:
            self._rewind()
        self._position = target
        return target

    def read(self, amount: int | None = None) -> bytes:
        """Up to `amount` bytes. Raises Damaged (`source_changed`) instead of the last chunk if the bytes are not the
        catalog's.
        """
        if self._position >= len(self):
            if len(self) == 0:
                self._verify()
            return b""
        if self._position != self._hashed:
            raise self._fail(Unavailable(f"{self._upload.path!r} can only be read from its start"))
        left = len(self) - self._position
        amount = left if amount is None or amount < 0 else min(amount, left)
        try:
            chunk = os.pread(self._fd, amount, self._position)
        except OSError as e:
            raise self._fail(Unavailable(f"{self._upload.path!r} cannot be read here: {e.strerror}")) from e
        if amount and not chunk:
            raise self._fail(_changed(self._upload, "has become shorter"))
        self._sha256.update(chunk)
        if self.with_md5:
            self.md5.update(chunk)
        self._position += len(chunk)
        self._hashed = self._position
        if self._position == len(self):
            self._verify()
        return chunk

    def _verify(self) -> None:
        if os.fstat(self._fd).st_size != len(self):
            raise self._fail(_changed(self._upload, "has another size now"))
        if self._sha256.digest() != self._upload.sha256:
            raise self._fail(_changed(self._upload, "holds other bytes than the catalog says"))

    def _fail(self, error: Error) -> Error:
        self.failure = error
        return error

    def load(self) -> bytes:
        """The whole file in memory, verified."""
        parts = []
        while chunk := self.read():
            parts.append(chunk)
        return b"".join(parts)

    def chunks(self) -> Iterator[bytes]:
        """The whole file, chunk by chunk; the last one comes only if all were right."""
        while chunk := self.read(CHUNK_BYTES):
            yield chunk


def drain(chunks: Iterator[bytes], *, algorithm: str = "sha256") -> tuple[int, Any]:
    """Size and digest object of a body that is read back."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    size_bytes = 0
    for chunk in chunks:
        digest.update(chunk)
        size_bytes += len(chunk)
    return size_bytes, digest
