"""Fetching: a wanted replica in the local store becomes present, from a copy that another store has.

    (no row) ──want──► wanted ──claim──► copying ──► the daemon gets the bytes ──► confirm (whole, under its final name) or release

One live replica an object and store (the index replica_live): however many ask, in however many processes, it is fetched once. A put of
the same bytes wins (media.put): the fetch's confirm then changes nothing. The claim is durable: a file gets its final name only for a
row that no power cut takes back. A want need not be: who has lost it asks again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lading_catalog import keys, replicas
from lading_catalog.connection import Connection
from lading_catalog.errors import Archived, Damaged, Error, Full, Missing, Refused, Unavailable
from lading_catalog.localstore import SHARDS
from lading_catalog.replicas import Failure

URGENT, NORMAL = 0, 1  # somebody waits for it; the daemon or a whole table wants it
COPY_WAITS_MS = 60_000  # a copy that waits for its bytes to come here; their arrival makes it due at once (rules/40_needs.sql)


@dataclass(slots=True)
class Here:
    """What the catalog says of an object's copy on this disk: `state` None is no live replica. `error`: of the last attempt. `media_n`:
    how many media have it."""

    object_id: int
    media_n: int
    sha256: bytes
    size_bytes: int
    replica_id: int | None
    state: str | None
    key: str
    inode: int
    mtime_ns: int
    attempts: int
    due_at_ms: int
    error_code: str | None
    error: str | None
    hint: str | None

    def failure(self) -> Error | None:
        """What the last attempt to fetch it ended with, as the error that it was."""
        if self.error_code is None:
            return None
        detail, hint = self.error or "Fetching failed.", self.hint or ""
        if self.error_code in ("refused", "no_credentials", "no_bucket"):
            return Refused(detail, reason=self.error_code, hint=hint)
        simple: dict[str, type[Error]] = {"missing": Missing, "damaged": Damaged, "full": Full, "archived": Archived}
        if self.error_code in simple:
            return simple[self.error_code](detail, hint=hint)
        return Unavailable(detail, reason=self.error_code, hint=hint)


_HERE = (
    "SELECT o.id, o.media_n, o.sha256, o.size_bytes, r.id, r.state, r.key, r.inode, r.mtime_ns, r.attempts, r.due_at_ms, r.error_code,"
    " r.error, r.hint FROM {} LEFT JOIN replica r ON r.object_id = o.id AND r.store_id = 0 AND r.state IN ('wanted', 'copying', 'present')"
)
_OF_MEDIUM = _HERE.format("medium m CROSS JOIN object o ON o.id = m.object_id") + " WHERE m.ulid = ?"
_OF_OBJECTS = _HERE.format("json_each(?) j CROSS JOIN object o ON o.id = j.value")


def look(conn: Connection, ulid: str) -> Here | None:
    """The copy of a medium; None where there is no such medium (any more)."""
    row = conn.one(_OF_MEDIUM, (ulid,))
    return Here(*row) if row is not None else None


def look_at(conn: Connection, object_ids: Iterable[int]) -> list[Here]:
    """The copies of many objects."""
    return [Here(*row) for row in conn.rows(_OF_OBJECTS, (json.dumps(list(object_ids)),))]


# -- want --------------------------------------------------------------------------------------------------------------------------


def want(conn: Connection, object_id: int, priority: int = URGENT) -> None:
    """Let the object have a copy on this disk. One that is on its way already is made as urgent as this one, and due at once. Raises
    Missing where no store has a copy to fetch."""
    now = conn.now_ms()
    live = conn.one(
        "SELECT id, state, priority, due_at_ms, blocked FROM replica WHERE object_id = ? AND store_id = 0"
        " AND state IN ('wanted', 'copying', 'present')",
        (object_id,),
    )
    if live is None:
        if not _elsewhere(conn, object_id):
            raise _missing(conn, object_id)
        conn.run(
            "INSERT INTO replica (object_id, store_id, key, state, priority, wanted_at_ms, due_at_ms) VALUES (?, 0, ?, 'wanted', ?, ?, ?)",
            (object_id, _new_key(conn, object_id), priority, now, now),
        )
        return
    replica_id, state, before, due_ms, blocked = live
    if state == "wanted" and (priority < before or due_ms > now or blocked):
        conn.run(
            "UPDATE replica SET priority = min(priority, ?), due_at_ms = min(due_at_ms, ?), blocked = 0 WHERE id = ?",
            (priority, now, replica_id),
        )


def want_back(conn: Connection, object_id: int, priority: int = NORMAL) -> bool:
    """`want`, for the daemon: whether there is a copy to fetch."""
    try:
        want(conn, object_id, priority)
    except Missing:
        return False
    return True


def want_for_copies(conn: Connection, ids: Sequence[int]) -> list[int]:
    """Of owed replicas that are about to be claimed: those that can be sent now. The others' bytes are not on this disk but in another
    store: they are wanted here first, with the same priority."""
    away = conn.rows(
        "SELECT r.id, r.object_id, r.priority FROM json_each(?) j CROSS JOIN replica r ON r.id = j.value WHERE r.state = 'wanted'"
        " AND NOT EXISTS (SELECT 1 FROM replica l WHERE l.object_id = r.object_id AND l.store_id = 0"
        "  AND l.state IN ('wanted', 'copying', 'present') AND l.state = 'present')"
        " AND EXISTS (SELECT 1 FROM replica s WHERE s.object_id = r.object_id AND s.store_id <> 0"
        "  AND s.state IN ('wanted', 'copying', 'present') AND s.state = 'present')",
        (json.dumps(list(ids)),),
    )
    for replica_id, object_id, priority in away:
        want(conn, object_id, priority)
        conn.run(
            "UPDATE replica SET due_at_ms = ? WHERE id = ? AND state = 'wanted'", (conn.now_ms() + COPY_WAITS_MS, replica_id)
        )
    waiting = {i for i, _, _ in away}
    return [i for i in ids if i not in waiting]


def _elsewhere(conn: Connection, object_id: int) -> bool:
    return bool(
        conn.value(
            "SELECT EXISTS (SELECT 1 FROM replica WHERE object_id = :o AND store_id <> 0"
            " AND state IN ('wanted', 'copying', 'present') AND state = 'present')"
            " OR EXISTS (SELECT 1 FROM replica WHERE object_id = :o AND store_id <> 0"
            " AND state IN ('dropping', 'damaged') AND state = 'damaged')",
            {"o": object_id},
        )
    )


def _missing(conn: Connection, object_id: int) -> Missing:
    rows = conn.rows(
        "SELECT s.uri, r.state FROM replica r JOIN store s ON s.id = r.store_id WHERE r.object_id = ? AND r.store_id <> 0"
        " AND (r.state IN ('wanted', 'copying', 'present') OR r.state IN ('dropping', 'damaged')) ORDER BY r.store_id, r.id",
        (object_id,),
    )
    where = "; ".join(f"{uri}: {state}" for uri, state in rows) or "it has no destination"
    return Missing(f"There is no copy to fetch, here or elsewhere ({where}).", hint="Put the original file again.")


def _new_key(conn: Connection, object_id: int) -> str:
    name = conn.value("SELECT name FROM medium WHERE object_id = ? ORDER BY id LIMIT 1", (object_id,))
    shard = f"{conn.random_bytes(1)[0] % SHARDS:03x}"
    return keys.local_key(shard, conn.random_bytes(keys.LOCAL_NONCE_BYTES), keys.split_ext(name or "")[1])


# -- claim, confirm ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """A copy that may be read. `damaged`: it was set aside, but its bytes are looked at anyhow before they count."""

    replica_id: int
    store_id: int
    uri: str
    key: str
    damaged: bool
    store_state: str
    paused: bool
    round_trip_s: float


@dataclass(frozen=True, slots=True)
class Fetch:
    """Work for the fetcher: bring this object under this key of the local store, from one of its sources, the best one first."""

    replica_id: int
    object_id: int
    key: str
    sha256: bytes
    size_bytes: int
    attempts: int  # this one included
    priority: int
    sources: tuple[Source, ...]


_STATES = {"ok": 0, "full": 0, "throttled": 1, "unreachable": 3, "blocked": 4}  # (paused: 2)


def in_order(sources: Iterable[Source], failed: Collection[int] = ()) -> list[Source]:
    """Which source to read first: one that has not just failed (`failed`: replica ids); one that was never found damaged; of a store
    that is well before one that asks to go slower, rests, is away, or lets us do nothing; a directory before the network; the nearest."""

    def rank(s: Source) -> tuple[Any, ...]:
        health = max(2, _STATES.get(s.store_state, 3)) if s.paused else _STATES.get(s.store_state, 3)
        return (s.replica_id in failed, s.damaged, health, not s.uri.startswith("file:"), s.round_trip_s, s.replica_id)

    return sorted(sources, key=rank)


def claimable(conn: Connection, priorities: Sequence[int], now_ms: int, limit: int, longest_ms: int) -> list[int]:
    """Up to `limit` fetches of these priorities that are due, the most urgent first. A due time further away than the longest pause is
    the trace of a clock that jumped back."""
    found: list[int] = []
    for priority in priorities:
        for blocked in (0, 1):
            for due in ("due_at_ms <= :now", "due_at_ms > :now + :longest"):
                if (room := limit - len(found)) > 0:
                    found += [
                        i
                        for (i,) in conn.rows(
                            f"SELECT id FROM owed WHERE store_id = 0 AND blocked = :b AND priority = :p AND {due}"
                            " ORDER BY due_at_ms LIMIT :n",
                            {"b": blocked, "p": priority, "now": now_ms, "longest": longest_ms, "n": room},
                        )
                    ]
    return found


def claim(conn: Connection, ids: Sequence[int], epoch: int, rest_until_ms: int) -> list[Fetch]:
    """wanted → copying, in a durable transaction, for those of `ids` that still are and whose object has media. The others rest: nobody
    asks for them any more, and their tombstone takes them away."""
    taken = {
        i
        for (i,) in conn.rows(
            "UPDATE replica SET state = 'copying', attempts = attempts + 1, epoch = ?, blocked = 0, error_code = NULL, error = NULL,"
            " hint = NULL WHERE id IN (SELECT value FROM json_each(?)) AND state = 'wanted' AND store_id = 0"
            " AND (SELECT media_n FROM object WHERE id = object_id) > 0 RETURNING id",
            (epoch, json.dumps(list(ids))),
        )
    }
    if len(taken) < len(ids):
        conn.run(
            "UPDATE replica SET due_at_ms = ? WHERE id IN (SELECT value FROM json_each(?)) AND state = 'wanted'",
            (rest_until_ms, json.dumps([i for i in ids if i not in taken])),
        )
    chosen = json.dumps([i for i in ids if i in taken])
    sources: dict[int, list[Source]] = {}
    for fetch_id, *source, round_trip_s in conn.rows(
        "SELECT r.id, s.id, s.store_id, t.uri, s.key, s.state = 'damaged', t.state, t.paused, coalesce(t.probe ->> 'round_trip_s', 0.0)"
        " FROM json_each(?) j CROSS JOIN replica r ON r.id = j.value CROSS JOIN replica s ON s.object_id = r.object_id"
        " AND (s.state IN ('wanted', 'copying', 'present') OR s.state IN ('dropping', 'damaged'))"
        " JOIN store t ON t.id = s.store_id WHERE s.state IN ('present', 'damaged') AND s.store_id <> 0",
        (chosen,),
    ):
        replica_id, store_id, uri, key, damaged, state, paused = source
        sources.setdefault(fetch_id, []).append(
            Source(replica_id, store_id, uri, key, bool(damaged), state, bool(paused), float(round_trip_s))
        )
    return [
        Fetch(i, object_id, key, sha256, size, n, priority, tuple(in_order(sources.get(i, []))))
        for i, object_id, key, sha256, size, n, priority in conn.rows(
            "SELECT r.id, r.object_id, r.key, o.sha256, o.size_bytes, r.attempts, r.priority FROM json_each(?) j"
            " CROSS JOIN replica r ON r.id = j.value CROSS JOIN object o ON o.id = r.object_id ORDER BY j.key",
            (chosen,),
        )
    ]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A fetch whose file stands, whole and synced, under its final name."""

    replica_id: int
    inode: int
    mtime_ns: int


def confirm(conn: Connection, done: Iterable[Arrived], epoch: int) -> set[int]:
    """copying → present; only of claims of this epoch. Returns which: the files of the others are nobody's (a put has won)."""
    now = conn.now_ms()
    return {
        i
        for (i,) in conn.rows(
            "UPDATE replica SET state = 'present', inode = j.value ->> 1, mtime_ns = j.value ->> 2, used_at_ms = ?, verified_at_ms = ?,"
            " wanted_at_ms = 0, due_at_ms = 0, blocked = 0, error_code = NULL, error = NULL, hint = NULL, error_since_ms = NULL"
            " FROM json_each(?) j WHERE replica.id = j.value ->> 0 AND store_id = 0 AND state = 'copying' AND epoch = ?"
            " RETURNING replica.id",
            (now, now, json.dumps([[a.replica_id, a.inode, a.mtime_ns] for a in done]), epoch),
        )
    }


def release(conn: Connection, failures: Iterable[tuple[int, Error, int]], epoch: int, now_ms: int) -> int:
    """copying → wanted: (replica id, what went wrong, when to try again); only of claims of this epoch. Returns how many."""
    failed = [Failure(i, error, due_ms, "missing" if isinstance(error, Missing) else None) for i, error, due_ms in failures]
    return replicas.release(conn, failed, epoch, now_ms)


def next_due_ms(conn: Connection) -> int | None:
    """When the next fetch is due; None if none is owed."""
    return conn.value(  # type: ignore[no-any-return]
        "SELECT min(due) FROM (SELECT (SELECT due_at_ms FROM owed WHERE store_id = 0 AND blocked = b.value AND priority = p.value"
        " ORDER BY due_at_ms LIMIT 1) AS due FROM json_each('[0,1,2]') p, json_each('[0,1]') b)"
    )


def unfinished(conn: Connection, replica_ids: Iterable[int]) -> dict[int, tuple[str, str]]:
    """Of these local replicas those that there still are: id → (state, key)."""
    rows = conn.rows(
        "SELECT r.id, r.state, r.key FROM json_each(?) j CROSS JOIN replica r ON r.id = j.value WHERE r.store_id = 0",
        (json.dumps(list(replica_ids)),),
    )
    return {i: (state, key) for i, state, key in rows}
