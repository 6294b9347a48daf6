"""Deleting in batches of 1,000, one by one where a store does not understand batches or a key does not fit into XML.

Only what the answer names as deleted counts as gone: an empty body, or the page of something in between, comes with a 200 too, and
boto3 takes it for success.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lading_catalog.errors import Error, Missing, Refused, Unavailable
from ladingd.stores.keys import check_key
from ladingd.stores.s3_client import Requests
from ladingd.stores.s3_errors import from_code

Target = tuple[str, str | None]
"""A key below the prefix, and the id of the version that goes; None deletes as usual: a versioned bucket then keeps it."""

BATCH_KEYS = 1000
NOT_UNDERSTOOD = ("MissingContentMD5", "MissingContentLength", "NotImplemented", "MethodNotAllowed", "InvalidRequest")
_ABSENT = ("NoSuchKey", "NoSuchVersion")
_NO_XML = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")


class Deleter:
    """Remembers that a store does not take batches, so that it is asked only once; and, in `left_markers`, that a delete left a
    delete marker: the bucket keeps versions, whatever it did when it was probed.
    """

    def __init__(self, s3: Requests) -> None:
        self._s3 = s3
        self._batches = True
        self.left_markers = False

    def delete(self, keys: Sequence[str]) -> dict[str, Error]:
        """What failed, by key."""
        failed: dict[str, Error] = {}
        sound: list[Target] = []
        for key in dict.fromkeys(keys):
            try:
                check_key(key)
                sound.append((key, None))
            except Refused as e:
                failed[key] = e
        return failed | self.remove(sound)

    def remove(self, targets: Sequence[Target]) -> dict[str, Error]:
        """What failed, by key, of targets with sound keys: all of them with a version, or all without."""
        failed = self._singles([target for target in targets if _NO_XML.search(target[0])])
        batched = [target for target in targets if not _NO_XML.search(target[0])]
        for start in range(0, len(batched), BATCH_KEYS):
            failed |= self._batch(batched[start : start + BATCH_KEYS])
        return failed

    def _batch(self, targets: Sequence[Target]) -> dict[str, Error]:
        if not self._batches or len(targets) == 1:
            return self._singles(targets)
        versioned = targets[0][1] is not None
        operation = "DeleteObjectVersions" if versioned else "DeleteObjects"
        objects = [{"Key": self._s3.prefix + key, **_version(version)} for key, version in targets]
        try:  # not Quiet: 15 ms more for 1,000 keys, and each is named
            reply = self._s3.call(operation, Delete={"Objects": objects, "Quiet": False})
        except Refused as e:
            if e.about.get("code") in NOT_UNDERSTOOD or e.about.get("status") in (405, 411, 501):
                self._batches = False
                return self._singles(targets)
            return dict.fromkeys((key for key, _ in targets), e)
        except Error as e:
            return dict.fromkeys((key for key, _ in targets), e)
        return self._read(reply, targets, versioned, operation)

    def _read(self, reply: Mapping[str, Any], targets: Sequence[Target], versioned: bool, operation: str) -> dict[str, Error]:
        deleted, errors = reply.get("Deleted", []), reply.get("Errors", [])
        self.left_markers |= any(item.get("DeleteMarker") for item in deleted)
        gone = {self._target(item, versioned) for item in deleted}
        failed: dict[str, Error] = {}
        for item in errors:
            key, code = self._target(item, versioned)[0], item.get("Code", "")
            if code in _ABSENT:
                gone.add(self._target(item, versioned))
            else:
                failed[key] = from_code(code, 200, operation, self._s3.uri, key)
        if strange := failed.keys() - {key for key, _ in targets}:  # an error that names none of ours may concern any of them
            return {key: failed.get(key, failed[next(iter(strange))]) for key, _ in targets}
        for key, version in targets:
            if (key, version) not in gone and key not in failed:
                failed[key] = self._unsaid(key)
        if not deleted and not errors and "RequestId" in reply["ResponseMetadata"]:
            self._batches = False  # a store that does not tell what it deleted in a batch; one by one it must
        return failed

    def _target(self, item: Mapping[str, Any], versioned: bool) -> Target:
        return item.get("Key", "")[len(self._s3.prefix) :], item.get("VersionId") if versioned else None

    def _singles(self, targets: Sequence[Target]) -> dict[str, Error]:
        failed: dict[str, Error] = {}
        for key, version in targets:
            try:
                reply = self._s3.call("DeleteObjectVersion" if version else "DeleteObject", key, **_version(version))
            except Missing:
                continue
            except Error as e:
                failed[key] = e
                continue
            said = reply["ResponseMetadata"]
            if said.get("HTTPStatusCode") != 204 and "RequestId" not in said:
                failed[key] = self._unsaid(key)
            self.left_markers |= version is None and bool(reply.get("DeleteMarker"))
        return failed

    def _unsaid(self, key: str) -> Error:
        return Unavailable(f"{self._s3.uri}{key}: what answered the delete did not say that it is gone", key=key)


def _version(version: str | None) -> dict[str, str]:
    return {} if version is None else {"VersionId": version}
