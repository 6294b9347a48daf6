"""Sizes, durations and percentages as people write them in a configuration.

Each is a `str` that keeps what was written (for `config show`) and knows its value, with the unit in the name. Making
one from a wrong value raises ValueError, whose text ends the sentence "KEY = VALUE in FILE …".
"""

from __future__ import annotations

import re
from typing import Any, Self

_SIZE_UNITS = {"b": 1} | {
    f"{letter}{infix}b": base**power for power, letter in enumerate("kmgtp", start=1) for infix, base in (("", 1000), ("i", 1024))
}
_DURATION_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s?([A-Za-z]{1,3})", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s?(ms|[smhdw])", re.ASCII)
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)\s?%", re.ASCII)
DURATION_MAX_S = 100 * 365 * 86400  # what is longer is a slip of the pen, and would not fit a date


class Written(str):
    """A value as it was written. Subclasses check it when it is made."""

    __slots__ = ()

    def __new__(cls, value: Any) -> Self:
        cls.read(value)
        return super().__new__(cls, value)

    @classmethod
    def read(cls, value: Any) -> Any:
        """The value in its unit; ValueError when it is none."""
        if not isinstance(value, str):
            raise ValueError("must be text")
        return value


class Secret(Written):
    """Text that no repr shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(set, not shown)" if self else "Secret('')"


class Size(Written):
    """`50GiB`, `10MB`, `512 B`, `0`. MB are 10⁶, MiB 2²⁰ bytes; upper and lower case mean the same."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any) -> int:
        if value == "0":
            return 0
        match = _SIZE.fullmatch(value) if isinstance(value, str) else None
        unit = _SIZE_UNITS.get(match[2].lower()) if match else None
        if match is None or unit is None:
            raise ValueError('must be a size such as "50GiB", "10MB" or "0"')
        size_bytes: int = round(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit
        if size_bytes >= 2**63:
            raise ValueError("is a size beyond any disk")
        return int(size_bytes)

    @property
    def bytes(self) -> int:
        return self.read(str(self))


class Percent(Written):
    """`20%`: 0 to 100."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any) -> float:
        match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
        if match is None or float(match[1]) > 100:
            raise ValueError('must be a percentage from "0%" to "100%"')
        return float(match[1]) / 100

    @property
    def fraction(self) -> float:
        """0.0 to 1.0."""
        return self.read(str(self))


class Amount(Written):
    """A part of a file system: a size, or a percentage of its whole size."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any) -> tuple[int, float]:
        """(bytes, fraction): one of them is 0."""
        try:
            return (0, Percent.read(value)) if str(value).endswith("%") else (Size.read(value), 0.0)
        except ValueError as error:
            raise ValueError(str(error).replace("a size such as", 'a size or percentage such as "20%",')) from None

    def of(self, total_bytes: int) -> int:
        """Bytes, on a file system of `total_bytes`."""
        size_bytes, fraction = self.read(str(self))
        return size_bytes or round(total_bytes * fraction)


class Duration(Written):
    """`15m`, `24h`, `7d`, `1h30m`, `500ms`, `0s`: always with a unit."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any) -> float:
        parts = _DURATION.findall(value) if isinstance(value, str) else []
        if not parts or "".join(f"{number}{unit}" for number, unit in parts) != value.replace(" ", ""):
            raise ValueError('must be a duration with its unit, such as "90s", "15m", "24h" or "7d"')
        seconds = sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts)
        if seconds > DURATION_MAX_S:
            raise ValueError("is longer than 100 years")
        return seconds

    @property
    def s(self) -> float:
        return self.read(str(self))


class Copies(Written):
    """`all`, or how many remote copies make an object safe: at least 1, also as a number."""

    __slots__ = ()

    def __new__(cls, value: Any) -> Self:
        return super().__new__(cls, value if isinstance(value, bool) else str(value))

    @classmethod
    def read(cls, value: Any) -> int | None:
        if value == "all":
            return None
        if not isinstance(value, str) or not re.fullmatch("[1-9][0-9]{0,3}", value, re.ASCII):
            raise ValueError('must be "all" or a whole number of at least 1: a file without a remote copy is never evicted')
        return int(value)

    @property
    def number(self) -> int | None:
        """None for all that are needed."""
        return self.read(str(self))


_SHOWN = ("kB", "MB", "GB", "TB", "PB", "EB")


def size_text(size_bytes: int) -> str:
    """For a person: `482 kB`, `1.23 MB`: three digits, powers of 1000."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    power = 1
    while size_bytes / 1000**power >= 999.5:
        power += 1
    value, unit = size_bytes / 1000**power, _SHOWN[power - 1]
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
