"""What a key may look like. One rule for all providers, so that an object can move between any two of them."""

from __future__ import annotations

from lading_catalog.errors import Refused

MAX_KEY_BYTES = 1024  # S3, GCS and Azure agree on it


def check_key(key: str) -> list[str]:
    """The segments of a key. Raises Refused for one that could leave a directory (`..`, absolute), that a URL parser
    would rewrite (`.`, empty segments), that holds NUL or no valid UTF-8, or that is too long.
    """
    segments = key.split("/")
    if not key or any(segment in ("", ".", "..") for segment in segments):
        raise Refused(f"not a key: {key!r}", hint="a key has no empty, '.' or '..' segments")
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError:
        raise Refused(f"not a key: {key!a}", hint="a key is valid UTF-8") from None
    if "\0" in key or size_bytes > MAX_KEY_BYTES:
        raise Refused(f"not a key: {key[:80]!r}", hint=f"a key has no NUL and at most {MAX_KEY_BYTES} bytes")
    return segments
