"""Tombstones: the daemon sees new ones, which begins their grace, and keeps the catalog clock that grace is counted on. Local copies
whose grace is over go here too; those in destinations: sweep.py."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from lading_catalog import clock, evicting, leases, sweeping
from lading_catalog.connection import Connection
from lading_catalog.stores import LOCAL
from lading_catalog.sweeping import Due
from ladingd.catalog_clock import CatalogClock
from ladingd.pace import Pace

log = structlog.get_logger()

LOOK_N = 128  # tombstones looked at in a step
LOOK_AGAIN_MS = 60_000  # after a look at all of them, or an error of this disk


@dataclass
class Graves:
    """`clock` is shared with the sweepers; this step advances it for all of them."""

    conn: Connection
    pace: Pace
    home: Path
    clock: CatalogClock
    grace_ms: int

    def __post_init__(self) -> None:
        self._after = (-1, 0)
        self._not_before_ms = 0

    def step(self, now_ms: int) -> float | None:
        self.clock.tick(now_ms)
        if sweeping.unseen(self.conn):
            with self.pace.writing(self.pace.slice, durable=False) as conn:
                sweeping.see(conn, self.clock.ms, self.pace.slice)
                self._save(conn)
            return 0
        if self.clock.unsaved and sweeping.waiting(self.conn):
            with self.pace.writing(1, durable=False) as conn:
                self._save(conn)
        return self._here(now_ms)

    # -- local copies ------------------------------------------------------------------------------------------------------------

    def _here(self, now_ms: int) -> float | None:
        wait_ms = self._not_before_ms - now_ms
        if 0 < wait_ms <= LOOK_AGAIN_MS:
            return wait_ms
        first_ms, upto = sweeping.next_seen_ms(self.conn, LOCAL), self.clock.ms - self.grace_ms
        if first_ms is None or first_ms > upto:
            return None if first_ms is None else max(1.0, first_ms - upto)
        limit = min(LOOK_N, self.pace.slice)
        seen = sweeping.due(self.conn, LOCAL, upto, self._after, limit)
        try:
            self._drop([d for d in seen if d.held is None], now_ms)
        except OSError as e:  # what was dropped by then is taken up by the evictor
            log.error("delete.failed", error=str(e))
            self._not_before_ms = now_ms + LOOK_AGAIN_MS
            return LOOK_AGAIN_MS
        if len(seen) == limit:
            self._after = (seen[-1].seen_clock_ms, seen[-1].replica_id)
            return 0
        self._after = (-1, 0)
        self._not_before_ms = now_ms + LOOK_AGAIN_MS if sweeping.due(self.conn, LOCAL, upto, (-1, 0), 1) else 0
        return 0

    def _drop(self, chosen: Sequence[Due], now_ms: int) -> None:
        """As an eviction: lock, drop (FULL), unlink, fsync, forget. What is read now stays for a later look."""
        with contextlib.ExitStack() as held:
            free = []
            for one in chosen:
                if (seized := leases.seize(self.home / one.key)) is not None:
                    held.callback(os.close, seized[0])
                elif os.path.lexists(self.home / one.key):
                    continue
                free.append(one)
            if not free:
                return
            with self.pace.writing(len(free)) as conn:
                dropped, _ = sweeping.drop(conn, free, now_ms)
            evicting.unlink_dropped(self.home, [d.key for d in dropped])
            with self.pace.writing(len(dropped), durable=False) as conn:
                evicting.forget(conn, [d.replica_id for d in dropped])

    # -- the clock ---------------------------------------------------------------------------------------------------------------

    def _save(self, conn: Connection) -> None:
        clock.save(conn, self.clock.ms)
        self.clock.saved_ms = self.clock.ms
