"""ULIDs: 26 characters, 48 bits of milliseconds and 80 random bits, sorted by time. https://github.com/ulid/spec"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")

RandomBytes = Callable[[int], bytes]


def new_ulid(now_ms: int, random_bytes: RandomBytes = os.urandom) -> str:
    number = (now_ms & ((1 << 48) - 1)) << 80 | int.from_bytes(random_bytes(10))
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def medium_ulid(text: str) -> str | None:
    """The ULID in a medium's id (`m_01J…`, any case), or None if it is not one."""
    ulid = text[2:].upper() if text[:2].lower() == "m_" else ""
    return ulid if _ULID.fullmatch(ulid) else None
