"""The planner: brings old media in line with what has been decided for them, a slice at a time."""

from __future__ import annotations

from dataclasses import dataclass

from lading_catalog import safety, tables
from lading_catalog.connection import Connection
from ladingd.pace import Pace


@dataclass
class Planner:
    """Media of columns whose destinations changed, or that are being dropped; safety after a change of `min_copies`."""

    conn: Connection
    pace: Pace

    def step(self, now_ms: int) -> float | None:
        if tables.moves_due(self.conn):
            with self.pace.writing(self.pace.slice, durable=False) as conn:
                tables.move_step(conn, self.pace.slice)
            return 0
        if tables.closing_due(self.conn):
            with self.pace.writing(self.pace.slice, durable=False) as conn:
                tables.close_step(conn, self.pace.slice)
            return 0
        if safety.review_due(self.conn):
            with self.pace.writing(self.pace.slice, durable=False) as conn:
                safety.review_step(conn, self.pace.slice)
            return 0
        return None
