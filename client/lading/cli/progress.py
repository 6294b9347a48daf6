"""How far a long command is: one line that redraws itself on a terminal, else a line now and then, both on stderr."""

from __future__ import annotations

import shutil
import sys
import time

from lading.cli import words

_REDRAW_S = 0.1
_LINE_S = 10.0  # between two lines where stderr is no terminal
_BAR = 20


class Progress:
    """`total` and `total_bytes`: 0 where unknown. Silent when `quiet`, and for whatever is done within a moment."""

    def __init__(self, what: str, *, total: int = 0, total_bytes: int = 0, quiet: bool = False) -> None:
        self._what = what
        self._total, self._total_bytes = total, total_bytes
        self._done, self._bytes = 0, 0
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._began = time.monotonic()
        self._next_s = self._began + (_REDRAW_S * 3 if self._live else _LINE_S)
        self._drawn = False

    def advance(self, size_bytes: int = 0) -> None:
        self.show(self._done + 1, self._total, self._bytes + size_bytes)

    def show(self, done: int, total: int, size_bytes: int = 0) -> None:
        self._done, self._total, self._bytes = done, total, size_bytes
        now = time.monotonic()
        if self._quiet or now < self._next_s:
            return
        self._next_s = now + (_REDRAW_S if self._live else _LINE_S)
        if self._live:
            columns = shutil.get_terminal_size().columns
            print(f"\r\x1b[K{self._line(now)[: columns - 1]}", end="", file=sys.stderr, flush=True)
            self._drawn = True
        else:
            print(self._line(now), file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away, for something else that is to be printed."""
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._drawn = False

    def _line(self, now: float) -> str:
        parts = []
        part = self._bytes / self._total_bytes if self._total_bytes else self._done / self._total if self._total else None
        if part is not None and self._live:
            full = round(min(1.0, part) * _BAR)
            parts.append("█" * full + "░" * (_BAR - full))
        parts.append(f"{self._done:,} of {self._total:,} {self._what}" if self._total else f"{self._done:,} {self._what}")
        if self._bytes:
            parts.append(words.size(self._bytes) + (f" of {words.size(self._total_bytes)}" if self._total_bytes else ""))
            parts.append(f"{words.size(round(self._bytes / max(0.001, now - self._began)))}/s")
        return "  ".join(parts)
