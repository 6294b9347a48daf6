"""The provider for `file:///path/`: a directory on a NAS or a second disk. What an errno means: errnos.py.

An object is a file under its key. It is written under a temporary name in `<root>/.lading/tmp/`, synced, published with
a hard link that never overwrites, and read back from the medium: so a name is either whole or, if a disk rots, Damaged;
never half. All paths are walked by directory descriptors from the root, no symlink inside it is followed, and the root
itself is never made: an unmounted disk must look unmounted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence

from lading_catalog.durable import FOLDER_FLAGS, open_folder, publish, sync_file, write_all
from lading_catalog.errors import Damaged, Error, Missing, Refused, Unavailable
from ladingd.stores.base import Entry, Probe, Proof, Stat, Upload
from ladingd.stores.directory_files import delete_file, drop_pages, regular_file, sync_existing, unlink_quietly, walk
from ladingd.stores.directory_own import read_small, replace_small
from ladingd.stores.directory_tmp import TMP_FOLDER, new_name, sweep
from ladingd.stores.errnos import translate
from ladingd.stores.keys import check_key
from ladingd.stores.marker import NAME as MARKER_NAME
from ladingd.stores.marker import OWN_FOLDER, check_marker, make_marker
from ladingd.stores.source import CHUNK_BYTES, open_source


class DirectoryStore:
    """A directory as a store. `marker`: the id that `probe` once reported; with it every operation first checks that
    the disk is the one that was meant. Safe for threads: it holds no state but these.
    """

    def __init__(self, uri: str, root: str, *, marker: str | None = None) -> None:
        self.uri = uri
        self.marker = marker
        self._root = os.path.realpath(root)
        self.clock_offset_s: float | None = None  # of the machine that keeps the files' times, as of the last `write`

    @contextlib.contextmanager
    def _opened(self, what: str, *, missing: bool = False) -> Iterator[int]:
        """The root's descriptor, with the marker checked on it: what follows cannot land on another file system.
        Translates what the operation raises.
        """
        try:
            root_fd = os.open(self._root, FOLDER_FLAGS)
        except OSError as e:
            if isinstance(e, (FileNotFoundError, NotADirectoryError)):
                raise Unavailable(
                    f"{self.uri}: the folder is not there", hint="mount the disk, or make the directory", uri=self.uri
                ) from e
            raise translate(e, f"{self.uri}: open") from e
        try:
            if self.marker is not None:
                check_marker(root_fd, self.marker, self.uri)
            yield root_fd
        except FileNotFoundError as e:
            if missing:
                raise translate(e, f"{self.uri}: {what}") from e
            raise Unavailable(f"{self.uri}: {what}: a folder went away meanwhile", uri=self.uri) from e
        except OSError as e:
            raise translate(e, f"{self.uri}: {what}") from e
        finally:
            os.close(root_fd)

    def _segments(self, key: str) -> list[str]:
        segments = check_key(key)
        if segments[0] == OWN_FOLDER and (len(segments) == 1 or segments[1] in ("tmp", MARKER_NAME)):
            raise Refused(f"{key!r} is a name of the store itself")
        return segments

    def put(self, key: str, upload: Upload) -> Proof:
        *folders, name = self._segments(key)
        with self._opened(f"put {key}") as root_fd, contextlib.ExitStack() as stack:
            source = stack.enter_context(open_source(upload))
            tmp_fd = open_folder(root_fd, TMP_FOLDER, create=True)
            stack.callback(os.close, tmp_fd)
            tmp_name = new_name()
            stack.callback(unlink_quietly, tmp_name, tmp_fd)
            fd = os.open(tmp_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=tmp_fd)
            try:
                for chunk in source.chunks():
                    write_all(fd, chunk)
                sync_file(fd)
            finally:
                os.close(fd)
            folder_fd = open_folder(root_fd, folders, create=True)
            stack.callback(os.close, folder_fd)
            try:
                publish(tmp_name, name, tmp_fd, folder_fd)
            except FileExistsError:  # an earlier attempt whose answer was lost; or something else, which stays as it is
                sync_existing(name, folder_fd)
            return self._read_back(key, name, folder_fd, upload)

    def _read_back(self, key: str, name: str, folder_fd: int, upload: Upload) -> Proof:
        with regular_file(name, folder_fd, key) as fd:
            drop_pages(fd)
            digest, size_bytes = hashlib.sha256(), 0
            while chunk := os.read(fd, CHUNK_BYTES):
                digest.update(chunk)
                size_bytes += len(chunk)
        if digest.digest() != upload.sha256 or size_bytes != upload.size_bytes:
            raise Damaged(f"{self.uri}: {key!r} holds other bytes than were sent", key=key)
        return Proof(by="read", algorithm="sha256", value=digest.hexdigest(), size_bytes=size_bytes)

    @contextlib.contextmanager
    def _object(self, root_fd: int, key: str) -> Iterator[int]:
        *folders, name = self._segments(key)
        try:
            folder_fd = open_folder(root_fd, folders)
        except NotADirectoryError as e:
            raise Missing(f"{self.uri} has no {key!r}", key=key) from e
        try:
            with regular_file(name, folder_fd, key) as fd:
                yield fd
        finally:
            os.close(folder_fd)

    def get(self, key: str, offset: int = 0) -> Iterator[bytes]:
        with self._opened(f"get {key}", missing=True) as root_fd, self._object(root_fd, key) as fd:
            position, size_bytes = offset, os.fstat(fd).st_size
            while position < size_bytes:
                chunk = os.pread(fd, min(CHUNK_BYTES, size_bytes - position), position)
                if not chunk:
                    raise Unavailable(f"{self.uri}: {key!r} ended early", key=key)
                position += len(chunk)
                yield chunk

    def stat(self, key: str) -> Stat:
        with self._opened(f"stat {key}", missing=True) as root_fd, self._object(root_fd, key) as fd:
            return Stat(size_bytes=os.fstat(fd).st_size)

    def uncache(self, key: str) -> None:
        with self._opened(f"look at {key}", missing=True) as root_fd, self._object(root_fd, key) as fd:
            drop_pages(fd)

    def read(self, key: str) -> bytes | None:
        if self.marker is None:
            raise Unavailable(f"{self.uri}: nobody has looked yet which disk this is", uri=self.uri)
        try:
            with self._opened(f"read {key}", missing=True) as root_fd, self._object(root_fd, key) as fd:
                return read_small(fd, f"{self.uri}{key}")
        except Missing as e:
            if isinstance(e.__cause__, FileNotFoundError):
                return None
            raise Unavailable(f"{self.uri}{key}: something else stands where its folder should be", key=key) from e

    def write(self, key: str, data: bytes) -> None:
        *folders, name = self._segments(key)
        with self._opened(f"write {key}") as root_fd, contextlib.ExitStack() as stack:
            tmp_fd = open_folder(root_fd, TMP_FOLDER, create=True)
            stack.callback(os.close, tmp_fd)
            folder_fd = open_folder(root_fd, folders, create=True)
            stack.callback(os.close, folder_fd)
            tmp_name = new_name()
            stack.callback(unlink_quietly, tmp_name, tmp_fd)
            self.clock_offset_s = replace_small(tmp_name, name, tmp_fd, folder_fd, data)

    def delete(self, keys: Sequence[str], *, versions: bool = False) -> dict[str, Error]:
        failed: dict[str, Error] = {}
        for key in keys:
            try:
                *folders, name = self._segments(key)
                with self._opened(f"delete {key}") as root_fd:
                    delete_file(root_fd, folders, name)
            except Error as e:
                failed[key] = e
        return failed

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        with self._opened(f"list {prefix}") as root_fd:
            yield from walk(root_fd, "", prefix)

    def presign(self, key: str, expires_s: int) -> str:
        raise Refused(f"{self.uri} is a directory: it has no URLs", hint="use `lading get` for a local copy", key=key)

    def probe(self) -> Probe:
        """Facts besides those of every provider: `marker`, the id to construct the store with from now on."""
        with self._opened("probe") as root_fd:
            marker = make_marker(root_fd)
            sweep(root_fd)
        self.marker = marker
        key, data = f"{OWN_FOLDER}/probe/{secrets.token_hex(8)}", secrets.token_bytes(1024)
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            upload = Upload(file.name, hashlib.sha256(data).digest(), len(data), "application/octet-stream", "probe")
            start = time.monotonic()
            try:
                self.put(key, upload)
                round_trip_s = time.monotonic() - start
                whole = b"".join(self.get(key)) == data and self.stat(key).size_bytes == len(data)
                listed = Entry(key, len(data)) in self.entries(key)
            finally:
                failed = self.delete([key])
        for error in failed.values():
            raise error
        if not whole or not listed or any(self.entries(key)):
            raise Damaged(f"{self.uri}: it did not keep, list and delete what was written to it", uri=self.uri)
        facts = {"proof": "read", "algorithm": "sha256", "marker": marker}
        return Probe({**facts, "round_trip_s": round_trip_s, "clock_offset_s": None, "versioned": False})

    def close(self) -> None:
        pass
