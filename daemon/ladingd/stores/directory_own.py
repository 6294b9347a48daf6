"""Small files of our own in a directory (`.lading/…`), below descriptors that are open already."""

from __future__ import annotations

import os
import time

from lading_catalog.durable import sync_file, sync_folder, write_all
from lading_catalog.errors import Damaged
from ladingd.stores.base import OWN_MAX_BYTES


def read_small(fd: int, name: str) -> bytes:
    """All of the file. Raises Damaged if it is longer than anything of ours."""
    data = b""
    while len(data) <= OWN_MAX_BYTES and (part := os.read(fd, OWN_MAX_BYTES + 1)):
        data += part
    if len(data) > OWN_MAX_BYTES:
        raise Damaged(f"{name} is longer than {OWN_MAX_BYTES} bytes, and none of ours is")
    return data


def replace_small(tmp_name: str, name: str, tmp_fd: int, folder_fd: int, data: bytes) -> float:
    """Write `data` as `tmp_name`, and give it its name, in the place of what has it: on the medium when it returns.

    Returns how many seconds the clock that gave the file its time was ahead of ours. On a NAS that is the NAS's clock, because the
    sync has sent the bytes there. Where the time lies between start and end of the write the clocks agree: 0.
    """
    began_s = time.time()
    fd = os.open(tmp_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=tmp_fd)
    try:
        write_all(fd, data)
        sync_file(fd)
        ended_s, given_s = time.time(), os.fstat(fd).st_mtime
    finally:
        os.close(fd)
    os.replace(tmp_name, name, src_dir_fd=tmp_fd, dst_dir_fd=folder_fd)
    sync_folder(folder_fd)
    return round(given_s - min(max(given_s, began_s), ended_s), 3)
