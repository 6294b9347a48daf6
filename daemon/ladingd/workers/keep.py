"""The housekeeper: the write-ahead log and the journal stay small."""

from __future__ import annotations

from dataclasses import dataclass, field

from lading_catalog import journal
from lading_catalog.connection import Connection
from ladingd.pace import Pace

CHECKPOINT_EVERY_MS = 1_000
WAL_TRUNCATE_BYTES = 32 << 20  # under many writers PASSIVE alone never resets the log (measured: 319 MB in 6 s)
TRIM_EVERY_MS = 600_000


@dataclass
class Keeper:
    """`dirty` is set by the service when others have changed the catalog; what the daemon wrote itself the pace counts."""

    conn: Connection
    pace: Pace
    journal_keep_s: float
    dirty: bool = True
    _last_checkpoint_ms: int = field(default=0)
    _last_trim_ms: int = field(default=0)
    _transactions: int = field(default=0)

    def step(self, now_ms: int) -> float | None:
        before_ms = now_ms - int(self.journal_keep_s * 1000)
        if abs(now_ms - self._last_trim_ms) >= TRIM_EVERY_MS:
            if journal.trimmable(self.conn, before_ms):
                with self.pace.writing(self.pace.slice, durable=False) as conn:
                    journal.trim(conn, before_ms, self.pace.slice * 4)
                return 0
            self._last_trim_ms = now_ms
        if self._transactions != self.pace.transactions:
            self._transactions, self.dirty = self.pace.transactions, True
        if not self.dirty:
            return None
        since_ms = abs(now_ms - self._last_checkpoint_ms)
        if since_ms < CHECKPOINT_EVERY_MS:
            return CHECKPOINT_EVERY_MS - since_ms
        self._last_checkpoint_ms = now_ms
        self.dirty = False
        self.conn.checkpoint(truncate=self.conn.wal_bytes() > WAL_TRUNCATE_BYTES)
        return None
