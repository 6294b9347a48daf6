"""Sweeping: from a tombstone to a copy that is gone. What may be dropped stands in rules/20_safety.sql and is checked inside the
transaction that drops; here stands what is due, and what is remembered of a delete.

    tombstone ──see──► grace runs on the catalog clock ──► due ──drop (FULL)──► dropping ──DELETE in the store──► gone ──► forget

A replica that was ever claimed gets its DELETE some time after its last attempt has ended. Where one of its attempts ended without the
store's word (`unsure`), its bytes may arrive after that: it stays `dropping` and is deleted once more later.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from lading_catalog import clock
from lading_catalog.connection import Connection
from lading_catalog.errors import Error
from lading_catalog.shapes import when

SETTLE_MS = 600_000  # an attempt that ended may still be on its way: twice the longest time-out of a request
AGAIN_MS = 3_600_000  # what may have arrived after its DELETE is deleted once more, so much later
LOOK_MAX = 100_000  # nobody needs to know more exactly how much waits


@dataclass(frozen=True, slots=True)
class Due:
    """A replica whose grace is over. `claimed`: bytes of it may be in its store. `held`: what holds it back (the view `held`, or that it
    is being sent or deleted already); None: it may go."""

    seen_clock_ms: int
    replica_id: int
    object_id: int
    state: str
    key: str
    claimed: bool
    ended_at_ms: int
    held: str | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A replica in `dropping`: its key has to go."""

    replica_id: int
    key: str


def unseen(conn: Connection) -> bool:
    return conn.one("SELECT 1 FROM tombstone WHERE seen_clock_ms IS NULL LIMIT 1") is not None


def see(conn: Connection, clock_ms: int, limit: int) -> int:
    """The daemon has seen up to `limit` new tombstones: their grace begins. Returns how many."""
    return conn.run(
        "UPDATE tombstone SET seen_clock_ms = ? WHERE replica_id IN (SELECT replica_id FROM tombstone WHERE seen_clock_ms IS NULL LIMIT ?)",
        (clock_ms, limit),
    )


def waiting(conn: Connection) -> bool:
    """Whether there is any tombstone: whether the clock has to be kept."""
    return conn.one("SELECT 1 FROM tombstone LIMIT 1") is not None


def due(conn: Connection, store_id: int, upto_clock_ms: int, after: tuple[int, int], limit: int) -> list[Due]:
    """The next `limit` tombstones of a store that were seen until `upto_clock_ms`, in that order, behind `after` (seen_clock_ms, replica
    id). Also those that something holds back (`held`): the caller walks on past them."""
    rows = conn.rows(
        "SELECT t.seen_clock_ms, r.id, r.object_id, r.state, r.key, r.attempts > 0, r.ended_at_ms,"
        " iif(r.state IN ('copying', 'dropping'), r.state, (SELECT why FROM held WHERE replica_id = r.id)) FROM tombstone t"
        " CROSS JOIN replica r ON r.id = t.replica_id WHERE t.store_id = ? AND t.seen_clock_ms IS NOT NULL AND t.seen_clock_ms >= ?"
        " AND t.seen_clock_ms <= ? AND (t.seen_clock_ms > ? OR t.replica_id > ?) ORDER BY t.seen_clock_ms, t.replica_id LIMIT ?",
        (store_id, after[0], upto_clock_ms, *after, limit),
    )
    return [Due(seen, i, o, state, key, bool(claimed), ended, held) for seen, i, o, state, key, claimed, ended, held in rows]


def next_seen_ms(conn: Connection, store_id: int) -> int | None:
    """When the tombstone of the store was seen whose grace ends first; None if there is none."""
    return conn.value(  # type: ignore[no-any-return]
        "SELECT seen_clock_ms FROM tombstone WHERE store_id = ? AND seen_clock_ms IS NOT NULL ORDER BY seen_clock_ms LIMIT 1",
        (store_id,),
    )


def how_many(conn: Connection, store_id: int, upto_clock_ms: int) -> tuple[int, int]:
    """(how many copies, of how many bytes) are due in a store; counts up to LOOK_MAX. Copies that were never sent do not count."""
    found = conn.one(
        "SELECT count(*), coalesce(sum(size_bytes), 0) FROM (SELECT o.size_bytes FROM tombstone t"
        " CROSS JOIN replica r ON r.id = t.replica_id CROSS JOIN object o ON o.id = r.object_id"
        " WHERE t.store_id = ? AND t.seen_clock_ms IS NOT NULL AND t.seen_clock_ms <= ?"
        " AND r.state IN ('wanted', 'present', 'damaged') AND r.need_n = 0 AND r.attempts + (r.state <> 'wanted') > 0 LIMIT ?)",
        (store_id, upto_clock_ms, LOOK_MAX),
    )
    assert found is not None
    return int(found[0]), int(found[1])


def drop(conn: Connection, chosen: Sequence[Due], now_ms: int) -> tuple[list[Dropped], list[Due]]:
    """To `dropping`, those that still are as they were seen and that the schema lets go: (these, those it refuses). What no byte was
    ever sent of is forgotten right away. The transaction has to be durable: the DELETE follows it."""
    refused: list[Due] = []
    try:  # one statement for all, which is what nearly always happens
        taken = _drop_many(conn, chosen, now_ms)
    except apsw.ConstraintError:
        taken = set()
        for one in chosen:
            try:
                taken |= _drop_many(conn, [one], now_ms)
            except apsw.ConstraintError:
                refused.append(one)
    return _dropped(conn, [d for d in chosen if d.replica_id in taken]), refused


def _drop_many(conn: Connection, chosen: Sequence[Due], now_ms: int) -> set[int]:
    rows = conn.rows(
        "UPDATE replica SET state = 'dropping', due_at_ms = ?, error_code = NULL, error = NULL, hint = NULL, error_since_ms = NULL"
        " FROM json_each(?) j WHERE replica.id = j.value ->> 0 AND replica.state = j.value ->> 1 AND replica.need_n = 0 RETURNING id",
        (now_ms, json.dumps([[d.replica_id, d.state] for d in chosen])),
    )
    return {i for (i,) in rows}


def _dropped(conn: Connection, taken: Sequence[Due]) -> list[Dropped]:
    never_sent = [d.replica_id for d in taken if d.state == "wanted" and not d.claimed]
    if never_sent:
        conn.run(
            "DELETE FROM replica WHERE id IN (SELECT value FROM json_each(?)) AND state = 'dropping'", (json.dumps(never_sent),)
        )
    return [Dropped(d.replica_id, d.key) for d in taken if d.state != "wanted" or d.claimed]


def to_delete(conn: Connection, store_id: int, now_ms: int, longest_ms: int, limit: int) -> list[Dropped]:
    """Replicas in `dropping` whose DELETE is due: of an earlier life, to be tried again, or once more. A due time further away than the
    longest pause is the trace of a clock that jumped back."""
    rows = conn.rows(
        "SELECT id, key FROM replica WHERE store_id = ? AND state = 'dropping' AND due_at_ms <= ? ORDER BY due_at_ms LIMIT ?",
        (store_id, now_ms, limit),
    ) or conn.rows(
        "SELECT id, key FROM replica WHERE store_id = ? AND state = 'dropping' AND due_at_ms > ? ORDER BY due_at_ms LIMIT ?",
        (store_id, now_ms + longest_ms, limit),
    )
    return [Dropped(i, key) for i, key in rows]


def next_delete_ms(conn: Connection, store_id: int) -> int | None:
    return conn.value(  # type: ignore[no-any-return]
        "SELECT due_at_ms FROM replica WHERE store_id = ? AND state = 'dropping' ORDER BY due_at_ms LIMIT 1", (store_id,)
    )


def gone(conn: Connection, replica_ids: Sequence[int], clock_ms: int, now_ms: int) -> int:
    """The store says that these are gone: forgotten, or, where bytes may yet arrive, kept to be deleted once more. How many were
    forgotten."""
    ids = json.dumps(list(replica_ids))
    conn.run(
        "UPDATE replica SET gone_clock_ms = coalesce(gone_clock_ms, ?), due_at_ms = ?, error_code = NULL, error = NULL, hint = NULL,"
        " error_since_ms = NULL WHERE id IN (SELECT value FROM json_each(?)) AND state = 'dropping' AND unsure"
        " AND (gone_clock_ms IS NULL OR gone_clock_ms > ?)",
        (clock_ms, now_ms + AGAIN_MS, ids, clock_ms - AGAIN_MS),
    )
    return conn.run(
        "DELETE FROM replica WHERE id IN (SELECT value FROM json_each(?)) AND state = 'dropping'"
        " AND (NOT unsure OR gone_clock_ms <= ?)",
        (ids, clock_ms - AGAIN_MS),
    )


def not_gone(conn: Connection, failed: Sequence[tuple[int, Error]], now_ms: int, due_at_ms: int) -> None:
    """The DELETE of these failed; they stay `dropping` and are tried again."""
    conn.run_many(
        "UPDATE replica SET due_at_ms = ?, error_code = ?, error = ?, hint = ?, error_since_ms = coalesce(error_since_ms, ?)"
        " WHERE id = ? AND state = 'dropping'",
        [(due_at_ms, e.reason, e.detail, e.hint or None, now_ms, i) for i, e in failed],
    )


def local_copy_wanted(conn: Connection, object_id: int) -> bool:
    """Whether the last copy elsewhere can only go once there is one on this disk: the object has media, and none of them needs a
    destination any more."""
    return (
        conn.one(
            "SELECT 1 FROM object o WHERE o.id = ? AND o.media_n > 0 AND o.need_n = 0 AND NOT EXISTS (SELECT 1 FROM replica l"
            " WHERE l.object_id = o.id AND l.store_id = 0 AND l.state IN ('wanted', 'copying', 'present'))",
            (object_id,),
        )
        is not None
    )


def listing(conn: Connection, store_id: int, after: int, limit: int) -> list[dict[str, Any]]:
    """What waits to be deleted in a store, by replica id: `replica_id`, `key`, `state`, `sha256`, `size_bytes`, `reason`, `seen_clock_ms`
    (None: no daemon has seen it yet), `held` (what holds it back besides its grace; None: nothing)."""
    return conn.dicts(
        "SELECT r.id AS replica_id, r.key, r.state, lower(hex(o.sha256)) AS sha256, o.size_bytes, t.reason, t.seen_clock_ms,"
        " iif(t.seen_clock_ms IS NULL OR r.state IN ('copying', 'dropping'), NULL, (SELECT why FROM held WHERE replica_id = r.id)) AS held"
        " FROM tombstone t CROSS JOIN replica r ON r.id = t.replica_id CROSS JOIN object o ON o.id = r.object_id"
        " WHERE t.replica_id > ? AND t.store_id = ? ORDER BY t.replica_id LIMIT ?",
        (after, store_id, limit),
    )


NO_DELETES: dict[str, Any] = {"waiting": 0, "next_due_at": None, "stopped_plan": None, "resting": []}


def outlook(conn: Connection, now_ms: int) -> dict[str, Any]:
    """`deletes` of lading.status/1: how many copies wait (counted up to LOOK_MAX), when the next one is due if a daemon runs until then,
    the plan that waits for a confirmation, and where deletes rest and why."""
    count = conn.value("SELECT count(*) FROM (SELECT 1 FROM tombstone LIMIT ?)", (LOOK_MAX,))
    stores = conn.rows("SELECT id, uri, rest_code, rest_text, rest_hint, rest_since_ms FROM store")
    seen = [ms for (store_id, *_) in stores if (ms := next_seen_ms(conn, store_id)) is not None]
    left_ms = max(0, min(seen) + clock.grace_ms(conn) - clock.read(conn)) if seen else None
    return {
        "waiting": count,
        "next_due_at": when(now_ms + left_ms) if left_ms is not None else None,
        "stopped_plan": conn.value("SELECT id FROM sweep_plan WHERE confirmed_at_ms IS NULL ORDER BY made_at_ms LIMIT 1"),
        "resting": [
            {"destination": uri, "code": code, "message": text, "hint": hint, "since": when(since)}
            for _, uri, code, text, hint, since in stores
            if code is not None
        ],
    }
