"""Dropping a table or a column: its name is free at once, its media go in slices, and each can be taken back."""

from __future__ import annotations

import pytest

from catalog_kit import A, Kit
from lading_catalog import deleting, finding, shapes, sweeping, tables
from lading_catalog.errors import ConfigError, NotFound


def undelete(kit: Kit, ulid: str) -> None:
    with kit.conn.writing(durable=False):
        deleting.undelete(kit.conn, ulid)


def shape(kit: Kit, ulid: str) -> shapes.Json:
    return shapes.media(kit.conn, kit.home, [ulid])[0]


def drop(kit: Kit, table: str, column: str | None = None) -> int:
    with kit.conn.writing(durable=False):
        return tables.drop_table(kit.conn, table) if column is None else tables.drop_column(kit.conn, table, column)


def close_all(kit: Kit, limit: int = 3) -> int:
    steps = 0
    while tables.closing_due(kit.conn):
        with kit.conn.writing(durable=False):
            tables.close_step(kit.conn, limit)
        steps += 1
    return steps


def test_a_dropped_table_is_gone_at_once_and_its_media_in_slices(kit: Kit) -> None:
    ulids = [kit.put(n, [A], table="old", column=c) for n, c in enumerate("ababababab", start=1)]
    kit.put(20, [A], table="kept")
    kit.bring()
    with kit.conn.writing(durable=False):
        assert tables.drop_table(kit.conn, "old") == 10
    assert [t for (t,) in kit.conn.rows("SELECT name FROM tables")] == ["kept"]
    assert {c["table"] for c in tables.columns(kit.conn, tables.Defaults())} == {"kept"}
    assert shape(kit, ulids[0])["table"] == "old"  # a living one that waits for its slice shows no other name
    assert close_all(kit) >= 4
    assert kit.conn.value("SELECT count(*) FROM medium") == 1
    assert {shape(kit, u)["state"] for u in ulids} == {"deleted"}
    assert {shape(kit, u)["table"] for u in ulids} == {"old"}
    assert {t for (t,) in kit.conn.rows('SELECT "table" FROM deleted_media')} == {"old"}
    assert len(kit.tombstones()) == 20
    kit.check()


def test_a_put_into_a_dropped_name_makes_a_new_table(kit: Kit) -> None:
    kit.put(1, table="t", column="c")
    with kit.conn.writing(durable=False):
        tables.drop_table(kit.conn, "t")
    fresh = kit.put(2, table="t", column="c")
    close_all(kit)
    assert shape(kit, fresh)["state"] == "local_only"
    assert kit.conn.value("SELECT count(*) FROM medium") == 1


def test_one_column_of_a_table(kit: Kit) -> None:
    a, b = kit.put(1, table="t", column="a"), kit.put(2, table="t", column="b")
    with kit.conn.writing(durable=False):
        assert tables.drop_column(kit.conn, "t", "a") == 1
    close_all(kit)
    assert (shape(kit, a)["state"], shape(kit, b)["state"]) == ("deleted", "local_only")
    assert kit.conn.rows("SELECT name FROM columns") == [("b",)]


def test_an_undelete_brings_its_table_and_column_back(kit: Kit) -> None:
    ulid = kit.put(1, table="t", column="c")
    with kit.conn.writing(durable=False):
        tables.drop_column(kit.conn, "t", "c")
        tables.drop_table(kit.conn, "t")
    kit.delete(ulid)
    with pytest.raises(ConfigError, match="just being dropped"):
        undelete(kit, ulid)
    close_all(kit)
    undelete(kit, ulid)
    assert (shape(kit, ulid)["table"], shape(kit, ulid)["column"]) == ("t", "c")
    assert kit.conn.rows("SELECT name FROM tables") == [("t",)]


def test_an_undelete_takes_no_name_from_another_table(kit: Kit) -> None:
    ulid = kit.put(1, table="t")
    with kit.conn.writing(durable=False):
        tables.drop_table(kit.conn, "t")
    close_all(kit)
    kit.put(2, table="t")
    with pytest.raises(ConfigError, match="another one of that name"):
        undelete(kit, ulid)
    assert shape(kit, ulid)["state"] == "deleted"


@pytest.mark.parametrize("drop", [lambda c: tables.drop_table(c, "nope"), lambda c: tables.drop_column(c, "default", "nope")])
def test_what_is_not_there_cannot_be_dropped(kit: Kit, drop: object) -> None:
    kit.put(1)
    with pytest.raises(NotFound), kit.conn.writing(durable=False):
        drop(kit.conn)  # type: ignore[operator]


def test_nobody_can_name_a_dropped_table(kit: Kit) -> None:
    kit.put(1, table="t")
    with kit.conn.writing(durable=False):
        tables.drop_table(kit.conn, "t")
    name = kit.conn.value("SELECT name FROM tbl")
    with pytest.raises(ConfigError):
        tables.check_name("table", name, path=True)
    assert sweeping.unseen(kit.conn) is False


def test_a_put_beside_an_undelete_from_a_dropped_table_is_not_dropped_with_it(kit: Kit) -> None:
    """The table came back for one column; its other column is still being emptied."""
    back = kit.put(1, table="t", column="a")
    kit.put(2, table="t", column="b")
    kit.put(3, table="t", column="b")
    drop(kit, "t")
    with kit.conn.writing(durable=False):
        assert tables.close_step(kit.conn, 2) == 1  # the first column is done
    undelete(kit, back)
    fresh = kit.put(4, table="t", column="b")
    close_all(kit)
    assert (shape(kit, back)["state"], shape(kit, fresh)["state"]) == ("local_only", "local_only")
    assert sorted(kit.conn.rows('SELECT "table", name, destinations FROM columns')) == [("t", "a", None), ("t", "b", None)]
    again = kit.put(5, table="t", column="b")
    assert {ulid for _, ulid in finding.page(kit.conn, finding.Filter("t", "b"))} == {fresh, again}


def test_what_was_in_a_dropped_table_is_found_by_its_old_name(kit: Kit) -> None:
    ulid, other = kit.put(1, table="t", column="c"), kit.put(2, table="to", column="c")
    drop(kit, "t")
    close_all(kit)
    kit.put(3, table="t", column="d")  # another one of that name
    for table, column in (("t", None), ("t", "c"), (None, "c")):
        where = finding.Filter(table, column, deleted=True)
        assert [u for _, u in finding.page(kit.conn, where)] == [ulid]
    assert [u for _, u in finding.page(kit.conn, finding.Filter(None, "c"))] == [other]
    with pytest.raises(NotFound):
        finding.page(kit.conn, finding.Filter("t", "c"))


@pytest.mark.parametrize("column", [None, "c"])
def test_nothing_reaches_a_dropped_table_by_its_hidden_name(kit: Kit, column: str | None) -> None:
    kit.put(1, table="t", column="c")
    drop(kit, "t", column)
    table, name = kit.conn.one("SELECT t.name, c.name FROM tbl t JOIN col c ON c.tbl_id = t.id")  # type: ignore[misc]
    with pytest.raises(ConfigError, match="cannot be the name"):
        kit.put(2, table=table, column=name)
    with pytest.raises(NotFound), kit.conn.writing(durable=False):
        tables.set_destination(kit.conn, table, name, [A])
    with pytest.raises(NotFound):
        drop(kit, table, name)


def test_a_table_is_dropped_again_after_it_came_back(kit: Kit) -> None:
    ulid = kit.put(1, table="t", column="c")
    for _ in range(3):
        drop(kit, "t")
        close_all(kit)
        undelete(kit, ulid)
        assert (shape(kit, ulid)["table"], shape(kit, ulid)["column"], shape(kit, ulid)["state"]) == ("t", "c", "local_only")
    kit.check()


def test_a_name_that_was_dropped_twice_gives_back_the_one_that_is_asked_for(kit: Kit) -> None:
    first = kit.put(1, table="t", column="c")
    drop(kit, "t", "c")
    second = kit.put(2, table="t", column="c")
    drop(kit, "t")
    close_all(kit)
    undelete(kit, first)
    assert kit.conn.rows("SELECT name FROM columns") == [("c",)]
    with pytest.raises(ConfigError, match="another one of that name"):
        undelete(kit, second)
    drop(kit, "t", "c")
    close_all(kit)
    undelete(kit, second)
    assert (shape(kit, first)["state"], shape(kit, second)["state"]) == ("deleted", "local_only")


def test_a_refused_undelete_brings_no_table_back(kit: Kit) -> None:
    ulid = kit.put(1, table="t", column="c")
    kit.put(2, table="t", column="c")
    drop(kit, "t")
    kit.delete(ulid)
    before = kit.dump()
    with pytest.raises(ConfigError, match="just being dropped"):
        undelete(kit, ulid)
    assert kit.dump() == before


def test_a_column_that_is_moving_is_dropped(kit: Kit) -> None:
    ulid = kit.put(1, None, table="t", column="c")
    with kit.conn.writing(durable=False):
        tables.set_destination(kit.conn, "t", "c", [A])
    drop(kit, "t")
    assert not tables.moves_due(kit.conn)
    close_all(kit)
    undelete(kit, ulid)
    assert shape(kit, ulid)["replicas"][0]["destination"] == A  # where its column goes
    kit.check()
