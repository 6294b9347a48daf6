"""lading fetch and lading get of what is not on this disk; no daemon runs, so each starts one that only fetches."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import lading
from cli_kit import Cli
from lading_catalog import fetching, lock, replicas


@pytest.fixture(autouse=True)
def nothing_runs_on(cli: Cli) -> Iterator[None]:
    """The one that only fetches leaves when it is asked to by a real daemon; here the lock's way of asking is enough."""
    yield
    if cli.home.exists():
        lock._make_way(cli.home)


def away(cli: Cli, *names: str, **more: str) -> list[str]:
    """Media that are in the directory and no longer on this disk; their ids."""
    ids = cli.put(*names, destination=cli.uri, **more)
    cli.daemon()
    with lading.open(cli.home) as cat:
        for id_ in ids:
            path = Path(cat.medium(id_).shape["path"])
            with cat._conn.writing() as conn:
                here = fetching.look(conn, id_[2:])
                assert here is not None
                assert here.replica_id is not None
                assert replicas.drop(conn, here.replica_id, "present")
                assert replicas.forget(conn, here.replica_id)
            path.unlink()
    return ids


def test_media_are_fetched_with_no_daemon_running(cli: Cli) -> None:
    ids = away(cli, "a", "b")
    done = cli.run("fetch", *ids)
    assert sorted(done.out.splitlines()) == sorted([f"{ids[0]}  fetched  a", f"{ids[1]}  fetched  b"])
    with lading.open(cli.home) as cat:
        for id_, name in zip(ids, "ab", strict=True):
            assert Path(cat.medium(id_).shape["path"]).read_bytes() == f"content of {name}".encode()
    assert cli.run("fetch", "a").out == f"{ids[0]}  here  a\n"


def test_a_table_is_fetched_and_counted(cli: Cli) -> None:
    away(cli, *(f"f{i}" for i in range(12)), table="t/u")
    done = cli.run("fetch", "--table", "t/u")
    assert done.out.startswith("12 media fetched (")
    assert cli.run("fetch", "--table", "t/u").out.startswith("0 media fetched (")
    lines = cli.run("fetch", "--table", "t/u", "--json").lines
    assert len(lines) == 12
    assert {(line["schema"], line["cached"]) for line in lines} == {("lading.media/1", True)}


def test_what_cannot_be_fetched_is_reported_and_the_others_go_on(cli: Cli) -> None:
    ids = away(cli, "a", "b")
    for path in cli.nas.rglob("a.*"):
        path.unlink()
    done = cli.run("fetch", *ids, "nobody", code=3)
    assert done.out == f"{ids[1]}  fetched  b\n"
    assert "Nothing has the id" in done.err
    problem = cli.run("fetch", ids[0], "--json", code=1).json
    assert (problem["type"], problem["id"], problem["exit"]) == ("urn:lading:missing", ids[0], 1)
    assert cli.run("ls", "--json").lines[0]["id"] == ids[0], "its row stays"


def test_time_runs_out(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (id_,) = away(cli, "a")
    monkeypatch.setattr("lading.helper.Helper.watch", lambda self: None)
    problem = cli.run("fetch", id_, "--timeout", "0.1", "--json", code=4).json
    assert problem["type"] == "urn:lading:not-here-yet"


def test_get_brings_what_is_not_here(cli: Cli) -> None:
    (id_,) = away(cli, "a")
    assert cli.run("get", id_, "-o", "out").out == "out/a\n"
    assert (cli.place / "out/a").read_bytes() == b"content of a"


def test_wrong_usage(cli: Cli) -> None:
    cli.put("a")
    for args in ((), ("a", "--table", "t")):
        cli.run("fetch", *args, code=2)
    cli.run("fetch", "--table", "none", code=3)


def test_one_that_cannot_start_is_said(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (id_,) = away(cli, "a")
    monkeypatch.setattr("sys.executable", "/nothing/here")
    done = cli.run("fetch", id_, code=5)
    assert "none could be started" in done.err


def test_one_that_dies_again_and_again_is_given_up_with_its_last_words(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (id_,) = away(cli, "a")
    broken = cli.file("broken")
    broken.write_text("#!/bin/sh\necho 'no such module' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(broken))
    began = time.monotonic()
    done = cli.run("fetch", id_, code=5)
    assert "no such module" in done.err
    assert time.monotonic() - began < 10


def test_a_setting_that_only_the_call_gave_reaches_it(tmp_path: Path) -> None:
    from lading.helper import environment
    from lading_catalog.config import load

    given = {"LADING_CACHE_SIZE": "3GiB", "LADING_S3__REGION": "eu-1", "LADING_INPUT_MEDIA_DEST": '["file:///a/"]'}
    config = load(home=str(tmp_path / "home"), environ=given, overrides={"concurrency": 3})
    again = load(environ={k: v for k, v in environment(config).items() if k.startswith("LADING_")})
    for key in ("home", "cache_size", "s3", "input_media_dest", "concurrency"):
        assert getattr(again, key) == getattr(config, key), key
    assert os.environ.get("LADING_CONCURRENCY") is None
