"""Keys: what an object is called inside a store. Made once, with a random nonce, when a replica's row is inserted.

In a destination, below its prefix:  {table}/{column}/{first two of sha256}/{stem}.{sha256}-{nonce}{ext}
In the local store, below the home:  objects/{shard}/{nonce}{ext}

The stem is for people who look into the bucket; identity is the digest and the nonce, and `parse_key` reads both back
from a LIST alone (restore), also where a store keeps no metadata. The original name stands in the catalog and in the
metadata.

Keys are ASCII: letters, digits, `-`, `_`, `.`. Each other run of characters becomes one `_`. Letters of other scripts
are not kept and not transliterated, because a key must come back from LIST exactly as it was written: HFS+ and SMB
shares normalise Unicode, S3-compatibles differ in how they sign percent-encoded keys, and 120 bytes hold 40 CJK
characters only. The text is composed (NFC) first, so a name from macOS and the same from Linux give the same stem.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass

from lading_catalog.names import name_text

STEM_MAX_BYTES = 120
TABLE_MAX_BYTES = 400
KEY_MAX_BYTES = 738  # TABLE_MAX_BYTES, the column's 120, two hex digits, the last segment's 213, slashes
NONCE_BYTES = 8
LOCAL_NONCE_BYTES = 12

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_EXT = re.compile(r"\.[A-Za-z0-9]{1,10}")
_SHARD = re.compile(r"[0-9a-f]{3}")
_KEY = re.compile(
    r"(?P<table>[A-Za-z0-9._/-]+)/(?P<column>[A-Za-z0-9._-]+)/(?P<fan>[0-9a-f]{2})/"
    r"(?P<stem>[A-Za-z0-9._-]+)\.(?P<sha256>[0-9a-f]{64})-(?P<nonce>[0-9a-f]{16})(?P<ext>\.[a-z0-9]{1,10})?"
)
# Device names of Windows, with any ending: a share or an exFAT disk may refuse them.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """What a key in a destination says. `table`, `column` and `stem` are the safe forms, not always the original."""

    table: str
    column: str
    sha256: bytes
    stem: str
    nonce: bytes
    ext: str  # "" or "." and 1 to 10 of [a-z0-9]


def split_ext(name: str | bytes) -> tuple[str, str]:
    """The last part of a name's path as (stem, ext).

    `trip/IMG_0042.JPG` gives `IMG_0042`, `.jpg`; `a.tar.gz` gives `a.tar`, `.gz`. An ending that is not 1 to 10 ASCII
    letters and digits is none and stays in the stem; so does a leading dot's (`.bashrc`).
    """
    base = name_text(name).rstrip("/").rpartition("/")[2]
    stem, ext = os.path.splitext(base)
    return (stem, ext.lower()) if _EXT.fullmatch(ext) else (base, "")


def object_key(table: str, column: str, sha256: bytes, name: str | bytes, nonce: bytes, ext: str | None = None) -> str:
    """The key in a destination, relative to its prefix; ASCII, at most KEY_MAX_BYTES, the last segment at most 213.

    `sha256`: 32 bytes. `nonce`: 8 random bytes, never used for another replica. `ext`: with its dot; None takes the
    name's own; one that is no plain ending (`split_ext`) is left out. ValueError for digests and nonces of another
    length.
    """
    if len(sha256) != 32 or len(nonce) != NONCE_BYTES:
        raise ValueError(f"sha256 has {len(sha256)} bytes (32 needed), nonce {len(nonce)} ({NONCE_BYTES} needed)")
    stem, own_ext = split_ext(name)
    digest = sha256.hex()
    ending = own_ext if ext is None else _plain_ext(ext)
    return f"{_safe_path(table)}/{_safe(column)}/{digest[:2]}/{_safe(stem)}.{digest}-{nonce.hex()}{ending}"


def key_again(key: str, nonce: bytes) -> str:
    """The key of another replica of the same object: `key` (made by `object_key`) with a new nonce."""
    parsed = parse_key(key)
    if parsed is None:
        raise ValueError(f"{key!r} is not one of our keys")
    return key[: len(key) - len(parsed.ext) - 2 * NONCE_BYTES] + nonce.hex() + parsed.ext


def parse_key(key: str) -> ParsedKey | None:
    """A key that `object_key` has made, taken apart; None for every other one (not ours: it is never touched)."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    table, column, stem, digest = match["table"], match["column"], match["stem"], match["sha256"]
    if match["fan"] != digest[:2] or _safe_path(table) != table or _safe(column) != column or _safe(stem) != stem:
        return None
    return ParsedKey(table, column, bytes.fromhex(digest), stem, bytes.fromhex(match["nonce"]), match["ext"] or "")


def local_key(shard: str, nonce: bytes, ext: str) -> str:
    """The path of a local copy below the home.

    `shard`: 3 lower-case hex digits. `nonce`: 12 random bytes. `ext`: as in `object_key`.
    """
    if not _SHARD.fullmatch(shard) or len(nonce) != LOCAL_NONCE_BYTES:
        raise ValueError(f"shard {shard!r} is not 3 hex digits, or nonce has not {LOCAL_NONCE_BYTES} bytes")
    return f"objects/{shard}/{nonce.hex()}{_plain_ext(ext)}"


def _plain_ext(ext: str) -> str:
    return ext.lower() if _EXT.fullmatch(ext) else ""


def _safe_path(path: str) -> str:
    """`path` segment by segment, without empty ones and those at the end that do not fit; "_" when nothing is left."""
    segments = [_safe(segment) for segment in path.split("/") if segment]
    while len(text := "/".join(segments)) > TABLE_MAX_BYTES:
        segments.pop()
    return text or "_"


def _safe(segment: str) -> str:
    """One path segment that every store, URL and file system takes as it is; 1 to 120 ASCII characters, idempotent.

    Never `.`, `..` or a hidden name (so never `.lading`, which is ours), never a leading dash (an option to a command),
    no dot at the end (Windows drops it).
    """
    text = _UNSAFE.sub("_", unicodedata.normalize("NFC", segment))
    text = re.sub(r"\A[.-]+", "_", text)
    if not text or _DEVICE.match(text):
        text = "_" + text
    return re.sub(r"\.+\Z", "_", text[:STEM_MAX_BYTES])
