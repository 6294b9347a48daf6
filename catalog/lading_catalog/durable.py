"""File system steps that survive a power cut, relative to directory descriptors so that no symlink can redirect
them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
from collections.abc import Sequence

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
_RENAME_NOREPLACE = 1
_F_FULLFSYNC = 51
_SYNC_FILE_RANGE = getattr(ctypes.CDLL(None), "sync_file_range", None) if sys.platform.startswith("linux") else None
_SYNC_FILE_RANGE_WRITE = 2


def sync_file(fd: int) -> None:
    """Everything written is on the medium. On macOS fsync stops at the drive's cache, F_FULLFSYNC does not."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(fd, _F_FULLFSYNC)
    else:
        os.fsync(fd)


def begin_sync(fd: int, offset: int, length: int) -> None:
    """Let the disk begin to write this part of a file, and do not wait: what a later `sync_file` has to wait for is less. No promise of
    any kind, and nothing at all where the system has no such call (sync_file_range(2) is Linux')."""
    if _SYNC_FILE_RANGE is not None:
        _SYNC_FILE_RANGE(fd, ctypes.c_int64(offset), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)


def sync_folder(fd: int) -> None:
    """Names made in this folder are on the medium. File systems that cannot say so (some FUSE, SMB) answer EINVAL."""
    try:
        os.fsync(fd)
    except OSError as e:
        if e.errno not in _NO_FOLDER_SYNC:
            raise


def open_folder(root_fd: int, segments: Sequence[str], *, create: bool = False) -> int:
    """A descriptor of the folder `segments` below `root_fd`, following no symlink. New folders are made durable by a
    sync of their parent. Raises OSError; the caller closes the descriptor.
    """
    fd = os.dup(root_fd)
    try:
        for segment in segments:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(segment, dir_fd=fd)
                    sync_folder(fd)
            child = os.open(segment, FOLDER_FLAGS, dir_fd=fd)
            os.close(fd)
            fd = child
    except BaseException:
        os.close(fd)
        raise
    return fd


def _rename_new(name: str, new_name: str, src_fd: int, dst_fd: int) -> None:
    """Rename where nothing may be overwritten. Where the kernel or the file system lacks RENAME_NOREPLACE the name is
    looked up first: what could slip in between is a second attempt of the same replica, which holds the same bytes.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        if rename(src_fd, os.fsencode(name), dst_fd, os.fsencode(new_name), _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise OSError(code, os.strerror(code))
    try:
        os.stat(new_name, dir_fd=dst_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(name, new_name, src_dir_fd=src_fd, dst_dir_fd=dst_fd)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def link_new(name: str, new_name: str, src_fd: int, dst_fd: int) -> None:
    """Give the finished file `name` its final name, whole or not at all. The temporary name may stay: the caller
    unlinks it. Raises FileExistsError if the final name is taken, by whatever.
    """
    try:
        os.link(name, new_name, src_dir_fd=src_fd, dst_dir_fd=dst_fd, follow_symlinks=False)
    except OSError as e:
        if e.errno not in _NO_LINKS:
            raise
        _rename_new(name, new_name, src_fd, dst_fd)


def publish(name: str, new_name: str, src_fd: int, dst_fd: int) -> None:
    """`link_new`, and make the name durable."""
    link_new(name, new_name, src_fd, dst_fd)
    sync_folder(dst_fd)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
