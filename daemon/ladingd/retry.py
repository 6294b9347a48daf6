"""When to try again. Pure: failures in, a pause out."""

from __future__ import annotations

from collections.abc import Callable

FIRST_S = 0.5
STORE_MAX_S = 30.0  # a store that is away costs one small trial in so much time, and is noticed when it is back
PERMANENT_FIRST_S = 60.0  # what somebody must mend: at most one attempt a minute


def longest_pause_s(retry_max_s: float) -> float:
    """No pause is longer than this. A due time beyond it is the trace of a clock that jumped back, and counts as due."""
    return max(retry_max_s, PERMANENT_FIRST_S)


def pause_s(
    failures: int, permanent: bool, retry_max_s: float, random: Callable[[], float], asked_s: float | None = None
) -> float:
    """How long to wait after the n-th failure in a row (n ≥ 1): doubling up to `retry_max_s`, with full jitter on the upper half; not
    less than the store asked for, nor than a minute where somebody has to act; never above `longest_pause_s`. `random`: uniform in
    [0, 1)."""
    return _pause_s(failures, permanent, retry_max_s, retry_max_s, random, asked_s)


def store_pause_s(
    failures: int, permanent: bool, retry_max_s: float, random: Callable[[], float], asked_s: float | None = None
) -> float:
    """The same for a whole store: what time will mend is looked at more often than a single object is."""
    return _pause_s(
        failures, permanent, retry_max_s if permanent else min(retry_max_s, STORE_MAX_S), retry_max_s, random, asked_s
    )


def _pause_s(
    failures: int, permanent: bool, double_to_s: float, retry_max_s: float, random: Callable[[], float], asked_s: float | None
) -> float:
    first = PERMANENT_FIRST_S if permanent else FIRST_S
    pause = min(first * 2.0 ** min(failures - 1, 30), double_to_s) * (0.5 + 0.5 * random())
    least = max(PERMANENT_FIRST_S if permanent else 0.0, asked_s or 0.0)
    return min(max(pause, least), longest_pause_s(retry_max_s))
