"""How much a sweep may delete without asking. Pure."""

from __future__ import annotations

from dataclasses import dataclass

FLOOR_N = 100  # below, the cap does not apply: a fraction of a small destination is a handful of files


@dataclass(frozen=True, slots=True)
class Cap:
    """`max_n`, `max_fraction` of a destination's objects, each in 24 hours (`delete_max_count`, `delete_max_fraction`)."""

    max_n: int
    max_fraction: float

    def exceeded(self, due_n: int, swept_n: int, present_n: int) -> bool:
        """Whether deleting `due_n` copies is too much after `swept_n` in the last 24 hours, where `present_n` are left (the due ones
        among them)."""
        total = due_n + swept_n
        return total >= FLOOR_N and (total > self.max_n or total > self.max_fraction * (present_n + swept_n))
