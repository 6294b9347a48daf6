"""The real daemon, a process of its own, on real stores."""

from __future__ import annotations

import hashlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import lading
from lading_catalog import lock
from lading_catalog.connection import open_catalog
from ladingd.service import LOOK_EVERY_S

from .conftest import Place
from .process import DaemonProcess

Make = Callable[..., DaemonProcess]


def _put(cat: lading.Catalog, place: Place, count: int, size: int = 2_000, seed: int = 1) -> dict[str, bytes]:
    """sha256 → bytes of what was put."""
    dice = random.Random(seed)
    data = [dice.randbytes(dice.randrange(size)) + i.to_bytes(4, "big") for i in range(count)]
    cat.put_many([(d, f"f{i}.bin") for i, d in enumerate(data)], destination=place.uri)
    return {hashlib.sha256(d).hexdigest(): d for d in data}


def _same(place: Place, expected: dict[str, bytes]) -> None:
    """Every object once, byte for byte, and nothing else."""
    found = place.contents()
    assert len(found) == len(expected)
    by_digest = {hashlib.sha256(data).hexdigest(): key for key, data in found.items()}
    assert by_digest.keys() == expected.keys()
    for digest, key in by_digest.items():
        assert digest in key


def test_what_was_put_without_a_daemon_goes_when_it_starts(place: Place, make_daemon: Make) -> None:
    daemon = make_daemon(place)
    with daemon.open() as cat:
        expected = _put(cat, place, 60)
        with pytest.raises(lading.NotSafeYet):
            cat.wait(timeout=0.1)
        daemon.start()
        receipt = cat.wait(timeout=30)
        assert (receipt.safe, receipt.safe_count) == (True, 60)
        assert {c["by"] for m in receipt.shape["media"] for c in m["copies"]} == {"read" if place.kind == "directory" else "put"}
    _same(place, expected)
    assert daemon.stop() == 0
    assert [e["text"] for e in daemon.events() if e["event"] is None] == []
    assert {e["level"] for e in daemon.events()} == {"info"}


def test_a_put_is_noticed_at_once_and_without_polling(place: Place, make_daemon: Make) -> None:
    daemon = make_daemon(place)
    with daemon.open() as cat:
        cat.put(b"warm", name="warm", destination=place.uri)
        daemon.start()
        cat.wait(timeout=30)
        times = []
        for i in range(6):
            time.sleep(0.3)
            medium = cat.put(f"{i}".encode(), name=f"{i}", destination=place.uri)
            began = time.monotonic()
            medium.wait(timeout=30)
            times.append(time.monotonic() - began)
        assert sorted(times)[3] < LOOK_EVERY_S / 5, times


def test_without_the_bell_it_looks_every_few_seconds(make_place: Callable[..., Place], make_daemon: Make) -> None:
    place = make_place("directory")
    daemon = make_daemon(place)
    with daemon.open() as cat:
        daemon.start()
        (cat.home / "doorbell").rename(cat.home / "muffled")
        cat.put(b"x", name="x", destination=place.uri).wait(timeout=LOOK_EVERY_S + 10)


def test_an_idle_daemon_uses_no_cpu_and_writes_nothing(make_place: Callable[..., Place], make_daemon: Make) -> None:
    place = make_place("ministack")
    daemon = make_daemon(place)
    with daemon.open() as cat:
        _put(cat, place, 5)
        daemon.start()
        cat.wait(timeout=30)
        time.sleep(1.5)  # the checkpoint after the last change
        watcher = open_catalog(cat.home, make=False)
        version, wal = watcher.data_version(), watcher.wal_bytes()
        ticks = daemon.cpu_ticks()
        time.sleep(3)
        assert daemon.cpu_ticks() - ticks <= 3
        assert (watcher.data_version(), watcher.wal_bytes()) == (version, wal)
        watcher.close()


def test_a_second_daemon_refuses_to_start(make_place: Callable[..., Place], make_daemon: Make) -> None:
    first = make_daemon(make_place("directory")).start()
    done = subprocess.run([sys.executable, "-m", "ladingd", "run"], env=first.env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert f"process {first.pid}" in done.stderr
    assert "already works for" in done.stderr
    assert "Traceback" not in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "ladingd", "run", "--json"], env=first.env, capture_output=True, text=True, timeout=20
    )
    assert '"urn:lading:already-running"' in done.stdout
    assert first.get("/healthz")[0] == 200


def test_who_only_looks_does_not_keep_a_daemon_from_starting(tmp_path: Path) -> None:
    """`wait` and `status` look at the lock many times a second; the instant of a look is not another daemon."""
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            lock.observe(tmp_path)

    threads = [threading.Thread(target=look) for _ in range(2)]
    lock.DaemonLock(tmp_path, "0", 0).release()
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            lock.DaemonLock(tmp_path, "0", 0).release()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_sigterm_ends_it_soon_with_what_hangs_requeued(
    make_daemon: Make, make_place: Callable[..., Place], s3_server: Callable[..., object]
) -> None:
    place = make_place("ministack")
    daemon = make_daemon(place)
    with daemon.open() as cat:
        cat.put(b"first", name="first", destination=place.uri)
        port = s3_server("ministack").port  # type: ignore[attr-defined]
        hang = threading.Event()
        with _stalling_proxy(port, hang) as endpoint:
            daemon.env["LADING_S3__ENDPOINT_URL"] = endpoint
            daemon.start()
            cat.wait(timeout=30)
            hang.set()
            media = cat.put_many([(f"{i}".encode(), f"{i}") for i in range(30)], destination=place.uri)
            deadline = time.monotonic() + 10
            while not cat.sql("SELECT 1 FROM replicas WHERE state = 'copying'"):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            began = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - began < 10
            assert cat.sql("SELECT count(*) AS n FROM replicas WHERE state = 'copying'") == [{"n": 0}]
            hang.clear()
            daemon.start()
            cat.wait(timeout=30)
        assert {m.refresh().state for m in media} == {"safe"}
        assert len(place.contents()) == 31


class _stalling_proxy:
    """Passes bytes on; while `hang` is set it swallows what the server answers."""

    def __init__(self, port: int, hang: threading.Event) -> None:
        self._port, self._hang = port, hang
        self._listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> str:
        threading.Thread(target=self._accept, daemon=True).start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *exc: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                return
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(65536):
                if not (answers and self._hang.is_set()):
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.mark.parametrize("kind", ["directory", "rclone"])  # ministack: tests/life
def test_five_kills_during_three_hundred_objects(make_place: Callable[..., Place], make_daemon: Make, kind: str) -> None:
    place = make_place(kind)
    daemon = make_daemon(place)
    with daemon.open() as cat:
        expected = _put(cat, place, 300)
        caught = 0
        for i in range(5):
            daemon.start(ready=False)
            deadline = time.monotonic() + 20
            while cat.status()["media"]["safe"] < 40 * (i + 1):
                assert time.monotonic() < deadline
                time.sleep(0.003)
            daemon.kill()
            caught += cat.status()["media"]["safe"] < 300
            time.sleep(0.02)
        assert caught >= 3, "killed too late to show anything"
        began = time.monotonic()
        daemon.start(ready=False)
        cat.wait(timeout=60)
        assert time.monotonic() - began < 20
        assert cat.status()["verdict"] == "ok"
    _same(place, expected)


def test_a_restarted_daemon_takes_up_at_once(place: Place, make_daemon: Make) -> None:
    daemon = make_daemon(place)
    with daemon.open() as cat:
        _put(cat, place, 3)
        daemon.start()
        cat.wait(timeout=30)
        daemon.kill()
        cat.put(b"late", name="late", destination=place.uri)
        daemon.start(ready=False)
        began = time.monotonic()
        cat.wait(timeout=30)
        assert time.monotonic() - began < 5, "its own start included"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_starts_and_stops_with_nothing_to_do(make_daemon: Make, number: int) -> None:
    daemon = make_daemon().start()
    assert daemon.process is not None
    began = time.monotonic()
    daemon.process.send_signal(number)
    assert daemon.process.wait(10) == 0
    assert time.monotonic() - began < 3
    assert [e["event"] for e in daemon.events()][-1] == "daemon.stopped"


def test_a_signal_that_comes_while_the_loop_holds_its_lock(tmp_path: Path) -> None:
    """The handler runs between two instructions of the loop, maybe inside threading.Event: it must not wait for the same lock."""
    code = (
        "import signal, threading, os\n"
        "from ladingd import service\n"
        "from lading_catalog.config import load\n"
        "def loop(self):\n"
        "    with self._wake._cond:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        for _ in range(1000): pass\n"
        "    assert self._stopping.wait(5)\n"
        "    print('stopped')\n"
        "service.Service.run = loop\n"
        "service.run(load())\n"
    )
    env = DaemonProcess(tmp_path / "home").env
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=8)
    assert done.stdout == "stopped\n", done.stderr


def test_it_leaves_when_idle_if_asked(place: Place, make_daemon: Make) -> None:
    daemon = make_daemon(place)
    with daemon.open() as cat:
        expected = _put(cat, place, 10)
        daemon.start("--exit-when-idle", ready=False)
        assert daemon.process is not None
        assert daemon.process.wait(30) == 0
        assert cat.status()["media"]["safe"] == 10
    _same(place, expected)
