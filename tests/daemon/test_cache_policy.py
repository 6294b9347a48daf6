"""Which copies go first: the evictor's rules on made-up reads, without a disk, beside plain LRU and the best that anybody could do who
knew the future. `pytest -s` prints the table."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from itertools import pairwise

import pytest

from lading_catalog.evicting import ASKED_MS, Candidate
from ladingd.cache_policy import AGAIN_MS, Limits, from_once, to_free, verdict
from life.cache_sims import hit_ratio_lru, hit_ratio_optimum

DAY_MS = 86_400_000
CACHE = 200  # objects, all of one size


class Cache:
    """What the evictor does, over numbers. A copy's own use is only known from its atime, looked at when its turn has come."""

    def __init__(self, budget: int = CACHE, low: int = CACHE * 9 // 10, size: int = 1) -> None:
        self.limits = Limits(budget * size, low * size, 0, 0)
        self.size = size
        self.now_ms = DAY_MS
        self.hits = self.reads = 0
        self.atime: dict[str, int] = {}
        self.here: dict[str, Candidate] = {}
        self.evicted: dict[str, int] = {}  # its last use
        self.once = 0
        self._queues: dict[bool, list[tuple[int, str]]] = {False: [], True: []}
        self.looks = 0  # copies that were looked at

    def read(self, key: str, after_ms: int = 1000) -> bool:
        self.now_ms += after_ms
        self.reads += 1
        hit = key in self.here
        self.hits += hit
        if not hit:
            self._place(key, self.now_ms, self.now_ms, reused=False)
        self.atime[key] = self.now_ms
        self._evict()
        return hit

    def run(self, trace: Sequence[str], after_ms: int = 1000) -> float:
        return sum(self.read(key, after_ms) for key in trace) / len(trace)

    def _place(self, key: str, used_ms: int, arrived_ms: int, *, reused: bool) -> None:
        self.once += not reused
        self.here[key] = Candidate(0, 0, key, self.size, 0, 0, used_ms, arrived_ms, reused, self.evicted.get(key))
        heapq.heappush(self._queues[reused], (used_ms, key))

    def _first(self, reused: bool) -> Candidate | None:
        heap = self._queues[reused]
        while heap:
            used_ms, key = heap[0]
            one = self.here.get(key)
            if one is not None and (one.reused, one.used_at_ms) == (reused, used_ms):
                return one
            heapq.heappop(heap)
        return None

    def _reused_since(self) -> int | None:
        """The last use of the one that has been unused longest; those whose use is news move back first."""
        while (one := self._first(True)) is not None and self.atime[one.key] > one.used_at_ms + AGAIN_MS:
            del self.here[one.key]
            self._place(one.key, self.atime[one.key], one.arrived_at_ms, reused=True)
            self.looks += 1
        return one.used_at_ms if one is not None else None

    def _evict(self) -> None:
        target, freed = to_free(len(self.here) * self.size, 1 << 60, self.limits), 0
        while freed < target:
            once = from_once(self.once * self.size, len(self.here) * self.size)
            one = self._first(not once) or self._first(once)
            assert one is not None
            self.looks += 1
            atime = self.atime[one.key]
            what = verdict(one, atime, None if one.reused else self._reused_since(), self.now_ms, self.limits)
            del self.here[one.key]
            self.once -= not one.reused
            if what == "go":
                freed += one.size_bytes
                self.evicted[one.key] = max(atime, one.used_at_ms)
            else:
                self._place(one.key, max(atime, one.used_at_ms), one.arrived_at_ms, reused=True)


def zipf(objects: int, n: int, skew: float, seed: int = 1) -> list[str]:
    dice = random.Random(seed)
    return dice.choices([f"z{i}" for i in range(objects)], [1 / (i + 1) ** skew for i in range(objects)], k=n)


def daily_and_scans(days: int = 10) -> list[str]:
    """A set of 40 % of the cache that is read twice a day, and each night everything else once, as a backup would: ten times the cache."""
    dice = random.Random(2)
    daily = [f"d{i}" for i in range(CACHE * 4 // 10)]
    trace: list[str] = []
    for _ in range(days):
        trace += dice.sample(daily, len(daily)) + dice.sample(daily, len(daily))
        trace += [f"s{i}" for i in range(CACHE * 10)]
    return trace


def drifting(n: int = 20_000) -> list[str]:
    """What is popular moves on: last week's photos are not this week's."""
    dice = random.Random(3)
    weights = [1 / (i + 1) ** 0.9 for i in range(1000)]
    return [f"w{at // 20 + dice.choices(range(1000), weights)[0]}" for at in range(n)]


TRACES = {
    "Zipf 0.7": zipf(2000, 30_000, 0.7),
    "Zipf 0.9": zipf(2000, 30_000, 0.9),
    "Zipf 1.1": zipf(2000, 30_000, 1.1),
    "Zipf that drifts": drifting(),
    "scans only": [f"s{i}" for i in range(CACHE * 10)] * 3,
    "daily set and scans": daily_and_scans(),
    "loop of 1.2 caches": [f"l{i}" for i in range(CACHE * 12 // 10)] * 50,
}


def ratios(trace: Sequence[str]) -> tuple[float, float, float]:
    """(ours, plain LRU, the optimum)."""
    sizes = dict.fromkeys(trace, 1)
    return Cache().run(trace), hit_ratio_lru(trace, sizes, CACHE), hit_ratio_optimum(trace, sizes, CACHE)


def test_hit_ratios_beside_lru_and_the_optimum() -> None:
    found = {name: ratios(trace) for name, trace in TRACES.items()}
    print(f"\n{'reads':22} {'ours':>7} {'LRU':>7} {'optimum':>8}")
    for name, (ours, lru, optimum) in found.items():
        print(f"{name:22} {ours:7.1%} {lru:7.1%} {optimum:8.1%}")
        assert lru - 0.02 <= ours <= optimum, name
    ours, lru, _ = found["daily set and scans"]
    assert ours > 1.5 * lru


def test_a_scan_of_ten_caches_leaves_the_daily_set() -> None:
    cache = Cache()
    daily = [f"d{i}" for i in range(CACHE * 4 // 10)]
    for _ in range(2):
        cache.run(daily, DAY_MS // len(daily))
    cache.run([f"s{i}" for i in range(CACHE * 10)])
    left = sum(key in cache.here for key in daily)
    assert left >= 0.8 * len(daily)
    assert cache.run(daily) >= 0.8


def test_what_was_used_but_once_does_not_stay_for_ever() -> None:
    """A set that was used daily and is not any more makes room for another one."""
    cache = Cache()
    for name in "ab":
        keys = [f"{name}{i}" for i in range(CACHE * 8 // 10)]
        rounds = [cache.run(keys) for _ in range(8)]
    assert rounds[-1] > 0.9


def test_a_walk_looks_at_little_more_than_what_goes() -> None:
    """Each copy that is looked at goes, or was used since: no more looks than reads."""
    for name, trace in TRACES.items():
        cache = Cache()
        cache.run(trace)
        assert cache.looks <= 2 * len(trace), name


# -- the single rules ------------------------------------------------------------------------------------------------------------------

NOW = 100 * DAY_MS
LIMITS = Limits(100, 90, 20, 3_600_000)


def one(used: int = DAY_MS, arrived: int = DAY_MS, *, reused: bool = False, evicted: int | None = None) -> Candidate:
    return Candidate(1, 1, "k", 1, 0, 0, used, arrived, reused, evicted)


@pytest.mark.parametrize(
    ("candidate", "atime", "since", "what"),
    [
        (one(), DAY_MS, None, "go"),
        (one(), DAY_MS + AGAIN_MS, None, "go"),  # the use that it came for
        (one(), DAY_MS + AGAIN_MS + 1, None, "used"),
        (one(), NOW, None, "used"),
        (one(), NOW + 10 * DAY_MS, None, "go"),  # a time from the future says nothing
        (one(arrived=NOW - 1), NOW, None, "stay"),
        (one(arrived=NOW - 3_600_000), DAY_MS, None, "go"),
        (one(arrived=NOW + DAY_MS), DAY_MS, None, "go"),  # the clock went back: not young for ever
        (one(evicted=DAY_MS - 1), DAY_MS, None, "used"),  # it came back
        (one(evicted=DAY_MS - 1000), DAY_MS, DAY_MS - 999, "go"),  # later than those are used that are reused
        (one(evicted=DAY_MS - 1000), DAY_MS, DAY_MS - 1001, "used"),
        (one(evicted=DAY_MS + 1), DAY_MS, None, "go"),  # a clock that jumped
        (one(reused=True, evicted=1), DAY_MS, None, "go"),
        (one(used=ASKED_MS, arrived=NOW), NOW, None, "go"),  # somebody asked for it
    ],
)
def test_what_becomes_of_a_copy(candidate: Candidate, atime: int, since: int | None, what: str) -> None:
    assert verdict(candidate, atime, since, NOW, LIMITS) == what


def test_where_the_next_one_comes_from() -> None:
    assert [from_once(*figures) for figures in ((0, 0), (10, 100), (11, 100), (100, 100))] == [False, False, True, True]


def test_more_use_never_makes_more_go() -> None:
    targets = [to_free(used, 1000, LIMITS) for used in range(300)]
    assert targets[:101] == [0] * 101
    assert all(a < b for a, b in pairwise(targets[100:]))
