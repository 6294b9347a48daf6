"""Finding media: by id, digest, name or filter, in pages; and which of them a wait waits for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lading_catalog.connection import Connection
from lading_catalog.errors import Ambiguous, BadRequest, NotFound
from lading_catalog.ids import medium_ulid
from lading_catalog.names import name_value

PAGE_MAX = 1000


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
        if not (cols := _columns(conn, where)):
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


def _columns(conn: Connection, where: Filter) -> list[int]:
    """The columns that a filter means. What was deleted may have been in one that was dropped: it is found under its old name."""

    def named(t: str) -> str:  # the closed names of `x` are those that begin with `x"`; the character behind a quote is #
        return f"({t}.name = coalesce(:{t}, {t}.name) OR {t}.name >= :{t} || '\"' AND {t}.name < :{t} || '#')"

    sql = (
        f"SELECT c.id FROM col c JOIN tbl t ON t.id = c.tbl_id WHERE {named('t')} AND {named('c')}"
        " AND (:deleted OR NOT t.closing AND NOT c.closing)"
    )
    return [i for (i,) in conn.rows(sql, {"t": where.table, "c": where.column, "deleted": where.deleted})]


def _position(cursor: str) -> tuple[int, int]:
    """(object, medium) behind which a page begins."""
    before, _, last = cursor.rpartition(".")
    if not all(part.isdecimal() and len(part) < 19 for part in (before or "0", last or "0")):
        raise BadRequest(f"{cursor[:40]!r} is no cursor of a page.", hint="Take `next` of the page before.")
    return int(before or 0), int(last or 0)
