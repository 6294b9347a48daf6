"""Reading a large object while it is fetched, with the test in the place of the daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import lading
from lading.fetch import TooLate
from lading_catalog import fetching, parts, replicas
from lading_catalog.parts import Part

URI = "file:///mnt/nas/photos/"
MEGA = 1 << 20
DATA = os.urandom(9 * MEGA)
EPOCH = 3


class Away:
    """A medium that is only in its destination, and the part that a daemon would write."""

    def __init__(self, cat: lading.Catalog) -> None:
        self.cat, self.conn = cat, cat._conn
        self.medium = cat.put(DATA, name="film.mov", destination=URI)
        path = Path(self.medium.shape["path"])
        with self.conn.writing() as conn:
            ids = [i for (i,) in conn.rows("SELECT id FROM owed")]
            replicas.claim(conn, ids, EPOCH)
            replicas.confirm(conn, [replicas.Success(i, "read", "sha256", None, conn.now_ms()) for i in ids], EPOCH)
            here = fetching.look(conn, self.medium.id[2:])
            assert here is not None
            assert here.replica_id is not None
            replicas.drop(conn, here.replica_id, "present")
            replicas.forget(conn, here.replica_id)
        path.unlink()
        (cat.home / parts.FETCHING).mkdir(mode=0o700, exist_ok=True)

    def begin(self) -> Part:
        with self.conn.writing() as conn:
            here = fetching.look(conn, self.medium.id[2:])
            assert here is not None
            assert here.replica_id is not None
            fetching.claim(conn, [here.replica_id], EPOCH, 0)
        part = Part(self.cat.home, here.replica_id, here.key, here.sha256, here.size_bytes)
        part.open()
        return part

    def write(self, part: Part, data: bytes) -> None:
        for chunk in part.hashing(iter([data])):
            part.append(chunk)

    def confirm(self, part: Part) -> None:
        arrived = part.publish()
        with self.conn.writing() as conn:
            assert fetching.confirm(conn, [arrived], EPOCH)
        parts.settle(self.cat.home, part.replica_id, part.key, arrived.inode, keep=True)


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    monkeypatch.setattr("lading.helper.Helper.watch", lambda self: None)
    # (one connection plays both sides, and does not see its own commits as another's)
    monkeypatch.setattr("lading_catalog.connection.Connection.data_version", lambda self: os.urandom(8))
    with lading.open(tmp_path / "home") as cat:
        yield Away(cat)


def test_the_end_is_kept_back_until_all_was_found_whole(away: Away) -> None:
    with away.medium.open(timeout=0.3) as file:
        part = away.begin()
        away.write(part, DATA)
        kept = len(DATA) - MEGA
        assert file.read(kept) == DATA[:kept]
        with pytest.raises(TooLate):
            file.read(1)
    with away.medium.open(timeout=5) as file:
        away.confirm(part)
        assert file.read() == DATA


def test_a_part_that_begins_anew_is_an_error_for_who_has_read_of_it(away: Away) -> None:
    with away.medium.open(timeout=5) as file, away.medium.open(timeout=5) as fresh:
        part = away.begin()
        away.write(part, bytes(3 * MEGA))
        assert file.read(MEGA) == bytes(MEGA)
        part.restart()
        away.write(part, DATA)
        with pytest.raises(lading.Damaged, match="anew"):
            file.read(7 * MEGA)
        with pytest.raises(lading.Damaged, match="anew"):
            file.read(MEGA)  # and it stays one
        away.confirm(part)
        assert fresh.read() == DATA


def test_a_put_that_wins_serves_who_has_read_nothing_yet(away: Away) -> None:
    with away.medium.open(timeout=5) as file:
        part = away.begin()
        away.write(part, bytes(MEGA))
        away.cat.put(DATA, name="film.mov", destination=URI)
        os.unlink(part.path)
        assert file.read() == DATA


def test_what_was_read_is_not_evicted_before_it_is_closed(away: Away) -> None:
    from lading_catalog import leases

    with away.medium.open(timeout=5) as file:
        part = away.begin()
        away.write(part, DATA)
        away.confirm(part)
        assert file.read() == DATA
        final = away.cat.home / part.key
        assert leases.seize(final) is None
    held = leases.seize(final)
    assert held is not None
    os.close(held[0])
