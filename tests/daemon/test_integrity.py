"""Nothing becomes present that is not whole, and nothing is sent that is not what was put."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import lading
from ladingd.stores.base import Proof, Upload
from ladingd.stores.directory import DirectoryStore
from ladingd.stores.s3 import S3Store
from servers.faults import Fault, FaultProxy, fault_proxy
from servers.process import S3Server

from .buckets import client
from .conftest import BUCKET, Place
from .process import DaemonProcess
from .rig import Rig

Make = Callable[..., DaemonProcess]
MakePlace = Callable[..., Place]


def _data_put(line: str) -> bool:
    return line.startswith("PUT ") and "/.lading/" not in line


@pytest.mark.parametrize("how", ["flipped", "shorter", "longer"])
def test_altered_in_a_directory_before_it_is_confirmed(rig: Rig, tmp_path: Path, how: str) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    tampering = [True]

    class Tampered(DirectoryStore):
        def _read_back(self, key: str, name: str, folder_fd: int, upload: Upload) -> Proof:
            if tampering[0]:
                data = (root / key).read_bytes()
                (root / key).write_bytes({"flipped": b"X" + data[1:], "shorter": data[:-1], "longer": data + b"X"}[how])
            return super()._read_back(key, name, folder_fd, upload)

    uri = f"file://{root}/"
    rig.real[uri] = Tampered(uri, str(root))
    rig.probed = {uri}
    medium = rig.put(uri)
    rig.begin().settle()
    rig.pass_time(60, 5)
    (replica,) = medium.refresh().replicas
    assert (replica.state, medium.state) == ("wanted", "pending")
    assert replica.attempts > 3
    assert (replica.error or {})["code"] == "damaged"


def test_altered_in_a_bucket_before_it_is_confirmed(rig: Rig, s3_server: Callable[[str], S3Server], make_place: MakePlace,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A store that verifies nothing is read back."""
    server, place = s3_server("rclone"), make_place("rclone")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", place.settings["AWS_SHARED_CREDENTIALS_FILE"])
    prefix = place.uri.removeprefix(f"s3://{BUCKET}/")
    tampering = [True]

    class Tampered(S3Store):
        def _read_back(self, key: str, upload: Upload) -> Proof:
            if tampering[0]:
                with client(server) as s3:
                    s3.put_object(Bucket=BUCKET, Key=prefix + key, Body=b"X" * upload.size_bytes)
            return super()._read_back(key, upload)

    rig.real[place.uri] = Tampered(place.uri, bucket=BUCKET, prefix=prefix, endpoint_url=server.endpoint, facts=None)
    rig.probed = {place.uri}
    medium = rig.put(place.uri)
    rig.begin().settle()
    rig.pass_time(20, 5)
    assert rig.state(medium, place.uri) == "wanted"
    assert (medium.replicas[0].error or {})["code"] == "damaged"
    tampering[0] = False
    rig.pass_time(120, 30)
    assert medium.refresh().state == "safe"
    assert medium.replicas[0].proof is not None
    assert medium.replicas[0].proof.by == "read"
    assert list(place.contents().values()) == [b"medium 1"]


@pytest.fixture(params=["ministack", "rclone"])
def through(request: pytest.FixtureRequest, s3_server: Callable[[str], S3Server], make_place: MakePlace, make_daemon: Make):  # type: ignore[no-untyped-def]
    """(a daemon behind a proxy, its destination, the proxy, its catalog)"""
    server = s3_server(request.param)
    with fault_proxy(server.port) as proxy:
        place = make_place(request.param, proxy.endpoint)
        daemon = make_daemon(place)
        with daemon.open() as cat:
            cat.put(b"first", name="first", destination=place.uri)
            daemon.start()
            cat.wait(timeout=30)
            yield daemon, place, proxy, cat
            assert not proxy.unused, "a fault that never fired shows nothing"


Through = tuple[DaemonProcess, Place, FaultProxy, lading.Catalog]


def _one_more(through: Through, data: bytes) -> lading.Medium:
    _, place, _, cat = through
    medium = cat.put(data, name="second", destination=place.uri)
    medium.wait(timeout=30)
    assert sorted(place.contents().values()) == sorted([b"first", data])
    return medium.refresh()


@pytest.mark.parametrize("size", [1_000, 9 << 20])
def test_corrupted_on_the_wire(through: Through, size: int) -> None:
    daemon, _, proxy, _ = through
    proxy.faults.append(Fault("corrupt_request", _data_put, times=2, at=size // 2))
    medium = _one_more(through, os.urandom(size))
    assert medium.replicas[0].attempts == 3
    assert [e["reason"] for e in daemon.events("transfer.failed")] == ["damaged", "damaged"]


def test_a_lost_reply_after_a_completed_put(through: Through) -> None:
    _, _, proxy, _ = through
    proxy.faults.append(Fault("drop_reply", _data_put, times=3))
    medium = _one_more(through, b"second")
    assert medium.replicas[0].attempts == 4
    puts = [line for line in proxy.requests if _data_put(line) and "second" in line]
    assert len(puts) == 4
    assert len(set(puts)) == 1, "always the same key"


def test_a_store_that_swallows_puts(through: Through) -> None:
    """200, and nothing is stored: no ETag of a store, or a wrong one where an MD5 would be the proof."""
    _, place, proxy, _ = through
    proxy.faults.append(Fault("answer", _data_put, status=200))
    if place.kind == "rclone":
        proxy.faults.append(Fault("answer", _data_put, status=200, headers={"ETag": f'"{"0" * 32}"'}))
    assert _one_more(through, b"second").replicas[0].attempts == (3 if place.kind == "rclone" else 2)


def test_an_echoed_checksum_is_no_proof(through: Through) -> None:
    """rclone keeps a declared SHA-256 unseen and echoes it: only the MD5 that it computes itself counts."""
    proof = _one_more(through, b"second").replicas[0].proof
    assert proof is not None
    assert (proof.by, proof.algorithm) == ("put", "md5"), "what the store has computed itself, with small objects at both"


@pytest.mark.parametrize("how", ["same size", "other size", "symlink", "removed"])
@pytest.mark.parametrize("kind", ["directory", "ministack"])
def test_a_source_that_changed_since_its_put_is_not_sent(
    make_place: MakePlace, make_daemon: Make, tmp_path: Path, kind: str, how: str
) -> None:
    place = make_place(kind)
    daemon = make_daemon(place)
    with daemon.open() as cat:
        bad = cat.put(b"the original bytes", name="bad", destination=place.uri)
        good = cat.put_many([(f"{i}".encode(), f"{i}") for i in range(20)], destination=place.uri)
        path = Path(bad.shape["path"])
        path.chmod(0o600)
        if how == "same size":
            path.write_bytes(b"the 0riginal bytes")
        elif how == "other size":
            path.write_bytes(b"other")
        else:
            elsewhere = tmp_path / "elsewhere"
            path.rename(elsewhere)
            if how == "symlink":
                path.symlink_to(elsewhere)
        daemon.start()
        cat.wait(good, timeout=30)
        deadline = time.monotonic() + 10
        while bad.refresh().replicas[0].error is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        late = cat.put(b"late", name="late", destination=place.uri)
        late.wait(timeout=10)
        assert (bad.refresh().state, bad.replicas[0].state) == ("blocked", "wanted")
        (why,) = bad.why()["destinations"]
        assert why["reason"] == "source_changed"
        assert "no longer what was put" in why["sentence"]
        assert "put the file again" in why["do"].lower()
        status = cat.status()
        assert (status["verdict"], status["media"]["blocked"], status["media"]["safe"]) == ("at_risk", 1, 21)
        assert status["destinations"][0]["state"] == "ok"
        assert len(place.contents()) == 21
        assert not any(b"riginal bytes" in data for data in place.contents().values())
        again = cat.put(b"the original bytes", name="bad", destination=place.uri)
        daemon.kill()
        assert again.refresh().state in ("blocked", "pending", "safe")


def test_the_original_put_again_mends_it(rig: Rig) -> None:
    bad = rig.put(data=b"original")
    os.truncate(rig.local(bad), 2)
    rig.begin().settle()
    assert bad.refresh().state == "blocked"
    rig.put(data=b"original")
    rig.pass_time(61, 61)
    assert bad.refresh().state == "safe"
    assert list(rig.fakes["s3://fake-a/"].objects.values()) == [b"original"]
