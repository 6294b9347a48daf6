"""The JSON shapes of media, the same on the command line, on the socket and, as typed records, in Python.

Times are RFC 3339 in UTC with milliseconds; unknown is null, never absent; fields are only ever added.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lading_catalog import clock
from lading_catalog.connection import Connection
from lading_catalog.names import name_text, shown_name

Json = dict[str, Any]


def when(ms: int | None) -> str | None:
    if ms is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


def media(conn: Connection, home: Path, ulids: Sequence[str]) -> list[Json]:
    """lading.media/1 for each of `ulids` that exists or is known to be deleted, in their order. Three queries a call, and
    two more where some are deleted."""
    found: dict[str, Json] = {}
    objects: dict[int, list[Json]] = {}
    over = functools.cache(lambda: clock.read(conn) - clock.grace_ms(conn))  # the grace of what was seen before this is over
    with conn.reading():
        for row in conn.dicts(_MEDIA, {"ulids": json.dumps(list(ulids))}):
            shape = _medium(row)
            found[row["ulid"]] = shape
            if row["deleted_at_ms"] is None:
                objects.setdefault(row["object_id"], []).append(shape)
            else:
                shape["purge_at"] = when(_purge_at_ms(row, conn.now_ms(), over))
        for row in conn.dicts(_REPLICAS, {"objects": json.dumps(list(objects))}):
            for shape in objects[row["object_id"]]:
                if row["role"] == "local":
                    if row["state"] == "present":
                        shape["cached"], shape["path"] = True, str(home / row["key"])
                else:
                    shape["replicas"].append(_replica(row))
    return [found[u] for u in ulids if u in found]


def _purge_at_ms(row: Json, now_ms: int, over: Callable[[], int]) -> int | None:
    """Of a deleted medium: when its grace is over at the earliest, if a daemon runs until then; in the past once its last copy has gone;
    None while no daemon has seen the deletion, or another medium keeps the copies."""
    if row["purged_at_ms"] is not None or row["seen_clock_ms"] is None:
        return row["purged_at_ms"]  # type: ignore[no-any-return]
    return now_ms + max(0, int(row["seen_clock_ms"]) - over())


_MEDIA = """
    SELECT m.ulid, m.object_id, m.name, t.name AS "table", c.name AS "column", r.ulid AS row_ulid, c.kind, o.sha256, o.size_bytes, m.mime,
      m.created_at_ms, m.modified_at_ms, m.pinned, NULL AS deleted_at_ms,
      CASE WHEN o.state = 'lost' THEN 'lost' WHEN m.set_id IS NULL THEN 'local_only' ELSE o.state END AS state, NULL AS purged_at_ms,
      NULL AS restorable, NULL AS seen_clock_ms
    FROM json_each(:ulids) j CROSS JOIN medium m ON m.ulid = j.value JOIN object o ON o.id = m.object_id
      JOIN col c ON c.id = m.col_id JOIN tbl t ON t.id = c.tbl_id JOIN row r ON r.id = m.row_id
    UNION ALL
    SELECT d.ulid, d.object_id, d.name, t.name, c.name, r.ulid, c.kind, d.sha256, d.size_bytes, d.mime,
      d.created_at_ms, d.modified_at_ms, d.pinned, d.deleted_at_ms, 'deleted', d.purged_at_ms,
      d.purged_at_ms IS NULL AND coalesce((SELECT copies_n > 0 FROM object WHERE id = d.object_id), 0),
      (SELECT min(t.seen_clock_ms) FROM replica x JOIN tombstone t ON t.replica_id = x.id WHERE x.object_id = d.object_id
       AND (x.state IN ('wanted', 'copying', 'present') OR x.state IN ('dropping', 'damaged')) AND x.state = 'present')
    FROM json_each(:ulids) j CROSS JOIN deleted_medium d ON d.ulid = j.value LEFT JOIN col c ON c.id = d.col_id
      LEFT JOIN tbl t ON t.id = c.tbl_id LEFT JOIN row r ON r.id = d.row_id
    WHERE NOT EXISTS (SELECT 1 FROM medium m WHERE m.id = d.id)"""

_REPLICAS = """
    SELECT r.object_id, s.uri, s.role, r.key, r.state, r.attempts, r.due_at_ms, r.verified_at_ms, r.proof_by, r.proof_algorithm,
      coalesce(r.proof_value, o.sha256) AS proof_value, o.size_bytes, r.error_code, r.error, r.hint, r.error_since_ms, s.next_try_at_ms
    FROM json_each(:objects) j CROSS JOIN replica r ON r.object_id = j.value
      AND (r.state IN ('wanted', 'copying', 'present') OR r.state IN ('dropping', 'damaged'))
    JOIN object o ON o.id = r.object_id JOIN store s ON s.id = r.store_id
    ORDER BY r.object_id, r.store_id, r.id"""


def _medium(row: Json) -> Json:
    return {
        "schema": "lading.media/1",
        "id": f"m_{row['ulid']}",
        "name": name_text(row["name"]),
        "table": row["table"] and shown_name(row["table"]),
        "column": row["column"] and shown_name(row["column"]),
        "row": f"r_{row['row_ulid']}" if row["row_ulid"] else None,
        "kind": row["kind"],
        "sha256": row["sha256"].hex() if row["sha256"] else None,
        "size_bytes": row["size_bytes"],
        "mime": row["mime"],
        "created_at": when(row["created_at_ms"]),
        "modified_at": when(row["modified_at_ms"]),
        "state": row["state"],
        "cached": False,
        "path": None,
        "pinned": bool(row["pinned"]),
        "deleted_at": when(row["deleted_at_ms"]),
        "purge_at": None,
        "restorable": bool(row["restorable"]) if row["deleted_at_ms"] is not None else None,
        "replicas": [],
    }


def _replica(row: Json) -> Json:
    present = row["state"] == "present"
    return {
        "destination": row["uri"],
        "state": row["state"],
        "uri": row["uri"] + row["key"],
        "verified_at": when(row["verified_at_ms"]),
        "proof": {
            "by": row["proof_by"],
            "algorithm": row["proof_algorithm"],
            "value": row["proof_value"].hex(),
            "size_bytes": row["size_bytes"],
        }
        if present and row["proof_by"]
        else None,
        "attempts": row["attempts"],
        "next_try_at": when(max(row["due_at_ms"], row["next_try_at_ms"] or 0)) if row["state"] == "wanted" else None,
        "error": {
            "code": row["error_code"],
            "message": row["error"],
            "hint": row["hint"],
            "since": when(row["error_since_ms"]),
        }
        if row["error_code"]
        else None,
    }


def receipt(at_ms: int, waited_s: float, shown: Sequence[Json], reasons: Sequence[Json]) -> Json:
    """lading.receipt/1 over media (their shapes). `reasons`: one lading.why/1 for each that is not safe."""
    safe = [m for m in shown if m["state"] == "safe"]
    why = {r["id"]: r for r in reasons}
    return {
        "schema": "lading.receipt/1",
        "safe": len(safe) == len(shown) and bool(shown),
        "at": when(at_ms),
        "waited_s": round(waited_s, 3),
        "total": len(shown),
        "safe_count": len(safe),
        "size_bytes": sum(m["size_bytes"] or 0 for m in shown),
        "media": [_receipt_line(m) for m in shown],
        "not_safe": [{"id": m["id"], "name": m["name"], **first_reason(why.get(m["id"]))} for m in shown if m["state"] != "safe"],
    }


def _receipt_line(m: Json) -> Json:
    return {
        "id": m["id"], "name": m["name"], "sha256": m["sha256"], "size_bytes": m["size_bytes"], "safe": m["state"] == "safe",
        "copies": [
            {"destination": r["destination"], "uri": r["uri"], "verified_at": r["verified_at"],
             "algorithm": r["proof"]["algorithm"], "value": r["proof"]["value"], "by": r["proof"]["by"]}
            for r in m["replicas"] if r["proof"] is not None
        ],
    }  # fmt: skip


def first_reason(why: Json | None) -> Json:
    """What holds a medium up: the first destination that is not done, or why it has none."""
    if why is None:
        return {"reason": "queued", "sentence": "Waiting for its turn."}
    open_ones = [d for d in why["destinations"] if d["reason"] != "done"]
    if open_ones:
        return {"reason": open_ones[0]["reason"], "sentence": open_ones[0]["sentence"]}
    return {
        "reason": why.get("reason") or "no_destination",
        "sentence": why.get("sentence") or "It has no destination.",
    }
