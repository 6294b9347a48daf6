"""Creating and migrating: whole or not at all, one text of each rule, one winner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import apsw
import pytest

from catalog_kit import A, Kit
from lading_catalog import connection, migrate
from lading_catalog.connection import Connection, open_catalog
from lading_catalog.errors import CatalogError, CatalogUpgraded
from lading_catalog.migrate import SCHEMA_VERSION

NEXT = """
ALTER TABLE medium ADD COLUMN note TEXT;
CREATE TABLE album (id INTEGER PRIMARY KEY, title TEXT NOT NULL) STRICT;
INSERT INTO album SELECT id, 'of ' || ulid FROM medium;
UPDATE medium SET note = 'migrated';
CREATE INDEX medium_note ON medium (note);
"""
NEXT_RULE = "CREATE VIEW albums AS SELECT title FROM album;"


@pytest.fixture
def following(tmp_path: Path) -> tuple[list[Traversable], list[Traversable]]:
    """The schema and the rules of a version to come."""
    folder = tmp_path / "next"
    folder.mkdir()
    (folder / "9998.sql").write_text(NEXT)
    (folder / "70_albums.sql").write_text(NEXT_RULE)
    return [*migrate.schema_files(), folder / "9998.sql"], [*migrate.rule_files(), folder / "70_albums.sql"]


def schema_of(db: apsw.Connection) -> list[tuple[Any, ...]]:
    """Names and texts, without the order in which they were laid. ALTER TABLE keeps the text of a table but for the new column."""
    return sorted(db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall(), key=repr)


def plain(path: Path) -> Iterator[apsw.Connection]:
    db = apsw.Connection(os.fspath(path))
    for name, args in (("lading_now", 0), ("lading_key", 4), ("lading_key_again", 1)):
        db.create_scalar_function(name, lambda *_: 1, args)
    yield db
    db.close()


def filled(home: Path) -> Path:
    """A catalog of today with something in it."""
    kit = Kit(home)
    kit.put(1, [A])
    kit.bring()
    kit.put(2)
    kit.delete(kit.put(3, [A]))
    kit.conn.close()
    return home / connection.CATALOG_FILE


def test_fresh_and_migrated_are_the_same(tmp_path: Path, following: Any) -> None:
    path = filled(tmp_path / "home")
    for db in plain(path):
        before = db.execute("SELECT id, ulid, object_id FROM medium").fetchall()
        replicas = db.execute("SELECT * FROM replica").fetchall()
        assert migrate.migrate(db, *following) == SCHEMA_VERSION
        assert db.execute("PRAGMA user_version").get == SCHEMA_VERSION + 1
        assert db.execute("SELECT id, ulid, object_id FROM medium").fetchall() == before
        assert db.execute("SELECT * FROM replica").fetchall() == replicas
        assert db.execute("SELECT title FROM albums ORDER BY title").fetchall() == sorted((f"of {u}",) for _, u, _ in before)
        assert db.execute("PRAGMA integrity_check").get == "ok"
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        migrated = schema_of(db)
        assert migrate.migrate(db, *following) == SCHEMA_VERSION + 1  # nothing to do
        assert schema_of(db) == migrated
    for db in plain(tmp_path / "fresh.db"):
        assert migrate.migrate(db, *following) == 0
        assert schema_of(db) == migrated


def test_the_rules_work_after_a_migration(tmp_path: Path, following: Any) -> None:
    for db in plain(filled(tmp_path / "home")):
        migrate.migrate(db, *following)
        with pytest.raises(apsw.ConstraintError, match="illegal step"):
            db.execute("UPDATE replica SET state = 'copying' WHERE state = 'present'")


def test_an_error_at_any_statement_leaves_the_old_version(tmp_path: Path, following: Any) -> None:
    path = filled(tmp_path / "home")

    class Stop(Exception):
        pass

    def run(stop_at: int) -> int:
        """How many statements there were; raises at the n-th."""
        seen = 0

        def trace(*_: object) -> bool:
            nonlocal seen
            seen += 1
            if seen == stop_at:
                raise Stop
            return True

        for db in plain(path):
            before = schema_of(db), db.execute("SELECT * FROM medium").fetchall()
            db.exec_trace = trace
            try:
                migrate.migrate(db, *following)
            except Stop:
                db.exec_trace = None
                assert db.execute("PRAGMA user_version").get == SCHEMA_VERSION
                assert (schema_of(db), db.execute("SELECT * FROM medium").fetchall()) == before
            assert not db.in_transaction
        return seen

    total = 1
    while True:
        seen = run(total)
        if seen < total:
            break
        total += 1
    assert total > 80  # it did stop at each of them
    for db in plain(path):
        assert db.execute("PRAGMA user_version").get == SCHEMA_VERSION + 1
        assert db.execute("PRAGMA integrity_check").get == "ok"


_KILLED = """
import os, signal, sys
from pathlib import Path
import apsw
from lading_catalog import migrate
db = apsw.Connection(sys.argv[1])
for name, args in (("lading_now", 0), ("lading_key", 4), ("lading_key_again", 1)):
    db.create_scalar_function(name, lambda *_: 1, args)
seen = 0
def trace(*_):
    global seen
    seen += 1
    if seen == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return True
db.exec_trace = trace
migrate.migrate(db, [*migrate.schema_files(), Path(sys.argv[3])], [*migrate.rule_files(), Path(sys.argv[4])])
"""


@pytest.mark.parametrize("at", [40, 120])
def test_a_killed_migration_leaves_the_old_version(tmp_path: Path, following: Any, at: int) -> None:
    path = filled(tmp_path / "home")
    files = [os.fspath(following[0][-1]), os.fspath(following[1][-1])]
    for db in plain(path):
        before = schema_of(db)
    ended = subprocess.run([sys.executable, "-c", _KILLED, os.fspath(path), str(at), *files], check=False)
    assert ended.returncode == -signal.SIGKILL
    for db in plain(path):
        assert db.execute("PRAGMA user_version").get == SCHEMA_VERSION
        assert schema_of(db) == before
        assert db.execute("PRAGMA integrity_check").get == "ok"
        assert migrate.migrate(db, *following) == SCHEMA_VERSION
    assert subprocess.run([sys.executable, "-c", _KILLED, os.fspath(path), "100000", *files], check=False).returncode == 0


def test_old_software_refuses_a_newer_catalog(tmp_path: Path, following: Any) -> None:
    path = filled(tmp_path / "home")
    for db in plain(path):
        migrate.migrate(db, *following)
    before = path.read_bytes()
    with pytest.raises(CatalogError, match=f"has version {SCHEMA_VERSION + 1}; this Lading knows up to {SCHEMA_VERSION}"):
        open_catalog(path.parent)
    assert path.read_bytes() == before


def test_a_client_refuses_an_older_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "home")
    before = path.read_bytes()
    monkeypatch.setattr(connection, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    with pytest.raises(CatalogError, match="the daemon migrates it"):
        open_catalog(path.parent)
    assert path.read_bytes() == before


def test_an_open_connection_notices_a_migration(tmp_path: Path, following: Any) -> None:
    kit = Kit(tmp_path / "home")
    kit.put(1)
    for db in plain(kit.conn.path):
        migrate.migrate(db, *following)
    with pytest.raises(CatalogUpgraded):
        kit.put(2)
    assert kit.conn.value("SELECT count(*) FROM medium") == 1
    kit.conn.close()


_CREATE = """
import sys, time
from pathlib import Path
from lading_catalog.connection import open_catalog
home = Path(sys.argv[1])
sys.stdin.readline()
conn = open_catalog(home)
print(conn.value("SELECT v FROM meta WHERE k = 'catalog_id'"), flush=True)
with conn.writing():
    conn.run("INSERT INTO tbl (name) VALUES (?)", (sys.argv[2],))
conn.close()
"""


def test_eight_processes_that_create_end_with_one_catalog(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "home"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _CREATE, os.fspath(home), str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for n in range(8)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    answers = {child.communicate()[0].strip() for child in children}
    assert [child.returncode for child in children] == [0] * 8
    assert len(answers) == 1
    conn = Connection(home)
    assert {name for (name,) in conn.rows("SELECT name FROM tbl")} == {str(n) for n in range(8)}
    conn.close()
    assert [p.name for p in home.iterdir()] == [connection.CATALOG_FILE]
    assert (home.stat().st_mode & 0o777, (home / connection.CATALOG_FILE).stat().st_mode & 0o777) == (0o700, 0o600)


def test_from_the_first_version(tmp_path: Path) -> None:
    """A catalog of version 1 with a tombstone and an evictable copy: what version 2 asks of them is filled in."""
    for db in plain(tmp_path / "old.db"):
        first = migrate.schema_files()[0]
        db.execute(first.read_text())
        db.execute("PRAGMA user_version = 1")
        db.execute("INSERT INTO store (id, uri, role) VALUES (1, 'file:///a/', 'destination')")
        db.execute("INSERT INTO object (id, sha256, size_bytes) VALUES (1, zeroblob(32), 9)")
        for at, store, attempts in ((1, 0, 0), (2, 1, 1), (3, 1, 2)):
            state = "damaged" if at == 3 else "present"
            db.execute("INSERT INTO replica (id, object_id, store_id, key, state, attempts) VALUES (?, 1, ?, ?, ?, ?)",
                       (at, store, str(at), state, attempts))  # fmt: skip
        db.execute("INSERT INTO tombstone (replica_id, reason, at_ms) VALUES (2, 'nothing needs it', 5)")
        db.execute("UPDATE hold_tally SET n = 1, size_bytes = 9 WHERE hold = 'evictable'")
        assert migrate.migrate(db) == 1
        assert db.execute("SELECT replica_id, store_id FROM tombstone").fetchall() == [(2, 1)]
        assert db.execute("SELECT id FROM replica WHERE unsure").fetchall() == [(3,)]
        assert db.execute("SELECT n, size_bytes FROM hold_tally WHERE hold = 'once'").fetchall() == [(1, 9)]
        migrated = schema_of(db)
    for db in plain(tmp_path / "fresh.db"):
        migrate.migrate(db)
        assert schema_of(db) == migrated
