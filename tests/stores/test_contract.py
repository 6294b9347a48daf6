"""What every provider promises, on the real thing."""

from __future__ import annotations

import hashlib
import os
import random
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from lading_catalog.errors import Damaged, Missing, Refused
from ladingd.stores.base import Entry, Upload

from .conftest import Target

SMALL = 8 << 20
ODD_NAMES = ("ä b\n\"'.png", "\udcff\udc80.bin", "\u202egnp.exe", "n" * 4000, "\ud800", "", "a\0b", "%2F+&?#")
ODD_KEYS = (
    "plain",
    "t/c/ab/ü€ 😀.png",
    "t/c/per%20cent%2F#?&+=;,@.txt",
    "t/c/x*y'\"<>|\\~`^{}[]$!().txt",
    "t/c/ leading and trailing ",
    "t/c/..hidden..",
    "t/c/\u202enoh",
    "t/c/" + "k" * 200,
)


def _bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def _read(target: Target, key: str, offset: int = 0) -> bytes:
    return b"".join(target.store.get(key, offset))


def _keys(target: Target) -> list[str]:
    return [entry.key for entry in target.store.entries()]


@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL, SMALL + 1])
def test_round_trip(target: Target, make_upload: Callable[..., Upload], size: int) -> None:
    data = _bytes(size)
    upload = make_upload(data)
    proof = target.store.put("t/c/ab/object.png", upload)
    assert proof.size_bytes == size
    assert proof.by == {"directory": "read"}.get(target.kind, "put")
    if proof.algorithm == "sha256":
        assert proof.value == upload.sha256.hex()
    assert _read(target, "t/c/ab/object.png") == data
    assert target.store.stat("t/c/ab/object.png").size_bytes == size


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys(target: Target, make_upload: Callable[..., Upload], key: str) -> None:
    target.store.put(key, make_upload(b"odd"))
    assert _read(target, key) == b"odd"
    assert list(target.store.entries()) == [Entry(key, 3)]
    assert target.store.delete([key, "absent"]) == {}
    assert _keys(target) == []


@pytest.mark.parametrize(
    "key", ["", "/", "/etc/x", "a//b", "a/", "../x", "a/../../x", ".", "a/./b", "a\0b", "\udcff", "k" * 1025]
)
def test_keys_that_are_none(target: Target, make_upload: Callable[..., Upload], key: str) -> None:
    with pytest.raises(Refused):
        target.store.put(key, make_upload(b"x"))
    with pytest.raises(Refused):
        target.store.stat(key)
    with pytest.raises(Refused):
        list(target.store.get(key))
    assert list(target.store.delete([key])) == [key]
    assert _keys(target) == []


@pytest.mark.parametrize("name", ODD_NAMES)
def test_name_and_type_travel(target: Target, make_upload: Callable[..., Upload], name: str) -> None:
    upload = make_upload(b"named", name=name)
    target.store.put("named", upload)
    stat = target.store.stat("named")
    if target.is_s3:
        assert stat.mime == "image/png"
        assert stat.metadata["sha256"] == upload.sha256.hex()
        raw = unquote_to_bytes(stat.metadata.get("name", ""))
        try:
            assert os.fsencode(name).endswith(raw)
            assert len(name) > 1000 or raw == os.fsencode(name)
        except UnicodeEncodeError:
            assert raw == name.encode("utf-8", "surrogatepass")


def test_put_twice_is_success(target: Target, make_upload: Callable[..., Upload]) -> None:
    upload = make_upload(b"same")
    assert target.store.put("k/k", upload) == target.store.put("k/k", upload)
    assert list(target.store.entries()) == [Entry("k/k", 4)]


@pytest.mark.parametrize("size", [1000, SMALL + 1000])
@pytest.mark.parametrize("change", ["truncated", "grown", "changed", "gone", "symlink", "fifo", "folder", "wrong sha"])
def test_a_changed_source_becomes_no_object(target: Target, make_upload: Callable[..., Upload], change: str, size: int) -> None:
    data = _bytes(size)
    upload = make_upload(data)
    path = Path(upload.path)
    if change == "truncated":
        os.truncate(path, size - 1)
    elif change == "grown":
        path.write_bytes(data + b"x")
    elif change == "changed":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif change == "wrong sha":
        upload = replace(upload, sha256=bytes(32))
    else:
        path.rename(path.with_suffix(".moved"))
        if change == "symlink":
            path.symlink_to(path.with_suffix(".moved"))
        elif change == "fifo":
            os.mkfifo(path)
        elif change == "folder":
            path.mkdir()
    with pytest.raises(Damaged) as caught:
        target.store.put("k", upload)
    assert caught.value.reason == "source_changed"
    assert _keys(target) == []


def test_a_changed_empty_source(target: Target, make_upload: Callable[..., Upload]) -> None:
    with pytest.raises(Damaged):
        target.store.put("k", make_upload(b"", sha256=bytes(32)))
    assert _keys(target) == []


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 9999, 10000, 10001])
def test_get_from_an_offset(target: Target, make_upload: Callable[..., Upload], offset: int) -> None:
    data = _bytes(10000)
    target.store.put("k", make_upload(data))
    assert _read(target, "k", offset) == data[offset:]


def test_a_reader_may_stop_early(target: Target, make_upload: Callable[..., Upload]) -> None:
    target.store.put("k", make_upload(_bytes(SMALL + 1)))
    for _ in range(12):
        chunks = target.store.get("k")
        assert next(chunks)
        chunks.close()  # type: ignore[attr-defined]
    assert len(_read(target, "k")) == SMALL + 1


def test_missing(target: Target) -> None:
    with pytest.raises(Missing):
        target.store.stat("no/such")
    with pytest.raises(Missing):
        next(target.store.get("no/such"))
    assert target.store.delete(["no/such", "no/such/either"]) == {}
    assert target.store.delete([]) == {}


def test_entries_in_key_order_under_a_prefix(target: Target, make_upload: Callable[..., Upload]) -> None:
    keys = ["a", "b/1", "b/2", "b/c/3", "b.x", "b0", "bb/1", "z"]
    for key in keys:
        target.store.put(key, make_upload(key.encode()))
    assert _keys(target) == sorted(keys, key=str.encode)
    assert [e.key for e in target.store.entries("b/")] == ["b/1", "b/2", "b/c/3"]
    assert [e.key for e in target.store.entries("b/c/3")] == ["b/c/3"]
    assert [e.key for e in target.store.entries("bb")] == ["bb/1"]
    assert list(target.store.entries("nothing")) == []


def test_delete_in_a_batch(target: Target, make_upload: Callable[..., Upload]) -> None:
    for key in ("a", "b/c", "d"):
        target.store.put(key, make_upload(b"x"))
    assert target.store.delete(["a", "b/c", "absent", "a"]) == {}
    assert _keys(target) == ["d"]


def test_presign(target: Target, make_upload: Callable[..., Upload]) -> None:
    target.store.put("t/a b+ü.png", make_upload(b"for all"))
    if not target.is_s3:
        with pytest.raises(Refused):
            target.store.presign("t/a b+ü.png", 60)
        return
    url = target.store.presign("t/a b+ü.png", 60)
    if target.kind == "ministack-https":
        assert url.startswith("https://")
        return
    assert urllib.request.urlopen(url).read() == b"for all"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(url.replace("Signature=", "Signature=0"))


def test_probe_leaves_nothing_and_reports_facts(target: Target) -> None:
    facts = target.store.probe().facts
    proof, algorithm = {"directory": ("read", "sha256"), "rclone": ("digest", "md5")}.get(target.kind, ("checksum", "sha256"))
    assert (facts["proof"], facts["algorithm"]) == (proof, algorithm)
    assert facts["round_trip_s"] > 0
    if target.is_s3:
        assert abs(facts["clock_offset_s"]) < 30
        assert facts["list"] == "ok"
        assert facts["checksum_sha256"] is (target.kind != "rclone"), "an echoed checksum is no proof"
    assert _keys(target) == []


def test_stat_reports_only_digests_the_store_made(target: Target, make_upload: Callable[..., Upload]) -> None:
    upload = make_upload(b"digested")
    target.store.put("k", upload)
    digests = target.store.stat("k").digests
    assert digests == ({"md5": hashlib.md5(b"digested").hexdigest()} if target.is_s3 else {})
    large = make_upload(_bytes(SMALL + 1))
    target.store.put("large", large)
    if target.kind.startswith("ministack"):
        assert target.store.stat("large").digests["sha256"] == large.sha256.hex()
    else:
        assert "sha256" not in target.store.stat("large").digests


def test_without_facts_everything_is_read_back(target: Target, make_upload: Callable[..., Upload]) -> None:
    store = target.make()
    for size in (5, SMALL + 5):
        upload = make_upload(_bytes(size))
        proof = store.put("k", upload) if target.is_s3 else store.put(f"k{size}", upload)
        assert (proof.by, proof.algorithm, proof.value) == ("read", "sha256", upload.sha256.hex())
    store.close()
