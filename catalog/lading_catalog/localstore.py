"""The local store: how bytes get under a final name on this disk, and nothing else does.

    <home>/staging/<session>/   temporary names; the folder is flocked while its process lives
    <home>/objects/<shard>/     final names, unique for ever: never the hash alone
    <home>/orphans/             for files without a row that no session explains; nothing of this store is unlinked by a scan

A write: temporary name → bytes, hashed on the way → fsync file → link to the final name, never overwriting → fsync folder → (the
caller commits the rows) → unlink the temporary name. A failed fsync is never tried again on the same file: the page is marked clean
and a second fsync may lie. An error leaves nothing under a final name. After a crash `recover` looks only at sessions whose lock is
free; a leftover whose key has no row loses both names.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lading_catalog import durable
from lading_catalog.errors import Error, Full
from lading_catalog.ids import RandomBytes
from lading_catalog.keys import LOCAL_NONCE_BYTES, local_key

OBJECTS, STAGING, ORPHANS = "objects", "staging", "orphans"
SHARDS = 256
_FILES_A_SHARD = 1000  # a session stays in one folder for so many files, so that a batch syncs one folder
_CHUNK_BYTES = 1 << 20
# Ending of a temporary name whose commit failed without telling whether it may yet show. No file's own ending can look like it.
_UNSURE = "-unsure"
_FICLONE = 0x40049409  # ioctl_ficlone(2)
_NO_CLONE = (
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.EPERM,
    errno.ETXTBSY,
)


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


def prepare(home: Path) -> None:
    """Make the folders of the local store, once and durably. All shards at once: then a put never makes one."""
    objects = home / OBJECTS
    if objects.exists() and (home / ORPHANS).exists():
        return
    for folder in (home / STAGING, objects, *(objects / f"{n:03x}" for n in range(SHARDS))):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
    _sync_path(objects)
    _sync_path(home)
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
        sha256 = _copy(_read_fd(fd), None)[0]
        after = os.fstat(fd)
        same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        return Hashed(sha256, after.st_ino, after.st_mtime_ns) if same else None
    except OSError:
        return None
    finally:
        os.close(fd)


class Session:
    """A writer's part of the staging folder. Thread-safe. Closing it (or the death of its process) frees the lock."""

    def __init__(self, home: Path, random_bytes: RandomBytes = os.urandom) -> None:
        self.home = home
        self._random = random_bytes
        self._mutex = threading.Lock()
        self._left = 0
        self._shard = ""
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

    def stage(self, source: BinaryIO | bytes, ext: str, *, clone_fd: int | None = None) -> Staged:
        """Write the bytes of `source` under a temporary name, hashed on the way and synced. `clone_fd`: the descriptor of a regular
        file that may be cloned instead of copied where the file system can. Raises Full, Error, ReadFailed; then no file is left."""
        try:
            return self._stage(source, ext, clone_fd)
        except ReadFailed:
            raise
        except OSError as e:
            raise translated(e, self.home) from e

    def _stage(self, source: BinaryIO | bytes, ext: str, clone_fd: int | None) -> Staged:
        key = self._new_key(ext)
        tmp = key.removeprefix(f"{OBJECTS}/").replace("/", "-")  # says its final name: recovery needs no search
        fd = os.open(tmp, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        try:
            if clone_fd is not None and _clone(fd, clone_fd):
                sha256, size, head = _copy(_read_fd(fd), None)
            else:
                sha256, size, head = _copy(_chunks(source), fd)
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
                    os.rename(item.tmp, item.tmp + _UNSURE, src_dir_fd=self._fd, dst_dir_fd=self._fd)
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


def _chunks(source: BinaryIO | bytes) -> Iterator[bytes]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        if len(source):
            yield bytes(source)
        return
    while True:
        chunk: Any = None
        try:
            chunk = source.read(_CHUNK_BYTES)
        except OSError as e:
            raise ReadFailed(e.errno, os.strerror(e.errno or 0)) from e
        if chunk is None:  # a raw file that does not block says "nothing yet"; that is not its end
            raise ReadFailed(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if not chunk:
            return
        yield chunk


def _read_fd(fd: int) -> Iterator[bytes]:
    os.lseek(fd, 0, os.SEEK_SET)
    while chunk := os.read(fd, _CHUNK_BYTES):
        yield chunk


def _copy(chunks: Iterator[bytes], to_fd: int | None) -> tuple[bytes, int, bytes]:
    """Hash `chunks` and write them to `to_fd`: (SHA-256, size, first KiBs)."""
    digest, size, head = hashlib.sha256(), 0, b""
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        if len(head) < 8192:
            head += chunk[: 8192 - len(head)]
        if to_fd is not None:
            durable.write_all(to_fd, chunk)
    return digest.digest(), size, head


def _clone(fd: int, from_fd: int) -> bool:
    """Share the blocks of another file (btrfs, xfs, bcachefs): no bytes are copied."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        fcntl.ioctl(fd, _FICLONE, from_fd)
    except OSError as e:
        if e.errno in _NO_CLONE:
            return False
        raise
    return True


def _sync_path(folder: Path) -> None:
    fd = os.open(folder, durable.FOLDER_FLAGS)
    try:
        durable.sync_folder(fd)
    finally:
        os.close(fd)


# -- after a crash -----------------------------------------------------------------------------------------------------------------


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
    shard, _, name = tmp.removesuffix(_UNSURE).partition("-")
    final = home / OBJECTS / shard / name
    named = os.path.lexists(final)
    if (named or tmp.endswith(_UNSURE)) and has_row(f"{OBJECTS}/{shard}/{name}", _hash_of(tmp, folder_fd)):
        if not named:
            if not final.parent.exists():
                final.parent.mkdir(mode=0o700)
                _sync_path(home / OBJECTS)
            os.link(tmp, final, src_dir_fd=folder_fd, follow_symlinks=False)
            _sync_path(final.parent)
    elif named and os.path.samestat(os.lstat(final), os.stat(tmp, dir_fd=folder_fd, follow_symlinks=False)):
        os.unlink(final)
    os.unlink(tmp, dir_fd=folder_fd)


def _hash_of(name: str, folder_fd: int) -> bytes:
    fd = os.open(name, durable.READ_FLAGS, dir_fd=folder_fd)
    try:
        return _copy(_read_fd(fd), None)[0]
    finally:
        os.close(fd)
