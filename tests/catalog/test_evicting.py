"""Evicting: which copies may go, what the drop checks once more, and the order of its effects."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from catalog_kit import A, B, Kit
from lading_catalog import cache, durable, evicting, leases, localstore, safety
from lading_catalog.connection import Connection
from lading_catalog.evicting import ASKED_MS, CLOCK_SLACK_MS, Candidate, ProofAge

DAY_MS = 86_400_000
HALF = 1 << 62


def walk(kit: Kit, reused: bool = False) -> list[Candidate]:
    return evicting.candidates(kit.conn, reused, (-1, 0), 100)


def age(kit: Kit, oldest_ms: int = DAY_MS) -> ProofAge:
    return ProofAge.at(kit.now(), oldest_ms)


def drop(kit: Kit, *chosen: Candidate, of: ProofAge | None = None) -> set[int]:
    with kit.conn.writing(durable=False) as conn:
        return evicting.drop(conn, chosen, of or age(kit))


def cached(kit: Kit, *contents: int, uris: tuple[str, ...] = (A,)) -> list[Candidate]:
    """Objects that are in their destinations and here."""
    for content in contents:
        kit.put(content, uris)
        kit.bring()
    found = {c.object_id: c for c in walk(kit)}
    return [found[kit.object(content)] for content in contents]


# -- candidates ------------------------------------------------------------------------------------------------------------------


def test_the_longest_unused_first_a_page_at_a_time(kit: Kit) -> None:
    cached(kit, *range(10))
    kit.sql("UPDATE replica SET used_at_ms = 5 WHERE store_id = 0 AND object_id > 4")  # many of one moment
    whole = walk(kit)
    assert [c.used_at_ms for c in whole] == sorted(c.used_at_ms for c in whole)
    paged: list[Candidate] = []
    after = (-1, 0)
    while page := evicting.candidates(kit.conn, False, after, 3):
        paged += page
        after = (page[-1].used_at_ms, page[-1].replica_id)
    assert paged == whole
    assert len({c.replica_id for c in paged}) == 10


def test_only_what_is_safe_and_not_pinned_is_a_candidate(kit: Kit) -> None:
    kit.put(1, [A])  # not there yet
    kit.put(2)  # this disk only
    pinned = kit.put(3, [A])
    kit.put(4, [A, B])
    kit.put(5, [A])
    deleted = kit.put(6, [A])
    kit.pin(pinned)
    kit.bring(A)
    kit.delete(deleted)
    kit.put(1, [B])
    assert {c.object_id for c in walk(kit)} == {kit.object(5)}
    kit.bring()
    assert {c.object_id for c in walk(kit)} == {kit.object(5), kit.object(4), kit.object(1)}
    kit.pin(pinned, False)
    assert kit.object(3) in {c.object_id for c in walk(kit)}


def test_a_copy_that_was_used_changes_its_queue(kit: Kit) -> None:
    (one,) = cached(kit, 1)
    assert cache.once_and_evictable_bytes(kit.conn) == (one.size_bytes, one.size_bytes)
    with kit.conn.writing(durable=False) as conn:
        evicting.used(conn, [(one.replica_id, HALF, True)])
    assert (walk(kit), walk(kit, True)) == ([], [replace(one, used_at_ms=HALF, reused=True)])
    assert cache.once_and_evictable_bytes(kit.conn) == (0, one.size_bytes)


def test_what_was_asked_for_is_the_first(kit: Kit) -> None:
    one, two = cached(kit, 1, 2)
    assert not evicting.asked(kit.conn)
    with kit.conn.writing(durable=False) as conn:
        evicting.used(conn, [(two.replica_id, HALF, True)])
        evicting.ask(conn, two.replica_id)
    assert evicting.asked(kit.conn)
    assert [c.replica_id for c in walk(kit)] == [two.replica_id, one.replica_id]
    kit.pin(kit.put(2, [A]))
    assert not evicting.asked(kit.conn)


# -- proofs ----------------------------------------------------------------------------------------------------------------------


def test_which_proofs_are_to_be_looked_at(kit: Kit) -> None:
    (one,) = cached(kit, 1, uris=(A, B))
    assert evicting.stale(kit.conn, [one.object_id], age(kit)) == {}
    kit.sql("UPDATE replica SET verified_at_ms = 1 WHERE id = ?", (kit.replica(1, A),))
    found = evicting.stale(kit.conn, [one.object_id, 999], age(kit))
    assert [s.replica_id for s in found.pop(one.object_id)] == [kit.replica(1, A)]
    assert found == {}
    assert drop(kit, one) == set()


def test_a_proof_from_the_future_is_none(kit: Kit) -> None:
    """A clock jumped: who knows how old it is."""
    (one,) = cached(kit, 1)
    for ahead, old in ((CLOCK_SLACK_MS // 2, False), (2 * CLOCK_SLACK_MS, True)):
        kit.sql("UPDATE replica SET verified_at_ms = ? WHERE store_id <> 0", (kit.at_ms + ahead,))
        assert bool(evicting.stale(kit.conn, [one.object_id], age(kit))) == old
        assert (drop(kit, one) == set()) == old or not old


def test_a_proof_that_nothing_needs_does_not_count(kit: Kit) -> None:
    """B's copy is present, and has a tombstone."""
    medium = kit.put(1, [B])
    kit.put(1, [A])
    kit.bring()
    kit.delete(medium)
    (one,) = walk(kit)
    kit.sql("UPDATE replica SET verified_at_ms = 1 WHERE id = ?", (kit.replica(1, A),))
    assert [s.replica_id for s in evicting.stale(kit.conn, [one.object_id], age(kit))[one.object_id]] == [kit.replica(1, A)]
    assert drop(kit, one) == set()


def test_min_copies_fresh_proofs_are_enough(kit: Kit) -> None:
    (one,) = cached(kit, 1, uris=(A, B))
    with kit.conn.writing(durable=False) as conn:
        safety.set_min_copies(conn, 1)
    kit.sql("UPDATE replica SET verified_at_ms = 1 WHERE id = ?", (kit.replica(1, A),))
    assert evicting.stale(kit.conn, [one.object_id], age(kit)) == {}
    assert drop(kit, one) == {one.replica_id}


def test_a_renewed_proof_is_fresh_and_a_lost_copy_gets_none(kit: Kit) -> None:
    one, two = cached(kit, 1, 2)
    kit.sql("UPDATE replica SET verified_at_ms = 1 WHERE store_id <> 0")
    looks = [evicting.Renewed(kit.replica(c, A), "head", "md5", b"\xab" * 16, kit.now()) for c in (1, 2)]
    kit.lose(looks[1].replica_id)
    with kit.conn.writing(durable=False) as conn:
        assert evicting.renew(conn, looks) == 1
    assert evicting.stale(kit.conn, [one.object_id, two.object_id], age(kit)) == {}
    row = kit.conn.one("SELECT proof_by, proof_algorithm, proof_value FROM replica WHERE id = ?", (looks[0].replica_id,))
    assert row == ("head", "md5", b"\xab" * 16)
    assert drop(kit, one, two) == {one.replica_id}
    assert kit.conn.value("SELECT verified_at_ms FROM replica WHERE id = ?", (looks[1].replica_id,)) == 1


# -- drop ------------------------------------------------------------------------------------------------------------------------


def test_one_that_may_not_go_keeps_no_other(kit: Kit) -> None:
    """Whatever happened since they were chosen: each in its turn, and the transaction goes on."""
    chosen = cached(kit, *range(6))
    kit.pin(kit.put(0, [A]))  # a pin
    kit.put(1, [B])  # a new need
    kit.lose(kit.replica(2, A))  # the copy there is gone
    kit.sql("UPDATE replica SET inode = inode + 1 WHERE id = ?", (chosen[3].replica_id,))
    assert drop(kit, *chosen) == {chosen[4].replica_id, chosen[5].replica_id}
    assert [kit.state(c.replica_id) for c in chosen] == ["present"] * 4 + ["dropping"] * 2


def test_the_schema_refuses_what_the_evictor_would_not_ask(kit: Kit) -> None:
    """Also where the stored `hold` were wrong."""
    kit.put(1, [A])
    one = kit.replica(1, None)
    kit.sql("UPDATE replica SET hold = 'evictable' WHERE id = ?", (one,))
    (lie,) = walk(kit)
    kit.sql("UPDATE replica SET need_n = 1 WHERE id = ?", (kit.replica(1, A),))
    assert drop(kit, lie, of=ProofAge(-1, HALF)) == set()
    assert kit.state(one) == "present"
    kit.sql("UPDATE replica SET hold = 'unsafe' WHERE id = ?", (one,))


def test_an_object_remembers_its_last_use(kit: Kit) -> None:
    one, asked = cached(kit, 1, 2)
    asked = replace(asked, used_at_ms=ASKED_MS)
    with kit.conn.writing(durable=False) as conn:
        evicting.ask(conn, asked.replica_id)
    assert drop(kit, one, asked) == {one.replica_id, asked.replica_id}
    with kit.conn.writing(durable=False) as conn:
        evicting.remember(conn, [one, asked])
        assert evicting.forget(conn, [one.replica_id, asked.replica_id, 999]) == 2
    assert kit.conn.rows("SELECT last_used_ms FROM object ORDER BY id") == [(one.used_at_ms,), (None,)]


# -- the act ---------------------------------------------------------------------------------------------------------------------


class Act:
    """Real files for copies, and a record of the effects in their order."""

    def __init__(self, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kit, self.did = kit, list[str]()
        localstore.prepare(kit.home)
        real_sync = durable.sync_folder

        def sync(fd: int) -> None:
            self.did.append("sync")
            real_sync(fd)

        real_unlink = os.unlink

        def unlink(path: str | Path, **where: int) -> None:
            self.did.append("unlink")
            real_unlink(path, **where)

        monkeypatch.setattr(durable, "sync_folder", sync)
        monkeypatch.setattr(os, "unlink", unlink)

    def file(self, one: Candidate) -> Candidate:
        path = self.kit.home / one.key
        path.write_bytes(b"x" * one.size_bytes)
        found = path.stat()
        self.kit.sql("UPDATE replica SET inode = ?, mtime_ns = ? WHERE id = ?", (found.st_ino, found.st_mtime_ns, one.replica_id))
        return replace(one, inode=found.st_ino, mtime_ns=found.st_mtime_ns)

    @contextmanager
    def writing(self, rows: int, durable: bool) -> Iterator[Connection]:
        with self.kit.conn.writing(durable=durable) as conn:
            yield conn
        self.did.append("durable commit" if durable else "commit")

    def evict(self, *chosen: Candidate) -> evicting.Evicted:
        self.did.clear()
        return evicting.evict(self.kit.home, chosen, age(self.kit), self.writing)


@pytest.fixture
def act(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> Act:
    return Act(kit, monkeypatch)


def test_the_drop_is_durable_before_the_unlink_and_that_before_the_row_goes(kit: Kit, act: Act) -> None:
    chosen = [act.file(c) for c in cached(kit, 1, 2, 3)]
    done = act.evict(*chosen)
    assert done.gone == chosen
    assert act.did == [
        "durable commit",
        "unlink",
        "unlink",
        "unlink",
        *["sync"] * len({c.key.split("/")[1] for c in chosen}),
        "commit",
    ]
    assert not any((kit.home / c.key).exists() for c in chosen)
    assert kit.conn.rows("SELECT id FROM replica WHERE store_id = 0") == []


def test_what_is_read_or_changed_stays_and_the_others_go(kit: Kit, act: Act) -> None:
    read, changed, linked, removed, pinned, fine = (act.file(c) for c in cached(kit, 1, 2, 3, 4, 5, 6))
    taken = leases.take(kit.home / read.key)
    assert taken is not None
    (kit.home / changed.key).write_bytes(b"y" * changed.size_bytes)
    (kit.home / linked.key).unlink()
    (kit.home / linked.key).symlink_to(kit.home / fine.key)
    (kit.home / removed.key).unlink()
    kit.pin(kit.put(5, [A]))
    done = act.evict(read, changed, linked, removed, pinned, fine)
    os.close(taken[0])
    assert (done.busy, done.changed, done.kept) == ([read], [changed, linked], [pinned])
    assert done.gone == [removed, fine]
    assert all(os.path.lexists(kit.home / c.key) for c in (read, changed, linked, pinned))


def test_the_lock_is_held_until_the_file_is_gone(kit: Kit, act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that opened it in between waits for the lock, and finds the name gone."""
    (one,) = (act.file(c) for c in cached(kit, 1))
    seen: list[object] = []
    real: Callable[..., set[int]] = evicting.drop

    def drop(*args: object) -> set[int]:
        found = real(*args)
        fd = os.open(kit.home / one.key, os.O_RDONLY)
        assert modes.S_ISREG(os.fstat(fd).st_mode)
        seen.append(leases.seize(kit.home / one.key))
        os.close(fd)
        return found

    monkeypatch.setattr(evicting, "drop", drop)
    assert act.evict(one).gone == [one]
    assert seen == [None]
    assert leases.take(kit.home / one.key) is None


def test_unlinking_twice_is_no_error(kit: Kit, act: Act) -> None:
    """The daemon finishes what another process has begun, and both may do it at once."""
    evicting.unlink_dropped(kit.home, ["objects/000/nothing", "objects/0ff/nothing", "objects/no-such-folder/nothing"])
    assert act.did.count("sync") == 2
