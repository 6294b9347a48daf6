"""The daemon's manners at the write lock: hold it briefly, then leave it free at least as long.

Measured: a process that writes in back-to-back 20 ms transactions starves clients for seconds; 5 ms held and 5 ms free gives them a
p99 below 10 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lading_catalog.connection import Connection

HOLD_MAX_MS = 5.0


class Pace:
    """Writing transactions of the daemon. `sleep` and `clock` (seconds): for tests and the simulation."""

    def __init__(
        self, conn: Connection, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.conn = conn
        self._sleep = sleep
        self._clock = clock
        self._free_until = 0.0
        self.transactions = 0  # so far: whether there is anything to checkpoint
        self.slice = 32  # rows a transaction; follows what HOLD_MAX_MS allows

    @contextmanager
    def writing(self, rows: int, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction over about `rows` rows."""
        wait = self._free_until - self._clock()
        if wait > 0:
            self._sleep(min(wait, 0.1))
        began = self._clock()
        with self.conn.writing(durable=durable) as conn:
            yield conn
            worked_ms = (self._clock() - began) * 1000
        self.transactions += 1
        ended = self._clock()
        held_ms = (ended - began) * 1000
        self._free_until = ended + (ended - began)
        if rows >= self.slice // 2:
            # The commit waits for the disk, however few rows it has: where that is what takes long, smaller slices only mean more of it.
            if held_ms > HOLD_MAX_MS and worked_ms > HOLD_MAX_MS / 2:
                self.slice = max(8, self.slice * 3 // 4)
            elif held_ms < HOLD_MAX_MS / 2 or worked_ms < HOLD_MAX_MS / 4:
                self.slice = min(128, self.slice + 4)
