"""Media: the transaction of a put, deleting, pinning. Finding them: finding.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lading_catalog import tables
from lading_catalog.connection import Connection
from lading_catalog.ids import new_ulid
from lading_catalog.localstore import Hashed


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file under its final name in the local store, as it was when its hash was taken."""

    key: str
    inode: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class NewMedium:
    """What a put records. `destinations`: None lets the column and the defaults decide, () is this disk only."""

    sha256: bytes
    size_bytes: int
    file: LocalFile
    name: str | bytes
    mime: str
    modified_at_ms: int | None = None
    table: str = tables.DEFAULT_TABLE
    column: str = tables.DEFAULT_COLUMN
    kind: str | None = None
    destinations: tuple[str, ...] | None = None
    priority: int = 1
    scalars: Mapping[str, Any] | None = None
    ulid: str | None = None  # None: made here
    again: bool = True  # False: where this column has the same name with the same content, that medium is the answer


@dataclass(slots=True)
class PutResult:
    """`ulids` and `new` go with the items. `unused`: keys of files that another copy has made superfluous."""

    ulids: list[str] = field(default_factory=list)
    new: list[bool] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


FileMatches = Callable[[str, int, int, int], bool]  # key, size, inode, mtime_ns


def local_copy(conn: Connection, sha256: bytes) -> tuple[int, str, int, int, int] | None:
    """The present local copy of these bytes: replica id, key, size, inode, mtime_ns."""
    return conn.one(
        "SELECT r.id, r.key, o.size_bytes, r.inode, r.mtime_ns FROM object o JOIN replica r ON r.object_id = o.id AND r.store_id = 0"
        " AND r.state IN ('wanted', 'copying', 'present') AND r.state = 'present' WHERE o.sha256 = ?",
        (sha256,),
    )


def put(conn: Connection, items: Sequence[NewMedium], defaults: tables.Defaults, file_matches: FileMatches) -> PutResult:
    """Record media, inside the caller's durable transaction. Raises ConfigError; then the caller rolls back."""
    result = PutResult()
    columns: dict[tuple[str, str, str | None], tables.Column] = {}
    sets: dict[tuple[int, tuple[str, ...] | None], tuple[int | None, bool]] = {}
    now = conn.now_ms()
    for item in items:
        at = (item.table, item.column, item.kind)
        col = columns.get(at)
        if col is None:
            col = columns[at] = tables.column(conn, *at)
        routed = sets.get((col.id, item.destinations))
        if routed is None:
            routed = sets[col.id, item.destinations] = tables.resolve(conn, col, item.destinations, defaults)
        object_id = _object(conn, item)
        # Also where the medium is there already: its own copies may be lost, and a move unlinks the source after this.
        if not _local_replica(conn, object_id, item, file_matches):
            result.unused.append(item.file.key)
        if not item.again and (known := _same(conn, object_id, col.id, item.name, *routed)) is not None:
            result.ulids.append(known)
            result.new.append(False)
            continue
        ulid = item.ulid or new_ulid(now, conn.random_bytes)
        conn.run(
            "INSERT INTO row (tbl_id, ulid, scalars) VALUES (?, ?, ?)",
            (
                col.table_id,
                new_ulid(now, conn.random_bytes),
                json.dumps(dict(item.scalars)) if item.scalars is not None else None,
            ),
        )
        conn.run(
            "INSERT INTO medium (ulid, row_id, col_id, object_id, set_id, set_given, priority, name, mime, created_at_ms, modified_at_ms)"
            " VALUES (?, last_insert_rowid(), ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (ulid, col.id, object_id, *routed, item.priority, item.name, item.mime, now, item.modified_at_ms),
        )
        result.ulids.append(ulid)
        result.new.append(True)
    return result


def _object(conn: Connection, item: NewMedium) -> int:
    found = conn.value("SELECT id FROM object WHERE sha256 = ?", (item.sha256,))
    if found is not None:
        return int(found)
    conn.run("INSERT INTO object (sha256, size_bytes) VALUES (?, ?)", (item.sha256, item.size_bytes))
    return conn.last_id()


def _same(conn: Connection, object_id: int, col_id: int, name: str | bytes, set_id: int | None, set_given: bool) -> str | None:
    """The medium that makes another one superfluous. Where the call gives destinations, one that has just these."""
    return conn.value(  # type: ignore[no-any-return]
        "SELECT ulid FROM medium WHERE object_id = ? AND col_id = ? AND name = ? AND (NOT ? OR set_id IS ?) ORDER BY id LIMIT 1",
        (object_id, col_id, name, set_given, set_id),
    )


def _local_replica(conn: Connection, object_id: int, item: NewMedium, file_matches: FileMatches) -> bool:
    """Make sure that the object has a present local replica; True if that is the item's own file. An existing copy is relied on only
    if it is still the file that was hashed; else it is set aside. A fetch that is under way loses to the put."""
    live = conn.one(
        "SELECT id, state, key, inode, mtime_ns FROM replica WHERE object_id = ? AND store_id = 0"
        " AND state IN ('wanted', 'copying', 'present')",
        (object_id,),
    )
    if live is not None:
        replica_id, state, key, inode, mtime_ns = live
        if state == "present" and file_matches(key, item.size_bytes, inode, mtime_ns):
            return False
        if state == "copying":
            conn.run("UPDATE replica SET state = 'wanted' WHERE id = ?", (replica_id,))
        conn.run("UPDATE replica SET state = ? WHERE id = ?", ("damaged" if state == "present" else "dropping", replica_id))
    conn.run(
        "INSERT INTO replica (object_id, store_id, key, state, inode, mtime_ns, used_at_ms, verified_at_ms)"
        " VALUES (?1, 0, ?2, 'present', ?3, ?4, ?5, ?5)",
        (object_id, item.file.key, item.file.inode, item.file.mtime_ns, conn.now_ms()),
    )
    return True


def note_file(conn: Connection, replica_id: int, found: Hashed) -> None:
    """The local copy was hashed again and is whole: this is the file now."""
    conn.run(
        "UPDATE replica SET inode = ?, mtime_ns = ? WHERE id = ? AND store_id = 0 AND state = 'present'",
        (found.inode, found.mtime_ns, replica_id),
    )


def has_local_copy(conn: Connection, key: str, sha256: bytes) -> bool:
    """Whether the object with this digest has a local replica, in any state, under this key."""
    return (
        conn.one(
            "SELECT 1 FROM object o CROSS JOIN replica r ON r.object_id = o.id AND r.store_id = 0"
            " AND (r.state IN ('wanted', 'copying', 'present') OR r.state IN ('dropping', 'damaged')) WHERE o.sha256 = ? AND r.key = ?",
            (sha256, key),
        )
        is not None
    )


def delete(conn: Connection, ulid: str) -> bool:
    """Delete a medium. Its tombstones and the record that it was deleted are written by the schema, in the same transaction."""
    return bool(conn.run("DELETE FROM medium WHERE ulid = ?", (ulid,)))


def pin(conn: Connection, ulid: str, pinned: bool) -> bool:
    return bool(conn.run("UPDATE medium SET pinned = ? WHERE ulid = ?", (pinned, ulid)))
