"""Reading a large object while it is fetched: a file object over the part that grows."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from lading.fetch import Waiting
from lading_catalog import leases
from lading_catalog.errors import Damaged, Error
from lading_catalog.fetching import URGENT, Here, look_at
from lading_catalog.parts import path_of

if TYPE_CHECKING:
    from lading.catalog import Catalog

FROM_BYTES = 8 << 20  # smaller ones are waited for
KEPT_BACK_BYTES = (
    1 << 20
)  # the end, until all of it was hashed: whoever reads to the end has read the right bytes, or gets an error


class Follower(io.RawIOBase):
    """Reads what has come, and waits for what has not. Raises Damaged where the part began anew after some of it was handed out, else what
    the fetch ended with. `timeout_s`: for the whole fetch."""

    def __init__(self, cat: Catalog, here: Here, timeout_s: float | None) -> None:
        super().__init__()
        self._cat, self._object_id, self._size_bytes = cat, here.object_id, here.size_bytes
        self._waiting = Waiting(cat, timeout_s)
        self._fd = -1
        self._at = 0
        self._handed_out = False
        self._whole = False
        self._error: Error | None = None
        if (refusal := self._waiting.ask([here.object_id], URGENT).get(here.object_id)) is not None:
            raise refusal

    # -- what io.RawIOBase asks for ----------------------------------------------------------------------------------------------

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._checkClosed()
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._checkClosed()
        to = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size_bytes}[whence]
        if to < 0:
            raise ValueError(f"negative seek position {to}")
        self._at = to
        return to

    def readinto(self, buffer: Any) -> int:
        self._checkClosed()
        view = memoryview(buffer).cast("B")
        if not len(view):
            return 0
        if self._at >= self._size_bytes:
            self._wait_for(self._size_bytes)  # the end is an answer too
            return 0
        until = self._wait_for(self._at + 1)
        data = os.pread(self._fd, min(len(view), until - self._at), self._at)
        if not data:
            raise self._fail(Damaged("The copy on this disk became shorter while it was read."))
        view[: len(data)] = data
        self._at += len(data)
        self._handed_out = True
        return len(data)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()

    # -- the part ----------------------------------------------------------------------------------------------------------------

    def _wait_for(self, end: int) -> int:
        """Until the bytes before `end` may be handed out: up to where."""
        if self._error is not None:  # what was wrong once stays so
            raise self._error
        while (until := self._available()) < end:
            decided = self._waiting.look()
            if decided:
                self._decide(decided[self._object_id])
            else:
                self._waiting.pause()
        return until

    def _available(self) -> int:
        if self._whole:
            return self._size_bytes
        if self._fd < 0 and not self._open_part():
            return 0
        found = os.fstat(self._fd)
        if found.st_nlink == 0:  # it began anew; or it is done and evicted, which the lease does not let happen
            self._begin_again()
            return 0
        return max(0, min(found.st_size, self._size_bytes - KEPT_BACK_BYTES))

    def _open_part(self) -> bool:
        here = self._waiting.state(self._object_id)
        held = leases.take(path_of(self._cat.home, here.replica_id, here.key)) if here.replica_id is not None else None
        if held is None:
            return False
        self._fd, _ = held
        return True

    def _decide(self, error: Error | None) -> None:
        """The fetch is over."""
        if error is not None:
            raise self._fail(error)
        with self._cat._lock:
            (here,) = look_at(self._cat._conn, [self._object_id])
        if self._fd >= 0 and os.fstat(self._fd).st_ino != here.inode:
            self._begin_again()
        if self._fd < 0:
            held = leases.take(self._cat.home / here.key) if here.state == "present" else None
            if held is None:
                raise self._fail(Damaged("The copy that was fetched is gone again."))
            self._fd, found = held
            if (found.st_ino, found.st_size, found.st_mtime_ns) != (here.inode, here.size_bytes, here.mtime_ns):
                raise self._fail(Damaged("The copy that was fetched has been changed."))
        self._whole = True

    def _begin_again(self) -> None:
        os.close(self._fd)
        self._fd = -1
        if self._handed_out:
            raise self._fail(Damaged("Its fetch began anew after some of it was read: read it again."))

    def _fail(self, error: Error) -> Error:
        self._error = error
        return error
