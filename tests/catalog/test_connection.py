"""Opening and writing: what is refused, a fork, a second SQLite library, a busy catalog."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

import lading
from catalog_kit import Kit
from lading_catalog import connection, filesystem
from lading_catalog.connection import Connection, WalReplaced, open_catalog
from lading_catalog.errors import CatalogError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A catalog at rest with one medium in it."""
    kit = Kit(tmp_path / "home", seed=99)
    kit.put(1)
    kit.conn.close()
    return kit.home


def _contents(home: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in home.iterdir() if p.is_file() and not p.name.endswith(("-shm", "-wal"))}


def _sqlite_file(path: Path, *statements: str) -> None:
    db = sqlite3.connect(path)
    for sql in statements:
        db.execute(sql)
    db.commit()
    db.close()
    path.chmod(0o600)


def _old_sqlite(home: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")


def _foreign(home: Path, patch: pytest.MonkeyPatch) -> None:
    (home / "catalog.db").unlink()
    _sqlite_file(home / "catalog.db", "CREATE TABLE t (x)", "PRAGMA application_id = 77")


def _no_application_id(home: Path, patch: pytest.MonkeyPatch) -> None:
    (home / "catalog.db").unlink()
    _sqlite_file(home / "catalog.db", "CREATE TABLE t (x)")


def _empty(home: Path, patch: pytest.MonkeyPatch) -> None:
    (home / "catalog.db").write_bytes(b"")


def _no_database(home: Path, patch: pytest.MonkeyPatch) -> None:
    (home / "catalog.db").write_bytes(b"Dear diary, " * 1000)


def _readable_by_others(home: Path, patch: pytest.MonkeyPatch) -> None:
    (home / "catalog.db").chmod(0o644)


def _linked_file(home: Path, patch: pytest.MonkeyPatch) -> None:
    shutil.move(home / "catalog.db", home / "elsewhere.db")
    (home / "catalog.db").symlink_to(home / "elsewhere.db")


def _folder(home: Path, patch: pytest.MonkeyPatch) -> None:
    (home / "catalog.db").unlink()
    (home / "catalog.db").mkdir()


def _linked_home(home: Path, patch: pytest.MonkeyPatch) -> None:
    home.rename(home.parent / "real")
    home.symlink_to(home.parent / "real")


def _network(home: Path, patch: pytest.MonkeyPatch) -> None:
    mounts = home.parent / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"40 22 0:50 / {str(home.parent.parent.resolve()).replace(' ', chr(92) + '040')} rw - nfs4 server:/x rw\n"
    )
    patch.setattr(filesystem, "_MOUNTS", os.fspath(mounts))


def _other_owner_of_home(home: Path, patch: pytest.MonkeyPatch) -> None:
    _chown(home)


def _other_owner_of_file(home: Path, patch: pytest.MonkeyPatch) -> None:
    _chown(home / "catalog.db")


def _chown(path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, -1)


REFUSED: dict[Callable[[Path, pytest.MonkeyPatch], None], str] = {
    _old_sqlite: "3.51.2 can corrupt",
    _foreign: "another program",
    _no_application_id: "another program",
    _empty: "another program",
    _no_database: "not a catalog",
    _readable_by_others: "only you can read",
    _linked_file: "regular file",
    _folder: "regular file",
    _linked_home: "symbolic link",
    _network: "network file system",
    _other_owner_of_home: "another user",
    _other_owner_of_file: "another user",
}


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda f: f.__name__.strip("_"))
def test_refused_with_a_clear_error_and_without_a_write(
    home: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[..., None]
) -> None:
    open_catalog(home).close()  # it was good
    spoil(home, monkeypatch)
    before = _contents(home)
    for make in (True, False):
        with pytest.raises(CatalogError, match=REFUSED[spoil]) as refusal:
            open_catalog(home, make=make)
        assert refusal.value.hint
    assert _contents(home) == before
    monkeypatch.undo()


def test_a_foreign_file_in_use_is_left_as_it_is(home: Path) -> None:
    """Its program died and left a log: closing our connection must not write that log into the file."""
    path = home / "catalog.db"
    path.unlink()
    died = "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('PRAGMA journal_mode = wal');"
    died += "db.execute('CREATE TABLE t (x)'); db.commit(); os._exit(0)"
    subprocess.run([sys.executable, "-c", died, os.fspath(path)], check=True)
    path.chmod(0o600)
    before, log = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    with pytest.raises(CatalogError, match="another program"):
        open_catalog(home)
    assert path.read_bytes() == before
    assert Path(f"{path}-wal").read_bytes() == log


def test_nothing_is_made_where_a_catalog_must_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(CatalogError):
        open_catalog(tmp_path / "new" / "home")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    with pytest.raises(CatalogError, match="no catalog"):
        open_catalog(tmp_path / "new" / "home", make=False)
    assert list(tmp_path.iterdir()) == []


def test_a_mount_point_with_a_space_and_a_local_one_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share, local = tmp_path / "my share", tmp_path / "my share" / "local"
    local.mkdir(parents=True)
    mounts = tmp_path / "mountinfo"
    name = os.fspath(share.resolve()).replace(" ", "\\040")
    mounts.write_text(
        f"22 1 8:1 / / rw - ext4 a rw\n40 22 0:50 / {name} rw shared:1 - cifs b rw\n41 40 8:2 / {name}/local rw - xfs c rw\n"
    )
    monkeypatch.setattr(filesystem, "_MOUNTS", os.fspath(mounts))
    assert filesystem.network_type(share / "not" / "there" / "yet") == "cifs"
    assert filesystem.network_type(local / "home") is None
    assert filesystem.network_type(tmp_path) is None


def test_pragmas_are_what_they_must_be(home: Path) -> None:
    conn = Connection(home)
    for pragma, value in (
        ("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("recursive_triggers", 1), ("trusted_schema", 0),
        ("cell_size_check", 1),
    ):  # fmt: skip
        assert conn.value(f"PRAGMA {pragma}") == value
    with conn.writing(durable=False):
        assert conn.value("PRAGMA synchronous") == 1
    with conn.writing():
        assert conn.value("PRAGMA synchronous") == 2
    conn.close()


def test_an_error_in_a_transaction_takes_all_of_it_back(home: Path) -> None:
    conn = Connection(home)
    with pytest.raises(apsw.ConstraintError), conn.writing():
        conn.run_many("INSERT INTO tbl (name) VALUES (?)", [("x",), ("x",)])
    with conn.writing():
        assert conn.value("SELECT count(*) FROM tbl WHERE name = 'x'") == 0
    conn.close()


def test_a_connection_in_a_forked_child_raises(home: Path) -> None:
    kit = Kit(home)
    kit.put(2)
    child = os.fork()
    if child == 0:
        wrong = 0
        calls: list[Callable[[], object]] = [
            lambda: kit.put(3), lambda: kit.conn.rows("SELECT 1"), lambda: kit.conn.data_version(), lambda: kit.conn.checkpoint(),
            lambda: kit.conn.reading().__enter__(), lambda: kit.conn.dicts("SELECT 1"), lambda: kit.conn.run("DELETE FROM journal"),
            lambda: kit.conn.run_many("DELETE FROM journal", [()]), lambda: kit.conn.reopen(),
        ]  # fmt: skip
        for n, call in enumerate(calls):
            try:
                call()
                wrong |= 1 << n
            except CatalogError as e:
                wrong |= 0 if "fork" in str(e) else 1 << n
            except BaseException:
                wrong |= 1 << n
        kit.conn.close()  # harmless
        with open(home / "wrong", "w") as told:
            told.write(str(wrong))
        os._exit(0)
    os.waitpid(child, 0)
    assert int((home / "wrong").read_text()) == 0, "calls that did not raise, as bits"
    kit.put(4)
    assert kit.conn.value("SELECT count(*) FROM medium") == 3
    kit.check()
    kit.conn.close()


def test_a_fork_inside_a_transaction_leaves_it_to_the_parent(home: Path) -> None:
    conn = Connection(home)
    child = -1
    try:
        with conn.writing():
            conn.run("INSERT INTO tbl (name) VALUES ('x')")
            child = os.fork()
            if child != 0:
                os.waitpid(child, 0)
                conn.run("INSERT INTO tbl (name) VALUES ('y')")
    except CatalogError:
        os._exit(0 if child == 0 else 1)
    if child == 0:
        os._exit(1)
    assert conn.rows("SELECT name FROM tbl WHERE name IN ('x', 'y')") == [("x",), ("y",)]
    assert conn.value("PRAGMA integrity_check") == "ok"
    conn.close()


def _other_library(path: Path) -> int:
    """Open and close the catalog with Python's own SQLite, in this process: how many media it sees."""
    db = sqlite3.connect(path)
    n: int = db.execute("SELECT count(*) FROM medium").fetchone()[0]
    db.close()
    return n


def _seen_by_others(path: Path) -> int:
    """How many media another process sees."""
    code = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM medium').fetchone()[0])"
    return int(subprocess.run([sys.executable, "-c", code, os.fspath(path)], capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("wrote_before", [True, False])
def test_a_second_sqlite_library_is_noticed_at_the_next_commit(home: Path, wrote_before: bool) -> None:
    assert sqlite3.sqlite_version != apsw.sqlite_lib_version(), "these have to be two libraries"
    kit = Kit(home)
    before = 1 + wrote_before
    if wrote_before:
        kit.put(2)
    assert _other_library(kit.conn.path) == before
    assert not Path(f"{kit.conn.path}-wal").exists(), "the fault did not fire"
    with pytest.raises(WalReplaced):
        kit.put(3)
    count = kit.conn.value("SELECT count(*) FROM medium")  # reopened: what it sees is what is there
    assert count == _seen_by_others(kit.conn.path)
    kit.put(4)
    assert _seen_by_others(kit.conn.path) == count + 1
    kit.check()
    kit.conn.close()


@pytest.mark.parametrize("wrote_before", [True, False])
def test_no_acked_put_is_lost_to_a_second_sqlite_library(tmp_path: Path, wrote_before: bool) -> None:
    with lading.open(tmp_path / "home") as cat:
        path = cat.home / "catalog.db"
        acked = [cat.put(b"first", name="a").id] if wrote_before else []
        for n in range(3):
            _other_library(path)
            acked.append(cat.put(b"%d" % n, name="b").id)
            assert _seen_by_others(path) == len(acked)
        assert {m.id for m in cat.media()} == set(acked)
    with lading.open(tmp_path / "home") as cat:
        assert {m.id for m in cat.media()} == set(acked)


def test_a_reader_does_not_block_a_writer(home: Path) -> None:
    reader, writer = Connection(home), Kit(home)
    with reader.reading():
        before = reader.value("SELECT count(*) FROM medium")
        writer.put(2)
        assert reader.value("SELECT count(*) FROM medium") == before  # one snapshot
    assert reader.value("SELECT count(*) FROM medium") == before + 1
    with writer.conn.writing():
        assert reader.value("SELECT count(*) FROM medium") == before + 1  # and a writer no reader
    reader.close()
    writer.conn.close()


def test_data_version_tells_of_commits_of_others(home: Path) -> None:
    one, other = Kit(home), Kit(home, seed=2)
    seen = one.conn.data_version()
    one.put(2)
    assert one.conn.data_version() == seen
    other.put(3)
    assert one.conn.data_version() != seen
    one.conn.close()
    other.conn.close()


def test_a_checkpoint_empties_the_log(home: Path) -> None:
    kit = Kit(home)
    kit.put(2)
    assert kit.conn.wal_bytes() > 0
    kit.conn.checkpoint(truncate=True)
    assert kit.conn.wal_bytes() == 0
    kit.put(3)
    assert kit.conn.value("SELECT count(*) FROM medium") == 3
    kit.conn.close()


def test_who_waits_too_long_gets_our_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_S", 0.05)
    holder, kit = Connection(home), Kit(home)
    with holder.writing(), pytest.raises(CatalogError, match="locked by another process"):
        kit.put(2)
    kit.put(3)
    holder.close()
    kit.conn.close()


_WRITER = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from catalog_kit import Kit
kit = Kit(Path(sys.argv[1]), seed=int(sys.argv[2]))
kit.files = int(sys.argv[2]) * 1_000_000
end, n = time.monotonic() + float(sys.argv[3]), 0
while time.monotonic() < end:
    kit.put(int(sys.argv[2]) * 1_000_000 + n, ["file:///a/"])
    n += 1
kit.conn.close()
print(n)
"""

_BUSY_DAEMON = """
import sys, time
from pathlib import Path
from lading_catalog.connection import Connection
conn = Connection(Path(sys.argv[1]))
end, n = time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < end:
    with conn.writing(durable=False):
        conn.run("UPDATE meta SET v = v + 1 WHERE k = 'clock_ms'")
        time.sleep(0.005)
    n += 1
    time.sleep(0.005)
conn.close()
print(n)
"""


def test_no_busy_error_reaches_a_caller(home: Path) -> None:
    """Eight writers at full speed beside a daemon that holds the lock half of the time."""
    seconds = "2.5"
    here = os.fspath(Path(__file__).parents[1])
    commands = [[sys.executable, "-c", _WRITER, os.fspath(home), str(n), seconds, here] for n in range(1, 9)]
    commands.append([sys.executable, "-c", _BUSY_DAEMON, os.fspath(home), seconds])
    children = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands]
    answers = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0] * 9, [err for _, err in answers if err]
    counts = [int(out) for out, _ in answers]
    assert all(counts), "somebody never got a turn"
    kit = Kit(home)
    assert kit.conn.value("SELECT count(*) FROM medium") == 1 + sum(counts[:8])
    assert kit.conn.value("SELECT n FROM media_tally WHERE state = 'pending'") == sum(counts[:8])
    assert kit.conn.value("SELECT v FROM meta WHERE k = 'clock_ms'") == counts[8]
    kit.check()
    kit.conn.close()
