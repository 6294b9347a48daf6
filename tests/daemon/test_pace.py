"""Pace: how many rows a transaction of the daemon takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lading_catalog.connection import Connection
from ladingd.pace import HOLD_MAX_MS, Pace


class SlowConnection:
    """Only its transactions: they take `work_ms` for each row and `commit_ms` for the commit, on a clock of their own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.commit_ms = 0.0

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[None]:
        yield
        self.now_s += self.commit_ms / 1000


def settled(commit_ms: float, work_ms: float) -> int:
    """The slice after many full transactions."""
    slow = SlowConnection()
    slow.commit_ms = commit_ms
    conn: Connection = slow  # type: ignore[assignment]
    pace = Pace(conn, sleep=lambda s: None, clock=lambda: slow.now_s)
    for _ in range(100):
        with pace.writing(pace.slice):
            slow.now_s += pace.slice * work_ms / 1000
    return pace.slice


def test_rows_that_take_long_make_slices_small() -> None:
    assert settled(commit_ms=0.5, work_ms=1.0) == 8
    assert settled(commit_ms=0.5, work_ms=0.01) == 128


def test_a_slow_disk_does_not_make_slices_small() -> None:
    assert settled(commit_ms=4 * HOLD_MAX_MS, work_ms=0.01) > 64
