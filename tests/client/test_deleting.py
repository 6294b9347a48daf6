"""Deleting, taking it back and dropping from Python, without a daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import lading
from lading_catalog.deleting import NotDeleted
from put_kit import catalog


@pytest.fixture
def cat(tmp_path: Path) -> Iterator[lading.Catalog]:
    with catalog(tmp_path / "home") as made:
        yield made


def test_a_medium_comes_back_as_it_was(cat: lading.Catalog) -> None:
    photo = cat.put(b"1", name="a.jpg", priority="bulk", values={"n": 1})
    photo.pin()
    before = photo.refresh().shape
    photo.delete()
    assert (photo.refresh().state, [m.id for m in cat.media(deleted=True)]) == ("deleted", [photo.id])
    assert photo.undelete() is photo
    assert photo.shape == before
    assert (list(cat.media(deleted=True)), photo.open().read()) == ([], b"1")
    with pytest.raises(NotDeleted):
        photo.undelete()


def test_what_was_deleted_twice_is_gone_once(cat: lading.Catalog) -> None:
    photo = cat.put(b"1", name="a.jpg")
    photo.delete()
    with pytest.raises(lading.NotFound):
        photo.delete()
    photo.undelete()
    photo.delete()
    assert cat.status()["media"]["deleted"] == 1


def test_drop_a_table_and_put_into_its_name(cat: lading.Catalog) -> None:
    media = cat.put_many([(b"%d" % n, f"{n}") for n in range(150)], table="trip")
    done: list[int] = []
    assert cat.drop_table("trip", done.append) == 150
    assert done[:2] == [64, 128]
    assert done[-1] == 150
    assert cat.columns() == []
    cat.refresh(media)
    assert {(m.state, m.table) for m in media} == {("deleted", "trip")}
    fresh = cat.put(b"new", name="new", table="trip")
    assert [m.id for m in cat.media(table="trip")] == [fresh.id]
    assert len(list(cat.media(table="trip", deleted=True))) == 150
    with pytest.raises(lading.ConfigError, match="another one of that name"):
        media[0].undelete()
    assert cat.drop_column("trip", "file") == 1
    assert media[0].refresh().state == "deleted"
    with pytest.raises(lading.NotFound):
        cat.drop_table("nothing")


def test_what_an_interruption_leaves_is_deleted_later(cat: lading.Catalog) -> None:
    cat.put_many([(b"%d" % n, f"{n}") for n in range(150)], table="trip")
    cat.put_many([(b"%d" % n, f"{n}") for n in range(5)], table="other")

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cat.drop_table("trip", stop)
    assert cat.status()["media"]["deleted"] == 64
    assert cat.drop_table("other") == 5
    assert cat.status()["media"]["deleted"] == 155


def test_others_can_write_while_a_large_table_is_dropped(tmp_path: Path) -> None:
    with catalog(tmp_path / "home") as cat, catalog(tmp_path / "home") as other:
        cat.put_many([(b"%d" % n, f"{n}") for n in range(400)], table="trip")
        waits: list[float] = []

        def between(done: int) -> None:
            began = time.monotonic()
            other.put(b"other %d" % done, name="other")
            waits.append(time.monotonic() - began)

        cat.drop_table("trip", between)
        assert cat.status()["media"] == {**cat.status()["media"], "total": len(waits), "deleted": 400}
