"""One function per arrow of a replica's state machine. Each is a compare-and-swap: it changes what is still as the caller has seen
it, and says how much that was. The legal steps stand in rules/10_steps.sql, what may be dropped in rules/20_safety.sql."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lading_catalog.connection import Connection
from lading_catalog.errors import Error, Unavailable
from lading_catalog.names import name_text

PRIORITIES = {"urgent": 0, "normal": 1, "bulk": 2}
TURNS = 8  # of so many places each class gets one at least, and the most urgent one the rest


@dataclass(frozen=True, slots=True)
class Claim:
    """Work for the copier: bring this object to this store under this key. `local_key` is None when no local copy is present."""

    replica_id: int
    object_id: int
    store_id: int
    key: str
    sha256: bytes
    size_bytes: int
    attempts: int  # this one included
    local_key: str | None
    name: str
    mime: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A claim that ended without proof: what the store said and when to try again. `code`: instead of the error's reason."""

    replica_id: int
    error: Error
    due_at_ms: int
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Success:
    """A claim that ended with proof. `value`: the digest observed; None when it is the object's own SHA-256."""

    replica_id: int
    by: str
    algorithm: str
    value: bytes | None
    verified_at_ms: int


def next_due_ms(conn: Connection, store_id: int, blocked: bool = False) -> int | None:
    """When the earliest owed replica of the store is due; None if nothing is owed. One index look-up a priority."""
    return conn.value(  # type: ignore[no-any-return]
        "SELECT min(due) FROM (SELECT (SELECT due_at_ms FROM owed WHERE store_id = :s AND blocked = :b AND priority = p.value"
        " ORDER BY due_at_ms LIMIT 1) AS due FROM json_each('[0,1,2]') p)",
        {"s": store_id, "b": blocked},
    )


def claimable(
    conn: Connection, store_id: int, now_ms: int, limit: int, retry_max_ms: int, *, blocked: bool = False, turn: int = 0
) -> list[int]:
    """Up to `limit` owed replicas of a store that are due: urgent before normal before bulk, the longest due first, and at least an
    eighth of the places for each class, so that none starves. Where there are fewer places than classes, they take turns: `turn` counts
    the calls. A due time further away than the longest pause is the trace of a clock that jumped back, and counts as due."""
    found: list[list[int]] = []
    for priority in PRIORITIES.values():
        due = conn.rows(
            "SELECT id FROM owed WHERE store_id = ? AND blocked = ? AND priority = ? AND due_at_ms <= ? ORDER BY due_at_ms LIMIT ?",
            (store_id, blocked, priority, now_ms, limit),
        )
        due += conn.rows(
            "SELECT id FROM owed WHERE store_id = ? AND blocked = ? AND priority = ? AND due_at_ms > ? ORDER BY due_at_ms LIMIT ?",
            (store_id, blocked, priority, now_ms + retry_max_ms, limit - len(due)),
        )
        found.append([i for (i,) in due])
    if limit < len(found):
        first = max(0, turn % TURNS - TURNS + len(found))  # the last turns are those of the less urgent classes
        return [i for ids in (found[first], *found[:first], *found[first + 1 :]) for i in ids][:limit]
    reserved = max(1, limit // TURNS)
    return [*(i for ids in found for i in ids[:reserved]), *(i for ids in found for i in ids[reserved:])][:limit]


def claim(conn: Connection, ids: Sequence[int], epoch: int) -> list[Claim]:
    """wanted → copying, for those of `ids` that still are. The commit must be durable: no byte goes out for a claim that a power
    cut could take back, else its replica could be forgotten without a delete."""
    taken = {
        i
        for (i,) in conn.rows(
            "UPDATE replica SET state = 'copying', attempts = attempts + 1, epoch = ?"
            " WHERE id IN (SELECT value FROM json_each(?)) AND state = 'wanted' RETURNING id",
            (epoch, json.dumps(list(ids))),
        )
    }
    rows = conn.rows(
        "SELECT r.id, r.object_id, r.store_id, r.key, o.sha256, o.size_bytes, r.attempts,"
        " (SELECT l.key FROM replica l WHERE l.object_id = r.object_id AND l.store_id = 0"
        "  AND l.state IN ('wanted', 'copying', 'present') AND l.state = 'present'), m.name, m.mime"
        " FROM json_each(?) j CROSS JOIN replica r ON r.id = j.value CROSS JOIN object o ON o.id = r.object_id"
        " LEFT JOIN medium m ON m.id = (SELECT min(id) FROM medium WHERE object_id = r.object_id) ORDER BY j.key",
        (json.dumps([i for i in ids if i in taken]),),
    )
    return [
        Claim(i, object_id, in_store, key, sha256, size, n, local_key, name_text(name or ""), mime or "application/octet-stream")
        for i, object_id, in_store, key, sha256, size, n, local_key, name, mime in rows
    ]


def confirm(conn: Connection, done: Iterable[Success], epoch: int) -> int:
    """copying → present, with proof; only of claims of this epoch. Returns how many."""
    proofs = [[s.replica_id, s.by, s.algorithm, s.value and s.value.hex(), s.verified_at_ms] for s in done]
    return conn.run(
        "UPDATE replica SET state = 'present', proof_by = j.value ->> 1, proof_algorithm = j.value ->> 2,"
        " proof_value = unhex(j.value ->> 3), verified_at_ms = j.value ->> 4, wanted_at_ms = 0,"
        " due_at_ms = 0, blocked = 0, error_code = NULL, error = NULL, hint = NULL,"
        " error_since_ms = NULL FROM json_each(?) j WHERE replica.id = j.value ->> 0 AND state = 'copying' AND epoch = ?",
        (json.dumps(proofs), epoch),
    )


def release(conn: Connection, failures: Iterable[Failure], epoch: int, now_ms: int) -> int:
    """copying → wanted, with what went wrong and when to try again; only of claims of this epoch. Returns how many."""
    return sum(
        conn.run(
            "UPDATE replica SET state = 'wanted', due_at_ms = ?, ended_at_ms = ?, unsure = max(unsure, ?), blocked = ?, error_code = ?,"
            " error = ?, hint = ?, error_since_ms = coalesce(error_since_ms, ?) WHERE id = ? AND state = 'copying' AND epoch = ?",
            (
                f.due_at_ms,
                now_ms,
                isinstance(f.error, Unavailable),  # no word, or none that can be trusted: it may yet arrive
                f.error.permanent,
                f.code or f.error.reason,
                f.error.detail,
                f.error.hint or None,
                now_ms,
                f.replica_id,
                epoch,
            ),
        )
        for f in failures
    )


def release_running(conn: Connection, ids: Iterable[int], epoch: int) -> int:
    """copying → wanted for claims whose transfer was cut off by a stop. It may have arrived: the same key is tried again."""
    return sum(
        conn.run(
            "UPDATE replica SET state = 'wanted', unsure = 1, ended_at_ms = ? WHERE id = ? AND state = 'copying' AND epoch = ?",
            (conn.now_ms(), i, epoch),
        )
        for i in ids
    )


def release_abandoned(conn: Connection, epoch: int, limit: int) -> int:
    """copying → wanted for claims of an earlier life of the daemon, at once due. Returns how many; `limit` a call."""
    return conn.run(
        "UPDATE replica SET state = 'wanted', unsure = 1, ended_at_ms = ? WHERE id IN"
        " (SELECT id FROM replica WHERE state = 'copying' AND store_id IN (SELECT id FROM store) AND epoch <> ? LIMIT ?)",
        (conn.now_ms(), epoch, limit),
    )


def lose(conn: Connection, replica_id: int) -> bool:
    """present → damaged: set aside with its key and bytes. Where it was needed, the schema wants a new one in its place."""
    return bool(conn.run("UPDATE replica SET state = 'damaged', need_n = 0 WHERE id = ? AND state = 'present'", (replica_id,)))


def drop(conn: Connection, replica_id: int, seen_state: str) -> bool:
    """wanted, present or damaged → dropping. The schema refuses (apsw.ConstraintError) what is needed or not safe elsewhere."""
    return bool(conn.run("UPDATE replica SET state = 'dropping' WHERE id = ? AND state = ?", (replica_id, seen_state)))


def forget(conn: Connection, replica_id: int) -> bool:
    """dropping → no row, once the bytes are gone."""
    return bool(conn.run("DELETE FROM replica WHERE id = ? AND state = 'dropping'", (replica_id,)))


def new_epoch(conn: Connection) -> int:
    """Begin a new life of the daemon."""
    conn.run("UPDATE meta SET v = v + 1 WHERE k = 'epoch'")
    return int(conn.value("SELECT v FROM meta WHERE k = 'epoch'"))
