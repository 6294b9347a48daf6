"""A large catalog in seconds: rows are written as the triggers would have left them, with the triggers taken off meanwhile."""

from __future__ import annotations

from catalog_kit import Kit
from lading_catalog.migrate import rule_files

URI = "file:///bulk/"

# One object that is safe in one destination and cached here, with what it leaves in the journal. :n of them, ids above :base.
_EACH = {
    "object (id, sha256, size_bytes, media_n, routed_n, pins_n, copies_n, need_n, safe_n, blocked_n, state)":
    "SELECT :base + i, randomblob(32), 1000 + i % 5000, 1, 1, 0, 2, 1, 1, 0, 'safe' FROM n",
    "row": "SELECT :base + i, :tbl, printf('01BXXXRRW%017d', i), NULL FROM n",
    "medium": "SELECT :base + i, printf('01BXXXMED%017d', i), :base + i, :col, :base + i, :set, 0, 1, 0, printf('IMG_%08d.jpg', i),"
    " 'image/jpeg', 1700000000000 + i, 1600000000000 + i FROM n",
    "replica (object_id, store_id, key, state, verified_at_ms, inode, mtime_ns, used_at_ms, hold)": (
        "SELECT :base + i, 0, printf('objects/%03x/%024x.jpg', i % 256, i), 'present', 1700000000000 + i, i, 1700000000000000000 + i,"
        " 1700000000000 + i, 'evictable' FROM n"
    ),
    "replica (object_id, store_id, key, state, need_n, attempts, wanted_at_ms, due_at_ms, epoch, proof_by, proof_algorithm,"
    " verified_at_ms)": (
        "SELECT o.id, :store, printf('default/file/%s/IMG_%08d.%s-%016x.jpg',"
        " lower(substr(hex(o.sha256), 1, 2)), i, lower(hex(o.sha256)), i),"
        " 'present', 1, 1, 1700000000000 + i, 1700000000000 + i, 1, 'put', 'sha256', 1700000001000 + i"
        " FROM n JOIN object o ON o.id = :base + i"
    ),
    "journal (at_ms, step, object_id, medium_id)": "SELECT 1700000000000 + i, 'put', :base + i, :base + i FROM n",
    "journal (at_ms, step, object_id, store_id, old)": "SELECT 1700000001000 + i, 'confirm', :base + i, :store, 'copying' FROM n",
    "deleted_medium (id, ulid, row_id, col_id, object_id, set_id, set_given, priority, pinned, name, mime, created_at_ms, modified_at_ms,"
    " sha256, size_bytes, deleted_at_ms)":
    "SELECT 10000000 + i, printf('01BXXXDED%017d', i), 10000000 + i, :col, 10000000 + i, :set, 0, 1, 0,"
    " printf('OLD_%08d.jpg', i), 'image/jpeg', 1600000000000 + i, NULL, randomblob(32), 1000, 1690000000000 + i FROM n WHERE i % 10 = 0",
}  # fmt: skip


def grow(kit: Kit, n: int) -> None:
    """Add `n` objects that are safe and cached, and a tenth as many deleted media."""
    kit.put(0, [URI])
    kit.bring()
    conn = kit.conn
    with conn.writing(durable=False):
        for name, kind in conn.rows("SELECT name, type FROM sqlite_schema WHERE type IN ('trigger', 'view') ORDER BY type"):
            conn.run(f'DROP {kind} "{name}"')
        tbl, col, of_set = conn.rows("SELECT c.tbl_id, c.id, m.set_id FROM medium m JOIN col c ON c.id = m.col_id")[0]
        with_n = {"n": n, "base": 1_000, "tbl": tbl, "col": col, "set": of_set, "store": kit.store(URI)}
        for table, select in _EACH.items():
            conn.run(
                f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :n) INSERT INTO {table} {select}",
                with_n,
            )
        conn.run("DELETE FROM counter")
        conn.run(
            "INSERT INTO counter SELECT r.store_id, r.state, count(*), sum(o.size_bytes) FROM replica r JOIN object o ON o.id = r.object_id"
            " GROUP BY 1, 2"
        )
        conn.run("UPDATE media_tally SET n = iif(state = 'safe', (SELECT count(*) FROM medium),"
                 " iif(state = 'deleted', (SELECT count(*) FROM deleted_medium), 0))")  # fmt: skip
        conn.run("UPDATE hold_tally SET n = iif(hold IN ('evictable', 'once'), (SELECT n FROM counter WHERE store_id = 0), 0),"
                 " size_bytes = iif(hold IN ('evictable', 'once'), (SELECT size_bytes FROM counter WHERE store_id = 0), 0)")  # fmt: skip
        for file in rule_files():
            conn._db.execute(file.read_text(encoding="utf-8"))
