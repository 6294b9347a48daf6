"""Temporary names of the directory provider. A name says who made it, so that a probe removes only what a dead process
of this machine left behind: a NAS may hold the temporary files of others."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time

from lading_catalog.durable import open_folder
from lading_catalog.processes import alive
from ladingd.stores.marker import OWN_FOLDER

TMP_FOLDER = [OWN_FOLDER, "tmp"]
STALE_S = 24 * 3600


def _machine() -> str:
    return hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:12]


def new_name() -> str:
    return f"{_machine()}-{os.getpid()}-{secrets.token_hex(8)}"


def sweep(root_fd: int) -> int:
    """Unlink our own temporary files of dead processes that are older than a day. Returns how many."""
    try:
        folder_fd = open_folder(root_fd, TMP_FOLDER)
    except FileNotFoundError:
        return 0
    swept = 0
    try:
        with os.scandir(folder_fd) as found:
            names = [item.name for item in found]
        for name in names:
            machine, _, rest = name.partition("-")
            pid = rest.partition("-")[0]
            if machine != _machine() or not pid.isdecimal() or alive(int(pid)):
                continue
            with contextlib.suppress(FileNotFoundError):
                if time.time() - os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mtime > STALE_S:
                    os.unlink(name, dir_fd=folder_fd)
                    swept += 1
    finally:
        os.close(folder_fd)
    return swept
