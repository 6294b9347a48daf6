"""The evictor: the cache keeps its budget, and no copy goes that is not proven safe elsewhere. The numbers are those of the invariants in
docs/testing.md."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lading
from lading.evict import Held, evict
from lading_catalog import evicting, leases, room, safety
from lading_catalog.config import load
from lading_catalog.connection import open_catalog
from lading_catalog.errors import Error, Missing, Unavailable
from lading_catalog.evicting import Candidate, ProofAge
from ladingd import cache_policy
from ladingd.cache_policy import Limits
from ladingd.rechecks import AT_ONCE, SECOND_LOOK_MS, Rechecks
from ladingd.rehashes import Rehashes
from ladingd.workers.evict import LOOK_AGAIN_MS, SHOWS_MS, Evictor

from .rig import YEAR_MS, A, B
from .sweep_rig import SweepRig

KB = 1000
HOUR_S = 3600.0
WEEK_S = 7 * 24 * HOUR_S


class EvictRig(SweepRig):
    """Objects of 1 kB; the budget is in bytes. `free`: what the disk has left."""

    def __init__(
        self, home: Path, *, budget: int = 0, low: int | None = None, cooldown_s: float = 0.0, min_free: int = 0
    ) -> None:
        super().__init__(home)
        self.limits = Limits(budget, budget if low is None else low, min_free, int(cooldown_s * 1000))
        self.free = 10**12

    def begin(self) -> EvictRig:
        super().begin()
        self.rechecks = Rechecks(self.conn, self.pace, self._open_only, self.woken.set)
        self.rehashes = Rehashes(self.conn, self.pace, self.home, self.woken.set)
        self.evictor = Evictor(
            self.conn, self.pace, self.home, self.limits, int(WEEK_S * 1000), self.rechecks, self.rehashes,
            free_bytes=lambda: self.free,
        )  # fmt: skip
        return self

    def step(self) -> float | None:
        waits = [super().step(), self.evictor.step(self.clock.ms)]
        return min((w for w in waits if w is not None), default=None)

    def settle(self, *, most: int = 0) -> float | None:
        while True:
            wait = super().settle(most=most)
            if not self.rechecks.busy and not self.rehashes.busy:
                return wait
            self.woken.wait(0.002)

    def close(self) -> None:
        if hasattr(self, "rechecks"):
            self.rechecks.close()
            self.rehashes.close()
        super().close()

    def kb(self, *uris: str) -> lading.Medium:
        self._n += 1
        return self.cat.put(self._n.to_bytes(4, "big") * (KB // 4), name=f"{self._n}.bin", destination=list(uris or (A,)))

    def brought(self, n: int, *uris: str) -> list[lading.Medium]:
        """One after the other, a second apart; in their destinations before the evictor has looked."""
        budget, self.limits = self.limits, Limits(10**12, 10**12, 0, 0)
        media = []
        for _ in range(n):
            media.append(self.kb(*uris))
            self.clock.forward(1)
        self.begin().settle()
        self.limits = budget
        self.begin()
        return media

    def cached(self, media: list[lading.Medium]) -> list[int]:
        return [i for i, m in enumerate(media) if m.refresh().cached]

    def object_id(self, medium: lading.Medium) -> int:
        found: int = self.conn.value("SELECT object_id FROM medium WHERE ulid = ?", (medium.id[2:],))
        return found

    def use(self, medium: lading.Medium) -> None:
        path = self.local(medium)
        os.utime(path, ns=(self.clock.ms * 1_000_000, path.stat().st_mtime_ns))


Make = Callable[..., EvictRig]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[EvictRig] = []

    def new(name: str = "home", **rules: object) -> EvictRig:
        made.append(EvictRig(tmp_path / name, **rules))  # type: ignore[arg-type]
        return made[-1]

    yield new
    for rig in made:
        rig.close()


# -- 31: only with proof, never the only copy ------------------------------------------------------------------------------------


def test_where_all_is_unsafe_nothing_is_freed(make: Make) -> None:
    """Whatever the budget says: 0 bytes, and a disk that is full."""
    rig = make(budget=0)
    rig.fakes[A].before = lambda key: Unavailable("away")
    media = [rig.kb() for _ in range(10)] + [rig.cat.put(b"x" * KB, name="alone", destination=[])]
    rig.free = -1
    rig.begin().settle()
    for _ in range(20):
        rig.forward(HOUR_S)
    assert rig.cached(media) == list(range(11))
    assert all(rig.local(m).stat().st_size == KB for m in media)


def test_one_of_two_destinations_is_not_enough(make: Make) -> None:
    rig = make(budget=0)
    rig.fakes[B].before = lambda key: Unavailable("away")
    medium = rig.kb(A, B)
    rig.begin().settle()
    rig.forward(HOUR_S)
    assert rig.cached([medium]) == [0]
    rig.fakes[B].before = lambda key: None
    rig.forward(HOUR_S)
    assert rig.cached([medium]) == []


def test_min_copies_one_is_enough_where_it_says_so(make: Make) -> None:
    rig = make(budget=0)
    rig.fakes[B].before = lambda key: Unavailable("away")
    medium = rig.kb(A, B)
    with rig.conn.writing() as conn:
        safety.set_min_copies(conn, 1)
    rig.begin().settle()
    with rig.conn.writing() as conn:
        safety.review_step(conn, 10)
    rig.forward(HOUR_S)
    assert rig.cached([medium]) == []


def test_pinned_copies_stay(make: Make) -> None:
    rig = make(budget=KB)
    media = rig.brought(4)
    media[0].pin()
    rig.settle()
    assert rig.cached(media) == [0]
    media[0].unpin()
    rig.kb()
    rig.forward(HOUR_S)
    assert rig.cached(media) == []


def test_the_cooldown_keeps_what_came_just_now(make: Make) -> None:
    rig = make(budget=0, cooldown_s=600)
    media = rig.brought(2)
    rig.settle()
    rig.forward(580)
    assert rig.cached(media) == [0, 1]
    rig.forward(60)
    assert rig.cached(media) == []


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_jumps_neither_frees_too_early_nor_keeps_for_ever(make: Make, years: int) -> None:
    """Proofs from another time are renewed first."""
    rig = make(budget=0, cooldown_s=600)
    media = rig.brought(2)
    rig.clock.ms += years * YEAR_MS
    looks = len(rig.fakes[A].arrived)
    rig.settle()
    rig.forward(1200)
    assert rig.cached(media) == []
    assert len(rig.fakes[A].arrived) == looks
    assert rig.conn.value("SELECT min(verified_at_ms) FROM replica WHERE store_id <> 0") >= 0


def test_a_proof_that_is_too_old_is_renewed_first(make: Make) -> None:
    rig = make(budget=0)
    media = rig.brought(3)
    seen: list[str] = []
    real = rig.fakes[A].stat

    def stat(key: str) -> object:
        seen.append(key)
        assert rig.cached(media), "it went before its proof was renewed"
        return real(key)

    rig.fakes[A].stat = stat  # type: ignore[method-assign,assignment]
    rig.clock.forward(WEEK_S + 10)
    rig.settle()
    assert len(seen) == 3
    assert rig.cached(media) == []
    assert {by for (by,) in rig.conn.rows("SELECT proof_by FROM replica WHERE store_id <> 0")} == {"read"}


@pytest.mark.parametrize("what", ["gone", "changed", "shorter"])
def test_where_the_destination_has_lost_it_the_local_copy_stays(make: Make, what: str) -> None:
    """Seen twice, the copy there is set aside, and another one is made from the one here."""
    rig = make(budget=0)
    (medium,) = rig.brought(1)
    key = rig.key(medium)
    data = rig.a().objects[key]
    if what == "gone":
        del rig.a().objects[key]
    else:
        rig.a().objects[key] = data[:-1] + (b"" if what == "shorter" else b"?")
    rig.clock.forward(WEEK_S + 10)
    rig.settle()
    assert rig.cached([medium]) == [0]
    assert rig.replicas(medium) == ["present"], "one look is no proof"
    rig.forward(SECOND_LOOK_MS / 1000 + LOOK_AGAIN_MS / 1000 + 1)
    assert rig.key(medium) != key
    assert rig.a().objects[rig.key(medium)] == data
    assert rig.conn.value("SELECT count(*) FROM journal WHERE step = 'damage.found'") == 1
    rig.forward(60)
    assert rig.cached([medium]) == []  # it is safe again


def test_a_destination_that_does_not_answer_delays_and_others_go_on(make: Make) -> None:
    rig = make(budget=0)
    old = rig.brought(2, A)
    new = rig.brought(2, B)
    rig.conn._db.execute("UPDATE replica SET verified_at_ms = 1 WHERE store_id = (SELECT id FROM store WHERE uri = ?)", (A,))

    def away(key: str) -> object:
        raise Unavailable("away")

    real = rig.fakes[A].stat
    rig.fakes[A].stat = away  # type: ignore[method-assign,assignment]
    rig.settle()
    rig.forward(300)
    assert (rig.cached(old), rig.cached(new)) == ([0, 1], [])
    rig.fakes[A].stat = real  # type: ignore[method-assign]
    rig.forward(300)
    assert rig.cached(old) == []


def test_bytes_that_changed_are_never_evicted(make: Make) -> None:
    """Same size, another time: hashed again, and set aside with its bytes."""
    rig = make(budget=0)
    changed, touched = rig.brought(2)
    path = rig.local(changed)
    path.write_bytes(b"?" * KB)
    os.utime(rig.local(touched), ns=(1, 1))
    rig.settle()
    rig.forward(60)
    assert path.read_bytes() == b"?" * KB
    assert rig.conn.rows("SELECT state FROM replica WHERE store_id = 0") == [("damaged",)]
    assert rig.cached([touched]) == []  # whole: its new time was noted, and it went


# -- leases ----------------------------------------------------------------------------------------------------------------------

_READER = """
import sys, time
import lading
with lading.open(sys.argv[1]) as cat, cat.medium(sys.argv[2]).local() as path:
    print("holds", flush=True)
    time.sleep(100)
"""


def test_a_copy_that_another_process_reads_stays_until_that_one_is_gone(make: Make) -> None:
    """Also if it was killed: the lock goes with it."""
    rig = make(budget=0)
    (medium,) = rig.brought(1)
    reader = subprocess.Popen([sys.executable, "-c", _READER, str(rig.home), medium.id], stdout=subprocess.PIPE, env=os.environ)
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"holds\n"
        rig.settle()
        rig.forward(HOUR_S)
        assert rig.cached([medium]) == [0]
        with pytest.raises(Held) as e:
            medium.evict()
        assert e.value.about["reason"] == "in_use"
    finally:
        reader.send_signal(signal.SIGKILL)
        reader.wait()
        if reader.stdout is not None:
            reader.stdout.close()
    rig.forward(HOUR_S)
    assert rig.cached([medium]) == []


def test_an_open_file_holds_its_copy(make: Make) -> None:
    rig = make(budget=0)
    (medium,) = rig.brought(1)
    with medium.open() as file:
        rig.settle()
        rig.forward(HOUR_S)
        assert file.read() == rig.a().objects[rig.key(medium)]
        assert rig.cached([medium]) == [0]
    rig.forward(HOUR_S)
    assert rig.cached([medium]) == []


# -- 33: the budget --------------------------------------------------------------------------------------------------------------


def test_down_to_the_low_watermark_the_longest_unused_first(make: Make) -> None:
    rig = make(budget=10 * KB, low=7 * KB)
    media = rig.brought(10)
    rig.settle()
    assert rig.cached(media) == list(range(10))
    media.append(rig.kb())
    rig.settle()
    assert rig.cached(media) == [4, 5, 6, 7, 8, 9, 10]


def test_what_was_used_moves_back(make: Make) -> None:
    rig = make(budget=10 * KB, low=8 * KB)
    media = rig.brought(10)
    rig.clock.forward(60)
    rig.use(media[0])
    rig.use(media[2])
    media.append(rig.kb())
    rig.settle()
    assert rig.cached(media) == [0, 2, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize("slice_", [4, 7, 12, 16, 32])
def test_where_all_was_used_the_longest_unused_go(make: Make, slice_: int, reused: bool) -> None:
    rig = make(budget=10 * KB, low=8 * KB)
    media = rig.brought(20)
    rig.conn._db.execute("UPDATE replica SET reused = ? WHERE store_id = 0", (reused,))
    rig.clock.forward(60)
    for medium in reversed(media):
        rig.clock.forward(1)
        rig.use(medium)
    rig.pace.slice = slice_
    while rig.evictor.step(rig.clock.ms) == 0:
        rig.pace.slice = slice_  # (it follows the disk)
    assert rig.cached(media) == list(range(8))


def test_one_pass_over_everything_leaves_what_is_used_daily(make: Make) -> None:
    rig = make(budget=20 * KB, low=19 * KB)
    daily = rig.brought(10)
    for _ in range(2):
        rig.clock.forward(24 * HOUR_S)
        for medium in daily:
            rig.use(medium)
        rig.settle()
    for _ in range(100):
        rig.clock.forward(1)
        rig.kb()
        rig.settle()
    assert rig.cached(daily) == list(range(10))
    assert rig.cat.status()["local"]["size_bytes"] <= 20 * KB


def test_min_free_is_kept(make: Make) -> None:
    rig = make(budget=10**9, min_free=5 * KB)
    media = rig.brought(6)
    rig.free = 5 * KB
    rig.settle()
    assert rig.cached(media) == list(range(6))
    rig.free = 2 * KB
    rig.evictor.free_bytes = lambda: rig.free + KB * (6 - len(rig.cached(media)))
    rig.settle()
    assert rig.cached(media) == [3, 4, 5]


def test_a_put_that_waits_asks_for_room_beside_min_free(make: Make) -> None:
    """Else min_free alone would never make room for a file that is larger than what is above it."""
    rig = make(budget=10**9, min_free=5 * KB)
    media = rig.brought(6)
    rig.free = 5 * KB
    rig.settle()
    assert rig.cached(media) == list(range(6))
    room.ask(rig.home, 3 * KB)
    os.utime(rig.home / "doorbell" / room.ASK_FILE, (rig.clock.ms / 1000, rig.clock.ms / 1000))
    rig.evictor.free_bytes = lambda: 5 * KB + KB * (6 - len(rig.cached(media)))
    rig.settle()
    assert rig.cached(media) == [3, 4, 5]


def test_nothing_to_do_writes_nothing(make: Make) -> None:
    rig = make(budget=10 * KB)
    rig.brought(5)
    rig.settle()
    before = rig.pace.transactions
    for _ in range(30):
        rig.forward(3600)
    assert rig.pace.transactions == before


def test_copies_that_cannot_go_are_not_walked_again_and_again(make: Make) -> None:
    """Over the budget with all of them pinned or leased: a walk, and then rest."""
    rig = make(budget=0, cooldown_s=YEAR_MS)
    rig.brought(20)
    rig.settle()
    calls: list[int] = []
    real = evicting.candidates

    def counted(*args: object) -> object:
        calls.append(1)
        return real(*args)  # type: ignore[arg-type]

    evicting.candidates = counted  # type: ignore[assignment]
    try:
        for _ in range(100):
            rig.evictor.step(rig.clock.ms)
    finally:
        evicting.candidates = real
    assert len(calls) <= 4


# -- what a walk costs -----------------------------------------------------------------------------------------------------------


def counted(rig: EvictRig, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many candidates each look at the catalog has shown."""
    seen: list[int] = []
    real = evicting.candidates

    def candidates(*args: object) -> list[Candidate]:
        seen.append(len(found := real(*args)))  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(evicting, "candidates", candidates)
    return seen


def test_the_low_watermark_is_reached_in_many_steps_too(make: Make) -> None:
    rig = make(budget=99 * KB, low=40 * KB)
    media = rig.brought(100)
    rig.pace.slice = 8
    rig.settle()
    assert rig.cached(media) == list(range(60, 100))


def test_many_copies_in_use_end_a_walk(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """They move back as each is found, and the clock goes on: a walk must not meet them for ever."""
    rig = make(budget=0)
    media = rig.brought(60)
    fds = [leases.take(rig.local(m)) for m in media]
    seen = counted(rig, monkeypatch)
    for _ in range(200):
        rig.clock.ms += 1
        rig.pace.slice = 8
        rig.evictor.step(rig.clock.ms)
    assert sum(seen) <= 3 * len(media)
    assert len(rig.cached(media)) == 60
    for taken in fds:
        assert taken is not None
        os.close(taken[0])
    rig.forward(2 * LOOK_AGAIN_MS / 1000)
    assert rig.cached(media) == []


def test_no_more_copies_wait_for_a_look_than_have_to_go(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make(budget=290 * KB, low=280 * KB)
    media = rig.brought(300)
    rig.conn._db.execute("UPDATE replica SET verified_at_ms = 1 WHERE store_id <> 0")
    rig.pace.slice = 16
    seen = counted(rig, monkeypatch)
    answers, real = threading.Event(), rig.fakes[A].stat
    rig.fakes[A].stat = lambda key: answers.wait(10) and real(key)  # type: ignore[method-assign,assignment,return-value]
    for _ in range(30):
        rig.evictor.step(rig.clock.ms)
    assert rig.rechecks.busy == 20
    answers.set()
    rig.settle()
    assert len(rig.cached(media)) == 280
    assert sum(seen) <= 100


def test_a_store_that_does_not_answer_is_asked_once_a_minute(make: Make) -> None:
    rig = make(budget=0)
    media = rig.brought(50)
    rig.conn._db.execute("UPDATE replica SET verified_at_ms = 1 WHERE store_id <> 0")
    asked: list[str] = []

    def away(key: str) -> object:
        asked.append(key)
        raise Unavailable("away")

    rig.fakes[A].stat = away  # type: ignore[method-assign,assignment]
    for _ in range(60):
        rig.forward(10)
    assert len(rig.cached(media)) == 50
    assert 8 <= len(asked) <= 11 * AT_ONCE


def test_a_long_eviction_is_no_reason_to_rest(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only looking in vain is: what comes next goes at once, also after a walk that ended with something in use."""
    rig = make(budget=0)
    media = rig.brought(40)
    passed = [0.0]
    real = evicting.evict

    def slow(*args: object) -> evicting.Evicted:
        passed[0] += 60.0
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(evicting, "evict", slow)
    rig.evictor.timer = lambda: passed[0]
    with media[20].open():
        rig.pace.slice = 8
        rig.settle()
        assert rig.cached(media) == [20]
        new = rig.kb()
        rig.settle()
        assert rig.cached([new]) == []


def test_a_walk_that_began_before_its_time_goes_on(make: Make) -> None:
    """One more copy that could go ends the rest. What has gone then makes them fewer again, and that is no reason to rest on."""
    rig = make(budget=0)
    media = rig.brought(20)
    with contextlib.ExitStack() as reading:
        for medium in media:
            reading.enter_context(medium.open())
        rig.settle()
        assert len(rig.cached(media)) == 20
    media.append(rig.kb())
    rig.pace.slice = 8
    rig.settle()
    assert rig.cached(media) == []


def test_fresh_copies_are_not_walked_over(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that came lately is too young: the first one tells."""
    rig = make(budget=0, cooldown_s=600)
    media = rig.brought(200)
    rig.settle()
    seen = counted(rig, monkeypatch)
    rig.pace.slice = 16
    for _ in range(10):
        rig.clock.ms += LOOK_AGAIN_MS
        while rig.evictor.step(rig.clock.ms) == 0:
            pass
    assert len(rig.cached(media)) == 200
    assert 0 < sum(seen) <= 10 * 16


@pytest.mark.parametrize("shows", ["never", "late"])
def test_a_disk_that_does_not_show_what_was_freed_does_not_empty_the_cache(make: Make, shows: str) -> None:
    """Snapshots, open files, file systems that free later."""
    rig = make(budget=10**9, min_free=5 * KB)
    media = rig.brought(50)
    rig.free = 2 * KB
    rig.settle()
    assert len(rig.cached(media)) == 47
    rig.forward(SHOWS_MS / 1000 - 1)
    assert len(rig.cached(media)) == 47
    if shows == "late":
        rig.free = 5 * KB
    rig.forward(2)
    assert len(rig.cached(media)) == (47 if shows == "late" else 44)


# -- files that are not what they were ---------------------------------------------------------------------------------------------


def test_a_home_that_was_copied_is_hashed_again_and_goes(make: Make) -> None:
    rig = make(budget=0)
    media = rig.brought(100)
    for medium in media:
        path = rig.local(medium)
        found, data = path.stat(), path.read_bytes()
        path.unlink()
        path.write_bytes(data)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    rig.settle()
    rig.forward(60)
    assert rig.cached(media) == []
    assert rig.conn.value("SELECT count(*) FROM journal WHERE step = 'damage.found'") == 0


def test_what_somebody_removed_by_hand_is_forgotten(make: Make) -> None:
    rig = make(budget=0)
    one, other = rig.brought(2)
    rig.local(one).unlink()
    rig.settle()
    assert rig.cached([one, other]) == []
    assert rig.conn.rows("SELECT state FROM replica WHERE store_id = 0") == []
    assert rig.cat.status()["media"]["safe"] == 2


STRANGE = ("a link", "a folder", "a pipe", *(() if os.geteuid() == 0 else ("unreadable",)))  # (root reads everything)


@pytest.mark.parametrize("what", STRANGE)
def test_something_else_under_its_name_holds_up_no_other(make: Make, what: str, tmp_path: Path) -> None:
    rig = make(budget=0)
    strange, other = rig.brought(2)
    path = rig.local(strange)
    if what == "unreadable":
        path.chmod(0)
    else:
        (tmp_path / "mine").write_bytes(path.read_bytes())
        path.unlink()
        if what == "a link":
            path.symlink_to(tmp_path / "mine")
        elif what == "a folder":
            path.mkdir()
        else:
            os.mkfifo(path)
    rig.settle()
    rig.forward(60)
    assert rig.cached([other]) == []
    assert path.exists()
    if what in ("a link", "unreadable"):
        assert rig.conn.rows("SELECT state FROM replica WHERE store_id = 0") == [("damaged",)]


def test_the_cache_is_too_small_for_what_is_used(make: Make) -> None:
    """A loop over more than it holds: status says how much would do."""
    rig = make(budget=20 * KB, low=19 * KB)
    media = rig.brought(30)
    rig.settle()
    assert rig.cat.status()["local"]["wanted_bytes"] is None
    for _ in range(4):
        for medium in media:
            rig.clock.forward(10)
            if not medium.refresh().cached:
                rig.want(rig.object_id(medium))
                rig.settle()
            rig.use(medium)
            rig.settle()
    wanted = rig.cat.status()["local"]["wanted_bytes"]
    assert 25 * KB <= wanted <= 40 * KB
    with lading.open(config=load(home=str(rig.home), environ={"LADING_CACHE_SIZE": "20kB"})) as cat:
        cat._conn.now_ms = rig.clock
        status = cat.status()
    assert any("too small for what is used" in reason and "20.0 kB" in reason for reason in status["reasons"])
    assert status["verdict"] in ("ok", "working")
    rig.forward(2 * HOUR_S)
    assert rig.cat.status()["local"]["wanted_bytes"] is None


# -- 32: crashes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", ["before the drop", "dropped", "unlinked"])
def test_a_crash_leaves_a_whole_file_or_one_that_can_be_fetched(make: Make, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(BaseException):
        pass

    def cut_off(*args: object, **kwargs: object) -> None:
        raise Cut

    rig = make(budget=0)
    (medium,) = rig.brought(1)
    path, data = rig.local(medium), rig.a().objects[rig.key(medium)]
    with monkeypatch.context() as patch:
        if cut == "before the drop":
            patch.setattr(evicting, "drop", cut_off)
        elif cut == "dropped":
            patch.setattr(evicting, "unlink_dropped", cut_off)
        else:
            patch.setattr(evicting, "forget", cut_off)
        with pytest.raises(Cut):
            rig.settle()
    states = [state for (state,) in rig.conn.rows("SELECT state FROM replica WHERE store_id = 0")]
    assert states == (["present"] if cut == "before the drop" else ["dropping"])
    assert path.exists() == (cut != "unlinked")
    rig.begin()
    if cut == "before the drop":
        assert path.read_bytes() == data
    rig.settle()
    assert not path.exists()
    assert rig.conn.rows("SELECT state FROM replica WHERE store_id = 0") == []
    assert rig.a().objects[rig.key(medium)] == data
    assert rig.cat.status()["media"]["lost"] == 0


def test_a_put_of_the_same_bytes_in_between_keeps_a_copy(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The evictor has decided, a put finds the bytes there already, the evictor unlinks: the put's own file has to be there then."""
    rig = make(budget=0)
    (medium,) = rig.brought(1)
    data = rig.a().objects[rig.key(medium)]
    again: list[lading.Medium] = []
    real = leases.seize

    def seize(path: object) -> object:
        found = real(path)  # type: ignore[arg-type]
        if not again:
            again.append(rig.cat.put(data, name="again", destination=[]))  # now nothing says that it is safe enough for that one
        return found

    monkeypatch.setattr(leases, "seize", seize)
    rig.settle()
    local = [m for m in (medium, *again) if m.refresh().cached]
    copies = rig.conn.rows("SELECT state, key FROM replica WHERE store_id = 0")
    for state, key in copies:
        assert state == "present"
        assert (rig.home / key).read_bytes() == data
    assert rig.cat.status()["media"]["lost"] == 0
    assert local or rig.a().objects[rig.key(medium)] == data


def test_an_undelete_or_a_pin_between_the_look_and_the_drop_is_seen(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make(budget=0)
    (medium,) = rig.brought(1)
    real = evicting.stale

    def stale(*args: object) -> object:
        medium.pin()
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(evicting, "stale", stale)
    rig.settle()
    rig.forward(60)
    assert rig.cached([medium]) == [0]


# -- by hand ---------------------------------------------------------------------------------------------------------------------


def test_evict_by_hand_whatever_the_budget_says(make: Make) -> None:
    rig = make(budget=10**9, cooldown_s=HOUR_S)
    one, two = rig.brought(2)
    path = rig.local(one)
    assert one.evict() is True
    assert (path.exists(), rig.cached([one, two])) == (False, [1])
    assert one.evict() is False


def test_evict_by_hand_keeps_every_other_rule(make: Make) -> None:
    rig = make(budget=10**9)
    safe, pinned = rig.brought(2)
    pinned.pin()
    rig.fakes[A].before = lambda key: Unavailable("away")
    unsafe = rig.kb()
    for medium, reason in ((pinned, "pinned"), (unsafe, "not_safe")):
        with pytest.raises(Held) as e:
            medium.evict()
        assert (e.value.about["reason"], e.value.exit_code) == (reason, 4)
        assert e.value.hint
    with pytest.raises(lading.NotFound):
        evict(rig.cat, "0" * 26)
    assert rig.cached([safe, pinned, unsafe]) == [0, 1, 2]


def test_evict_by_hand_with_an_old_proof_is_done_by_the_daemon(make: Make) -> None:
    rig = make(budget=10**9)
    (medium,) = rig.brought(1)
    rig.clock.forward(WEEK_S + 10)
    with pytest.raises(Held) as e:
        evict(rig.cat, medium.id[2:], renew_s=0)
    assert e.value.about["reason"] == "proof_old"
    rig.settle()
    assert rig.cached([medium]) == []


# -- the rules alone -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "free", "target"),
    [(100, 1000, 0), (101, 1000, 11), (50, 1000, 0), (50, 5, 15), (101, 0, 20), (200, 0, 110)],
)
def test_how_much_goes(used: int, free: int, target: int) -> None:
    assert cache_policy.to_free(used, free, Limits(100, 90, 20, 0)) == target


def test_the_drop_checks_every_condition_itself(make: Make) -> None:
    """The last look is inside the transaction: a candidate that is history changes nothing."""
    rig = make(budget=10**9)
    rig.brought(3)
    age = ProofAge.at(rig.clock.ms, int(WEEK_S * 1000))
    one, *_ = evicting.candidates(rig.conn, False, (-1, 0), 3)
    other = open_catalog(rig.home, make=False)
    from dataclasses import replace

    for history in (
        replace(one, inode=one.inode + 1), replace(one, mtime_ns=1), replace(one, used_at_ms=one.used_at_ms - 1),
        replace(one, object_id=99),
    ):  # fmt: skip
        with rig.conn.writing() as conn:
            assert evicting.drop(conn, [history], age) == set()
    with rig.conn.writing() as conn:
        assert evicting.drop(conn, [one], ProofAge(rig.clock.ms + 1, rig.clock.ms + 2)) == set()
        assert evicting.drop(conn, [one], age) == {one.replica_id}
    other.close()
    assert Missing.status == 404
    assert issubclass(Held, Error)
