"""Taking a deletion back. Deleting itself is one statement (media.delete, or any DELETE of a medium): the record of it and the tombstones
are written by the schema, in the same transaction."""

from __future__ import annotations

from lading_catalog import tables
from lading_catalog.connection import Connection
from lading_catalog.errors import ConfigError, Error, NotFound
from lading_catalog.ids import new_ulid
from lading_catalog.names import name_text, printable
from lading_catalog.shapes import when


class NotDeleted(Error):
    urn, title, status, exit_code = "not-deleted", "It was not deleted", 409, 1


def undelete(conn: Connection, ulid: str) -> None:
    """Put a deleted medium back under its id, with its cell, name, destinations, priority and pin. That it was deleted stays recorded.

    Possible as long as there is a copy of it. Its tombstones go; what is being deleted already is wanted again, under a new key. Where its
    column got other destinations meanwhile, and no call had given it its own, it gets those. Its column and table come back if they were
    dropped; a row that was deleted with it is a new one, without its values. Raises NotFound where its last copy is gone or nobody knows
    the id, NotDeleted for a living one, ConfigError where the name of its table or column has been given to another one, or it is still
    being emptied; then the caller rolls back."""
    row = conn.one(
        "SELECT d.id, d.name, d.col_id, d.deleted_at_ms, d.purged_at_ms, EXISTS (SELECT 1 FROM medium m WHERE m.id = d.id),"
        " coalesce((SELECT copies_n FROM object WHERE id = d.object_id), 0) FROM deleted_medium d WHERE d.ulid = ?",
        (ulid,),
    )
    if row is None and conn.one("SELECT 1 FROM medium WHERE ulid = ?", (ulid,)) is not None:
        raise NotDeleted(f"m_{ulid} was not deleted.", id=f"m_{ulid}")
    if row is None:
        raise NotFound(f"There is no medium m_{ulid}.", hint="lading ls --deleted lists what was deleted.", id=f"m_{ulid}")
    medium_id, name, col_id, deleted_at_ms, purged_at_ms, living, copies_n = row
    shown = printable(name_text(name))
    if living:
        raise NotDeleted(f"{shown} is there: it was deleted and brought back before.", id=f"m_{ulid}")
    if purged_at_ms is not None or not copies_n:
        since = f" since {when(purged_at_ms)}" if purged_at_ms is not None else ""
        raise NotFound(f"{shown} was deleted at {when(deleted_at_ms)}, and its last copy is gone{since}.", id=f"m_{ulid}")
    try:
        tables.reopen(conn, col_id)
    except ConfigError as e:
        raise ConfigError(f"{shown} cannot come back: {e.detail}", hint=e.hint, id=f"m_{ulid}") from e
    # SQLite gives the id of a row that was deleted again: the row there may be somebody else's.
    row_id = conn.value(
        "SELECT r.id FROM deleted_medium d JOIN col c ON c.id = d.col_id JOIN row r ON r.id = d.row_id AND r.tbl_id = c.tbl_id"
        " WHERE d.id = ? AND NOT EXISTS (SELECT 1 FROM medium m WHERE m.row_id = d.row_id AND m.col_id = d.col_id)",
        (medium_id,),
    )
    if row_id is None:
        conn.run(
            "INSERT INTO row (tbl_id, ulid) SELECT tbl_id, ? FROM col WHERE id = ?",
            (new_ulid(conn.now_ms(), conn.random_bytes), col_id),
        )
        row_id = conn.last_id()
    conn.run(
        "INSERT INTO medium (id, ulid, row_id, col_id, object_id, set_id, set_given, priority, pinned, name, mime, created_at_ms,"
        " modified_at_ms) SELECT d.id, ulid, ?, col_id, object_id, iif(c.set_given AND NOT d.set_given, c.set_id, d.set_id),"
        " d.set_given, priority, pinned, d.name, mime, created_at_ms, modified_at_ms"
        " FROM deleted_medium d JOIN col c ON c.id = d.col_id WHERE d.id = ?",
        (row_id, medium_id),
    )
