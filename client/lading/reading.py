"""Reading a medium: a lease on its copy on this disk, which is fetched if it is not there."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO

from lading.fetch import fetch_one
from lading.follow import FROM_BYTES, Follower
from lading_catalog import fetching, leases, localstore, media, replicas
from lading_catalog.errors import Damaged, Error, Missing, StoreError
from lading_catalog.fetching import Here

if TYPE_CHECKING:
    from lading.catalog import Catalog

_TRIES = 8  # evicted or changed again and again between the catalog's answer and the lease: something is very wrong


def lease(cat: Catalog, ulid: str, timeout_s: float | None) -> tuple[int, Here]:
    """A descriptor of the medium's copy, open for reading and held against eviction until it is closed, and what the catalog says of it.

    It is the file that was hashed (inode, size, time), or was hashed again now. Raises NotFound, and what fetching ended with: Missing,
    Damaged, Unavailable, Refused, Full, Archived, NoDaemon."""
    fetched = False
    for _ in range(_TRIES):
        with cat._lock:
            here = fetching.look(cat._conn, ulid)
        if here is None:
            raise gone(cat, ulid)
        if here.state != "present":
            try:
                fetch_one(cat, here, timeout_s)
            except StoreError as e:
                raise of_medium(cat, ulid, e) from None
            fetched = True
            continue
        held = leases.take(f"{cat.home}/{here.key}")
        if held is None:
            mend(cat, here, ulid)
            continue
        fd, found = held
        if (found.st_ino, found.st_size, found.st_mtime_ns) == (here.inode, here.size_bytes, here.mtime_ns):
            if not fetched:  # (its arrival is the use)
                leases.used(fd, found)
            return fd, here
        os.close(fd)
        mend(cat, here, ulid)
    raise _changed(cat, ulid)


def opened(cat: Catalog, ulid: str, timeout_s: float | None) -> BinaryIO:
    """A file object over the medium's copy, which holds its lease until it is closed. A large one that has to be fetched can be read while
    it comes. Errors as with `lease`."""
    with cat._lock:
        here = fetching.look(cat._conn, ulid)
    if here is not None and here.state != "present" and here.size_bytes > FROM_BYTES:
        try:
            return io.BufferedReader(Follower(cat, here, timeout_s), buffer_size=1 << 16)
        except StoreError as e:
            raise of_medium(cat, ulid, e) from None
    fd, _ = lease(cat, ulid, timeout_s)
    return os.fdopen(fd, "rb")


def whole_here(cat: Catalog, here: Here) -> bool:
    """Whether a present copy is what was put. If it is not and another store has one, it is set aside: fetch it. Raises Damaged."""
    if localstore.matches(cat.home, here.key, here.size_bytes, here.inode, here.mtime_ns):
        return True
    return mend(cat, here, None)


def mend(cat: Catalog, here: Here, ulid: str | None) -> bool:
    """A present copy that is not the file that was hashed: hash it again. A home that was copied or restored has other inodes; the new
    ones are noted, and it is well (True). Wrong twice, it is set aside where another store has a copy to fetch (False). Raises Damaged
    where none has."""
    for _ in range(2):
        found = localstore.hashed(cat.home, here.key)
        if found is not None and found.sha256 == here.sha256:
            assert here.replica_id is not None
            with cat._lock, cat._conn.writing(durable=False) as conn:
                media.note_file(conn, here.replica_id, found)
            return True
    try:
        with cat._lock, cat._conn.writing() as conn:
            # (one that was evicted in between is not present any more)
            if here.replica_id is not None and replicas.lose(conn, here.replica_id):
                fetching.want(conn, here.object_id)
    except Missing:
        raise _changed(cat, ulid) from None
    return False


def _changed(cat: Catalog, ulid: str | None) -> Error:
    if ulid is None:
        return Damaged("The copy on this disk has been changed or removed.")
    name = cat._shape(ulid)["name"]
    return Damaged(f"The copy of {name} on this disk has been changed or removed.", hint=f"lading why m_{ulid}", id=f"m_{ulid}")


def gone(cat: Catalog, ulid: str) -> Error:
    """Why there is no such medium. Raises NotFound where there never was."""
    shape = cat._shape(ulid)
    return Missing(f"{shape['name']} was deleted.", hint=f"lading show m_{ulid}", id=f"m_{ulid}")


def of_medium(cat: Catalog, ulid: str, error: Error) -> Error:
    """An error of a fetch that says of which medium it is."""
    error.detail = f"{cat._shape(ulid)['name']} cannot be fetched: {error.detail}"
    error.args = (error.detail,)
    error.about.setdefault("id", f"m_{ulid}")
    return error
