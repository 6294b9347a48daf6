"""Room on this disk: what a put leaves free (`min_free`), and how long it waits for room before it says no.

A put slows first: the daemon is told, and evicts what is safe elsewhere. It waits for that a few seconds at most, and only while a daemon
runs; then it refuses, before the disk is full. Nothing is dropped to make room for it but what may be dropped anyway.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lading_catalog import doorbell, lock
from lading_catalog.errors import Full
from lading_catalog.units import size_text

SLOW_MAX_S = 5.0  # that a put, or all puts of a batch together, may wait
PAUSE_S = (0.02, 0.5)  # between two looks: at first, at most
LOOK_EVERY_BYTES = 16 << 20  # of a source whose length nobody knows
_RECOVERS_S = 60.0  # after so long without a wait the patience is whole again


class Room:
    """The room of one writer (a session): thread-safe. `free`, `clock`, `sleep`: for tests."""

    def __init__(
        self,
        home: Path,
        min_free_bytes: int,
        *,
        free: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._home = home
        self._min_free = min_free_bytes
        self._free = free or (lambda: _free_bytes(home))
        self._clock, self._sleep = clock, sleep
        self._mutex = threading.Lock()
        self._claimed = 0  # bytes that are being written, and are not taken from the disk yet as far as we know
        self._patience_s = SLOW_MAX_S
        self._waited_at = float("-inf")

    @contextmanager
    def claim(self, size_bytes: int) -> Iterator[None]:
        """Room for so many bytes while the block writes them. Raises Full, after a wait where a daemon may make room."""
        self._take(size_bytes)
        try:
            yield
        finally:
            with self._mutex:
                self._claimed -= size_bytes

    def _take(self, size_bytes: int) -> None:
        pause_s = PAUSE_S[0]
        while True:
            with self._mutex:
                short = size_bytes + self._claimed + self._min_free - self._free()
                if short <= 0:
                    self._claimed += size_bytes
                    return
            if not self._wait(pause_s):
                raise self._full(size_bytes)
            pause_s = min(pause_s * 2, PAUSE_S[1])

    def _wait(self, pause_s: float) -> bool:
        """Slow down; False if there is nothing to wait for, or no patience left."""
        with self._mutex:
            now = self._clock()
            if now - self._waited_at > _RECOVERS_S:
                self._patience_s = SLOW_MAX_S
            if self._patience_s <= 0 or not lock.observe(self._home).running:
                return False
            self._patience_s -= pause_s
            self._waited_at = now
        doorbell.ring(self._home)
        self._sleep(pause_s)
        return True

    def _full(self, size_bytes: int) -> Full:
        free = self._free()
        if lock.observe(self._home).running:
            hint = "What is safe elsewhere is evicted, and that was not enough: lading status says what has to stay here. Free some space."
        else:
            hint = "Start the daemon, which evicts what is safe elsewhere (lading daemon), or free some space."
        return Full(
            f"No room: {size_text(max(0, free))} are free on the disk that holds {self._home}, this needs {size_text(size_bytes)},"
            f" and {size_text(self._min_free)} stay free (min_free).",
            hint=hint,
            free_bytes=free,
            needed_bytes=size_bytes,
            min_free_bytes=self._min_free,
        )


def _free_bytes(home: Path) -> int:
    found = os.statvfs(home)
    return found.f_bavail * found.f_frsize
