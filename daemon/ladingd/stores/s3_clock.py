"""How far a store's clock is ahead of ours, by the Date of its answers."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from datetime import UTC


def offset_s(headers: Mapping[str, str], began_s: float, ended_s: float) -> float | None:
    """Seconds, within one, from the headers of an answer (lower-case names) and the wall times between which it came; None if it tells
    no time."""
    try:
        told = email.utils.parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
    told_s = (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()  # ("-0000" is read as no zone at all)
    return round(told_s + 0.5 - (began_s + ended_s) / 2, 3)
