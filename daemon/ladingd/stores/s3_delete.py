"""Deleting in batches of 1,000, one by one where a store does not understand batches or a key does not fit into XML."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lading_catalog.errors import Error, Missing, Refused
from ladingd.stores.keys import check_key
from ladingd.stores.s3_client import Requests
from ladingd.stores.s3_errors import from_code

BATCH_KEYS = 1000
NOT_UNDERSTOOD = ("MissingContentMD5", "MissingContentLength", "NotImplemented", "MethodNotAllowed", "InvalidRequest")
_NO_XML = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")


class Deleter:
    """Remembers that a store does not take batches, so that it is asked only once."""

    def __init__(self, s3: Requests) -> None:
        self._s3 = s3
        self._batches = True

    def delete(self, keys: Sequence[str]) -> dict[str, Error]:
        failed: dict[str, Error] = {}
        sound = []
        for key in dict.fromkeys(keys):
            try:
                check_key(key)
                sound.append(key)
            except Refused as e:
                failed[key] = e
        single = [key for key in sound if _NO_XML.search(key)]
        batched = [key for key in sound if not _NO_XML.search(key)]
        for start in range(0, len(batched), BATCH_KEYS):
            failed |= self._batch(batched[start : start + BATCH_KEYS])
        return failed | self._singles(single)

    def _batch(self, keys: Sequence[str]) -> dict[str, Error]:
        if not self._batches or len(keys) == 1:
            return self._singles(keys)
        prefix = self._s3.prefix
        objects = [{"Key": prefix + key} for key in keys]
        try:  # (not Quiet: what answers 200 and names nothing has deleted nothing that we know of)
            reply = self._s3.call("DeleteObjects", Delete={"Objects": objects, "Quiet": False})
        except Refused as e:
            if e.about.get("code") in NOT_UNDERSTOOD or e.about.get("status") in (405, 411, 501):
                self._batches = False
                return self._singles(keys)
            return dict.fromkeys(keys, e)
        except Error as e:
            return dict.fromkeys(keys, e)
        failed: dict[str, Error] = {}
        for item in reply.get("Errors", []):
            key, code = item.get("Key", "")[len(prefix) :], item.get("Code", "")
            if code not in ("NoSuchKey", "NoSuchVersion"):
                failed[key] = from_code(code, 200, "DeleteObjects", self._s3.uri, key)
        if strange := failed.keys() - set(keys):  # an error that names none of ours may concern any of them
            return {key: failed.get(key, failed[next(iter(strange))]) for key in keys}
        named = {item.get("Key", "")[len(prefix) :] for item in reply.get("Deleted", [])}
        unnamed = [key for key in keys if key not in named and key not in failed]
        return failed | self._singles(unnamed)

    def _singles(self, keys: Sequence[str]) -> dict[str, Error]:
        failed: dict[str, Error] = {}
        for key in keys:
            try:
                self._s3.call("DeleteObject", key)
            except Missing:
                pass
            except Error as e:
                failed[key] = e
        return failed
