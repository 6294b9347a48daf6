"""The collector of one destination: what nothing needs any more is deleted there, and never anything else.

    look for what is due and may go ─► the cap ─► read the owner marker ─► commit a fresh token, write it ─► the sweep is open:
        drop a batch (FULL: whatever happens now, the catalog knows) ─► DELETE ─► forget what is gone ─► the next batch … ─► closed

Only tombstones are input. No list, no 404 and no missing row leads to a delete; any doubt (an error while reading, a marker that is not
ours, a clock that is off) stops the whole sweep, says so in `status`, and is looked at again later.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from lading_catalog import fetching, journal, ownership, sweeping
from lading_catalog.connection import Connection
from lading_catalog.errors import Error, Refused, Unavailable
from lading_catalog.ids import new_ulid
from lading_catalog.ownership import Plan
from lading_catalog.stores import StoreRow
from lading_catalog.sweeping import Dropped, Due
from ladingd import owner
from ladingd.cap import Cap
from ladingd.catalog_clock import CatalogClock
from ladingd.pace import Pace
from ladingd.retry import longest_pause_s, pause_s, store_pause_s
from ladingd.stores.base import Store
from ladingd.transfers import Pool

log = structlog.get_logger()

BATCH = 1000  # keys of one request, where the store takes so many
LOOK_N = 256  # tombstones looked at in a step
LOOK_AGAIN_MS = 60_000  # after a look that found nothing that may go yet
REQUESTS = 2  # batches on their way at once
NOTHING_NEW = -1


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says of deletes. `versions`: in a versioned bucket the old versions go too."""

    grace_ms: int
    cap: Cap
    versions: bool
    retry_max_s: float


@dataclass
class Sweep:
    """One that is open. `upto_clock_ms`: only tombstones seen until then; NOTHING_NEW: only what was dropped before is deleted again.
    `planned`: somebody has confirmed it, so it does not count."""

    upto_clock_ms: int
    planned: bool
    after: tuple[int, int] = (-1, 0)
    exhausted: bool = False
    batch: list[Dropped] = field(default_factory=list)
    out: set[int] = field(default_factory=set)  # replicas whose DELETE is on its way, or waits in the batch
    dropped_n: int = 0


@dataclass
class Sweeper:
    """See the module. `open_store` may take long and is called in a thread; `wake` is called from there."""

    conn: Connection
    pace: Pace
    clock: CatalogClock
    catalog_id: str
    row: StoreRow
    rules: Rules
    open_store: Callable[[StoreRow, bool], Store]  # (row, anew): `anew` reads credentials again
    wake: Callable[[], None]
    dice: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        self._pool: Pool[Any] = Pool(f"sweep-{self.row.id}", REQUESTS, lambda outcome: None)
        self._done: deque[tuple[Callable[[Any, int], None], Any]] = deque()
        self._gone: deque[int] = deque()
        self._store: Store | None = None
        self._sweep: Sweep | None = None
        self._next = Sweep(NOTHING_NEW, False)  # the one that opens once the marker is written
        self._after: tuple[int, int] = (-1, 0)  # where the look for what may go goes on
        self._not_before_ms = 0
        self._failures = 0
        self._anew = False
        self._longest_ms = int(longest_pause_s(self.rules.retry_max_s) * 1000)
        self._longest_due_ms = max(self._longest_ms, sweeping.AGAIN_MS)
        self.busy = 0
        self.stopping = False

    # -- the step ----------------------------------------------------------------------------------------------------------------

    def step(self, now_ms: int) -> float | None:
        while self._done:
            then, result = self._done.popleft()
            self.busy -= 1
            then(result, now_ms)
        if self._gone:
            return self._forget(now_ms)
        if self.stopping:
            return None
        if self._sweep is not None:
            return self._go_on(self._sweep, now_ms)
        return None if self.busy else self._look(now_ms)

    def close(self) -> None:
        self._pool.close()

    # -- is there anything to do? ------------------------------------------------------------------------------------------------

    def _look(self, now_ms: int) -> float | None:
        """Open a sweep if something is due that may go. A look reads a slice of the tombstones and remembers where it was."""
        if self.row.paused:
            return None
        again_ms = self._not_before_ms - now_ms
        if 0 < again_ms <= self._longest_ms and not self._adopted():
            return again_ms
        redo_ms = sweeping.next_delete_ms(self.conn, self.row.id)
        if redo_ms is not None and (redo_ms <= now_ms or redo_ms > now_ms + self._longest_due_ms):
            return self._open(now_ms, NOTHING_NEW)
        first_ms = sweeping.next_seen_ms(self.conn, self.row.id)
        upto = self.clock.ms - self.rules.grace_ms
        if first_ms is None or first_ms > upto:
            waits = ([first_ms - upto] if first_ms is not None else []) + ([redo_ms - now_ms] if redo_ms is not None else [])
            return max(1.0, min(waits)) if waits else None
        seen = sweeping.due(self.conn, self.row.id, upto, self._after, LOOK_N)
        if any(self._may_go(d, now_ms) for d in seen):
            self._after = (-1, 0)
            return self._open(now_ms, upto)
        self._want_here(seen)
        if len(seen) == LOOK_N:
            self._after = (seen[-1].seen_clock_ms, seen[-1].replica_id)
            return 0
        self._after = (-1, 0)
        self._not_before_ms = now_ms + LOOK_AGAIN_MS
        return LOOK_AGAIN_MS

    def _may_go(self, one: Due, now_ms: int) -> bool:
        """Besides what the schema says: an attempt that ended just now may still be on its way."""
        return one.held is None and not (one.claimed and abs(now_ms - one.ended_at_ms) < sweeping.SETTLE_MS)

    def _want_here(self, seen: Sequence[Due]) -> None:
        """Copies that may go only once there is one on this disk: their media have no destination any more."""
        ids = [d.object_id for d in seen if d.held == "not safe elsewhere" and sweeping.local_copy_wanted(self.conn, d.object_id)]
        if ids:
            with self.pace.writing(len(ids), durable=False) as conn:
                for object_id in ids:
                    fetching.want_back(conn, object_id)

    def _adopted(self) -> bool:
        return self._failures > 0 and ownership.resting(self.conn, self.row.id) is None

    def _open(self, now_ms: int, upto: int) -> float | None:
        """The cap, then the marker."""
        plan = ownership.plan(self.conn, self.row.id)
        planned = plan is not None and plan.confirmed_at_ms is not None
        if plan is not None and planned:
            upto = min(upto, plan.upto_clock_ms)
        elif upto != NOTHING_NEW:
            due_n, size_bytes = sweeping.how_many(self.conn, self.row.id, upto)
            swept, present = ownership.swept(self.conn, self.row.id, self.clock.ms), ownership.present_n(self.conn, self.row.id)
            if self.rules.cap.exceeded(due_n, swept, present):
                return self._stop_at_cap(plan, due_n, size_bytes, upto, now_ms)
            if plan is not None:  # what made it too much was taken back
                with self.pace.writing(1, durable=False) as conn:
                    ownership.end_plan(conn, self.row.id)
                    ownership.go_on(conn, self.row.id, ownership.CAP)
        self._next = Sweep(upto, planned)
        self._run(self._read_marker, self._marker_read)
        return None

    def _stop_at_cap(self, plan: Plan | None, due_n: int, size_bytes: int, upto: int, now_ms: int) -> float:
        self._not_before_ms, self._failures = now_ms + LOOK_AGAIN_MS, 1
        if plan is None or plan.n != due_n:
            new = Plan(new_ulid(now_ms, self.conn.random_bytes), self.row.id, upto, due_n, size_bytes, now_ms, None)
            error = Error(
                f"{self.row.uri}: {due_n:,} copies are to be deleted, more than goes without asking: nothing is deleted there.",
                hint=f"See what it is: lading sweep --plan. If it is meant: lading sweep --confirm {new.id}",
            )
            with self.pace.writing(1) as conn:
                ownership.end_plan(conn, self.row.id)
                ownership.make_plan(conn, new)
                if ownership.rest(conn, self.row.id, ownership.CAP, error, now_ms):
                    journal.note(conn, "sweep.stopped", store_id=self.row.id, detail={"plan": new.id, "objects": due_n})
            log.warning("sweep.stopped", destination=self.row.uri, plan=new.id, objects=due_n, size_bytes=size_bytes)
        return LOOK_AGAIN_MS

    # -- whose destination is it? ------------------------------------------------------------------------------------------------

    def _read_marker(self) -> owner.Marker:
        self._store = self.open_store(self.row, self._anew)
        self._anew = False
        return owner.read(self._store, self.catalog_id)

    def _marker_read(self, found: owner.Marker | Error, now_ms: int) -> None:
        if isinstance(found, Error):
            self._stop(found.reason, found, now_ms)
            return
        if self._skewed(found.clock_offset_s, now_ms):
            return
        if not ownership.tokens(self.conn, self.row.id).fit(found.token):
            self._stop(ownership.OWNER, owner.foreign(self.row.uri, found.token), now_ms)
            return
        fresh = owner.fresh_token()
        with self.pace.writing(1) as conn:
            ownership.renew(conn, self.row.id, found.token, fresh)
        store = self._store
        assert store is not None
        self._run(lambda: owner.write(store, self.catalog_id, fresh), lambda result, at: self._marker_written(result, fresh, at))

    def _marker_written(self, result: Error | None, fresh: str, now_ms: int) -> None:
        if isinstance(result, Error):
            self._stop(result.reason, result, now_ms)
            return
        if self._store is not None and self._skewed(
            self._store.clock_offset_s, now_ms
        ):  # (a directory tells its time by what is written)
            return
        with self.pace.writing(1, durable=False) as conn:
            ownership.written(conn, self.row.id, fresh)
            if ownership.resting(conn, self.row.id) != ownership.CAP:
                ownership.go_on(conn, self.row.id)
        self._failures = 0
        self._sweep = self._next

    def _skewed(self, offset_s: float | None, now_ms: int) -> bool:
        try:
            owner.refuse_skew(self.row.uri, offset_s)
        except owner.ClockSkew as e:
            self._stop(ownership.CLOCK, e, now_ms)
            return True
        return False

    def _stop(self, code: str, error: Error, now_ms: int) -> None:
        """Nothing is deleted for now."""
        self._failures += 1
        self._anew |= isinstance(error, Refused)
        asked = error.retry_after_s if isinstance(error, Unavailable) else None
        permanent = error.permanent or code in (ownership.OWNER, ownership.CLOCK)
        pause = store_pause_s(self._failures, permanent, self.rules.retry_max_s, self.dice, asked)
        self._not_before_ms = now_ms + int(pause * 1000)
        self._sweep = None
        with self.pace.writing(1, durable=False) as conn:
            if ownership.rest(conn, self.row.id, code, error, now_ms):
                journal.note(conn, "sweep.stopped", store_id=self.row.id, detail={"code": code, "message": error.detail})
        log.warning("sweep.stopped", destination=self.row.uri, reason=code, error=error.detail, next_try_in_s=round(pause, 1))

    # -- the sweep is open -------------------------------------------------------------------------------------------------------

    def _go_on(self, sweep: Sweep, now_ms: int) -> float | None:
        """Fill a batch, a slice a step; send it when it is full or nothing more is due; close the sweep when all is done."""
        if len(sweep.batch) < BATCH and not sweep.exhausted:
            self._fill(sweep, now_ms)
            return 0
        if sweep.batch and self.busy < REQUESTS:
            self._send(sweep)
            return 0
        if not self.busy and not sweep.batch:
            log.info("sweep.done", destination=self.row.uri, objects=sweep.dropped_n)
            self._sweep = None
            if sweep.planned:
                with self.pace.writing(1, durable=False) as conn:
                    ownership.end_plan(conn, self.row.id)
            return 0
        return None

    def _fill(self, sweep: Sweep, now_ms: int) -> None:
        if not sweep.out:  # what an earlier life had dropped, what failed, what is deleted once more
            sweep.batch = sweeping.to_delete(self.conn, self.row.id, now_ms, self._longest_due_ms, BATCH)
            sweep.out = {d.replica_id for d in sweep.batch}
        room = min(BATCH - len(sweep.batch), self.pace.slice)
        seen = sweeping.due(self.conn, self.row.id, sweep.upto_clock_ms, sweep.after, room)
        sweep.exhausted = len(seen) < room
        if seen:
            sweep.after = (seen[-1].seen_clock_ms, seen[-1].replica_id)
        chosen = [d for d in seen if self._may_go(d, now_ms)]
        if not chosen:
            return
        with self.pace.writing(len(chosen)) as conn:
            dropped, refused = sweeping.drop(conn, chosen, now_ms)
            if dropped and not sweep.planned:
                ownership.count_swept(conn, self.row.id, self.clock.ms, len(dropped))
        sweep.batch += dropped
        sweep.out |= {d.replica_id for d in dropped}
        sweep.dropped_n += len(chosen) - len(refused)

    def _send(self, sweep: Sweep) -> None:
        batch, sweep.batch = sweep.batch, []
        store, versions = self._store, self.rules.versions
        assert store is not None

        def delete() -> dict[str, Error]:
            keys = [d.key for d in batch]
            return store.delete(keys, versions=True) if versions else store.delete(keys)

        self._run(delete, lambda failed, now_ms: self._deleted(batch, failed, now_ms))

    def _deleted(self, batch: Sequence[Dropped], failed: dict[str, Error] | Error, now_ms: int) -> None:
        errors = dict.fromkeys((d.key for d in batch), failed) if isinstance(failed, Error) else failed
        bad = [(d.replica_id, errors[d.key]) for d in batch if d.key in errors]
        self._gone.extend(d.replica_id for d in batch if d.key not in errors)
        if self._sweep is not None:
            self._sweep.out -= {d.replica_id for d in batch}
        if not bad:
            return
        first = bad[0][1]
        due_ms = now_ms + int(pause_s(self._failures + 1, first.permanent, self.rules.retry_max_s, self.dice) * 1000)
        for start in range(0, len(bad), self.pace.slice):
            part = bad[start : start + self.pace.slice]
            with self.pace.writing(len(part), durable=False) as conn:
                sweeping.not_gone(conn, part, now_ms, due_ms)
        log.warning("delete.failed", destination=self.row.uri, objects=len(bad), reason=first.reason, error=first.detail)
        if len(bad) == len(batch):
            self._stop(first.reason, first, now_ms)

    def _forget(self, now_ms: int) -> float:
        part = [self._gone.popleft() for _ in range(min(len(self._gone), self.pace.slice))]
        with self.pace.writing(len(part), durable=False) as conn:
            sweeping.gone(conn, part, self.clock.ms, now_ms)
        return 0

    # -- threads -----------------------------------------------------------------------------------------------------------------

    def _run(self, work: Callable[[], Any], then: Callable[[Any, int], None]) -> None:
        """`work` in a thread; `then`, in a later step, with what it returned or the Error that it raised."""
        self.busy += 1

        def job() -> None:
            try:
                result: Any = work()
            except Error as e:
                result = e
            except Exception as e:  # (the sweep has to be told, whatever it was)
                log.exception("sweep.crashed", destination=self.row.uri)
                result = Unavailable(f"Unforeseen {type(e).__name__}.", hint="Please report it with the log.")
            self._done.append((then, result))
            self.wake()

        self._pool.submit(job)
