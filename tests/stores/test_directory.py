"""What only a directory can get wrong: mounts, links, leftovers, a full disk."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lading_catalog.errors import Damaged, Error, Full, Missing, Refused, Unavailable
from ladingd.stores.base import Upload
from ladingd.stores.directory import DirectoryStore
from ladingd.stores.directory_tmp import new_name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.mkdir()
    return path


def _store(root: Path, marker: str | None = None) -> DirectoryStore:
    return DirectoryStore(f"file://{root}/", str(root), marker=marker)


def _operations(store: DirectoryStore, upload: Upload) -> list[Callable[[], Any]]:
    return [
        lambda: store.put("k", upload),
        lambda: next(store.get("k")),
        lambda: store.stat("k"),
        lambda: list(store.entries()),
        lambda: _raise(store.delete(["k"])),
        store.probe,
    ]


def _raise(failed: dict[str, Error]) -> None:
    for error in failed.values():
        raise error


def test_the_root_is_never_made(root: Path, make_upload: Callable[..., Upload]) -> None:
    root.rmdir()
    for act in _operations(_store(root), make_upload(b"x")):
        with pytest.raises(Unavailable):
            act()
    assert not root.exists()


def test_an_empty_mount_point_is_not_the_disk(root: Path, make_upload: Callable[..., Upload]) -> None:
    marker = _store(root).probe().facts["marker"]
    root.rename(root.with_name("unmounted"))
    root.mkdir()
    for act in _operations(_store(root, marker), make_upload(b"x")):
        with pytest.raises(Unavailable, match="not mounted, its marker is missing"):
            act()
    assert list(root.iterdir()) == []


def test_another_disk_is_not_the_disk(root: Path, make_upload: Callable[..., Upload]) -> None:
    _store(root).probe()
    for act in _operations(_store(root, "0" * 32), make_upload(b"x")):
        with pytest.raises(Unavailable, match="another disk"):
            act()


def test_the_marker_stays(root: Path) -> None:
    first = _store(root).probe().facts["marker"]
    assert _store(root).probe().facts["marker"] == first
    assert (root / ".lading/marker").read_text().strip() == first
    assert list(_store(root).entries()) == []


@pytest.mark.parametrize("key", [".lading", ".lading/marker", ".lading/tmp/x", ".lading/marker/x"])
def test_names_of_the_store_itself(root: Path, make_upload: Callable[..., Upload], key: str) -> None:
    store = _store(root)
    marker = store.probe().facts["marker"]
    with pytest.raises(Refused):
        store.put(key, make_upload(b"x"))
    assert isinstance(store.delete([key])[key], Refused)
    assert (root / ".lading/marker").read_text().strip() == marker


def test_other_bytes_under_the_name_are_kept(root: Path, make_upload: Callable[..., Upload]) -> None:
    (root / "k").write_bytes(b"other")
    with pytest.raises(Damaged) as caught:
        _store(root).put("k", make_upload(b"bytes"))
    assert caught.value.reason == "damaged"
    assert (root / "k").read_bytes() == b"other"
    assert list((root / ".lading/tmp").iterdir()) == []


@pytest.mark.parametrize("link", ["folder", "object"])
def test_symlinks_inside_are_not_followed(root: Path, tmp_path: Path, make_upload: Callable[..., Upload], link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "k").write_bytes(b"secret")
    (root / "t").symlink_to(outside) if link == "folder" else (root / "t").mkdir()
    if link == "object":
        (root / "t/k").symlink_to(outside / "k")
    store = _store(root)
    with pytest.raises((Refused, Missing)):
        next(store.get("t/k"))
    with pytest.raises((Refused, Missing)):
        store.stat("t/k")
    with pytest.raises(Refused):
        store.put("t/k", make_upload(b"x"))
    store.delete(["t/k"])
    assert list(store.entries()) == []
    assert (outside / "k").read_bytes() == b"secret"


def test_a_root_that_is_a_symlink_is_resolved_once(root: Path, tmp_path: Path, make_upload: Callable[..., Upload]) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(root)
    store = _store(alias)
    alias.unlink()
    store.put("k", make_upload(b"x"))
    assert (root / "k").exists()


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
@pytest.mark.parametrize("renameat2", [True, False])
def test_without_hard_links(
    root: Path, make_upload: Callable[..., Upload], monkeypatch: pytest.MonkeyPatch, code: int, renameat2: bool
) -> None:
    def no_link(*args: Any, **kwargs: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", no_link)
        if not renameat2:
            patch.setattr(ctypes, "CDLL", lambda *args, **kwargs: object())
        store = _store(root)
        store.put("k", make_upload(b"right"))
        assert store.put("k", make_upload(b"right")).by == "read"
        with pytest.raises(Damaged):
            store.put("k", make_upload(b"wrong"))
    assert (root / "k").read_bytes() == b"right"
    assert list((root / ".lading/tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (errno.ENOSPC, Full),
        (errno.EDQUOT, Full),
        (errno.EIO, Unavailable),
        (errno.ESTALE, Unavailable),
        (errno.EROFS, Refused),
        (errno.EACCES, Refused),
        (errno.ENOTCONN, Unavailable),
        (errno.EOWNERDEAD, Unavailable),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_failing_disk(
    root: Path,
    make_upload: Callable[..., Upload],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    cls: type[Error],
) -> None:
    def fail(*args: Any) -> None:
        raise OSError(code, os.strerror(code))

    upload = make_upload(b"x")
    store = _store(root)
    store.probe()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(cls):
            store.put("t/k", upload)
    assert list(store.entries()) == []
    assert list((root / ".lading/tmp").iterdir()) == []


def test_what_was_written_wrong_is_noticed(
    root: Path, make_upload: Callable[..., Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: real(fd, bytes(len(data))))
        with pytest.raises(Damaged):
            _store(root).put("k", make_upload(b"x"))


def test_order_of_syncs(root: Path, make_upload: Callable[..., Upload], monkeypatch: pytest.MonkeyPatch) -> None:
    """The file before its name, each new folder's parent, and the folder after the name."""
    events: list[str] = []
    store = _store(root)
    store.probe()
    fsync, link = os.fsync, os.link

    def note_fsync(fd: int) -> None:
        events.append("sync " + os.readlink(f"/proc/self/fd/{fd}").removeprefix(str(root)))
        fsync(fd)

    def note_link(*args: Any, **kwargs: Any) -> None:
        events.append("link")
        link(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", note_fsync)
        patch.setattr(os, "link", note_link)
        store.put("t/c/k", make_upload(b"x"))
    assert events[0].startswith("sync /.lading/tmp/")
    assert events[1:] == ["sync ", "sync /t", "link", "sync /t/c"]


def test_probe_sweeps_only_what_is_ours_dead_and_old(root: Path) -> None:
    store = _store(root)
    store.probe()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder = root / ".lading/tmp"
    folder.mkdir(exist_ok=True)
    mine = new_name()
    machine = mine.split("-")[0]
    names = {
        "old": f"{machine}-{dead.pid}-{secrets.token_hex(8)}",
        "young": f"{machine}-{dead.pid}-{secrets.token_hex(8)}",
        "alive": mine,
        "another machine's": f"{'0' * 12}-{dead.pid}-{secrets.token_hex(8)}",
        "foreign": "notes.txt",
    }
    for what, name in names.items():
        (folder / name).write_bytes(b"")
        if what != "young":
            os.utime(folder / name, (time.time() - 100_000,) * 2)
    store.probe()
    assert {path.name for path in folder.iterdir()} == set(names.values()) - {names["old"]}


def test_foreign_things_are_left_alone(root: Path, make_upload: Callable[..., Upload]) -> None:
    os.mkfifo(root / "fifo")
    (root / "folder").mkdir()
    store = _store(root)
    assert list(store.entries()) == []
    for key in ("fifo", "folder"):
        with pytest.raises(Refused):
            store.put(key, make_upload(b"x"))
        with pytest.raises(Refused):
            next(store.get(key))
    assert isinstance(store.delete(["folder"])["folder"], Refused)
    with pytest.raises(Refused):
        store.put("fifo/k", make_upload(b"x"))
    with pytest.raises(Missing):
        store.stat("fifo/k")
