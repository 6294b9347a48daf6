"""What the probe has learned of an S3 store, as far as requests depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Facts:
    """`checksum`: it refuses a wrong `x-amz-checksum-sha256`. `etag_md5`: the ETag of a single PUT is an MD5 that it
    computed without being told. `content_md5`: it refuses a wrong Content-MD5. `checksum_unnamed`: as `checksum`, also
    where the header `x-amz-sdk-checksum-algorithm` is not sent. All false until a probe has shown them. `versioned`: a
    DELETE leaves the old version there; None if no probe has looked.
    """

    checksum: bool = False
    etag_md5: bool = False
    content_md5: bool = False
    checksum_unnamed: bool = False
    versioned: bool | None = None

    @classmethod
    def of(cls, facts: Mapping[str, Any] | None) -> Facts:
        known = facts or {}
        return cls(
            checksum=known.get("proof") == "checksum" and known.get("algorithm") == "sha256",
            etag_md5=bool(known.get("etag_md5")),
            content_md5=bool(known.get("content_md5")),
            checksum_unnamed=bool(known.get("checksum_sha256_unnamed")),
            versioned=known.get("versioned"),
        )


def etag_digest(etag: str | None) -> str | None:
    """The hex digits of an ETag that looks like an MD5; None for those of multipart uploads and others."""
    bare = (etag or "").strip('"').lower()
    return bare if len(bare) == 32 and all(c in "0123456789abcdef" for c in bare) else None
