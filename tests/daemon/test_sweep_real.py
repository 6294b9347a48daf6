"""The collector in a real daemon, with real stores that are full of other people's objects."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lading
from servers.process import S3Server
from servers.rclone import rclone

from .buckets import client
from .conftest import BUCKET, Place
from .process import DaemonProcess, s3_settings

Make = Callable[..., DaemonProcess]
FOREIGN_N = 10_000
LIMIT_S = 60.0
QUICK = {"LADING_DELETE_AFTER": "1s", "LADING_MIN_FREE": "0"}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def folder_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Server, Path]]:
    """An S3 server whose bucket is a folder that a test can fill."""
    folder = tmp_path_factory.mktemp("rclone")
    (folder / "data" / BUCKET).mkdir(parents=True)
    with rclone(folder) as server:
        yield server, folder / "data" / BUCKET


@pytest.fixture(params=["directory", "rclone"])
def crowded(request: pytest.FixtureRequest, tmp_path: Path, folder_server: tuple[S3Server, Path]) -> tuple[Place, Path]:
    """A destination with 10,000 objects of others below its prefix, also such that look like ours; and the folder behind it."""
    if request.param == "directory":
        root = tmp_path / "disk"
        place = Place("directory", f"file://{root}/", {}, dict)
    else:
        server, bucket = folder_server
        root = bucket / secrets.token_hex(4)
        place = Place("rclone", f"s3://{BUCKET}/{root.name}/", s3_settings(server, tmp_path), dict)
    root.mkdir()
    for n in range(FOREIGN_N):
        digest = hashlib.sha256(str(n).encode()).hexdigest()
        folder = root / ("default/file" if n % 2 else "photos") / digest[:2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{n}.{digest}-{n:016x}.jpg").write_bytes(b"foreign")
    return place, root


def files(root: Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, names in os.walk(root)
        for name in names
        if f"{os.sep}.lading" not in folder
    }


def test_ten_thousand_foreign_objects_survive(crowded: tuple[Place, Path], make_daemon: Make) -> None:
    """42: through puts, deletes, an undelete by a put of the same bytes, a change of the destination, kills of the daemon."""
    place, root = crowded
    foreign = files(root)
    assert len(foreign) == FOREIGN_N
    daemon = make_daemon(place, **QUICK)
    with daemon.open() as cat:
        media = cat.put_many([(f"ours {n}".encode(), f"{n}.txt") for n in range(60)], destination=place.uri)
        daemon.start()
        cat.wait(media, timeout=LIMIT_S)
        ours = files(root) - foreign
        assert len(ours) == 60
        for medium in media[:40]:
            medium.delete()
        again = cat.put(b"ours 7", name="again.txt", destination=place.uri)
        daemon.kill()
        daemon.start()
        until(lambda: len(files(root) - foreign) == 21)
        cat.wait([again], timeout=LIMIT_S)
        assert daemon.stop() == 0
        for medium in media[40:]:
            medium.delete()
        again.delete()
        daemon.start()
        until(lambda: files(root) == foreign)
        assert cat.status()["deletes"]["waiting"] == 0
    assert daemon.stop() == 0
    assert [e for e in daemon.events() if e.get("level") == "error"] == []


def _left(cat: lading.Catalog) -> int:
    """How many copies the catalog still knows of at its only destination, those that are being deleted among them."""
    (shape,) = cat.status()["destinations"]
    return int(shape["present"]["objects"] + shape["dropping"]["objects"])


def test_what_is_deleted_in_a_bucket_is_gone(make_place: Callable[..., Place], make_daemon: Make, s3_server: object) -> None:
    """On a server that checks what it is sent; the objects of others in the same bucket stay."""
    place = make_place("ministack")
    daemon = make_daemon(place, **QUICK)
    server: S3Server = s3_server("ministack")  # type: ignore[operator]
    prefix = place.uri.removeprefix(f"s3://{BUCKET}/")
    with client(server) as s3:
        for n in range(50):
            s3.put_object(Bucket=BUCKET, Key=f"{prefix}theirs/{n}", Body=b"x")
    with daemon.open() as cat:
        media = cat.put_many([(f"ours {n}".encode(), f"{n}.txt") for n in range(30)], destination=place.uri)
        daemon.start()
        cat.wait(media, timeout=LIMIT_S)
        for medium in media[:20]:
            medium.delete()
        until(lambda: _left(cat) == 10)
        assert len(place.contents()) == 50 + 10
        assert {key for key in place.contents() if key.startswith("theirs/")} == {f"theirs/{n}" for n in range(50)}
    assert daemon.stop() == 0


def test_a_copy_of_the_home_deletes_nothing_until_it_is_adopted(make_place: Callable[..., Place], make_daemon: Make) -> None:
    """18: the catalog's file is another one: its tokens are forgotten."""
    place = make_place("directory")
    daemon = make_daemon(place, **QUICK)
    with daemon.open() as cat:
        first, second = cat.put_many([(b"first", "1"), (b"second", "2")], destination=place.uri)
        daemon.start()
        cat.wait([first, second], timeout=LIMIT_S)
        first.delete()
        until(lambda: len(place.contents()) == 1)
        second.delete()
    daemon.kill()
    shutil.copytree(daemon.home, daemon.home.parent / "copy", ignore=shutil.ignore_patterns("run"))
    copy = make_daemon(place, name="copy", **QUICK)
    with copy.open() as cat:
        copy.start()
        until(lambda: bool(cat.status()["deletes"]["resting"]))
        (rest,) = cat.status()["deletes"]["resting"]
        assert (rest["code"], rest["destination"]) == ("owner", place.uri)
        assert len(place.contents()) == 1
        cat.sweeps.adopt(place.uri)
        until(lambda: not place.contents())
    daemon.start()  # the first one wakes up: it has to rest now
    with daemon.open() as cat:
        third = cat.put(b"third", name="3", destination=place.uri)
        cat.wait([third], timeout=LIMIT_S)
        third.delete()
        until(lambda: bool(cat.status()["deletes"]["resting"]))
        assert len(place.contents()) == 1
        assert isinstance(third, lading.Medium)
