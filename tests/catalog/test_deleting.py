"""Deleting and taking it back: whoever deletes, the tombstones are there with it; and a medium comes back as it was, as long as there is a
copy."""

from __future__ import annotations

import pytest

from catalog_kit import A, B, Kit
from lading_catalog import deleting, media, shapes, sweeping, tables
from lading_catalog.deleting import NotDeleted
from lading_catalog.errors import ConfigError, NotFound


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
    for replica in gone:
        assert kit.drop(replica)
    with pytest.raises(NotFound, match="its last copy is gone"):
        undelete(kit, ulid)
    for replica in gone:
        assert kit.forget(replica)
    with pytest.raises(NotFound, match="its last copy is gone since"):
        undelete(kit, ulid)
    assert shape(kit, ulid)["purge_at"] is not None
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


# -- dropping tables and columns -----------------------------------------------------------------------------------------------------------


def close_all(kit: Kit, limit: int = 3) -> int:
    steps = 0
    while tables.closing_due(kit.conn):
        with kit.conn.writing(durable=False):
            tables.close_step(kit.conn, limit)
        steps += 1
    return steps


def test_a_dropped_table_is_gone_at_once_and_its_media_in_slices(kit: Kit) -> None:
    ulids = [kit.put(n, [A], table="old", column=c) for n, c in enumerate("ababababab", start=1)]
    kit.put(20, [A], table="kept")
    kit.bring()
    with kit.conn.writing(durable=False):
        assert tables.drop_table(kit.conn, "old") == 10
    assert [t for (t,) in kit.conn.rows("SELECT name FROM tables")] == ["kept"]
    assert {c["table"] for c in tables.columns(kit.conn, tables.Defaults())} == {"kept"}
    assert shape(kit, ulids[0])["table"] == "old"  # a living one that waits for its slice shows no other name
    assert close_all(kit) >= 4
    assert kit.conn.value("SELECT count(*) FROM medium") == 1
    assert {shape(kit, u)["state"] for u in ulids} == {"deleted"}
    assert {shape(kit, u)["table"] for u in ulids} == {"old"}
    assert {t for (t,) in kit.conn.rows('SELECT "table" FROM deleted_media')} == {"old"}
    assert len(kit.tombstones()) == 20
    kit.check()


def test_a_put_into_a_dropped_name_makes_a_new_table(kit: Kit) -> None:
    kit.put(1, table="t", column="c")
    with kit.conn.writing(durable=False):
        tables.drop_table(kit.conn, "t")
    fresh = kit.put(2, table="t", column="c")
    close_all(kit)
    assert shape(kit, fresh)["state"] == "local_only"
    assert kit.conn.value("SELECT count(*) FROM medium") == 1


def test_one_column_of_a_table(kit: Kit) -> None:
    a, b = kit.put(1, table="t", column="a"), kit.put(2, table="t", column="b")
    with kit.conn.writing(durable=False):
        assert tables.drop_column(kit.conn, "t", "a") == 1
    close_all(kit)
    assert (shape(kit, a)["state"], shape(kit, b)["state"]) == ("deleted", "local_only")
    assert kit.conn.rows("SELECT name FROM columns") == [("b",)]


def test_an_undelete_brings_its_table_and_column_back(kit: Kit) -> None:
    ulid = kit.put(1, table="t", column="c")
    with kit.conn.writing(durable=False):
        tables.drop_column(kit.conn, "t", "c")
        tables.drop_table(kit.conn, "t")
    kit.delete(ulid)
    with pytest.raises(ConfigError, match="just being dropped"):
        undelete(kit, ulid)
    close_all(kit)
    undelete(kit, ulid)
    assert (shape(kit, ulid)["table"], shape(kit, ulid)["column"]) == ("t", "c")
    assert kit.conn.rows("SELECT name FROM tables") == [("t",)]


def test_an_undelete_takes_no_name_from_another_table(kit: Kit) -> None:
    ulid = kit.put(1, table="t")
    with kit.conn.writing(durable=False):
        tables.drop_table(kit.conn, "t")
    close_all(kit)
    kit.put(2, table="t")
    with pytest.raises(ConfigError, match="another one of that name"):
        undelete(kit, ulid)
    assert shape(kit, ulid)["state"] == "deleted"


@pytest.mark.parametrize("drop", [lambda c: tables.drop_table(c, "nope"), lambda c: tables.drop_column(c, "default", "nope")])
def test_what_is_not_there_cannot_be_dropped(kit: Kit, drop: object) -> None:
    kit.put(1)
    with pytest.raises(NotFound), kit.conn.writing(durable=False):
        drop(kit.conn)  # type: ignore[operator]


def test_nobody_can_name_a_dropped_table(kit: Kit) -> None:
    kit.put(1, table="t")
    with kit.conn.writing(durable=False):
        tables.drop_table(kit.conn, "t")
    name = kit.conn.value("SELECT name FROM tbl")
    with pytest.raises(ConfigError):
        tables.check_name("table", name, path=True)
    assert sweeping.unseen(kit.conn) is False
