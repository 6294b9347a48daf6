"""Media: the transaction of a put, finding them, deleting them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lading_catalog import tables
from lading_catalog.connection import Connection
from lading_catalog.errors import Ambiguous, BadRequest, NotFound
from lading_catalog.ids import medium_ulid, new_ulid
from lading_catalog.localstore import Hashed
from lading_catalog.names import name_value

PAGE_MAX = 1000


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
        "INSERT INTO replica (object_id, store_id, key, state, inode, mtime_ns, used_at_ms) VALUES (?, 0, ?, 'present', ?, ?, ?)",
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


# A medium without destination whose column has one by now: the daemon has yet to move it there (tables.move_step).
_MOVES_SOON = (
    "m.set_id IS NULL AND NOT m.set_given AND EXISTS"
    " (SELECT 1 FROM col c WHERE c.id = m.col_id AND c.moving_after IS NOT NULL AND c.set_id IS NOT NULL)"
)


def open_ones(conn: Connection, ulids: Sequence[str]) -> list[str]:
    """Of these media, in their order, those that may yet become safe by waiting."""
    found = conn.rows(
        "SELECT m.ulid FROM json_each(?) j CROSS JOIN medium m ON m.ulid = j.value JOIN object o ON o.id = m.object_id"
        f" WHERE m.set_id IS NOT NULL AND o.state IN ('pending', 'blocked', 'local_only') OR {_MOVES_SOON}",
        (json.dumps(list(ulids)),),
    )
    return [u for (u,) in found]


def moves_soon(conn: Connection, ulid: str) -> bool:
    """Whether the daemon is about to give this medium, which has no destination, the one that its column has by now."""
    return conn.one(f"SELECT 1 FROM medium m WHERE m.ulid = ? AND {_MOVES_SOON}", (ulid,)) is not None


def routed(conn: Connection) -> list[str]:
    """All media that have a destination, or that the daemon is about to give one."""
    return [u for (u,) in conn.rows(f"SELECT m.ulid FROM medium m WHERE m.set_id IS NOT NULL OR {_MOVES_SOON} ORDER BY m.id")]


# -- finding -----------------------------------------------------------------------------------------------------------------------


def exists(conn: Connection, ulids: Iterable[str]) -> bool:
    wanted = list(ulids)
    found: int = conn.value("SELECT count(*) FROM medium WHERE ulid IN (SELECT value FROM json_each(?))", (json.dumps(wanted),))
    return found == len(set(wanted))


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalog knows of some bytes. `ulid`: of a medium that has them, one with a destination first, deleted ones last."""

    sha256: bytes
    safe: bool
    ulid: str


def known(conn: Connection, digests: Iterable[bytes]) -> list[Known]:
    """Those of `digests` that some medium has, or had before it was deleted."""
    found = conn.rows(
        "SELECT o.sha256, EXISTS (SELECT 1 FROM safe s WHERE s.id = o.id) AS safe, coalesce("
        " (SELECT ulid FROM medium m WHERE m.object_id = o.id ORDER BY m.set_id IS NULL, m.id LIMIT 1),"
        " (SELECT ulid FROM deleted_medium d WHERE d.object_id = o.id ORDER BY d.id DESC LIMIT 1)) AS ulid"
        " FROM json_each(?) j CROSS JOIN object o ON o.sha256 = unhex(j.value) WHERE ulid IS NOT NULL",
        (json.dumps([d.hex() for d in digests]),),
    )
    return [Known(sha256, bool(safe), ulid) for sha256, safe, ulid in found]


def find(conn: Connection, text: str, *, deleted: bool = False, many: bool = False) -> list[str]:
    """The ULIDs of the media that `text` means: an id (`m_…`), a SHA-256 in hex (all media of that object) or a name.

    `deleted`: look among deleted media as well. Raises NotFound, and Ambiguous (with the ids) for a name that several media have
    unless `many`."""
    sources = ["medium"] + (["deleted_medium"] if deleted else [])
    for source in sources:
        if (ulid := medium_ulid(text)) is not None:
            found = conn.rows(f"SELECT ulid FROM {source} WHERE ulid = ?", (ulid,))
        elif len(text) == 64 and all(c in "0123456789abcdefABCDEF" for c in text):
            found = conn.rows(
                f"SELECT ulid FROM {source} WHERE object_id = (SELECT id FROM object WHERE sha256 = ?) ORDER BY id",
                (bytes.fromhex(text),),
            )
            found = found if many else found[:1]  # the same bytes: any of them answers
        else:
            found = conn.rows(f"SELECT ulid FROM {source} WHERE name = ? ORDER BY id LIMIT 100", (name_value(text),))
        if len(found) > 1 and not many:
            raise Ambiguous(
                f"{len(found)} media are called {text!r}.",
                hint="Name one by its id: lading ls --name NAME",
                ids=[f"m_{u}" for (u,) in found],
            )
        if found:
            return [u for (u,) in found]
    raise NotFound(f"Nothing has the id, digest or name {text!r}.", hint="lading ls lists what there is.")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which media; None is: all. `state`: one of the states of a medium, except deleted (`deleted` lists only those)."""

    table: str | None = None
    column: str | None = None
    state: str | None = None
    name: str | None = None
    sha256: bytes | None = None
    deleted: bool = False


def page(conn: Connection, where: Filter, after: str = "", limit: int = 100) -> list[tuple[str, str]]:
    """A keyset page: (cursor, ULID) of up to `limit` media behind the cursor `after`, "" for the first page. In the order in which they
    were put; those of a state that few objects are in, in the order of their objects, so that a page costs a page however many there
    are. Raises BadRequest for a cursor that is none of ours."""
    source = "deleted_medium" if where.deleted else "medium"
    by_object = where.state in _OPEN_STATES and not where.deleted
    object_id, medium_id = _position(after)
    conditions = ["o.id >= :object AND (o.id > :object OR m.id > :after)" if by_object else "m.id > :after"]
    bindings: dict[str, Any] = {"after": medium_id, "limit": min(limit, PAGE_MAX)}
    lead = ""
    if where.sha256 is not None:
        conditions.append("m.object_id = (SELECT id FROM object WHERE sha256 = :sha256)")
        bindings["sha256"] = where.sha256
    if where.name is not None:
        conditions.append("m.name = :name")
        bindings["name"] = name_value(where.name)
    if where.table is not None or where.column is not None:
        cols = [
            i
            for (i,) in conn.rows(
                "SELECT c.id FROM col c JOIN tbl t ON t.id = c.tbl_id WHERE t.name = coalesce(?, t.name) AND c.name = coalesce(?, c.name)",
                (where.table, where.column),
            )
        ]
        if not cols:
            raise NotFound(
                f"There is no column {where.table or '*'}.{where.column or '*'}.",
                hint="lading sql 'SELECT * FROM columns' lists them.",
            )
        conditions.append("m.col_id = :col" if len(cols) == 1 else "m.col_id IN (SELECT value FROM json_each(:col))")
        bindings["col"] = cols[0] if len(cols) == 1 else json.dumps(cols)
    if where.state == "local_only":
        conditions.append("m.set_id IS NULL AND m.object_id NOT IN (SELECT id FROM lost)")
    elif by_object:
        # They lead, through their partial index, and their media follow.
        lead = "object o INDEXED BY object_open CROSS JOIN "
        conditions.append("o.state = :state AND o.state IN ('pending', 'blocked', 'lost') AND m.object_id = o.id")
        if where.state != "lost":
            conditions.append("m.set_id IS NOT NULL")
        bindings |= {"state": where.state, "object": object_id}
    elif where.state == "safe":
        conditions.append("m.set_id IS NOT NULL AND EXISTS (SELECT 1 FROM safe s WHERE s.id = m.object_id)")
    if where.deleted:
        conditions.append("NOT EXISTS (SELECT 1 FROM medium x WHERE x.id = m.id)")
    order = "o.id, m.id" if by_object else "m.id"
    cursor = "o.id || '.' || m.id" if by_object else "m.id || ''"
    sql = f"SELECT {cursor}, m.ulid FROM {lead}{source} m WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT :limit"
    return [(row[0], row[1]) for row in conn.rows(sql, bindings)]


_OPEN_STATES = ("pending", "blocked", "lost")


def _position(cursor: str) -> tuple[int, int]:
    """(object, medium) behind which a page begins."""
    before, _, last = cursor.rpartition(".")
    if not all(part.isdecimal() and len(part) < 19 for part in (before or "0", last or "0")):
        raise BadRequest(f"{cursor[:40]!r} is no cursor of a page.", hint="Take `next` of the page before.")
    return int(before or 0), int(last or 0)


def pages(conn: Connection, where: Filter, limit: int = 200) -> Iterator[list[str]]:
    """All that match, page by page: no snapshot is held between pages."""
    after = ""
    while found := page(conn, where, after, limit):
        yield [ulid for _, ulid in found]
        after = found[-1][0]
