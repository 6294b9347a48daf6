"""What a DELETE leaves in a versioned bucket: older versions and a marker. Removing them for certain keys, and for no others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lading_catalog.errors import Error, Unavailable
from ladingd.stores.s3_client import Requests
from ladingd.stores.s3_delete import Deleter, Target

PAGE = 1000


def remove(s3: Requests, deleter: Deleter, keys: Sequence[str], *, page: int = PAGE) -> dict[str, Error]:
    """Remove every version and delete marker of exactly these keys. Returns what failed, by key.

    The list is asked for one key at a time, and what it shows is input only as far as it bears that very key. A key whose list fails
    keeps all its versions."""
    failed: dict[str, Error] = {}
    found: list[Target] = []
    for key in dict.fromkeys(keys):
        try:
            found += [(key, version) for version in _versions(s3, key, page)]
        except Error as e:
            failed[key] = e
    return failed | deleter.remove(found)


def _versions(s3: Requests, key: str, page_size: int) -> Iterator[str]:
    name = s3.prefix + key
    more: dict[str, str] = {}
    while True:
        page = s3.call("ListObjectVersions", Prefix=name, MaxKeys=page_size, **more)
        if "IsTruncated" not in page:
            raise Unavailable(f"{s3.uri}: the store answered a list of versions that is not whole", uri=s3.uri)
        for entry in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
            if entry["Key"] == name:
                yield entry["VersionId"]
        if not page["IsTruncated"]:
            return
        next_key, next_version = page.get("NextKeyMarker", ""), page.get("NextVersionIdMarker", "")
        if next_key > name:  # in key order, so ours come first: behind it are only longer keys
            return
        before, more = more, {"KeyMarker": next_key, **({"VersionIdMarker": next_version} if next_version else {})}
        if not next_key or more == before:
            raise Unavailable(f"{s3.uri}: the store cut its list short without saying how to go on", uri=s3.uri)
