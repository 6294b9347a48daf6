"""The local socket: what it answers, to whom, and what it does not let itself be disturbed by."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lading
from ladingd.socket_path import PATH_MAX_BYTES

from .process import DaemonProcess

Make = Callable[..., DaemonProcess]
N = 250


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DaemonProcess, lading.Catalog]]:
    """250 media: 200 safe in a directory, 30 only here, 20 in a table of their own; one more was deleted."""
    folder = tmp_path_factory.mktemp("socket")
    (folder / "disk").mkdir()
    uri = f"file://{folder}/disk/"
    with DaemonProcess(folder / "home") as daemon, daemon.open() as cat:
        cat.put_many([(f"s{i}".encode(), f"s{i}") for i in range(200)], destination=uri)
        cat.put_many([(f"l{i}".encode(), f"l{i}") for i in range(30)])
        cat.put_many([(f"t{i}".encode(), f"t{i}") for i in range(20)], table="trips/2026", column="photo", destination=uri)
        cat.put(b"gone", name="gone").delete()
        daemon.start()
        cat.wait(timeout=30)
        yield daemon, cat


Served = tuple[DaemonProcess, lading.Catalog]


def _walk(daemon: DaemonProcess, query: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    after = ""
    while True:
        status, page = daemon.get(f"/v1/media?{query}{after}")
        assert status == 200
        items += page["items"]
        if page["next"] is None:
            return items
        after = f"&after={page['next']}"


def test_healthz_and_status(served: Served) -> None:
    daemon, cat = served
    assert daemon.get("/healthz") == (200, {"status": "ok", "version": lading.__version__})
    status, shape = daemon.get("/v1/status")
    assert (status, shape["schema"], shape["verdict"]) == (200, "lading.status/1", "ok")
    assert shape["media"] == {"total": N, "safe": 220, "pending": 0, "blocked": 0, "local_only": 30, "lost": 0, "deleted": 1}
    assert shape["daemon"]["pid"] == daemon.pid
    changing = {"at", "daemon", "local", "deletes"}
    assert {k: v for k, v in shape.items() if k not in changing} == {k: v for k, v in cat.status().items() if k not in changing}


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", N), ("state=safe", 220), ("state=local_only", 30), ("state=pending", 0), ("state=lost", 0), ("table=trips/2026", 20),
        ("table=trips%2F2026&column=photo", 20), ("column=file", 230), ("name=s7", 1), ("name=nobody", 0), ("deleted=1", 1),
        ("table=default&state=safe", 200),
    ],
)  # fmt: skip
@pytest.mark.parametrize("limit", [7, 100])
def test_pages_of_media(served: Served, query: str, count: int, limit: int) -> None:
    items = _walk(served[0], f"{query}&limit={limit}")
    assert len(items) == count
    assert len({m["id"] for m in items}) == count
    assert [m["id"] for m in items] == sorted(m["id"] for m in items) or count > 1
    assert {m["schema"] for m in items} <= {"lading.media/1"}


def test_a_digest_and_the_default_page(served: Served) -> None:
    daemon, cat = served
    medium = cat.medium("s3")
    (found,) = _walk(daemon, f"sha256={medium.sha256}")
    assert found == medium.shape
    _, page = daemon.get("/v1/media")
    assert (len(page["items"]), page["next"] is not None) == (100, True)
    assert len(daemon.get("/v1/media?limit=1000000")[1]["items"]) == N


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("colour=red", "colour"), ("state=happy", "state"), ("limit=x", "limit"), ("limit=-1", "limit"), ("limit=0", "limit"),
        ("after=abc", "cursor"), ("limit=9999999999999999999999", "limit"), ("sha256=zz", "sha256"), ("sha256=abcd", "sha256"),
    ],
)  # fmt: skip
def test_wrong_filters(served: Served, query: str, says: str) -> None:
    status, headers, body = served[0].request("GET", f"/v1/media?{query}")
    problem = json.loads(body)
    assert (status, headers["content-type"], problem["status"]) == (400, "application/problem+json", 400)
    assert problem["type"] == "urn:lading:bad-request"
    assert says in problem["detail"]


def test_one_medium_and_why(served: Served) -> None:
    daemon, cat = served
    medium = cat.medium("l3")
    assert daemon.get(f"/v1/media/{medium.id}") == (200, medium.shape)
    assert daemon.get(f"/v1/media/{medium.id}/why") == (200, medium.why())
    assert daemon.get(f"/v1/media/{medium.id}/why")[1]["reason"] == "no_destination"


@pytest.mark.parametrize(
    "path", ["/v1/media/m_01ARZ3NDEKTSV4RRFFQ69G5FAV", "/v1/media/nobody/why", "/nothing", "/v1", "/v1/media?table=none"]
)
def test_what_is_not_there(served: Served, path: str) -> None:
    status, headers, body = served[0].request("GET", path)
    assert (status, headers["content-type"]) == (404, "application/problem+json")
    assert json.loads(body)["status"] == 404


def test_a_wrong_method(served: Served) -> None:
    status, headers, body = served[0].request("DELETE", "/v1/status")
    assert (status, headers["content-type"], json.loads(body)["status"]) == (405, "application/problem+json", 405)


def test_pin_and_unpin(served: Served) -> None:
    daemon, cat = served
    medium = cat.medium("l4")
    for action, pinned in (("pin", True), ("unpin", False)):
        status, _, body = daemon.request("POST", f"/v1/media/{medium.id}/{action}")
        assert (status, json.loads(body)) == (200, medium.refresh().shape)
        assert medium.pinned is pinned
    assert daemon.request("POST", "/v1/media/nobody/pin")[0] == 404
    assert daemon.request("POST", f"/v1/media/{medium.id}")[0] == 405


def test_evict(served: Served) -> None:
    daemon, cat = served
    medium = cat.medium("s5")
    path = Path(medium.shape["path"])
    medium.pin()
    status, _, body = daemon.request("POST", f"/v1/media/{medium.id}/evict")
    assert (status, json.loads(body)["reason"], path.exists()) == (409, "pinned", True)
    medium.unpin()
    status, _, body = daemon.request("POST", f"/v1/media/{medium.id}/evict")
    assert (status, json.loads(body)) == (200, medium.refresh().shape)
    assert (medium.cached, path.exists()) == (False, False)
    status, _, body = daemon.request("POST", f"/v1/media/{cat.medium('l5').id}/evict")
    assert (status, json.loads(body)["reason"]) == (409, "not_safe")
    with medium.local() as again:
        assert again != path


def test_delete_and_undelete(served: Served) -> None:
    daemon, cat = served
    medium = cat.medium("s6")
    before = medium.shape
    assert daemon.request("DELETE", "/v1/media/s6")[0] == 400, "by id only"
    status, _, body = daemon.request("DELETE", f"/v1/media/{medium.id}")
    assert (status, json.loads(body)["state"], json.loads(body)["restorable"]) == (200, "deleted", True)
    assert daemon.request("DELETE", f"/v1/media/{medium.id}")[0] == 404, "it is deleted already"
    deadline = time.monotonic() + 10
    while daemon.get(f"/v1/media/{medium.id}")[1]["purge_at"] is None:  # until the daemon has seen it
        assert time.monotonic() < deadline
        time.sleep(0.02)
    status, _, body = daemon.request("POST", f"/v1/media/{medium.id}/undelete")
    assert (status, json.loads(body)) == (200, before)
    status, _, body = daemon.request("POST", f"/v1/media/{medium.id}/undelete")
    assert (status, json.loads(body)["type"]) == (409, "urn:lading:not-deleted")
    assert daemon.request("POST", f"/v1/media/m_{'0' * 26}/undelete")[0] == 404


def test_a_dropped_table_is_emptied_by_the_daemon(served: Served) -> None:
    daemon, cat = served
    media = cat.put_many([(b"d%d" % i, f"d{i}") for i in range(200)], table="dropped")
    assert cat.drop_table("dropped") == 200
    assert daemon.get("/v1/media?table=dropped")[0] == 404
    deadline = time.monotonic() + 10
    while daemon.get("/v1/status")[1]["media"]["deleted"] < 201:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert daemon.get(f"/v1/media/{media[0].id}")[1]["table"] == "dropped"
    assert len(_walk(daemon, "table=dropped&deleted=1&limit=70")) == 200
    assert daemon.request("POST", f"/v1/media/{media[0].id}/undelete")[0] == 200
    assert [m["id"] for m in _walk(daemon, "table=dropped")] == [media[0].id]
    media[0].delete()


def test_fetch(served: Served) -> None:
    daemon, cat = served
    medium = cat.medium("s4")
    status, _, body = daemon.request("POST", f"/v1/media/{medium.id}/fetch")
    assert (status, json.loads(body)) == (200, medium.refresh().shape), "here already"
    path = Path(medium.shape["path"])
    path.rename(path.with_suffix(".away"))
    assert daemon.request("POST", f"/v1/media/{medium.id}/fetch")[0] == 202
    status, _, body = daemon.request("POST", f"/v1/media/{medium.id}/fetch?wait=20")
    assert (status, json.loads(body)["cached"]) == (200, True)
    assert Path(medium.refresh().shape["path"]).read_bytes() == b"s4"
    assert medium.shape["path"] != str(path)
    here = cat.medium("l5")
    Path(here.shape["path"]).unlink()
    status, _, body = daemon.request("POST", f"/v1/media/{here.id}/fetch?wait=20")
    assert (status, json.loads(body)["type"]) == (502, "urn:lading:damaged")
    assert daemon.request("POST", f"/v1/media/{medium.id}/fetch?wait=soon")[0] == 400
    assert daemon.request("POST", "/v1/media/nobody/fetch")[0] == 404


def test_curl(served: Served) -> None:
    daemon = served[0]
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--unix-socket", daemon.socket, "http://localhost/v1/status"],
        capture_output=True, timeout=10, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["schema"] == "lading.status/1"


def test_only_its_owner_can_reach_it(served: Served) -> None:
    path = Path(served[0].socket)
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((served[0].home / "socket").stat().st_mode) == 0o600


_STRANGER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX); s.settimeout(5)
try:
    s.connect(sys.argv[1])
    s.sendall(b"GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    print(repr(s.recv(100)))
except OSError as e:
    print(type(e).__name__)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user_is_refused(make_daemon: Make, tmp_path: Path) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        daemon = make_daemon(LADING_SOCKET=f"{folder}/s/l.sock").start()

        def stranger() -> str:
            command = [sys.executable, "-S", "-c", _STRANGER, daemon.socket]
            python = subprocess.run(command, capture_output=True, text=True, timeout=20)
            assert python.returncode == 0, python.stderr
            return python.stdout.strip()

        assert stranger() == "PermissionError"
        Path(daemon.socket).parent.chmod(0o755)
        Path(daemon.socket).chmod(0o666)
        assert stranger() in ("b''", "ConnectionResetError", "BrokenPipeError"), "the second wall: who is at the other end"
        assert daemon.get("/healthz")[0] == 200
        assert daemon.events("socket.refused")[0]["uid"] == 65534
        daemon.stop()
        assert [e for e in daemon.events() if e["event"] is None] == []


def test_a_path_too_long_for_a_socket_gets_a_short_one(make_daemon: Make, tmp_path: Path) -> None:
    daemon = make_daemon(name="h" * 120)
    long = tmp_path / ("r" * 120)
    long.mkdir()
    daemon.env["XDG_RUNTIME_DIR"] = str(long)
    daemon.start()
    path = Path(daemon.socket)
    assert len(os.fsencode(path)) <= PATH_MAX_BYTES
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert daemon.stop() == 0
    assert not path.exists()
    assert not path.parent.exists(), "nothing is left behind"


def test_without_a_socket_it_works_all_the_same(make_daemon: Make, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    daemon = make_daemon(LADING_SOCKET=str(tmp_path / ("s" * 120)))
    with daemon.open() as cat:
        daemon.start(ready=False)
        cat.put(b"x", name="x", destination=f"file://{tmp_path}/disk/").wait(timeout=20)
    (said,) = daemon.events("socket.failed")
    assert "too long" in said["error"]
    assert "`socket`" in said["hint"]
    assert daemon.stop() == 0


def test_the_pointer_names_the_socket_of_this_life(make_daemon: Make) -> None:
    daemon = make_daemon().start()
    first = daemon.socket
    daemon.kill()
    assert Path(first).exists(), "left by the kill"
    daemon.start()
    assert Path(daemon.socket).exists()
    assert daemon.get("/healthz")[0] == 200
    daemon.stop()
    assert not Path(first).exists()


def _raw(daemon: DaemonProcess) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(10)
    made.connect(daemon.socket)
    return made


@pytest.mark.parametrize(
    "data",
    [b"\x00" * 100, b"\xff\xfe garbage \r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
     b"\x16\x03\x01\x02\x00\x01\x00", os.urandom(100_000)],
    ids=["zeros", "noise", "no-path", "version", "tls", "random"],
)  # fmt: skip
def test_garbage_does_not_disturb(served: Served, data: bytes) -> None:
    daemon = served[0]
    with _raw(daemon) as s:
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except OSError:
            pass
    assert daemon.get("/healthz")[0] == 200


def _closed_after(s: socket.socket) -> float:
    began = time.monotonic()
    try:
        while s.recv(65536):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began


def test_half_requests_hold_nothing_for_long(served: Served) -> None:
    daemon = served[0]
    halves = [_raw(daemon) for _ in range(80)]
    for i, s in enumerate(halves):
        s.sendall(b"GET /v1/status HT" if i % 2 else b"GET /v1/status HTTP/1.1\r\nHost: x\r\n")
    assert all(_closed_after(s) < 6 for s in halves)
    for s in halves:
        s.close()
    assert daemon.get("/healthz")[0] == 200


def test_headers_without_end_are_cut_off(served: Served) -> None:
    daemon = served[0]
    before = int(
        next(line for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1]
    )
    sent = 0
    with _raw(daemon) as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        try:
            while sent < 64 << 20:
                sent += s.send(b"X-Fill: " + b"a" * 65_000 + b"\r\n")
        except OSError:
            pass
    assert sent < 4 << 20
    after = int(
        next(line for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1]
    )
    assert after - before < 32 << 10, "KiB"
    assert daemon.get("/healthz")[0] == 200


def test_a_slow_but_honest_client_is_served(served: Served) -> None:
    with _raw(served[0]) as s:
        for part in (b"GET /hea", b"lthz HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n"):
            s.sendall(part)
            time.sleep(0.2)
        assert b"200 OK" in s.recv(1000)
        time.sleep(1)
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in s.recv(1000)
