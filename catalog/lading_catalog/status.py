"""lading.status/1: one answer to "is everything all right?", in a constant number of look-ups whatever the catalog's size."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lading_catalog import cache, sweeping
from lading_catalog.connection import Connection
from lading_catalog.migrate import SCHEMA_VERSION
from lading_catalog.names import name_text, printable
from lading_catalog.shapes import Json, when
from lading_catalog.units import size_text
from lading_catalog.why import START_DAEMON, ago

PASSING = ("unreachable", "throttled")  # reasons why deletes rest that time mends
RATE_FRESH_MS = 15_000  # an older rate is history


@dataclass(frozen=True, slots=True)
class Daemon:
    """What is known of the daemon from its lock file. `last_seen_at_ms`: now while it runs. `fetch_only`: one is there that only fetches;
    `running` is False then, because it brings nothing to destinations."""

    running: bool
    pid: int | None = None
    version: str | None = None
    started_at_ms: int | None = None
    last_seen_at_ms: int | None = None
    fetch_only: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What of the configuration the answer depends on. Budget and min_free are resolved against this disk's size."""

    budget_bytes: int
    min_free_bytes: int
    warn_unsafe_after_ms: int


def status(conn: Connection, daemon: Daemon, limits: Limits, disk_free_bytes: int) -> Json:
    now = conn.now_ms()
    with conn.reading():
        media = dict(conn.rows("SELECT state, n FROM media_tally"))
        holds = {hold: (n, size) for hold, n, size in conn.rows("SELECT hold, n, size_bytes FROM hold_tally")}
        counters = {
            (s, state): (n, size) for s, state, n, size in conn.rows("SELECT store_id, state, n, size_bytes FROM counter")
        }
        destinations = [
            _destination(row, counters, now, conn.one(_OLDEST, (row["oldest_medium"],))) for row in conn.dicts(_DESTINATIONS)
        ]
        deletes = sweeping.outlook(conn, now)
        wanted_bytes = cache.wanted(conn, now)
        catalog_id = conn.value("SELECT v FROM meta WHERE k = 'catalog_id'")
    local = counters.get((0, "present"), (0, 0))
    return _shape(
        now, daemon, limits, disk_free_bytes, (catalog_id, conn.home), media, local, holds, destinations, deletes, wanted_bytes
    )


def nothing_yet(now_ms: int, home: Path, daemon: Daemon, limits: Limits, disk_free_bytes: int) -> Json:
    """lading.status/1 of a home that does not exist yet."""
    media = dict.fromkeys(("safe", "pending", "blocked", "local_only", "lost", "deleted"), 0)
    holds = dict.fromkeys(("unsafe", "evictable", "pinned"), (0, 0))
    return _shape(now_ms, daemon, limits, disk_free_bytes, (None, home), media, (0, 0), holds, [], sweeping.NO_DELETES, None)


def _shape(
    now: int, daemon: Daemon, limits: Limits, disk_free_bytes: int, catalog: tuple[str | None, Path], media: dict[str, int],
    local: tuple[int, int], holds: dict[str, tuple[int, int]], destinations: list[Json], deletes: Json, wanted_bytes: int | None,
) -> Json:  # fmt: skip
    living = {state: media[state] for state in ("safe", "pending", "blocked", "local_only", "lost")}
    result: Json = {
        "schema": "lading.status/1",
        "at": when(now),
        "verdict": "",
        "reasons": [],
        "daemon": {
            "running": daemon.running,
            "pid": daemon.pid if daemon.running else None,
            "version": daemon.version,
            "started_at": when(daemon.started_at_ms) if daemon.running else None,
            "last_seen_at": when(now if daemon.running else daemon.last_seen_at_ms),
            "paused": False,
        },
        "catalog": {"id": catalog[0], "home": str(catalog[1]), "schema_version": SCHEMA_VERSION},
        "media": {"total": sum(living.values()), **living, "deleted": media["deleted"]},
        "local": {
            "objects": local[0],
            "size_bytes": local[1],
            "budget_bytes": limits.budget_bytes,
            "unsafe_bytes": holds["unsafe"][1],
            "evictable_bytes": holds["evictable"][1],
            "pinned_bytes": holds["pinned"][1],
            "wanted_bytes": wanted_bytes,
            "disk_free_bytes": disk_free_bytes,
            "min_free_bytes": limits.min_free_bytes,
        },
        "destinations": destinations,
        "deletes": deletes,
    }
    result["verdict"], result["reasons"] = verdict(result, now, limits)
    return result


_DESTINATIONS = """
    SELECT s.*, (SELECT wanted_at_ms FROM owed WHERE store_id = s.id ORDER BY wanted_at_ms LIMIT 1) AS oldest_ms,
      (SELECT min(id) FROM medium WHERE object_id =
        (SELECT object_id FROM owed WHERE store_id = s.id ORDER BY wanted_at_ms LIMIT 1)) AS oldest_medium
    FROM store s WHERE s.role = 'destination' ORDER BY s.id"""
_OLDEST = "SELECT 'm_' || ulid, name FROM medium WHERE id = ?"


def _destination(
    row: Json, counters: dict[tuple[int, str], tuple[int, int]], now: int, oldest: tuple[str, str | bytes] | None
) -> Json:
    def count(*states: str) -> Json:
        found = [counters.get((row["id"], state), (0, 0)) for state in states]
        return {"objects": sum(n for n, _ in found), "size_bytes": sum(size for _, size in found)}

    fresh = row["rate_at_ms"] is not None and abs(now - row["rate_at_ms"]) < RATE_FRESH_MS
    return {
        "id": row["id"],
        "uri": row["uri"],
        "state": "paused" if row["paused"] else row["state"],
        "present": count("present"),
        "owed": {
            **count("wanted", "copying"),
            "oldest_at": when(row["oldest_ms"]),
            "oldest": {"id": oldest[0], "name": name_text(oldest[1])} if oldest else None,
        },
        "dropping": count("dropping"),
        "rate_bytes_per_s": row["rate_bytes_per_s"] if fresh else 0,
        "next_try_at": when(row["next_try_at_ms"]),
        "error": {
            "code": row["error_code"],
            "message": row["error"],
            "hint": row["hint"],
            "count": row["error_n"],
            "first_at": when(row["error_since_ms"]),
        }
        if row["error_code"]
        else None,
    }


def verdict(shape: dict[str, Any], now_ms: int, limits: Limits) -> tuple[str, list[str]]:
    """(`lost`, `at_risk`, `working` or `ok`; the reasons in sentences, the worst first). Only on this disk by choice is no risk to
    report each time, but it is said: a reason without a worse verdict."""
    from datetime import datetime

    def ms(text: str | None) -> int:
        return int(datetime.fromisoformat(text).timestamp() * 1000) if text else now_ms

    media = shape["media"]
    lost: list[str] = []
    risk: list[str] = []
    notes: list[str] = []
    if media["lost"]:
        lost.append(f"{_n(media['lost'], 'medium', 'media')} lost: no copy is left anywhere.")
    owed = 0
    for d in shape["destinations"]:
        n = d["owed"]["objects"]
        owed += n
        error = d["error"]
        if error and d["state"] in ("blocked", "full", "unreachable"):
            length = ago(max(0, now_ms - ms(error["first_at"])))
            word = {"blocked": "blocked", "full": "full", "unreachable": "not reachable"}[d["state"]]
            message = error["message"].removeprefix(f"{d['uri']}: ").rstrip(".")
            stuck = f" The oldest is {_stuck(d)}." if _old(d, now_ms, ms, limits) else ""
            sentence = f"{d['uri']} {word} for {length}, {_n(n, 'object', 'objects')} waiting: {message}.{stuck}"
            (risk if d["state"] != "unreachable" or _old(d, now_ms, ms, limits) else notes).append(sentence)
        elif n and _old(d, now_ms, ms, limits):
            risk.append(
                f"{_n(n, 'object', 'objects')} waiting for {d['uri']} since {d['owed']['oldest_at']}; the oldest is {_stuck(d)}."
            )
    if media["blocked"] and not risk:
        risk.append(f"{_n(media['blocked'], 'medium', 'media')} blocked: lading ls --state blocked")
    for rest in shape["deletes"]["resting"]:
        (notes if rest["code"] in PASSING else risk).append(f"Deletes rest: {rest['message'].rstrip('.')}.")
    if owed and not shape["daemon"]["running"]:
        notes.append(f"{_n(owed, 'copy', 'copies')} to make, and no daemon is running. {START_DAEMON}")
    notes += _cache(shape["local"])
    if media["local_only"]:
        notes.append(f"{_n(media['local_only'], 'medium', 'media')} kept only on this disk.")
    reasons = lost + risk + notes
    if lost:
        return "lost", reasons
    if risk:
        return "at_risk", reasons
    return ("working" if owed else "ok"), reasons


def _cache(local: Json) -> list[str]:
    """Where the budget is not enough: for what has to stay, or for what is used."""
    budget, stays = local["budget_bytes"], local["unsafe_bytes"] + local["pinned_bytes"]
    if stays > budget:
        return [
            f"{size_text(stays)} have to stay on this disk (not safe elsewhere, or pinned); cache_size is {size_text(budget)}."
        ]
    if local["wanted_bytes"] is not None and local["wanted_bytes"] > budget:
        return [
            f"The cache is too small for what is used: it would need {size_text(local['wanted_bytes'])}; cache_size is {size_text(budget)}."
        ]
    return []


def _stuck(destination: Json) -> str:
    oldest = destination["owed"]["oldest"]
    return f"{printable(oldest['name'])} ({oldest['id']})" if oldest else "gone meanwhile"


def _old(destination: Json, now_ms: int, ms: Any, limits: Limits) -> bool:
    oldest = destination["owed"]["oldest_at"]
    return oldest is not None and now_ms - ms(oldest) > limits.warn_unsafe_after_ms


def _n(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def disk_free(home: Any) -> tuple[int, int]:
    """(free for us, total) bytes of the file system that holds `home`."""
    found = os.statvfs(home)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
