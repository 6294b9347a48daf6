"""What a DELETE leaves in a versioned bucket: older versions and a marker. Removing them for certain keys, and for no others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lading_catalog.errors import Error, Unavailable
from ladingd.stores.s3_client import Requests
from ladingd.stores.s3_delete import BATCH_KEYS
from ladingd.stores.s3_errors import from_code

Version = tuple[str, str]  # key below the prefix, version id


def remove(s3: Requests, keys: Sequence[str]) -> dict[str, Error]:
    """Remove every version and delete marker of exactly these keys. Returns what failed, by key.

    The list is asked for one key at a time, and what it shows is input only as far as it bears that very key."""
    failed: dict[str, Error] = {}
    found: list[Version] = []
    for key in keys:
        try:
            found += [(key, version) for version in _versions(s3, key)]
        except Error as e:
            failed[key] = e
    for start in range(0, len(found), BATCH_KEYS):
        failed |= _delete(s3, found[start : start + BATCH_KEYS])
    return failed


def _versions(s3: Requests, key: str) -> Iterator[str]:
    more: dict[str, str] = {}
    while True:
        page = s3.call("ListObjectVersions", Prefix=s3.prefix + key, MaxKeys=1000, **more)
        entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        yield from (entry["VersionId"] for entry in entries if entry["Key"] == s3.prefix + key)
        # In key order, so ours come first: behind it are only longer keys.
        if not page.get("IsTruncated") or page.get("NextKeyMarker", "") > s3.prefix + key:
            return
        before, more = more, {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page.get("NextVersionIdMarker", "")}
        if more == before:
            raise Unavailable(f"{s3.uri}: the store cut its list short without saying how to go on", uri=s3.uri)


def _delete(s3: Requests, versions: Sequence[Version]) -> dict[str, Error]:
    objects = [{"Key": s3.prefix + key, "VersionId": version} for key, version in versions]
    try:
        reply = s3.call("DeleteObjects", Delete={"Objects": objects, "Quiet": False})
    except Error as e:
        return dict.fromkeys((key for key, _ in versions), e)
    failed: dict[str, Error] = {}
    for item in reply.get("Errors", []):
        if item.get("Code") != "NoSuchVersion":
            key = item.get("Key", "")[len(s3.prefix) :]
            failed[key] = from_code(item.get("Code", ""), 200, "DeleteObjectVersion", s3.uri, key)
    named = {(item.get("Key", "")[len(s3.prefix) :], item.get("VersionId")) for item in reply.get("Deleted", [])}
    for key, version in versions:
        if (key, version) not in named and key not in failed:
            failed[key] = Unavailable(f"{s3.uri}{key}: the store did not say that a version of it is gone", key=key)
    return failed
