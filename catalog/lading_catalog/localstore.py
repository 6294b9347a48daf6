"""The local store: where its files are, and whether one is still what was put.

    <home>/objects/<shard>/     final names, unique for ever: never the hash alone
    <home>/staging/<session>/   temporary names, see staging.py
    <home>/orphans/             for files without a row that no session explains; nothing of this store is unlinked by a scan

Bytes get under a final name by `staging.Session` and by nothing else. What a crash leaves: recovery.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lading_catalog import durable

OBJECTS, STAGING, ORPHANS = "objects", "staging", "orphans"
SHARDS = 256
CHUNK_BYTES = 1 << 20
HEAD_BYTES = 8192  # of a file: enough to tell its type


def prepare(home: Path) -> None:
    """Make the folders of the local store, once and durably. All shards at once: then a put never makes one."""
    objects = home / OBJECTS
    if objects.exists() and (home / ORPHANS).exists():
        return
    for folder in (home / STAGING, objects, *(objects / f"{n:03x}" for n in range(SHARDS))):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
    sync_path(objects)
    sync_path(home)
    with contextlib.suppress(FileExistsError):
        os.mkdir(home / ORPHANS, 0o700)  # the last: it says that all others are there, and durably


def matches(home: Path, key: str, size_bytes: int, inode: int, mtime_ns: int) -> bool:
    """Whether the local copy is still the file whose hash was taken."""
    try:
        found = os.lstat(home / key)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_ino, found.st_mtime_ns) == (
        size_bytes,
        inode,
        mtime_ns,
    )


@dataclass(frozen=True, slots=True)
class Hashed:
    """A local copy as it is now."""

    sha256: bytes
    inode: int
    mtime_ns: int


def hashed(home: Path, key: str) -> Hashed | None:
    """Hash a local copy; None if it is gone, no regular file, or written to meanwhile."""
    try:
        fd = os.open(home / key, durable.READ_FLAGS)
    except OSError:
        return None
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            return None
        sha256 = digest(chunks_of(fd), None)[0]
        after = os.fstat(fd)
        same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        return Hashed(sha256, after.st_ino, after.st_mtime_ns) if same else None
    except OSError:
        return None
    finally:
        os.close(fd)


def chunks_of(fd: int) -> Iterator[bytes]:
    """A file from its beginning on."""
    os.lseek(fd, 0, os.SEEK_SET)
    while chunk := os.read(fd, CHUNK_BYTES):
        yield chunk


def digest(chunks: Iterator[bytes], to_fd: int | None) -> tuple[bytes, int, bytes]:
    """Hash `chunks` and write them to `to_fd`, in one pass: (SHA-256, size, first KiBs)."""
    sha256, size, head = hashlib.sha256(), 0, b""
    for chunk in chunks:
        sha256.update(chunk)
        size += len(chunk)
        if len(head) < HEAD_BYTES:
            head += chunk[: HEAD_BYTES - len(head)]
        if to_fd is not None:
            durable.write_all(to_fd, chunk)
    return sha256.digest(), size, head


def sync_path(folder: Path) -> None:
    """Names made in this folder are durable."""
    fd = os.open(folder, durable.FOLDER_FLAGS)
    try:
        durable.sync_folder(fd)
    finally:
        os.close(fd)
