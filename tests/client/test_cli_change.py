"""rm, pin, table, destination, config, daemon: commands that change something or ask a store."""

from __future__ import annotations

import json
import os
import stat

import pytest

from cli_kit import Cli


def test_rm_deletes_by_id_only(cli: Cli) -> None:
    a, b = cli.put("a", "b")
    done = cli.run("rm", "a", code=2)
    assert f"It may be {a}." in done.err
    assert cli.run("rm", "nope", "--json", code=2).json["exit"] == 2
    done = cli.run("rm", "m_" + "0" * 26, a, code=3)  # the others go on
    assert done.out == f"{a}  deleted  a\n"
    assert "Copies that nothing else needs go after 24h. To take it back: lading undelete ID" in done.err
    assert "deleted already" in cli.run("rm", a, code=3).err
    shape = cli.run("rm", "--json", b).json
    assert (shape["id"], shape["state"], bool(shape["deleted_at"])) == (b, "deleted", True)
    status = cli.run("status", "--json").json
    assert (status["media"]["deleted"], status["deletes"]["waiting"]) == (2, 2)


def test_pin_and_unpin(cli: Cli) -> None:
    (a,) = cli.put("a")
    assert cli.run("pin", "a").out == f"{a}  pinned  a\n"
    assert cli.run("show", a, "--json").json["pinned"] is True
    assert cli.run("unpin", a, "--json").json["pinned"] is False
    cli.run("pin", "nope", a, code=3)
    assert cli.run("show", a, "--json").json["pinned"] is True


def test_set_destination_tests_it_first(cli: Cli) -> None:
    a, _ = cli.put("a", "b")
    missing = f"file://{cli.place}/nowhere/"
    done = cli.run("table", "set-destination", "default", "file", missing, code=1)
    assert "the folder is not there" in done.err
    assert cli.run("table", "ls", "--json").json["destinations"] == []
    problem = cli.run("table", "set-destination", "default", "file", missing, "--json", code=1)
    assert problem.err == ""
    assert (problem.json["exit"], problem.json["uri"]) == (1, missing)
    done = cli.run("table", "set-destination", "default", "file", cli.uri)
    assert done.out == f"default.file → {cli.uri}\n"
    assert "2 media are in that column: the daemon, once it runs (lading daemon), moves" in done.err
    column = cli.run("table", "ls", "--json").json
    assert (column["destinations"], column["destinations_from"], column["moving"], column["media"]) == (
        [cli.uri],
        "column",
        True,
        2,
    )
    cli.deliver()
    assert cli.run("show", a, "--json").json["state"] == "safe"
    assert cli.run("table", "ls").out == f"default.file  input  2  {cli.uri}\n"


def test_set_destination_without_a_test(cli: Cli) -> None:
    missing = f"file://{cli.place}/nowhere/"
    shape = cli.run("table", "set-destination", "default", "file", missing, "--no-test", "--json").json
    assert shape["destinations"] == [missing]
    done = cli.run("table", "set-destination", "default", "file", "--local-only")
    assert done.out == "default.file → this disk only\n"
    assert cli.run("table", "ls", "--json").json["destinations"] == []
    for args, code in (
        ([missing, "--local-only"], 2), (["nonsense"], 2), (["s3://b/p/?x=1"], 2), (["s3://user:pass@b/p/"], 2),
    ):  # fmt: skip
        cli.run("table", "set-destination", "default", "file", "--no-test", *args, code=code)
    cli.run("table", "set-destination", "no", "column", missing, "--no-test", code=3)


def test_the_configurations_destination_shows_where_it_comes_from(cli: Cli) -> None:
    cli.put("a")
    cli.run("config", "set", "input_media_dest", json.dumps([cli.uri]))
    assert cli.run("table", "ls").out.endswith(f"{cli.uri} (configuration)\n")


def test_destination_test(cli: Cli) -> None:
    told = cli.run("destination", "test", cli.uri, "--json").json
    assert told["uri"] == cli.uri
    assert told["facts"]["proof"]
    text = cli.run("destination", "test", cli.uri.rstrip("/"))
    assert text.out.startswith(f"{cli.uri}  ok\n  proof ")
    assert text.err == f"Testing {cli.uri} …\n"
    cli.run("destination", "test", "nonsense", code=2)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import sys; print('{\"detail\": \"It is closed.\", \"hint\": \"Open it.\"}'); sys.exit(1)", "It is closed."),
        ("import sys; print('oh no', file=sys.stderr); sys.exit(3)", "could not run: oh no"),
        ("print('[]')", "could not run"),
        ("print('{\"facts\": 1}')", "failed"),
        ("pass", "could not run: exit code 0"),
    ],
)  # fmt: skip
def test_a_probe_that_misbehaves(cli: Cli, monkeypatch: pytest.MonkeyPatch, script: str, says: str) -> None:
    cli.file("fake/ladingd/__init__.py", b"")
    cli.file("fake/ladingd/__main__.py", script.encode())
    monkeypatch.setenv("PYTHONPATH", str(cli.place / "fake"))
    assert says in cli.run("destination", "test", cli.uri, code=1).err
    assert cli.run("destination", "test", cli.uri, "--json", code=1).json["exit"] == 1


def test_destination_list(cli: Cli) -> None:
    cli.put("a")
    assert "No destination yet" in cli.run("destination", "list").err
    cli.put("b", destination=cli.uri)
    shape = cli.run("destination", "list", "--json").json
    assert (shape["schema"], shape["uri"], shape["owed"]["objects"], shape["facts"]) == ("lading.destination/1", cli.uri, 1, None)
    cli.daemon()
    assert cli.run("destination", "list", "--json").json["facts"]["proof"]
    assert cli.run("destination", "list").out == f"{cli.uri}  ok\n  1 object there (12 B)\n"


def test_config(cli: Cli) -> None:
    path = cli.home / "config.toml"
    assert cli.run("config", "check").out == f"There is no {path}: the defaults hold.\n"
    done = cli.run("config", "set", "cache_size", "20GiB")
    assert (done.out, str(path) in done.err) == ("", True)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    cli.run("config", "set", "api_key", "hush")
    assert cli.run("config", "show", "cache_size").out == f"cache_size  20GiB  file {path}\n"
    assert "hush" not in cli.run("config", "show").out
    assert {"key": "min_copies", "value": "all", "origin": "default"} in cli.run("config", "show", "--json").lines
    assert cli.run("config", "check", "--json").json == {"ok": True, "path": str(path)}
    before = path.read_bytes()
    assert "cache_size" in cli.run("config", "set", "cache_size", "lots", code=2).err
    assert cli.run("config", "set", "nope", "1", "--json", code=2).json["exit"] == 2
    assert path.read_bytes() == before
    cli.run("config", "show", "nope", code=2)


def test_config_check_finds_all_that_is_wrong(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.file("home/config.toml", b'cache_size = "lots"\nnope = 1\n')
    done = cli.run("config", "check", code=78)
    assert "cache_size" in done.err
    assert "nope" in done.err
    assert done.err.endswith("2 problems.\n")
    assert [p["exit"] for p in cli.run("config", "check", "--json", code=78).lines] == [78, 78]
    cli.run("config", "show", code=78)
    cli.run("config", "set", "cache_size", "1GB")  # what is wrong elsewhere is no obstacle
    cli.file("home/config.toml", b"")
    monkeypatch.setenv("LADING_CACHE_SIZE", "lots")
    assert "LADING_CACHE_SIZE" in cli.run("config", "check", code=78).err


def test_daemon_becomes_ladingd_with_the_same_home(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        b"import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['LADING_HOME'], os.environ.get('LADING_CONFIG')]))"
    )
    cli.file("fake/ladingd/__init__.py", b"")
    cli.file("fake/ladingd/__main__.py", script)
    config = cli.file("other.toml", b"")
    monkeypatch.setenv("PYTHONPATH", str(cli.place / "fake"))
    done = cli.process("--config", config, "daemon", "--home", cli.place / "elsewhere", "--exit-when-idle", "x")
    arguments, home, configured = json.loads(done.out)
    assert arguments == ["run", "--exit-when-idle", "x"]
    assert (home, configured) == (str(cli.place / "elsewhere"), str(config))
