"""Room on the disk: a put slows, boundedly, and then refuses; threads cannot overrun it together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lading_catalog import ballast, doorbell, lock
from lading_catalog.errors import Full
from lading_catalog.room import ASK_FILE, LOOK_EVERY_BYTES, SLOW_MAX_S, Here, Room, advice, ask, asked_bytes
from lading_catalog.staging import Session

MB = 1 << 20


class Disk:
    """`free` bytes; a clock that only sleeping turns. `on_sleep`: what a daemon does meanwhile."""

    def __init__(self, free: int) -> None:
        self.free, self.now, self.slept = free, 0.0, 0.0
        self.on_sleep: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds
        self.on_sleep()

    def room(self, home: Path, min_free: int) -> Room:
        return Room(home, min_free, free=lambda: self.free, clock=lambda: self.now, sleep=self.sleep)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    doorbell.prepare(tmp_path)
    return tmp_path


@pytest.fixture
def running(home: Path) -> lock.DaemonLock:
    return lock.DaemonLock(home, "0", 0)


def test_there_is_room(home: Path) -> None:
    disk = Disk(10 * MB)
    with disk.room(home, 5 * MB).claim(5 * MB):
        pass
    assert disk.slept == 0


def test_without_a_daemon_it_refuses_at_once(home: Path) -> None:
    """Nobody could make room."""
    disk = Disk(10 * MB)
    with pytest.raises(Full) as e, disk.room(home, 5 * MB).claim(5 * MB + 1):
        pass
    assert disk.slept == 0
    assert "10.5 MB free" in e.value.detail
    assert "5.24 MB stay free (min_free)" in e.value.detail
    assert "lading daemon" in e.value.hint
    assert e.value.about["needed_bytes"] == 5 * MB + 1


def test_with_a_daemon_it_slows_and_then_refuses(home: Path, running: lock.DaemonLock) -> None:
    disk = Disk(MB)
    room = disk.room(home, 5 * MB)
    with pytest.raises(Full) as e, room.claim(1):
        pass
    assert SLOW_MAX_S <= disk.slept <= SLOW_MAX_S + 0.5
    assert "Free some space" in e.value.hint
    before = disk.slept
    for _ in range(100):  # a batch has one patience
        with pytest.raises(Full), room.claim(1):
            pass
    assert disk.slept == before
    disk.now += 100
    room.new_call()
    with pytest.raises(Full), room.claim(1):
        pass
    assert disk.slept > before


@pytest.mark.parametrize(
    ("running", "found", "says", "says_not"),
    [
        (False, None, "lading daemon", "lading status"),
        (False, Here(5, 0, 0), "lading daemon", "set-destination"),
        (False, Here(0, 0, 0), "Free some space", "lading daemon"),
        (True, Here(0, 7, 0), "lading status", "lading daemon"),
        (True, Here(0, 0, 3), "set-destination", "lading status"),
        (True, None, "lower min_free", "lading status"),
    ],
)
def test_what_can_be_done(running: bool, found: Here | None, says: str, says_not: str) -> None:
    hint = advice(running, found, 1)
    assert says in hint
    assert says_not not in hint


def test_what_is_asked_for_is_heard_for_a_while(home: Path) -> None:
    assert asked_bytes(home) == 0
    ask(home, 5 * MB)
    at = (home / doorbell.FOLDER / ASK_FILE).stat().st_mtime
    assert asked_bytes(home, at + 1) == 5 * MB
    assert asked_bytes(home, at + 60) == asked_bytes(home, at - 60) == 0
    (home / doorbell.FOLDER / ASK_FILE).write_bytes(b"garbage")
    assert asked_bytes(home) == 0


def test_it_goes_on_when_the_daemon_has_made_room(home: Path, running: lock.DaemonLock) -> None:
    disk = Disk(MB)
    rung = (home / "doorbell" / "bell").stat().st_mtime_ns

    def evict() -> None:
        if disk.slept > 0.3:
            disk.free = 20 * MB

    disk.on_sleep = evict
    with disk.room(home, 5 * MB).claim(MB):
        pass
    assert 0.3 < disk.slept < 1.5
    assert (home / "doorbell" / "bell").stat().st_mtime_ns > rung


def test_threads_cannot_overrun_it_together(home: Path) -> None:
    """Each sees the same free bytes; together they get what there is."""
    disk = Disk(10 * MB)
    room = disk.room(home, 0)
    over, inside = threading.Event(), threading.Semaphore(0)
    refused: list[Full] = []

    def put() -> None:
        try:
            with room.claim(3 * MB):
                inside.release()
                over.wait(10)
        except Full as e:
            refused.append(e)
            inside.release()

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in threads:
        inside.acquire()
    over.set()
    for thread in threads:
        thread.join()
    assert len(refused) == 5


class Endless:
    """A source whose length nobody knows."""

    def __init__(self, disk: Disk) -> None:
        self.disk, self.read_bytes = disk, 0

    def read(self, n: int) -> bytes:
        self.disk.free -= n
        self.read_bytes += n
        return bytes(n)


def test_a_stream_stops_before_the_disk_is_full(home: Path) -> None:
    disk = Disk(100 * MB)
    session = Session(home, room=disk.room(home, 20 * MB))
    source = Endless(disk)
    with pytest.raises(Full):
        session.stage(source, ".bin")  # type: ignore[arg-type]
    assert 40 * MB < source.read_bytes <= 80 * MB
    assert disk.free >= 20 * MB
    assert list(session.folder.iterdir()) == []
    session.close()
    assert LOOK_EVERY_BYTES == 16 * MB


def test_a_file_that_grows_beyond_what_it_said(home: Path) -> None:
    disk = Disk(100 * MB)
    session = Session(home, room=disk.room(home, 20 * MB))
    with pytest.raises(Full):
        session.stage(Endless(disk), ".bin", size_hint=10 * MB)  # type: ignore[arg-type]
    assert disk.free >= 20 * MB
    session.close()


def test_the_ballast(home: Path) -> None:
    assert ballast.make(home, 1 << 62) is False
    assert not (home / ballast.FILE).exists()
    assert ballast.make(home, 0) is True
    found = (home / ballast.FILE).stat()
    assert 0 < found.st_size <= ballast.SIZE_BYTES
    assert found.st_blocks * 512 >= found.st_size  # really there, not a hole
    assert ballast.make(home, 1 << 62) is True
    assert (ballast.release(home), ballast.release(home)) == (True, False)
