"""What is printed where: results on stdout, as text or as JSON; messages on stderr; errors in the form that was asked for."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from lading.cli import words
from lading.cli.progress import Progress
from lading_catalog.errors import Error

_COLOURS = {
    "safe": 32, "ok": 32, "pending": 33, "working": 33, "throttled": 33, "paused": 33, "local_only": 36,
    "blocked": 31, "lost": 31, "at_risk": 31, "full": 31, "unreachable": 31, "deleted": 90,
}  # fmt: skip


class Output:
    """The two streams of one run. With `json` nothing but JSON is printed, and stderr stays quiet. `unread_is_fine`: the command goes
    on when nobody reads its results any more (`lading put … | head` puts everything)."""

    def __init__(self) -> None:
        self.json = False
        self.unread_is_fine = False
        self._progress: Progress | None = None

    def progress(self, what: str, *, total: int = 0, total_bytes: int = 0) -> Progress:
        self.done()
        self._progress = Progress(what, total=total, total_bytes=total_bytes, quiet=self.json)
        return self._progress

    def done(self) -> None:
        """The progress that was shown, if any, is over."""
        self._clear()
        self._progress = None

    def result(self, text: str) -> None:
        """A line of the result. The caller has made names in it printable."""
        self._clear()
        try:
            print(text, flush=sys.stdout.isatty())
        except BrokenPipeError:
            if not self.unread_is_fine:
                raise
            silence()

    def flush(self) -> None:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            if not self.unread_is_fine:
                raise
            silence()

    def document(self, shape: dict[str, Any]) -> None:
        """One JSON object on a line of its own; ASCII, so that undecodable bytes of names survive as lone surrogates."""
        self.result(json.dumps(shape, separators=(",", ":")))

    def say(self, text: str) -> None:
        """A message: what a person wants to know beside the result."""
        if not self.json:
            self._clear()
            self.flush()
            print(words.visible(text), file=sys.stderr, flush=True)

    def error(self, error: Error, exit_code: int) -> None:
        if self.json:
            self.document({**error.problem(), "exit": exit_code})
            return
        self.say(f"lading: {error.detail}")
        if error.hint:
            self.say(f"  {error.hint}")

    def table(self, rows: Iterable[Sequence[str]], head: Sequence[str] = (), right: Sequence[int] = ()) -> None:
        """Columns as wide as their widest cell, those in `right` aligned to the right. The head only on a terminal."""
        lines = [list(row) for row in rows]
        if head and sys.stdout.isatty():
            lines.insert(0, list(head))
        widths = [max(map(words.width, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = [
                " " * (w - words.width(cell)) + cell if i in right else cell + " " * (w - words.width(cell))
                for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            ]
            self.result("  ".join(cells).rstrip())

    def _clear(self) -> None:
        if self._progress is not None:
            self._progress.clear()


def silence() -> None:
    """Nobody reads stdout any more: what is still written to it, also by the interpreter when it ends, goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def colour(state: str, text: str | None = None) -> str:
    """A state in its colour, on a terminal that wants it (NO_COLOR: https://no-color.org)."""
    text = state if text is None else text
    plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return text if plain or state not in _COLOURS else f"\x1b[{_COLOURS[state]}m{text}\x1b[0m"
