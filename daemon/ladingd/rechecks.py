"""Looking at copies in destinations again, so that old proofs become fresh ones. A copy that is gone or other than it was, seen twice, is
set aside: then its object is no longer safe."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from lading_catalog import evicting, journal, replicas, stores
from lading_catalog.connection import Connection
from lading_catalog.errors import Archived, Damaged, Error, Missing, Unavailable
from lading_catalog.evicting import Renewed, Stale
from lading_catalog.stores import StoreRow
from ladingd.pace import Pace
from ladingd.stores.base import Proof, Store
from ladingd.stores.recheck import recheck
from ladingd.transfers import Pool

log = structlog.get_logger()

AT_ONCE = 8
WAITING_MAX = 256  # looks under way or waiting for a thread
SECOND_LOOK_MS = 30_000  # between two looks that have to say the same
PAUSE_MS = 60_000  # after a store that did not answer
ARCHIVED_MS = 3_600_000  # before a copy is asked for again that its store has put away


@dataclass(frozen=True, slots=True)
class Look:
    stale: Stale
    proof: Proof | None
    error: Error | None
    at_ms: int


class Rechecks:
    """`reading`: opens a store (in a thread). `wake`: called when a look has ended."""

    def __init__(self, conn: Connection, pace: Pace, reading: Callable[[StoreRow], Store], wake: Callable[[], None]) -> None:
        self._conn, self._pace, self._reading, self._wake = conn, pace, reading, wake
        self._pool: Pool[Look] = Pool("recheck", AT_ONCE, self._ended)
        self._done: deque[Look] = deque()
        self._out: set[int] = set()
        self._bad: dict[int, int] = {}  # replica → when it was first seen bad
        self._archived: dict[int, int] = {}  # replica → when
        self._rests: dict[int, int] = {}  # store → since when it is not asked
        self._away: set[int] = set()  # stores that did not answer, from then until they have rested (threads add to this)

    @property
    def busy(self) -> int:
        return len(self._out)

    @property
    def full(self) -> bool:
        return len(self._out) >= WAITING_MAX

    def ask(self, wanted: Sequence[Stale], now_ms: int) -> bool:
        """Look at these. Whether any look is under way; False: none of them can be looked at now."""
        under_way = False
        for one in wanted:
            if one.replica_id in self._out:
                under_way = True
            elif not self._later(one, now_ms):
                under_way = True
                self._out.add(one.replica_id)
                row = stores.get(self._conn, one.store_id)
                self._pool.submit(lambda one=one, row=row: self._look(one, row, now_ms))  # type: ignore[misc]
        return under_way

    def _later(self, one: Stale, now_ms: int) -> bool:
        if one.store_id in self._rests and not _within(self._rests[one.store_id], now_ms, PAUSE_MS):
            del self._rests[one.store_id]
            self._away.discard(one.store_id)
        return (
            one.store_id in self._away
            or _within(self._bad.get(one.replica_id), now_ms, SECOND_LOOK_MS)
            or _within(self._archived.get(one.replica_id), now_ms, ARCHIVED_MS)
        )

    def record(self, now_ms: int) -> dict[int, bool]:
        """Write down what the looks that have ended have shown: object → whether this copy of it has a fresh proof now."""
        looks = [self._done.popleft() for _ in range(min(len(self._done), self._pace.slice))]
        if not looks:
            return {}
        for look in looks:
            self._out.discard(look.stale.replica_id)
        fresh = [look for look in looks if look.proof is not None]
        lost = [look for look in looks if self._proven_bad(look, now_ms)]
        if fresh or lost:
            with self._pace.writing(len(looks), durable=bool(lost)) as conn:
                evicting.renew(conn, [_renewed(look) for look in fresh])
                for look in lost:
                    self._lose(conn, look)
        return {look.stale.object_id: look.proof is not None for look in looks}

    def close(self) -> None:
        self._pool.close()

    def _proven_bad(self, look: Look, now_ms: int) -> bool:
        replica_id = look.stale.replica_id
        if look.error is None:
            self._bad.pop(replica_id, None)
            return False
        if isinstance(look.error, Archived):
            self._archived[replica_id] = now_ms
            return False
        if not isinstance(look.error, (Missing, Damaged)):
            self._rest(look, now_ms)
            return False
        first_ms = self._bad.setdefault(replica_id, now_ms)
        if 0 <= now_ms - first_ms < SECOND_LOOK_MS:
            return False
        del self._bad[replica_id]
        return True

    def _rest(self, look: Look, now_ms: int) -> None:
        assert look.error is not None
        if look.stale.store_id not in self._rests:
            self._rests[look.stale.store_id] = now_ms
            log.warning("recheck.failed", key=look.stale.key, reason=look.error.reason, error=look.error.detail)

    def _lose(self, conn: Connection, look: Look) -> None:
        assert look.error is not None
        if replicas.lose(conn, look.stale.replica_id):
            detail = {"key": look.stale.key, "code": look.error.urn, "message": look.error.detail}
            journal.note(conn, "damage.found", store_id=look.stale.store_id, detail=detail)
            log.error("damage.found", **detail)

    def _look(self, one: Stale, row: StoreRow, now_ms: int) -> Look:
        if one.store_id in self._away:
            return Look(one, None, Unavailable("The one before it was not answered."), now_ms)
        value = (one.value if one.value is not None else one.sha256).hex()
        error: Error
        try:
            return Look(
                one, recheck(self._reading(row), one.key, one.sha256, one.size_bytes, (one.algorithm, value)), None, now_ms
            )
        except Error as e:
            error = e
        except Exception as e:  # (a thread that died would hold its place for ever)
            log.exception("recheck.crashed", key=one.key)
            error = Unavailable(f"Unforeseen {type(e).__name__}.")
        if not isinstance(error, (Missing, Damaged, Archived)):
            self._away.add(one.store_id)
        return Look(one, None, error, now_ms)

    def _ended(self, look: Look) -> None:
        self._done.append(look)
        self._wake()


def _within(since_ms: int | None, now_ms: int, length_ms: int) -> bool:
    """Whether so much time has not passed yet. A time from the future is the trace of a clock that jumped."""
    return since_ms is not None and 0 <= now_ms - since_ms < length_ms


def _renewed(look: Look) -> Renewed:
    proof = look.proof
    assert proof is not None
    value = None if proof.algorithm == "sha256" else bytes.fromhex(proof.value)
    return Renewed(look.stale.replica_id, proof.by, proof.algorithm, value, look.at_ms)
