"""lading put: names, folders, errors a file, skipping, moving."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cli_kit import ODD_NAMES, Cli
from lading_catalog.names import printable


def names(cli: Cli) -> list[str]:
    return [m["name"] for m in cli.run("ls", "--json").lines]


def test_a_file(cli: Cli) -> None:
    done = cli.run("put", cli.file("trip/photo.jpg", b"\xff\xd8\xff\xe0" + b"x" * 996))
    id_, size, unit, name = done.out.split()
    assert id_.startswith("m_")
    assert (size, unit, name) == ("1.00", "kB", "photo.jpg")
    assert done.err == "Kept only on this disk. Give it a destination: lading table set-destination default file URI\n"


def test_json_is_one_medium_a_line(cli: Cli) -> None:
    done = cli.run("put", "--json", cli.file("a.txt", b"hello"), cli.file("b.txt", b"hello"))
    assert done.err == ""
    first, second = done.lines
    assert first["schema"] == "lading.media/1"
    assert first["sha256"] == second["sha256"] == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert first["id"] != second["id"]
    assert (first["state"], first["cached"], first["new"], first["size_bytes"]) == ("local_only", True, True, 5)


def test_a_folder_is_walked_and_names_its_files_from_its_own_base_name(cli: Cli) -> None:
    for name in ("card/b/2", "card/b/1", "card/a", "card/c"):
        cli.file(name)
    cli.run("put", "card")
    assert names(cli) == ["card/a", "card/b/1", "card/b/2", "card/c"]
    cli.run("put", "--table", "t", cli.place / "card/b/")
    cli.run("put", "--table", "t", "card/b/../b/1")
    assert [m["name"] for m in cli.run("ls", "--table", "t", "--json").lines] == ["b/1", "b/2", "1"]


def test_the_current_folder_has_a_name_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.file("card/a")
    monkeypatch.chdir(cli.place / "card")
    cli.run("put", ".")
    assert names(cli) == ["card/a"]


def test_links_in_folders_are_not_followed_and_devices_left_out(cli: Cli) -> None:
    target = cli.file("target")
    cli.file("card/a")
    (cli.place / "card/link").symlink_to(target)
    (cli.place / "card/loop").symlink_to(cli.place / "card")
    os.mkfifo(cli.place / "card/pipe")
    done = cli.run("put", "card")
    assert names(cli) == ["card/a"]
    assert "2 symbolic links not followed." in done.err
    assert "1 special file (device, pipe, socket) left out." in done.err
    cli.run("put", "card/link")  # named itself
    assert names(cli) == ["card/a", "link"]


def test_lading_does_not_swallow_itself(cli: Cli) -> None:
    cli.put("a")
    done = cli.run("put", cli.place)
    assert "it is Lading's own home" in done.err
    assert names(cli) == ["a", f"{cli.place.name}/a"]
    done = cli.run("put", "--move", cli.home / "catalog.db", cli.home, code=1)
    assert done.err.count("lies in Lading's own home") == 2
    assert (cli.home / "catalog.db").exists()


def test_one_bad_file_does_not_fail_the_others(cli: Cli) -> None:
    done = cli.run("put", cli.file("a"), "missing", cli.file("b"), code=1)
    assert len(done.out.splitlines()) == 2
    assert "lading: There is no file missing." in done.err
    assert "2 files put, 1 failed (24 B)." in done.err
    assert names(cli) == ["a", "b"]
    lines = cli.run("put", "--json", "--again", cli.file("a"), "missing", cli.file("b"), code=1).lines
    assert sorted(line.get("type", "") for line in lines) == ["", "", "urn:lading:not-found"]
    (problem,) = (line for line in lines if "type" in line)
    assert (problem["exit"], problem["path"]) == (1, "missing")


def test_unreadable_files_and_folders(cli: Cli) -> None:
    cli.file("card/a")
    cli.file("card/closed").chmod(0)
    folder = cli.file("card/dir/x").parent
    folder.chmod(0)
    try:
        done = cli.process("put", "card", code=1, bound=True)
    finally:
        folder.chmod(0o700)
    assert done.err.count("No permission to read") == 2
    assert names(cli) == ["card/a"]


def test_dangling_links_pipes_and_odd_paths(cli: Cli) -> None:
    (cli.place / "dangling").symlink_to("nowhere")
    os.mkfifo(cli.place / "pipe")
    a = cli.file("a")
    done = cli.run("put", "dangling", "pipe", "a/b", f"{a}/", "x" * 300, "", code=1)
    assert "leads nowhere" in done.err
    assert "is not a regular file" in done.err
    assert done.err.count("lading: ") == 6
    assert done.out == ""


def test_a_file_that_grows_while_it_is_read_is_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from lading_catalog import staging

    growing = cli.file("growing")
    real = staging.Session.stage

    def stage(self: staging.Session, *args: object, **more: object) -> staging.Staged:
        staged = real(self, *args, **more)  # type: ignore[arg-type]
        if growing.exists():
            with growing.open("ab") as file:
                file.write(b"more")
        return staged

    monkeypatch.setattr(staging.Session, "stage", stage)
    assert "was written to while it was read" in cli.run("put", growing, code=1).err
    assert names(cli) == []


def test_the_same_name_and_content_is_skipped_and_counted(cli: Cli) -> None:
    photo = cli.file("photo.jpg", b"one")
    (first,) = cli.run("put", "--json", photo).lines
    done = cli.run("put", photo)
    assert done.out == ""
    assert done.err.startswith("1 file there already (3 B).\n")
    (again,) = cli.run("put", "--json", photo).lines
    assert (again["id"], again["new"]) == (first["id"], False)
    cli.run("put", "--again", photo)
    cli.run("put", "--table", "t", photo)
    cli.run("put", cli.file("photo.jpg", b"two"))
    cli.run("put", cli.file("other.jpg", b"one"))
    assert len(names(cli)) == 5


def test_a_destination_that_it_does_not_have_yet_is_no_reason_to_skip(cli: Cli) -> None:
    photo = cli.file("photo.jpg")
    cli.run("put", photo)
    (routed,) = cli.run("put", "--json", "--destination", cli.uri, photo).lines
    assert (routed["new"], routed["state"]) == (True, "pending")
    (again,) = cli.run("put", "--json", "--destination", cli.uri, photo).lines
    assert (again["new"], again["id"]) == (False, routed["id"])
    assert cli.run("put", "--json", photo).json["new"] is False


def test_skipping_heals_a_local_copy_that_is_gone(cli: Cli) -> None:
    photo = cli.file("photo.jpg", b"one")
    (first,) = cli.run("put", "--json", photo).lines
    Path(first["path"]).unlink()
    (again,) = cli.run("put", "--json", "--move", photo).lines
    assert (again["id"], again["new"]) == (first["id"], False)
    assert not photo.exists()
    assert Path(again["path"]).read_bytes() == b"one"  # the only copy there is


def test_move_removes_the_sources_and_leaves_the_folders(cli: Cli) -> None:
    for name in ("card/a", "card/b/c"):
        cli.file(name)
    cli.run("put", "--move", "card", "card/missing", code=1)
    assert names(cli) == ["card/a", "card/b/c"]
    assert [p.name for p in (cli.place / "card").rglob("*")] == ["b"]
    cli.run("get", "card/b/c", "-o", "back")
    assert (cli.place / "back/card/b/c").read_bytes() == b"content of card/b/c"


def test_move_of_what_cannot_be_removed_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lading.batch.remove_source", lambda _: False)
    photo = cli.file("photo.jpg")
    assert "it is still there" in cli.run("put", "--move", photo, code=1).err
    assert names(cli) == ["photo.jpg"]


def test_a_source_in_the_home_is_never_moved_away(cli: Cli) -> None:
    import lading

    with lading.open(cli.home) as cat:
        first = cat.put(b"only copy", name="a")
        cat.put(first.shape["path"], name="b", move=True)
        assert Path(first.refresh().shape["path"]).read_bytes() == b"only copy"


def test_odd_names_survive_and_cannot_deceive(cli: Cli) -> None:
    for name in ODD_NAMES:
        cli.file(b"odd/" + name)
    done = cli.process("put", "odd")
    lines = done.out.splitlines()
    assert len(lines) == len(ODD_NAMES)
    assert not any(c in done.out for c in "\u202e\x1b")
    put = cli.process("put", "odd", "--json").lines
    assert sorted(os.fsencode(m["name"]) for m in put) == sorted(b"odd/" + n for n in ODD_NAMES)
    shown = {printable(b"odd/" + n) for n in ODD_NAMES}
    assert {line.split("  ")[-1] if "blank" not in line else "odd/ blank " for line in lines} == shown
    for name in ODD_NAMES:
        got = cli.run("get", os.fsdecode(b"odd/" + name), "--output", "back")
        assert got.out == f"back/{printable(b'odd/' + name)}\n"
        back = os.path.join(os.fsencode(cli.place), b"back/odd", name)
        with open(back, "rb") as file:
            assert file.read() == b"content of odd/" + name


def test_names_do_not_depend_on_the_locale(cli: Cli) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    cli.file("odd/漢字.png")
    cli.process("put", "odd", env=plain)
    assert names(cli) == ["odd/漢字.png"]
    cli.process("get", "odd/漢字.png", "-o", "back", env=plain)
    assert (cli.place / "back/odd/漢字.png").read_bytes() == "content of odd/漢字.png".encode()


def test_destinations_of_the_call(cli: Cli) -> None:
    done = cli.run("put", "--json", "--destination", cli.uri, cli.file("a"))
    assert done.json["state"] == "pending"
    assert [r["destination"] for r in done.json["replicas"]] == [cli.uri]
    done = cli.run("put", "--local-only", cli.file("b"))
    assert "Kept only" not in done.err  # as wished
    inside = cli.run("put", "--destination", cli.uri + "inside/", cli.file("c"), code=2)
    assert "lie inside each other" in inside.err
    assert inside.out == ""


def test_kind_of_a_column(cli: Cli) -> None:
    assert cli.run("put", "--json", "--computed", "--column", "thumb", cli.file("a")).json["kind"] == "computed"
    cli.run("put", cli.file("b"))
    assert "not computed" in cli.run("put", "--computed", cli.file("c"), code=2).err
    assert names(cli) == ["a", "b"]


def test_many_files_go_in_several_commits(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lading.cli.put._BATCH_FILES", 7)
    for n in range(20):
        cli.file(f"many/{n:02}", b"x" * n)
    monkeypatch.setattr("lading.cli.put._BATCH_BYTES", 40)
    assert "20 files put (190 B)." in cli.run("put", "many").err
    assert names(cli) == [f"many/{n:02}" for n in range(20)]


def test_a_full_disk_stops_it_and_keeps_what_is_recorded(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from lading_catalog import staging
    from lading_catalog.errors import Full

    real = staging.Session.stage
    left = 3

    def stage(self: staging.Session, *args: object, **more: object) -> staging.Staged:
        nonlocal left
        left -= 1
        if left < 0:
            raise Full("No space left on the disk.", hint="Free some space.")
        return real(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(staging.Session, "stage", stage)
    monkeypatch.setattr("lading.cli.put._BATCH_FILES", 2)
    for n in range(10):
        cli.file(f"many/{n:02}")
    done = cli.run("put", "many", code=1)
    assert done.err.count("No space left") == 1
    assert "3 files put" in done.err
    assert len(names(cli)) == 3


def test_put_and_wait(cli: Cli) -> None:
    done = cli.run("put", "--wait", "--timeout", "0", "--json", "--destination", cli.uri, cli.file("a"), code=4)
    assert done.json["schema"] == "lading.receipt/1"
    assert done.json["not_safe"][0]["reason"] == "no_daemon"
    done = cli.run("put", "--wait", cli.file("b"), code=4)
    assert "It has no destination" in done.out
    lines = cli.run("put", "--wait", "--json", "missing", cli.file("b"), code=4).lines
    assert [line.get("type", line.get("schema")) for line in lines] == ["urn:lading:not-found", "lading.receipt/1"]
    assert json.dumps(lines[1]["media"]).count('"safe": false') == 1
