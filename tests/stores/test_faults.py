"""What goes wrong on the way to a real S3 server, made by a proxy. No fault may end in a proof of what is not there."""

from __future__ import annotations

import base64
import errno
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from lading_catalog.errors import Archived, Damaged, Error, Full, Refused, Unavailable
from ladingd.stores.base import Entry, Upload
from servers.faults import Fault

from .conftest import BUCKET, SECRETS, Faulty

SIZES = [1000, (8 << 20) + 1000]


def _data(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def _is(method: str) -> Callable[[str], bool]:
    return lambda line: line.startswith(f"{method} ")


def _stored(faulty: Faulty) -> list[Entry]:
    return list(faulty.direct.entries())


def _answer(status: int, code: str = "", **headers: str) -> dict[str, Any]:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode() if code else b""
    return {"status": status, "body": body, "headers": {name.replace("_", "-"): v for name, v in headers.items()}}


def _no_secret(error: Error) -> None:
    texts = [str(error), repr(error), str(error.problem()), repr(error.__cause__)]
    if not error.__suppress_context__:
        texts.append(repr(error.__context__))
    for text in texts:
        assert not any(secret in text for secret in SECRETS)
        assert "Signature=" not in text


@pytest.mark.parametrize("size", SIZES)
def test_one_request_for_a_put(faulty: Faulty, make_upload: Callable[..., Upload], size: int) -> None:
    assert faulty.store.put("k", make_upload(_data(size))).by == "put"
    assert [line.split(" ")[0] for line in faulty.proxy.requests] == ["PUT"]
    assert "expect" not in faulty.proxy.heads[0]
    assert "content-length" in faulty.proxy.heads[0]


@pytest.mark.parametrize("size", SIZES)
def test_a_lost_reply_then_the_same_again(faulty: Faulty, make_upload: Callable[..., Upload], size: int) -> None:
    upload = make_upload(_data(size))
    faulty.proxy.faults.append(Fault("drop_reply", _is("PUT")))
    with pytest.raises(Unavailable) as caught:
        faulty.store.put("k", upload)
    _no_secret(caught.value)
    assert len(faulty.proxy.requests) == 1, "one place decides on retries, and it is not the SDK"
    assert faulty.store.put("k", upload).size_bytes == size
    assert _stored(faulty) == [Entry("k", size)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("at", [0, 700, -1])
@pytest.mark.parametrize("known", [True, False])
def test_a_corrupted_body_is_never_proved(
    faulty: Faulty, make_upload: Callable[..., Upload], size: int, at: int, known: bool
) -> None:
    """With facts the put shows it, without them the reading back."""
    store = faulty.store if known else faulty.make(facts=None)
    upload = make_upload(_data(size))
    faulty.proxy.faults.append(Fault("corrupt_request", _is("PUT"), at=at % size))
    with pytest.raises(Damaged) as caught:
        store.put("k", upload)
    assert caught.value.reason == "damaged"
    assert not caught.value.permanent
    assert store.put("k", upload).size_bytes == size
    assert b"".join(faulty.direct.get("k")) == _data(size)


@pytest.mark.parametrize("size", SIZES)
def test_a_reset_in_the_body(faulty: Faulty, make_upload: Callable[..., Upload], size: int) -> None:
    """ministack now and then keeps what had arrived. No proof was given, and the next attempt replaces it."""
    upload = make_upload(_data(size))
    faulty.proxy.faults.append(Fault("reset_body", _is("PUT"), at=500))
    with pytest.raises(Unavailable) as caught:
        faulty.store.put("k", upload)
    assert caught.value.reason == "unreachable"
    assert faulty.store.put("k", upload).by == "put"
    assert _stored(faulty) == [Entry("k", size)]


@pytest.mark.parametrize(
    ("answer", "cls", "reason"),
    [
        (_answer(503, "SlowDown", Retry_After="7"), Unavailable, "throttled"),
        (_answer(503), Unavailable, "throttled"),
        (_answer(429), Unavailable, "throttled"),
        (_answer(400, "RequestTimeout"), Unavailable, "throttled"),
        (_answer(500, "InternalError"), Unavailable, "unreachable"),
        (_answer(403, "AccessDenied"), Refused, "refused"),
        (_answer(403, "SignatureDoesNotMatch"), Refused, "no_credentials"),
        (_answer(400, "ExpiredToken"), Refused, "no_credentials"),
        (_answer(403, "RequestTimeTooSkewed"), Refused, "refused"),
        (_answer(404, "NoSuchBucket"), Refused, "no_bucket"),
        (_answer(404), Unavailable, "unreachable"),
        (_answer(403, "QuotaExceeded"), Full, "full"),
        (_answer(507), Full, "full"),
        (_answer(400, "EntityTooLarge"), Refused, "refused"),
        (_answer(400, "BadDigest"), Damaged, "damaged"),
        (_answer(418, "Teapot"), Refused, "refused"),
    ],
)
@pytest.mark.parametrize("size", [10, (8 << 20) + 10])
def test_answers_to_a_put(
    faulty: Faulty, make_upload: Callable[..., Upload], answer: dict[str, Any], cls: type[Error], reason: str, size: int
) -> None:
    faulty.proxy.faults.append(Fault("answer", _is("PUT"), **answer))
    with pytest.raises(cls) as caught:
        faulty.store.put("k", make_upload(_data(size)))
    assert caught.value.reason == reason
    assert len(faulty.proxy.requests) == 1
    if "AccessDenied" in str(answer):
        assert "s3:PutObject on s3://" in caught.value.hint
    if "Skewed" in str(answer):
        assert "clock" in caught.value.hint
    _no_secret(caught.value)


@pytest.mark.parametrize("size", [10, (8 << 20) + 10])
def test_a_200_from_no_store_is_no_proof(faulty: Faulty, make_upload: Callable[..., Upload], size: int) -> None:
    faulty.proxy.faults.append(Fault("answer", _is("PUT"), status=200, body=b"<html>hello</html>"))
    with pytest.raises(Unavailable):
        faulty.store.put("k", make_upload(_data(size)))
    assert _stored(faulty) == []


def test_retry_after_reaches_the_caller(faulty: Faulty) -> None:
    faulty.proxy.faults.append(Fault("answer", **_answer(503, "SlowDown", Retry_After="7")))
    with pytest.raises(Unavailable) as caught:
        faulty.store.stat("k")
    assert (caught.value.reason, caught.value.retry_after_s) == ("throttled", 7.0)


def test_after_a_throttled_put_the_next_one_hears_retry_after(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    """obstore hides the header; boto3 asks until the store is well again."""
    faulty.proxy.faults.append(Fault("answer", _is("PUT"), times=2, **_answer(503, "SlowDown", Retry_After="7")))
    for expected in (None, 7.0):
        with pytest.raises(Unavailable) as caught:
            faulty.store.put("k", make_upload(b"x"))
        assert (caught.value.reason, caught.value.retry_after_s) == ("throttled", expected)
    for _ in range(2):
        faulty.store.put("k", make_upload(b"x"))
    agents = [head["user-agent"].split("/")[0] for head in faulty.proxy.heads]
    assert agents == ["object_store", "Boto3", "Boto3", "object_store"]


@pytest.mark.parametrize("key", ["plain/key.png", "odd/ü key%.png"])
def test_which_client_puts(faulty: Faulty, make_upload: Callable[..., Upload], key: str) -> None:
    """obstore for small objects with a plain key where the answer proves them; boto3 for the rest."""
    faulty.store.put(key, make_upload(b"small"))
    faulty.store.put(key, make_upload(_data((8 << 20) + 1)))
    faulty.make(facts=None).put(key, make_upload(b"small"))
    agents = [head["user-agent"].split("/")[0] for head in faulty.proxy.heads]
    assert agents == ["object_store" if key.startswith("plain") else "Boto3", "Boto3", "Boto3", "Boto3"]
    sums = [head.get("x-amz-checksum-sha256") is not None for head in faulty.proxy.heads]
    by_boto = faulty.kind == "ministack"
    assert sums == [by_boto and not key.startswith("plain"), by_boto, False, False]


def test_a_checksum_that_obstore_declares(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    """With a store that looks at an unnamed checksum, its refusal and its answer are what counts."""
    facts = {"proof": "checksum", "algorithm": "sha256", "checksum_sha256": True, "checksum_sha256_unnamed": True}
    store = faulty.make(facts=facts)
    upload = make_upload(b"declared")
    proof = store.put("k", upload)
    assert (proof.by, proof.algorithm) == ("put", "sha256")
    assert base64.b64decode(faulty.proxy.heads[0]["x-amz-checksum-sha256"]) == upload.sha256
    faulty.proxy.faults.append(Fault("answer", _is("PUT"), **_answer(400, "BadDigest")))
    with pytest.raises(Damaged):
        store.put("k", upload)


def test_obstore_goes_where_boto3_goes_whatever_the_environment_says(
    faulty: Faulty, make_upload: Callable[..., Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = faulty.make()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_ENDPOINT": "http://127.0.0.1:9",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_CHECKSUM_ALGORITHM": "SHA256",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_BUCKET": "other",
    }.items():
        monkeypatch.setenv(name, value)
    assert store.put("k", make_upload(b"x")).by == "put"
    assert faulty.proxy.heads[0]["user-agent"].startswith("object_store")
    assert "authorization" in faulty.proxy.heads[0]


def test_a_404_is_missing_only_if_it_says_so(faulty: Faulty) -> None:
    """A proxy or a console in the way answers 404 to everything. That is no word on an object."""
    faulty.proxy.faults.append(Fault("answer", times=2, status=404, body=b"<html>nothing here</html>"))
    with pytest.raises(Unavailable):
        faulty.store.stat("k")
    faulty.proxy.faults.append(Fault("answer", status=404))
    with pytest.raises(Unavailable):
        next(faulty.store.get("k"))
    faulty.proxy.faults.append(Fault("answer", times=2, **_answer(404, "NoSuchBucket")))
    with pytest.raises(Refused) as caught:
        faulty.store.stat("k")
    assert caught.value.reason == "no_bucket"


def test_reads_are_refused_or_archived(faulty: Faulty) -> None:
    faulty.proxy.faults.append(Fault("answer", **_answer(403, "AccessDenied")))
    with pytest.raises(Refused) as caught:
        next(faulty.store.get("k"))
    assert "s3:GetObject" in caught.value.hint
    faulty.proxy.faults.append(Fault("answer", **_answer(403, "InvalidObjectState")))
    with pytest.raises(Archived):
        next(faulty.store.get("k"))


@pytest.mark.parametrize("at", [0, 1, 99_999])
def test_a_truncated_body_is_unavailable(faulty: Faulty, make_upload: Callable[..., Upload], at: int) -> None:
    data = _data(100_000)
    faulty.direct.put("k", make_upload(data))
    faulty.proxy.faults.append(Fault("truncate_reply", _is("GET"), at=at))
    with pytest.raises(Unavailable) as caught:
        b"".join(faulty.store.get("k"))
    _no_secret(caught.value)
    assert b"".join(faulty.store.get("k")) == data


def test_a_range_answered_with_everything(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    faulty.proxy.faults.append(Fault("answer", _is("GET"), status=200, body=b"0123456789"))
    assert b"".join(faulty.store.get("k", 4)) == b"456789"


def test_missing_bucket(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    store = faulty.make(bucket="no-such-bucket")
    for act in (lambda: store.put("k", make_upload(b"x")), lambda: list(store.entries()), lambda: store.probe()):
        with pytest.raises(Refused) as caught:
            act()
        assert caught.value.reason == "no_bucket"
    with pytest.raises(Refused) as caught:
        store.stat("k")
    assert caught.value.reason == "no_bucket"


@pytest.mark.parametrize("profile", ["wrong", "no-such-profile"])
def test_wrong_credentials(faulty: Faulty, make_upload: Callable[..., Upload], profile: str) -> None:
    if profile == "wrong" and faulty.kind == "ministack":
        # it checks no signatures but those of presigned URLs; rclone does
        faulty.proxy.faults.append(Fault("answer", times=3, **_answer(403, "SignatureDoesNotMatch")))
    store = faulty.make(profile=profile)
    for act in (lambda: store.put("k", make_upload(b"x")), lambda: list(store.entries()), lambda: store.probe()):
        with pytest.raises(Refused) as caught:
            act()
        assert caught.value.reason == "no_credentials"
        assert "~/.aws/credentials" in caught.value.hint
        _no_secret(caught.value)
    assert _stored(faulty) == []


def test_no_credentials_at_all(faulty: Faulty, make_upload: Callable[..., Upload], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    store = faulty.make(profile=None)
    for act in (lambda: store.put("k", make_upload(b"x")), lambda: store.stat("k"), lambda: store.presign("k", 60)):
        with pytest.raises(Refused) as caught:
            act()
        assert caught.value.reason == "no_credentials"


def test_nobody_listens(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    store = faulty.make(endpoint_url="http://127.0.0.1:9")
    for act in (lambda: store.put("k", make_upload(b"x")), lambda: store.stat("k"), lambda: next(store.get("k"))):
        with pytest.raises(Unavailable) as caught:
            act()
        _no_secret(caught.value)


def test_entries_over_several_pages(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    keys = [f"p/{i:02}" for i in range(7)]
    for key in keys:
        faulty.direct.put(key, make_upload(b"x"))
    store = faulty.make(page_size=3)
    assert [entry.key for entry in store.entries("p/")] == keys
    assert len([line for line in faulty.proxy.requests if "list-type=2" in line]) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"<ListBucketResult><IsTruncated>true</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>",
        b"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>3</KeyCount></ListBucketResult>",
        b"<ListBucketResult></ListBucketResult>",
        b"<html>",
        b"",
    ],
)
def test_a_list_that_is_not_whole_raises(faulty: Faulty, body: bytes) -> None:
    faulty.proxy.faults.append(Fault("answer", _is("GET"), status=200, body=body))
    with pytest.raises(Unavailable):
        list(faulty.store.entries())


def test_an_error_on_the_second_page_raises(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    for key in ("a", "b", "c"):
        faulty.direct.put(key, make_upload(b"x"))
    faulty.proxy.faults.append(Fault("answer", lambda line: "continuation-token" in line, **_answer(500, "InternalError")))
    with pytest.raises(Unavailable):
        list(faulty.make(page_size=2).entries())


def test_a_partial_failure_of_a_batch(faulty: Faulty) -> None:
    body = (
        b"<DeleteResult><Error><Key>%s</Key><Code>AccessDenied</Code></Error>"
        b"<Error><Key>%s</Key><Code>NoSuchKey</Code></Error></DeleteResult>"
    )
    prefix = faulty.store.uri.removeprefix(f"s3://{BUCKET}/").encode()
    faulty.proxy.faults.append(Fault("answer", _is("POST"), status=200, body=body % (prefix + b"b", prefix + b"c")))
    failed = faulty.store.delete(["a", "b", "c"])
    assert sorted(failed) == ["a", "b"]
    assert isinstance(failed["a"], Unavailable), "the answer does not name it"
    assert isinstance(failed["b"], Refused)
    assert "s3:DeleteObject" in failed["b"].hint


def test_a_store_without_batches_gets_single_deletes(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    for key in ("a", "b", "c", "d"):
        faulty.direct.put(key, make_upload(b"x"))
    faulty.proxy.faults.append(Fault("answer", _is("POST"), **_answer(400, "MissingContentMD5")))
    assert faulty.store.delete(["a", "b"]) == {}
    assert faulty.store.delete(["c", "d"]) == {}
    assert [line.split(" ")[0] for line in faulty.proxy.requests] == ["POST"] + ["DELETE"] * 4
    assert _stored(faulty) == []


def test_a_failed_batch_fails_for_each_key(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    faulty.direct.put("a", make_upload(b"x"))
    faulty.proxy.faults.append(Fault("answer", _is("POST"), **_answer(503, "SlowDown")))
    failed = faulty.store.delete(["a", "b"])
    assert {key: error.reason for key, error in failed.items()} == {"a": "throttled", "b": "throttled"}
    assert _stored(faulty) == [Entry("a", 1)]


def test_a_probe_without_permission_to_list(faulty: Faulty) -> None:
    faulty.proxy.faults.append(Fault("answer", lambda line: "list-type=2" in line, **_answer(403, "AccessDenied")))
    assert faulty.store.probe().facts["list"] == "refused"
    assert _stored(faulty) == []


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_a_probe_raises_what_fails(faulty: Faulty, method: str) -> None:
    faulty.proxy.faults.append(Fault("answer", _is(method), **_answer(403, "AccessDenied")))
    with pytest.raises(Refused):
        faulty.store.probe()


def test_a_probe_against_a_store_that_swallows_puts(faulty: Faulty) -> None:
    faulty.proxy.faults.append(Fault("answer", _is("PUT"), times=20, status=200))
    with pytest.raises(Error):
        faulty.store.probe()
    faulty.proxy.reset()


def test_parts_are_read_back(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    data = _data((5 << 20) + 1000)
    proof = faulty.make(single_put_bytes=1 << 20).put("big", make_upload(data))
    assert proof.by == "read"
    assert b"".join(faulty.direct.get("big")) == data
    assert "md5" not in faulty.store.stat("big").digests or faulty.kind == "rclone"


def test_parts_of_a_changed_source_are_aborted(faulty: Faulty, make_upload: Callable[..., Upload]) -> None:
    upload = make_upload(_data((5 << 20) + 1000), sha256=bytes(32))
    with pytest.raises(Damaged) as caught:
        faulty.make(single_put_bytes=1 << 20).put("big", upload)
    assert caught.value.reason == "source_changed"
    assert any(line.startswith("DELETE ") and "uploadId" in line for line in faulty.proxy.requests)
    assert _stored(faulty) == []


def test_a_local_disk_that_cannot_be_read(
    faulty: Faulty, make_upload: Callable[..., Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int, amount: int, position: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    upload = make_upload(_data((8 << 20) + 1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", broken)
        with pytest.raises(Unavailable):
            faulty.store.put("k", upload)
    assert _stored(faulty) == []
