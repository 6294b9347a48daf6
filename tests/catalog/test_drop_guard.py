"""What may be dropped: the last line of defence, inside the transaction that drops."""

from __future__ import annotations

import apsw
import pytest

from catalog_kit import A, B, C, Kit
from lading_catalog import replicas, safety


def refused(kit: Kit, rid: int, why: str) -> None:
    """By the function, and by raw SQL."""
    before = kit.dump()
    with pytest.raises(apsw.ConstraintError, match=why):
        kit.drop(rid)
    with pytest.raises(apsw.ConstraintError, match=why):
        kit.sql("UPDATE replica SET state = 'dropping' WHERE id = ?", (rid,))
    assert kit.dump() == before


def test_still_needed(kit: Kit) -> None:
    for content, present in ((1, True), (2, False)):
        kit.put(content, [A, B])
        if present:
            kit.bring()
        kit.sql(
            "INSERT INTO tombstone (replica_id, reason, at_ms, seen_clock_ms) VALUES (?, 'wrong', 1, 1)",
            (kit.replica(content, A),),
        )
        refused(kit, kit.replica(content, A), "still needed")


def test_still_needed_by_another_medium(kit: Kit) -> None:
    first, second = kit.put(1, [A]), kit.put(1, [A], table="other")
    kit.bring()
    kit.delete(first)
    refused(kit, kit.replica(1, A), "still needed")
    kit.delete(second)
    kit.see_tombstones()
    assert kit.drop(kit.replica(1, A))


@pytest.mark.parametrize("uri", [A, None], ids=["destination", "local"])
def test_a_tombstone_that_the_daemon_has_seen(kit: Kit, uri: str | None) -> None:
    ulid = kit.put(1, [A])
    kit.bring()
    rid = kit.replica(1, uri)
    kit.delete(ulid)
    assert rid in kit.tombstones()
    refused(kit, rid, "no tombstone")  # not seen
    kit.sql("DELETE FROM tombstone WHERE replica_id = ?", (rid,))
    refused(kit, rid, "no tombstone")
    kit.sql("INSERT INTO tombstone (replica_id, reason, at_ms, seen_clock_ms) VALUES (?, 'test', 1, 1)", (rid,))
    assert kit.drop(rid)


def test_no_tombstone_for_what_is_only_wanted(kit: Kit) -> None:
    ulid = kit.put(1, [A])
    rid = kit.replica(1, A)
    kit.delete(ulid)
    refused(kit, rid, "no tombstone")
    kit.see_tombstones()
    assert kit.drop(rid)


def test_pinned(kit: Kit) -> None:
    ulid, other = kit.put(1, [A]), kit.put(1, [A], table="other")
    kit.bring()
    kit.pin(ulid)
    refused(kit, kit.replica(1, None), "pinned")
    kit.pin(other)
    kit.pin(ulid, False)
    refused(kit, kit.replica(1, None), "pinned")  # by the other medium
    kit.delete(other)
    assert kit.drop(kit.replica(1, None))


def test_the_only_copy(kit: Kit) -> None:
    kit.put(1)  # no destination: never safe
    kit.put(2, [A])  # not there yet
    kit.put(3, [A])
    kit.claim([kit.replica(3, A)])  # on its way
    for content in (1, 2, 3):
        refused(kit, kit.replica(content, None), "not safe elsewhere")
        kit.sql(
            "INSERT INTO tombstone (replica_id, reason, at_ms, seen_clock_ms) VALUES (?, 'wrong', 1, 1)",
            (kit.replica(content, None),),
        )
        refused(kit, kit.replica(content, None), "not safe elsewhere")


def test_a_copy_in_a_source_makes_nothing_safe(kit: Kit) -> None:
    kit.put(1)
    kit.adopt(kit.object(1), kit.source())
    refused(kit, kit.replica(1, None), "not safe elsewhere")


def test_not_all_needed_ones_are_present(kit: Kit) -> None:
    kit.put(1, [A, B])
    kit.bring(A)
    refused(kit, kit.replica(1, None), "not safe elsewhere")
    kit.bring(B)
    rid = kit.replica(1, None)
    kit.lose(kit.replica(1, B))
    refused(kit, rid, "not safe elsewhere")
    kit.bring(B)
    assert kit.drop(rid)


def test_a_need_of_another_medium_counts(kit: Kit) -> None:
    kit.put(1, [A])
    kit.bring()
    kit.put(1, [B], table="other")
    refused(kit, kit.replica(1, None), "not safe elsewhere")


def _min_copies(kit: Kit, number: int | None) -> None:
    with kit.conn.writing():
        safety.set_min_copies(kit.conn, number)


def test_min_copies(kit: Kit) -> None:
    kit.put(1, [A, B, C])
    kit.bring(A)
    local = kit.replica(1, None)
    refused(kit, local, "not safe elsewhere")
    _min_copies(kit, 2)
    refused(kit, local, "not safe elsewhere")
    kit.bring(B)
    _min_copies(kit, 3)  # the guard uses the new number at once, before any review
    refused(kit, local, "not safe elsewhere")
    _min_copies(kit, 2)
    assert kit.drop(local)


def test_min_copies_is_capped_at_the_number_needed(kit: Kit) -> None:
    _min_copies(kit, 3)
    kit.put(1, [A])
    refused(kit, kit.replica(1, None), "not safe elsewhere")
    kit.bring(A)
    assert kit.drop(kit.replica(1, None))


@pytest.mark.parametrize("value", [0, -1, "1"])
def test_min_copies_is_at_least_one(kit: Kit, value: object) -> None:
    kit.put(1, [A])
    with pytest.raises(apsw.ConstraintError, match="at least 1"):
        kit.sql("UPDATE meta SET v = ? WHERE k = 'min_copies'", (value,))
    refused(kit, kit.replica(1, None), "not safe elsewhere")


@pytest.fixture
def moved(kit: Kit) -> Kit:
    """Content 1 is present in A, but its medium has moved to B."""
    kit.put(1, [A])
    kit.bring()
    kit.put(2, [B])
    kit.sql("UPDATE medium SET set_id = (SELECT set_id FROM medium WHERE object_id = ?) WHERE id = 1", (kit.object(2),))
    kit.see_tombstones()
    return kit


def test_a_remote_copy_stays_until_the_needed_ones_are_present(moved: Kit) -> None:
    old = moved.replica(1, A)
    assert old in moved.tombstones()
    refused(moved, old, "not safe elsewhere")
    moved.claim([moved.replica(1, B)])
    refused(moved, old, "not safe elsewhere")
    moved.confirm([moved.replica(1, B)])
    assert moved.drop(old)


def test_a_remote_copy_stays_while_one_needed_is_missing_whatever_min_copies(kit: Kit) -> None:
    _min_copies(kit, 1)
    first = kit.put(1, [A])
    kit.put(1, [B, C], table="other")
    kit.bring(A, B)
    assert kit.object_state(1) == "safe"
    kit.delete(first)
    kit.see_tombstones()
    refused(kit, kit.replica(1, A), "not safe elsewhere")
    kit.bring(C)
    assert kit.drop(kit.replica(1, A))


def test_a_remote_copy_stays_while_nothing_is_needed_and_no_local_copy_is_present(kit: Kit) -> None:
    kit.put(1, [A])
    kit.bring()
    local = kit.replica(1, None)
    assert kit.drop(local)
    kit.sql("UPDATE medium SET set_id = NULL")  # its column's destination was taken away
    kit.see_tombstones()
    rid = kit.replica(1, A)
    refused(kit, rid, "not safe elsewhere")
    with kit.conn.writing():
        kit.conn.run(
            "INSERT INTO replica (object_id, store_id, key, state, inode, mtime_ns) VALUES (?, 0, 'objects/000/new', 'wanted', 1, 1)",
            (kit.object(1),),
        )
    refused(kit, rid, "not safe elsewhere")
    fetched = kit.replica(1, None)
    kit.claim([fetched])
    refused(kit, rid, "not safe elsewhere")
    kit.sql("UPDATE replica SET state = 'present' WHERE id = ?", (fetched,))
    assert kit.drop(rid)
    refused(kit, fetched, "not safe elsewhere")


def test_a_source_is_only_read(kit: Kit) -> None:
    ulid = kit.put(1)
    rid = kit.adopt(kit.object(1), kit.source())
    kit.delete(ulid)
    kit.sql("INSERT INTO tombstone (replica_id, reason, at_ms, seen_clock_ms) VALUES (?, 'wrong', 1, 1)", (rid,))
    refused(kit, rid, "only read")


def test_a_damaged_copy_waits_for_a_good_one(kit: Kit) -> None:
    kit.put(1, [A])
    kit.bring()
    damaged = kit.replica(1, A)
    kit.lose(damaged)
    assert damaged not in kit.tombstones()
    refused(kit, damaged, "no tombstone")
    kit.bring()
    assert damaged in kit.tombstones()
    refused(kit, damaged, "no tombstone")  # not seen
    kit.see_tombstones()
    assert kit.drop(damaged)
    assert kit.object_state(1) == "safe"


def test_a_damaged_local_copy_waits_for_a_good_one(kit: Kit) -> None:
    kit.put(1, [A])
    damaged = kit.replica(1, None)
    kit.lose(damaged)
    refused(kit, damaged, "no tombstone")
    kit.put(1, [A])  # the same bytes again: the good copy
    refused(kit, damaged, "no tombstone")
    kit.see_tombstones()
    assert kit.drop(damaged)


def test_a_damaged_copy_of_a_deleted_object_goes_with_its_tombstone(kit: Kit) -> None:
    ulid = kit.put(1, [A])
    kit.bring()
    damaged = kit.replica(1, A)
    kit.lose(damaged)
    kit.delete(ulid)
    refused(kit, damaged, "no tombstone")
    kit.see_tombstones()
    assert kit.drop(damaged)


def test_a_replica_in_copying_is_never_dropped(kit: Kit) -> None:
    ulid = kit.put(1, [A])
    rid = kit.replica(1, A)
    kit.claim([rid])
    kit.delete(ulid)
    kit.see_tombstones()
    assert rid not in kit.ids("unwanted")
    with kit.conn.writing():
        assert not replicas.drop(kit.conn, rid, "wanted")
    with pytest.raises(apsw.ConstraintError, match="illegal step"):
        kit.drop(rid)
    kit.confirm([rid])  # it has arrived after all: now it can go
    assert rid in kit.ids("unwanted")
    assert kit.drop(rid)


def test_needed_again_during_the_grace_time(kit: Kit) -> None:
    ulid = kit.put(1, [A])
    kit.bring()
    rid, local = kit.replica(1, A), kit.replica(1, None)
    kit.delete(ulid)
    kit.see_tombstones()
    kit.put(1, [A])
    assert kit.tombstones() == set()
    assert (kit.replica(1, A), kit.replica(1, None)) == (rid, local)
    refused(kit, rid, "still needed")


def test_a_put_that_finds_the_copy_dropping_gets_one_of_its_own(kit: Kit) -> None:
    ulid = kit.put(1, [A])
    kit.bring()
    rid, local = kit.replica(1, A), kit.replica(1, None)
    kit.delete(ulid)
    kit.see_tombstones()
    assert kit.drop(rid)
    assert kit.drop(local)
    kit.put(1, [A])
    assert kit.replica(1, A) != rid
    assert kit.replica(1, None) != local
    assert kit.state(rid) == kit.state(local) == "dropping"
    assert kit.forget(rid)
    assert kit.forget(local)
    assert kit.tombstones() == set()
    assert kit.object_state(1) == "pending"
