"""Tombstones: the daemon sees new ones, which begins their grace, and keeps the catalog clock that grace is counted on. Local copies
whose grace is over go here too; those in destinations: sweep.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lading_catalog import clock, sweeping
from lading_catalog.connection import Connection
from ladingd.catalog_clock import CatalogClock
from ladingd.pace import Pace


@dataclass
class Graves:
    """`clock` is shared with the sweepers; this step advances it for all of them."""

    conn: Connection
    pace: Pace
    home: Path
    clock: CatalogClock
    grace_ms: int

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
        return None

    def _save(self, conn: Connection) -> None:
        clock.save(conn, self.clock.ms)
        self.clock.saved_ms = self.clock.ms
