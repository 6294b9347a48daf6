"""A file that takes space for a bad day: when the disk is full to the last byte, because of somebody else, it is given up, so that the
catalog can still write its own state: that a copy is safe, that one was evicted, that something failed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from lading_catalog import durable

FILE = "ballast"
SIZE_BYTES = 16 << 20
DISK_SHARE = 100  # at most one part in so many of the file system
_BLOCK = bytes(1 << 20)


def make(home: Path, min_free_bytes: int) -> bool:
    """Put it there, where it is not yet and there is more room than `min_free`. Whether it stands there now. Never raises. Only the daemon
    calls it: what a killed one has begun is made anew under the same name."""
    path, draft = home / FILE, home / f".{FILE}"
    with contextlib.suppress(OSError):
        if path.exists():
            return True
        found = os.statvfs(home)
        size = min(SIZE_BYTES, found.f_blocks * found.f_frsize // DISK_SHARE)
        if size <= 0 or found.f_bavail * found.f_frsize - size < min_free_bytes:
            return False
        fd = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _fill(fd, size)
            os.replace(draft, path)
        except OSError:
            os.unlink(draft)
            return False
        finally:
            os.close(fd)
        return True
    return False


def release(home: Path) -> bool:
    """Give it up. Whether there was one."""
    try:
        os.unlink(home / FILE)
    except OSError:
        return False
    return True


def _fill(fd: int, size: int) -> None:
    """Blocks, not a hole. macOS has no posix_fallocate."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    for start in range(0, size, len(_BLOCK)):
        durable.write_all(fd, _BLOCK[: size - start])
