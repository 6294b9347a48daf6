"""The evictor: keeps the local copies within their budget, and never lets go of one that is not proven safe elsewhere.

    too much here? ─► the longest unused first (cache_policy) ─► proofs fresh? ─► lock, drop (FULL), unlink, fsync, forget
                                        │                            │ no: look again in the destinations, others go on
                                        └ used meanwhile: moved back ┘

Age of a proof delays and never blocks. Where a destination has lost a copy the object is no longer safe, and the local one stays.

What it costs: as much as is evicted. Copies that wait for a look count as if they had gone, so that no more are looked at than have to
go; the queue of what came lately ends at the first that is too young; a walk that could not free enough is not repeated at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from lading_catalog import cache, evicting, room, sweeping
from lading_catalog.connection import Connection
from lading_catalog.evicting import Candidate, ProofAge
from lading_catalog.stores import LOCAL
from ladingd import cache_policy
from ladingd.cache_policy import Limits
from ladingd.pace import Pace
from ladingd.rechecks import Rechecks
from ladingd.rehashes import Rehashes
from ladingd.returns import Returns

log = structlog.get_logger()

LOOK_N = 128  # copies looked at in a step
LOOK_AGAIN_MS = 10_000  # after a walk that could not free enough
LOOKING_MS = 900  # while a look is under way: a daemon that leaves when it is idle stays for that
LOOK_LATER_MS = 600_000  # the longest such pause
WALK_SHARE = 20  # a walk of all that cannot go takes one part in so many of the time
CHEAP_MS = 50.0  # a walk that takes less is repeated as soon as more could go
RETRY_MS = 30_000  # after an error of this disk
SHOWS_MS = 10_000  # a file system may take so long to show what was freed


@dataclass
class Walk:
    """Where the walk of each queue stands; copies that could not go are not looked at again in the same walk. `ended`: queues that are
    through. `in_use`: copies that were found in use, and moved back. `freed_bytes`: so far; `took_ms`: its steps that freed nothing."""

    after: dict[bool, tuple[int, int]] = field(default_factory=lambda: {False: (-1, 0), True: (-1, 0)})
    ended: set[bool] = field(default_factory=set)
    in_use: set[int] = field(default_factory=set)
    freed_bytes: int = 0
    took_ms: float = 0.0


@dataclass
class Evictor:
    """See the module. `rechecks` looks at copies in destinations, `rehashes` at files here, in threads of their own. `free_bytes`: of the
    file system."""

    conn: Connection
    pace: Pace
    home: Path
    limits: Limits
    proof_max_age_ms: int
    rechecks: Rechecks
    rehashes: Rehashes
    free_bytes: Callable[[], int]
    timer: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        self._walk = Walk()
        self._begun = False  # the budget was exceeded, and the low watermark is not reached yet
        self._waiting: dict[int, int] = {}  # object → bytes of copies that wait for a look
        self._again: list[int] = []  # objects that were looked at and are well
        self._not_before_ms = self._pause_ms = self._failed_ms = 0
        self._left_bytes = 0  # evictable, at the end of the last walk: when there are more, another one is worth it
        self._shows = (0, 0)  # (until when, how much then has to be free) while the file system may not show yet what was freed
        self._returns = Returns()

    # -- the step ----------------------------------------------------------------------------------------------------------------

    def step(self, now_ms: int) -> float | None:
        for object_id, well in (self.rechecks.record(now_ms) | self.rehashes.record()).items():
            self._waiting.pop(object_id, None)
            if well:
                self._again.append(object_id)
        if 0 < (wait_ms := self._failed_ms + RETRY_MS - now_ms) <= RETRY_MS:
            return wait_ms
        try:
            self._finish_dropped(now_ms)
            return self._work(now_ms)
        except OSError as e:
            log.error("evict.failed", error=str(e))
            self._failed_ms = now_ms
            return RETRY_MS

    def _finish_dropped(self, now_ms: int) -> None:
        """Local copies that were dropped and are not forgotten: by an earlier life, by a client that was killed, by a put that took the
        place of a fetch."""
        due_ms = sweeping.next_delete_ms(self.conn, LOCAL)
        while due_ms is not None and (left := sweeping.to_delete(self.conn, LOCAL, now_ms, 0, LOOK_N)):
            evicting.unlink_dropped(self.home, [d.key for d in left])
            with self.pace.writing(len(left), durable=False) as conn:
                evicting.forget(conn, [d.replica_id for d in left])

    def _work(self, now_ms: int) -> float | None:
        target = self._target(now_ms)
        if target <= 0 and not evicting.asked(self.conn):
            self._walked(now_ms)
            self._again.clear()
            return None
        began, freed_bytes = self.timer(), self._walk.freed_bytes
        wait_ms = self._evict(target, now_ms)
        if self._walk.freed_bytes == freed_bytes:
            self._walk.took_ms += (self.timer() - began) * 1000
        return min(wait_ms, LOOKING_MS) if self.rechecks.busy or self.rehashes.busy else wait_ms

    def _target(self, now_ms: int) -> int:
        """How many bytes have to go."""
        # What a put waits for, beside what min_free keeps, is not free any more.
        used, free = cache.local_bytes(self.conn), self.free_bytes() - room.asked_bytes(self.home, now_ms / 1000)
        self._begun = used > (self.limits.low_bytes if self._begun else self.limits.budget_bytes)
        until_ms, goal = self._shows
        if 0 < until_ms - now_ms <= SHOWS_MS:
            free = max(free, goal)
        return cache_policy.to_free(used, free, self.limits, self._begun)

    # -- a step of a walk --------------------------------------------------------------------------------------------------------

    def _evict(self, target: int, now_ms: int) -> float:
        if self._again:
            some, self._again = self._again[:LOOK_N], self._again[LOOK_N:]
            self._let_go(self._choose(evicting.of_objects(self.conn, some), target, now_ms)[0], now_ms)
            return 0
        wait_ms = self._not_before_ms - now_ms
        if 0 < wait_ms <= self._pause_ms and not (self._pause_ms <= LOOK_AGAIN_MS and self._evictable() > self._left_bytes):
            return wait_ms
        self._not_before_ms = 0  # a walk that has begun goes on
        need = target - sum(self._waiting.values())
        if (need <= 0 < target) or self.rechecks.full or self.rehashes.full:
            return LOOK_AGAIN_MS  # (the end of a look wakes us)
        queue = self._queue(target)
        if queue is None:
            return self._walked_all(now_ms)
        walk = self._walk
        limit = min(LOOK_N, self.pace.slice)
        seen = evicting.candidates(self.conn, queue, walk.after[queue], limit)
        if len(seen) < limit:
            walk.ended.add(queue)
        chosen, enough = self._choose(seen, need, now_ms, queue)
        if enough and need > 0:
            walk.ended.discard(queue)
        elif enough:
            walk.ended.add(queue)  # only what somebody asked for, and there is no more of that
        self._let_go(chosen, now_ms)
        return 0

    def _queue(self, target: int) -> bool | None:
        """Which queue the next ones come from (False: used once); None when there is no more to look at."""
        ended = self._walk.ended
        if target <= 0:  # only what somebody asked for: it stands at the beginning of this queue
            return None if False in ended else False
        once = cache_policy.from_once(*cache.once_and_evictable_bytes(self.conn))
        return next((queue for queue in (not once, once) if queue not in ended), None)

    def _choose(
        self, seen: Sequence[Candidate], need: int, now_ms: int, queue: bool | None = None
    ) -> tuple[list[Candidate], bool]:
        """Of these copies as many as have to go, and whether they are enough. Those that were used move back. `queue`: they are the next
        of this walk."""
        walk = self._walk
        since: int | None = self._reused_since(now_ms) if any(c.last_used_ms is not None and not c.reused for c in seen) else None
        chosen: list[Candidate] = []
        moves: list[tuple[int, int, bool]] = []
        enough = False
        for one in seen:
            asked = one.used_at_ms == evicting.ASKED_MS
            if enough := not asked and need <= 0:
                break
            if queue and moves and one.used_at_ms > min(at for _, at, _ in moves):
                break  # those that moved stand before it now
            if queue is not None:
                walk.after[queue] = (one.used_at_ms, one.replica_id)
            if one.object_id in self._waiting or one.replica_id in walk.in_use:
                continue
            atime_ms = self._atime_ms(one)
            what = cache_policy.verdict(one, atime_ms, None if one.reused else since, now_ms, self.limits)
            if what == "stay":
                if queue is False:  # those behind it came later
                    walk.ended.add(queue)
                    break
                continue
            if not one.reused:
                self._returns.came_back(one.object_id, one.size_bytes, one.arrived_at_ms)
            if what == "used":
                moves.append((one.replica_id, max(atime_ms, one.used_at_ms), True))
            else:
                chosen.append(one)
                need -= one.size_bytes
        self._move(moves)
        if moves:
            walk.ended.discard(True)  # they come once more, in their new places
        return chosen, enough

    def _let_go(self, chosen: Sequence[Candidate], now_ms: int) -> None:
        """Those whose proofs are fresh go now; the others are looked at."""
        if not chosen:
            return
        age = ProofAge.at(now_ms, self.proof_max_age_ms)
        old = evicting.stale(self.conn, [c.object_id for c in chosen], age)
        for one in chosen:
            if one.object_id in old and self.rechecks.ask(old[one.object_id], now_ms):
                self._waiting[one.object_id] = one.size_bytes
        fresh = [c for c in chosen if c.object_id not in old]
        if not fresh:
            return
        free = self.free_bytes()
        done = evicting.evict(self.home, fresh, age, self._writing)
        for one in done.gone:
            self._returns.evicted(one.object_id, one.size_bytes, now_ms)
        freed_bytes = sum(c.size_bytes for c in done.gone)
        self._walk.freed_bytes += freed_bytes
        self._expect_free(free, freed_bytes, now_ms)
        self._move([(c.replica_id, now_ms, c.reused) for c in done.busy])  # read now: the last to go
        self._walk.in_use |= {c.replica_id for c in done.busy}
        for one in done.changed:
            self.rehashes.ask(one)
            self._waiting[one.object_id] = one.size_bytes

    def _reused_since(self, now_ms: int) -> int | None:
        """The last use of the reused copy that has been unused longest. Those with a use that is news move back first."""
        first = evicting.candidates(self.conn, True, (-1, 0), LOOK_N)
        moves = []
        for one in first:
            atime_ms = self._atime_ms(one)
            if not cache_policy.used_again(one, atime_ms, now_ms):
                break
            moves.append((one.replica_id, atime_ms, True))
        self._move(moves)
        return first[min(len(moves), len(first) - 1)].used_at_ms if first else None

    def _move(self, moves: list[tuple[int, int, bool]]) -> None:
        if moves:
            with self.pace.writing(len(moves), durable=False) as conn:
                evicting.used(conn, moves)

    def _atime_ms(self, one: Candidate) -> int:
        try:
            return (self.home / one.key).lstat().st_atime_ns // 1_000_000
        except OSError:
            return 0

    def _expect_free(self, free: int, freed_bytes: int, now_ms: int) -> None:
        """Some file systems take seconds to show what was freed, or never do (snapshots, files that are open): that must not empty the
        cache."""
        until_ms, goal = self._shows
        goal = max(free, goal) if 0 < until_ms - now_ms <= SHOWS_MS else free
        self._shows = (now_ms + SHOWS_MS, goal + freed_bytes)

    # -- the end of a walk -------------------------------------------------------------------------------------------------------

    def _walked_all(self, now_ms: int) -> float:
        """Everything was looked at, and there is still too much here."""
        pause_ms = max(LOOK_AGAIN_MS, 0 if self._walk.took_ms < CHEAP_MS else int(self._walk.took_ms * WALK_SHARE))
        self._begun = False
        self._walked(now_ms)
        self._pause_ms = min(pause_ms, LOOK_LATER_MS)
        self._not_before_ms, self._left_bytes = now_ms + self._pause_ms, self._evictable()
        return self._pause_ms

    def _walked(self, now_ms: int) -> None:
        freed_bytes, self._walk = self._walk.freed_bytes, Walk()
        if not freed_bytes:
            return
        log.info("evict.done", size_bytes=freed_bytes)
        if missing := self._returns.missing_bytes(now_ms):
            cache.note_wanted(self.conn, self.limits.budget_bytes + missing, now_ms, self._writing)

    def _evictable(self) -> int:
        return cache.once_and_evictable_bytes(self.conn)[1]

    def _writing(self, rows: int, durable: bool) -> AbstractContextManager[Connection]:
        return self.pace.writing(rows, durable=durable)
