"""When to try again. Pure: failures in, a pause out."""

from __future__ import annotations

from collections.abc import Callable

FIRST_S = 0.5
STORE_MAX_S = 30.0  # a store that is away costs one small trial in so much time, and is noticed when it is back
PERMANENT_FIRST_S = 60.0  # what somebody must mend: at most one attempt a minute


def pause_s(failures: int, permanent: bool, longest_s: float, random: Callable[[], float], asked_s: float | None = None) -> float:
    """How long to wait after the n-th failure in a row (n ≥ 1): doubling, with full jitter on the upper half, never above
    `longest_s` (settings: retry_max), never less than the store asked for. `random`: uniform in [0, 1)."""
    first = PERMANENT_FIRST_S if permanent else FIRST_S
    full = min(first * 2.0 ** min(failures - 1, 30), max(longest_s, PERMANENT_FIRST_S if permanent else 0.0))
    pause = full if permanent and failures == 1 else full * (0.5 + 0.5 * random())
    return max(pause, asked_s or 0.0)


def store_pause_s(
    failures: int, permanent: bool, longest_s: float, random: Callable[[], float], asked_s: float | None = None
) -> float:
    """The same for a whole store: what time will mend is looked at more often than a single object is."""
    return pause_s(failures, permanent, longest_s if permanent else min(longest_s, STORE_MAX_S), random, asked_s)
