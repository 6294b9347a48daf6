"""Creating the catalog and bringing an older one up to date.

schema/NNNN_*.sql change the tables: number N takes version N-1 to N, additively, and is never edited once released. rules/*.sql
hold triggers and views; they are dropped and laid anew at each migration, so there is one text of each rule. A new catalog runs
the same steps from 0. Each migration is one transaction: a kill leaves the old version or the new one.

Only the holder of the daemon's lock migrates; a new catalog is made under a temporary name and published whole.
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from lading_catalog import durable
from lading_catalog.ids import new_ulid
from lading_catalog.processes import alive

APPLICATION_ID = 0x4C616467  # "Ladg"


def schema_files() -> list[Path]:
    return sorted(Path(__file__).with_name("schema").glob("*.sql"))


def rule_files() -> list[Path]:
    return sorted(Path(__file__).with_name("rules").glob("*.sql"))


SCHEMA_VERSION = len(schema_files())


def migrate(db: apsw.Connection, schema: list[Path] | None = None, rules: list[Path] | None = None) -> int:
    """Bring `db` to the newest version in one transaction; returns the version it had. `schema`, `rules`: for tests."""
    schema = schema_files() if schema is None else schema
    rules = rule_files() if rules is None else rules
    db.execute("BEGIN IMMEDIATE")
    try:
        version = int(db.execute("PRAGMA user_version").get)
        if version < len(schema):
            # Triggers first: a view takes its own with it.
            laid = "SELECT type, name FROM sqlite_schema WHERE type IN ('trigger', 'view') ORDER BY type"
            for kind, name in db.execute(laid).fetchall():
                db.execute(f'DROP {kind} "{name}"')
            for file in schema[version:] + rules:
                db.execute(file.read_text(encoding="utf-8"))
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {len(schema)}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return version


def upgrade(file: Path) -> int:
    """Migrate the catalog in `file` if it is an older one of ours; returns the version it had. Only for the holder of the daemon's
    lock. What is no catalog, or a newer one, is left alone: opening it says what is wrong."""
    db = apsw.Connection(os.fspath(file), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW)
    try:
        db.set_busy_timeout(30_000)
        version = int(db.execute("PRAGMA user_version").get)
        if db.execute("PRAGMA application_id").get == APPLICATION_ID and version < SCHEMA_VERSION:
            migrate(db)
        return version
    except apsw.NotADBError:
        return SCHEMA_VERSION
    finally:
        db.close()


def create(home: Path, file: Path) -> None:
    """Make the home (0700) and, where there is none yet, a new catalog (0600), durably; what stands there already is kept."""
    from lading_catalog.connection import wall_ms

    _make_folders(home)
    draft = home / f".new-{os.getpid()}-{os.urandom(6).hex()}.db"
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    try:
        db = apsw.Connection(os.fspath(draft))
        migrate(db)
        db.execute("INSERT INTO meta (k, v) VALUES ('catalog_id', ?)", (new_ulid(wall_ms()),))
        db.execute("PRAGMA journal_mode = wal")
        db.close()
        home_fd = os.open(home, durable.FOLDER_FLAGS)
        try:
            with open(draft, "rb") as written:
                durable.sync_file(written.fileno())
            try:
                durable.publish(draft.name, file.name, home_fd, home_fd)
            except FileExistsError:
                return  # another process was first: its catalog is the catalog
        finally:
            os.close(home_fd)
    finally:
        for leftover in (draft, Path(f"{draft}-wal"), Path(f"{draft}-shm")):
            leftover.unlink(missing_ok=True)


def remove_drafts(home: Path) -> None:
    """Remove what a killed `create` has left. For the holder of the daemon's lock; another process may be creating right now, so only
    drafts of dead processes go."""
    for draft in home.glob(".new-*.db*"):
        pid = draft.name.split("-")[1]
        if not (pid.isdecimal() and alive(int(pid))):
            draft.unlink(missing_ok=True)


def _make_folders(home: Path) -> None:
    """Each new folder is made durable by a sync of its parent."""
    missing = []
    place = home
    while not place.exists():
        missing.append(place)
        place = place.parent
    for folder in reversed(missing):
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            continue
        fd = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            durable.sync_folder(fd)
        finally:
            os.close(fd)
