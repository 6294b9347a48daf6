"""How bytes get under a final name of the local store; nothing bypasses this.

Temporary name in a flocked session folder → bytes, hashed on the way → fsync file → link to the final name, never overwriting → fsync
folder → (the caller commits the rows) → unlink the temporary name. A failed fsync is never tried again on the same file: the page is
marked clean and a second fsync may lie. An error leaves nothing under a final name; what a crash leaves, recovery.py settles.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lading_catalog import durable
from lading_catalog.errors import Error, Full
from lading_catalog.ids import RandomBytes
from lading_catalog.keys import LOCAL_NONCE_BYTES, local_key
from lading_catalog.localstore import CHUNK_BYTES, OBJECTS, SHARDS, STAGING, chunks_of, digest, prepare
from lading_catalog.room import Claim, Room

# Ending of a temporary name whose commit failed without telling whether it may yet show. No file's own ending can look like it.
UNSURE = "-unsure"
_FILES_A_SHARD = 1000  # a session stays in one folder for so many files, so that a batch syncs one folder
_FICLONE = 0x40049409  # ioctl_ficlone(2)
_NEVER_CLONES = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY, errno.ENOSYS)  # this file system, whatever the source
NO_CLONE = (*_NEVER_CLONES, errno.EXDEV, errno.EINVAL, errno.EPERM, errno.ETXTBSY)


@dataclass(slots=True)
class Staged:
    """Bytes on this disk, synced, under a temporary name, and after `publish` under their final one (`key`, below the home)."""

    tmp: str
    key: str
    sha256: bytes
    size_bytes: int
    inode: int
    mtime_ns: int
    head: bytes  # the first KiBs, to tell the type
    published: bool = False


class ReadFailed(OSError):
    """The source could not be read: not an error of this disk."""


class SourceChanged(Error):
    urn, title, status, reason = "source-changed", "The file changed while it was read", 409, "source_changed"


class Session:
    """A writer's part of the staging folder. Thread-safe. Closing it (or the death of its process) frees the lock."""

    def __init__(self, home: Path, random_bytes: RandomBytes = os.urandom, room: Room | None = None) -> None:
        """`room`: what is left free on the disk; None: no limit but its end."""
        self.home = home
        self._room = room
        self._random = random_bytes
        self._mutex = threading.Lock()
        self._left = 0
        self._shard = ""
        self._clones = sys.platform.startswith("linux")  # until the file system says that it cannot
        self._shards: dict[str, int] = {}  # shard → descriptor, for linkat and fsync
        try:
            prepare(home)
            self.folder, self._fd = _locked_folder(home / STAGING)
        except OSError as e:
            raise translated(e, home) from e

    def close(self) -> None:
        """Leftovers stay for `recover`, which knows which of them have a row."""
        with self._mutex:
            if self._fd < 0:
                return
            with contextlib.suppress(OSError):
                os.rmdir(self.folder)
            os.close(self._fd)
            self._fd = -1
            for fd in self._shards.values():
                os.close(fd)
            self._shards.clear()

    # -- writing ---------------------------------------------------------------------------------------------------------------

    def stage(self, source: BinaryIO | bytes, ext: str, *, clone_fd: int | None = None, size_hint: int | None = None) -> Staged:
        """Write the bytes of `source` under a temporary name, hashed on the way and synced. `clone_fd`: the descriptor of a regular
        file that may be cloned instead of copied where the file system can; a clone takes no room. `size_hint`: how long the source
        probably is. Raises Full, Error, ReadFailed; then no file is left."""
        try:
            return self._stage(source, ext, clone_fd if self._clones else None, size_hint)
        except ReadFailed:
            raise
        except OSError as e:
            raise translated(e, self.home) from e

    def _claim(self, size_bytes: int) -> contextlib.AbstractContextManager[Claim | None]:
        return contextlib.nullcontext() if self._room is None else self._room.claim(size_bytes)

    def _stage(self, source: BinaryIO | bytes, ext: str, clone_fd: int | None, size_hint: int | None) -> Staged:
        key = self._new_key(ext)
        tmp = key.removeprefix(f"{OBJECTS}/").replace("/", "-")  # says its final name: recovery needs no search
        fd = os.open(tmp, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        try:
            if clone_fd is not None and self._clone(fd, clone_fd):
                sha256, size, head = digest(chunks_of(fd), None)
            else:
                with self._claim(len(source) if isinstance(source, bytes) else size_hint or 0) as claim:
                    sha256, size, head = digest(_within(claim, _chunks(source, size_hint)), fd)
            durable.sync_file(fd)
            found = os.fstat(fd)
            if found.st_size != size:
                raise OSError(errno.EIO, "the file is not as long as what was written to it")
            return Staged(tmp, key, sha256, size, found.st_ino, found.st_mtime_ns, head)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(tmp, dir_fd=self._fd)
            raise
        finally:
            os.close(fd)

    def publish(self, staged: Iterable[Staged]) -> None:
        """Give each its final name; they are durable when this returns. On an error none of them keeps a final name."""
        done: list[Staged] = []
        touched: set[int] = set()
        try:
            for item in staged:
                if not item.published:
                    folder_fd = self._shard_fd(item.key)
                    done.append(item)  # before: a Ctrl-C that arrives during the call shows after it
                    durable.link_new(item.tmp, os.path.basename(item.key), self._fd, folder_fd)
                    touched.add(folder_fd)
            for folder_fd in touched:
                durable.sync_folder(folder_fd)
        except BaseException as e:
            for item in done:
                self._unname(item)
            if isinstance(e, OSError):
                raise translated(e, self.home) from e
            raise
        for item in done:
            item.published = True

    def settle(self, staged: Iterable[Staged], *, keep: bool, unsure: bool = False) -> None:
        """After the commit (`keep`) drop the temporary names; without one, the final names too. `unsure`: the commit failed in a way
        that may yet show as done after a power cut; the temporary name stays, and `recover` gives the file its name back then."""
        for item in staged:
            with contextlib.suppress(OSError):
                if unsure and item.published:  # before the final name goes: at every moment one of them stands
                    os.rename(item.tmp, item.tmp + UNSURE, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            if not keep:
                self._unname(item)
            with contextlib.suppress(OSError):
                if not (unsure and item.published):
                    os.unlink(item.tmp, dir_fd=self._fd)

    def _unname(self, item: Staged) -> None:
        """Take the final name away again, if it is this item's."""
        name = os.path.basename(item.key)
        with contextlib.suppress(OSError):
            folder_fd = self._shard_fd(item.key)
            if os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_ino == item.inode:
                os.unlink(name, dir_fd=folder_fd)

    def _clone(self, fd: int, from_fd: int) -> bool:
        """Share the blocks of another file (btrfs, xfs, bcachefs): no bytes are copied."""
        try:
            fcntl.ioctl(fd, _FICLONE, from_fd)
        except OSError as e:
            if e.errno not in NO_CLONE:
                raise
            self._clones = e.errno not in _NEVER_CLONES
            return False
        return True

    def _new_key(self, ext: str) -> str:
        with self._mutex:
            if self._left == 0:
                self._shard = f"{self._random(1)[0] % SHARDS:03x}"
                self._left = _FILES_A_SHARD
            self._left -= 1
            shard = self._shard
        return local_key(shard, self._random(LOCAL_NONCE_BYTES), ext)

    def _shard_fd(self, key: str) -> int:
        shard = key.split("/")[1]
        with self._mutex:
            if shard not in self._shards:
                root_fd = os.open(self.home, durable.FOLDER_FLAGS)
                try:
                    self._shards[shard] = durable.open_folder(root_fd, (OBJECTS, shard), create=True)
                finally:
                    os.close(root_fd)
            return self._shards[shard]


def _locked_folder(staging: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock. Recovery may sweep it in the moment before it is locked: then another."""
    while True:
        folder = staging / f"{os.getpid()}-{os.urandom(6).hex()}"
        os.mkdir(folder, 0o700)
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(folder, durable.FOLDER_FLAGS)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                os.stat(folder)
            except BaseException:
                os.close(fd)
                raise
            return folder, fd


def translated(e: OSError, home: Path) -> Error:
    """An error of the local disk, in our words."""
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return Full(
            f"No space left on the disk that holds {home}.",
            hint="Free some space and put it again; nothing was recorded.",
        )
    if e.errno in (errno.EMFILE, errno.ENFILE):
        return Error("Too many open files.", hint="Raise the limit (ulimit -n) and put it again; nothing was recorded.")
    return Error(f"Writing to {home} failed: {os.strerror(e.errno or 0)}.", hint="Check the disk; nothing was recorded.")


def _within(claim: Claim | None, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Each chunk is given on when there is room for it, and has been written when the next one is asked for. Raises Full."""
    for chunk in chunks:
        if claim is not None:
            claim.need(len(chunk))
        yield chunk
        if claim is not None:
            claim.wrote(len(chunk))


def _chunks(source: BinaryIO | bytes, size_hint: int | None) -> Iterator[bytes]:
    """`size_hint`: how long the source probably is. A buffer of a megabyte for a small file costs more than reading it."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        if len(source):
            yield bytes(source)
        return
    length = CHUNK_BYTES if size_hint is None else min(CHUNK_BYTES, size_hint + 1)
    while True:
        chunk: Any = None
        try:
            chunk = source.read(length)
        except OSError as e:
            raise ReadFailed(e.errno, os.strerror(e.errno or 0)) from e
        if chunk is None:  # a raw file that does not block says "nothing yet"; that is not its end
            raise ReadFailed(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if not chunk:
            return
        yield chunk
