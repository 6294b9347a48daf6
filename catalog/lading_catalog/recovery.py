"""After a crash: what dead writers have left in the staging folder. A crash needs no other recovery on this disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from lading_catalog import durable
from lading_catalog.localstore import OBJECTS, STAGING, chunks_of, digest, sync_path
from lading_catalog.staging import UNSURE


def abandoned_sessions(home: Path) -> Iterator[tuple[Path, int]]:
    """Session folders whose process is gone, each with a descriptor that holds its lock while it is looked at."""
    try:
        names = os.listdir(home / STAGING)
    except FileNotFoundError:
        return
    for name in names:
        folder = home / STAGING / name
        try:
            fd = os.open(folder, durable.FOLDER_FLAGS)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder, fd
        except BlockingIOError:
            continue
        finally:
            os.close(fd)


def recover(home: Path, has_row: Callable[[str, bytes], bool]) -> int:
    """Settle what dead sessions have left: a temporary name always goes; the final one goes where no row has that key, and is given
    again where a row has it and it is not there. Returns how many leftovers there were. `has_row(key, sha256)`: whether that object
    has a local replica under that key; the digest makes it a look-up, so recovery costs what is left over, not the catalog."""
    found = 0
    for folder, fd in abandoned_sessions(home):
        for tmp in os.listdir(fd):
            with contextlib.suppress(OSError):  # one that cannot be read or removed stays, and keeps nothing else from going on
                _settle_leftover(home, tmp, fd, has_row)
                found += 1
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    return found


def _settle_leftover(home: Path, tmp: str, folder_fd: int, has_row: Callable[[str, bytes], bool]) -> None:
    shard, _, name = tmp.removesuffix(UNSURE).partition("-")
    final = home / OBJECTS / shard / name
    named = os.path.lexists(final)
    if (named or tmp.endswith(UNSURE)) and has_row(f"{OBJECTS}/{shard}/{name}", _hash_of(tmp, folder_fd)):
        if not named:
            if not final.parent.exists():
                final.parent.mkdir(mode=0o700)
                sync_path(home / OBJECTS)
            os.link(tmp, final, src_dir_fd=folder_fd, follow_symlinks=False)
            sync_path(final.parent)
    elif named and os.path.samestat(os.lstat(final), os.stat(tmp, dir_fd=folder_fd, follow_symlinks=False)):
        os.unlink(final)
    os.unlink(tmp, dir_fd=folder_fd)


def _hash_of(name: str, folder_fd: int) -> bytes:
    fd = os.open(name, durable.READ_FLAGS, dir_fd=folder_fd)
    try:
        return digest(chunks_of(fd), None)[0]
    finally:
        os.close(fd)
