"""lading safe and lading wait: what is safe, what is not, and why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import lading
from cli_kit import Cli, Done
from lading.safe import safe

SAFE = {"schema", "safe", "at", "rechecked", "files", "safe_files", "size_bytes", "not_safe"}
RECEIPT = {"schema", "safe", "at", "waited_s", "total", "safe_count", "size_bytes", "media", "not_safe"}


def reasons(done: Done) -> dict[str, str]:
    assert set(done.json) == SAFE
    return {os.path.basename(one["path"]): one["reason"] for one in done.json["not_safe"]}


def test_every_reason(cli: Cli) -> None:
    cli.put("card/safe", "card/dead", destination=cli.uri)
    cli.put("card/alone")
    cli.deliver()
    cli.put("card/waits", destination=cli.uri)
    cli.run("rm", *(m["id"] for m in cli.run("ls", "--name", "dead", "--json").lines))
    cli.file("card/unknown")
    cli.file("card/changed", b"one")
    cli.run("put", "card/changed")
    cli.file("card/changed", b"two")
    done = cli.run("safe", "card", "card/missing", "--json", code=4)
    assert reasons(done) == {
        "alone": "no_destination", "changed": "unknown", "dead": "deleted", "missing": "unreadable", "unknown": "unknown",
        "waits": "no_daemon",
    }  # fmt: skip
    shape = done.json
    assert (shape["safe"], shape["files"], shape["safe_files"], shape["rechecked"]) == (False, 7, 1, False)
    assert {os.path.basename(o["path"]): bool(o["id"]) for o in shape["not_safe"]}["dead"]
    text = cli.run("safe", "card", "card/missing", code=4)
    assert "its media were deleted       card/dead" in text.out
    assert "6 of 7 files (108 B) not safe." in text.out
    assert "lading why m_" in text.err


def test_all_safe_is_exit_0(cli: Cli) -> None:
    cli.put("card/a", "card/b/c", destination=cli.uri)
    assert reasons(cli.run("safe", "card", "--json", code=4)) == {"a": "no_daemon", "c": "no_daemon"}
    cli.deliver()
    shape = cli.run("safe", "card", "--json").json
    assert (shape["safe"], shape["files"], shape["safe_files"], shape["not_safe"]) == (True, 2, 2, [])
    assert shape["size_bytes"] == 36
    assert cli.run("safe", "card").out == "All 2 files (36 B): safe.\n"
    assert cli.run("safe", cli.file("renamed", b"content of card/a")).out.startswith("1 file (")


def test_deleting_one_of_two_media_leaves_the_content_safe(cli: Cli) -> None:
    (first,) = cli.put("a", destination=cli.uri)
    cli.run("put", "--again", "--destination", cli.uri, "a")
    cli.deliver()
    cli.run("rm", first)
    assert cli.run("safe", "a", "--json").json["safe"] is True
    cli.put("b")  # without a destination of its own, but with content that is safe for another medium
    cli.run("put", "--destination", cli.uri, cli.file("other/b", b"content of b"))
    cli.deliver()
    cli.run("safe", "b")


def test_nothing_there_is_not_safe(cli: Cli) -> None:
    (cli.place / "empty").mkdir()
    (cli.place / "links").mkdir()
    (cli.place / "links/a").symlink_to(cli.file("a"))
    assert cli.run("safe", "empty", "--json", code=4).json["files"] == 0
    done = cli.run("safe", "links", code=4)
    assert "nothing to call safe" in done.out
    assert "1 link or special file not looked at" in done.err


def test_without_a_catalog_everything_is_unknown(cli: Cli) -> None:
    assert reasons(cli.run("safe", cli.file("a"), "--json", code=4)) == {"a": "unknown"}
    assert not cli.home.exists()


def test_what_cannot_be_read_is_not_safe(cli: Cli) -> None:
    cli.put("card/a", destination=cli.uri)
    cli.deliver()
    folder = cli.file("card/closed/x").parent
    folder.chmod(0)
    try:
        assert reasons(cli.process("safe", "card", "--json", code=4, bound=True)) == {"closed": "unreadable"}
    finally:
        folder.chmod(0o700)


def test_a_file_that_changes_while_it_is_hashed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.put("a", destination=cli.uri)
    cli.deliver()
    real = os.fstat
    monkeypatch.setattr("lading.safe.os.fstat", lambda fd: _Shifting(real(fd)))
    assert reasons(cli.run("safe", "a", "--json", code=4)) == {"a": "source_changed"}


class _Shifting:
    """A stat result whose time is another one each time."""

    count = 0

    def __init__(self, real: os.stat_result) -> None:
        _Shifting.count += 1
        self.st_mtime_ns, self.st_size, self.st_mode = _Shifting.count, real.st_size, real.st_mode


def test_many_files_are_looked_up_in_several_questions(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lading.safe._LOOK_UP", 3)
    cli.put(*(f"card/{n}" for n in range(8)))
    assert len(reasons(cli.run("safe", "card", "--json", code=4))) == 8


def test_the_python_api_gives_the_same(cli: Cli) -> None:
    cli.put("a")
    shape = cli.run("safe", "a", "--json", code=4).json
    with lading.open(cli.home) as cat:
        ours: dict[str, Any] = cat.safe([Path("a")])
        assert {**ours, "at": ""} == {**shape, "at": ""}
    assert safe(None, ["a"])["not_safe"][0]["reason"] == "unknown"


# -- wait


def test_wait_gives_the_receipt(cli: Cli) -> None:
    a, b = cli.put("a", "b", destination=cli.uri)
    cli.put("alone")
    cli.deliver()
    shape = cli.run("wait", "--json").json
    assert set(shape) == RECEIPT
    assert (shape["safe"], shape["total"], shape["safe_count"], shape["not_safe"]) == (True, 2, 2, [])
    assert [m["id"] for m in shape["media"]] == [a, b]
    assert set(shape["media"][0]["copies"][0]) == {"destination", "uri", "verified_at", "algorithm", "value", "by"}
    done = cli.run("wait")
    assert done.out == f"All 2 files, 24 B: safe.\n  {cli.uri}  2 of 2  read back (sha256)\n"
    assert done.err == "1 medium without a destination not counted: lading ls --state local_only\n"
    assert cli.run("wait", "a", a).out.startswith("1 file, 12 B: safe.")
    assert cli.run("wait", "--table", "default", "--json", code=4).json["safe_count"] == 2


def test_wait_that_ends_too_early_gives_the_partial_receipt(cli: Cli) -> None:
    cli.put("a", destination=cli.uri)
    cli.deliver()
    (b,) = cli.put("b", destination=cli.uri)
    shape = cli.run("wait", "--timeout", "0", "--json", code=4).json
    assert (shape["safe"], shape["total"], shape["safe_count"]) == (False, 2, 1)
    assert [(n["id"], n["reason"]) for n in shape["not_safe"]] == [(b, "no_daemon")]
    done = cli.run("wait", "--timeout", "0s", code=4)
    assert done.out.startswith("1 of 2 files (24 B) safe.\n")
    assert f"(b)\n" in done.out  # noqa: F541
    assert done.err.startswith("1 medium to bring, and no daemon is running. Start it: lading daemon")
    assert f"lading why {b}" in done.err


def test_wait_without_a_daemon_is_5(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lading.catalog._NO_DAEMON_S", 0.05)
    (id_,) = cli.put("a", destination=cli.uri)
    done = cli.run("wait", id_, code=5)
    assert done.out == ""
    assert "no daemon is running" in done.err
    problem = cli.run("wait", id_, "--json", code=5)
    assert (problem.json["type"], problem.json["exit"], problem.err) == ("urn:lading:no-daemon", 5, "")


def test_wait_for_nothing_proves_nothing(cli: Cli) -> None:
    cli.put("a")
    assert cli.run("wait", "--json", code=4).json["total"] == 0
    assert "Nothing to wait for" in cli.run("wait", "--all", code=4).out
    cli.run("wait", "nope", code=3)
    cli.run("wait", "--table", "nope", code=3)
    done = cli.run("wait", "a", code=4)
    assert "It has no destination" in done.out


def test_wait_also_waits_for_media_that_are_about_to_be_moved(cli: Cli) -> None:
    cli.put("a", "b")
    cli.run("table", "set-destination", "default", "file", cli.uri, "--no-test")
    shape = cli.run("wait", "--timeout", "0", "--json", code=4).json
    assert (shape["total"], shape["safe_count"]) == (2, 0)
    cli.daemon()
    assert cli.run("wait", "--json").json["safe_count"] == 2
