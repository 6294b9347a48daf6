"""PUT of an object that is in memory: by obstore where that is as sound as boto3, else by boto3."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from lading_catalog.errors import Unavailable
from ladingd.stores.s3_client import Requests
from ladingd.stores.s3_facts import Facts

if TYPE_CHECKING:
    from ladingd.stores.s3_fast import FastPut


class SmallPut:
    """obstore sends a SHA-256 without naming it in `x-amz-sdk-checksum-algorithm`, so it is taken for proof only where
    the probe saw that refused too; elsewhere the ETag it returns must be an MD5 that the store computes. With neither,
    boto3.
    """

    def __init__(self, s3: Requests, facts: Facts) -> None:
        self._s3 = s3
        self._facts = facts
        self._lock = threading.Lock()
        self._fast: FastPut | None = None
        self._suitable = facts.checksum_unnamed or facts.etag_md5
        self._throttled = False

    def put(self, key: str, data: bytes, headers: dict[str, Any]) -> tuple[str | None, bool]:
        """The ETag, and whether the store has verified the SHA-256 of what it took. `headers`: as for boto3."""
        if self._suitable and not self._throttled:
            from ladingd.stores.s3_fast import Unsuitable, plain

            try:
                if plain(self._s3.prefix + key):
                    etag = self._made().put(key, data, headers["ContentType"], headers["Metadata"])
                    return etag, self._facts.checksum_unnamed
            except Unsuitable:
                self._suitable = False
            except Unavailable as e:
                self._throttled = e.reason == "throttled"  # obstore hides Retry-After: boto3 asks until it is over
                raise
        etag = self._s3.call("PutObject", key, Body=data, **headers).get("ETag")
        self._throttled = False
        return etag, self._facts.checksum

    def _made(self) -> FastPut:
        with self._lock:
            if self._fast is None:
                from ladingd.stores.s3_fast import FastPut

                self._fast = FastPut(self._s3, checksum=self._facts.checksum_unnamed)
            return self._fast
