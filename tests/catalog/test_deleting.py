"""Deleting and taking it back: whoever deletes, the tombstones are there with it; and a medium comes back as it was, as long as there is a
copy."""

from __future__ import annotations

from datetime import datetime

import apsw
import pytest

from catalog_kit import A, B, Kit
from lading_catalog import clock, deleting, media, shapes, sweeping, tables
from lading_catalog.deleting import NotDeleted
from lading_catalog.errors import NotFound


def undelete(kit: Kit, ulid: str) -> None:
    with kit.conn.writing(durable=False):
        deleting.undelete(kit.conn, ulid)


def shape(kit: Kit, ulid: str) -> shapes.Json:
    return shapes.media(kit.conn, kit.home, [ulid])[0]


@pytest.mark.parametrize(
    "sql", ["DELETE FROM medium WHERE ulid = ?", "DELETE FROM row WHERE id = (SELECT row_id FROM medium WHERE ulid = ?)"]
)
def test_any_delete_writes_its_tombstones_in_the_same_transaction(kit: Kit, sql: str) -> None:
    ulid = kit.put(1, [A])
    kit.bring()
    with kit.conn.writing(durable=False):
        kit.conn.run(sql, (ulid,))
        assert kit.tombstones() == {kit.replica(1, A), kit.replica(1, None)}
        assert kit.conn.value("SELECT count(*) FROM deleted_medium WHERE ulid = ?", (ulid,)) == 1
    kit.check()


def test_a_delete_that_is_rolled_back_leaves_no_tombstone(kit: Kit) -> None:
    ulid = kit.put(1, [A])

    def fail() -> None:
        with kit.conn.writing(durable=False):
            media.delete(kit.conn, ulid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert kit.tombstones() == set()
    assert kit.conn.value("SELECT count(*) FROM medium") == 1


def test_a_medium_comes_back_as_it_was(kit: Kit) -> None:
    ulid = kit.put(1, [A, B], priority=2, name="a/b.jpg", table="t/u", column="c", scalars={"n": 1})
    kit.pin(ulid)
    kit.bring()
    before = shape(kit, ulid)
    kit.delete(ulid)
    assert shape(kit, ulid)["state"] == "deleted"
    undelete(kit, ulid)
    assert shape(kit, ulid) == before
    assert kit.conn.value("SELECT priority FROM medium WHERE ulid = ?", (ulid,)) == 2
    assert (
        kit.conn.value("SELECT count(*) FROM deleted_medium WHERE ulid = ?", (ulid,)) == 1
    )  # that it was deleted stays recorded
    assert kit.tombstones() == set()
    assert kit.object_state(1) == "safe"
    kit.check()


@pytest.mark.parametrize("seen", [False, True])
def test_before_and_after_a_daemon_has_seen_it(kit: Kit, seen: bool) -> None:
    ulid = kit.put(1, [A])
    kit.bring()
    kit.delete(ulid)
    assert shape(kit, ulid)["purge_at"] is None
    if seen:
        kit.see_tombstones()
        assert shape(kit, ulid)["purge_at"] is not None
    undelete(kit, ulid)
    assert (kit.tombstones(), shape(kit, ulid)["purge_at"]) == (set(), None)


def test_what_is_being_deleted_already_is_wanted_again_under_a_new_key(kit: Kit) -> None:
    """24: the old key is never used again."""
    ulid = kit.put(1, [A])
    kit.bring()
    old = kit.replica(1, A)
    key = kit.conn.value("SELECT key FROM replica WHERE id = ?", (old,))
    kit.delete(ulid)
    kit.see_tombstones()
    assert kit.drop(old)
    undelete(kit, ulid)
    new = kit.replica(1, A)
    assert (kit.state(old), kit.state(new), new != old) == ("dropping", "wanted", True)
    assert kit.conn.value("SELECT key FROM replica WHERE id = ?", (new,)) != key
    assert kit.object_state(1) == "pending"


def test_while_the_local_copy_goes_the_other_one_is_enough(kit: Kit) -> None:
    ulid = kit.put(1, [A])
    kit.bring()
    kit.delete(ulid)
    kit.see_tombstones()
    assert kit.drop(kit.replica(1, None))
    undelete(kit, ulid)
    assert shape(kit, ulid)["cached"] is False
    assert kit.object_state(1) == "safe"


def test_when_the_last_copy_is_gone_it_is_too_late(kit: Kit) -> None:
    ulid = kit.put(1, [A])
    kit.bring()
    kit.delete(ulid)
    kit.see_tombstones()
    gone = [kit.replica(1, A), kit.replica(1, None)]
    assert shape(kit, ulid)["restorable"] is True
    for replica in gone:
        assert kit.drop(replica)
    assert shape(kit, ulid)["restorable"] is False
    with pytest.raises(NotFound, match="its last copy is gone"):
        undelete(kit, ulid)
    for replica in gone:
        assert kit.forget(replica)
    with pytest.raises(NotFound, match="its last copy is gone since"):
        undelete(kit, ulid)
    assert (shape(kit, ulid)["purge_at"] is not None, shape(kit, ulid)["restorable"]) == (True, False)
    assert kit.conn.rows("SELECT type FROM events WHERE type LIKE 'media.p%' ORDER BY seq") == [("media.put",), ("media.purged",)]


def test_the_bytes_put_again_bring_the_old_medium_back_too(kit: Kit) -> None:
    first = kit.put(1, [A])
    kit.bring()
    kit.delete(first)
    kit.put(1, [B])
    undelete(kit, first)
    assert kit.conn.value("SELECT count(*) FROM medium") == 2
    assert kit.tombstones() == set()


def test_deleted_and_brought_back_again_and_again(kit: Kit) -> None:
    ulid = kit.put(1, [A])
    kit.bring()
    for _ in range(3):
        kit.delete(ulid)
        undelete(kit, ulid)
    assert kit.conn.value("SELECT n FROM media_tally WHERE state = 'deleted'") == 0
    assert [t for (t,) in kit.conn.rows("SELECT type FROM events WHERE type LIKE 'media.%deleted' ORDER BY seq")] == [
        "media.deleted", "media.undeleted",
    ] * 3  # fmt: skip
    kit.check()


def test_what_was_not_deleted_cannot_come_back(kit: Kit) -> None:
    ulid = kit.put(1)
    for _ in range(2):
        with pytest.raises(NotDeleted):
            undelete(kit, ulid)
        kit.delete(ulid)
        undelete(kit, ulid)
    with pytest.raises(NotFound):
        undelete(kit, "0" * 26)


@pytest.mark.parametrize(("given", "uris"), [(True, [A]), (False, [B])])
def test_destinations_that_changed_meanwhile(kit: Kit, given: bool, uris: list[str]) -> None:
    """The column's hold for a medium that no call had given its own; the old copy stays until the new one is there."""
    with kit.conn.writing(durable=False):
        tables.set_destination(kit.conn, "default", "file", [A], make=True)
    ulid = kit.put(1, [A] if given else None)
    kit.bring()
    kit.delete(ulid)
    with kit.conn.writing(durable=False):
        tables.set_destination(kit.conn, "default", "file", [B])
        while tables.moves_due(kit.conn):
            tables.move_step(kit.conn, 10)
    undelete(kit, ulid)
    needed = [uri for (uri,) in kit.conn.rows("SELECT s.uri FROM need n JOIN store s ON s.id = n.store_id")]
    assert needed == uris
    assert kit.state(kit.replica(1, A)) == "present"


def test_two_media_of_one_object_come_back_each_for_itself(kit: Kit) -> None:
    first, second = kit.put(1, [A], name="a"), kit.put(1, [B], name="b")
    kit.bring()
    kit.delete(first)
    kit.delete(second)
    kit.see_tombstones()
    undelete(kit, second)
    assert kit.tombstones() == {kit.replica(1, A)}
    assert (shape(kit, first)["state"], shape(kit, second)["state"]) == ("deleted", "safe")
    undelete(kit, first)
    assert kit.tombstones() == set()
    kit.check()


def test_the_copy_of_a_pinned_one_stays_again(kit: Kit) -> None:
    ulid = kit.put(1, [A])
    kit.bring()
    kit.pin(ulid)
    kit.delete(ulid)
    kit.see_tombstones()
    undelete(kit, ulid)
    assert shape(kit, ulid)["pinned"] is True
    assert kit.conn.value("SELECT hold FROM replica WHERE store_id = 0") == "pinned"
    kit.check()


def test_what_was_on_its_way_goes_on(kit: Kit) -> None:
    ulid = kit.put(1, [A])
    replica = kit.replica(1, A)
    kit.claim([replica])
    kit.delete(ulid)
    kit.see_tombstones()
    undelete(kit, ulid)
    assert kit.confirm([replica]) == 1
    assert (kit.object_state(1), kit.tombstones()) == ("safe", set())


def test_a_medium_whose_row_was_deleted_comes_back_in_a_new_one(kit: Kit) -> None:
    """SQLite gives the id of the last row again: that row is somebody else's."""
    ulid = kit.put(1, [A], scalars={"n": 1})
    row = shape(kit, ulid)["row"]
    kit.sql("DELETE FROM row WHERE id = (SELECT row_id FROM medium WHERE ulid = ?)", (ulid,))
    other = kit.put(2)
    undelete(kit, ulid)
    rows = {shape(kit, u)["row"] for u in (ulid, other)}
    assert len(rows) == 2
    assert row not in rows
    row = shape(kit, ulid)["row"]
    kit.delete(ulid)
    undelete(kit, ulid)
    assert shape(kit, ulid)["row"] == row
    kit.check()


def test_when_the_grace_will_be_over(kit: Kit) -> None:
    """By the catalog clock: what a daemon has not been at work for does not count."""
    ulid = kit.put(1, [A])
    kit.bring()
    kit.delete(ulid)
    with kit.conn.writing(durable=False):
        clock.set_grace(kit.conn, 60_000)
        clock.save(kit.conn, 5_000)
        sweeping.see(kit.conn, 5_000, 10)
        clock.save(kit.conn, 25_000)
    left = datetime.fromisoformat(shape(kit, ulid)["purge_at"]).timestamp() * 1000 - kit.now()
    assert -40_050 < -left < -39_950
    with kit.conn.writing(durable=False):
        clock.save(kit.conn, 900_000)
    assert shape(kit, ulid)["purge_at"] >= shapes.when(kit.now() - 50)


def test_while_another_medium_keeps_the_copies_no_grace_runs(kit: Kit) -> None:
    ulid = kit.put(1, [A])
    kit.put(1, [A], name="other")
    kit.delete(ulid)
    assert (kit.tombstones(), shape(kit, ulid)["purge_at"]) == (set(), None)
    undelete(kit, ulid)
    kit.check()


def test_a_page_of_deleted_ones_costs_no_query_for_each(kit: Kit) -> None:
    ulids = [kit.put(n, [A]) for n in range(1, 9)]
    for ulid in ulids:
        kit.delete(ulid)
    kit.see_tombstones()
    asked: list[str] = []
    kit.conn._db.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: asked.append(event["sql"]))
    assert all(m["purge_at"] for m in shapes.media(kit.conn, kit.home, ulids))
    kit.conn._db.trace_v2(0)
    assert sum(sql.lstrip().startswith("SELECT") for sql in asked) == 4
