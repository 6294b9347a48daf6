"""Evicting by hand: the same act as the daemon's evictor, with every rule but the budget and the cooldown. The local store is on this
disk, so no daemon is needed, unless a proof is too old: only a daemon can look at destinations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lading_catalog import doorbell, evicting, shapes
from lading_catalog.connection import Connection
from lading_catalog.errors import Damaged, Error, NotFound
from lading_catalog.evicting import Candidate, ProofAge

if TYPE_CHECKING:
    from lading.catalog import Catalog

RENEW_S = 30.0  # that a daemon gets to look at old proofs again
_POLL_S = 0.05


class Held(Error):
    """The copy stays on this disk. `about["reason"]`: not_safe, pinned, in_use, proof_old."""

    urn, title, status, exit_code = "held", "It stays on this disk", 409, 4


def evict(cat: Catalog, ulid: str, renew_s: float = RENEW_S) -> bool:
    """Drop the local copy of a medium; False if there is none. Raises Held with what holds it, NotFound, Damaged for a copy that is no
    longer what was put (it is not touched)."""
    one, hold = _look(cat, ulid)
    if one is None:
        return False
    if hold in ("unsafe", "pinned"):
        raise _held(cat, ulid, "pinned" if hold == "pinned" else "not_safe")
    age = ProofAge.at(cat._conn.now_ms(), int(cat.config.proof_max_age_s * 1000))
    with cat._lock:
        old = evicting.stale(cat._conn, [one.object_id], age)
    if old:
        return _by_daemon(cat, ulid, one, renew_s)
    with cat._lock:
        done = evicting.evict(cat.home, [one], age, lambda rows, durable: _writing(cat, durable))
    if done.gone:
        doorbell.ring(cat.home)
        return True
    if done.changed:
        raise Damaged("The copy on this disk is no longer what was put; it is left as it is.", hint=f"lading why m_{ulid}")
    if done.busy:
        if _look(cat, ulid)[0] is None:
            return False  # somebody else was faster
        raise Held("Somebody reads it right now.", hint="Try again later.", id=f"m_{ulid}", reason="in_use")
    raise _held(cat, ulid, "not_safe")  # it changed between the look and the lock


def _look(cat: Catalog, ulid: str) -> tuple[Candidate | None, str | None]:
    with cat._lock:
        found = evicting.of_medium(cat._conn, ulid)
    if found[0] is None:
        cat._shape(ulid)  # NotFound for what never was
    return found


def _by_daemon(cat: Catalog, ulid: str, one: Candidate, renew_s: float) -> bool:
    """Its proofs are older than proof_max_age: a daemon looks again, and then lets it go."""
    with cat._lock, cat._conn.writing() as conn:
        evicting.ask(conn, one.replica_id)
    doorbell.ring(cat.home)
    deadline = time.monotonic() + (renew_s if cat.daemon().running else 0.0)
    while True:
        found, hold = _look(cat, ulid)
        if found is None or found.replica_id != one.replica_id:
            return True
        if hold in ("unsafe", "pinned"):
            raise _held(cat, ulid, "pinned" if hold == "pinned" else "not_safe")
        if time.monotonic() >= deadline:
            break
        time.sleep(_POLL_S)
    who = "The daemon looks again, and lets it go then." if cat.daemon().running else "Start the daemon: lading daemon"
    raise Held(
        f"Nobody has looked at its copies elsewhere for more than {cat.config.proof_max_age}.",
        hint=who,
        id=f"m_{ulid}",
        reason="proof_old",
    )


def _held(cat: Catalog, ulid: str, reason: str) -> Held:
    if reason == "pinned":
        return Held("It is pinned.", hint=f"lading unpin m_{ulid}", id=f"m_{ulid}", reason=reason)
    why = cat._why(ulid)
    if why["state"] == "deleted":
        raise NotFound(f"m_{ulid} was deleted; its copy goes when its grace is over.", id=f"m_{ulid}")
    told = shapes.first_reason(why)["sentence"] if why["state"] != "safe" else "Its other media are not safe elsewhere yet."
    return Held(f"It is not safe elsewhere. {told}", hint=f"lading why m_{ulid}", id=f"m_{ulid}", reason=reason)


@contextmanager
def _writing(cat: Catalog, durable: bool) -> Iterator[Connection]:
    with cat._conn.writing(durable=durable) as conn:
        yield conn
