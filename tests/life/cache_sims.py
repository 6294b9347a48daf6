"""What a cache of a given size could have made of a trace of reads: plain LRU, and the best that anybody could do who knew the future."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Mapping, Sequence


def hit_ratio_lru(trace: Sequence[str], sizes: Mapping[str, int], capacity_bytes: int) -> float:
    cached: OrderedDict[str, int] = OrderedDict()
    used = hits = 0
    for key in trace:
        if key in cached:
            hits += 1
            cached.move_to_end(key)
            continue
        cached[key] = sizes[key]
        used += sizes[key]
        while used > capacity_bytes:
            used -= cached.popitem(last=False)[1]
    return hits / max(1, len(trace))


def hit_ratio_optimum(trace: Sequence[str], sizes: Mapping[str, int], capacity_bytes: int) -> float:
    """Belady: drop what is used again last. (With objects of different sizes a bound that is very nearly reached.)"""
    following = [len(trace)] * len(trace)
    last: dict[str, int] = {}
    for at in range(len(trace) - 1, -1, -1):
        following[at] = last.get(trace[at], len(trace) + 1)
        last[trace[at]] = at
    cached: dict[str, int] = {}  # key → when it is used again
    heap: list[tuple[int, str]] = []
    used = hits = 0
    for at, key in enumerate(trace):
        if key in cached:
            hits += 1
        else:
            used += sizes[key]
        cached[key] = following[at]
        heapq.heappush(heap, (-following[at], key))
        while used > capacity_bytes:
            when, victim = heapq.heappop(heap)
            if cached.get(victim) == -when:
                del cached[victim]
                used -= sizes[victim]
    return hits / max(1, len(trace))
