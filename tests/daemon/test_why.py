# ruff: noqa: E501 (the table of reasons is read line by line)
"""`why` and `status` say what is the matter, in words that help, for every reason there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lading_catalog.errors import Archived, Damaged, Error, Full, Refused, Unavailable
from lading_catalog.lock import DaemonLock
from servers import ministack, rclone
from servers.process import S3Server, free_port

from .buckets import bucket_contents, make_bucket
from .conftest import Place
from .process import DaemonProcess, s3_settings
from .rig import A, Rig

Make = Callable[..., DaemonProcess]


@pytest.fixture
def lock(rig: Rig) -> Iterator[DaemonLock]:
    """As if a daemon ran."""
    held = DaemonLock(rig.home, "0", 0)
    yield held
    held.release()


def _failing(error: Error) -> Callable[[Rig], None]:
    def arrange(rig: Rig) -> None:
        rig.fakes[A].before = lambda key: error
        rig.begin().settle()
        rig.clock.forward(3 * 3600)

    return arrange


def _copying(rig: Rig) -> None:
    rig.fakes[A].gate_before.clear()
    rig.begin().until(lambda: bool(rig.fakes[A].arrived))


def _paused(rig: Rig) -> None:
    with rig.conn.writing() as conn:
        conn.run("UPDATE store SET paused = 1 WHERE uri = ?", (A,))
    rig.begin().settle()


def _truncated(rig: Rig) -> None:
    for medium in rig.cat.media():
        os.truncate(rig.local(medium), 1)
    rig.begin().settle()


def _nothing(rig: Rig) -> None: ...


CASES: list[tuple[str, Callable[[Rig], object], str, str | None, str, str, str]] = [
    # reason, how it comes about, words of the sentence, of what to do, the medium's state, the destination's, the verdict
    ("queued", _nothing, "Waiting for its turn", None, "pending", "ok", "working"),
    ("copying", _copying, "Being copied", None, "pending", "ok", "working"),
    ("done", lambda rig: rig.begin().settle(), "verified", None, "safe", "ok", "ok"),
    ("paused", _paused, "is paused", "paused = false", "pending", "paused", "working"),
    ("unreachable", _failing(Unavailable("no route to host")), "not been reachable for 3 h: no route", "", "pending", "unreachable", "working"),
    ("throttled", _failing(Unavailable("503", reason="throttled")), "asks to go slower", "goes on by itself", "pending", "throttled", "working"),
    ("refused", _failing(Refused("403", hint="Add s3:PutObject")), "Refused by s3://fake-a/ for 3 h: 403", "Add s3:PutObject, then: lading destination test", "blocked", "ok", "at_risk"),
    ("no_credentials", _failing(Refused("unknown key", reason="no_credentials")), "No valid credentials", "lading destination test s3://fake-a/", "blocked", "blocked", "at_risk"),
    ("no_bucket", _failing(Refused("NoSuchBucket", reason="no_bucket")), "does not exist", "lading destination test s3://fake-a/", "blocked", "blocked", "at_risk"),
    ("full", _failing(Full("no space left")), "has been full for 3 h", "Free some space", "blocked", "full", "at_risk"),
    ("archived", _failing(Archived("in Glacier", hint="restore it")), "archived", "restore it", "blocked", "ok", "at_risk"),
    ("damaged", _failing(Damaged("other bytes")), "not what was sent", "", "pending", "ok", "working"),
    ("source_changed", _truncated, "no longer what was put", "put the file again", "blocked", "ok", "at_risk"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "arrange", "sentence", "do", "state", "store_state", "verdict"), CASES, ids=[c[0] for c in CASES]
)
def test_a_reason_a_sentence_and_what_to_do(
    rig: Rig, lock: DaemonLock, reason: str, arrange: Callable[[Rig], object], sentence: str, do: str | None, state: str, store_state: str,
    verdict: str,
) -> None:  # fmt: skip
    medium = rig.put()
    arrange(rig)
    why = medium.why()
    (answer,) = why["destinations"]
    assert (answer["reason"], why["state"], why["daemon_running"]) == (reason, state, True)
    assert sentence.lower() in answer["sentence"].lower()
    assert answer["sentence"].endswith(".")
    assert (answer["do"] is None) == (do is None)
    assert (do or "").lower() in (answer["do"] or "").lower()
    assert answer["since"] is not None
    status = rig.cat.status()
    (destination,) = status["destinations"]
    assert (destination["state"], status["verdict"]) == (store_state, verdict)
    done = reason == "done"
    assert (destination["present"]["objects"], destination["owed"]["objects"]) == (int(done), int(not done))
    assert destination["present"]["size_bytes"] + destination["owed"]["size_bytes"] == len(b"medium 1")
    assert (status["media"]["total"], status["media"][state]) == (1, 1)
    if store_state in ("blocked", "full", "unreachable"):
        assert destination["error"]["code"] == reason
        assert destination["error"]["count"] == 1
        assert any("s3://fake-a/" in text for text in status["reasons"])
    if verdict == "at_risk":
        assert status["reasons"]


def test_without_a_daemon(rig: Rig) -> None:
    waits, stays, gone = rig.put(), rig.cat.put(b"x", name="x", destination=[]), rig.put()
    gone.delete()
    (answer,) = waits.why()["destinations"]
    assert answer["reason"] == "no_daemon"
    assert "lading daemon" in answer["do"]
    why = stays.why()
    assert (why["reason"], why["state"], why["destinations"]) == ("no_destination", "local_only", [])
    assert "set-destination" in why["do"]
    why = gone.why()
    assert (why["reason"], why["state"], why["do"]) == ("deleted", "deleted", f"Take it back: lading undelete {why['id']}")
    status = rig.cat.status()
    assert status["media"] == {"total": 2, "safe": 0, "pending": 1, "blocked": 0, "local_only": 1, "lost": 0, "deleted": 1}
    assert (status["verdict"], status["daemon"]["running"]) == ("working", False)
    assert any("no daemon" in text for text in status["reasons"])


def _until(true: Callable[[], object], what: str, limit_s: float = 15.0) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def _probe(daemon: DaemonProcess, uri: str, *more: str) -> tuple[int, Any, str]:
    done = subprocess.run(
        [sys.executable, "-m", "ladingd", "probe", uri, "--json", *more],
        env=daemon.env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, json.loads(done.stdout), done.stderr


SECRETS = (ministack.SECRET_KEY, rclone.SECRET_KEY, "canary-secret-wrong", "canary-api-key")


def _no_secret(daemon: DaemonProcess, *texts: str) -> None:
    found = [str(text) for text in texts] + [daemon.log.read_text()]
    files = [p for p in daemon.home.rglob("*") if p.is_file()]
    assert any(p.name == "catalog.db" for p in files)
    for data in [p.read_bytes() for p in files] + [text.encode() for text in found]:
        for secret in SECRETS:
            assert secret.encode() not in data


@pytest.mark.parametrize("reason", ["no_credentials", "no_bucket", "unreachable"])
def test_on_real_stores_and_no_secret_anywhere(
    s3_server: Callable[[str], S3Server], make_daemon: Make, tmp_path: Path, reason: str
) -> None:
    server = s3_server("rclone")
    bucket = f"b{free_port()}" if reason == "no_bucket" else "daemon-test"
    settings = s3_settings(server, tmp_path, LADING_API_KEY="canary-api-key")
    credentials = Path(settings["AWS_SHARED_CREDENTIALS_FILE"])
    right = credentials.read_text()
    if reason == "no_credentials":
        credentials.write_text(right.replace(server.secret_key, "canary-secret-wrong"))
    if reason == "unreachable":
        settings["LADING_S3__ENDPOINT_URL"] = f"http://127.0.0.1:{free_port()}"
    daemon = make_daemon(**settings)
    uri = f"s3://{bucket}/{reason}/"
    with daemon.open() as cat:
        media = cat.put_many([(f"{i}".encode(), f"{i}") for i in range(10)], destination=uri)
        daemon.start()
        _until(lambda: cat.status()["destinations"][0]["error"], "it has been tried")
        waits = "pending" if reason == "unreachable" else "blocked"
        _until(lambda: {m.refresh().state for m in media} == {waits}, f"all are {waits}")
        (answer,) = media[0].why()["destinations"]
        assert (answer["reason"], uri in answer["sentence"], bool(answer["do"])) == (reason, True, True)
        assert daemon.get(f"/v1/media/{media[0].id}/why")[1]["destinations"] == [answer]
        status = cat.status()
        assert status["destinations"][0]["owed"]["objects"] == 10
        code, problem, errors = _probe(daemon, uri)
        assert (code, problem["exit"], errors) == (1, 1, "")
        assert problem["type"] == ("urn:lading:unavailable" if reason == "unreachable" else "urn:lading:refused")
        _no_secret(daemon, json.dumps([answer, status, problem]), errors)
        if reason == "unreachable":
            return
        if reason == "no_bucket":
            make_bucket(server, bucket)
        credentials.write_text(right)
        assert status["destinations"][0]["next_try_at"] is not None
        time.sleep(0.3)
        assert cat.status()["media"]["safe"] == 0, "it waits a minute"
        code, answer, errors = _probe(daemon, uri)
        assert (code, answer["uri"], errors) == (0, uri, "")
        assert answer["facts"]["proof"] == "digest"
        began = time.monotonic()
        cat.wait(timeout=30)
        assert time.monotonic() - began < 4, "the test of the destination has opened the gate"
        assert cat.status()["verdict"] == "ok"
        assert len([k for k in bucket_contents(server, bucket, f"{reason}/") if not k.startswith(".lading/")]) == 10
        _no_secret(daemon, json.dumps(answer), errors)


def test_a_full_disk(make_daemon: Make, tmp_path: Path) -> None:
    root = tmp_path / "small"
    root.mkdir()
    may = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", str(root)], capture_output=True, check=False)
    if may.returncode != 0:
        pytest.skip("no mount namespaces here")
    daemon = make_daemon()
    with daemon.open() as cat:
        small = cat.put(b"x" * 1_000, name="small", destination=f"file://{root}/")
        large = cat.put(os.urandom(2 << 20), name="large", destination=f"file://{root}/")
        script = f'mount -t tmpfs -o size=1m none "{root}" && exec "{sys.executable}" -m ladingd run'
        with daemon.log.open("ab") as out:
            daemon.process = subprocess.Popen(["unshare", "-m", "sh", "-c", script], env=daemon.env, stdout=out, stderr=out)
        daemon.wait_ready()
        _until(lambda: large.refresh().state == "blocked", "the large one is blocked")
        (answer,) = large.why()["destinations"]
        assert answer["reason"] == "full"
        assert "free" in answer["do"].lower()
        assert "tmpfs" not in str(answer)
        assert cat.status()["verdict"] == "at_risk"
        small.wait(timeout=10)  # what still fits goes


@pytest.mark.parametrize("uri", ["s3://", "ftp://host/x/", "file:///proc/nothing-here/", "s3://user:pw@bucket/", "not a uri"])
def test_a_probe_of_a_bad_uri(make_daemon: Make, uri: str) -> None:
    code, problem, errors = _probe(make_daemon(), uri)
    assert code in (1, 78)
    assert problem["exit"] == code
    assert problem["detail"]
    assert errors == ""


def test_a_probe_of_a_new_destination_needs_no_catalog(place: Place, make_daemon: Make) -> None:
    daemon = make_daemon(place)
    code, answer, errors = _probe(daemon, place.uri)
    assert (code, errors) == (0, "")
    assert answer["facts"]["proof"] == {"directory": "read", "ministack": "checksum", "rclone": "digest"}[place.kind]
    assert place.contents() == {}
    assert not daemon.home.exists()
