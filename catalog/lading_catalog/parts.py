"""Parts: how fetched bytes get under a final name of the local store. As with a put (staging.py): temporary name → bytes, hashed on the
way → fsync file → link to the final name → fsync folder → (the caller commits the row) → unlink the temporary name.

A part is `<home>/fetching/<replica id>-<shard>-<file name of its key>.part`. Only the holder of the daemon's lock writes there; others
may read one that grows. It only ever grows: one that turns out wrong is unlinked, and another one begins. What a failed attempt or a
killed daemon has left is continued; the digest decides, also after a power cut.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path

from lading_catalog import durable
from lading_catalog.errors import Error, Full
from lading_catalog.fetching import Arrived
from lading_catalog.localstore import OBJECTS, ORPHANS, chunks_of, hashed, sync_path

FETCHING = "fetching"
_ENDING = ".part"
_BEGIN_SYNC_BYTES = 8 << 20  # the disk writes while more is received, so that the sync at the end is short
_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def path_of(home: Path, replica_id: int, key: str) -> Path:
    return home / FETCHING / f"{replica_id}-{key.removeprefix(f'{OBJECTS}/').replace('/', '-')}{_ENDING}"


class Abandoned(Exception):
    """The part was taken from its writer."""


class Part:
    """The part of one replica. Used by one thread, apart from `hashing` and `abandon`. Raises our errors of this disk, and Abandoned."""

    def __init__(self, home: Path, replica_id: int, key: str, sha256: bytes, size_bytes: int) -> None:
        self.home, self.replica_id, self.key = home, replica_id, key
        self.sha256, self.size_bytes = sha256, size_bytes
        self.path = path_of(home, replica_id, key)
        self.length = 0
        self._mutex = threading.Lock()
        self._abandoned = False
        self._fd = -1
        self._begun = 0  # up to here the disk has been told to write
        self._hash = hashlib.sha256()

    def open(self) -> None:
        """A new one, or what is there already, hashed."""
        with self._writing():
            try:
                self._fd = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                self._fd = os.open(self.path, _NEW, 0o600)
                return
            found = os.fstat(self._fd)
        fits = stat.S_ISREG(found.st_mode) and found.st_size <= self.size_bytes
        try:
            for chunk in chunks_of(self._fd) if fits else ():
                self._hash.update(chunk)
                self.length += len(chunk)
        except OSError:
            fits = False
        if not fits:
            self.restart()

    def restart(self) -> None:
        """From nothing. Who reads the old one keeps that, and sees that it has no name any more."""
        self.close()
        with self._writing():
            os.unlink(self.path)
            self._fd = os.open(self.path, _NEW, 0o600)
        self.length, self._begun, self._hash = 0, 0, hashlib.sha256()

    def hashing(self, chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
        """The same chunks, hashed as they pass, perhaps ahead in another thread. Each has to be appended, or the part begun anew."""
        sha256 = self._hash  # (one that begins anew has another)
        for chunk in chunks:
            sha256.update(chunk)
            yield chunk

    def append(self, chunk: bytes) -> None:
        """A chunk that came through `hashing`."""
        with self._writing():
            durable.write_all(self._fd, chunk)
            self.length += len(chunk)
            if self.length - self._begun >= _BEGIN_SYNC_BYTES:
                durable.begin_sync(self._fd, self._begun, self.length - self._begun)
                self._begun = self.length

    def whole(self) -> bool:
        return self.length == self.size_bytes and self._hash.digest() == self.sha256

    def publish(self) -> Arrived:
        """The final name for one that is whole, durably. The temporary name stays until `settle`."""
        with self._writing():
            durable.sync_file(self._fd)
            found = os.fstat(self._fd)
            if found.st_size != self.size_bytes:
                raise OSError(errno.EIO, "the file is not as long as what was written to it")
            final = self.home / self.key
            with _folder(self.path.parent) as part_fd, _folder(final.parent) as final_fd:
                durable.publish(self.path.name, final.name, part_fd, final_fd)
            return Arrived(self.replica_id, found.st_ino, found.st_mtime_ns)

    def abandon(self) -> None:
        """From any thread: once this returns, the writer writes and names nothing more."""
        with self._mutex:
            self._abandoned = True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._mutex:
            if self._abandoned:
                raise Abandoned
            try:
                yield
            except OSError as e:
                raise translated(e, self.home) from e


def published(home: Path, replica_id: int, key: str, sha256: bytes) -> Arrived | None:
    """A file that stands under the final name already: a daemon was killed before its confirm. What is not whole goes to orphans/: nobody
    wrote it here that we know of."""
    if not os.path.lexists(home / key):
        return None
    found = hashed(home, key)
    if found is not None and found.sha256 == sha256:
        sync_path((home / key).parent)
        return Arrived(replica_id, found.inode, found.mtime_ns)
    try:
        os.rename(home / key, home / ORPHANS / os.path.basename(key))
        sync_path(home / ORPHANS)
        sync_path((home / key).parent)
    except OSError as e:
        raise translated(e, home) from e
    return None


def settle(home: Path, replica_id: int, key: str, inode: int, *, keep: bool) -> None:
    """After the commit: the temporary name goes. Without `keep` (the row was not confirmed) the final one goes first, if it is this
    file's. What stays because of an error, `recover` settles."""
    path = path_of(home, replica_id, key)
    with contextlib.suppress(OSError):
        if not keep and os.lstat(home / key).st_ino == inode:
            os.unlink(home / key)
    with contextlib.suppress(OSError):
        os.unlink(path)


def recover(home: Path, rows: Callable[[Iterable[int]], Mapping[int, tuple[str, str]]]) -> int:
    """What killed daemons have left: parts of fetches that are still wanted stay and are continued; all others go, and so does a final
    name that such a one had got and no row knows. `rows`: of these replica ids the (state, key) of those that there are. Returns how
    many went. Costs what is left over, not the catalog."""
    left = _leftovers(home)
    known = rows(replica_id for _, replica_id, _ in left)
    gone = 0
    for name, replica_id, key in left:
        state, row_key = known.get(replica_id, ("", ""))
        if row_key == key and state in ("wanted", "copying"):
            continue
        part = home / FETCHING / name
        with contextlib.suppress(OSError):
            known_name = row_key == key and state in ("present", "damaged")
            if not known_name and os.path.lexists(home / key) and os.path.samestat(os.lstat(part), os.lstat(home / key)):
                os.unlink(home / key)
            os.unlink(part)
            gone += 1
    return gone


def _leftovers(home: Path) -> list[tuple[str, int, str]]:
    """(file name, replica id, key) of each part."""
    (home / FETCHING).mkdir(mode=0o700, exist_ok=True)
    found = []
    for name in os.listdir(home / FETCHING):
        number, _, rest = name.removesuffix(_ENDING).partition("-")
        shard, _, last = rest.partition("-")
        if name.endswith(_ENDING) and number.isdecimal() and len(number) < 19 and shard and last:
            found.append((name, int(number), f"{OBJECTS}/{shard}/{last}"))
    return found


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    fd = os.open(path, durable.FOLDER_FLAGS)
    try:
        yield fd
    finally:
        os.close(fd)


def translated(e: OSError, home: Path) -> Error:
    """An error of the local disk while something is fetched."""
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return full(home)
    return Error(f"Writing to {home} failed: {os.strerror(e.errno or 0)}.", hint="Check the disk, and fetch it again.")


def full(home: Path) -> Full:
    return Full(f"No space left for it on the disk that holds {home}.", hint="Free some space, and fetch it again.")
