"""Why a medium is not safe yet: one reason of a closed list, one sentence and one thing to do, for each destination.

`reason_of` is the rule, a pure function over what the catalog says; the rest puts it into words.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lading_catalog.connection import Connection
from lading_catalog.finding import moves_soon
from lading_catalog.localstore import matches
from lading_catalog.shapes import Json, media, when

START_DAEMON = "Start it: lading daemon (or as a service: systemctl --user start lading)"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the catalog says of one needed replica and its store."""

    state: str
    error_code: str | None
    error: str | None
    hint: str | None
    store_state: str
    store_error_code: str | None
    store_error: str | None
    store_hint: str | None
    paused: bool


def reason_of(seen: Seen, daemon_running: bool) -> str:
    """The one reason that a person has to know first: the object's own trouble (its bytes changed, it is archived) before all else;
    then a daemon that is not there, because what it last saw of the store may be history; then the store's; then the object's."""
    if seen.state == "present":
        return "done"
    if seen.error_code in ("source_changed", "archived"):
        return seen.error_code
    if not daemon_running:
        return "no_daemon"
    if seen.paused:
        return "paused"
    if seen.store_state != "ok" and seen.store_error_code:
        return seen.store_error_code
    if seen.state == "copying":
        return "copying"
    return seen.error_code or "queued"


def why(conn: Connection, home: Path, ulid: str, daemon_running: bool) -> Json:
    """lading.why/1 for one medium (that exists or was deleted)."""
    shape = media(conn, home, [ulid])[0]
    now = conn.now_ms()
    answers = []
    for row in conn.dicts(_NEEDED, (ulid,)):
        seen = Seen(
            row["state"], row["error_code"], row["error"], row["hint"],
            row["store_state"], row["store_error_code"], row["store_error"], row["store_hint"], bool(row["paused"]),
        )  # fmt: skip
        reason = reason_of(seen, daemon_running)
        since = (
            row["verified_at_ms"] if reason == "done" else row["error_since_ms"] or row["store_since_ms"] or row["wanted_at_ms"]
        )
        sentence, do = _words(reason, row, seen, since, now)
        waits = reason not in ("done", "copying", "paused", "no_daemon")
        answers.append(
            {
                "destination": row["uri"],
                "state": row["state"],
                "reason": reason,
                "since": when(since),
                "attempts": row["attempts"],
                "next_try_at": when(max(row["due_at_ms"], row["next_try_at_ms"] or 0)) if waits else None,
                "sentence": sentence,
                "do": do,
            }
        )
    result: Json = {
        "schema": "lading.why/1",
        "id": shape["id"],
        "state": shape["state"],
        "daemon_running": daemon_running,
        "destinations": answers,
        "local": _local(conn, home, ulid, shape),
        "reason": None,
        "sentence": None,
        "do": None,
    }
    if shape["state"] == "deleted":
        back = f"Take it back: lading undelete {shape['id']}" if shape["restorable"] else None
        result.update(reason="deleted", sentence="It was deleted.", do=back)
    elif not answers and moves_soon(conn, ulid):
        result.update(
            reason="queued" if daemon_running else "no_daemon",
            sentence="Its column has a new destination, and it has not been its turn to be moved there yet.",
            do=None if daemon_running else START_DAEMON,
        )
    elif not answers:
        result.update(
            reason="no_destination",
            sentence="It has no destination: it is kept only on this disk.",
            do=f"Give its column one: lading table set-destination {shape['table']} {shape['column']} URI",
        )
    return result


_NEEDED = """
    SELECT s.uri, r.state, r.attempts, r.due_at_ms, r.wanted_at_ms, r.verified_at_ms, r.error_code, r.error, r.hint, r.error_since_ms,
      s.state AS store_state, s.error_code AS store_error_code, s.error AS store_error, s.hint AS store_hint,
      s.error_since_ms AS store_since_ms, s.next_try_at_ms, s.paused
    FROM medium m JOIN dest_set_store d ON d.set_id = m.set_id JOIN store s ON s.id = d.store_id
      JOIN replica r ON r.object_id = m.object_id AND r.store_id = s.id AND r.state IN ('wanted', 'copying', 'present')
    WHERE m.ulid = ? ORDER BY s.id"""


def _local(conn: Connection, home: Path, ulid: str, shape: Json) -> Json:
    row = conn.one(
        "SELECT r.hold, r.key, o.size_bytes, r.inode, r.mtime_ns FROM medium m JOIN object o ON o.id = m.object_id"
        " JOIN replica r ON r.object_id = m.object_id AND r.store_id = 0 AND r.state IN ('wanted', 'copying', 'present')"
        " AND r.state = 'present' WHERE m.ulid = ?",
        (ulid,),
    )
    if row is None:
        return {"cached": False, "evictable": False, "reason": "not_cached"}
    if not matches(home, *row[1:]):
        return {"cached": True, "evictable": False, "reason": "changed"}
    reason = {"unsafe": "not_safe", "pinned": "pinned", "evictable": None, "unused": "deleted"}[row[0]]
    return {"cached": shape["cached"], "evictable": row[0] == "evictable", "reason": reason}


def ago(ms: int) -> str:
    """A length of time in words, rounded down: `3 h`, `40 s`."""
    for name, length in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if ms >= length:
            return f"{ms // length} {name}"
    return "less than 1 s"


def _words(reason: str, row: Json, seen: Seen, since: int, now: int) -> tuple[str, str | None]:
    """(sentence, what to do) for a reason."""
    uri = row["uri"]
    error = (
        (seen.store_error if seen.store_state != "ok" and seen.store_error_code == reason else seen.error)
        or seen.store_error
        or ""
    )
    hint = (seen.store_hint if seen.store_state != "ok" and seen.store_error_code == reason else seen.hint) or seen.store_hint
    length = ago(max(0, now - since))
    detail = error.removeprefix(f"{uri}: ").rstrip(".")
    test = f"then: lading destination test {uri}"
    words: dict[str, tuple[str, str | None]] = {
        "done": (f"In {uri}, verified {length} ago.", None),
        "queued": (f"Waiting for its turn to go to {uri}, for {length}.", None),
        "copying": (f"Being copied to {uri} now.", None),
        "no_daemon": (f"Waiting to go to {uri}; no daemon is running to bring it there.", START_DAEMON),
        "paused": (f"{uri} is paused.", "Set paused = false for it in the configuration, and start the daemon again."),
        "unreachable": (
            f"{uri} has not been reachable for {length}: {detail}.",
            hint or "Nothing: it is tried again and again.",
        ),
        "throttled": (f"{uri} asks to go slower.", "Nothing: it goes on by itself."),
        "refused": (f"Refused by {uri} for {length}: {detail}.", f"{_start(hint, 'Mend the permissions')}, {test}"),
        "no_credentials": (
            f"No valid credentials for {uri} for {length}: {detail}.",
            f"{_start(hint, 'Set the credentials')}, {test}",
        ),
        "no_bucket": (f"{uri} does not exist: {detail}.", f"{_start(hint, 'Make it')}, {test}"),
        "full": (f"{uri} has been full for {length}: {detail}.", hint or "Free some space there."),
        "damaged": (f"What arrived in {uri} was not what was sent: {detail}.", hint or "Nothing: it is sent again."),
        "source_changed": (
            f"The copy on this disk is no longer what was put {length} ago, so it was not sent to {uri}: {detail}.",
            hint or "Put the original file again.",
        ),
        "archived": (f"{uri} has archived it: {detail}.", hint),
    }
    return words.get(reason, (f"{uri}: {reason} {detail}".strip(), hint))


def _start(hint: str | None, otherwise: str) -> str:
    """A hint as the beginning of a longer sentence."""
    text = (hint or otherwise).rstrip(".")
    return text[:1].upper() + text[1:]
