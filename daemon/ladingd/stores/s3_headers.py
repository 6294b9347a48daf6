"""What travels with an object: its type, and metadata for people and for a restore without the catalog. No rule relies
on it.
"""

from __future__ import annotations

from urllib.parse import quote_from_bytes

from ladingd.stores.base import Upload

NAME_BYTES = 1024  # S3 takes 2 KB of metadata


def content_type(mime: str) -> str:
    return mime if mime.isascii() and mime.isprintable() and mime else "application/octet-stream"


def metadata(upload: Upload) -> dict[str, str]:
    """`sha256`, and `name` percent-encoded from the bytes of the original name. Of one that is too long the end is
    kept.
    """
    raw = upload.name.encode("utf-8", "surrogateescape" if not _has_lone(upload.name) else "surrogatepass")
    encoded = quote_from_bytes(raw, safe=" !'()*~")
    while len(encoded) > NAME_BYTES:
        raw = raw[max(1, (len(encoded) - NAME_BYTES) // 3) :]
        encoded = quote_from_bytes(raw, safe="")
    return {"sha256": upload.sha256.hex(), "name": encoded}


def _has_lone(name: str) -> bool:
    """A surrogate that stands for no byte of a file name."""
    return any("\ud800" <= c <= "\udfff" and not "\udc80" <= c <= "\udcff" for c in name)
