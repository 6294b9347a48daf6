"""Steps of the directory provider on one file or folder, below descriptors that are open already."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from lading_catalog.durable import FOLDER_FLAGS, READ_FLAGS, open_folder, sync_file, sync_folder
from lading_catalog.errors import Refused
from ladingd.stores.base import Entry
from ladingd.stores.directory_tmp import TMP_FOLDER
from ladingd.stores.marker import NAME as MARKER_NAME
from ladingd.stores.marker import OWN_FOLDER

_NOT_OBJECTS = ("/".join([*TMP_FOLDER, ""]), f"{OWN_FOLDER}/{MARKER_NAME}")


def unlink_quietly(name: str, folder_fd: int) -> None:
    with contextlib.suppress(OSError):  # a leftover is swept by a later probe
        os.unlink(name, dir_fd=folder_fd)


def drop_pages(fd: int) -> None:
    """What this machine has cached of the file: what is read next comes from the medium, not from our own pages."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def sync_existing(name: str, folder_fd: int) -> None:
    with regular_file(name, folder_fd, name) as fd:
        sync_file(fd)
    sync_folder(folder_fd)


@contextlib.contextmanager
def regular_file(name: str, folder_fd: int, key: str) -> Iterator[int]:
    fd = os.open(name, READ_FLAGS, dir_fd=folder_fd)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Refused(f"{key!r} is no regular file", hint="something else took this name; move it away", key=key)
        yield fd
    finally:
        os.close(fd)


def delete_file(root_fd: int, folders: list[str], name: str) -> None:
    """Unlink and make it durable: an unlink without it comes back after a power cut. Absent is success."""
    try:
        folder_fd = open_folder(root_fd, folders)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder_fd)
        sync_folder(folder_fd)
    finally:
        os.close(folder_fd)


def walk(folder_fd: int, path: str, prefix: str) -> Iterator[Entry]:
    """Regular files in key order: a folder sorts as its name with the slash that follows it in the key."""
    with os.scandir(folder_fd) as found:
        names = [
            (f"{path}{item.name}{'/' if item.is_dir(follow_symlinks=False) else ''}", item.stat(follow_symlinks=False))
            for item in found
        ]
    for key, info in sorted(names, key=lambda pair: os.fsencode(pair[0])):
        if key in _NOT_OBJECTS:
            continue
        if key.endswith("/"):
            if key.startswith(prefix) or prefix.startswith(key):
                child = os.open(key[len(path) : -1], FOLDER_FLAGS, dir_fd=folder_fd)
                try:
                    yield from walk(child, key, prefix)
                finally:
                    os.close(child)
        elif stat.S_ISREG(info.st_mode) and key.startswith(prefix):
            yield Entry(key, info.st_size)
