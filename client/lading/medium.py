"""A medium as a Python object, and the typed records of what the catalog says of it."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lading_catalog.errors import Damaged, Missing
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
    def local(self) -> Iterator[Path]:
        """The path of its copy on this disk, which is still the file that was hashed (inode, size and time), or was hashed again now. Do
        not write to it. Raises Missing, Damaged."""
        self.refresh()
        if self.shape["path"] is None:
            raise Missing(f"{self.name} has no copy on this disk.", hint=f"lading show {self.id}", id=self.id)
        path = self._catalog._local_copy(self._ulid)
        if path is None:
            raise Damaged(
                f"The copy of {self.name} on this disk has been changed or removed.", hint=f"lading why {self.id}", id=self.id
            )
        yield path

    def open(self) -> BinaryIO:
        """Its bytes, as a binary file for reading."""
        with self.local() as path:
            return builtins.open(path, "rb", opener=_no_follow)

    def pin(self) -> None:
        """Keep its copy on this disk until `unpin`."""
        self._catalog._pin(self._ulid, True)

    def unpin(self) -> None:
        self._catalog._pin(self._ulid, False)

    def delete(self) -> None:
        """Delete the medium. Copies that nothing else needs get a tombstone; this version removes none of them yet."""
        self._catalog._delete(self._ulid)


def _no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
