"""What a put is given, made ready to be read: a path, bytes, or a binary file object, with its name and times."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from lading_catalog.errors import ConfigError, Error, NotFound
from lading_catalog.keys import split_ext
from lading_catalog.names import name_value, printable
from lading_catalog.staging import ReadFailed, Session, SourceChanged, Staged

Source = str | bytes | os.PathLike[str] | os.PathLike[bytes] | BinaryIO | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Intake:
    """One source. `path` is None for bytes and file objects. `name`: what the catalog stores."""

    source: Source
    path: str | bytes | None
    name: str | bytes

    @property
    def ext(self) -> str:
        return split_ext(self.name)[1]


@dataclass(slots=True)
class Taken:
    """A source whose bytes are on this disk. `identity`: of the file at `path` when it was read; None for other sources."""

    intake: Intake
    staged: Staged
    modified_at_ms: int | None
    identity: tuple[int, int, int, int] | None


def intake(source: Source, name: str | bytes | os.PathLike[str] | None = None) -> Intake:
    """Raises ConfigError for bytes or a nameless file object without `name`, and for a name that cannot be kept."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        return Intake(source, path, name_value(os.path.basename(os.fsencode(path).rstrip(b"/")) if name is None else name))
    if name is None:
        own = getattr(source, "name", None)
        if not isinstance(own, (str, bytes)):
            raise ConfigError("Bytes need a name.", hint="cat.put(data, name='photo.png')")
        name = os.path.basename(own)
    return Intake(source, None, name_value(name))


def take(session: Session, what: Intake) -> Taken:
    """Bring the bytes of a source to this disk, synced. Raises NotFound, SourceChanged (it was written to), Full, Error."""
    if what.path is None:
        source = what.source
        assert not isinstance(source, (str, os.PathLike))
        data = bytes(source) if isinstance(source, (bytearray, memoryview)) else source
        try:
            return Taken(what, session.stage(data, what.ext), None, None)
        except ReadFailed as e:
            raise _unreadable(e, printable(what.name)) from e
    with _opened(what.path) as (file, before):
        staged = session.stage(file, what.ext, clone_fd=file.fileno(), size_hint=before.st_size)
        after = os.fstat(file.fileno())
    if identity(before) != identity(after) or staged.size_bytes != after.st_size:
        session.settle([staged], keep=False)
        raise SourceChanged(
            f"{_shown(what.path)} was written to while it was read.",
            hint="Put it again when it is finished.",
            path=_shown(what.path),
        )
    return Taken(what, staged, before.st_mtime_ns // 1_000_000, identity(before))


def identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def remove_source(taken: Taken) -> bool:
    """After the commit of a move: unlink the source, if it is still the file that was read. Returns whether it was."""
    path = taken.intake.path
    if path is None:
        return False
    try:
        if identity(os.stat(path)) != taken.identity:
            return False
        os.unlink(path)
        folder = os.open(
            os.path.dirname(path) or ("." if isinstance(path, str) else b"."), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        )
    except OSError:
        return False
    try:
        os.fsync(folder)
    except OSError:
        pass  # the source may be back after a power cut; nothing is lost by that
    finally:
        os.close(folder)
    return True


@contextmanager
def _opened(path: str | bytes) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    shown = _shown(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # NONBLOCK: opening a FIFO must not wait for a writer
    except (FileNotFoundError, NotADirectoryError) as e:
        raise NotFound(f"There is no file {shown}.", path=shown) from e
    except ValueError as e:
        raise ConfigError(f"{shown} is no path: {e}.", path=shown) from e
    except OSError as e:
        raise _unreadable(e, shown) from e
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
            raise ConfigError(f"{shown} is {kind}.", hint="The command takes folders: lading put FOLDER", path=shown)
        with os.fdopen(fd, "rb", buffering=0, closefd=False) as file:
            yield file, found
    except OSError as e:
        raise _unreadable(e, shown) from e
    finally:
        os.close(fd)


def _unreadable(e: OSError, shown: str) -> Error:
    if e.errno in (errno.EACCES, errno.EPERM):
        return Error(f"No permission to read {shown}.", path=shown)
    return Error(f"Reading {shown} failed: {os.strerror(e.errno or 0)}.", path=shown)


def _shown(path: str | bytes) -> str:
    return os.fsdecode(path)
