"""Numbers, sizes and times in words. Pure functions; what a program reads is in the JSON."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

from lading_catalog.names import printable
from lading_catalog.units import size_text
from lading_catalog.why import ago


def size(size_bytes: int | None) -> str:
    """`482 kB`, `1.23 MB`: three digits, powers of 1000."""
    return "?" if size_bytes is None else size_text(size_bytes)


def count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def files(n: int) -> str:
    return count(n, "file", "files")


def media(n: int) -> str:
    return count(n, "medium", "media")


def relative(at: str | None, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time is, or in how long it comes: `3 h ago`, `in 40 s`, `now`; `-` for no time."""
    if at is None:
        return "-"
    length_ms = int(((now or datetime.now(UTC)) - datetime.fromisoformat(at)).total_seconds() * 1000)
    if abs(length_ms) < 1000:
        return "now"
    return f"{ago(length_ms)} ago" if length_ms > 0 else f"in {ago(-length_ms)}"


def due(at: str) -> str:
    """When something comes: `in 40 s`, or `now` once it is past."""
    text = relative(at)
    return "now" if text.endswith("ago") else text


def since(at: str | None) -> str:
    """As `relative`, for use after "for": `3 h`."""
    return "1 s" if (text := relative(at)) == "now" else text.removesuffix(" ago")


def visible(text: str) -> str:
    """A message for a terminal: one line in which names cannot move the cursor. Backslashes stay: a name in it may have been made
    printable before."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c == "\\" else printable(c) for c in text)


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
