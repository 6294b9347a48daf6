"""Small objects of our own, looking again, and versions: what the collector and the evictor ask of a store."""

from __future__ import annotations

import email.utils
import errno
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from lading_catalog.errors import Damaged, Error, Full, Missing, Refused, Unavailable
from ladingd.stores.base import OWN_MAX_BYTES, Store, Upload
from ladingd.stores.directory import DirectoryStore
from ladingd.stores.open import open_store
from ladingd.stores.recheck import recheck
from ladingd.stores.s3 import S3Store
from ladingd.stores.s3_clock import offset_s
from servers.faults import Fault, FaultProxy, fault_proxy
from servers.process import S3Server

from .conftest import Faulty, Target, settings_for

KEY = ".lading/owners/01ABC"
Servers = Callable[[str], S3Server]


def test_what_was_written_is_read_and_replaced(target: Target) -> None:
    assert target.store.read(KEY) is None
    for data in (b"first", b"", b"x" * OWN_MAX_BYTES, b"last"):
        target.store.write(KEY, data)
        assert target.store.read(KEY) == data
    assert target.store.delete([KEY]) == {}
    assert target.store.read(KEY) is None


def test_what_is_too_long_to_be_ours_is_damaged(target: Target) -> None:
    target.store.write(KEY, b"x" * (OWN_MAX_BYTES + 1))
    with pytest.raises(Damaged):
        target.store.read(KEY)


def test_only_a_definite_no_is_none(target: Target) -> None:
    """A bucket or a folder that is not there, or other credentials, is no "there is no marker"."""
    elsewhere: list[Store] = []
    if target.is_s3:
        elsewhere.append(target.make(uri=f"s3://no-such-{secrets.token_hex(4)}/p/"))
        if target.kind == "rclone":  # the other server checks no signatures
            elsewhere.append(target.make(s3_profile="wrong"))
    else:
        root = target.store.uri.removeprefix("file://")
        elsewhere += [DirectoryStore(target.store.uri, f"{root}gone", marker="m"), DirectoryStore(target.store.uri, root)]
    for store in elsewhere:
        with pytest.raises(Error) as e:
            store.read(KEY)
        assert not isinstance(e.value, Missing)


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode() if code else b""


def _is(method: str) -> Callable[[str], bool]:
    return lambda line: line.startswith(f"{method} ")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, ""),
        (404, ""),
        (500, ""),
        (503, ""),
        (404, "NoSuchBucket"),
        (404, "NoSuchVersion"),
        (403, "NoSuchKey"),
        (404, "X"),
        (200, ""),
    ],
)
def test_an_answer_that_says_nothing_of_the_key_is_no_none(faulty: Faulty, status: int, code: str) -> None:
    faulty.store.write(KEY, b"it is there")
    faulty.proxy.faults.append(Fault("answer", _is("GET"), status=status, body=_error(code)))
    with pytest.raises((Unavailable, Refused)):
        faulty.store.read(KEY)


def test_one_request_each(faulty: Faulty) -> None:
    assert faulty.store.read(KEY) is None
    faulty.store.write(KEY, b"x")
    assert faulty.store.read(KEY) == b"x"
    assert [line.split(" ")[0] for line in faulty.proxy.requests] == ["GET", "PUT", "GET"]


@pytest.mark.parametrize("at", [0, 1, 99])
def test_half_of_what_we_wrote_is_nothing(faulty: Faulty, at: int) -> None:
    faulty.store.write(KEY, b"x" * 100)
    faulty.proxy.faults.append(Fault("truncate_reply", _is("GET"), at=at))
    with pytest.raises(Unavailable):
        faulty.store.read(KEY)


def test_what_is_much_too_long_is_not_fetched(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    """It would fill the memory."""
    faulty.direct.put(KEY, make_upload(bytes(9 << 20)))
    faulty.proxy.faults.append(Fault("truncate_reply", _is("GET"), at=4 << 20))
    with pytest.raises(Damaged):
        faulty.store.read(KEY)


def test_a_write_that_goes_wrong_leaves_what_was_there(faulty: Faulty) -> None:
    faulty.store.write(KEY, b"old")
    faulty.proxy.faults.append(Fault("corrupt_request", _is("PUT"), at=1))
    with pytest.raises(Damaged):
        faulty.store.write(KEY, b"new")
    faulty.proxy.faults.append(Fault("answer", _is("PUT"), status=200))
    with pytest.raises(Unavailable):
        faulty.store.write(KEY, b"new")
    assert faulty.direct.read(KEY) == b"old"


@pytest.fixture
def disk(tmp_path: Path) -> tuple[DirectoryStore, Path]:
    root = tmp_path / "disk"
    root.mkdir()
    store = DirectoryStore(f"file://{root}/", str(root))
    store.probe()
    return store, root


@pytest.mark.parametrize("what", ["folder is a file", "another disk", "no marker", "a folder", "a symlink", "a fifo"])
def test_a_directory_in_doubt_is_no_none(disk: tuple[DirectoryStore, Path], what: str) -> None:
    store, root = disk
    path = root / KEY
    if what == "folder is a file":
        path.parent.write_bytes(b"")
    elif what == "another disk":
        (root / ".lading/marker").write_text("0" * 32)
    elif what == "no marker":
        (root / ".lading/marker").unlink()
    else:
        path.parent.mkdir()
        if what == "a folder":
            path.mkdir()
        elif what == "a fifo":
            os.mkfifo(path)
        else:
            path.symlink_to("gone")
    with pytest.raises((Unavailable, Refused)):
        store.read(KEY)


def test_a_directory_that_is_another_disk_is_not_written_to(disk: tuple[DirectoryStore, Path]) -> None:
    store, root = disk
    (root / ".lading/marker").write_text("0" * 32)
    with pytest.raises(Unavailable):
        store.write(KEY, b"x")
    assert not (root / KEY).exists()


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_write_to_a_failing_disk_leaves_what_was_there(
    disk: tuple[DirectoryStore, Path], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store, root = disk
    store.write(KEY, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(Full):
            store.write(KEY, b"new")
    assert store.read(KEY) == b"old"
    assert list((root / ".lading/tmp").iterdir()) == []


def test_the_order_of_syncs_of_a_write(disk: tuple[DirectoryStore, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes before the name, the folder after it."""
    store, root = disk
    store.write(KEY, b"old")
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(fd: int) -> None:
        events.append("sync " + os.readlink(f"/proc/self/fd/{fd}").removeprefix(f"{root}/"))
        fsync(fd)

    def note_replace(*args: Any, **kwargs: Any) -> None:
        events.append("name")
        replace(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", note_fsync)
        patch.setattr(os, "replace", note_replace)
        store.write(KEY, b"new")
    assert events[0].startswith("sync .lading/tmp/")
    assert events[1:] == ["name", f"sync {KEY.rpartition('/')[0]}"]


def test_a_store_tells_its_time(target: Target) -> None:
    before = target.store.clock_offset_s
    target.store.write(KEY, b"x")
    offset = target.store.clock_offset_s
    assert offset is not None
    assert abs(offset) < 5
    assert before is None or target.is_s3


@pytest.mark.parametrize("offset_s", [1000, -1000])
def test_a_directory_with_another_clock_shows(
    disk: tuple[DirectoryStore, Path], monkeypatch: pytest.MonkeyPatch, offset_s: float
) -> None:
    real = time.time
    monkeypatch.setattr("ladingd.stores.directory_own.time.time", lambda: real() - offset_s)
    disk[0].write(KEY, b"x")
    assert disk[0].clock_offset_s == pytest.approx(offset_s, abs=5)


def test_a_slow_disk_is_no_wrong_clock(disk: tuple[DirectoryStore, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def slow(fd: int) -> None:
        time.sleep(0.3)
        real(fd)

    monkeypatch.setattr(os, "fsync", slow)
    disk[0].write(KEY, b"x")
    assert disk[0].clock_offset_s == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("status", [200, 403, 404, 503])
def test_any_answer_tells_the_time(faulty: Faulty, status: int) -> None:
    store = faulty.make()
    assert store.clock_offset_s is None
    told = email.utils.formatdate(time.time() - 1000, usegmt=True)
    faulty.proxy.faults.append(Fault("answer", _is("PUT"), status=status, headers={"Date": told}))
    with pytest.raises(Error):
        store.write(KEY, b"x")
    assert store.clock_offset_s == pytest.approx(-1000, abs=2)
    faulty.proxy.faults.append(Fault("answer", _is("PUT"), status=503))
    with pytest.raises(Error):
        store.write(KEY, b"x")
    assert store.clock_offset_s == pytest.approx(-1000, abs=2), "an answer without a Date tells nothing"


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Thu, 01 Jan 1970 00:16:40 GMT", -1.5),  # 1000 s and a half, seen in the middle of 1000 to 1004
        ("Thu, 01 Jan 1970 00:16:40 -0000", -1.5),
        ("soon", None),
        ("", None),
    ],
)
def test_half_of_the_round_trip_is_taken_off(date: str, expected: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert offset_s({"date": date}, 1000.0, 1004.0) == expected
    finally:
        monkeypatch.undo()
        time.tzset()


# -- looking again -------------------------------------------------------------------------------------------------------------------------


def test_a_whole_object_gets_a_fresh_proof(target: Target, make_upload: Callable[..., Upload]) -> None:
    upload = make_upload(b"whole")
    first = target.store.put("k", upload)
    proof = recheck(target.store, "k", upload.sha256, 5, (first.algorithm, first.value))
    assert proof.size_bytes == 5
    assert proof.by == ("read" if target.kind == "directory" else "head")
    without = recheck(target.store, "k", upload.sha256, 5, None)
    assert (without.algorithm, without.value) == ("sha256", upload.sha256.hex())


@pytest.mark.parametrize("other", [b"other", b"longer than it"])
def test_an_object_that_is_another_one_is_damaged(target: Target, make_upload: Callable[..., Upload], other: bytes) -> None:
    upload = make_upload(b"whole")
    first = target.store.put("k", upload)
    target.store.delete(["k"])
    target.store.put("k", make_upload(other))
    with pytest.raises(Damaged):
        recheck(target.store, "k", upload.sha256, 5, (first.algorithm, first.value))
    with pytest.raises(Damaged):
        recheck(target.store, "k", upload.sha256, 5, None)


def test_a_directory_is_looked_at_on_its_medium(
    disk: tuple[DirectoryStore, Path], make_upload: Callable[..., Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only when it is looked at: dropping what is cached would slow every other reader."""
    store = disk[0]
    upload = make_upload(b"whole")
    store.put("k", upload)
    dropped: list[str] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *args: dropped.append(os.readlink(f"/proc/self/fd/{fd}")))
    assert b"".join(store.get("k")) == b"whole"
    assert dropped == []
    recheck(store, "k", upload.sha256, 5, None)
    assert [Path(path).name for path in dropped] == ["k"]


def test_a_digest_of_the_store_spares_the_reading(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    upload = make_upload(b"whole")
    first = faulty.store.put("k", upload)
    faulty.proxy.reset()
    assert recheck(faulty.store, "k", upload.sha256, 5, (first.algorithm, first.value)).by == "head"
    assert [line.split(" ")[0] for line in faulty.proxy.requests] == ["HEAD"]


def test_another_size_is_enough(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    faulty.direct.put("k", make_upload(b"shorter"))
    store = faulty.make(facts=None)  # no digest is known, and the bytes are not fetched either
    with pytest.raises(Damaged, match="7 bytes, not 8"):
        recheck(store, "k", hashlib.sha256(b"shorter!").digest(), 8, None)
    assert [line.split(" ")[0] for line in faulty.proxy.requests] == ["HEAD"]


def test_an_object_that_is_gone_is_missing(target: Target) -> None:
    with pytest.raises(Missing):
        recheck(target.store, "k", hashlib.sha256(b"x").digest(), 1, None)


# -- deletes -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", b"<html></html>", b"<html><p>Log in", b"hello", b"<DeleteResult/>", _error("InternalError")]
)
@pytest.mark.parametrize("many", [1, 3])
def test_what_is_not_named_as_deleted_has_failed(
    faulty: Faulty, make_upload: Callable[..., Upload], body: bytes, many: int
) -> None:
    """An answer of 200 that names nothing has deleted nothing that we know of."""
    keys = [f"k{n}" for n in range(many)]
    for key in keys:
        faulty.direct.put(key, make_upload(b"x"))
    faulty.proxy.faults.append(Fault("answer", _is("POST" if many > 1 else "DELETE"), status=200, body=body))
    failed = faulty.store.delete(keys)
    assert list(failed) == keys
    assert all(isinstance(e, Unavailable) for e in failed.values())
    assert len(list(faulty.direct.entries())) == many
    faulty.proxy.requests.clear()
    assert faulty.store.delete(keys) == {}
    assert len(faulty.proxy.requests) == 1


def test_a_store_that_never_names_what_it_deleted_is_asked_one_by_one(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    for key in ("a", "b"):
        faulty.direct.put(key, make_upload(b"x"))
    said = {"x-amz-request-id": "R"}
    faulty.proxy.faults.append(Fault("answer", _is("POST"), status=200, headers=said, body=b"<DeleteResult/>"))
    assert list(faulty.store.delete(["a", "b"])) == ["a", "b"]
    assert faulty.store.delete(["a", "b"]) == {}
    assert [line.split(" ")[0] for line in faulty.proxy.requests] == ["POST", "DELETE", "DELETE"]
    assert list(faulty.direct.entries()) == []


@pytest.fixture
def versioned(servers: Servers) -> Iterator[tuple[Store, Any, str]]:
    """A store in a bucket with versioning, a client beside it, and the bucket's name."""
    server = servers("ministack")
    bucket = f"versioned-{secrets.token_hex(4)}"
    client = boto3.client("s3", endpoint_url=server.endpoint, aws_access_key_id=server.access_key, region_name="us-east-1",
                          aws_secret_access_key=server.secret_key)  # fmt: skip
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    store = open_store(f"s3://{bucket}/p/", settings_for(server))
    yield store, client, bucket
    store.close()
    client.close()


def versions(client: Any, bucket: str) -> list[str]:
    page = client.list_object_versions(Bucket=bucket)
    return sorted(entry["Key"] for entry in [*page.get("Versions", []), *page.get("DeleteMarkers", [])])


def test_the_probe_sees_versioning(versioned: tuple[Store, Any, str], target: Target) -> None:
    assert versioned[0].probe().facts["versioned"] is True
    assert target.store.probe().facts["versioned"] is False


def test_a_plain_delete_leaves_versions_and_the_other_one_removes_those_of_its_keys(versioned: tuple[Store, Any, str]) -> None:
    store, client, bucket = versioned
    for key in ("k", "k2", "k/longer", "other"):
        store.write(key, b"one")
        store.write(key, b"two")
    assert store.delete(["k"]) == {}
    assert versions(client, bucket).count("p/k") == 3  # two versions and a marker
    assert store.delete(["k", "other", "never"], versions=True) == {}
    assert versions(client, bucket) == ["p/k/longer", "p/k/longer", "p/k2", "p/k2"]
    assert store.read("k2") == b"two"


def test_versions_of_longer_keys_are_never_asked_to_go(
    versioned: tuple[Store, Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even with our key and their version, which a store would take for a version that is gone already."""
    store, client, bucket = versioned
    for key in ("k", "k2", "k", "k2"):
        store.write(key, b"x")
    ours = {v["VersionId"] for v in client.list_object_versions(Bucket=bucket)["Versions"] if v["Key"] == "p/k"}
    asked: list[dict[str, str]] = []
    real = store._s3.call  # type: ignore[attr-defined]

    def call(operation: str, key: str | None = None, **parameters: Any) -> Any:
        asked.extend(parameters.get("Delete", {}).get("Objects", []))
        return real(operation, key, **parameters)

    monkeypatch.setattr(store._s3, "call", call)  # type: ignore[attr-defined]
    assert store.delete(["k"], versions=True) == {}
    assert {item["Key"] for item in asked} == {"p/k"}
    assert len(asked) == len(ours) + 1
    assert ours < {item["VersionId"] for item in asked}


def test_a_key_with_many_versions_is_listed_to_its_end(versioned: tuple[Store, Any, str], servers: Servers) -> None:
    _, client, bucket = versioned
    server = servers("ministack")
    store = S3Store(
        f"s3://{bucket}/p/", bucket=bucket, prefix="p/", endpoint_url=server.endpoint, profile="ministack", page_size=2
    )
    for _ in range(5):
        for key in ("k", "k0"):
            store.write(key, b"x")
    store.delete(["k"])
    assert store.delete(["k"], versions=True) == {}
    assert versions(client, bucket) == ["p/k0"] * 5
    store.close()


def test_versions_of_a_key_that_fits_into_no_xml(behind: tuple[S3Store, FaultProxy], versioned: tuple[Store, Any, str]) -> None:
    store, proxy = behind
    for key in ("k\x7f", "k\x7fx", "k\x7f", "k\x7fx"):
        store.write(key, b"x")
    proxy.requests.clear()
    assert store.delete(["k\x7f"], versions=True) == {}
    assert [line.split(" ")[0] for line in proxy.requests] == ["DELETE", "GET", "DELETE", "DELETE", "DELETE"]
    assert [key for key in versions(*versioned[1:]) if "\x7f" in key] == ["p/k\x7fx"] * 2


def test_versions_where_a_probe_saw_none_cost_nothing(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    for key in ("a", "b"):
        faulty.direct.put(key, make_upload(b"x"))
    assert faulty.store.delete(["a", "b"], versions=True) == {}
    assert [line.split(" ")[0] for line in faulty.proxy.requests] == ["POST"]


@pytest.mark.parametrize("keys", [["k"], ["k", "k2"]])
def test_versions_that_a_bucket_keeps_since_its_probe(
    versioned: tuple[Store, Any, str], servers: Servers, keys: list[str]
) -> None:
    """The answer to the delete tells."""
    plain, client, bucket = versioned
    store = open_store(plain.uri, settings_for(servers("ministack")), {"versioned": False})
    for key in keys:
        store.write(key, b"x")
    assert store.delete(keys, versions=True) == {}
    assert versions(client, bucket) == []
    store.close()


def test_versions_are_no_matter_where_there_are_none(target: Target, make_upload: Callable[..., Upload]) -> None:
    target.store.put("k", make_upload(b"x"))
    assert target.store.delete(["k", "never"], versions=True) == {}
    assert target.store.read("k") is None


@pytest.fixture
def behind(versioned: tuple[Store, Any, str], servers: Servers) -> Iterator[tuple[S3Store, FaultProxy]]:
    """The versioned bucket through the proxy, with two versions each of `k` and `l`."""
    uri = versioned[0].uri
    with fault_proxy(servers("ministack").port) as proxy:
        store = S3Store(uri, bucket=versioned[2], prefix="p/", endpoint_url=proxy.endpoint, profile="ministack")
        for key in ("k", "l", "k", "l"):
            store.write(key, b"x")
        yield store, proxy
        assert not proxy.unused
        store.close()


def test_the_permission_that_is_missing_is_named(behind: tuple[S3Store, FaultProxy], versioned: tuple[Store, Any, str]) -> None:
    store, proxy = behind
    denied = _error("AccessDenied")
    proxy.faults.append(Fault("answer", lambda line: "versions" in line and "prefix=p%2Fk" in line, status=403, body=denied))
    failed = store.delete(["k", "l"], versions=True)
    assert list(failed) == ["k"], "the others are removed all the same"
    assert isinstance(failed["k"], Refused)
    assert "s3:ListBucketVersions" in failed["k"].hint
    assert set(versions(*versioned[1:])) == {"p/k"}
    deletes = "<DeleteResult>" + "".join(
        f"<Error><Key>p/k</Key><VersionId>{v['VersionId']}</VersionId><Code>AccessDenied</Code></Error>"
        for v in versioned[1].list_object_versions(Bucket=versioned[2])["Versions"]
    )
    for fault in (
        {"status": 403, "body": denied},
        {"status": 200, "body": f"{deletes}</DeleteResult>".encode()},
    ):
        proxy.faults.append(Fault("answer", _is("POST"), **fault))  # type: ignore[arg-type]
        failed = store.delete(["k"], versions=True)
        assert isinstance(failed["k"], Refused)
        assert "s3:DeleteObjectVersion" in failed["k"].hint
    assert store.delete(["k"], versions=True) == {}
    proxy.faults.append(Fault("answer", lambda line: "DELETE" in line and "versionId" in line, status=403, body=denied))
    failed = store.delete(["k"], versions=True)  # one marker alone goes without a batch
    assert "s3:DeleteObjectVersion" in failed["k"].hint
    assert store.delete(["k"], versions=True) == {}
    assert versions(*versioned[1:]) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"<ListVersionsResult><IsTruncated>true</IsTruncated></ListVersionsResult>",
        b"<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>p/k</NextKeyMarker></ListVersionsResult>",
    ],
)
def test_a_list_of_versions_that_is_not_whole_is_a_failure(
    behind: tuple[S3Store, FaultProxy], versioned: tuple[Store, Any, str], body: bytes
) -> None:
    store, proxy = behind
    times = 2 if b"NextKeyMarker" in body else 1
    proxy.faults.append(Fault("answer", lambda line: "versions" in line, status=200, body=body, times=times))
    failed = store.delete(["k"], versions=True)
    assert isinstance(failed["k"], Unavailable)
    assert versions(*versioned[1:]).count("p/k") == 3


def test_versions_that_an_answer_does_not_name_have_failed(behind: tuple[S3Store, FaultProxy]) -> None:
    store, proxy = behind
    body = b"<DeleteResult><Deleted><Key>p/k</Key><VersionId>another</VersionId></Deleted></DeleteResult>"
    proxy.faults.append(Fault("answer", _is("POST"), status=200, body=body))
    assert isinstance(store.delete(["k"], versions=True)["k"], Unavailable)
    assert store.delete(["k"], versions=True) == {}
