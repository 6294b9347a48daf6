"""The contract of a store. Every provider keeps it, every wrapper has the same shape, one suite (tests/stores) checks
all.

A provider is thread-safe: many transfers call it at once. It does no retries of its own (the SDK's are turned off): one
place decides when to try again. It raises only errors of `lading_catalog.errors`, translated by one table at its top:

    Unavailable   cannot be reached, 5xx, throttled (`reason="throttled"`, `retry_after_s` where the store says so)
    Refused       403, bad or missing credentials (`no_credentials`), no such bucket or directory owner (`no_bucket`)
    Missing       no such object (404). Never raised by delete: absent is success
    Damaged       bytes differ: on the way, there (`damaged`), or in the file we were to send (`source_changed`)
    Full          quota or disk full
    Archived      must be restored from cold storage first

Credentials never stand in an error, a log event or a proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from lading_catalog.errors import Error

OWN_MAX_BYTES = 64 << 10  # of what `read` reads


@dataclass(frozen=True, slots=True)
class Proof:
    """What was observed that shows that a replica is whole.

    `by`: `put` (the answer to the PUT of a store that the probe has seen refuse a wrong checksum, or a digest that the
    probe has seen the store compute itself), `head`, `list`, `read` (fetched back and hashed). `algorithm`: sha256,
    md5, crc32c, crc64nvme. `value`: lower-case hex. A size, an echoed checksum or our own metadata is never proof.
    """

    by: Literal["put", "head", "list", "read"]
    algorithm: str
    value: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Upload:
    """The bytes to store: a file, and what the catalog says of it. A provider reads `path`, and refuses (`Damaged`,
    `source_changed`) when the bytes it read were not `size_bytes` long with this SHA-256, is no regular file or is a
    symlink."""

    path: str
    sha256: bytes
    size_bytes: int
    mime: str
    name: str  # the original name, for the object's metadata; may hold any character


@dataclass(frozen=True, slots=True)
class Stat:
    """What the store says of one object now. `digests`: those the store computed itself (see Probe), lower-case hex by
    algorithm.
    """

    size_bytes: int
    digests: Mapping[str, str] = field(default_factory=dict)
    mime: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Probe:
    """What a canary showed of a destination. Stored with it as JSON (`facts`); decides what counts as proof.

    `facts` every provider sets: `proof` ("checksum": a wrong declared checksum is refused; "digest": the store computes
    a digest itself; "read": neither, so each object is read back), `algorithm` (of that proof), `round_trip_s`,
    `clock_offset_s` (None if unknown), `versioned` (a DELETE leaves the old version there).
    """

    facts: Mapping[str, Any]


@runtime_checkable
class Cached(Protocol):
    """A store whose objects this machine's kernel keeps in memory."""

    def uncache(self, key: str) -> None:
        """Drop what this machine has cached of the object: a `get` that follows reads the medium, and is slower. Raises Missing."""


class Store(Protocol):
    """One destination. Keys are relative to its URI: a store adds its own prefix. See the module's docstring for
    errors.
    """

    uri: str

    @property
    def clock_offset_s(self) -> float | None:
        """Seconds by which the store's clock was ahead of ours at its last answer, within one; None if it has told no time yet. A
        directory tells it by the time of what `write` wrote, and by nothing else."""

    def put(self, key: str, upload: Upload) -> Proof:
        """Store the whole object under `key` or nothing, and return the proof that it is whole. Storing the same bytes
        under the same key again is success. Refuses a source that ends early, grows or has another digest, before it
        can become an object."""

    def get(self, key: str, offset: int = 0) -> Iterator[bytes]:
        """The object's bytes from `offset` on, in chunks. Nothing is asked before the first one is; that raises
        Missing. A body that ends early raises Unavailable.
        """

    def stat(self, key: str) -> Stat: ...

    def delete(self, keys: Sequence[str], *, versions: bool = False) -> dict[str, Error]:
        """Delete; absent is success. Returns what failed, by key; empty means that all are gone. `versions`: of these keys, and of no
        others, the older versions too, where the store keeps such. A key that the answer does not name as deleted has failed
        (Unavailable)."""

    def read(self, key: str) -> bytes | None:
        """A small object of our own (`.lading/…`, at most OWN_MAX_BYTES, else Damaged), whole; None only where the store says that this
        very key is absent. Every doubt raises: no such bucket, no permission, a 404 that names nothing, a disk that is not mounted.
        One request."""

    def write(self, key: str, data: bytes) -> None:
        """Store a small object of our own, in the place of what is there; whole or not at all, and durable when it returns. One
        request."""

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """All objects whose key begins with `prefix`, in key order, in pages. An error or a short page raises: never a
        partial list.
        """

    def presign(self, key: str, expires_s: int) -> str:
        """A URL that reads the object without credentials. Raises Refused where the store has none."""

    def probe(self) -> Probe:
        """Put, stat, read, list and delete a canary under `.lading/probe/`; see Probe. Raises what failed."""

    def close(self) -> None: ...
