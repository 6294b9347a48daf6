"""Fetching with real daemons and real stores: many who want the same, kills at any moment, and the daemon that only fetches."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lading
from lading_catalog import fetching, lock, parts, replicas
from lading_catalog.config import load
from servers.faults import Fault, FaultProxy, fault_proxy
from servers.process import S3Server

from .buckets import client
from .conftest import BUCKET, Place
from .process import DaemonProcess

Make = Callable[..., DaemonProcess]
MEGA = 1 << 20


@pytest.fixture
def proxy(s3_server: Callable[[str], S3Server]) -> Iterator[FaultProxy]:
    with fault_proxy(s3_server("rclone").port) as made:
        yield made


def away(daemon: DaemonProcess, cat: lading.Catalog, place: Place, *data: bytes) -> list[lading.Medium]:
    """Media that are in their destination and no longer on this disk. The daemon is not running then."""
    media = cat.put_many([(d, f"{i}.bin") for i, d in enumerate(data)], destination=place.uri)
    daemon.start()
    cat.wait(media, timeout=60)
    assert daemon.stop() == 0
    for medium in media:
        evict(cat, medium)
    return media


def evict(cat: lading.Catalog, medium: lading.Medium) -> None:
    path = Path(medium.refresh().shape["path"])
    with cat._conn.writing() as conn:
        here = fetching.look(conn, medium.id[2:])
        assert here is not None
        assert here.replica_id is not None
        assert replicas.drop(conn, here.replica_id, "present")
        assert replicas.forget(conn, here.replica_id)
    path.unlink()


def files(home: Path) -> list[bytes]:
    """What stands under a final name."""
    return [p.read_bytes() for p in (home / "objects").rglob("*") if p.is_file()]


def _all_have_rows(cat: lading.Catalog) -> None:
    keys = {r["key"] for r in cat.sql("SELECT key FROM replicas WHERE role = 'local'")}
    names = {str(p.relative_to(cat.home)) for p in (cat.home / "objects").rglob("*") if p.is_file()}
    assert names <= keys, "a file that no row knows"


def count(proxy: FaultProxy, verb: str = "GET") -> int:
    return sum(line.startswith(f"{verb} ") and "/default/" in line for line in proxy.requests)


READER = """
import hashlib, sys, lading
from lading_catalog.config import load
with lading.open(config=load()) as cat:
    with cat.medium(sys.argv[1]).open() as file:
        print(hashlib.sha256(file.read()).hexdigest())
"""


def test_threads_and_processes_that_want_the_same_download_it_once(
    make_place: Callable[..., Place], make_daemon: Make, proxy: FaultProxy
) -> None:
    place = make_place("rclone", endpoint=proxy.endpoint)
    daemon = make_daemon(place)
    data = os.urandom(3 * MEGA)
    with daemon.open() as cat:
        (medium,) = away(daemon, cat, place, data)
        daemon.start()
        proxy.reset()
        digests: list[str] = []

        def read() -> None:
            with medium.open() as file:
                digests.append(hashlib.sha256(file.read()).hexdigest())

        threads = [threading.Thread(target=read) for _ in range(16)]
        command = [sys.executable, "-c", READER, medium.id]
        processes = [subprocess.Popen(command, env=daemon.env, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        digests += [process.communicate(timeout=30)[0].strip() for process in processes]
        assert digests == [hashlib.sha256(data).hexdigest()] * 20
        assert count(proxy) == 1


def test_a_connection_that_is_cut_is_continued_by_range(
    make_place: Callable[..., Place], make_daemon: Make, proxy: FaultProxy
) -> None:
    place = make_place("rclone", endpoint=proxy.endpoint)
    daemon = make_daemon(place)
    data = os.urandom(12 * MEGA)
    with daemon.open() as cat:
        (medium,) = away(daemon, cat, place, data)
        daemon.start()
        proxy.reset()
        proxy.faults.append(Fault("truncate_reply", match=lambda line: "/default/" in line, at=10 * MEGA))
        with medium.local(timeout=30) as path:
            assert path.read_bytes() == data
        assert not proxy.unused
        ranges = [head.get("range") for line, head in zip(proxy.requests, proxy.heads, strict=True) if "/default/" in line]
        assert ranges[0] is None
        assert ranges[1] is not None
        assert 9 * MEGA <= int(ranges[1].removeprefix("bytes=").rstrip("-")) <= 10 * MEGA


def test_kills_at_any_moment_leave_nothing_half_and_the_bytes_are_not_fetched_again(
    make_place: Callable[..., Place], make_daemon: Make
) -> None:
    """A daemon that is killed again and again while it fetches; what it has brought is continued, and every copy is whole in the end."""
    place = make_place("directory")
    daemon = make_daemon(place)
    dice = random.Random(5)
    data = [dice.randbytes(dice.randrange(1, 6) * MEGA + dice.randrange(100)) for _ in range(12)]
    whole = {hashlib.sha256(d).digest() for d in data}
    with daemon.open() as cat:
        media = away(daemon, cat, place, *data)
        with cat._conn.writing() as conn:
            for medium in media:
                here = fetching.look(conn, medium.id[2:])
                assert here is not None
                fetching.want(conn, here.object_id, fetching.NORMAL)
        caught = 0
        for _ in range(12):
            daemon.start(ready=False)
            time.sleep(dice.uniform(0.25, 0.55))
            daemon.kill()
            present = cat.sql("SELECT count(*) AS n FROM replicas WHERE role = 'local' AND state = 'present'")[0]["n"]
            assert {hashlib.sha256(f).digest() for f in files(cat.home)} <= whole, "a half one under a final name"
            _all_have_rows(cat)
            caught += present < len(media)
        assert caught, "killed too late to show anything"
        daemon.start()
        result = cat.fetch(media, timeout=60)
        assert result.failed == []
        assert sorted(files(cat.home)) == sorted(data)
        deadline = time.monotonic() + 5
        while left := list((cat.home / parts.FETCHING).iterdir()):
            assert time.monotonic() < deadline, left
            time.sleep(0.05)


@pytest.mark.parametrize("call", ["write", "fsync", "linkat", "unlink"])
def test_a_kill_in_a_system_call_of_the_fetch(make_place: Callable[..., Place], make_daemon: Make, call: str) -> None:
    """strace kills the daemon at the n-th call that touches the part or its folders; the next daemon finishes what it left."""
    if subprocess.run(["strace", "-V"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace is not there")
    place = make_place("directory")
    daemon = make_daemon(place)
    data = os.urandom(2 * MEGA + 17)
    with daemon.open() as cat:
        (medium,) = away(daemon, cat, place, data)
        killed = 0
        for when in (1, 2, 3):
            with cat._conn.writing() as conn:
                found = fetching.look(conn, medium.id[2:])
                assert found is not None
                fetching.want(conn, found.object_id)
            (here,) = fetching.look_at(cat._conn, [found.object_id])
            assert here.replica_id is not None
            part = parts.path_of(cat.home, here.replica_id, here.key)
            paths = [part, part.parent, cat.home / here.key, (cat.home / here.key).parent]
            done = subprocess.run(
                ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={when}",
                 *(argument for path in paths for argument in ("-P", str(path))),
                 sys.executable, "-m", "ladingd", "run", "--fetch-only", "--exit-when-idle"],
                env=daemon.env, capture_output=True, timeout=60, check=False,
            )  # fmt: skip
            killed += done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
            assert set(files(cat.home)) <= {data}
            _all_have_rows(cat)
        assert killed, "no kill fired"
        with medium.local(timeout=30) as path:
            assert path.read_bytes() == data
        assert files(cat.home) == [data]
        _all_have_rows(cat)
    lock._make_way(daemon.home)


def test_a_missing_object_is_reported_and_its_row_stays(
    place: Place, make_daemon: Make, s3_server: Callable[[str], S3Server]
) -> None:
    daemon = make_daemon(place)
    with daemon.open() as cat:
        (medium,) = away(daemon, cat, place, b"gone")
        if place.kind == "directory":
            for path in Path(place.uri.removeprefix("file://")).rglob("0.*"):
                path.unlink()
        else:
            with client(s3_server(place.kind)) as s3:
                for key in place.contents():
                    s3.delete_object(Bucket=BUCKET, Key=place.uri.removeprefix(f"s3://{BUCKET}/") + key)
        daemon.start()
        with pytest.raises(lading.Missing, match="cannot be fetched") as caught, medium.local(timeout=30):
            pass
        assert caught.value.about["id"] == medium.id
        assert medium.refresh().id


# -- a large object can be read while it comes


def _slow(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, held_at: int) -> threading.Event:
    """Bodies of more than a mebibyte stop after so many bytes until the event is set."""
    from servers import faults

    go = threading.Event()
    body = faults._body

    def held(stream: object, head: faults._Head) -> Iterator[bytes]:
        passed = 0
        for part in body(stream, head):  # type: ignore[arg-type]
            if passed >= held_at and int(head.headers.get("content-length", "0")) > MEGA and head.line.startswith("HTTP/"):
                assert go.wait(30)
            passed += len(part)
            yield part

    monkeypatch.setattr(faults, "_body", held)
    return go


def test_open_yields_bytes_before_the_whole_is_there(
    make_place: Callable[..., Place], make_daemon: Make, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place("rclone", endpoint=proxy.endpoint)
    daemon = make_daemon(place)
    data = os.urandom(24 * MEGA)
    with daemon.open() as cat:
        (medium,) = away(daemon, cat, place, data)
        daemon.start()
        go = _slow(proxy, monkeypatch, 12 * MEGA)
        with medium.open(timeout=60) as file:
            assert file.read(5 * MEGA) == data[: 5 * MEGA]
            assert not go.is_set()
            assert medium.refresh().cached is False
            assert file.seek(1 * MEGA) == MEGA
            assert file.read(100) == data[MEGA : MEGA + 100]
            go.set()
            assert file.seek(-10, os.SEEK_END) == len(data) - 10
            assert file.read() == data[-10:]
            assert file.tell() == len(data)
            assert medium.refresh().cached is True
            file.seek(0)
            assert file.read() == data
            assert file.read(1) == b""


def test_open_raises_instead_of_the_end_where_the_bytes_are_wrong(make_place: Callable[..., Place], make_daemon: Make) -> None:
    place = make_place("directory")
    daemon = make_daemon(place)
    data = os.urandom(20 * MEGA)
    with daemon.open() as cat:
        (medium,) = away(daemon, cat, place, data)
        for path in Path(place.uri.removeprefix("file://")).rglob("0.*"):
            path.chmod(0o600)
            with path.open("r+b") as there:
                there.seek(10 * MEGA)
                there.write(bytes(100))
        daemon.start()
        with medium.open(timeout=60) as file, pytest.raises(lading.Damaged):
            file.read()


# -- the daemon that only fetches


def test_it_is_started_where_none_runs_and_leaves_by_itself(
    place: Place, make_daemon: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = make_daemon(place)
    for name, value in daemon.env.items():
        monkeypatch.setenv(name, value)
    with daemon.open() as cat:
        media = away(daemon, cat, place, b"one", b"two", b"three")
        with media[0].local(timeout=30) as path:
            assert path.read_bytes() == b"one"
        seen = lock.observe(cat.home)
        assert (seen.running, seen.fetch_only) == (False, True)
        assert cat.status()["daemon"]["running"] is False
        pid = seen.pid
        with media[1].open(timeout=30) as file:
            assert file.read() == b"two"
        assert lock.observe(cat.home).pid == pid, "the same one"
        new = cat.put(b"waits", name="waits", destination=place.uri)
        time.sleep(0.5)
        assert new.refresh().state == "pending", "it brings nothing to destinations"
        deadline = time.monotonic() + 10
        while lock.observe(cat.home).fetch_only:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_it_leaves_when_a_real_daemon_starts_and_what_it_began_is_continued(
    make_place: Callable[..., Place], make_daemon: Make, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place("rclone", endpoint=proxy.endpoint)
    daemon = make_daemon(place)
    for name, value in daemon.env.items():
        monkeypatch.setenv(name, value)
    data = os.urandom(16 * MEGA)
    with daemon.open() as cat:
        (medium,) = away(daemon, cat, place, data)
        go = _slow(proxy, monkeypatch, 8 * MEGA)
        with medium.open(timeout=60) as file:
            file.read(1)
            assert lock.observe(cat.home).fetch_only
            began = time.monotonic()
            daemon.start()
            assert time.monotonic() - began < 8
            assert lock.observe(cat.home).pid == daemon.pid
            go.set()
            assert data.endswith(rest := file.read())
            assert len(rest) == len(data) - 1
        assert daemon.stop() == 0


def test_many_who_find_no_daemon_start_one_that_stays(make_place: Callable[..., Place], make_daemon: Make) -> None:
    place = make_place("directory")
    daemon = make_daemon(place)
    with daemon.open() as cat:
        (medium,) = away(daemon, cat, place, b"x" * 100)
        command = [sys.executable, "-c", READER, medium.id]
        processes = [subprocess.Popen(command, env=daemon.env, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        digests = {process.communicate(timeout=60)[0].strip() for process in processes}
        assert digests == {hashlib.sha256(b"x" * 100).hexdigest()}
    lock._make_way(daemon.home)


def test_a_damaged_copy_here_is_set_aside_and_fetched_again(make_place: Callable[..., Place], make_daemon: Make) -> None:
    place = make_place("directory")
    daemon = make_daemon(place)
    with daemon.open() as cat:
        medium = cat.put(b"right", name="a", destination=place.uri)
        daemon.start()
        cat.wait(timeout=30)
        old = Path(medium.refresh().shape["path"])
        old.write_bytes(b"wrong")
        with medium.local(timeout=30) as path:
            assert path.read_bytes() == b"right"
            assert path != old
        assert load(environ=daemon.env).home == str(cat.home)
