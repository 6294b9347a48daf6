"""The file that tells a mounted disk from the empty folder it is mounted on: `<root>/.lading/marker`, a random id."""

from __future__ import annotations

import contextlib
import os
import secrets

from lading_catalog.durable import READ_FLAGS, open_folder, publish, sync_file, sync_folder, write_all
from lading_catalog.errors import Unavailable

OWN_FOLDER = ".lading"
NAME = "marker"


def read_marker(root_fd: int) -> str | None:
    """The id, or None if there is none. One small read."""
    try:
        folder = open_folder(root_fd, [OWN_FOLDER])
    except FileNotFoundError:
        return None
    try:
        fd = os.open(NAME, READ_FLAGS, dir_fd=folder)
    except FileNotFoundError:
        return None
    finally:
        os.close(folder)
    try:
        return os.read(fd, 200).decode("ascii", "replace").strip() or None
    finally:
        os.close(fd)


def check_marker(root_fd: int, expected: str, uri: str) -> None:
    """Raises Unavailable unless this is the disk that was remembered."""
    found = read_marker(root_fd)
    if found is None:
        raise Unavailable(f"{uri}: not mounted, its marker is missing", hint="mount the disk; nothing was written", uri=uri)
    if found != expected:
        raise Unavailable(
            f"{uri}: another disk is mounted there, its marker differs from the one remembered",
            hint="mount the right disk, or add this one as a destination of its own",
            uri=uri,
        )


def make_marker(root_fd: int) -> str:
    """The id of this disk, made now if it has none. Of two who race one wins, and both return the winner's. It appears
    whole: an id cut short by a crash would lock the disk out for ever.
    """
    if found := read_marker(root_fd):
        return found
    folder = open_folder(root_fd, [OWN_FOLDER], create=True)
    new_id = secrets.token_hex(16)
    temporary = f"{NAME}.{new_id}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=folder)
        try:
            write_all(fd, f"{new_id}\n".encode())
            sync_file(fd)
        finally:
            os.close(fd)
        try:
            publish(temporary, NAME, folder, folder)
        except FileExistsError:
            sync_folder(folder)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        os.close(folder)
    return read_marker(root_fd) or new_id
