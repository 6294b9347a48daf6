"""Listing a bucket in pages, never a part of it taken for the whole."""

from __future__ import annotations

from collections.abc import Iterator

from lading_catalog.errors import Unavailable
from ladingd.stores.base import Entry
from ladingd.stores.s3_client import Requests


def entries(s3: Requests, prefix: str, page_size: int) -> Iterator[Entry]:
    token: str | None = None
    while True:
        more = {"ContinuationToken": token} if token else {}
        page = s3.call("ListObjectsV2", Prefix=s3.prefix + prefix, MaxKeys=page_size, **more)
        contents = page.get("Contents", [])
        if "IsTruncated" not in page or page.get("KeyCount", len(contents)) != len(contents):
            raise Unavailable(f"{s3.uri}: the store answered a list that is not whole", uri=s3.uri)
        for item in contents:
            if not item["Key"].startswith(s3.prefix + prefix):
                raise Unavailable(f"{s3.uri}: the store listed what was not asked for", uri=s3.uri)
            yield Entry(item["Key"][len(s3.prefix) :], item["Size"])
        if not page["IsTruncated"]:
            return
        previous, token = token, page.get("NextContinuationToken")
        if not token or token == previous:
            raise Unavailable(f"{s3.uri}: the store cut its list short without saying how to go on", uri=s3.uri)
