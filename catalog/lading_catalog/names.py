"""Names of media: any file name the system allows, kept exactly, and shown so that it cannot deceive.

A POSIX file name is bytes, not text. The catalog stores text where the bytes are UTF-8 (nearly always: it can be
searched and sorted) and bytes where they are not. Outside, in Python and JSON, a name is always `str` in the form that
`os.fsdecode` gives: an undecodable byte 0xNN stands as the lone surrogate U+DCNN, so nothing is lost on the way there
and back.
"""

from __future__ import annotations

import os
import unicodedata
from typing import Any

from lading_catalog.errors import ConfigError

NAME_MAX_BYTES = 4096  # PATH_MAX of Linux: a longer relative path could not have been opened

# Letters and marks that take no ink: a name of them looks empty, or like another one. (Default_Ignorable_Code_Point and
# the blank braille pattern; what is a control or format character is caught by its category.)
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_PLAIN_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


def name_value(name: str | bytes | os.PathLike[Any]) -> str | bytes:
    """The form the catalog stores: `str` when the name's bytes are UTF-8, else `bytes`. The same name has one form
    only.

    Raises ConfigError for names that no file can have: empty, with a NUL, over NAME_MAX_BYTES, or text with a lone
    surrogate that stands for no byte.
    """
    raw = os.fspath(name)
    if isinstance(raw, str):
        try:
            raw = raw.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise ConfigError(
                f"The name {printable(raw)} has half a character (a lone surrogate) in it.", hint="Give it as bytes."
            ) from None
    if not raw:
        raise ConfigError("A name is empty.", hint="Give the medium a name.")
    if b"\0" in raw:
        raise ConfigError(f"The name {printable(raw)} has a NUL in it.", hint="Give a name without it.")
    if len(raw) > NAME_MAX_BYTES:
        raise ConfigError(
            f"A name has {len(raw)} bytes; at most {NAME_MAX_BYTES} are allowed (it begins {printable(raw[:40])}).",
            hint="Give a shorter name.",
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


def name_text(value: str | bytes) -> str:
    """A stored name as Python and JSON see it; `os.fsencode` gives the file's exact bytes back.

    The result may hold lone surrogates: JSON writers must escape non-ASCII (`json.dumps` does by default), and a
    terminal gets `printable` instead.
    """
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def printable(value: str | bytes) -> str:
    """A name for a terminal or a log line: one line, every character visible, nothing that moves the cursor or the
    text.

    Control, format (bidi, zero width), unassigned and private characters, line separators and invisible letters become
    `\\xNN`, `\\uNNNN` or `\\UNNNNNNNN`, an undecodable byte `\\xNN`, a backslash two. Different names stay different.
    """
    text = name_text(value)
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_visible, text))


def _visible(char: str) -> str:
    if char in _PLAIN_ESCAPES:
        return _PLAIN_ESCAPES[char]
    category = unicodedata.category(char)
    if category[0] != "C" and category not in ("Zl", "Zp") and char not in _INVISIBLE:
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:  # \x80 and above mean bytes, see above
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


CLOSED = (
    '"'  # in the name of a table or column that was dropped: what stands before it is the old name (tables.check_name refuses it)
)


def shown_name(name: str) -> str:
    """The name of a table or column as it was before it was dropped."""
    return name.partition(CLOSED)[0]
