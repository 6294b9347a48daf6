"""Small objects of our own, looking again, and versions: what the collector and the evictor ask of a store."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from lading_catalog.errors import Damaged, Error, Missing, Unavailable
from ladingd.stores.base import OWN_MAX_BYTES, Store, Upload
from ladingd.stores.directory import DirectoryStore
from ladingd.stores.open import open_store
from ladingd.stores.recheck import recheck
from servers.faults import Fault
from servers.process import S3Server

from .conftest import Faulty, Target, settings_for

KEY = ".lading/owners/01ABC"


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


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_an_answer_that_says_nothing_of_the_key_is_no_none(faulty: Faulty, status: int) -> None:
    faulty.store.write(KEY, b"it is there")
    faulty.proxy.faults.append(Fault("answer", lambda line: line.startswith("GET"), status=status))
    with pytest.raises(Error) as e:
        faulty.store.read(KEY)
    assert not isinstance(e.value, Missing)


def test_a_store_tells_its_time(target: Target) -> None:
    before = target.store.clock_offset_s
    target.store.write(KEY, b"x")
    offset = target.store.clock_offset_s
    assert offset is not None
    assert abs(offset) < 5
    assert before is None or target.is_s3


def test_a_directory_with_another_clock_shows(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    if target.is_s3:
        return
    real = time.time
    monkeypatch.setattr("ladingd.stores.directory.time.time", lambda: real() - 1000)
    target.store.write(KEY, b"x")
    assert target.store.clock_offset_s == pytest.approx(1000, abs=5)


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


def test_an_object_that_is_gone_is_missing(target: Target) -> None:
    with pytest.raises(Missing):
        recheck(target.store, "k", hashlib.sha256(b"x").digest(), 1, None)


# -- deletes -------------------------------------------------------------------------------------------------------------------------------


def test_keys_that_a_batch_does_not_name_are_deleted_one_by_one(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    """An answer of 200 that names nothing has deleted nothing that we know of."""
    keys = [f"k{n}" for n in range(3)]
    for key in keys:
        faulty.direct.put(key, make_upload(b"x"))
    body = b'<?xml version="1.0"?><DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>'
    faulty.proxy.faults.append(Fault("answer", lambda line: line.startswith("POST"), status=200, body=body))
    assert faulty.store.delete(keys) == {}
    assert list(faulty.direct.entries()) == []


@pytest.fixture
def versioned(servers: Callable[[str], S3Server]) -> Iterator[tuple[Store, Any, str]]:
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


def test_versions_are_no_matter_where_there_are_none(target: Target, make_upload: Callable[..., Upload]) -> None:
    if target.kind == "rclone":  # its server has no list of versions
        return
    target.store.put("k", make_upload(b"x"))
    assert target.store.delete(["k"], versions=True) == {}
    assert target.store.read("k") is None


def test_versions_that_cannot_be_listed_are_failures(versioned: tuple[Store, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    store, client, bucket = versioned
    store.write("k", b"one")
    real = store._s3.call  # type: ignore[attr-defined]

    def call(operation: str, key: str | None = None, **parameters: Any) -> Any:
        if operation == "ListObjectVersions":
            raise Unavailable("no list today")
        return real(operation, key, **parameters)

    monkeypatch.setattr(store._s3, "call", call)  # type: ignore[attr-defined]
    assert list(store.delete(["k"], versions=True)) == ["k"]
    assert versions(client, bucket) == ["p/k", "p/k"]
