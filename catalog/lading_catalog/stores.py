"""Stores and sets of destinations: rows that are few, made when first named, and never changed under what points to them."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lading_catalog import uris
from lading_catalog.connection import Connection
from lading_catalog.errors import ConfigError, Error

LOCAL = 0  # the id of the local store
RETRIED_BY_A_TEST = 100  # replicas: the transaction stays short
SUPPORTED = ("file", "s3")  # the providers that the daemon has: a destination that nobody can bring anything to is refused

# A store's reason to be in the state that its last failure gave it; every other code leaves it `unreachable`.
_STATE_OF_ERROR = {
    "throttled": "throttled", "refused": "blocked", "no_credentials": "blocked", "no_bucket": "blocked", "full": "full",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoreRow:
    """A store and its health. `next_try_at_ms` is None while it is well; `probe` is what a canary has shown, or None."""

    id: int
    uri: str
    paused: bool
    state: str
    probe: dict[str, Any] | None
    error_code: str | None
    error_n: int
    next_try_at_ms: int | None


_COLUMNS = "SELECT id, uri, paused, state, probe, error_code, error_n, next_try_at_ms FROM store"


def _row(row: tuple[Any, ...]) -> StoreRow:
    store_id, uri, paused, state, probe, code, n, next_try_ms = row
    return StoreRow(store_id, uri, bool(paused), state, json.loads(probe) if probe else None, code, n, next_try_ms)


def destinations(conn: Connection) -> list[StoreRow]:
    return [_row(row) for row in conn.rows(f"{_COLUMNS} WHERE role = 'destination' ORDER BY id")]


def get(conn: Connection, store_id: int) -> StoreRow:
    return _row(conn.rows(f"{_COLUMNS} WHERE id = ?", (store_id,))[0])


def destination_id(conn: Connection, uri: str, endpoints: Collection[str] = ()) -> int:
    """The id of a destination, made if it is new. Raises ConfigError for a wrong URI and for one inside another destination."""
    wanted = _parsed(uri, frozenset(endpoints))
    if wanted.provider not in SUPPORTED:
        raise ConfigError(
            f"{wanted.uri}: this version of Lading cannot send to such a store yet.",
            hint="Today: s3://bucket/prefix/ and file:///path/.",
        )
    found = conn.value("SELECT id FROM store WHERE uri = ?", (wanted.uri,))
    if found is not None:
        return int(found)
    for (other,) in conn.rows("SELECT uri FROM store WHERE role = 'destination'"):
        if uris.nested(wanted, uris.parse(other, {*endpoints, *uris.endpoint_name(other)})):
            raise ConfigError(
                f"{wanted.uri} and {other} lie inside each other; each destination needs a place of its own.",
                hint="Use the existing one, or a folder beside it.",
            )
    conn.run("INSERT INTO store (uri, role) VALUES (?, 'destination')", (wanted.uri,))
    return conn.last_id()


_parsed = functools.lru_cache(maxsize=256)(uris.parse)  # a put names its destinations each time


def set_id(conn: Connection, destination_uris: Sequence[str], endpoints: Collection[str] = ()) -> int | None:
    """The id of the immutable set of these destinations; None for no destination."""
    ids = sorted({destination_id(conn, uri, endpoints) for uri in destination_uris})
    if not ids:
        return None
    text = json.dumps(ids, separators=(",", ":"))
    found = conn.value("SELECT id FROM dest_set WHERE stores = ?", (text,))
    if found is not None:
        return int(found)
    conn.run("INSERT INTO dest_set (stores) VALUES (?)", (text,))
    new = conn.last_id()
    conn.run_many("INSERT INTO dest_set_store (set_id, store_id) VALUES (?, ?)", [(new, i) for i in ids])
    return new


def set_uris(conn: Connection, of_set: int | None) -> list[str]:
    return [
        uri
        for (uri,) in conn.rows(
            "SELECT s.uri FROM dest_set_store d JOIN store s ON s.id = d.store_id WHERE d.set_id = ? ORDER BY s.id",
            (of_set,),
        )
    ]


# -- health: what the daemon has observed of a destination -------------------------------------------------------------------------


def failed(conn: Connection, store_id: int, error: Error, now_ms: int, next_try_at_ms: int) -> None:
    """Record a failure of the whole store. The first one's time stays until a success."""
    conn.run(
        "UPDATE store SET state = ?, error_code = ?, error = ?, hint = ?, error_n = error_n + 1,"
        " error_since_ms = coalesce(error_since_ms, ?), next_try_at_ms = ? WHERE id = ?",
        (
            _STATE_OF_ERROR.get(error.reason, "unreachable"),
            error.reason,
            error.detail,
            error.hint or None,
            now_ms,
            next_try_at_ms,
            store_id,
        ),
    )


def well(conn: Connection, store_id: int) -> None:
    """Record that the store answers again. Writes nothing where it was well already."""
    conn.run(
        "UPDATE store SET state = 'ok', error_code = NULL, error = NULL, hint = NULL, error_n = 0, error_since_ms = NULL,"
        " next_try_at_ms = NULL WHERE id = ? AND (state <> 'ok' OR error_n > 0)",
        (store_id,),
    )


def set_probe(conn: Connection, store_id: int, facts: dict[str, Any] | None) -> None:
    conn.run("UPDATE store SET probe = ? WHERE id = ?", (json.dumps(facts) if facts is not None else None, store_id))


def set_rate(conn: Connection, store_id: int, bytes_per_s: int, now_ms: int) -> None:
    conn.run("UPDATE store SET rate_bytes_per_s = ?, rate_at_ms = ? WHERE id = ?", (bytes_per_s, now_ms, store_id))


def tested(conn: Connection, store_id: int, facts: dict[str, Any]) -> None:
    """Somebody has tested the store, and it works: remember what it showed, and let a daemon try it again at once; also the first of
    those that were set back on their own. The others follow once these have arrived."""
    set_probe(conn, store_id, facts)
    conn.run("UPDATE store SET next_try_at_ms = NULL WHERE id = ?", (store_id,))
    conn.run(
        "UPDATE replica SET due_at_ms = wanted_at_ms WHERE id IN"
        " (SELECT id FROM owed WHERE store_id = ? AND blocked = 1 AND priority IN (0, 1, 2) AND due_at_ms > ? LIMIT ?)",
        (store_id, conn.now_ms(), RETRIED_BY_A_TEST),
    )


def pause(conn: Connection, row: StoreRow, paused: bool) -> StoreRow:
    """Let a destination rest, or go on; returns its row as it is then."""
    conn.run("UPDATE store SET paused = ? WHERE id = ?", (paused, row.id))
    return replace(row, paused=paused)


def follow_block(conn: Connection, store_id: int, limit: int) -> int:
    """Media that wait for a store that somebody must mend are `blocked`, and no longer once it answers: brings up to `limit`
    replicas in line with their store. Returns how many it changed."""
    state, code, error, hint, since = conn.rows(
        "SELECT state, error_code, error, hint, error_since_ms FROM store WHERE id = ?", (store_id,)
    )[0]
    if state in ("blocked", "full"):
        return conn.run(
            "UPDATE replica SET blocked = 1, error_code = ?, error = ?, hint = ?, error_since_ms = coalesce(error_since_ms, ?)"
            " WHERE id IN (SELECT id FROM owed WHERE store_id = ? AND blocked = 0 LIMIT ?)",
            (code, error, hint, since, store_id, limit),
        )
    return conn.run(
        "UPDATE replica SET blocked = 0, due_at_ms = wanted_at_ms WHERE id IN (SELECT id FROM owed WHERE store_id = ? AND blocked = 1"
        " AND error_code IN ('no_credentials', 'no_bucket', 'full', 'refused') LIMIT ?)",
        (store_id, limit),
    )
