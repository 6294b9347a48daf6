"""A medium as a Python object, and the typed records of what the catalog says of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lading import reading
from lading_catalog.shapes import Json

if TYPE_CHECKING:
    from lading.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that a copy is whole. `by`: put, head, list or read."""

    by: str
    algorithm: str
    value: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Replica:
    """The copy of a medium's object in one destination. Times are RFC 3339 texts; `error` has code, message, hint, since."""

    destination: str
    state: str
    uri: str
    verified_at: str | None
    proof: Proof | None
    attempts: int
    next_try_at: str | None
    error: Json | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is safe and where. `shape` is the whole document (lading.receipt/1)."""

    safe: bool
    total: int
    safe_count: int
    size_bytes: int
    waited_s: float
    shape: Json = field(repr=False)


def receipt_of(shape: Json) -> Receipt:
    return Receipt(shape["safe"], shape["total"], shape["safe_count"], shape["size_bytes"], shape["waited_s"], shape)


class Medium:
    """One medium. What it says is as of the last `refresh` (or of when it was first asked)."""

    def __init__(self, catalog: Catalog, ulid: str, shape: Json | None = None) -> None:
        self._catalog = catalog
        self._ulid = ulid
        self._shape = shape

    def __repr__(self) -> str:
        return f"<lading.Medium {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Medium) and other._ulid == self._ulid

    def __hash__(self) -> int:
        return hash(self._ulid)

    @property
    def id(self) -> str:
        return f"m_{self._ulid}"

    def refresh(self) -> Medium:
        self._shape = self._catalog._shape(self._ulid)
        return self

    @property
    def shape(self) -> Json:
        """The whole document (lading.media/1)."""
        if self._shape is None:
            self.refresh()
        assert self._shape is not None
        return self._shape

    @property
    def name(self) -> str:
        return str(self.shape["name"])

    @property
    def table(self) -> str:
        return str(self.shape["table"])

    @property
    def column(self) -> str:
        return str(self.shape["column"])

    @property
    def sha256(self) -> str:
        return str(self.shape["sha256"])

    @property
    def size_bytes(self) -> int:
        return int(self.shape["size_bytes"])

    @property
    def mime(self) -> str:
        return str(self.shape["mime"])

    @property
    def state(self) -> str:
        return str(self.shape["state"])

    @property
    def cached(self) -> bool:
        return bool(self.shape["cached"])

    @property
    def pinned(self) -> bool:
        return bool(self.shape["pinned"])

    @property
    def replicas(self) -> list[Replica]:
        return [
            Replica(
                r["destination"],
                r["state"],
                r["uri"],
                r["verified_at"],
                Proof(**r["proof"]) if r["proof"] else None,
                r["attempts"],
                r["next_try_at"],
                r["error"],
            )
            for r in self.shape["replicas"]
        ]

    def why(self) -> Json:
        """Why it is not safe yet (lading.why/1)."""
        return self._catalog._why(self._ulid)

    def wait(self, timeout: float | None = None) -> Receipt:
        """Until it is safe. Raises NotSafeYet (with the partial receipt) after `timeout` seconds."""
        return self._catalog.wait([self], timeout=timeout)

    @contextmanager
    def local(self, timeout: float | None = None) -> Iterator[Path]:
        """The path of its copy on this disk; fetched if it is not there, and not evicted before the end of the `with`. Do not write to it.

        It has the catalogued SHA-256: it is the file that was hashed (inode, size and time), or was hashed again now. A fetch waits as
        long as a daemon works on it (one that only fetches is started where none runs), or `timeout` seconds. Raises Missing, Damaged,
        Unavailable, Refused, Full, Archived: what the attempt to fetch it ended with; NotFound, NoDaemon."""
        fd, here = reading.lease(self._catalog, self._ulid, timeout)
        try:
            yield self._catalog.home / here.key
        finally:
            os.close(fd)

    def open(self, timeout: float | None = None) -> BinaryIO:
        """Its bytes, as a binary file for reading, which is not evicted before it is closed. Fetched if need be: a large one can be read
        while it comes; its end is only handed out once all of it was found whole. Errors as with `local`, then also while reading."""
        return reading.opened(self._catalog, self._ulid, timeout)

    def fetch(self, timeout: float | None = None) -> Medium:
        """Bring its copy to this disk, if it is not there. Errors as with `local`."""
        fd, _ = reading.lease(self._catalog, self._ulid, timeout)
        os.close(fd)
        return self.refresh()

    def evict(self) -> bool:
        """Drop its copy on this disk now, whatever the budget says; False if there is none. Raises Held (lading.evict) while it is not
        safe elsewhere, pinned or in use, Damaged."""
        from lading.evict import evict

        return evict(self._catalog, self._ulid)

    def pin(self) -> None:
        """Keep its copy on this disk until `unpin`."""
        self._catalog._pin(self._ulid, True)

    def unpin(self) -> None:
        self._catalog._pin(self._ulid, False)

    def delete(self) -> None:
        """Delete the medium. Copies that nothing else needs go when their grace (`delete_after`) is over; until then `undelete` brings it
        back."""
        self._catalog._delete(self._ulid)

    def undelete(self) -> Medium:
        """Take its deletion back, under its id, as long as a copy of it is left. Raises NotFound once the last one is gone."""
        self._catalog._undelete(self._ulid)
        return self.refresh()
