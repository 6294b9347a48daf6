"""The state machine of a replica: every step between every two states, whoever writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import apsw
import pytest

from catalog_kit import EPOCH, LIVE, STATES, A, Kit
from lading_catalog import media, replicas, tables
from lading_catalog.errors import Refused, Unavailable

# From the design, not from the table `step`: that one is what is tested.
LEGAL = {
    ("", "wanted"), ("", "present"), ("wanted", "copying"), ("copying", "wanted"), ("copying", "present"), ("present", "damaged"),
    ("wanted", "dropping"), ("present", "dropping"), ("damaged", "dropping"), ("dropping", ""),
}  # fmt: skip
PAIRS = list(permutations(("", *STATES), 2))


@dataclass
class Place:
    """A store, and how a replica of content 1 gets there into a state whose guards are all satisfied."""

    kit: Kit
    local: bool
    rid: int = 0

    def bring_to(self, state: str) -> None:
        kit = self.kit
        if self.local:
            kit.put(1, [A])
            kit.bring()
            self.rid = kit.replica(1, None)
            if state in ("present", "", "dropping"):
                return self._leave(state)
            # A fetch: the old copy is evicted, a new one is wanted.
            assert kit.drop(self.rid)
            assert kit.forget(self.rid)
            if state == "damaged":
                self.rid = self._insert("present")
                assert kit.lose(self.rid)
                kit.sql("INSERT INTO tombstone (replica_id, reason, at_ms, seen_clock_ms) VALUES (?, 'test', 1, 1)", (self.rid,))
                return None
            self.rid = self._insert("wanted")
            self._file()
        else:
            ulid = kit.put(1, [A])
            self.rid = kit.replica(1, A)
            if state in ("present", "damaged", "", "dropping"):
                kit.bring()
            kit.delete(ulid)
            if state == "damaged":
                assert kit.lose(self.rid)
            kit.see_tombstones()
            if state in ("wanted", "copying"):
                self._proof()
        if state == "copying":
            assert kit.claim([self.rid])
        else:
            self._leave(state)
        return None

    def _leave(self, state: str) -> None:
        if state in ("dropping", ""):
            assert self.kit.drop(self.rid)
        if state == "":
            assert self.kit.forget(self.rid)

    def _insert(self, state: str) -> int:
        with self.kit.conn.writing():
            self.insert(state)
            return self.kit.conn.last_id()

    def insert(self, state: str) -> None:
        """By raw SQL, with all that a present replica needs."""
        store = 0 if self.local else self.kit.store(A)
        self.kit.conn.run(
            "INSERT INTO replica (object_id, store_id, key, state, proof_by, proof_algorithm, verified_at_ms, inode, mtime_ns)"
            " VALUES (?, ?, ?, ?, 'put', 'sha256', 1, 1, 1)",
            (self.kit.object(1), store, f"new-{state}", state),
        )

    def _file(self) -> None:
        self.kit.sql("UPDATE replica SET inode = 1, mtime_ns = 1 WHERE id = ?", (self.rid,))

    def _proof(self) -> None:
        self.kit.sql(
            "UPDATE replica SET proof_by = 'put', proof_algorithm = 'sha256', verified_at_ms = 1 WHERE id = ?", (self.rid,)
        )

    def step(self, old: str, new: str) -> int:
        """By raw SQL: how many rows it changed."""
        conn = self.kit.conn
        with conn.writing(durable=False):
            if old == "":
                self.insert(new)
                return 1
            if new == "":
                return conn.run("DELETE FROM replica WHERE id = ?", (self.rid,))
            return conn.run(
                f"UPDATE replica SET state = ?{', need_n = 0' if new == 'damaged' else ''} WHERE id = ?", (new, self.rid)
            )


@pytest.mark.parametrize("local", [True, False], ids=["local", "destination"])
@pytest.mark.parametrize(("old", "new"), PAIRS, ids=[f"{a or 'none'}-{b or 'none'}" for a, b in PAIRS])
def test_only_legal_steps_happen(kit: Kit, local: bool, old: str, new: str) -> None:
    place = Place(kit, local)
    place.bring_to(old)
    assert kit.state(place.rid) == old
    before = kit.dump()
    if (old, new) in LEGAL:
        assert place.step(old, new) == 1
        after = kit.conn.rows("SELECT state FROM replica WHERE id = ? OR key LIKE 'new-%'", (place.rid,))
        assert after == ([(new,)] if new else [])
    else:
        with pytest.raises(apsw.ConstraintError, match="illegal step"):
            place.step(old, new)
        assert kit.dump() == before


def test_the_table_says_what_the_design_says(kit: Kit) -> None:
    assert {(old, new) for old, new in kit.conn.rows("SELECT old, new FROM step")} == LEGAL


@pytest.mark.parametrize("local", [True, False], ids=["local", "destination"])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("column", ["key", "store_id", "id", "object_id"])
def test_the_identity_of_a_replica_never_changes(kit: Kit, local: bool, state: str, column: str) -> None:
    place = Place(kit, local)
    place.bring_to(state)
    kit.put(2)
    new = {"key": "another", "store_id": kit.source(), "id": 4711, "object_id": kit.object(2)}[column]
    with pytest.raises(apsw.ConstraintError, match="never changes"):
        kit.sql(f"UPDATE replica SET {column} = ? WHERE id = ?", (new, place.rid))


def test_a_key_is_not_used_twice(kit: Kit) -> None:
    """Not after a delete and a put of the same bytes, and not when a damaged copy is replaced."""
    keys = set()
    for n in range(1, 4):
        ulid = kit.put(1, [A])
        kit.bring()
        keys.add(kit.conn.value("SELECT key FROM replica WHERE id = ?", (kit.replica(1, A),)))
        assert kit.lose(kit.replica(1, A))
        kit.bring()
        keys.add(kit.conn.value("SELECT key FROM replica WHERE id = ?", (kit.replica(1, A),)))
        assert len(keys) == 2 * n
        kit.delete(ulid)
        kit.see_tombstones()
        for rid in kit.ids("replica"):
            assert kit.drop(rid)
            assert kit.forget(rid)
    assert kit.conn.value("SELECT max(id) FROM replica") is None


@pytest.mark.parametrize("column", ["proof_by", "proof_algorithm", "verified_at_ms"])
def test_present_in_a_destination_needs_each_part_of_the_proof(kit: Kit, column: str) -> None:
    kit.put(1, [A])
    rid = kit.replica(1, A)
    kit.claim([rid])
    proof = {"proof_by": "'put'", "proof_algorithm": "'sha256'", "verified_at_ms": "1"}
    del proof[column]
    with pytest.raises(apsw.ConstraintError, match="no proof"):
        kit.sql(f"UPDATE replica SET state = 'present', {', '.join(f'{c} = {v}' for c, v in proof.items())} WHERE id = ?", (rid,))
    with pytest.raises(apsw.ConstraintError, match="no proof"):
        kit.sql(
            f"INSERT INTO replica (object_id, store_id, key, state, {', '.join(proof)})"
            f" VALUES (?, ?, 'k', 'present', {', '.join(proof.values())})",
            (kit.object(1), kit.source()),
        )
    assert kit.state(rid) == "copying"


@pytest.mark.parametrize("column", ["inode", "mtime_ns"])
def test_present_on_this_disk_needs_the_file_that_was_hashed(kit: Kit, column: str) -> None:
    place = Place(kit, local=True)
    place.bring_to("copying")
    with pytest.raises(apsw.ConstraintError, match="no proof"):
        kit.sql(f"UPDATE replica SET state = 'present', {column} = NULL WHERE id = ?", (place.rid,))
    kit.put(2)
    assert kit.conn.run("SELECT 1") is not None
    with pytest.raises(apsw.ConstraintError, match="no proof"):
        kit.sql(
            f"INSERT INTO replica (object_id, store_id, key, state, {'mtime_ns' if column == 'inode' else 'inode'})"
            " VALUES (?, 0, 'k', 'present', 1)",
            (kit.object(2),),
        )


def test_a_proof_is_not_taken_off_a_present_replica(kit: Kit) -> None:
    """What is counted as safe stays proven: no later statement takes the proof away."""
    kit.put(1, [A])
    kit.bring()
    for rid, column in ((kit.replica(1, A), "proof_by"), (kit.replica(1, A), "verified_at_ms"), (kit.replica(1, None), "inode")):
        with pytest.raises(apsw.ConstraintError, match="no proof"):
            kit.sql(f"UPDATE replica SET {column} = NULL WHERE id = ?", (rid,))


def test_at_most_one_live_replica_of_an_object_and_store(kit: Kit) -> None:
    for uri in (A, None):
        kit.put(1, [A])
        place = Place(kit, uri is None)
        if uri is None:
            kit.bring()
            assert kit.drop(kit.replica(1, None))
            place._insert("wanted")
        for state in ("wanted", "copying", "present"):
            rid = kit.replica(1, uri)
            if state != "wanted":
                kit.sql("UPDATE replica SET state = ?, proof_by = 1, proof_algorithm = 1, verified_at_ms = 1, inode = 1, mtime_ns = 1"
                        " WHERE id = ?", (state, rid))  # fmt: skip
            assert kit.state(rid) == state
            for second in ("wanted", "present"):
                with pytest.raises(apsw.ConstraintError, match="UNIQUE"):
                    place._insert(second)


@pytest.mark.parametrize("column", ["sha256", "size_bytes"])
def test_the_bytes_of_an_object_never_change(kit: Kit, column: str) -> None:
    kit.put(1)
    for value in (None, {"sha256": b"x" * 32, "size_bytes": 5}[column]):
        with pytest.raises(apsw.ConstraintError, match="never change"):
            kit.sql(f"UPDATE object SET {column} = ?", (value,))
    with kit.conn.writing():  # bytes that were never read get their digest once
        kit.conn.run("INSERT INTO object (size_bytes) VALUES (7)")
        unknown = kit.conn.last_id()
    assert kit.sql("UPDATE object SET sha256 = ?, size_bytes = 8 WHERE id = ?", (b"y" * 32, unknown)) == 1
    with pytest.raises(apsw.ConstraintError, match="never change"):
        kit.sql("UPDATE object SET sha256 = ? WHERE id = ?", (b"z" * 32, unknown))


@pytest.mark.parametrize("column", ["id", "ulid", "row_id", "col_id", "object_id"])
def test_a_medium_never_changes_its_cell_or_bytes(kit: Kit, column: str) -> None:
    kit.put(1, table="one")
    kit.put(2, table="two")
    with pytest.raises(apsw.ConstraintError, match="never changes"):
        kit.sql(
            f"UPDATE medium SET {column} = {'4711' if column == 'id' else column + ' || 9' if column == 'ulid' else '2'} WHERE id = 1"
        )


def test_a_set_of_destinations_never_changes(kit: Kit) -> None:
    kit.put(1, [A])
    for sql in ("UPDATE dest_set_store SET set_id = 5", "DELETE FROM dest_set_store"):
        with pytest.raises(apsw.ConstraintError, match="never changes"):
            kit.sql(sql)


# -- the arrows of replicas.py are compare-and-swaps ---------------------------------------------------------------------------------


def _failure(rid: int) -> replicas.Failure:
    return replicas.Failure(rid, Refused("no"), 99)


# name → (the states it starts from, whether it asks for the epoch, the call)
ARROWS: dict[str, tuple[set[str], bool, Callable[[Kit, int, int], Any]]] = {
    "claim": ({"wanted"}, False, lambda kit, rid, epoch: len(replicas.claim(kit.conn, [rid], epoch))),
    "confirm": ({"copying"}, True, lambda kit, rid, epoch: replicas.confirm(kit.conn, [kit.success(rid)], epoch)),
    "release": ({"copying"}, True, lambda kit, rid, epoch: replicas.release(kit.conn, [_failure(rid)], epoch, 5)),
    "release_running": ({"copying"}, True, lambda kit, rid, epoch: replicas.release_running(kit.conn, [rid], epoch)),
    "lose": ({"present"}, False, lambda kit, rid, epoch: replicas.lose(kit.conn, rid)),
    "drop wanted": ({"wanted"}, False, lambda kit, rid, epoch: replicas.drop(kit.conn, rid, "wanted")),
    "drop present": ({"present"}, False, lambda kit, rid, epoch: replicas.drop(kit.conn, rid, "present")),
    "drop damaged": ({"damaged"}, False, lambda kit, rid, epoch: replicas.drop(kit.conn, rid, "damaged")),
    "forget": ({"dropping"}, False, lambda kit, rid, epoch: replicas.forget(kit.conn, rid)),
}


@pytest.mark.parametrize("local", [True, False], ids=["local", "destination"])
@pytest.mark.parametrize("state", ["", *STATES])
@pytest.mark.parametrize("arrow", ARROWS)
def test_an_arrow_is_a_compare_and_swap(kit: Kit, local: bool, state: str, arrow: str) -> None:
    starts, asks_epoch, call = ARROWS[arrow]
    place = Place(kit, local)
    place.bring_to(state)
    before = kit.dump()
    for epoch in (EPOCH - 1, EPOCH + 1, EPOCH):
        right = state in starts and (epoch == EPOCH or not asks_epoch)
        with kit.conn.writing(durable=False):
            answer = call(kit, place.rid, epoch)
        assert int(answer) == right, f"epoch {epoch}"
        if right:
            assert kit.state(place.rid) != state
            return
        assert kit.dump() == before
    assert state not in starts


def test_release_abandoned_takes_only_claims_of_other_lives(kit: Kit) -> None:
    for content in range(6):
        kit.put(content, [A])
    kit.claim([kit.replica(n, A) for n in (0, 1, 2)], EPOCH)
    kit.claim([kit.replica(n, A) for n in (3, 4)], EPOCH + 1)
    with kit.conn.writing():
        assert replicas.release_abandoned(kit.conn, EPOCH + 1, 2) == 2
        assert replicas.release_abandoned(kit.conn, EPOCH + 1, 2) == 1
        assert replicas.release_abandoned(kit.conn, EPOCH + 1, 2) == 0
    assert [kit.state(kit.replica(n, A)) for n in range(6)] == ["wanted"] * 3 + ["copying"] * 2 + ["wanted"]


def test_what_an_arrow_records(kit: Kit) -> None:
    kit.put(1, [A])
    rid = kit.replica(1, A)
    (claim,) = kit.claim([rid])
    assert (claim.replica_id, claim.attempts, claim.local_key) == (
        rid,
        1,
        kit.conn.value("SELECT key FROM replica WHERE store_id = 0"),
    )
    with kit.conn.writing():
        replicas.release(kit.conn, [replicas.Failure(rid, Refused("no entry", hint="mend"), 123)], EPOCH, 50)
    columns = "state, attempts, due_at_ms, blocked, error_code, error, hint, error_since_ms"
    assert kit.conn.one(f"SELECT {columns} FROM replica WHERE id = ?", (rid,)) == (
        "wanted",
        1,
        123,
        1,
        "refused",
        "no entry",
        "mend",
        50,
    )
    assert kit.object_state(1) == "blocked"
    assert kit.claim([rid])[0].attempts == 2
    with kit.conn.writing():
        replicas.release(kit.conn, [replicas.Failure(rid, Unavailable("late"), 456)], EPOCH, 60)
    assert kit.conn.one(f"SELECT {columns} FROM replica WHERE id = ?", (rid,)) == (
        "wanted",
        2,
        456,
        0,
        "unreachable",
        "late",
        None,
        50,
    )
    assert kit.object_state(1) == "pending"
    kit.bring()
    assert kit.conn.one(f"SELECT {columns} FROM replica WHERE id = ?", (rid,)) == ("present", 3, 0, 0, None, None, None, None)
    assert kit.object_state(1) == "safe"


def test_a_put_takes_the_place_of_a_fetch(kit: Kit) -> None:
    for state in ("wanted", "copying"):
        place = Place(kit, local=True)
        place.bring_to(state)
        kit.put(1, [A])
        assert kit.state(place.rid) == "dropping"
        assert kit.state(kit.replica(1, None)) == "present"
        kit.forget(place.rid)


def test_a_put_relies_only_on_a_copy_that_still_matches(kit: Kit) -> None:
    kit.put(1)
    first = kit.replica(1, None)
    kit.put(1)
    assert kit.replica(1, None) == first
    with kit.conn.writing(durable=False):
        again = media.put(kit.conn, [item := kit.item(1)], tables.Defaults(), lambda *_: True)
    assert again.unused == [item.file.key]
    kit.put(1, matches=False)
    assert kit.state(first) == "damaged"
    assert kit.replica(1, None) != first
    assert set(LIVE) & {kit.state(first)} == set()


def test_a_damaged_copy_has_no_need(kit: Kit) -> None:
    """It is taken off in the statement that sets the copy aside; the new replica carries it."""
    kit.put(1, [A])
    kit.put(1, [A])
    kit.bring()
    rid = kit.replica(1, A)
    with pytest.raises(apsw.ConstraintError, match="has no need"):
        kit.sql("UPDATE replica SET state = 'damaged' WHERE id = ?", (rid,))
    assert kit.lose(rid)
    assert kit.conn.value("SELECT need_n FROM replica WHERE id = ?", (rid,)) == 0
    assert kit.conn.value("SELECT need_n FROM replica WHERE id = ?", (kit.replica(1, A),)) == 2
