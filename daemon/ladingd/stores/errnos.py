"""What an OSError of a mounted disk means for the store that lies on it. The one table for the directory provider."""

from __future__ import annotations

import errno
from collections.abc import Callable

from lading_catalog.errors import Damaged, Error, Full, Missing, Refused, Unavailable

_PERMISSION = "the user of the daemon needs read and write permission on this directory and everything in it"
_SPACE = "free some space there, or raise the quota"


def _refused(detail: str) -> Error:
    return Refused(detail, hint=_PERMISSION)


def _read_only(detail: str) -> Error:
    return Refused(detail, hint="mount it read-write")


def _full(detail: str) -> Error:
    return Full(detail, hint=_SPACE)


ERRNOS: dict[int, Callable[[str], Error]] = {
    errno.ENOENT: Missing,
    errno.EACCES: _refused,
    errno.EPERM: _refused,
    errno.EROFS: _read_only,
    errno.ENOSPC: _full,
    errno.EDQUOT: _full,
    errno.EFBIG: _full,
    errno.ENAMETOOLONG: Refused,
    errno.EINVAL: Refused,  # a name that this file system cannot hold
    errno.EILSEQ: Refused,
    errno.ELOOP: Refused,  # a symlink where a folder or an object should be
    errno.ENOTDIR: Refused,
    errno.EISDIR: Refused,
    errno.EEXIST: Damaged,
    errno.EIO: Unavailable,
    errno.ESTALE: Unavailable,
    errno.ENOTCONN: Unavailable,
    errno.ENODEV: Unavailable,
    errno.ENXIO: Unavailable,
    errno.EHOSTDOWN: Unavailable,
    errno.ETIMEDOUT: Unavailable,
}


def translate(e: OSError, what: str) -> Error:
    """The error for `e` while doing `what` ("put a/b"). An errno that the table does not name may pass: Unavailable."""
    return ERRNOS.get(e.errno or 0, Unavailable)(f"{what}: {e.strerror or type(e).__name__}")
