"""`lading rm`, `undelete`, `ls --deleted` and `table drop`, as somebody types them."""

from __future__ import annotations

import io

import pytest

import lading
from cli_kit import Cli
from lading_catalog import replicas, sweeping


def test_rm_says_how_to_take_it_back_and_undelete_does(cli: Cli) -> None:
    (id_,) = cli.put("a.jpg")
    assert f"lading undelete {id_}" in cli.run("rm", id_).err
    assert "can be brought back" in cli.run("ls", "--deleted").out
    assert cli.run("undelete", id_).out == f"{id_}  undeleted  a.jpg\n"
    assert cli.run("ls", "--deleted").out == ""
    assert cli.run("show", id_, "--json").json["state"] == "local_only"
    assert "was deleted and brought back before" in cli.run("undelete", id_, code=1).err
    assert cli.run("undelete", "m_" + "0" * 26, code=3).err


def test_until_when_it_can_come_back(cli: Cli) -> None:
    (id_,) = cli.put("a.jpg")
    cli.run("rm", id_)
    with lading.open(cli.home) as cat, cat._conn.writing() as conn:
        sweeping.see(conn, 0, 10)
    assert "can be brought back for 23 h" in cli.run("ls", "--deleted").out
    shape = cli.run("show", id_, "--json").json
    assert shape["purge_at"] > shape["deleted_at"]


def test_a_name_that_was_deleted_twice_is_undeleted_by_id(cli: Cli) -> None:
    ids = [*cli.put("a.jpg"), *(line["id"] for line in cli.run("put", "--json", "--again", cli.file("a.jpg")).lines)]
    cli.run("rm", *ids)
    assert cli.run("undelete", "a.jpg", code=2).err
    assert len(cli.run("undelete", "--json", *ids).lines) == 2


def test_drop_a_table(cli: Cli) -> None:
    ids = cli.put("a.jpg", "b.jpg", table="trip")
    cli.put("c.jpg")
    assert "--yes deletes them" in cli.run("table", "drop", "trip", code=2).err
    assert len(cli.run("ls", "--table", "trip").out.splitlines()) == 2
    assert cli.run("table", "drop", "trip", "--yes").out == "trip  dropped, 2 media\n"
    assert "trip" not in cli.run("table", "ls").out
    assert len(cli.run("ls").out.splitlines()) == 1
    assert cli.run("table", "drop", "trip", "--yes", code=3).err
    cli.run("undelete", ids[0])
    assert cli.run("show", ids[0], "--json").json["table"] == "trip"
    shape = cli.run("table", "drop", "trip", "file", "--yes", "--json").json
    assert (shape["table"], shape["column"], shape["media"]) == ("trip", "file", 1)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_drop_asks_on_a_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.put("a.jpg", "b.jpg", table="trip")
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    done = cli.run("table", "drop", "trip", code=1)
    assert "Delete trip with its 2 media?" in done.err
    assert "Nothing was deleted." in done.err
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert cli.run("table", "drop", "trip").out == "trip  dropped, 2 media\n"


def test_drop_a_table_whose_columns_were_dropped(cli: Cli) -> None:
    (id_,) = cli.put("a.jpg", table="trip")
    cli.run("table", "drop", "trip", "nope", "--yes", code=3)
    cli.run("table", "drop", "trip", "file", "--yes")
    assert cli.run("table", "drop", "trip").out == "trip  dropped, 0 media\n"
    cli.run("table", "drop", "trip", code=3)
    assert id_ in cli.run("ls", "--deleted", "--table", "trip").out
    assert cli.run("undelete", id_).code == 0


def test_undelete_where_the_last_copy_is_gone(cli: Cli) -> None:
    gone, kept = cli.put("a.jpg", "b.jpg")
    cli.run("rm", gone, kept)
    with lading.open(cli.home) as cat, cat._conn.writing() as conn:
        sweeping.see(conn, 0, 10)
        (replica,) = [
            i for (i,) in conn.rows("SELECT r.id FROM replica r JOIN deleted_medium d USING (object_id) WHERE d.name = 'a.jpg'")
        ]
        assert replicas.drop(conn, replica, "present")
        assert replicas.forget(conn, replica)
    done = cli.run("undelete", gone, kept, code=3)  # the others go on
    assert done.out == f"{kept}  undeleted  b.jpg\n"
    assert "a.jpg was deleted at" in done.err
    assert "its last copy is gone" in done.err
    assert cli.run("undelete", gone, "--json", code=3).json["type"] == "urn:lading:not-found"
    assert cli.run("ls", "--deleted").out.endswith("a.jpg  (gone)\n")
    assert "now (" in cli.run("show", gone).out
    assert ", gone" in cli.run("show", gone).out


def test_evict_refuses_what_is_not_safe(cli: Cli) -> None:
    safe, *_ = cli.put("a.jpg", destination=cli.uri)
    cli.daemon()
    (unsafe,) = cli.put("b.jpg", destination=cli.uri)
    done = cli.run("evict", safe, unsafe, code=4)
    assert done.out == f"{safe}  evicted  a.jpg\n"
    assert "It is not safe elsewhere." in done.err
    assert cli.run("evict", unsafe, "--json", code=4).json["reason"] == "not_safe"
    assert cli.run("show", safe, "--json").json["cached"] is False
    cli.run("evict", "--table", "default", code=4)
    assert cli.run("evict", code=2).err
