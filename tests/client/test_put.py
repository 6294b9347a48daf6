"""What a put takes, what it keeps of it, and what it refuses."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lading
from lading_catalog import durable, staging
from put_kit import JPEG, catalog, commits, copies, names, nothing_left, objects, staged, whole

MIB = 1 << 20
LARGE = (2 << 30) + 1 if os.environ.get("LONG_RUN") else (64 << 20) + 1


@pytest.fixture
def cat(tmp_path: Path) -> Iterator[lading.Catalog]:
    with catalog(tmp_path / "home") as made:
        yield made


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "IMG_1.jpg"
    path.write_bytes(JPEG + bytes(3000))
    return path


# -- sources -----------------------------------------------------------------------------------------------------------------------


class BytesPath:
    def __init__(self, path: Path) -> None:
        self._path = os.fsencode(path)

    def __fspath__(self) -> bytes:
        return self._path


@pytest.mark.parametrize("kind", ["path", "text", "bytes path", "file", "raw file"])
def test_a_file_may_be_given_in_many_ways(cat: lading.Catalog, photo: Path, kind: str) -> None:
    source: Any = {"path": photo, "text": str(photo), "bytes path": BytesPath(photo)}.get(kind)
    if source is None:
        source = photo.open("rb", buffering=0 if kind == "raw file" else -1)
    medium = cat.put(source)
    whole(medium, photo.read_bytes())
    assert (medium.name, medium.mime, medium.state, medium.cached) == ("IMG_1.jpg", "image/jpeg", "local_only", True)
    assert medium.sha256 == hashlib.sha256(photo.read_bytes()).hexdigest()


@pytest.mark.parametrize("data", [JPEG, bytearray(JPEG), memoryview(JPEG), io.BytesIO(JPEG)], ids=lambda d: type(d).__name__)
def test_bytes_need_a_name(cat: lading.Catalog, data: Any) -> None:
    with pytest.raises(lading.ConfigError, match="need a name"):
        cat.put(data)
    nothing_left(cat)
    whole(cat.put(data, name="a.jpg"), JPEG)


def test_times_and_the_original_name_are_kept(cat: lading.Catalog, photo: Path) -> None:
    os.utime(photo, ns=(0, 1_234_567_890_123_456_789))
    shape = cat.put(photo).shape
    assert (shape["name"], shape["modified_at"]) == ("IMG_1.jpg", "2009-02-13T23:31:30.123Z")
    renamed = cat.put(photo, name="summer/Ä.JPG")
    assert (renamed.name, renamed.mime, renamed.table, renamed.column) == ("summer/Ä.JPG", "image/jpeg", "default", "file")


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1])
def test_invariant_8_sizes(cat: lading.Catalog, tmp_path: Path, size: int) -> None:
    data = (os.urandom(1021) * (size // 1021 + 1))[:size]
    path = tmp_path / "source"
    path.write_bytes(data)
    whole(cat.put(path), data)
    whole(cat.put(data, name="memory"), data)
    assert len(objects(cat.home)) == 1


def test_invariant_8_a_large_file(cat: lading.Catalog, tmp_path: Path) -> None:
    """64 MiB and a byte; above 2 GiB with LONG_RUN=1."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(LARGE - 1)
        file.seek(0, os.SEEK_END)
        file.write(b"x")
    medium = cat.put(path)
    assert medium.size_bytes == LARGE
    with medium.local() as copy:
        digests = {hashlib.file_digest(file, "sha256").hexdigest() for file in (copy.open("rb"), path.open("rb"))}
    assert digests == {medium.sha256}


@pytest.mark.parametrize("kind", ["missing", "below a file", "folder", "fifo", "socket-like device"])
def test_what_is_no_file_is_refused(cat: lading.Catalog, tmp_path: Path, photo: Path, kind: str) -> None:
    path = {"missing": tmp_path / "none", "below a file": photo / "x", "folder": tmp_path / "d", "fifo": tmp_path / "f"}.get(
        kind, Path(os.devnull)
    )
    if kind == "folder":
        path.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    expected = lading.NotFound if kind in ("missing", "below a file") else lading.ConfigError
    for move in (False, True):
        with pytest.raises(expected) as raised:
            cat.put(path, move=move)
        assert path.name in str(raised.value)
    assert path.exists() == (kind not in ("missing", "below a file"))
    nothing_left(cat)


def test_a_file_that_may_not_be_read_is_refused(cat: lading.Catalog, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo.chmod(0)
    if os.access(photo, os.R_OK):  # root reads everything

        def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
            if path == photo or path == str(photo):
                raise PermissionError(errno.EACCES, "Permission denied")
            return real(path, *args, **kwargs)

        real = os.open
        monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(lading.Error, match=r"No permission to read .*IMG_1\.jpg"):
        cat.put(photo)
    nothing_left(cat)


def test_a_source_that_cannot_be_read_is_named_as_the_culprit(cat: lading.Catalog) -> None:
    with pytest.raises(lading.Error, match=r"Reading /proc/self/mem failed"):
        cat.put("/proc/self/mem")  # a regular file whose first byte answers EIO

    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any, /) -> int:
            raise OSError(errno.EIO, "broken")

    with pytest.raises(lading.Error, match=r"Reading b\.bin failed"):
        cat.put(io.BufferedReader(Broken()), name="b.bin")
    nothing_left(cat)


def test_a_file_object_that_has_nothing_yet_is_not_at_its_end(cat: lading.Catalog) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"the first half")
    os.set_blocking(reading, False)
    with open(reading, "rb", buffering=0) as file, pytest.raises(lading.Error, match="unavailable"):
        cat.put(file, name="half")
    os.close(writing)
    nothing_left(cat)


def test_a_text_file_is_a_mistake_that_leaves_nothing(cat: lading.Catalog) -> None:
    text: Any = io.StringIO("text")
    with pytest.raises(TypeError):
        cat.put(text, name="a.txt")
    nothing_left(cat)


# -- changed while it is read -----------------------------------------------------------------------------------------------------


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")


def _shrink(path: Path) -> None:
    os.truncate(path, 2 * MIB + 5)


def _to_nothing(path: Path) -> None:
    os.truncate(path, 0)


@pytest.fixture
def while_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Do something after the first MiB of a source was written."""

    def hook(act: Callable[[], None]) -> None:
        acts = [act]

        def write_all(fd: int, data: bytes) -> None:
            real(fd, data)
            if acts:
                acts.pop()()

        real = durable.write_all
        monkeypatch.setattr(durable, "write_all", write_all)

    return hook


@pytest.mark.parametrize("change", [_append, _overwrite, _shrink, _to_nothing])
@pytest.mark.parametrize("move", [False, True])
def test_a_source_that_is_written_to_is_an_error(
    cat: lading.Catalog, photo: Path, while_read: Callable[[Callable[[], None]], None], change: Callable[[Path], None], move: bool
) -> None:
    photo.write_bytes(os.urandom(4 * MIB))
    os.utime(photo, ns=(0, 0))
    while_read(lambda: change(photo))
    with pytest.raises(lading.Error, match="was written to while it was read") as raised:
        cat.put(photo, move=move)
    assert raised.value.reason == "source_changed"
    assert photo.exists()
    nothing_left(cat)


def test_a_source_that_is_replaced_is_put_as_it_was_opened(
    cat: lading.Catalog, photo: Path, while_read: Callable[[Callable[[], None]], None]
) -> None:
    data = os.urandom(3 * MIB)
    photo.write_bytes(data)
    new = photo.with_name("new")
    new.write_bytes(b"another file")
    while_read(lambda: os.replace(new, photo))
    medium = cat.put(photo, move=True)
    whole(medium, data)
    assert photo.read_bytes() == b"another file", "the other file was unlinked"


# -- move --------------------------------------------------------------------------------------------------------------------------


def test_a_move_unlinks_the_source(cat: lading.Catalog, photo: Path) -> None:
    data = photo.read_bytes()
    whole(cat.put(photo, move=True), data)
    assert not photo.exists()


@pytest.mark.parametrize("change", [_append, _overwrite, lambda path: path.unlink()])
def test_a_source_that_changed_before_the_commit_is_left_alone(
    cat: lading.Catalog, photo: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    data = photo.read_bytes()
    os.utime(photo, ns=(0, 0))
    real = staging.Session.publish

    def publish(self: staging.Session, items: Any) -> None:
        real(self, items)
        change(photo)

    monkeypatch.setattr(staging.Session, "publish", publish)
    with cat.batch() as batch:
        batch.put(photo, move=True)
    whole(batch.media[0], data)
    assert [what.path for what in batch.unmoved] == [str(photo)]
    assert not photo.exists() or photo.read_bytes() != data


def test_a_move_that_fails_keeps_its_source(cat: lading.Catalog, photo: Path) -> None:
    with pytest.raises(lading.ConfigError):
        cat.put(photo, move=True, destination="nonsense://x/")
    assert photo.exists()
    nothing_left(cat)


def test_a_move_out_of_the_home_does_not_unlink_the_only_copy(cat: lading.Catalog, photo: Path) -> None:
    medium = cat.put(photo)
    (own,) = objects(cat.home)
    again = cat.put(own, move=True)
    whole(medium, photo.read_bytes())
    whole(again, photo.read_bytes())


def test_a_move_through_a_symlink_takes_only_the_link(cat: lading.Catalog, photo: Path) -> None:
    link = photo.with_name("link.jpg")
    link.symlink_to(photo)
    medium = cat.put(link, move=True)
    whole(medium, photo.read_bytes())
    assert not link.is_symlink()


# -- clones ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", staging.NO_CLONE)
def test_where_a_clone_is_not_possible_bytes_are_copied(
    cat: lading.Catalog, photo: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*args: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    whole(cat.put(photo), photo.read_bytes())


def test_a_clone_that_finds_no_room_is_a_full_disk(cat: lading.Catalog, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    with pytest.raises(lading.Full):
        cat.put(photo)
    nothing_left(cat)


def test_what_was_cloned_is_hashed_where_it_lies(cat: lading.Catalog, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def clone(fd: int, request: int, from_fd: int) -> int:
        os.write(fd, os.pread(from_fd, 1 << 20, 0))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    medium = cat.put(photo)
    whole(medium, photo.read_bytes())
    assert medium.sha256 == hashlib.sha256(photo.read_bytes()).hexdigest()


# -- equal bytes -------------------------------------------------------------------------------------------------------------------


def test_equal_bytes_are_stored_once(cat: lading.Catalog, photo: Path) -> None:
    one, two = cat.put(photo), cat.put(photo.read_bytes(), name="other.jpg")
    assert one.id != two.id
    assert one.sha256 == two.sha256
    assert len(objects(cat.home)) == len(copies(cat)) == 1
    assert names(cat) == ["IMG_1.jpg", "other.jpg"]
    whole(one, photo.read_bytes())
    whole(two, photo.read_bytes())
    assert staged(cat.home) == []


def test_equal_bytes_in_one_batch_are_stored_once(cat: lading.Catalog) -> None:
    media = cat.put_many([(JPEG, f"{number}.jpg") for number in range(20)])
    assert len({medium.id for medium in media}) == 20
    assert len(objects(cat.home)) == 1
    assert staged(cat.home) == []


@pytest.mark.parametrize("damage", ["removed", "changed", "touched", "replaced", "a folder"])
@pytest.mark.parametrize("when", ["before", "between"])
def test_invariant_1_a_copy_that_is_not_what_it_was_is_not_relied_on(
    cat: lading.Catalog, photo: Path, monkeypatch: pytest.MonkeyPatch, damage: str, when: str
) -> None:
    """Before the put, and between its look and its commit: a new copy is published, and the old one is set aside."""
    first = cat.put(photo)
    (old,) = objects(cat.home)

    def spoil() -> None:
        if damage in ("removed", "replaced", "a folder"):
            old.unlink()
        if damage == "changed":
            old.write_bytes(b"?" * photo.stat().st_size)
        if damage == "touched":
            os.utime(old)
        if damage == "replaced":
            old.write_bytes(photo.read_bytes())
        if damage == "a folder":
            old.mkdir()

    if when == "before":
        spoil()
    else:
        real = staging.Session.publish

        def publish(self: staging.Session, items: Any) -> None:
            monkeypatch.setattr(staging.Session, "publish", real)
            real(self, items)
            spoil()

        monkeypatch.setattr(staging.Session, "publish", publish)
    second = cat.put(photo, name="second.jpg")
    whole(first, photo.read_bytes())
    whole(second, photo.read_bytes())
    assert [state for state, _ in copies(cat)] == ["damaged", "present"]
    assert old.exists() == (damage != "removed"), "what was set aside is kept"
    assert staged(cat.home) == []


# -- many --------------------------------------------------------------------------------------------------------------------------


def test_put_many_and_a_batch_are_one_transaction(cat: lading.Catalog, tmp_path: Path) -> None:
    cat.put(b"0", name="0")
    before = commits(cat.home)
    paths = [tmp_path / f"{number}.txt" for number in range(30)]
    for path in paths:
        path.write_text(path.name)
    many = cat.put_many([*paths, (b"bytes", "b"), (paths[0], "twin")])
    assert commits(cat.home) == before + 1
    assert [m.name for m in many] == [*(p.name for p in paths), "b", "twin"]
    with cat.batch() as batch:
        batch.put(b"1", name="1")
        batch.put_many([(b"2", "2"), (b"3", "3")])
        assert commits(cat.home) == before + 1
        assert names(cat)[-1] == "twin", "a batch shows nothing before its end"
    assert commits(cat.home) == before + 2
    assert [m.name for m in batch.media] == ["1", "2", "3"]
    cat.put_many([])
    assert commits(cat.home) == before + 2


def test_of_many_one_fails_and_none_is_put(cat: lading.Catalog, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(b"good")
    with pytest.raises(lading.NotFound):
        cat.put_many([good, tmp_path / "missing", (b"bytes", "b")], move=True)
    assert good.exists()
    nothing_left(cat)


def test_an_error_in_a_batch_takes_all_of_it_back(cat: lading.Catalog, photo: Path) -> None:
    def work() -> None:
        with cat.batch() as batch:
            batch.put(photo, move=True)
            batch.put(b"x", name="x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert photo.exists()
    nothing_left(cat)
    whole(cat.put(photo), photo.read_bytes())


def test_an_error_at_the_end_of_a_batch_takes_all_of_it_back(cat: lading.Catalog, photo: Path) -> None:
    def work() -> None:
        with cat.batch() as batch:
            batch.put(b"y", name="y")
            batch.put(photo, destination="nonsense://x/", move=True)

    with pytest.raises(lading.ConfigError):
        work()
    assert photo.exists()
    nothing_left(cat)


def test_invariant_3_the_log_cannot_be_written(cat: lading.Catalog, monkeypatch: pytest.MonkeyPatch, photo: Path) -> None:
    """Another process holds the catalog for longer than a writer waits."""
    with catalog(cat.home) as other:
        cat._conn._patience.limit_s = 0.05
        with other._conn.writing():
            with pytest.raises(lading.CatalogError, match="locked by another process") as raised:
                cat.put(photo)
            assert raised.value.hint
    nothing_left(cat)
    whole(cat.put(photo), photo.read_bytes())


# -- threads, forks ----------------------------------------------------------------------------------------------------------------


def test_threads_put_side_by_side(cat: lading.Catalog) -> None:
    def work(number: int) -> None:
        for n in range(10):
            cat.put(f"{number}-{n}".encode(), name=f"{number}-{n}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for medium in cat.media():
        whole(medium, medium.name.encode())
    assert len(names(cat)) == len(objects(cat.home)) == 80


def test_a_catalog_that_crossed_a_fork_refuses_to_put(cat: lading.Catalog) -> None:
    cat.put(b"before", name="before")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            cat.put(b"child", name="child")
        except lading.CatalogError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    cat.put(b"after", name="after")
    assert names(cat) == ["before", "after"]
    assert len(objects(cat.home)) == 2
    assert staged(cat.home) == []


def test_folders_and_files_are_for_their_owner_only(cat: lading.Catalog, photo: Path) -> None:
    photo.chmod(0o666)
    os.umask(old := os.umask(0))
    os.umask(0)
    try:
        cat.put(photo)
    finally:
        os.umask(old)
    for path in [cat.home, *cat.home.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
