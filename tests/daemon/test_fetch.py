"""The fetcher against stores that fail as they are told: what comes to this disk, from where, and what is left of what does not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import lading
from lading_catalog import fetching, parts, replicas, stores
from lading_catalog.errors import Archived, Error, Missing, Refused, Unavailable
from ladingd.suspects import LOOK_AGAIN_MS

from .rig import A, B, Rig

BIG = os.urandom(1_000_000)


def away(rig: Rig, *uris: str, data: bytes = BIG) -> tuple[lading.Medium, int]:
    """A medium that is only in its destinations, and its object."""
    if not rig.workers:
        rig.begin()
    medium = rig.put(*uris, data=data)
    rig.begin()
    rig.settle()
    for fake in rig.fakes.values():
        fake.arrived.clear()
    return medium, rig.evict(medium)


def files(home: Path) -> tuple[list[bytes], list[str]]:
    """What stands under a final name, and which parts there are."""
    finals = [p.read_bytes() for p in (home / "objects").rglob("*") if p.is_file()]
    return finals, sorted(p.name for p in (home / parts.FETCHING).iterdir())


def arrived(rig: Rig, object_id: int, data: bytes = BIG) -> None:
    rig.settle()
    here = rig.here(object_id)
    assert (here.state, here.failure()) == ("present", None)
    assert files(rig.home) == ([data], [])
    found = (rig.home / here.key).stat()
    assert (here.inode, here.mtime_ns) == (found.st_ino, found.st_mtime_ns)


def cut(after: int, error: Callable[[str], Error] = Unavailable, times: int = 10**6) -> Callable[[str, int, int], bytes | None]:
    """A connection that breaks after so many bytes of each GET."""
    left = [times]

    def on_get(key: str, offset: int, so_far: int) -> bytes | None:
        if so_far >= after and left[0] > 0:
            left[0] -= 1
            raise error("cut")
        return None

    return on_get


def test_what_is_wanted_comes_whole_and_under_its_final_name(rig: Rig) -> None:
    _, object_id = away(rig)
    rig.want(object_id)
    arrived(rig, object_id)
    assert rig.fakes[A].got_bytes == len(BIG)
    row = rig.conn.one("SELECT used_at_ms, verified_at_ms, hold FROM replica WHERE object_id = ? AND store_id = 0", (object_id,))
    assert row == (rig.clock.ms, rig.clock.ms, "evictable")


@pytest.mark.parametrize("size", [0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1])
def test_every_size(rig: Rig, size: int) -> None:
    data = os.urandom(size)
    _, object_id = away(rig, data=data)
    rig.want(object_id)
    arrived(rig, object_id, data)


def test_an_object_whose_connection_is_cut_again_and_again_is_continued_where_it_ended(rig: Rig) -> None:
    _, object_id = away(rig)
    rig.fakes[A].on_get = cut(300_000)
    rig.want(object_id)
    arrived(rig, object_id)
    offsets = [offset for _, offset in rig.fakes[A].gets]
    assert offsets == sorted(offsets)
    assert len(offsets) == 4
    assert rig.fakes[A].got_bytes == len(BIG), "no byte was sent twice"


def test_what_a_failed_attempt_brought_is_continued_by_the_next(rig: Rig) -> None:
    _, object_id = away(rig)
    rig.fakes[A].on_get = cut(100_000)
    rig.want(object_id)
    rig.settle()
    here = rig.here(object_id)
    assert (here.state, here.attempts, type(here.failure())) == ("wanted", 1, Unavailable)
    assert files(rig.home)[0] == []
    rig.fakes[A].on_get = cut(10**9)
    rig.clock.forward(900)
    arrived(rig, object_id)
    assert rig.fakes[A].got_bytes == len(BIG)


def test_what_a_killed_daemon_brought_is_continued_by_the_next_life(rig: Rig) -> None:
    _, object_id = away(rig)
    hang = threading.Event()
    reached = threading.Event()

    def on_get(key: str, offset: int, so_far: int) -> bytes | None:
        if so_far >= 400_000 and not hang.is_set():
            reached.set()
            hang.wait(10)
            raise Unavailable("killed")
        return None

    rig.fakes[A].on_get = on_get
    rig.want(object_id)
    rig.until(reached.is_set)
    assert rig.fetcher is not None
    rig.fetcher.close()  # its thread writes nothing more, as if it were dead
    assert files(rig.home)[0] == []
    before = rig.fakes[A].got_bytes
    rig.begin()
    hang.set()
    arrived(rig, object_id)
    assert before >= 400_000
    assert {offset for _, offset in rig.fakes[A].gets} == {0, before}


def test_a_part_of_other_bytes_is_found_out_by_the_digest_and_not_blamed_on_the_store(rig: Rig) -> None:
    """As after a power cut: the part is long, and not all of it was on the disk."""
    _, object_id = away(rig, A, B)
    rig.want(object_id)
    here = rig.here(object_id)
    assert here.replica_id is not None
    parts.path_of(rig.home, here.replica_id, here.key).write_bytes(BIG[:100_000] + bytes(100_000))
    arrived(rig, object_id)
    rig.clock.forward(LOOK_AGAIN_MS / 1000 + 1)
    rig.settle()
    assert rig.fakes[A].looks == []
    assert [offset for _, offset in rig.fakes[A].gets] == [200_000, 0]
    assert rig.fakes[B].gets == []


def test_a_whole_part_that_was_not_yet_named_costs_no_request(rig: Rig) -> None:
    _, object_id = away(rig)
    rig.want(object_id)
    here = rig.here(object_id)
    assert here.replica_id is not None
    parts.path_of(rig.home, here.replica_id, here.key).write_bytes(BIG)
    arrived(rig, object_id)
    assert rig.fakes[A].gets == []


def test_a_file_that_was_named_and_not_confirmed_is_hashed_and_confirmed(rig: Rig) -> None:
    _, object_id = away(rig)
    rig.want(object_id)
    (rig.home / rig.here(object_id).key).write_bytes(BIG)
    arrived(rig, object_id)
    assert rig.fakes[A].gets == []


def test_a_foreign_file_under_the_final_name_is_set_aside(rig: Rig) -> None:
    _, object_id = away(rig)
    rig.want(object_id)
    (rig.home / rig.here(object_id).key).write_bytes(b"foreign")
    arrived(rig, object_id)
    assert [p.read_bytes() for p in (rig.home / "orphans").iterdir()] == [b"foreign"]


def test_a_put_of_the_same_bytes_wins_and_the_fetched_file_goes(rig: Rig) -> None:
    _, object_id = away(rig)
    hang, reached = threading.Event(), threading.Event()

    def on_get(key: str, offset: int, so_far: int) -> bytes | None:
        reached.set()
        assert hang.wait(10)
        return None

    rig.fakes[A].on_get = on_get
    rig.want(object_id)
    fetched_key = rig.here(object_id).key
    rig.until(reached.is_set)
    rig.put(A, data=BIG)
    hang.set()
    rig.settle()
    here = rig.here(object_id)
    assert (here.state, here.key != fetched_key) == ("present", True)
    assert files(rig.home) == ([BIG], [])
    assert not (rig.home / fetched_key).exists()


# -- other sources


def test_the_next_source_goes_on_where_the_first_one_ended(rig: Rig) -> None:
    _, object_id = away(rig, A, B)
    rig.fakes[A].on_get = cut(300_000, error=Refused)
    rig.want(object_id)
    arrived(rig, object_id)
    assert rig.fakes[A].got_bytes + rig.fakes[B].got_bytes == len(BIG)
    assert rig.fakes[B].gets[0][1] > 0


def flip(key: str, offset: int, so_far: int) -> bytes | None:
    return bytes(100) if so_far == 0 else None


def short(key: str, offset: int, so_far: int) -> bytes | None:
    return b"" if so_far >= 200_000 else None


def longer(key: str, offset: int, so_far: int) -> bytes | None:
    return bytes(1000) if offset + so_far >= len(BIG) and so_far < 2 * len(BIG) else None


def swapped(key: str, offset: int, so_far: int) -> bytes | None:
    return bytes(BIG[::-1]) if so_far == 0 else b""


WRONG = {"flipped": flip, "short": short, "longer": longer, "swapped": swapped}


@pytest.mark.parametrize("how", WRONG)
def test_wrong_bytes_never_get_a_name_and_the_next_source_is_read(rig: Rig, how: str) -> None:
    _, object_id = away(rig, A, B)
    rig.fakes[A].on_get = WRONG[how]
    rig.want(object_id)
    arrived(rig, object_id)
    assert len(rig.fakes[B].gets) == 1
    assert state(rig, object_id, A) == ["present"], "seen once, nothing is lost yet"


@pytest.mark.parametrize("how", WRONG)
def test_wrong_bytes_alone_are_an_error_and_the_row_stays(rig: Rig, how: str) -> None:
    medium, object_id = away(rig)
    rig.fakes[A].on_get = WRONG[how]
    rig.want(object_id)
    rig.settle()
    failure = rig.here(object_id).failure()
    assert type(failure) is lading.Damaged
    assert A in failure.detail
    assert files(rig.home)[0] == []
    assert medium.refresh().id


def state(rig: Rig, object_id: int, uri: str) -> list[str]:
    return [
        s
        for (s,) in rig.conn.rows(
            "SELECT r.state FROM replica r JOIN store s ON s.id = r.store_id WHERE r.object_id = ? AND s.uri = ? ORDER BY r.id",
            (object_id, uri),
        )
    ]


def journalled(rig: Rig) -> int:
    return int(rig.conn.value("SELECT count(*) FROM journal WHERE step = 'damage.found'"))


def test_a_flipped_bit_on_the_way_is_no_loss(rig: Rig) -> None:
    _, object_id = away(rig, A, B)
    once = [True]

    def on_get(key: str, offset: int, so_far: int) -> bytes | None:
        return bytes(100) if so_far == 0 and once.pop() else None

    rig.fakes[A].on_get = lambda k, o, n: on_get(k, o, n) if once else None
    rig.want(object_id)
    arrived(rig, object_id)
    rig.clock.forward(LOOK_AGAIN_MS / 1000 + 1)
    rig.settle()
    assert len(rig.fakes[A].gets) == 2, "it was downloaded once more"
    assert state(rig, object_id, A) == ["present"]
    assert journalled(rig) == 0


def test_a_wrong_object_is_set_aside_at_the_second_look_and_sent_again(rig: Rig) -> None:
    medium, object_id = away(rig, A, B)
    (key,) = rig.fakes[A].objects
    rig.fakes[A].objects[key] = bytes(len(BIG))
    rig.want(object_id)
    arrived(rig, object_id)
    assert medium.refresh().state == "safe"
    rig.clock.forward(LOOK_AGAIN_MS / 1000 + 1)
    rig.settle()
    assert state(rig, object_id, A) == ["damaged", "present"]
    assert journalled(rig) == 1
    again = next(k for k in rig.fakes[A].objects if k != key)
    assert rig.fakes[A].objects[again] == BIG
    assert rig.fakes[A].objects[key] == bytes(len(BIG)), "nothing was deleted"


def test_a_missing_object_is_looked_for_twice_with_time_between(rig: Rig) -> None:
    _, object_id = away(rig, A, B)
    (key,) = rig.fakes[A].objects
    kept = rig.fakes[A].objects.pop(key)
    rig.want(object_id)
    arrived(rig, object_id)
    rig.clock.forward(LOOK_AGAIN_MS / 1000 - 1)
    rig.settle()
    assert state(rig, object_id, A) == ["present"]
    rig.clock.forward(2)
    rig.settle()
    assert state(rig, object_id, A) == ["damaged", "present"]
    assert journalled(rig) == 1
    assert kept in rig.fakes[A].objects.values(), "it was sent again"


def test_a_missing_object_that_is_asked_for_twice_in_a_moment_is_not_lost(rig: Rig) -> None:
    _, object_id = away(rig)
    rig.fakes[A].objects.clear()
    for attempt in (1, 2):
        rig.want(object_id)
        rig.settle()
        assert rig.here(object_id).attempts == attempt
        rig.clock.forward(1)
    assert state(rig, object_id, A) == ["present"]


def test_a_missing_object_that_is_back_is_not_lost(rig: Rig) -> None:
    _, object_id = away(rig, A, B)
    (key,) = rig.fakes[A].objects
    kept = rig.fakes[A].objects.pop(key)
    rig.want(object_id)
    arrived(rig, object_id)
    rig.fakes[A].objects[key] = kept
    rig.clock.forward(LOOK_AGAIN_MS / 1000 + 1)
    rig.settle()
    assert state(rig, object_id, A) == ["present"]
    assert rig.fakes[A].looks == [key]


def test_missing_everywhere_is_told_as_missing_and_the_medium_stays(rig: Rig) -> None:
    medium, object_id = away(rig, A, B)
    for fake in rig.fakes.values():
        fake.objects.clear()
    rig.want(object_id)
    rig.settle()
    assert type(rig.here(object_id).failure()) is Missing
    rig.clock.forward(LOOK_AGAIN_MS / 1000 + 1)
    rig.settle()
    assert medium.refresh().state == "lost"
    assert {r.state for r in medium.replicas} == {"damaged", "wanted"}


def test_a_copy_that_was_set_aside_is_read_when_nothing_else_is_left(rig: Rig) -> None:
    _, object_id = away(rig)
    with rig.conn.writing():
        (replica_id,) = [
            i for (i,) in rig.conn.rows("SELECT id FROM replica WHERE object_id = ? AND store_id <> 0", (object_id,))
        ]
        replicas.lose(rig.conn, replica_id)
    rig.want(object_id)
    arrived(rig, object_id)


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("away"),
        Unavailable("slow", reason="throttled"),
        Refused("no", hint="allow it"),
        Archived("cold", hint="restore it"),
    ],
)
def test_what_a_store_says_is_what_is_told(rig: Rig, error: Error) -> None:
    _, object_id = away(rig)

    def on_get(key: str, offset: int, so_far: int) -> bytes | None:
        raise error

    rig.fakes[A].on_get = on_get
    rig.want(object_id)
    rig.settle()
    failure = rig.here(object_id).failure()
    assert failure is not None
    assert (type(failure), failure.detail, failure.hint, failure.reason) == (type(error), error.detail, error.hint, error.reason)
    assert rig.forgotten == ([rig.row().id] if isinstance(error, Refused) else [])
    rig.fakes[A].on_get = cut(10**9)
    rig.want(object_id)  # somebody asks again
    arrived(rig, object_id)


def test_a_store_that_is_away_is_tried_when_there_is_no_better_one(rig: Rig) -> None:
    _, object_id = away(rig)
    with rig.conn.writing():
        stores.failed(rig.conn, rig.row().id, Unavailable("away"), rig.clock.ms, rig.clock.ms + 900_000)
    rig.want(object_id)
    arrived(rig, object_id)


def test_a_full_disk_is_told_and_nothing_is_downloaded(rig: Rig) -> None:
    _, object_id = away(rig)
    rig.min_free_bytes = 1 << 62
    rig.begin()
    rig.want(object_id)
    rig.settle()
    failure = rig.here(object_id).failure()
    assert type(failure) is lading.Full
    assert rig.fakes[A].gets == []
    rig.min_free_bytes = 0
    rig.begin()
    rig.clock.forward(900)
    arrived(rig, object_id)


# -- order, and copies by way of this disk


def test_what_somebody_waits_for_is_not_behind_the_rest(rig: Rig) -> None:
    rig.concurrency = 2
    slow = [away(rig, data=f"slow {i}".encode())[1] for i in range(20)]
    _, quick = away(rig, data=b"quick")
    hang = threading.Event()

    def on_get(key: str, offset: int, so_far: int) -> bytes | None:
        if so_far == 0 and rig.fakes[A].objects[key] != b"quick":
            assert hang.wait(10)
        return None

    rig.fakes[A].on_get = on_get
    for object_id in slow:
        rig.want(object_id, fetching.NORMAL)
    rig.settle(most=20)
    rig.want(quick)
    rig.until(lambda: rig.here(quick).state == "present")
    hang.set()
    rig.settle()
    assert {rig.here(i).state for i in slow} == {"present"}


def test_a_new_destination_gets_its_copy_from_the_old_one(rig: Rig) -> None:
    medium, object_id = away(rig, A)
    (key,) = rig.fakes[A].objects
    with rig.conn.writing() as conn:
        set_id = stores.set_id(conn, [B])
        conn.run("UPDATE medium SET set_id = ? WHERE ulid = ?", (set_id, medium.id[2:]))
    rig.begin()
    rig.settle()
    assert list(rig.fakes[B].objects.values()) == [BIG]
    assert medium.refresh().state == "safe"
    assert rig.fakes[A].gets == [(key, 0)]
    assert rig.here(object_id).state == "present"


def test_a_stop_takes_the_parts_from_their_threads_and_gives_the_claims_back(rig: Rig) -> None:
    _, object_id = away(rig)
    hang, reached = threading.Event(), threading.Event()

    def on_get(key: str, offset: int, so_far: int) -> bytes | None:
        if so_far >= 100_000:
            reached.set()
            assert hang.wait(10)
        return None

    rig.fakes[A].on_get = on_get
    rig.want(object_id)
    rig.until(reached.is_set)
    assert rig.fetcher is not None
    rig.fetcher.stopping = True
    rig.fetcher.requeue_rest()
    here = rig.here(object_id)
    assert (here.state, here.failure()) == ("wanted", None)
    assert here.replica_id is not None
    part = parts.path_of(rig.home, here.replica_id, here.key)
    size = part.stat().st_size
    hang.set()
    for thread in threading.enumerate():
        if thread.name.startswith("fetch-"):
            thread.join(0.3)
    assert part.stat().st_size == size
    assert files(rig.home)[0] == []
