"""A canary that shows what an S3 store does, as opposed to what it claims. The answers decide what counts as proof."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
import time
from collections.abc import Iterator
from typing import Any

from lading_catalog.errors import Damaged, Error, Missing, Refused, Unavailable
from ladingd.stores.s3_client import Requests
from ladingd.stores.s3_clock import offset_s
from ladingd.stores.s3_facts import etag_digest
from ladingd.stores.s3_list import entries

CANARY_BYTES = 1024


def _b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _md5(data: bytes) -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def probe(s3: Requests) -> dict[str, Any]:
    """Facts besides those of every provider: `checksum_sha256`, `content_md5`, `etag_md5`, `ranges` (bool each), `list`
    ("ok", "refused", or "late" where a new object is not listed at once). Raises what failed of put, get and delete.
    """
    key, data = f".lading/probe/{secrets.token_hex(8)}", secrets.token_bytes(CANARY_BYTES)
    start, start_unix = time.monotonic(), time.time()
    plain = s3.call("PutObject", key, Body=data)  # first of all with no digest declared: what it returns is its own
    round_trip_s = time.monotonic() - start
    with _removed(s3, key):
        etag_md5 = etag_digest(plain.get("ETag")) == _md5(data).hexdigest()
        sha256 = _b64(hashlib.sha256(data).digest())
        checksum = _verifies(s3, key, data, ChecksumSHA256=sha256, ChecksumAlgorithm="SHA256")
        unnamed = checksum and _verifies(s3, key, data, ChecksumSHA256=sha256)
        content_md5 = _verifies(s3, key, data, ContentMD5=_b64(_md5(data).digest()))
        _check_reads(s3, key, data)
        ranges = s3.call("GetObject", key, Range="bytes=10-19")
        ranges["Body"].close()
        listed = _check_list(s3, key)
    _check_gone(s3, key, listed)
    proof, algorithm = ("checksum", "sha256") if checksum else ("digest", "md5") if etag_md5 else ("read", "sha256")
    return {
        "proof": proof,
        "algorithm": algorithm,
        "checksum_sha256": checksum,
        "checksum_sha256_unnamed": unnamed,
        "content_md5": content_md5,
        "etag_md5": etag_md5,
        "ranges": "ContentRange" in ranges,
        "list": listed,
        "round_trip_s": round_trip_s,
        "clock_offset_s": offset_s(plain["ResponseMetadata"]["HTTPHeaders"], start_unix, start_unix + round_trip_s),
        "versioned": plain.get("VersionId", "null") != "null",
    }


def _verifies(s3: Requests, key: str, data: bytes, **declared: str) -> bool:
    """Whether what is declared of `data` is taken with it, and refused with other bytes, leaving the object as it
    was.
    """
    try:
        s3.call("PutObject", key, Body=data, **declared)
    except (Damaged, Refused) as e:
        if e.about.get("status") in (400, 411, 501):
            return False
        raise
    try:
        s3.call("PutObject", key, Body=secrets.token_bytes(CANARY_BYTES), **declared)
    except (Damaged, Refused) as e:
        if e.about.get("status") != 400:
            raise
        return b"".join(s3.body(key)) == data
    s3.call("PutObject", key, Body=data)
    return False


def _check_reads(s3: Requests, key: str, data: bytes) -> None:
    if b"".join(s3.body(key)) != data:
        raise Damaged(f"{s3.uri} did not give back the bytes that were put", uri=s3.uri)
    if s3.call("HeadObject", key)["ContentLength"] != len(data):
        raise Damaged(f"{s3.uri} reports a wrong size for what was put", uri=s3.uri)


def _check_list(s3: Requests, key: str) -> str:
    try:
        return "ok" if any(entry.key == key for entry in entries(s3, key, 10)) else "late"
    except Refused:
        return "refused"


@contextlib.contextmanager
def _removed(s3: Requests, key: str) -> Iterator[None]:
    """Delete the canary in any case. An earlier error is the one that counts."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(Error):
            s3.call("DeleteObject", key)
        raise
    with contextlib.suppress(Missing):
        s3.call("DeleteObject", key)


def _check_gone(s3: Requests, key: str, listed: str) -> None:
    try:
        s3.call("GetObject", key)["Body"].close()
    except Missing:
        return
    except Refused:
        if listed == "refused":  # without s3:ListBucket a missing object answers 403
            return
        raise
    raise Unavailable(f"{s3.uri} answered a delete and kept the object", uri=s3.uri)
