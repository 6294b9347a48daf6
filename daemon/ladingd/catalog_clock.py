"""The catalog clock: how long a daemon has been at work for this catalog, all its lives together. Grace is counted on it.

It advances by the smaller of what the wall clock and the monotonic clock say: a wall clock that jumps forward shortens no grace, and a
machine that slept (its monotonic clock stood still) did not let anybody take a deletion back.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SAVE_EVERY_MS = 60_000  # a crash takes so much back: grace gets longer, never shorter


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class CatalogClock:
    """`ms` is the time as of the last `tick`. `saved_ms`: what the catalog holds."""

    def __init__(self, saved_ms: int, wall_ms: int, monotonic: Callable[[], int] = monotonic_ms) -> None:
        self.ms = self.saved_ms = saved_ms
        self._monotonic = monotonic
        self._wall_ms, self._monotonic_ms = wall_ms, monotonic()

    def tick(self, wall_ms: int) -> int:
        mono_ms = self._monotonic()
        self.ms += max(0, min(wall_ms - self._wall_ms, mono_ms - self._monotonic_ms))
        self._wall_ms, self._monotonic_ms = wall_ms, mono_ms
        return self.ms

    @property
    def unsaved(self) -> bool:
        """Whether it is worth a write, if anything waits for it."""
        return self.ms - self.saved_ms >= SAVE_EVERY_MS
