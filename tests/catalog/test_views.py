"""What each view means. A view that no test here names fails the last one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from catalog_kit import EPOCH, A, B, C, Kit, digest, size_of
from lading_catalog import finding, replicas, safety, tables
from lading_catalog.errors import Refused

UNDELETE = """
    INSERT INTO medium (id, ulid, row_id, col_id, object_id, set_id, set_given, priority, pinned, name, mime, created_at_ms, modified_at_ms)
    SELECT id, ulid, row_id, col_id, object_id, set_id, set_given, priority, pinned, name, mime, created_at_ms, modified_at_ms
    FROM deleted_medium WHERE ulid = ?"""


def objects(kit: Kit, view: str) -> set[int]:
    """The contents (up to 20) whose objects a view lists."""
    known = {kit.object(n): n for n in range(20) if kit.conn.one("SELECT 1 FROM object WHERE sha256 = ?", (digest(n),))}
    return {known[i] for i in kit.ids(view)}


def test_view_safe(kit: Kit) -> None:
    kit.put(1)  # no destination
    kit.put(2, [A])
    kit.put(3, [A])
    kit.put(4, [A, B])
    gone = kit.put(5, [A])
    kit.put(6, [C])
    kit.claim([kit.replica(2, A)])  # on its way is not there
    ids = [kit.replica(n, A) for n in (3, 4, 5)]
    kit.claim(ids)
    kit.confirm(ids)
    kit.delete(gone)
    kit.adopt(kit.object(1), kit.source())  # a source counts for nothing
    assert objects(kit, "safe") == {3}
    with kit.conn.writing():
        safety.set_min_copies(kit.conn, 1)
    assert objects(kit, "safe") == {3, 4}
    kit.bring(B)
    kit.lose(kit.replica(4, A))
    assert objects(kit, "safe") == {3, 4}
    with kit.conn.writing():
        safety.set_min_copies(kit.conn, None)
    assert objects(kit, "safe") == {3}
    # No replica that is counted has a tombstone.
    assert kit.conn.rows("SELECT 1 FROM tombstone t JOIN replica r ON r.id = t.replica_id WHERE r.need_n > 0") == []


def test_view_lost(kit: Kit) -> None:
    gone = kit.put(1)
    kit.put(2)
    kit.put(3)
    kit.put(4, [A])
    kit.put(5, [A])
    kit.bring()
    kit.adopt(kit.object(3), kit.source())  # a copy in a source is a copy
    assert objects(kit, "lost") == set()
    for content in (1, 2, 3, 4):
        kit.lose(kit.replica(content, None))
    kit.lose(kit.replica(5, A))
    assert objects(kit, "lost") == {1, 2}
    kit.delete(gone)
    assert objects(kit, "lost") == {2}
    assert kit.conn.value("SELECT n FROM media_tally WHERE state = 'lost'") == 1
    kit.put(2)  # somebody had it after all
    assert objects(kit, "lost") == set()


def test_view_object_state(kit: Kit) -> None:
    unused, *_ = kit.put(1), kit.put(2), kit.put(3, [A]), kit.put(4, [A]), kit.put(5, [A]), kit.put(6)
    kit.delete(unused)
    kit.claim([kit.replica(n, A) for n in (4, 5)])
    with kit.conn.writing():
        replicas.release(kit.conn, [replicas.Failure(kit.replica(4, A), Refused("no"), 5)], EPOCH, 1)
    kit.confirm([kit.replica(5, A)])
    kit.lose(kit.replica(6, None))
    wanted = {1: "unused", 2: "local_only", 3: "pending", 4: "blocked", 5: "safe", 6: "lost"}
    assert {n: kit.conn.value("SELECT state FROM object_state WHERE id = ?", (kit.object(n),)) for n in wanted} == wanted
    assert {n: kit.object_state(n) for n in wanted} == wanted
    # More blocked than needed is still safe, and lost comes before blocked.
    with kit.conn.writing():
        safety.set_min_copies(kit.conn, 1)
    kit.put(5, [B])
    kit.sql("UPDATE replica SET blocked = 1 WHERE id = ?", (kit.replica(5, B),))
    assert kit.object_state(5) == "safe"
    kit.lose(kit.replica(4, None))
    assert kit.object_state(4) == "lost"


def test_view_owed(kit: Kit) -> None:
    ulid = kit.put(1, [A, B, C])
    kit.claim([kit.replica(1, A)])
    kit.claim([kit.replica(1, B)])
    kit.confirm([kit.replica(1, B)])
    assert kit.ids("owed") == {kit.replica(1, C)}
    with kit.conn.writing():
        replicas.release_running(kit.conn, [kit.replica(1, A)], EPOCH)
    assert kit.ids("owed") == {kit.replica(1, A), kit.replica(1, C)}
    kit.lose(kit.replica(1, B))
    assert kit.ids("owed") == {kit.replica(1, uri) for uri in (A, B, C)}
    kit.delete(ulid)
    assert kit.ids("owed") == set()
    with kit.conn.writing():  # a fetch: wanted here, and no need of a destination
        kit.conn.run("INSERT INTO object (sha256, size_bytes) VALUES (?, 5)", (b"x" * 32,))
        kit.conn.run(
            "INSERT INTO replica (object_id, store_id, key, state) VALUES (?, 0, 'objects/000/f', 'wanted')",
            (kit.conn.last_id(),),
        )
        fetch = kit.conn.last_id()
    assert kit.ids("owed") == {fetch}


def test_view_unwanted(kit: Kit) -> None:
    ulid = kit.put(1, [A, B])
    other = kit.put(1, [B], table="other")
    kit.bring(A)
    kit.claim([kit.replica(1, B)])
    assert kit.ids("unwanted") == set()
    kit.delete(ulid)
    assert kit.ids("unwanted") == {kit.replica(1, A)}
    assert kit.conn.one("SELECT reason, seen_clock_ms FROM unwanted") == ("nothing needs it", None)
    kit.delete(other)
    assert kit.ids("unwanted") == {kit.replica(1, A), kit.replica(1, None)}  # B is in copying: it waits
    with kit.conn.writing():
        replicas.release_running(kit.conn, [kit.replica(1, B)], EPOCH)
    assert kit.ids("unwanted") == {kit.replica(1, uri) for uri in (A, B, None)}
    kit.see_tombstones()
    kit.drop(kit.replica(1, A))
    assert kit.ids("unwanted") == {kit.replica(1, B), kit.replica(1, None)}
    kit.put(1, [B])
    assert kit.ids("unwanted") == set()
    damaged = kit.replica(1, None)
    kit.lose(damaged)
    assert kit.ids("unwanted") == set()
    kit.put(1)
    assert kit.ids("unwanted") == {damaged}


def test_view_need(kit: Kit) -> None:
    first, second = kit.put(1, [A, B]), kit.put(1, [B, C])
    kit.put(2)
    number = dict(kit.conn.rows("SELECT ulid, id FROM medium"))
    a, b, c = (kit.store(uri) for uri in (A, B, C))
    one = kit.object(1)
    assert set(kit.conn.rows("SELECT medium_id, object_id, store_id FROM need")) == {
        (number[first], one, a), (number[first], one, b), (number[second], one, b), (number[second], one, c),
    }  # fmt: skip
    assert dict(kit.conn.rows("SELECT store_id, need_n FROM replica WHERE store_id > 0")) == {a: 1, b: 2, c: 1}
    kit.delete(first)
    assert set(kit.conn.rows("SELECT store_id FROM need")) == {(b,), (c,)}
    assert dict(kit.conn.rows("SELECT store_id, need_n FROM replica WHERE store_id > 0")) == {a: 0, b: 1, c: 1}


def test_a_need_raises_the_priority_of_what_is_owed(kit: Kit) -> None:
    kit.put(1, [A], priority=2)
    assert kit.conn.value("SELECT priority FROM owed") == 2
    kit.put(1, [A], priority=0)
    assert kit.conn.value("SELECT priority FROM owed") == 0
    kit.put(1, [A], priority=1)
    assert kit.conn.value("SELECT priority FROM owed") == 0


def test_an_object_without_digest_is_owed_nowhere(kit: Kit) -> None:
    """Its media remember their set; destinations are wanted when the digest is known."""
    with kit.conn.writing():
        col = tables.column(kit.conn, "imported", "file")
        kit.put_set = tables.resolve(kit.conn, col, [A], tables.Defaults())[0]  # type: ignore[attr-defined]
        kit.conn.run("INSERT INTO object (size_bytes) VALUES (9)")
        unknown = kit.conn.last_id()
        kit.conn.run("INSERT INTO row (tbl_id, ulid) VALUES (?, 'r')", (col.table_id,))
        kit.conn.run(
            "INSERT INTO medium (ulid, row_id, col_id, object_id, set_id, name, mime, created_at_ms)"
            " VALUES ('m', last_insert_rowid(), ?, ?, ?, 'n', 'x/y', 1)",
            (col.id, unknown, kit.put_set),  # type: ignore[attr-defined]
        )
    assert kit.ids("owed") == set()
    assert kit.conn.value("SELECT count(*) FROM need") == 1
    assert kit.conn.value("SELECT state FROM object WHERE id = ?", (unknown,)) == "lost"  # not even a source has it


HOLDS = {1: "unsafe", 2: "unsafe", 3: "evictable", 4: "pinned", 5: "unused", 6: None}


def _holds(kit: Kit) -> None:
    """Content n is held as HOLDS says."""
    kit.put(1)
    kit.put(3, [A])
    pinned, gone = kit.put(4, [A]), kit.put(5, [A])
    kit.bring()
    kit.put(2, [A])
    kit.pin(pinned)
    kit.delete(gone)
    kit.put(6, [A])
    kit.lose(kit.replica(6, None))


def test_view_local_hold(kit: Kit) -> None:
    _holds(kit)
    by_replica = dict(kit.conn.rows("SELECT replica_id, hold FROM local_hold"))
    for content, hold in HOLDS.items():
        rid = kit.replica(content, None, ("present", "damaged"))
        assert by_replica[rid] == hold, content
        assert kit.conn.value("SELECT hold FROM replica WHERE id = ?", (rid,)) == hold, content
    tally = {hold: (n, size) for hold, n, size in kit.conn.rows("SELECT hold, n, size_bytes FROM hold_tally")}
    assert tally == {
        "unsafe": (2, size_of(1) + size_of(2)), "pinned": (1, size_of(4)), "evictable": (1, size_of(3)), "unused": (1, size_of(5)),
        "once": (1, size_of(3)),
    }  # fmt: skip


def test_view_evictable(kit: Kit) -> None:
    _holds(kit)
    assert kit.ids("evictable") == {kit.replica(3, None)}
    # Each of them may be dropped, and no other.
    kit.see_tombstones()
    for content, hold in HOLDS.items():
        if hold in ("evictable", "unused"):
            assert kit.drop(kit.replica(content, None))
        elif hold is not None:
            with pytest.raises(Exception, match=r"pinned|not safe"):
                kit.drop(kit.replica(content, None))
    assert kit.ids("evictable") == set()


# -- the public views ----------------------------------------------------------------------------------------------------------------


def rows(kit: Kit, sql: str) -> list[dict[str, Any]]:
    return kit.conn.dicts(sql)


def test_view_tables(kit: Kit) -> None:
    kit.put(1, table="a/b")
    kit.put(2)
    assert [(r["id"], r["name"], r["closing"]) for r in rows(kit, "SELECT * FROM tables ORDER BY id")] == [
        (1, "a/b", 0),
        (2, "default", 0),
    ]
    kit.sql("UPDATE tbl SET closing = 1 WHERE id = 1")
    assert [r["name"] for r in rows(kit, "SELECT * FROM tables")] == ["default"]


def test_view_columns(kit: Kit) -> None:
    kit.put(1, table="t", column="one", kind="computed")
    kit.put(1, table="t", column="two")
    kit.put(1, table="t", column="three")
    with kit.conn.writing():
        tables.set_destination(kit.conn, "t", "two", [A, B])
        tables.set_destination(kit.conn, "t", "three", [])
    found = {r["name"]: r for r in rows(kit, "SELECT * FROM columns")}
    assert {n: (r["table"], r["kind"], r["type"]) for n, r in found.items()} == {
        "one": ("t", "computed", "file"), "two": ("t", "input", "file"), "three": ("t", "input", "file"),
    }  # fmt: skip
    assert found["one"]["destinations"] is None  # the global default holds
    assert json.loads(found["two"]["destinations"]) == [A, B]
    assert json.loads(found["three"]["destinations"]) == []  # this disk only


def test_view_rows(kit: Kit) -> None:
    kit.put(1, table="t", scalars={"at": 5})
    kit.put(2)
    found = rows(kit, "SELECT * FROM rows ORDER BY scalars IS NULL")
    assert [(r["table"], r["scalars"]) for r in found] == [("t", '{"at": 5}'), ("default", None)]
    assert all(r["id"].startswith("r_") for r in found)
    assert found[0]["id"] == rows(kit, "SELECT row FROM media WHERE \"table\" = 't'")[0]["row"]


def test_view_media(kit: Kit) -> None:
    ids = {
        "local_only": kit.put(1), "pending": kit.put(2, [A]), "blocked": kit.put(3, [A]), "safe": kit.put(4, [A]), "lost": kit.put(5),
        "unrouted": kit.put(4), "evicted": kit.put(6, [A]), "unrouted pending": kit.put(2),
    }  # fmt: skip
    kit.claim([kit.replica(n, A) for n in (4, 6)])
    kit.confirm([kit.replica(n, A) for n in (4, 6)])
    kit.sql("UPDATE replica SET blocked = 1 WHERE id = ?", (kit.replica(3, A),))
    kit.lose(kit.replica(5, None))
    kit.drop(kit.replica(6, None))
    kit.pin(ids["safe"])
    kit.delete(kit.put(7))
    found = {r["id"]: r for r in rows(kit, "SELECT * FROM media")}
    assert set(found) == {f"m_{u}" for u in ids.values()}
    assert {what: (found[f"m_{u}"]["state"], found[f"m_{u}"]["cached"]) for what, u in ids.items()} == {
        "local_only": ("local_only", 1), "pending": ("pending", 1), "blocked": ("blocked", 1), "safe": ("safe", 1), "lost": ("lost", 0),
        "unrouted": ("local_only", 1), "evicted": ("safe", 0), "unrouted pending": ("local_only", 1),
    }  # fmt: skip
    one = found[f"m_{ids['safe']}"]
    assert (one["name"], one["table"], one["column"], one["kind"]) == ("IMG_00004.jpg", "default", "file", "input")
    assert (one["sha256"], one["size_bytes"], one["mime"]) == (digest(4).hex(), size_of(4), "image/jpeg")
    assert (one["pinned"], one["deleted_at_ms"]) == (1, None)
    assert found[f"m_{ids['unrouted']}"]["pinned"] == 0


def test_view_deleted_media(kit: Kit) -> None:
    kit.put(1)
    ulid = kit.put(2, [A], table="t")
    deleted = "SELECT n FROM media_tally WHERE state = 'deleted'"
    assert rows(kit, "SELECT * FROM deleted_media") == []
    for _ in range(3):  # deleted, undeleted, deleted again
        kit.delete(ulid)
        (found,) = rows(kit, "SELECT * FROM deleted_media")
        assert (found["id"], found["table"], found["column"], found["sha256"]) == (f"m_{ulid}", "t", "file", digest(2).hex())
        assert found["deleted_at_ms"] > found["created_at_ms"]
        assert kit.conn.value(deleted) == 1
        assert kit.sql(UNDELETE, (ulid,)) == 1
        assert rows(kit, "SELECT * FROM deleted_media") == []
        assert kit.conn.value(deleted) == 0
    assert kit.conn.value("SELECT count(*) FROM deleted_medium") == 1  # that it was deleted stays recorded
    assert [s for (s,) in kit.conn.rows("SELECT step FROM journal WHERE step LIKE '%delete' ORDER BY seq")] == [
        "delete",
        "undelete",
    ] * 3
    kit.sql("DELETE FROM deleted_medium")
    assert kit.conn.value(deleted) == 0
    kit.delete(ulid)
    kit.sql("DELETE FROM deleted_medium")
    assert kit.conn.value(deleted) == 0


def test_view_objects(kit: Kit) -> None:
    kit.put(1, [A, B])
    kit.put(1)
    kit.bring(A)
    assert rows(kit, "SELECT * FROM objects") == [
        {"id": kit.object(1), "sha256": digest(1).hex(), "size_bytes": size_of(1), "state": "pending", "media": 2, "copies": 2,
         "needed": 2, "needed_present": 1}
    ]  # fmt: skip


def test_view_replicas(kit: Kit) -> None:
    kit.put(1, [A])
    kit.bring()
    kit.put(2, [A])
    kit.claim([kit.replica(2, A)])
    with kit.conn.writing():
        replicas.release(kit.conn, [replicas.Failure(kit.replica(2, A), Refused("no entry"), 77)], EPOCH, 50)
    found = {r["id"]: r for r in rows(kit, "SELECT * FROM replicas")}
    there, failed, here = found[kit.replica(1, A)], found[kit.replica(2, A)], found[kit.replica(1, None)]
    assert (there["destination"], there["role"], there["state"], there["needed_by"]) == (A, "destination", "present", 1)
    assert (there["proof_by"], there["proof_algorithm"], there["proof_value"]) == ("put", "sha256", digest(1).hex())
    assert (failed["state"], failed["attempts"], failed["due_at_ms"]) == ("wanted", 1, 77)
    assert (failed["error_code"], failed["error"]) == ("refused", "no entry")
    assert (here["role"], here["state"], here["needed_by"]) == ("local", "present", 0)


def test_view_destinations(kit: Kit) -> None:
    kit.put(1, [A, B])
    kit.bring(A)
    kit.source()
    kit.sql("UPDATE store SET paused = 1 WHERE uri = ?", (B,))
    kit.sql(
        "UPDATE store SET state = 'blocked', error_code = 'refused', error = 'no', hint = 'mend', error_n = 3 WHERE uri = ?", (A,)
    )
    first, second = rows(kit, "SELECT * FROM destinations ORDER BY id")
    assert (first["uri"], first["state"], first["error_code"], first["errors"]) == (A, "blocked", "refused", 3)
    assert (first["present_objects"], first["present_bytes"]) == (1, size_of(1))
    assert (second["uri"], second["state"], second["present_objects"]) == (B, "paused", None)


def test_view_events(kit: Kit) -> None:
    ulid = kit.put(1, [A])
    kit.bring()
    kit.pin(ulid)
    kit.pin(ulid, False)
    kit.drop(kit.replica(1, None))
    kit.lose(kit.replica(1, A))
    damaged = kit.replica(1, A, ("damaged",))
    kit.bring()
    kit.see_tombstones()
    kit.drop(damaged)
    kit.forget(damaged)
    kit.delete(ulid)
    kit.sql(UNDELETE, (ulid,))
    kit.adopt(kit.object(1), kit.source())
    kit.sql("INSERT INTO journal (at_ms, step, detail) VALUES (1, 'daemon.started', '{}')")
    found = rows(kit, "SELECT * FROM events ORDER BY seq")
    assert [(e["type"], e["from"]) for e in found] == [
        ("media.put", None), ("replica.present", "copying"), ("media.safe", None), ("media.pinned", None), ("media.unpinned", None),
        ("local.evicted", "present"), ("replica.damaged", "present"), ("replica.present", "copying"), ("media.safe", None),
        ("replica.dropping", "damaged"), ("replica.forgotten", "dropping"), ("media.deleted", None), ("media.undeleted", None),
        ("media.safe", None), ("replica.present", ""), ("daemon.started", None),
    ], [(e["type"], e["from"]) for e in found]  # fmt: skip
    assert all(json.loads(e["media"]) == [f"m_{ulid}"] for e in found[:-1])
    assert all(e["sha256"] == digest(1).hex() for e in found[:-1])
    assert found[1]["destination"] == A
    assert found[-1]["detail"] == "{}"
    assert [e["seq"] for e in found] == sorted({e["seq"] for e in found})


@pytest.mark.parametrize("uris", [(A, B), (B, A)])
def test_nothing_is_called_safe_that_is_not(kit: Kit, uris: tuple[str, str]) -> None:
    """What happens inside one transaction never shows as an event: not when some of the needed copies are there already, not when
    needs go one by one, and not when a needed copy is lost."""

    def safe_events() -> int:
        return int(kit.conn.value("SELECT count(*) FROM events WHERE type = 'media.safe'"))

    there, missing = uris
    kit.put(9, [A])  # A has the lower id
    kit.put(9, [B])
    ulid = kit.put(1, [there])
    kit.bring(there)
    assert safe_events() == 1
    kit.delete(ulid)
    kit.put(1, [there, missing])  # `there` is present all the same, in its grace time
    assert kit.object_state(1) == "pending"
    assert safe_events() == 1
    kit.put(1)
    kit.delete(kit.conn.value("SELECT ulid FROM medium WHERE object_id = ? ORDER BY id LIMIT 1", (kit.object(1),)))
    assert kit.object_state(1) == "local_only"
    assert safe_events() == 1
    kit.put(1, [there], table="moving")
    assert safe_events() == 2
    of_both = kit.conn.value("SELECT id FROM dest_set WHERE stores = '[1,2]'")
    kit.sql("UPDATE medium SET set_id = ? WHERE set_id IS NOT NULL AND object_id = ?", (of_both, kit.object(1)))
    assert kit.object_state(1) == "pending"
    kit.sql("UPDATE medium SET set_id = NULL WHERE set_id IS NOT NULL AND object_id = ?", (kit.object(1),))
    assert kit.object_state(1) == "local_only"
    kit.sql("UPDATE medium SET set_id = ? WHERE object_id = ?", (of_both, kit.object(1)))
    assert kit.object_state(1) == "pending"
    assert safe_events() == 2
    kit.bring()
    assert safe_events() == 4  # content 9 too
    assert kit.lose(kit.replica(1, there))
    assert kit.object_state(1) == "pending"
    assert safe_events() == 4


PUBLIC = ("tables", "columns", "rows", "media", "deleted_media", "objects", "replicas", "destinations", "events")

_STOCK = """
import json, sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
db.execute("PRAGMA query_only = 1")
out = {}
for view in sys.argv[2:]:
    try:
        out[view] = len(db.execute(f'SELECT * FROM "{view}"').fetchall())
    except sqlite3.Error as e:
        out[view] = str(e)
print(json.dumps(out))
"""


def test_public_views_work_in_a_stock_read_only_connection(kit: Kit, tmp_path: Path) -> None:
    """Without our SQL functions, and with the older SQLite that Python brings. On a copy, in another process."""
    kit.put(1, [A, B], scalars={"a": 1})
    kit.bring(A)
    kit.delete(kit.put(2, [A]))
    kit.conn.checkpoint(truncate=True)
    copy = tmp_path / "copy.db"
    copy.write_bytes(kit.conn.path.read_bytes())
    out = subprocess.run([sys.executable, "-c", _STOCK, str(copy), *PUBLIC], capture_output=True, text=True, check=True).stdout
    found = json.loads(out)
    assert found == {view: kit.conn.value(f'SELECT count(*) FROM "{view}"') for view in PUBLIC}
    assert all(found.values())


def test_media_pages_of_a_deleted_medium_agree_with_the_view(kit: Kit) -> None:
    first, second = kit.put(1), kit.put(2)
    kit.delete(first)
    kit.delete(second)
    kit.sql(UNDELETE, (second,))
    assert [u for _, u in finding.page(kit.conn, finding.Filter(deleted=True))] == [first]
    assert [u for _, u in finding.page(kit.conn, finding.Filter())] == [second]


def test_view_held(kit: Kit) -> None:
    """Each reason, and none for what may go."""
    camera = kit.source()
    kit.put(1, [A])
    kit.adopt(kit.object(1), camera)
    kit.put(2, [A])
    ulid = kit.put(3, [A])
    kit.bring()
    kit.pin(ulid)
    gone = kit.put(4, [A])
    kit.bring()
    kit.delete(gone)
    why = dict(kit.conn.rows("SELECT replica_id, why FROM held"))
    assert why[kit.conn.value("SELECT id FROM replica WHERE store_id = ?", (camera,))] == "a source is only read"
    assert why[kit.replica(1, A)] == "still needed"
    assert why[kit.replica(2, None)] is None
    assert why[kit.replica(3, None)] == "pinned"
    assert {why[kit.replica(4, A)], why[kit.replica(4, None)]} == {"no tombstone"}
    kit.see_tombstones()
    kit.lose(kit.replica(2, A))
    why = dict(kit.conn.rows("SELECT replica_id, why FROM held"))
    assert {why[kit.replica(4, A)], why[kit.replica(4, None)]} == {None}
    assert why[kit.replica(2, None)] == "not safe elsewhere"


def test_view_grave(kit: Kit) -> None:
    """The way to a tombstone: with the store of its replica, and one that is there stays as it is."""
    kit.put(1, [A])
    rid = kit.replica(1, A)
    kit.sql("INSERT INTO grave (replica_id, reason) VALUES (?, 'first')", (rid,))
    kit.sql("INSERT INTO grave (replica_id, reason) VALUES (?, 'second')", (rid,))
    assert kit.conn.rows("SELECT replica_id, store_id, reason FROM tombstone") == [(rid, kit.store(A), "first")]
    assert kit.conn.rows("SELECT * FROM grave") == [(rid, "first")]


def test_view_repaired(kit: Kit) -> None:
    """A good copy in a store gives the damaged one beside it its tombstone, and no other."""
    kit.put(1, [A, B])
    kit.bring()
    for uri in (A, B):
        kit.lose(kit.replica(1, uri))
    kit.bring(A)
    assert kit.tombstones() == {kit.replica(1, A, ("damaged",))}
    assert set(kit.conn.rows("SELECT * FROM repaired")) == {(kit.object(1), kit.store(A)), (kit.object(1), 0)}


def test_view_source_back(kit: Kit) -> None:
    """What waited for a copy here is due when there is one; what waits for its store is not."""
    kit.put(1, [A, B])
    later = kit.now() + 100_000
    kit.sql("UPDATE replica SET due_at_ms = ? WHERE store_id <> 0", (later,))
    kit.sql("UPDATE replica SET error_code = 'unreachable' WHERE id = ?", (kit.replica(1, B),))
    kit.lose(kit.replica(1, None))
    kit.put(1, [A])
    assert kit.conn.value("SELECT due_at_ms FROM replica WHERE id = ?", (kit.replica(1, A),)) < later
    assert kit.conn.value("SELECT due_at_ms FROM replica WHERE id = ?", (kit.replica(1, B),)) == later
    assert kit.conn.rows("SELECT * FROM source_back") == [(kit.object(1),)]


def test_every_view_has_its_test(kit: Kit) -> None:
    views = {name for (name,) in kit.conn.rows("SELECT name FROM sqlite_schema WHERE type = 'view'")}
    tested = {name.removeprefix("test_view_") for name in globals() if name.startswith("test_view_")}
    assert tested == views
