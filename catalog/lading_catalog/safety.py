"""`min_copies`: how many of the destinations that an object needs must have it before it is safe. Stored in the catalog, so that
every view and trigger uses the same number; capped at the number needed. The rule itself: rules/20_safety.sql."""

from __future__ import annotations

from lading_catalog.connection import Connection

ALL = (1 << 63) - 1


def set_min_copies(conn: Connection, number: int | None) -> bool:
    """None: all. What is already counted is reviewed in slices (`review_step`); the drop guard uses the new number at once. Returns
    whether it changed."""
    if not conn.run("UPDATE meta SET v = ? WHERE k = 'min_copies' AND v <> ?", (number or ALL, number or ALL)):
        return False
    conn.run("INSERT INTO meta (k, v) VALUES ('review_after', 0) ON CONFLICT DO UPDATE SET v = 0")
    return True


def review_due(conn: Connection) -> bool:
    return conn.value("SELECT 1 FROM meta WHERE k = 'review_after'") is not None


def review_step(conn: Connection, limit: int) -> None:
    """Let the states of up to `limit` objects follow the number: touching a counter fires the trigger."""
    after = conn.value("SELECT v FROM meta WHERE k = 'review_after'")
    ids = [i for (i,) in conn.rows("SELECT id FROM object WHERE id > ? ORDER BY id LIMIT ?", (after, limit))]
    if not ids:
        conn.run("DELETE FROM meta WHERE k = 'review_after'")
        return
    conn.run("UPDATE object SET need_n = need_n WHERE id > ? AND id <= ? AND need_n > 0", (after, ids[-1]))
    conn.run("UPDATE meta SET v = ? WHERE k = 'review_after'", (ids[-1],))
