"""Leases: a local copy that is read now is not evicted, and that it was read is noted. Neither writes to the catalog.

A reader holds a shared flock on the file, and looks after that whether the name still is this file. The evictor takes the lock
exclusively, without waiting, before it unlinks: so either the reader finds the name gone and fetches, or the evictor finds the file in
use and leaves it. A dead reader's lock is gone with it. That a copy was used stands in its atime, set explicitly (`noatime` does not
touch that); the evictor compares it with the use that the catalog knows of.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time

from lading_catalog import durable


def take(path: str | os.PathLike[str]) -> tuple[int, os.stat_result] | None:
    """Open a local copy for reading, held against eviction until the descriptor is closed: (it, what was found). None: it is gone, or
    no regular file. Raises OSError for what else the system says."""
    try:
        fd = os.open(path, durable.READ_FLAGS)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)  # an evictor holds it for the moment of its commit
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and _named(path, found):
            return fd, found
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def used(fd: int, found: os.stat_result) -> None:
    """Note that the copy is used now."""
    os.utime(fd, ns=(time.time_ns(), found.st_mtime_ns))


def seize(path: str | os.PathLike[str]) -> tuple[int, os.stat_result] | None:
    """For the evictor: the copy, held exclusively until the descriptor is closed. None: somebody reads it, or it is gone."""
    try:
        fd = os.open(path, durable.READ_FLAGS)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and _named(path, found):
            return fd, found
    except BlockingIOError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _named(path: str | os.PathLike[str], found: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(path), found)
    except FileNotFoundError:
        return False
