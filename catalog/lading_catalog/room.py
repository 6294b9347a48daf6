"""Room on this disk: what a put leaves free (`min_free`), and how long it waits for room before it says no.

A put slows first: it writes down how much room it wants, rings, and the daemon evicts what is safe elsewhere. It waits for that a few
seconds at most, and only while a daemon runs; then it refuses, before the disk is full. Nothing is dropped to make room for it but what may
be dropped anyway.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lading_catalog import doorbell, lock
from lading_catalog.connection import Connection
from lading_catalog.errors import Full
from lading_catalog.units import size_text

SLOW_MAX_S = 5.0  # that a put, or all puts of a batch together, may wait
PAUSE_S = (0.02, 0.5)  # between two looks: at first, at most
LOOK_EVERY_BYTES = 16 << 20  # of a source whose length nobody knows
ASK_FILE = "room"  # in the folder of the doorbell: how many bytes the put that waits wants to write
ASK_LASTS_S = 10.0
_RECOVERS_S = 60.0  # after a wait in vain the next one is so long in coming


def short_bytes(size_bytes: int, claimed_bytes: int, free_bytes: int, min_free_bytes: int) -> int:
    """The rule: how much is missing for `size_bytes` more, if `claimed_bytes` are about to be written too and `min_free` stays free. 0 if
    there is room."""
    return max(0, size_bytes + claimed_bytes + min_free_bytes - free_bytes)


@dataclass(frozen=True, slots=True)
class Here:
    """What lies on this disk: how much of it could go, how many media are not safe yet, and how many have no destination."""

    evictable_bytes: int
    waiting_n: int
    unrouted_n: int


def here(conn: Connection) -> Here:
    """Three look-ups. Raises CatalogError."""
    media = dict(conn.rows("SELECT state, n FROM media_tally"))
    evictable = conn.value("SELECT size_bytes FROM hold_tally WHERE hold = 'evictable'")
    return Here(evictable, media["pending"] + media["blocked"], media["local_only"])


def advice(running: bool, found: Here | None, min_free_bytes: int) -> str:
    """What can be done about a disk without room. `running`: a daemon runs; `found`: None if nobody knows."""
    steps = []
    if not running and (found is None or found.waiting_n or found.evictable_bytes):
        steps.append("Start the daemon, which evicts what is safe elsewhere: lading daemon.")
    elif found is not None and found.waiting_n:
        steps.append("Files that are not safe elsewhere yet have to stay: lading status says what they wait for.")
    if found is not None and found.unrouted_n:
        steps.append("Files without a destination have to stay: lading table set-destination gives them one.")
    steps.append("Free some space, or lower min_free." if min_free_bytes else "Free some space.")
    return " ".join(steps)


def asked_bytes(home: Path, now_s: float | None = None) -> int:
    """How many bytes a put that waits for room wants to write, beside what `min_free` keeps; 0 if none waited in the last seconds.
    Never raises."""
    try:
        with open(home / doorbell.FOLDER / ASK_FILE, "rb") as file:
            age_s = (time.time() if now_s is None else now_s) - os.fstat(file.fileno()).st_mtime
            return max(0, int(file.read(32))) if abs(age_s) <= ASK_LASTS_S else 0
    except (OSError, ValueError):
        return 0


def ask(home: Path, size_bytes: int) -> None:
    """Tell the daemon how much room is wanted, and wake it. Never raises: on a disk that is full to the last byte it cannot be written, and
    then `min_free` itself asks. Of several that wait the last one counts; each asks again and again."""
    with contextlib.suppress(OSError):
        flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(home / doorbell.FOLDER / ASK_FILE, flags, 0o600)
        try:
            os.pwrite(fd, b"%-20d" % size_bytes, 0)  # always as long, in one call: nobody reads half of it
        finally:
            os.close(fd)
    doorbell.ring(home)


class Room:
    """The room of one writer (a session): thread-safe. `here`: what lies on the disk, None if nobody knows. `free`, `clock`, `sleep`: for
    tests."""

    def __init__(
        self,
        home: Path,
        min_free_bytes: int,
        *,
        here: Callable[[], Here | None] = lambda: None,
        free: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._home = home
        self._min_free = min_free_bytes
        self._here = here
        self._free = free or (lambda: _free_bytes(home))
        self._sleep = sleep
        self._mutex = threading.Lock()
        self._claimed = 0  # bytes that will be written, and are not taken from the disk yet
        self._patience = _Patience(clock)

    def new_call(self) -> None:
        """A put or a batch begins: it may wait as long as any, unless somebody has just waited in vain."""
        with self._mutex:
            self._patience.renew()

    @contextmanager
    def claim(self, size_bytes: int) -> Iterator[Claim]:
        """Room for so many bytes while the block writes them. Raises Full, after a wait where a daemon may make room."""
        claim = Claim(self)
        claim.need(size_bytes)
        try:
            yield claim
        finally:
            self.release(claim.left_bytes)

    def take(self, size_bytes: int, own_bytes: int, written_bytes: int) -> None:
        """For a claim that holds `own_bytes` and has written so many: claim more. Raises Full."""
        pause_s, waited_s = PAUSE_S[0], 0.0
        while True:
            with self._mutex:
                free, claimed = self._free(), self._claimed
                short = short_bytes(size_bytes, claimed, free, self._min_free)
                if not short:
                    self._claimed += size_bytes
                    return
            running = lock.observe(self._home).running
            if not running or waited_s >= SLOW_MAX_S or not self._wait(size_bytes + claimed, short, pause_s):
                raise self._full(size_bytes, claimed - own_bytes, written_bytes, free, running)
            waited_s += pause_s
            pause_s = min(pause_s * 2, PAUSE_S[1])

    def release(self, size_bytes: int) -> None:
        with self._mutex:
            self._claimed -= size_bytes

    def _wait(self, wanted_bytes: int, short: int, pause_s: float) -> bool:
        """Slow down; False if there is no patience left."""
        with self._mutex:
            pause_s = min(pause_s, self._patience.begin())
        if pause_s <= 0:
            return False
        try:
            found = self._here()
            if found is None or short <= found.evictable_bytes:  # else it would be evicted in vain
                ask(self._home, wanted_bytes)
            else:
                doorbell.ring(self._home)
            self._sleep(pause_s)
        finally:
            with self._mutex:
                self._patience.end()
        return True

    def _full(self, size: int, others: int, written: int, free: int, running: bool) -> Full:
        needs = f"more than the {size_text(written)} written so far" if written else size_text(size)
        busy = f" ({size_text(others)} of it for files that are being written)" if others else ""
        keep = f", and {size_text(self._min_free)} stay free (min_free)" if self._min_free else ""
        return Full(
            f"No room: {size_text(max(0, free))} free on the disk that holds {self._home}{busy}, this needs {needs}{keep}.",
            hint=advice(running, self._here(), self._min_free),
            free_bytes=free,
            needed_bytes=size,
            min_free_bytes=self._min_free,
        )


class Claim:
    """The room of one file that is being written, by one thread."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.left_bytes = 0  # claimed, not written yet
        self._written = 0

    def need(self, size_bytes: int) -> None:
        """Before so many bytes are written. Where the file is longer than was said the room is looked at again, at first often, later every
        LOOK_EVERY_BYTES. Raises Full."""
        if size_bytes > self.left_bytes:
            more = max(size_bytes - self.left_bytes, min(self._written, LOOK_EVERY_BYTES))
            self._room.take(more, self.left_bytes, self._written)
            self.left_bytes += more

    def wrote(self, size_bytes: int) -> None:
        """They are taken from the disk now, and no longer claimed as well."""
        self._room.release(size_bytes)
        self.left_bytes -= size_bytes
        self._written += size_bytes


class _Patience:
    """How long all that share it may wait together. Waits of several threads at once count once. Not thread-safe itself."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left_s = SLOW_MAX_S
        self._waiting, self._since, self._until = 0, 0.0, float("-inf")

    def renew(self) -> None:
        if self._waiting == 0 and (self._left_s > 0 or self._clock() - self._until > _RECOVERS_S):
            self._left_s = SLOW_MAX_S

    def begin(self) -> float:
        """A wait begins: the longest it may be, in s. If that is 0 it does not begin."""
        now = self._clock()
        if self._waiting == 0:
            self._since = now
        left_s = self._left_s - (now - self._since)
        self._waiting += left_s > 0
        return left_s

    def end(self) -> None:
        self._waiting -= 1
        if self._waiting == 0:
            self._until = self._clock()
            self._left_s -= self._until - self._since


def _free_bytes(home: Path) -> int:
    found = os.statvfs(home)
    return found.f_bavail * found.f_frsize
