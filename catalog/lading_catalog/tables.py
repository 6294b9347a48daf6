"""Tables and columns: where a medium lives, and which destinations it gets."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lading_catalog import stores
from lading_catalog.connection import Connection
from lading_catalog.errors import ConfigError, NotFound
from lading_catalog.ids import new_ulid
from lading_catalog.names import CLOSED, shown_name

DEFAULT_TABLE = "default"
DEFAULT_COLUMN = "file"
NAME_MAX_BYTES = 120
KINDS = ("input", "computed")


@dataclass(frozen=True, slots=True)
class Defaults:
    """The global defaults of the configuration: canonical or plain URIs, by the column's kind."""

    input_media_dest: tuple[str, ...] = ()
    output_media_dest: tuple[str, ...] = ()
    endpoints: frozenset[str] = frozenset()

    def of_kind(self, kind: str) -> tuple[str, ...]:
        return self.output_media_dest if kind == "computed" else self.input_media_dest


@dataclass(frozen=True, slots=True)
class Column:
    id: int
    table_id: int
    kind: str
    set_given: bool
    set_id: int | None


def check_name(what: str, name: str, *, path: bool = False) -> None:
    """Raise ConfigError for a name that no table (`path`: a/b) or column can have."""
    parts = name.split("/") if path else [name]
    bad = any(not p or p in (".", "..") or p != p.strip() or any(ord(c) < 32 or c in '/\\"' for c in p) for p in parts)
    if bad or len(name.encode("utf-8", "surrogatepass")) > NAME_MAX_BYTES or not name.isprintable():
        raise ConfigError(
            f"{name!r} cannot be the name of a {what}.",
            hint=f"Use up to {NAME_MAX_BYTES} printable characters, no quotes.",
        )


def find_column(conn: Connection, table: str, column: str) -> Column | None:
    row = conn.one(
        "SELECT c.id, t.id, c.kind, c.set_given, c.set_id FROM tbl t JOIN col c ON c.tbl_id = t.id WHERE t.name = ? AND c.name = ?"
        " AND NOT t.closing AND NOT c.closing",
        (table, column),
    )
    return Column(row[0], row[1], row[2], bool(row[3]), row[4]) if row else None


def column(conn: Connection, table: str, name: str, kind: str | None = None) -> Column:
    """A column, made with its table if it is new (then of `kind`, by default input). Raises ConfigError where it is of another kind."""
    found = find_column(conn, table, name)
    if found is None:
        check_name("table", table, path=True)
        check_name("column", name)
        conn.run("INSERT INTO tbl (name) VALUES (?) ON CONFLICT DO NOTHING", (table,))
        conn.run(
            "INSERT INTO col (tbl_id, name, kind) SELECT id, ?, ? FROM tbl WHERE name = ?",
            (name, kind or "input", table),
        )
        found = find_column(conn, table, name)
        assert found is not None
    if kind is not None and kind != found.kind:
        raise ConfigError(f"The column {table}.{name} holds {found.kind} media, not {kind}.", hint="Choose another column.")
    return found


_COUNT_MAX = 100_000


def columns(conn: Connection, defaults: Defaults) -> list[dict[str, Any]]:
    """All columns as `lading table ls` shows them. `destinations_from`: column, configuration or nowhere (this disk only by default);
    `media` counts up to 100,000 (`media_capped`); `moving`: old media are being brought to new destinations."""
    found = conn.rows(
        "SELECT t.name, c.name, c.kind, c.type, c.set_given, c.set_id, c.moving_after IS NOT NULL,"
        " (SELECT count(*) FROM (SELECT 1 FROM medium m WHERE m.col_id = c.id LIMIT ?))"
        " FROM tbl t JOIN col c ON c.tbl_id = t.id WHERE NOT t.closing AND NOT c.closing ORDER BY t.name, c.name",
        (_COUNT_MAX,),
    )
    return [
        {
            "schema": "lading.column/1", "table": table, "column": name, "kind": kind, "type": type_,
            "destinations": stores.set_uris(conn, of_set) if given else list(defaults.of_kind(kind)),
            "destinations_from": "column" if given else "configuration" if defaults.of_kind(kind) else "nowhere",
            "media": n, "media_capped": n == _COUNT_MAX, "moving": bool(moving),
        }
        for table, name, kind, type_, given, of_set, moving, n in found
    ]  # fmt: skip


def resolve(conn: Connection, of: Column, explicit: Sequence[str] | None, defaults: Defaults) -> tuple[int | None, bool]:
    """Which destinations a new medium gets, as (set id, whether the call gave them): those of the call (none if it gave an empty
    list), else the column's, else the global default of the column's kind, else none."""
    if explicit is not None:
        return stores.set_id(conn, explicit, defaults.endpoints), True
    if of.set_given:
        return of.set_id, False
    return stores.set_id(conn, defaults.of_kind(of.kind), defaults.endpoints), False


def set_destination(
    conn: Connection, table: str, name: str, uris: Sequence[str], *, endpoints: Collection[str] = (), make: bool = False
) -> int:
    """Give a column its destinations ([] = this disk only). They hold for new media at once; `move_step` brings the old ones whose
    set no call gave. Returns how many media the column has now. Raises NotFound, ConfigError."""
    found = column(conn, table, name) if make else find_column(conn, table, name)
    if found is None:
        raise NotFound(f"There is no column {table}.{name}.", hint="lading ls shows the tables that hold media.")
    conn.run(
        "UPDATE col SET set_given = 1, set_id = ?, moving_after = 0 WHERE id = ?",
        (stores.set_id(conn, uris, endpoints), found.id),
    )
    return int(conn.value("SELECT count(*) FROM (SELECT 1 FROM medium WHERE col_id = ? LIMIT 100000)", (found.id,)))


def moves_due(conn: Connection) -> bool:
    return conn.one("SELECT 1 FROM col WHERE moving_after IS NOT NULL LIMIT 1") is not None


def move_step(conn: Connection, limit: int) -> int:
    """Bring up to `limit` media of one column whose destinations changed to its new set; returns how many were looked at."""
    row = conn.one("SELECT id, set_id, moving_after FROM col WHERE moving_after IS NOT NULL LIMIT 1")
    if row is None:
        return 0
    col_id, new_set, after = row
    ids = [
        i for (i,) in conn.rows("SELECT id FROM medium WHERE col_id = ? AND id > ? ORDER BY id LIMIT ?", (col_id, after, limit))
    ]
    conn.run_many(
        "UPDATE medium SET set_id = ? WHERE id = ? AND set_given = 0 AND set_id IS NOT ?",
        [(new_set, i, new_set) for i in ids],
    )
    conn.run("UPDATE col SET moving_after = ? WHERE id = ?", (ids[-1] if len(ids) == limit else None, col_id))
    return len(ids)


# -- dropping ----------------------------------------------------------------------------------------------------------------------


def drop_table(conn: Connection, name: str) -> int:
    """Begin to drop a table: its name is free at once, and `close_step` deletes its media. Returns how many it had (each column counted up
    to 100,000). Raises NotFound."""
    table_id = conn.value("SELECT id FROM tbl WHERE name = ? AND NOT closing", (name,))
    if table_id is None:
        raise NotFound(f"There is no table {name!r}.", hint="lading table ls lists them.")
    cols = conn.rows("SELECT id, name FROM col WHERE tbl_id = ? AND NOT closing", (table_id,))
    n = sum(_close(conn, i, column) for i, column in cols)
    conn.run("UPDATE tbl SET closing = 1, name = ? WHERE id = ?", (_closed_name(conn, name), table_id))
    return n


def drop_column(conn: Connection, table: str, name: str) -> int:
    """The same for one column. Raises NotFound."""
    found = find_column(conn, table, name)
    if found is None:
        raise NotFound(f"There is no column {table}.{name}.", hint="lading table ls lists them.")
    return _close(conn, found.id, name)


def _close(conn: Connection, col_id: int, name: str) -> int:
    """A column of a dropped table loses its name too: the table may come back with another one (reopen), and a put must find no column that
    is being emptied."""
    conn.run("UPDATE col SET closing = 1, moving_after = NULL, name = ? WHERE id = ?", (_closed_name(conn, name), col_id))
    return int(conn.value("SELECT count(*) FROM (SELECT 1 FROM medium WHERE col_id = ? LIMIT ?)", (col_id, _COUNT_MAX)))


def _closed_name(conn: Connection, name: str) -> str:
    return f"{name}{CLOSED}{new_ulid(conn.now_ms(), conn.random_bytes)}"


def closing_due(conn: Connection) -> bool:
    return conn.one("SELECT 1 FROM col WHERE closing = 1 LIMIT 1") is not None


def close_step(conn: Connection, limit: int) -> int:
    """Delete up to `limit` media of a column that is being dropped. Returns how many."""
    col_id = conn.value("SELECT id FROM col WHERE closing = 1 LIMIT 1")
    if col_id is None:
        return 0
    n = conn.run("DELETE FROM medium WHERE id IN (SELECT id FROM medium WHERE col_id = ? ORDER BY id LIMIT ?)", (col_id, limit))
    if n < limit:
        conn.run("UPDATE col SET closing = 2 WHERE id = ?", (col_id,))
    return n


def reopen(conn: Connection, col_id: int) -> None:
    """Let a column that was dropped live again, and its table, under their old names. Raises ConfigError where another one has taken the
    name."""
    row = conn.one(
        "SELECT t.id, t.name, t.closing, c.name, c.closing FROM col c JOIN tbl t ON t.id = c.tbl_id WHERE c.id = ?", (col_id,)
    )
    assert row is not None, "columns are never removed"
    table_id, table, table_closing, name, closing = row
    old_table, old_name = shown_name(table), shown_name(name)
    if table_closing:
        if conn.one("SELECT 1 FROM tbl WHERE name = ?", (old_table,)) is not None:
            raise ConfigError(
                f"its table {old_table} was dropped, and there is another one of that name.", hint="Drop that one first."
            )
        conn.run("UPDATE tbl SET closing = 0, name = ? WHERE id = ?", (old_table, table_id))
    if closing:
        if conn.one("SELECT 1 FROM col WHERE tbl_id = ? AND name = ?", (table_id, old_name)) is not None:
            raise ConfigError(f"its column {old_table}.{old_name} was dropped, and there is another one of that name.",
                              hint="Drop that one first.")  # fmt: skip
        if closing == 1:
            raise ConfigError(f"its column {old_table}.{old_name} is just being dropped.", hint="Try again in a moment.")
        conn.run("UPDATE col SET closing = 0, name = ? WHERE id = ?", (old_name, col_id))
