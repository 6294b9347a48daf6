"""The fetcher: brings copies to this disk that somebody wants here, from whatever store has one.

    wanted ──claim──► copying ──► incoming bytes, whole and named ──► confirm, or release (with a reason and a due time)

Somebody waits for what is urgent, so that has threads of its own and its outcome is recorded at once; the rest (whole tables, copies
that wait for their bytes) has others and is recorded together. The claim is durable: no file gets a final name for a row that a power
cut could take back. Losing an unsynced confirm costs a hash.

A copy that was missing or had other bytes is asked for once more before it counts as damaged (ladingd.suspects).
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from lading_catalog import fetching, journal, parts, replicas, stores
from lading_catalog.connection import Connection
from lading_catalog.errors import Error, Refused, Unavailable
from lading_catalog.fetching import Fetch
from lading_catalog.parts import Part
from lading_catalog.stores import StoreRow
from ladingd.incoming import Fetched, Incoming, Room
from ladingd.pace import Pace
from ladingd.retry import longest_pause_s, pause_s
from ladingd.stores.base import Store
from ladingd.suspects import Look, Sighting, Suspects, Suspicion, look_again
from ladingd.transfers import Pool

log = structlog.get_logger()

GATHER_MS = 20
URGENT_THREADS, OTHER_THREADS = 16, 8  # at most; fewer where `concurrency` says so


class Stores(Protocol):
    """See ladingd.open_stores."""

    def reading(self, row: StoreRow) -> Store: ...

    def forget(self, store_id: int) -> None: ...


@dataclass
class Fetcher:
    """See the module. `wake` is called from transfers' threads."""

    conn: Connection
    pace: Pace
    home: Path
    epoch: int
    stores: Stores
    concurrency: int
    retry_max_s: float
    min_free_bytes: int
    wake: Callable[[], None]
    dice: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        self._urgent_places = min(URGENT_THREADS, self.concurrency)
        self._other_places = min(OTHER_THREADS, self.concurrency)
        self._urgent: Pool[Fetched] = Pool("fetch", self._urgent_places, self._finished)
        self._others: Pool[Fetched] = Pool("fetch-more", self._other_places, self._finished)
        self._outcomes: deque[Fetched] = deque()
        self._looks: deque[Look] = deque()
        self._running: dict[int, Incoming] = {}
        self._priorities: dict[int, int] = {}
        self._suspects = Suspects()
        self._first_outcome = 0.0
        self._mutex = threading.Lock()
        self._room = Room(self.home, self.min_free_bytes)
        self._longest_ms = int(longest_pause_s(self.retry_max_s) * 1000)
        self.stopping = False
        left = parts.recover(self.home, lambda ids: fetching.unfinished(self.conn, ids))
        if left:
            log.info("parts.recovered", leftovers=left)

    # -- called from transfers' threads ------------------------------------------------------------------------------------------

    def _finished(self, outcome: Fetched) -> None:
        with self._mutex:
            if not self._outcomes:
                self._first_outcome = time.monotonic()
            self._outcomes.append(outcome)
            first = len(self._outcomes) == 1
        if first or self._worth_it(outcome):
            self.wake()

    # -- the step ----------------------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> int:
        return len(self._running)

    def due_in_ms(self, now_ms: int) -> float:
        """When the next fetch is due; infinity if none is owed."""
        due_ms = fetching.next_due_ms(self.conn)
        return float("inf") if due_ms is None else due_ms - now_ms

    def step(self, now_ms: int) -> float | None:
        self._look_again(now_ms)
        outcomes, looks = self._gather(), self._take_looks()
        ids = self._claimable(now_ms, outcomes) if not self.stopping else []
        lost = self._judge(outcomes, looks, now_ms)
        if not outcomes and not ids and not lost:
            return self._next_ms(now_ms)
        with self.pace.writing(len(outcomes) + len(ids), durable=bool(ids)) as conn:
            confirmed = fetching.confirm(conn, [o.arrived for o in outcomes if o.arrived is not None], self.epoch)
            self._release(conn, [o for o in outcomes if o.arrived is None], now_ms)
            for seen in lost:
                self._lose(conn, seen)
            claims = fetching.claim(conn, ids, self.epoch, now_ms + self._longest_ms) if ids else []
            rows = self._rows(conn, claims)
        for outcome in outcomes:
            self._settle(outcome, confirmed)
        for one in claims:
            self._begin(one, rows)
        return 0 if claims or self._outcomes else self._next_ms(now_ms)

    def requeue_rest(self) -> None:
        """At a stop: what was not finished is continued in the next life. Its threads write nothing more."""
        for incoming in list(self._running.values()):
            incoming.part.abandon()
        while self._outcomes:  # finished in between
            self._settle(self._outcomes.popleft(), set())
        if self._running:
            with self.conn.writing():
                replicas.release_running(self.conn, list(self._running), self.epoch)
            self._running.clear()

    def close(self) -> None:
        for incoming in list(self._running.values()):
            incoming.part.abandon()
        self._urgent.close()
        self._others.close()

    # -- parts of it -------------------------------------------------------------------------------------------------------------

    def _worth_it(self, outcome: Fetched) -> bool:
        """Whether an outcome is to be recorded without waiting for company."""
        if self._priorities.get(outcome.fetch.replica_id) == fetching.URGENT:
            return True
        return len(self._outcomes) >= max(1, min(self.pace.slice, self._other_places, len(self._running)))

    def _gather(self) -> list[Fetched]:
        with self._mutex:
            if not self._outcomes:
                return []
            waited_ms = (time.monotonic() - self._first_outcome) * 1000
            if waited_ms < GATHER_MS and not self.stopping and not any(map(self._worth_it, self._outcomes)):
                return []
            found = [self._outcomes.popleft() for _ in range(min(len(self._outcomes), self.pace.slice))]
            self._first_outcome = time.monotonic()
            return found

    def _take_looks(self) -> list[Look]:
        return [self._looks.popleft() for _ in range(len(self._looks))]

    def _claimable(self, now_ms: int, finished: Sequence[Fetched]) -> list[int]:
        """What to claim now: of what is urgent as much as there are threads; of the rest so much that they stay busy."""
        gone = {o.fetch.replica_id for o in finished}
        out = [p for i, p in self._priorities.items() if i not in gone]
        urgent = sum(p == fetching.URGENT for p in out)
        ids: list[int] = []
        if (room := self._urgent_places - urgent) > 0:
            ids += fetching.claimable(self.conn, (fetching.URGENT,), now_ms, room, self._longest_ms)
        if (room := 3 * self._other_places - (len(out) - urgent)) >= self._other_places:
            ids += fetching.claimable(self.conn, (1, 2), now_ms, room, self._longest_ms)
        return ids

    def _rows(self, conn: Connection, claims: Sequence[Fetch]) -> dict[int, StoreRow]:
        return {i: stores.get(conn, i) for i in {s.store_id for c in claims for s in c.sources}}

    def _begin(self, fetch: Fetch, rows: Mapping[int, StoreRow]) -> None:
        part = Part(self.home, fetch.replica_id, fetch.key, fetch.sha256, fetch.size_bytes)
        incoming = Incoming(
            fetch,
            part,
            read=lambda source: self.stores.reading(rows[source.store_id]),
            room=self._room,
        )
        self._running[fetch.replica_id] = incoming
        self._priorities[fetch.replica_id] = fetch.priority
        (self._urgent if fetch.priority == fetching.URGENT else self._others).submit(incoming.run)

    def _settle(self, outcome: Fetched, confirmed: set[int]) -> None:
        fetch = outcome.fetch
        self._running.pop(fetch.replica_id, None)
        self._priorities.pop(fetch.replica_id, None)
        if outcome.arrived is not None:
            parts.settle(self.home, fetch.replica_id, fetch.key, outcome.arrived.inode, keep=fetch.replica_id in confirmed)
            if outcome.origin is not None:
                self._suspects.well(outcome.origin)

    def _release(self, conn: Connection, failed: Sequence[Fetched], now_ms: int) -> None:
        failures = []
        for outcome in failed:
            error, fetch = outcome.error, outcome.fetch
            assert error is not None
            if isinstance(error, Refused):
                for source in fetch.sources:  # new credentials are read when they are opened again
                    self.stores.forget(source.store_id)
            asked = error.retry_after_s if isinstance(error, Unavailable) else None
            due_ms = now_ms + int(pause_s(fetch.attempts, error.permanent, self.retry_max_s, self.dice, asked) * 1000)
            failures.append((fetch.replica_id, error, due_ms))
            log.warning(
                "fetch.failed", key=fetch.key, attempt=fetch.attempts, reason=error.urn, error=error.detail,
                next_try_in_s=round((due_ms - now_ms) / 1000, 1),
            )  # fmt: skip
        fetching.release(conn, failures, self.epoch, now_ms)

    def _next_ms(self, now_ms: int) -> float | None:
        look_ms = self._suspects.next_ms()
        waits: list[float] = [] if look_ms is None else [look_ms - now_ms]
        if self._outcomes:
            waits.append(GATHER_MS)
        if not self.stopping and (due_ms := fetching.next_due_ms(self.conn)) is not None:
            wait = min(due_ms - now_ms, self._longest_ms)
            if wait > 0 or not self._running:  # (what is due and was not claimed waits for a thread)
                waits.append(wait)
        return max(1.0, min(waits)) if waits else None

    # -- copies that do not look well --------------------------------------------------------------------------------------------

    def _judge(self, outcomes: Sequence[Fetched], looks: Sequence[Look], now_ms: int) -> list[Sighting]:
        """What was seen for the second time."""
        lost = [s for o in outcomes for s in o.seen if self._suspects.see(s, o.fetch.sha256, now_ms)]
        return lost + [seen for look in looks if (seen := self._suspects.looked(look, now_ms)) is not None]

    def _lose(self, conn: Connection, seen: Sighting) -> None:
        """Set aside with its key and bytes; where it is needed, the schema wants a new one, sent from the copy that came."""
        source = seen.source
        if replicas.lose(conn, source.replica_id):
            detail = {"key": source.key, "code": seen.error.urn, "message": seen.error.detail}
            journal.note(conn, "damage.found", store_id=source.store_id, detail=detail)
            log.error("damage.found", destination=source.uri, **detail)

    def _look_again(self, now_ms: int) -> None:
        if not self.stopping:
            for suspicion in self._suspects.due(now_ms):
                row = stores.get(self.conn, suspicion.seen.source.store_id)
                self._others.submit(lambda s=suspicion, row=row: self._look(s, row))  # type: ignore[misc]

    def _look(self, suspicion: Suspicion, row: StoreRow) -> None:
        try:
            look = look_again(self.stores.reading(row), suspicion)
        except Error:
            look = Look(suspicion, None, failed=True)
        except Exception:
            log.exception("fetch.crashed", key=suspicion.seen.source.key)
            look = Look(suspicion, None, failed=True)
        self._looks.append(look)
        self.wake()
