"""The evictor: keeps the local copies within their budget, and never lets go of one that is not proven safe elsewhere.

    too much here? ─► the longest unused first (cache_policy) ─► proofs fresh? ─► lock, drop (FULL), unlink, fsync, forget
                                        │                            │ no: look again in the destinations, others go on
                                        └ used meanwhile: moved back ┘

Age of a proof delays and never blocks. Where a destination has lost a copy the object is no longer safe, and the local one stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from lading_catalog import cache, evicting, journal, localstore, media, replicas, sweeping
from lading_catalog.connection import Connection
from lading_catalog.evicting import Candidate, Evicted, ProofAge
from lading_catalog.stores import LOCAL
from ladingd import cache_policy
from ladingd.cache_policy import Limits
from ladingd.pace import Pace
from ladingd.rechecks import Rechecks

log = structlog.get_logger()

LOOK_N = 128  # copies looked at in a step
LOOK_AGAIN_MS = 10_000  # after a walk that could not free enough
RETRY_MS = 30_000  # after an error of this disk


@dataclass
class Walk:
    """Where the walk of each queue stands; copies that could not go are not looked at again in the same walk. `ended`: queues that are
    through. `freed_bytes`: of this walk."""

    after: dict[bool, tuple[int, int]] = field(default_factory=lambda: {False: (-1, 0), True: (-1, 0)})
    ended: set[bool] = field(default_factory=set)
    freed_bytes: int = 0


@dataclass
class Evictor:
    """See the module. `rechecks` looks at copies in destinations, in threads of its own. `free_bytes`: of the file system."""

    conn: Connection
    pace: Pace
    home: Path
    limits: Limits
    proof_max_age_ms: int
    rechecks: Rechecks
    free_bytes: Callable[[], int]

    def __post_init__(self) -> None:
        self._walk = Walk()
        self._not_before_ms = 0
        self._left_evictable = (
            0  # bytes that the last walk looked at and could not free; when there are more, another walk is worth it
        )
        self._back: deque[tuple[int, int]] = deque(maxlen=10_000)  # (when, bytes) of copies that came back soon

    # -- the step ----------------------------------------------------------------------------------------------------------------

    def step(self, now_ms: int) -> float | None:
        if self.rechecks.record(now_ms):
            self._walk, self._not_before_ms = Walk(freed_bytes=self._walk.freed_bytes), 0
        try:
            self._finish_dropped(now_ms)
            return self._work(now_ms)
        except OSError as e:
            log.error("evict.failed", error=str(e))
            self._not_before_ms, self._left_evictable = now_ms + RETRY_MS, 1 << 62
            return RETRY_MS

    def _work(self, now_ms: int) -> float | None:
        wait_ms = self._not_before_ms - now_ms
        if 0 < wait_ms <= max(LOOK_AGAIN_MS, RETRY_MS) and self._evictable() <= self._left_evictable:
            return wait_ms
        target = cache_policy.to_free(cache.local_bytes(self.conn), self.free_bytes(), self.limits)
        if target <= 0 and not evicting.asked(self.conn):
            self._walk = Walk()
            return None
        return self._evict(target, now_ms)

    def _finish_dropped(self, now_ms: int) -> None:
        """Local copies that were dropped and are not forgotten: by an earlier life, by a client that was killed, by a put that took the
        place of a fetch."""
        due_ms = sweeping.next_delete_ms(self.conn, LOCAL)
        while due_ms is not None and (left := sweeping.to_delete(self.conn, LOCAL, now_ms, 0, LOOK_N)):
            evicting.unlink_dropped(self.home, [d.key for d in left])
            with self.pace.writing(len(left), durable=False) as conn:
                evicting.forget(conn, [d.replica_id for d in left])

    # -- parts of it -------------------------------------------------------------------------------------------------------------

    def _evict(self, target: int, now_ms: int) -> float:
        """The next of a walk: a slice of one queue."""
        walk = self._walk
        queue = self._queue(walk, target)
        if queue is None:
            return self._walked(now_ms)
        limit = min(LOOK_N, self.pace.slice)
        seen = evicting.candidates(self.conn, queue, walk.after[queue], limit)
        if len(seen) < limit:
            walk.ended.add(queue)
        chosen = self._choose(seen, queue, target, now_ms)
        if not chosen:
            return 0
        age = ProofAge.at(now_ms, self.proof_max_age_ms)
        old = evicting.stale(self.conn, [c.object_id for c in chosen], age)
        if old:
            self.rechecks.ask([s for group in old.values() for s in group], now_ms)
            chosen = [c for c in chosen if c.object_id not in old]
        done = evicting.evict(self.home, chosen, age, self._writing)
        walk.freed_bytes += sum(c.size_bytes for c in done.gone)
        self._after(done, now_ms)
        return 0

    def _queue(self, walk: Walk, target: int) -> bool | None:
        """Which queue the next ones come from (False: used once); None when there is no more to look at."""
        if target <= 0:  # only what somebody asked for: it stands at the beginning of this queue
            return None if False in walk.ended else False
        once = cache_policy.from_once(*cache.once_and_evictable_bytes(self.conn))
        return next((queue for queue in (not once, once) if queue not in walk.ended), None)

    def _walked(self, now_ms: int) -> float:
        """Everything was looked at, and there is still too much here."""
        if self._walk.freed_bytes:
            log.info("evict.done", size_bytes=self._walk.freed_bytes)
        self._walk = Walk()
        self._not_before_ms, self._left_evictable = now_ms + LOOK_AGAIN_MS, self._evictable()
        return LOOK_AGAIN_MS

    def _evictable(self) -> int:
        return cache.once_and_evictable_bytes(self.conn)[1]

    def _choose(self, seen: Sequence[Candidate], queue: bool, target: int, now_ms: int) -> list[Candidate]:
        """Of these copies as many as have to go. Those that were used move back."""
        walk = self._walk
        since = evicting.candidates(self.conn, True, (-1, 0), 1) if not queue else []
        chosen: list[Candidate] = []
        moves: list[tuple[int, int, bool]] = []
        chosen_bytes = 0
        for one in seen:
            asked = one.used_at_ms == evicting.ASKED_MS
            if not asked and chosen_bytes >= target:
                if target <= 0:
                    walk.ended.add(queue)
                else:
                    walk.ended.discard(queue)
                break
            walk.after[queue] = (one.used_at_ms, one.replica_id)
            atime_ms = self._atime_ms(one)
            what = cache_policy.verdict(one, atime_ms, since[0].used_at_ms if since else None, now_ms, self.limits)
            if what == "used":
                moves.append((one.replica_id, max(atime_ms, one.used_at_ms), True))
                self._came_back(one, now_ms)
            elif what == "go":
                chosen.append(one)
                chosen_bytes += one.size_bytes
        if moves:
            with self.pace.writing(len(moves), durable=False) as conn:
                evicting.used(conn, moves)
        return chosen

    def _atime_ms(self, one: Candidate) -> int:
        try:
            return (self.home / one.key).lstat().st_atime_ns // 1_000_000
        except OSError:
            return 0

    def _after(self, done: Evicted, now_ms: int) -> None:
        if done.busy:  # read now: the last to go. One whose file is gone is none of ours to judge here.
            with self.pace.writing(len(done.busy), durable=False) as conn:
                evicting.used(conn, [(c.replica_id, now_ms, c.reused) for c in done.busy])
        for one in done.changed:
            self._look_at_changed(one)

    def _look_at_changed(self, one: Candidate) -> None:
        """Not the file that was hashed: hashed again. Whole: its new inode is noted (a home that was copied). Else it is set aside, with
        its bytes; never unlinked here."""
        sha256 = cache.sha256_of(self.conn, one.object_id)
        looks = [localstore.hashed(self.home, one.key) for _ in range(2)]  # twice: one bad read is no proof
        good = next((found for found in looks if found is not None and found.sha256 == sha256), None)
        with self.pace.writing(1) as conn:
            if good is not None:
                media.note_file(conn, one.replica_id, good)
            elif replicas.lose(conn, one.replica_id):
                journal.note(
                    conn, "damage.found", store_id=LOCAL, detail={"key": one.key, "message": "not what was put any more"}
                )
                log.error("damage.found", key=one.key)

    def _came_back(self, one: Candidate, now_ms: int) -> None:
        if one.last_used_ms is not None and 0 <= one.arrived_at_ms - one.last_used_ms < cache.SOON_MS:
            self._back.append((one.arrived_at_ms, one.size_bytes))
            recent = sum(size for at, size in self._back if now_ms - at < cache.SOON_MS)
            cache.note_wanted(self.conn, self.limits.budget_bytes + recent, now_ms, self._writing)

    def _writing(self, rows: int, durable: bool) -> AbstractContextManager[Connection]:
        return self.pace.writing(rows, durable=durable)
