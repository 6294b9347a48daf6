"""Which local copies go first, and how much has to go. Pure; sizes in bytes, times in ms.

**Two queues.** A copy comes in as used once. What is used again, or comes back soon after its eviction, moves into the queue of what is
reused. As long as those used once hold more than a tenth of what can be evicted, the longest unused of them go; else the longest unused of
the others. So a pass over everything takes the place of a tenth of the cache at most, and leaves what is used daily (the idea of 2Q and
S3-FIFO: Johnson & Shasha 1994, Yang et al. 2023).

Uses are not written to the catalog: they show as the file's atime, which is looked at when a copy's turn has come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lading_catalog.evicting import ASKED_MS, CLOCK_SLACK_MS, Candidate

AGAIN_MS = 10_000  # a use so soon after the arrival belongs to it: it was fetched for that
ONCE_SHARE = 10  # those used once keep one part in so many

Verdict = Literal["go", "used", "stay"]


@dataclass(frozen=True, slots=True)
class Limits:
    """`low_bytes`: where an eviction that the budget has begun stops."""

    budget_bytes: int
    low_bytes: int
    min_free_bytes: int
    cooldown_ms: int


def to_free(used_bytes: int, free_bytes: int, limits: Limits, begun: bool = False) -> int:
    """How many bytes have to go: down to the low watermark once the budget is exceeded (`begun`: it was, and that is not over), and so
    many that `min_free` is free again."""
    over = used_bytes - limits.low_bytes if begun or used_bytes > limits.budget_bytes else 0
    return max(over, limits.min_free_bytes - free_bytes, 0)


def from_once(once_bytes: int, evictable_bytes: int) -> bool:
    """Whether the next to go is one that was used once."""
    return once_bytes * ONCE_SHARE > evictable_bytes


def used_again(one: Candidate, atime_ms: int, now_ms: int) -> bool:
    """Whether the file shows a use that the catalog does not know of."""
    return one.used_at_ms + AGAIN_MS < atime_ms <= now_ms + CLOCK_SLACK_MS


def verdict(one: Candidate, atime_ms: int, reused_since_ms: int | None, now_ms: int, limits: Limits) -> Verdict:
    """What becomes of a copy whose turn it is. `reused_since_ms`: last use of the one that has been unused longest in the other queue,
    None if it is empty: what came back had been used later than that, so it is used more often than those."""
    if one.used_at_ms == ASKED_MS:
        return "go"
    if 0 <= now_ms - one.arrived_at_ms < limits.cooldown_ms:
        return "stay"
    if used_again(one, atime_ms, now_ms):
        return "used"
    if (
        not one.reused
        and one.last_used_ms is not None
        and one.last_used_ms <= one.arrived_at_ms
        and (reused_since_ms is None or one.last_used_ms > reused_since_ms)
    ):
        return "used"
    return "go"
