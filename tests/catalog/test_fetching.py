"""Fetching: what the catalog says of it, and how a part gets its final name."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import pytest

from catalog_kit import EPOCH, A, B, Kit, digest
from lading_catalog import fetching, leases, parts, replicas
from lading_catalog.errors import Archived, Damaged, Error, Full, Missing, Refused, Unavailable
from lading_catalog.fetching import NORMAL, URGENT, Arrived, Source, in_order
from lading_catalog.localstore import prepare


def evict(kit: Kit, content: int) -> None:
    here = kit.replica(content, None)
    assert kit.drop(here)
    assert kit.forget(here)


def away(kit: Kit, content: int = 1, uris: tuple[str, ...] = (A,)) -> int:
    """An object that is only in its destinations; its id."""
    kit.put(content, uris)
    kit.bring()
    evict(kit, content)
    return kit.object(content)


def want(kit: Kit, object_id: int, priority: int = URGENT) -> fetching.Here:
    with kit.conn.writing(durable=False):
        fetching.want(kit.conn, object_id, priority)
    (here,) = fetching.look_at(kit.conn, [object_id])
    return here


def claim(kit: Kit, *ids: int | None) -> list[fetching.Fetch]:
    with kit.conn.writing(durable=False):
        return fetching.claim(kit.conn, [i for i in ids if i is not None], EPOCH, kit.now() + 900_000)


def arrive(kit: Kit, replica_id: int | None) -> set[int]:
    assert replica_id is not None
    with kit.conn.writing(durable=False):
        return fetching.confirm(kit.conn, [Arrived(replica_id, 77, 88)], EPOCH)


# -- want, claim, confirm


def test_a_fetch_from_want_to_present(kit: Kit) -> None:
    object_id = away(kit)
    here = want(kit, object_id)
    assert (here.state, here.attempts) == ("wanted", 0)
    assert here.key.startswith("objects/")
    assert here.key.endswith(".jpg")
    (fetch,) = claim(kit, here.replica_id)
    (source,) = fetch.sources
    assert (fetch.key, fetch.sha256, fetch.attempts, source.uri, source.damaged) == (here.key, digest(1), 1, A, False)
    assert arrive(kit, here.replica_id) == {here.replica_id}
    (here,) = fetching.look_at(kit.conn, [object_id])
    assert (here.state, here.inode, here.mtime_ns) == ("present", 77, 88)
    row = kit.conn.one("SELECT used_at_ms > 0, verified_at_ms > 0, hold FROM replica WHERE id = ?", (here.replica_id,))
    assert row == (1, 1, "evictable")
    kit.check()


def test_wanted_twice_is_one_fetch_as_urgent_as_the_more_urgent_and_due_now(kit: Kit) -> None:
    object_id = away(kit)
    first = want(kit, object_id, NORMAL)
    kit.sql("UPDATE replica SET due_at_ms = due_at_ms + 500000, blocked = 1 WHERE id = ?", (first.replica_id,))
    again = want(kit, object_id, URGENT)
    assert (again.replica_id, again.key) == (first.replica_id, first.key)
    row = kit.conn.one("SELECT priority, due_at_ms <= ?, blocked FROM replica WHERE id = ?", (kit.now(), first.replica_id))
    assert row == (URGENT, 1, 0)
    assert want(kit, object_id, NORMAL).due_at_ms == again.due_at_ms


def test_what_is_here_is_not_wanted(kit: Kit) -> None:
    kit.put(1, [A])
    before = kit.dump()
    assert want(kit, kit.object(1)).state == "present"
    assert kit.dump() == before


def test_nothing_to_fetch_is_said_with_what_is_where(kit: Kit) -> None:
    kit.put(1, [A])
    assert kit.lose(kit.replica(1, None))
    with pytest.raises(Missing, match=f"{A}: wanted") as caught:
        want(kit, kit.object(1))
    assert caught.value.hint


def test_a_put_wins_over_the_fetch_under_way(kit: Kit) -> None:
    object_id = away(kit)
    here = want(kit, object_id)
    claim(kit, here.replica_id)
    kit.put(1, [A])
    assert arrive(kit, here.replica_id) == set()
    (now,) = fetching.look_at(kit.conn, [object_id])
    assert (now.state, now.replica_id != here.replica_id) == ("present", True)


def test_another_life_of_the_daemon_confirms_nothing(kit: Kit) -> None:
    here = want(kit, away(kit))
    claim(kit, here.replica_id)
    with kit.conn.writing(durable=False):
        assert replicas.release_abandoned(kit.conn, EPOCH + 1, 10) == 1
    assert arrive(kit, here.replica_id) == set()
    with kit.conn.writing(durable=False):
        fetching.claim(kit.conn, [here.replica_id or 0], EPOCH + 1, kit.now())
    assert arrive(kit, here.replica_id) == set()


def test_what_nobody_has_any_more_is_not_fetched_and_rests(kit: Kit) -> None:
    ulid = kit.put(1, [A])
    kit.bring()
    evict(kit, 1)
    here = want(kit, kit.object(1))
    kit.delete(ulid)
    assert claim(kit, here.replica_id) == []
    assert kit.state(here.replica_id or 0) == "wanted"
    assert fetching.claimable(kit.conn, (URGENT,), kit.now(), 10, 900_000) == []


def test_urgent_is_claimed_first_and_a_clock_that_jumped_back_holds_nothing_up(kit: Kit) -> None:
    ids = [want(kit, away(kit, n), priority).replica_id for n, priority in ((1, 2), (2, NORMAL), (3, URGENT))]
    assert fetching.claimable(kit.conn, (URGENT, NORMAL, 2), kit.now(), 10, 900_000) == ids[::-1]
    assert fetching.claimable(kit.conn, (NORMAL, 2), kit.now(), 1, 900_000) == ids[1:2]
    assert fetching.claimable(kit.conn, (URGENT,), kit.now() - 10**9, 10, 900_000) == ids[2:]


@pytest.mark.parametrize(
    "error",
    [
        Missing("m", hint="h"),
        Damaged("d"),
        Full("f"),
        Archived("a"),
        Refused("r", reason="no_credentials"),
        Unavailable("u", reason="throttled"),
    ],
)
def test_the_error_of_an_attempt_comes_back_as_what_it_was(kit: Kit, error: Error) -> None:
    object_id = away(kit)
    here = want(kit, object_id)
    assert here.replica_id is not None
    claim(kit, here.replica_id)
    with kit.conn.writing(durable=False):
        assert fetching.release(kit.conn, [(here.replica_id, error, kit.now() + 9)], EPOCH, kit.now()) == 1
    (here,) = fetching.look_at(kit.conn, [object_id])
    told = here.failure()
    assert type(told) is type(error)
    assert (str(told), told.hint, told.reason) == (str(error), error.hint, error.reason)
    claim(kit, here.replica_id)
    assert fetching.look_at(kit.conn, [object_id])[0].failure() is None


# -- copies whose bytes are elsewhere


def test_a_new_destination_is_served_from_the_old_one(kit: Kit) -> None:
    object_id = away(kit)
    kit.put(1, [B])  # (its bytes come with it, so they go again)
    kit.sql("UPDATE replica SET state = 'damaged' WHERE id = ?", (kit.replica(1, None),))
    owed = kit.replica(1, B)
    with kit.conn.writing(durable=False):
        assert fetching.want_for_copies(kit.conn, [owed]) == []
    row = kit.conn.one("SELECT state, due_at_ms > ?, error_code FROM replica WHERE id = ?", (kit.now() + 30_000, owed))
    assert row == ("wanted", 1, None)
    (here,) = fetching.look_at(kit.conn, [object_id])
    assert here.state == "wanted"
    claim(kit, here.replica_id)
    arrive(kit, here.replica_id)
    assert kit.conn.value("SELECT due_at_ms <= ? FROM replica WHERE id = ?", (kit.now(), owed)), "its arrival makes it due"
    with kit.conn.writing(durable=False):
        assert fetching.want_for_copies(kit.conn, [owed]) == [owed]


def test_a_copy_without_bytes_anywhere_is_claimed_as_before(kit: Kit) -> None:
    kit.put(1, [A])
    kit.lose(kit.replica(1, None))
    with kit.conn.writing(durable=False):
        assert fetching.want_for_copies(kit.conn, [kit.replica(1, A)]) == [kit.replica(1, A)]


# -- which source first


def source(
    i: int, uri: str = "s3://b/", state: str = "ok", *, damaged: bool = False, paused: bool = False, rtt: float = 0.1
) -> Source:
    return Source(i, i, uri, "k", damaged, state, paused, rtt)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (source(2), source(1, state="throttled")),
        (source(2, state="throttled"), source(1, paused=True)),
        (source(2, paused=True), source(1, state="unreachable")),
        (source(2, state="unreachable"), source(1, state="blocked")),
        (source(2, state="full"), source(1, state="throttled")),
        (source(2, "file:///a/", rtt=9.0), source(1)),
        (source(2, rtt=0.1), source(1, rtt=0.2)),
        (source(2, state="blocked"), source(1, damaged=True)),
        (source(2), source(1, "file:///a/", state="unreachable")),
    ],
)
def test_which_source_is_read_first(better: Source, worse: Source) -> None:
    assert in_order([worse, better]) == in_order([better, worse]) == [better, worse]
    assert in_order([better, worse], {better.replica_id}) == [worse, better], "what has just failed comes last"


# -- parts


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir(0o700)
    prepare(home)
    (home / parts.FETCHING).mkdir(0o700)
    return home


DATA = os.urandom(100_000)
KEY = "objects/00a/0123456789abcdef01234567.jpg"


def append(part: parts.Part, data: bytes) -> None:
    for chunk in part.hashing(iter([data])):
        part.append(chunk)


def part_of(home: Path, data: bytes = DATA) -> parts.Part:
    part = parts.Part(home, 5, KEY, hashlib.sha256(data).digest(), len(data))
    part.open()
    return part


def test_a_part_is_continued_and_gets_its_name_only_when_whole(home: Path) -> None:
    part = part_of(home)
    append(part, DATA[:60_000])
    part.close()
    part = part_of(home)
    assert (part.length, part.whole()) == (60_000, False)
    append(part, DATA[60_000:])
    assert part.whole()
    arrived = part.publish()
    assert (home / KEY).read_bytes() == DATA
    assert arrived.inode == (home / KEY).stat().st_ino
    assert part.path.exists()
    parts.settle(home, 5, KEY, arrived.inode, keep=True)
    assert (home / KEY).exists()
    assert not part.path.exists()


def test_a_file_that_no_row_has_is_taken_away_again(home: Path) -> None:
    part = part_of(home)
    append(part, DATA)
    arrived = part.publish()
    parts.settle(home, 5, KEY, arrived.inode, keep=False)
    assert not (home / KEY).exists()
    assert list((home / parts.FETCHING).iterdir()) == []


def test_a_part_that_begins_anew_leaves_its_readers_the_old_one_without_a_name(home: Path) -> None:
    part = part_of(home)
    append(part, b"wrong")
    fd = os.open(part.path, os.O_RDONLY)
    part.restart()
    append(part, DATA)
    assert os.fstat(fd).st_nlink == 0
    assert os.read(fd, 100) == b"wrong"
    assert part.whole()


def test_a_part_that_was_taken_away_writes_and_names_nothing_more(home: Path) -> None:
    part = part_of(home)
    append(part, DATA)
    part.abandon()
    for act in (part.publish, part.restart, lambda: part.append(b"x")):
        with pytest.raises(parts.Abandoned):
            act()
    assert not (home / KEY).exists()
    assert part.path.stat().st_size == len(DATA)


def test_a_longer_part_than_the_object_is_none_of_it(home: Path) -> None:
    parts.path_of(home, 5, KEY).write_bytes(DATA + b"x")
    assert part_of(home).length == 0


def test_what_stands_under_the_final_name_already_is_hashed(home: Path) -> None:
    (home / KEY).write_bytes(DATA)
    found = parts.published(home, 5, KEY, hashlib.sha256(DATA).digest())
    assert found is not None
    assert found.inode == (home / KEY).stat().st_ino
    (home / KEY).write_bytes(b"something else")
    assert parts.published(home, 5, KEY, hashlib.sha256(DATA).digest()) is None
    assert not (home / KEY).exists()
    assert (home / "orphans" / os.path.basename(KEY)).read_bytes() == b"something else"
    assert parts.published(home, 5, KEY, hashlib.sha256(DATA).digest()) is None


@pytest.mark.parametrize(
    ("row", "part_stays", "final_stays"),
    [
        ({5: ("wanted", KEY)}, True, True),  # killed between its name and its confirm: the next attempt hashes it
        ({5: ("copying", KEY)}, True, True),
        ({5: ("present", KEY)}, False, True),
        ({5: ("dropping", KEY)}, False, False),
        ({5: ("present", "objects/000/other")}, False, False),  # an older catalog was restored: another replica has the number
        ({5: ("wanted", "objects/000/other")}, False, False),
        ({}, False, False),
    ],
)
def test_what_a_killed_daemon_left(home: Path, row: dict[int, tuple[str, str]], part_stays: bool, final_stays: bool) -> None:
    part = part_of(home)
    append(part, DATA)
    part.publish()
    (home / parts.FETCHING / "not ours").touch()
    assert parts.recover(home, lambda ids: {i: row[i] for i in ids if i in row}) == (not part_stays)
    assert (part.path.exists(), (home / KEY).exists()) == (part_stays, final_stays)
    assert (home / parts.FETCHING / "not ours").exists()


# -- leases


def test_a_reader_keeps_the_evictor_away_and_many_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    first, second = leases.take(path), leases.take(path)
    assert first is not None
    assert second is not None
    assert leases.seize(path) is None
    os.close(first[0])
    assert leases.seize(path) is None
    os.close(second[0])
    held = leases.seize(path)
    assert held is not None
    fd = os.open(path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(held[0])


def test_a_lease_on_a_file_that_has_lost_its_name_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    flock = fcntl.flock

    def unlinked_meanwhile(fd: int, how: int) -> None:
        flock(fd, how)
        path.unlink()

    monkeypatch.setattr(fcntl, "flock", unlinked_meanwhile)
    assert leases.take(path) is None
    assert leases.take(path) is None
    assert leases.seize(path) is None


def test_a_use_is_noted_in_the_atime_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    os.utime(path, ns=(1, 123_456_789))
    held = leases.take(path)
    assert held is not None
    leases.used(*held)
    os.close(held[0])
    assert path.stat().st_atime_ns > 10**18
    assert path.stat().st_mtime_ns == 123_456_789
