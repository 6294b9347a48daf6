"""lading get: the bytes come back as they were, never over something, never outside the folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

import lading
from cli_kit import Cli


def test_bytes_and_times_come_back(cli: Cli) -> None:
    data = os.urandom(3_000_000)
    photo = cli.file("trip/photo.jpg", data)
    os.utime(photo, (1_600_000_000.25, 1_600_000_000.25))
    (put,) = cli.run("put", "--json", "trip").lines
    for text in (put["id"], put["id"].lower(), put["sha256"], "trip/photo.jpg"):
        folder = f"by-{text[:6].replace('/', '-')}"
        done = cli.run("get", text, "-o", folder)
        assert done.out == f"{folder}/trip/photo.jpg\n"
        back = cli.place / folder / "trip/photo.jpg"
        assert back.read_bytes() == data
        assert back.stat().st_mtime == 1_600_000_000.25
        assert [p.name for p in back.parent.iterdir()] == ["photo.jpg"]  # no temporary name is left
    shape = cli.run("get", "--json", put["id"], "-o", "json").json
    assert shape == {
        "schema": "lading.get/1", "id": put["id"], "name": "trip/photo.jpg", "path": "json/trip/photo.jpg",
        "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data),
    }  # fmt: skip


def test_nothing_is_overwritten_unless_forced(cli: Cli) -> None:
    (id_,) = cli.put("a")
    mine = cli.file("out/a", b"mine")
    done = cli.run("get", id_, "-o", "out", code=1)
    assert done.err == "lading: out/a is there already.\n  --force replaces it.\n"
    assert mine.read_bytes() == b"mine"
    assert os.listdir(cli.place / "out") == ["a"]
    cli.run("get", id_, "-o", "out", "--force")
    assert mine.read_bytes() == b"content of a"
    (cli.place / "dangling/a").parent.mkdir()
    (cli.place / "dangling/a").symlink_to(cli.place / "target")
    cli.run("get", id_, "-o", "dangling", code=1)
    cli.run("get", id_, "-o", "dangling", "--force")
    assert not (cli.place / "target").exists()


def test_what_appears_meanwhile_is_not_overwritten(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (id_,) = cli.put("a")
    monkeypatch.setattr("lading.cli.get._exists", lambda *_: False)
    mine = cli.file("out/a", b"mine")
    cli.run("get", id_, "-o", "out", code=1)
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("../../escape", "escape"), ("/etc/passwd", "etc/passwd"), ("a/../../b", "a/b"), ("./c//d/", "c/d"), ("..", None), ("/", None),
    ],
)  # fmt: skip
def test_no_name_escapes(cli: Cli, name: str, where: str | None) -> None:
    with lading.open(cli.home) as cat:
        id_ = cat.put(b"x", name=name).id
    path = cli.run("get", "--json", id_, "-o", "deep/out").json["path"]
    assert path == f"deep/out/{where or id_}"
    assert {p.name for p in cli.place.iterdir()} == {"home", "deep"}
    assert [p.name for p in (cli.place / "deep").iterdir()] == ["out"]


def test_no_link_leads_out(cli: Cli) -> None:
    with lading.open(cli.home) as cat:
        id_ = cat.put(b"x", name="sub/file").id
    (cli.place / "elsewhere").mkdir()
    (cli.place / "out").mkdir()
    (cli.place / "out/sub").symlink_to(cli.place / "elsewhere")
    done = cli.run("get", id_, "-o", "out", code=1)
    assert "cannot be written" in done.err
    assert list((cli.place / "elsewhere").iterdir()) == []


def test_an_ambiguous_name_lists_the_ids(cli: Cli) -> None:
    ids = [*cli.put("a"), *cli.put("a", table="t")]
    done = cli.run("get", "a", "-o", "out", code=2)
    assert done.out == ""
    assert [line.strip() for line in done.err.splitlines() if line.startswith("  m_")] == ids
    problem = cli.run("get", "a", "-o", "out", "--json", code=2).json
    assert (problem["type"], problem["ids"], problem["exit"]) == ("urn:lading:ambiguous", ids, 2)


def test_what_is_not_there(cli: Cli) -> None:
    (id_,) = cli.put("a")
    done = cli.run("get", "nope", id_, "0" * 64, "m_" + "0" * 26, "-o", "out", code=3)
    assert done.out == "out/a\n"  # the others go on
    assert done.err.count("lading: Nothing has the id") == 3
    cli.run("rm", id_)
    assert "was deleted" in cli.run("get", id_, code=1).err


def test_a_local_copy_that_was_changed_is_not_given_out(cli: Cli) -> None:
    (line,) = cli.run("put", "--json", cli.file("a", b"right")).lines
    local = Path(line["path"])
    before = local.stat()
    local.write_bytes(b"wrong")
    assert "changed or removed" in cli.run("get", "a", "-o", "out", code=1).err
    os.utime(local, ns=(before.st_mtime_ns, before.st_mtime_ns))  # as a bit that rotted: only the hash can tell
    done = cli.run("get", "a", "-o", "out", "--json", code=1)
    assert done.json["type"] == "urn:lading:damaged"
    assert os.listdir(cli.place / "out") == []


def test_folders_that_cannot_be_made(cli: Cli) -> None:
    (id_,) = cli.put("a")
    cli.file("plain")
    assert "cannot be written" in cli.run("get", id_, "-o", "plain/out", code=1).err
    assert "is there already" in cli.run("get", id_, "-o", "plain", code=1).err


def test_what_is_nowhere_is_said(cli: Cli) -> None:
    (id_,) = cli.put("a")
    with lading.open(cli.home) as cat, cat._conn.writing():
        cat._conn.run("UPDATE replica SET state = 'damaged'")
    done = cli.run("get", id_, "-o", "out", code=1)
    assert "a cannot be fetched: There is no copy to fetch, here or elsewhere" in done.err
    assert os.listdir(cli.place / "out") == []
