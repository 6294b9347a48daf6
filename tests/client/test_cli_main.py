"""The command as a whole: usage, the form of errors, pipes, signals, and that looking creates nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli_kit import Cli

COMMAND = [sys.executable, "-c", "import sys; from lading.cli import main; sys.exit(main())"]


def test_the_entry_point_is_main() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["scripts"]["lading"] == "lading.cli:main"


def test_help_lists_every_command_and_how_to_complete(cli: Cli) -> None:
    from lading.cli.main import COMMANDS

    text = cli.run("--help").out
    assert [line.split()[0] for line in text.splitlines() if line.startswith("  ") and line.split()[0] in COMMANDS] == list(
        COMMANDS
    )
    assert "_LADING_COMPLETE=bash_source" in text
    assert "78 bad configuration" in text
    for command in COMMANDS:
        assert cli.run(command, "--help").out.startswith(f"Usage: lading {command}")


def test_version(cli: Cli) -> None:
    assert cli.run("--version").out == "lading 0.1.0\n"


def test_shell_completion_is_clicks_own(cli: Cli) -> None:
    done = cli.process(env={"_LADING_COMPLETE": "bash_complete", "COMP_WORDS": "lading sta", "COMP_CWORD": "1"}, code=None)
    assert done.out.split() == ["plain,status"]


def test_no_command_shows_the_help_on_stderr(cli: Cli) -> None:
    done = cli.run(code=2)
    assert done.out == ""
    assert "Commands:" in done.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["stat"], "Did you mean 'status'?"),
        (["frobnicate"], "There is no command"),
        (["ls", "--frob"], "--frob"),
        (["put"], "Missing argument"),
        (["ls", "--state", "sad"], "sad"),
        (["ls", "--limit", "0"], "0"),
        (["wait", "--timeout", "soon"], "no length of time"),
        (["wait", "--all", "--table", "t"], "exclude"),
        (["put", "--timeout", "1", "x"], "--wait"),
        (["put", "--local-only", "--destination", "s3://b/", "x"], "exclude"),
        (["put", "--destination", "s3://", "x"], "no bucket"),
        (["put", "--destination", "/mnt/nas", "x"], "plain path"),
        (["put", "--table", "a//b", "x"], "name of a table"),
        (["put", "--column", "a\nb", "x"], "name of a column"),
        (["table", "set-destination", "default", "file"], "--local-only"),
    ],
)  # fmt: skip
def test_wrong_usage(cli: Cli, args: list[str], says: str) -> None:
    done = cli.run(*args, code=2)
    assert done.out == ""
    assert done.err.startswith("lading: ")
    assert says in done.err
    problem = cli.run(*args, "--json", code=2)
    assert problem.err == ""
    assert says in problem.json["detail"]
    assert problem.json["exit"] == 2
    assert problem.json["type"].startswith("urn:lading:")
    assert not cli.home.exists()  # said before anything is made


def test_an_error_has_its_hint_on_a_second_line(cli: Cli) -> None:
    assert cli.run("show", "x", code=3).err == "lading: Nothing has been put yet.\n  lading put photo.jpg\n"


def test_looking_creates_nothing(cli: Cli) -> None:
    photo = cli.file("photo.jpg")
    before = sorted(p.name for p in cli.place.iterdir())
    for args, code in (
        (["status"], 0), (["ls"], 0), (["table", "ls"], 0), (["destination", "list"], 0), (["config", "show"], 0),
        (["config", "check"], 0),
        (["show", "x"], 3), (["why", photo], 3), (["get", "x"], 3), (["wait"], 3), (["rm", "x"], 3),
        (["sql", "x"], 3), (["safe", photo], 4),
    ):  # fmt: skip
        for json in ([], ["--json"]):
            cli.run(*args, *json, code=code)
    assert sorted(p.name for p in cli.place.iterdir()) == before


@pytest.mark.parametrize("after", [True, False])
def test_home_and_config_stand_before_or_after_the_command(cli: Cli, after: bool) -> None:
    config = cli.file("other.toml", b'evict_after = "7h"\n')
    options: list[str | Path] = ["--home", cli.place / "elsewhere", "--config", config]
    command: list[str | Path] = ["config", "show", "evict_after", "home"]
    rows = cli.process(*(command + options if after else options + command), "--json").lines
    assert {r["key"]: r["value"] for r in rows} == {"evict_after": "7h", "home": str(cli.place / "elsewhere")}


def test_a_bad_configuration_is_78(cli: Cli) -> None:
    cli.file("home/config.toml", b'cache_size = "lots"\n')
    assert "cache_size" in cli.run("status", code=78).err
    assert cli.run("ls", "--json", code=78).json["exit"] == 78
    cli.run("put", cli.file("a"), code=78)


def test_a_catalog_that_is_none(cli: Cli) -> None:
    cli.file("home/catalog.db", b"x" * 5000).chmod(0o600)
    done = cli.run("status", code=1)
    assert "is not a catalog" in done.err
    assert "Traceback" not in done.err


def test_the_unexpected_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("lading.cli.status.look", broken)
    assert cli.run("status", code=1).err.splitlines() == [
        "lading: Something unexpected happened: RuntimeError: two lines",
        "  LADING_DEBUG=1 shows where. Please report it.",
    ]
    assert cli.run("status", "--json", code=1).json["exit"] == 1
    monkeypatch.setenv("LADING_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli.run("status")


def test_a_reader_that_leaves_is_no_error(cli: Cli) -> None:
    cli.put(*(f"d/{n:03}" for n in range(300)))
    with subprocess.Popen([*COMMAND, "ls", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ls:
        assert ls.stdout is not None
        assert ls.stderr is not None
        ls.stdout.readline()
        ls.stdout.close()
        assert ls.stderr.read() == b""
    assert ls.returncode == 141


def test_a_put_goes_on_when_nobody_reads(cli: Cli) -> None:
    for n in range(400):
        cli.file(f"many/{n:03}")
    with subprocess.Popen([*COMMAND, "put", "many"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as put:
        assert put.stdout is not None
        put.stdout.close()
        put.wait()
    assert put.returncode == 0
    assert cli.run("status", "--json").json["media"]["total"] == 400


def test_ctrl_c_is_quiet(cli: Cli) -> None:
    cli.put("a", destination=cli.uri)
    with subprocess.Popen([*COMMAND, "wait", "--timeout", "50"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as wait:
        assert wait.stderr is not None
        first = wait.stderr.readline()  # it has begun to wait
        wait.send_signal(signal.SIGINT)
        rest = wait.stderr.read()
        assert wait.stdout is not None
        assert wait.stdout.read() == b""
    assert wait.returncode == 130
    assert b"no daemon is running" in first
    assert b"Traceback" not in rest


def test_colours_only_on_a_terminal_and_not_with_no_color(cli: Cli) -> None:
    cli.put("a")
    assert "\x1b" not in cli.process("ls").out
    for env, coloured in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        assert ("\x1b[" in on_a_terminal("ls", **env)) is coloured


def on_a_terminal(*args: str, **env: str) -> str:
    """What the command prints on a pseudo-terminal."""
    ours, theirs = os.openpty()
    with subprocess.Popen([*COMMAND, *args], stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **env}) as command:
        os.close(theirs)
        text = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux: nobody has the other end open any more
                break
            if not part:
                break
            text += part
    os.close(ours)
    assert command.returncode == 0
    return text.decode()


def test_on_a_terminal_a_long_put_shows_its_first_lines_and_how_many_more(cli: Cli) -> None:
    for n in range(30):
        cli.file(f"many/{n:03}")
    lines = on_a_terminal("put", "many", NO_COLOR="1").splitlines()
    assert sum(line.startswith("m_") for line in lines) == 10
    assert "… and 20 more: lading ls" in lines
    assert any(line.startswith("30 files put") for line in lines)
    assert on_a_terminal("ls", "--limit", "1").splitlines()[0].split() == ["ID", "STATE", "SIZE", "DISK", "PUT", "NAME"]
