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
    return conn.one("SELECT 1 FROM journal WHERE at_ms < ? LIMIT 1", (before_ms,)) is not None


def trim(conn: Connection, before_ms: int, limit: int) -> int:
    """Forget up to `limit` events older than `before_ms`; returns how many."""
    return conn.run(
        "DELETE FROM journal WHERE seq IN (SELECT seq FROM journal WHERE at_ms < ? ORDER BY at_ms LIMIT ?)", (before_ms, limit)
    )
