"""The copier of one destination: claim what is owed, hand it to the transfers, record what came of it.

    wanted ──claim──► copying ──► transfer ──► confirm (with proof) or release (with a reason and a due time)

A step makes one transaction at most, with confirms, releases and new claims together. It is durable when it claims: no byte goes
out for a claim that a power cut could take back. Losing an unsynced confirm only repeats a copy. What has no copy on this disk, and one
in another store, is not claimed but wanted here first (fetching.want_for_copies).

Health. A failure that is the store's own (away, throttled, no credentials, no bucket, full) closes the gate: nothing is claimed until
`next_try_at`, then one object goes as a trial, and its success opens the gate. A failure that is the object's own (its bytes changed,
it was damaged on the way) sets only that object back. A refusal is taken for the object's own until three objects in a row were
refused. Nothing ever gives up.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from lading_catalog import fetching, journal, replicas, stores
from lading_catalog.connection import Connection
from lading_catalog.errors import Error, Unavailable
from lading_catalog.replicas import TURNS, Claim, Failure
from lading_catalog.stores import StoreRow
from ladingd.pace import Pace
from ladingd.retry import longest_pause_s, pause_s, store_pause_s
from ladingd.stores.base import Store
from ladingd.transfers import Outcome, Pool, copy

log = structlog.get_logger()

OF_THE_STORE = ("unreachable", "throttled", "no_credentials", "no_bucket", "full")
REFUSALS_IN_A_ROW = 3
GATHER_MS = 20  # finished transfers wait so long for company, so that they are confirmed together
RATE_EVERY_MS = 5_000

OpenStore = Callable[[StoreRow], tuple[Store, dict[str, object] | None]]  # the store, and its probe's facts if it was probed now


@dataclass(slots=True)
class Health:
    """What this life of the daemon has seen of the store. What outlives it stands in the catalog."""

    failures: int = 0  # closings of the gate since the last success
    refused: set[int] = field(default_factory=set)  # replicas refused since the last success; one refused again is still one


@dataclass
class Replicator:
    """See the module. `open_store` may take long and is called in a transfer's thread. `wake` is called from those threads."""

    conn: Connection
    pace: Pace
    home: Path
    epoch: int
    row: StoreRow
    open_store: OpenStore
    concurrency: int
    retry_max_s: float
    wake: Callable[[], None]
    dice: Callable[[], float] = random.random
    store: Store | None = None
    health: Health = field(default_factory=Health)

    def __post_init__(self) -> None:
        self._pool = Pool(f"to-{self.row.id}", self.concurrency, self._finished)
        self._outcomes: deque[Outcome] = deque()
        self._opened: deque[tuple[Store, dict[str, object] | None] | Error] = deque()
        self._opening = False
        self._running: dict[int, Claim] = {}
        self._first_outcome = 0.0
        self._mutex = threading.Lock()
        self._aligning = True  # after a start or a change of health: bring what waits in line with the store
        self._sent_bytes, self._sent_since = 0, time.monotonic()
        self._longest_ms = int(longest_pause_s(self.retry_max_s) * 1000)
        self._turn = 0  # whose turn it is where there is room for one only
        self.stopping = False

    # -- called from transfers' threads ------------------------------------------------------------------------------------------

    def _finished(self, outcome: Outcome) -> None:
        with self._mutex:
            if not self._outcomes:
                self._first_outcome = time.monotonic()
            self._outcomes.append(outcome)
            enough = len(self._outcomes) >= self._worth_a_transaction()
        if enough or len(self._outcomes) == 1:
            self.wake()

    def _open(self) -> None:
        try:
            self._opened.append(self.open_store(self.row))
        except Error as e:
            self._opened.append(e)
        except Exception as e:  # (the gate has to be told, whatever it was)
            log.exception("store.crashed", destination=self.row.uri)
            self._opened.append(Unavailable(f"Unforeseen {type(e).__name__}.", hint="Please report it with the log."))
        self.wake()

    # -- the step ----------------------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> int:
        """How many claims are out, and whether the store is being opened."""
        return len(self._running) + self._opening

    def step(self, now_ms: int) -> float | None:
        if self._opened:
            self._take_store(now_ms)
        outcomes = self._gather()
        ids = self._claimable(now_ms, len(self._running) - len(outcomes)) if not self.stopping else []
        if not outcomes and not ids:
            if (self._aligning or self._unaligned()) and not self.stopping:
                return self._align()
            return self._next_ms(now_ms)
        sick = [o for o in outcomes if o.error is not None]
        with self.pace.writing(len(outcomes) + len(ids), durable=bool(ids)) as conn:
            if good := [o.success for o in outcomes if o.success is not None]:
                confirmed = replicas.confirm(conn, good, self.epoch)
                if confirmed:
                    self._well(conn)
            gate_ms = self._sick(conn, sick, bool(good), now_ms)
            here = fetching.want_for_copies(conn, ids) if gate_ms is None else []
            claims = replicas.claim(conn, here, self.epoch)
            self._record_rate(conn, outcomes, now_ms)
        if gate_ms is None and len(here) < len(ids):
            self.wake()  # for the fetcher
        for outcome in outcomes:
            del self._running[outcome.claim.replica_id]
        assert self.store is not None or not claims
        for one in claims:
            self._running[one.replica_id] = one
            self._pool.submit(lambda one=one, store=self.store: copy(store, one, self.home))  # type: ignore[misc]
        return 0 if claims or self._outcomes else self._next_ms(now_ms)

    def requeue_rest(self) -> None:
        """At a stop: what was not finished goes back to be claimed in the next life; its attempt counts, an attempt may have arrived."""
        if self._running:
            with self.conn.writing():
                replicas.release_running(self.conn, list(self._running), self.epoch)

    def close(self) -> None:
        self._pool.close()
        if self.store is not None:
            self.store.close()

    # -- parts of it -------------------------------------------------------------------------------------------------------------

    def _gather(self) -> list[Outcome]:
        """Finished transfers, if they are enough to be worth a transaction or have waited long enough."""
        with self._mutex:
            waited_ms = (time.monotonic() - self._first_outcome) * 1000
            if not self._outcomes:
                return []
            if len(self._outcomes) < self._worth_a_transaction() and waited_ms < GATHER_MS and not self.stopping:
                return []
            found = [self._outcomes.popleft() for _ in range(min(len(self._outcomes), self.pace.slice))]
            self._first_outcome = time.monotonic()
            return found

    def _worth_a_transaction(self) -> int:
        """So many finished transfers are recorded at once. While that lasts, the other two thirds of the claims keep every thread busy."""
        return max(1, min(self.pace.slice, self.concurrency, len(self._running)))

    def _claimable(self, now_ms: int, out: int) -> list[int]:
        """What to claim now, where `out` claims stay out: as much as keeps every thread busy until the next step, one as a trial when the
        gate is closed."""
        if self.row.paused:
            return []
        if self._closed_until(now_ms) is not None:
            return []
        room = 3 * self.concurrency - out
        trial = self.row.state != "ok"
        if (trial and self._running) or room < self.concurrency:
            return []
        limit = 1 if trial else min(room, self.pace.slice)
        # What somebody must mend has an eighth of the places, so that a stream of new objects does not hold it back for ever.
        eighth = limit // TURNS or int(self._turn % TURNS == 0)
        blocked = replicas.claimable(
            self.conn, self.row.id, now_ms, max(1, eighth), self._longest_ms, blocked=True, turn=self._turn // TURNS
        )
        ids = replicas.claimable(self.conn, self.row.id, now_ms, limit, self._longest_ms, turn=self._turn)
        ids = (ids if trial else ids[: limit - min(eighth, len(blocked))]) + blocked
        ids = ids[:limit]
        self._turn += bool(ids)
        if ids and self.store is None:
            if not self._opening:
                self._opening = True
                self._pool.submit(self._open)
            return []
        return ids

    def _closed_until(self, now_ms: int) -> int | None:
        """When the closed gate is to be tried; None if it is open."""
        gate_ms = self.row.next_try_at_ms
        return gate_ms if gate_ms is not None and now_ms < gate_ms <= now_ms + self._longest_ms else None

    def _take_store(self, now_ms: int) -> None:
        found = self._opened.popleft()
        self._opening = False
        with self.pace.writing(1) as conn:
            if isinstance(found, Error):
                self._close_gate(conn, found, now_ms)
                return
            self.store, facts = found
            if facts is not None:
                stores.set_probe(conn, self.row.id, facts)
                log.info("destination.probed", destination=self.row.uri, proof=facts.get("proof"))
                self._well(conn)  # (opened without a probe, it has shown nothing yet)

    def _well(self, conn: Connection) -> None:
        self.health = Health()
        if self.row.state != "ok" or self.row.next_try_at_ms is not None or self.row.error_n:
            stores.well(conn, self.row.id)
            journal.note(conn, "destination.ok", store_id=self.row.id)
            log.info("destination.ok", destination=self.row.uri)
            self._aligning = True
            self.row = stores.get(conn, self.row.id)

    def _sick(self, conn: Connection, sick: list[Outcome], some_good: bool, now_ms: int) -> int | None:
        """Release what failed. Returns when the store is to be tried again, if its gate is closed now."""
        gate_ms: int | None = None
        failures = []
        if some_good:
            self.health.refused.clear()
        for outcome in sick:
            error, claim = outcome.error, outcome.claim
            assert error is not None
            refused = error.reason == "refused"
            if refused and not some_good:
                self.health.refused.add(claim.replica_id)
            whole = error.reason in OF_THE_STORE or (refused and len(self.health.refused) >= REFUSALS_IN_A_ROW)
            if whole and gate_ms is None and (not some_good or error.reason == "throttled"):
                # Of many transfers that were out when the store went away, the first to fail has closed it.
                gate_ms = self._closed_until(now_ms) or self._close_gate(conn, error, now_ms)
            if whole and gate_ms is not None:
                due_ms = now_ms  # the gate holds it back, not its own pause: when the store is back, all go at once
            else:
                asked = error.retry_after_s if isinstance(error, Unavailable) else None
                due_ms = now_ms + int(pause_s(claim.attempts, error.permanent, self.retry_max_s, self.dice, asked) * 1000)
            failures.append(Failure(claim.replica_id, error, due_ms))
            log.warning(
                "transfer.failed", destination=self.row.uri, key=claim.key, attempt=claim.attempts, reason=error.reason,
                error=error.detail, next_try_in_s=round((due_ms - now_ms) / 1000, 1),
            )  # fmt: skip
        replicas.release(conn, failures, self.epoch, now_ms)
        return gate_ms

    def _close_gate(self, conn: Connection, error: Error, now_ms: int) -> int:
        self.health.failures += 1
        asked = error.retry_after_s if isinstance(error, Unavailable) else None
        pause = store_pause_s(self.health.failures, error.permanent, self.retry_max_s, self.dice, asked)
        next_ms = now_ms + int(pause * 1000)
        before = self.row.state
        stores.failed(conn, self.row.id, error, now_ms, next_ms)
        self.row = stores.get(conn, self.row.id)
        if self.row.state != before:
            event = {"blocked": "destination.blocked", "full": "destination.full"}.get(self.row.state, "destination.unreachable")
            journal.note(conn, event, store_id=self.row.id, detail={"code": error.reason, "message": error.detail})
        log.warning(
            "destination.failed", destination=self.row.uri, reason=error.reason, error=error.detail, next_try_in_s=round(pause, 1)
        )
        if error.permanent and self.store is not None:
            self.store = None  # new credentials are read when it is opened again; transfers under way still use the old one
        self._aligning = True
        return next_ms

    def _unaligned(self) -> bool:
        """Whether something was put meanwhile into a destination that somebody must mend."""
        return self.row.state in ("blocked", "full") and replicas.next_due_ms(self.conn, self.row.id, blocked=False) is not None

    def _align(self) -> float:
        with self.pace.writing(self.pace.slice, durable=False) as conn:
            changed = stores.follow_block(conn, self.row.id, self.pace.slice)
        if changed == 0:
            self._aligning = False
        return 0

    def _record_rate(self, conn: Connection, outcomes: list[Outcome], now_ms: int) -> None:
        self._sent_bytes += sum(o.claim.size_bytes for o in outcomes if o.success is not None)
        elapsed_s = time.monotonic() - self._sent_since
        if elapsed_s * 1000 >= RATE_EVERY_MS:
            stores.set_rate(conn, self.row.id, int(self._sent_bytes / elapsed_s), now_ms)
            self._sent_bytes, self._sent_since = 0, time.monotonic()

    def _next_ms(self, now_ms: int) -> float | None:
        """Until something is due; None while only a finished transfer or the doorbell can bring more."""
        if self._outcomes:
            return GATHER_MS
        if self.row.paused or self.stopping or self._opening or len(self._running) >= 2 * self.concurrency:
            return None
        if self.row.state != "ok" and self._running:
            return None
        dues = [due for blocked in (False, True) if (due := replicas.next_due_ms(self.conn, self.row.id, blocked)) is not None]
        if not dues:
            return None
        due = min(dues)
        due = max(due, self._closed_until(now_ms) or due)
        return max(1.0, min(due - now_ms, self._longest_ms))
