"""Is the cache too small for what is used? Copies that are used again soon after they were evicted tell, and how much was evicted in
between tells how large it would have to be: so much more, and they would still have been here. In memory only; time is passed in."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from dataclasses import dataclass

SOON_MS = 3_600_000  # a copy that is used again so soon after its eviction should not have gone
EVICTED_MAX = 100_000  # remembered
MOMENTS_MAX = 10_000
MOST = 0.9  # of the bytes that came back: so many would have stayed
WORTH_TELLING = 0.1  # of the bytes that were evicted lately: fewer that come back are no reason for a larger cache


@dataclass(frozen=True, slots=True)
class Return:
    at_ms: int
    size_bytes: int
    missing_bytes: int  # that the cache was too small for this one


class Returns:
    def __init__(self) -> None:
        self._evicted: OrderedDict[int, tuple[int, int]] = OrderedDict()  # object → (when, bytes evicted by then)
        self._moments: deque[tuple[int, int]] = deque(maxlen=MOMENTS_MAX)  # (when, bytes evicted by then)
        self._back: deque[Return] = deque(maxlen=MOMENTS_MAX)
        self._total_bytes = 0

    def evicted(self, object_id: int, size_bytes: int, now_ms: int) -> None:
        self._total_bytes += size_bytes
        self._evicted[object_id] = (now_ms, self._total_bytes)
        self._evicted.move_to_end(object_id)
        if len(self._evicted) > EVICTED_MAX:
            self._evicted.popitem(last=False)
        if self._moments and self._moments[-1][0] == now_ms:
            self._moments.pop()
        self._moments.append((now_ms, self._total_bytes))

    def came_back(self, object_id: int, size_bytes: int, arrived_ms: int) -> None:
        """A copy is here that may have been evicted before."""
        when_ms, total = self._evicted.pop(object_id, (arrived_ms + 1, 0))
        if 0 <= arrived_ms - when_ms < SOON_MS:
            self._back.append(Return(arrived_ms, size_bytes, size_bytes + self._total_at(arrived_ms) - total))

    def missing_bytes(self, now_ms: int) -> int:
        """How much larger the cache would have to be for what was used in the last hour; 0: it is large enough."""
        lately = sorted((r for r in self._back if 0 <= now_ms - r.at_ms < SOON_MS), key=lambda r: r.missing_bytes)
        back_bytes = sum(r.size_bytes for r in lately)
        if back_bytes <= WORTH_TELLING * (self._total_bytes - self._total_at(now_ms - SOON_MS)):
            return 0
        seen_bytes = 0
        for one in lately:
            seen_bytes += one.size_bytes
            if seen_bytes >= MOST * back_bytes:
                return one.missing_bytes
        return 0

    def _total_at(self, at_ms: int) -> int:
        at = bisect_right(self._moments, at_ms, key=lambda moment: moment[0])
        return self._moments[at - 1][1] if at else 0
