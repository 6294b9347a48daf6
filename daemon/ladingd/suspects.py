"""Copies that did not look well once. One look is no proof: a second one decides, and only then is a copy set aside. What was seen is
remembered in this process only; forgetting it costs a look."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lading_catalog.errors import Damaged, Error, Missing
from lading_catalog.fetching import Source
from ladingd.stores.base import Store

LOOK_AGAIN_MS = 30_000
LOOK_LATER_MS = 300_000  # where the second look itself failed


@dataclass(frozen=True, slots=True)
class Sighting:
    """A copy that was not there (Missing) or had other bytes (Damaged), when asked for by its key."""

    source: Source
    error: Error


@dataclass(slots=True)
class Suspicion:
    """`look_ms`: when to look again; None while somebody does."""

    seen: Sighting
    sha256: bytes
    first_ms: int
    look_ms: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """What a second look has shown: `error` is Missing or Damaged if it is still so, None if it is well, or if the look `failed`."""

    suspicion: Suspicion
    error: Error | None
    failed: bool = False


def proven(first: Suspicion | None, seen: Sighting, now_ms: int) -> bool:
    """Whether this is the second time that says the same. A wrong digest twice is; a missing object is only if some time lies between."""
    if first is None or isinstance(first.seen.error, Missing) != isinstance(seen.error, Missing):
        return False
    return not isinstance(seen.error, Missing) or now_ms - first.first_ms >= LOOK_AGAIN_MS


def look_again(store: Store, suspicion: Suspicion) -> Look:
    """HEAD of a copy that was missing, GET of one that was wrong. Raises other errors of the store's."""
    key = suspicion.seen.source.key
    try:
        if isinstance(suspicion.seen.error, Missing):
            store.stat(key)
            return Look(suspicion, None)
        digest = hashlib.sha256()
        for chunk in store.get(key):
            digest.update(chunk)
    except (Missing, Damaged) as e:
        return Look(suspicion, e)
    return Look(suspicion, None if digest.digest() == suspicion.sha256 else suspicion.seen.error)


class Suspects:
    """By the id of the replica. Used by one thread."""

    def __init__(self) -> None:
        self._known: dict[int, Suspicion] = {}

    def see(self, seen: Sighting, sha256: bytes, now_ms: int) -> bool:
        """Remember it. Whether it is proven by now, and so no longer suspected."""
        replica_id = seen.source.replica_id
        known = self._known.get(replica_id)
        if proven(known, seen, now_ms):
            del self._known[replica_id]
            return True
        if known is None or isinstance(known.seen.error, Missing) != isinstance(seen.error, Missing):
            self._known[replica_id] = Suspicion(seen, sha256, now_ms, now_ms + LOOK_AGAIN_MS)
        return False

    def looked(self, look: Look, now_ms: int) -> Sighting | None:
        """The damage, if a second look has proven it."""
        suspicion = look.suspicion
        source = suspicion.seen.source
        if self._known.get(source.replica_id) is not suspicion:
            return None
        suspicion.look_ms = now_ms + LOOK_LATER_MS
        if look.error is not None:
            seen = Sighting(source, look.error)
            return seen if self.see(seen, suspicion.sha256, now_ms) else None
        if not look.failed:
            self.well(source.replica_id)
        return None

    def well(self, replica_id: int) -> None:
        self._known.pop(replica_id, None)

    def due(self, now_ms: int) -> list[Suspicion]:
        """Those to look at now; the caller does."""
        found = [s for s in self._known.values() if s.look_ms is not None and s.look_ms <= now_ms]
        for suspicion in found:
            suspicion.look_ms = None
        return found

    def next_ms(self) -> int | None:
        return min((s.look_ms for s in self._known.values() if s.look_ms is not None), default=None)
