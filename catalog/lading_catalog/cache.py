"""The local copies as a whole: how much they take, what could go, and whether the budget is enough for what is used. Kept by triggers, so
each is a look-up."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager

from lading_catalog.connection import Connection

SOON_MS = 3_600_000  # so long a finding counts
_NEWS = 0.1  # a change by less is not worth a write


def local_bytes(conn: Connection) -> int:
    return int(conn.value("SELECT coalesce(sum(size_bytes), 0) FROM counter WHERE store_id = 0 AND state = 'present'"))


def once_and_evictable_bytes(conn: Connection) -> tuple[int, int]:
    """Of what can be evicted: (what was used but once, all)."""
    found = dict(conn.rows("SELECT hold, size_bytes FROM hold_tally WHERE hold IN ('once', 'evictable')"))
    return found["once"], found["evictable"]


def sha256_of(conn: Connection, object_id: int) -> bytes:
    return bytes(conn.value("SELECT sha256 FROM object WHERE id = ?", (object_id,)))


def wanted(conn: Connection, now_ms: int) -> int | None:
    """How large the cache would have to be for what was used in an hour, if the daemon has lately found it too small; else None."""
    text = conn.value("SELECT v FROM meta WHERE k = 'cache_wanted'")
    known = json.loads(text) if text is not None else None
    return known["size_bytes"] if known is not None and 0 <= now_ms - known["at_ms"] < SOON_MS else None


def note_wanted(
    conn: Connection, size_bytes: int, now_ms: int, writing: Callable[[int, bool], AbstractContextManager[Connection]]
) -> None:
    """Write it down where that is news."""
    known = wanted(conn, now_ms)
    if known is not None and abs(known - size_bytes) <= known * _NEWS:
        return
    with writing(1, False):
        conn.run(
            "INSERT INTO meta (k, v) VALUES ('cache_wanted', ?) ON CONFLICT DO UPDATE SET v = excluded.v",
            (json.dumps({"size_bytes": size_bytes, "at_ms": now_ms}),),
        )
