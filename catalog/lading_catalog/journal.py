"""The journal, apart from what triggers write into it: what only the daemon sees, and trimming."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lading_catalog.connection import Connection


def note(conn: Connection, event: str, *, store_id: int | None = None, detail: Mapping[str, Any] | None = None) -> None:
    """Record an event that no row's change tells: daemon.started, destination.unreachable, …"""
    conn.run(
        "INSERT INTO journal (at_ms, step, store_id, detail) VALUES (?, ?, ?, ?)",
        (conn.now_ms(), event, store_id, json.dumps(dict(detail)) if detail is not None else None),
    )


def trimmable(conn: Connection, before_ms: int) -> bool:
    """Whether the oldest event is older than `before_ms`. By `seq`, which goes with time: an index over time would cost 50 bytes an
    event."""
    return conn.one("SELECT 1 FROM (SELECT at_ms FROM journal ORDER BY seq LIMIT 1) WHERE at_ms < ?", (before_ms,)) is not None


def trim(conn: Connection, before_ms: int, limit: int) -> int:
    """Forget, of the `limit` oldest events, those before `before_ms`; returns how many."""
    return conn.run(
        "DELETE FROM journal WHERE seq IN (SELECT seq FROM journal ORDER BY seq LIMIT ?) AND at_ms < ?", (limit, before_ms)
    )
