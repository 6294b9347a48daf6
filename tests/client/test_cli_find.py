"""ls, show, status, why, sql: what is known, as text and in the shapes of programs."""

from __future__ import annotations

import pytest

import lading
from cli_kit import ODD_NAMES, Cli

MEDIUM = {
    "schema", "id", "name", "table", "column", "row", "kind", "sha256", "size_bytes", "mime", "created_at", "modified_at", "state",
    "cached", "path", "pinned", "deleted_at", "purge_at", "restorable", "replicas",
}  # fmt: skip
STATUS = {"schema", "at", "verdict", "reasons", "daemon", "catalog", "media", "local", "destinations", "deletes"}


def test_ls_filters(cli: Cli) -> None:
    a, b = cli.put("a", "b")
    (c,) = cli.put("c", table="t", column="photo", destination=cli.uri)
    cli.run("rm", b)

    def ids(*args: str) -> list[str]:
        text = [line.split()[0] for line in cli.run("ls", *args).out.splitlines()]
        shapes = cli.run("ls", "--json", *args).lines
        assert all(set(s) == MEDIUM for s in shapes)
        assert text == [s["id"] for s in shapes]
        return text

    assert ids() == [a, c]
    assert ids("--limit", "1") == [a]
    assert ids("--table", "t") == ids("--column", "photo") == ids("--state", "pending") == [c]
    assert ids("--state", "local_only") == ids("--name", "a") == [a]
    assert ids("--deleted") == ids("--state", "deleted") == [b]
    assert ids("--state", "safe") == []
    assert cli.run("ls", "--state", "safe").err == "Nothing matches.\n"
    cli.run("ls", "--table", "nope", code=3)
    cli.run("ls", "--deleted", "--state", "safe", code=2)


def test_ls_shows_the_column_only_where_there_are_several(cli: Cli) -> None:
    cli.put("a")
    assert "default.file" not in cli.run("ls").out
    cli.put("b", table="t")
    assert [line.split()[-2] for line in cli.run("ls").out.splitlines()] == ["default.file", "t.file"]


def test_ls_of_an_emptied_catalog(cli: Cli) -> None:
    cli.run("rm", *cli.put("a"))
    done = cli.run("ls")
    assert done.out == ""
    assert "lading put photo.jpg" in done.err


def test_names_in_every_text_are_printable(cli: Cli) -> None:
    for name in ODD_NAMES:
        cli.file(b"odd/" + name)
    ids = [m["id"] for m in cli.run("put", "--json", "odd").lines]
    for args in (
        ["ls"],
        ["show", ids[3]],
        ["why", ids[0]],
        ["safe", "odd"],
        ["sql", "SELECT name FROM media"],
        ["wait", "--table", "default"],
    ):
        done = cli.run(*args, code=None)
        text = done.out + done.err
        assert not {c for c in text if c != "\n" and not c.isprintable()}
        assert text.count("\n") < 30


def test_show(cli: Cli) -> None:
    (id_,) = cli.put("a", destination=cli.uri)
    assert set(cli.run("show", id_, "--json").json) == MEDIUM
    text = cli.run("show", "a").out
    for part in (id_, "default.file (input)", "pending", "12 B", cli.uri):
        assert part in text
    assert cli.run("show", "nope", "--json", code=3).json["exit"] == 3
    cli.run("show", "m_" + "0" * 26, code=3)
    cli.run("rm", id_)
    assert "deleted" in cli.run("show", id_).out


def test_status_without_a_home(cli: Cli) -> None:
    done = cli.run("status")
    assert done.out == "Nothing has been put yet: lading put photo.jpg\n"
    shape = cli.run("status", "--json").json
    assert set(shape) == STATUS
    assert shape["catalog"]["id"] is None
    assert (shape["verdict"], shape["media"]["total"], shape["daemon"]["running"]) == ("ok", 0, False)
    assert not cli.home.exists()


def test_status(cli: Cli) -> None:
    cli.put("a", "b")
    assert set(cli.run("status", "--json").json) == STATUS
    text = cli.run("status").out
    assert text.startswith("OK.\n  2 media kept only on this disk.\n")
    assert "not running, it has never run. Start it: lading daemon" in text
    cli.put("c", destination=cli.uri)
    text = cli.run("status").out
    assert text.startswith("Waiting for a daemon.\n")
    assert "3: 1 pending, 2 local only" in text
    assert f"{cli.uri}  ok" in text
    assert "1 to go (12 B" in text
    cli.daemon()
    text = cli.run("status").out
    assert "not running, last seen" in text
    assert "3: 1 safe, 2 local only" in text
    cli.run("rm", "m_" + "0" * 26, code=3)


def test_status_and_a_broken_destination(cli: Cli) -> None:
    cli.put("a", destination=cli.uri)
    with lading.open(cli.home) as cat:
        from lading_catalog import stores

        with cat._conn.writing():
            refused = lading.Refused("No\nright to write.", hint="Give it.")
            stores.failed(cat._conn, cat.destinations()[0].id, refused, 1_000, 2_000)
    text = cli.run("status").out
    assert text.startswith("At risk.\n")
    assert "No\\nright to write. (1 failure in" in text
    assert "  Give it.\n" in text
    assert cli.run("destination", "list", "--json").json["error"]["code"] == "refused"


def test_why(cli: Cli) -> None:
    a, b = *cli.put("a"), *cli.put("b", destination=cli.uri)
    shape = cli.run("why", b, "--json").json
    assert (shape["schema"], shape["id"], shape["daemon_running"]) == ("lading.why/1", b, False)
    assert shape["destinations"][0]["reason"] == "no_daemon"
    assert "no daemon is running to bring it there" in cli.run("why", b).out
    alone = cli.run("why", a)
    assert "It has no destination" in alone.out
    assert "set-destination default file URI" in alone.out
    cli.deliver()
    assert f"In {cli.uri}, verified" in cli.run("why", b).out


def test_why_of_a_path_is_about_its_content(cli: Cli) -> None:
    (id_,) = cli.put("a")
    renamed = cli.file("renamed", b"content of a")
    assert cli.run("why", renamed, "--json").json["id"] == id_
    renamed.write_bytes(b"changed since")
    done = cli.run("why", renamed, code=3)
    assert "has not been put, or it was changed since" in done.err
    cli.run("why", cli.place, code=3)
    cli.run("why", "nowhere", code=3)
    cli.run("rm", id_)
    assert "It was deleted" in cli.run("why", cli.place / "a").out


def test_why_after_the_column_was_given_a_destination(cli: Cli) -> None:
    (id_,) = cli.put("a")
    cli.run("table", "set-destination", "default", "file", cli.uri, "--no-test")
    shape = cli.run("why", id_, "--json").json
    assert shape["reason"] == "no_daemon"
    assert "Its column has a new destination" in shape["sentence"]


def test_sql(cli: Cli) -> None:
    cli.file("big", b"x" * 1000)
    cli.run("put", "--json", "big", cli.file("a"))
    assert cli.run("sql", "SELECT name, size_bytes, NULL AS n FROM media ORDER BY name", "--json").lines == [
        {"name": "a", "size_bytes": 12, "n": None}, {"name": "big", "size_bytes": 1000, "n": None},
    ]  # fmt: skip
    done = cli.run("sql", "SELECT name, size_bytes FROM media ORDER BY name")
    assert done.out == "a      12\nbig  1000\n"
    assert done.err == "2 rows.\n"
    assert cli.run("sql", "SELECT count(*) AS n FROM media", "--json").json == {"n": 2}
    assert cli.run("sql", "SELECT name FROM media WHERE 0").out == ""


@pytest.mark.parametrize("query", ["DELETE FROM media", "SELECT v FROM meta", "frob", "SELECT ?", "ATTACH 'x' AS x"])
def test_sql_reads_only_the_views(cli: Cli, query: str) -> None:
    cli.put("a")
    assert cli.run("sql", query, "--json", code=2).json["exit"] == 2
    assert not (cli.place / "x").exists()


def test_sql_from_stdin(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    cli.put("a")
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 1 AS one"))
    assert cli.run("sql", "-", "--json").json == {"one": 1}
