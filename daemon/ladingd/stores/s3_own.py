"""Small objects of our own in a bucket (`.lading/…`): read whole or definitely absent, written in one PUT."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from typing import Any

from lading_catalog.errors import Damaged, Missing, Unavailable
from ladingd.stores.base import OWN_MAX_BYTES
from ladingd.stores.s3_client import Requests
from ladingd.stores.s3_errors import FOREIGN, translate
from ladingd.stores.s3_facts import Facts


def read(s3: Requests, key: str) -> bytes | None:
    """See Store.read. One GET, and of a long object no more than what shows that it is none of ours."""
    try:
        reply = s3.call("GetObject", key)
    except Missing as e:
        if (e.about.get("status"), e.about.get("code")) == (404, "NoSuchKey"):
            return None
        raise Unavailable(f"{s3.uri}{key}: the store says neither that it is there nor that it is not", key=key) from e
    data = b""
    with contextlib.closing(reply["Body"]) as body:
        _insist_on_store(s3, key, reply)
        try:  # to its end: only there boto3 sees that it ended early
            while len(data) <= OWN_MAX_BYTES and (part := body.read(OWN_MAX_BYTES + 1)):
                data += part
        except FOREIGN as e:
            raise translate(e, "GetObject", s3.uri, key) from None
    if len(data) > OWN_MAX_BYTES:
        raise Damaged(f"{s3.uri}{key} is longer than {OWN_MAX_BYTES} bytes, and none of ours is", key=key)
    return data


def write(s3: Requests, facts: Facts, key: str, data: bytes) -> None:
    """See Store.write. With a digest that the store has been seen to check, where there is one."""
    headers: dict[str, Any] = {"ContentType": "application/json"}
    if facts.checksum:
        headers |= {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": base64.b64encode(hashlib.sha256(data).digest()).decode()}
    elif facts.content_md5:
        headers["ContentMD5"] = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    _insist_on_store(s3, key, s3.call("PutObject", key, Body=data, **headers))


def _insist_on_store(s3: Requests, key: str, reply: dict[str, Any]) -> None:
    if not reply.get("ETag"):  # every store sends one; the page of a hotel's network does not
        raise Unavailable(f"{s3.uri}{key}: something answered that is no store", key=key)
