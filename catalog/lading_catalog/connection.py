"""Opening the catalog, and the rules of every transaction.

One `Connection` is used by one thread at a time. A writing transaction is BEGIN IMMEDIATE, short, and first checks that the schema
is still ours; a reader never holds a snapshot for long. Commits are `synchronous=FULL` unless the caller says that losing this one
only repeats work.

What can go wrong and is noticed here: a SQLite with the WAL-reset bug, a network file system, a foreign or newer file, another
owner, a symlinked home, a connection that crossed a fork, and a second SQLite library in the process, which unlinks the live
`-wal` when it closes the file (its fcntl locks are the process's, not the library's).
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from lading_catalog import filesystem
from lading_catalog.errors import CatalogError, CatalogFull, CatalogUpgraded
from lading_catalog.ids import RandomBytes
from lading_catalog.keys import NONCE_BYTES, key_again, object_key
from lading_catalog.migrate import APPLICATION_ID, SCHEMA_VERSION, create

CATALOG_FILE = "catalog.db"
SQLITE_MIN = (3, 51, 3)  # below, two processes that reset the WAL at once can corrupt it (fixed in 3.51.3)
BUSY_S = 30.0  # a writer that waits longer than this gets an error
CHECKPOINT_WAIT_S = 0.05
CLIENT_WAL_PAGES = 4_000  # 16 MB: a valve; the daemon checkpoints long before
_BUSY_STEP_S = 0.001  # SQLite's own busy_timeout sleeps up to 100 ms between tries and starves under load

Bindings = tuple[Any, ...] | Mapping[str, Any]


class WalReplaced(CatalogError):
    """Another SQLite library in this process has replaced the -wal file: the last commit may be invisible to others."""


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Connection:
    """A connection to the catalog of `home`. `now_ms` and `random_bytes` are the clock and the dice of the triggers, so that a
    simulation can hold both. Raises CatalogError, see the module's docstring."""

    def __init__(
        self,
        home: Path,
        *,
        now_ms: Any = wall_ms,
        random_bytes: RandomBytes = os.urandom,
        wal_pages: int = CLIENT_WAL_PAGES,
    ) -> None:
        self.home = home
        self.path = home / CATALOG_FILE
        self.now_ms = now_ms
        self.random_bytes = random_bytes
        self._wal_pages = wal_pages
        self._durable = True
        refuse_bad_place(home, self.path)
        self._open()

    # -- opening ---------------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._pid = os.getpid()
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW
        try:
            db = apsw.Connection(os.fspath(self.path), flags=flags)
        except apsw.Error as e:
            raise CatalogError(f"Cannot open the catalog {self.path}: {e}.", hint="Check the disk and the permissions.") from e
        self._db = db
        self._patience = _Patience()
        db.set_busy_handler(self._patience)
        try:
            # Closing the last connection writes the WAL into the file: not for a file that is refused.
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._check_identity()
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            self._set_pragmas()
            # The log is open since the first read. Taken here and not at the first write: it may be replaced in between.
            self._wal_inode = self._inode_of_wal()
        except CatalogError:
            db.close()
            raise
        except apsw.NotADBError as e:
            db.close()
            raise CatalogError(
                f"{self.path} is not a catalog: {e}.", hint="Choose another home, or bring this file back from a backup."
            ) from e
        except apsw.Error as e:
            db.close()
            raise CatalogError(f"Cannot open the catalog {self.path}: {e}.", hint="Check the disk and the permissions.") from e
        functions: tuple[tuple[str, Any, int], ...] = (
            ("lading_now", lambda: self.now_ms(), 0),
            ("lading_key", self._new_key, 4),
            ("lading_key_again", lambda key: key_again(key, self.random_bytes(NONCE_BYTES)), 1),
        )
        for name, function, args in functions:
            db.create_scalar_function(name, function, args, flags=apsw.SQLITE_INNOCUOUS)

    def _new_key(self, table: str, column: str, sha256: bytes, name: str | bytes) -> str:
        return object_key(table, column, sha256, name, self.random_bytes(NONCE_BYTES))

    def _check_identity(self) -> None:
        application = self.value("PRAGMA application_id")
        version = self.value("PRAGMA user_version")
        if application != APPLICATION_ID:
            raise CatalogError(
                f"{self.path} is a SQLite file of another program (application id {application:#x}).",
                hint="Choose another home.",
            )
        if version > SCHEMA_VERSION:
            raise CatalogError(
                f"The catalog {self.path} has version {version}; this Lading knows up to {SCHEMA_VERSION}.",
                hint="Update Lading.",
            )
        if version < SCHEMA_VERSION:
            raise CatalogError(
                f"The catalog {self.path} has version {version}, this Lading wants {SCHEMA_VERSION}; the daemon migrates it.",
                hint="Start it: lading daemon",
            )

    def _set_pragmas(self) -> None:
        # One pragma an execute: apsw stops at the first statement that returns a row. Each is read back.
        db = self._db
        db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        # One plan a statement, whatever is bound. Without it SQLite compiles joins anew at each new value: 10 µs and more a query.
        db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        for pragma, wanted in (
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("fullfsync", 1),
            ("checkpoint_fullfsync", 1),
            ("foreign_keys", 1),
            ("recursive_triggers", 1),
            ("trusted_schema", 0),
            ("cell_size_check", 1),
            ("temp_store", 2),
            ("wal_autocheckpoint", self._wal_pages),
        ):
            if self.value(f"PRAGMA {pragma}") != wanted:
                db.execute(f"PRAGMA {pragma} = {wanted}")
                got = self.value(f"PRAGMA {pragma}")
                if got != wanted:
                    raise CatalogError(f"SQLite did not take {pragma}={wanted} for {self.path}: it says {got}.")

    def close(self) -> None:
        if self._pid == os.getpid():
            self._db.close()

    # -- reading ---------------------------------------------------------------------------------------------------------------

    def rows(self, sql: str, bindings: Bindings = ()) -> list[tuple[Any, ...]]:
        self.same_process()
        try:
            return self._db.execute(sql, bindings).fetchall()
        except apsw.Error as e:
            if (ours := _translated(e, self.path)) is not None:
                raise ours from e
            raise

    def one(self, sql: str, bindings: Bindings = ()) -> tuple[Any, ...] | None:
        rows = self.rows(sql, bindings)
        return rows[0] if rows else None

    def value(self, sql: str, bindings: Bindings = ()) -> Any:
        """The first column of the first row; None without a row."""
        row = self.one(sql, bindings)
        return row[0] if row else None

    def dicts(self, sql: str, bindings: Bindings = ()) -> list[dict[str, Any]]:
        self.same_process()
        cursor = self._db.cursor()
        cursor.row_trace = as_dict
        found: list[Any] = cursor.execute(sql, bindings).fetchall()
        return found

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One snapshot for several queries. Short: a snapshot that is held keeps the WAL from being reset."""
        self.same_process()
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    # -- writing ---------------------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        """A writing transaction, committed at the end and rolled back on an error. `durable=False` only where losing the commit
        in a power cut does no more than repeat work. Raises CatalogUpgraded, CatalogError (busy), WalReplaced after the commit."""
        self.same_process()
        try:  # BEGIN too: a Ctrl-C that arrives during it shows after it
            if durable != self._durable:
                self._db.execute(f"PRAGMA synchronous = {2 if durable else 1}")
                self._durable = durable
            self._db.execute("BEGIN IMMEDIATE")
            if self.value("PRAGMA user_version") != SCHEMA_VERSION:
                raise CatalogUpgraded("Another process has migrated the catalog; open it again.")
            yield self
            self.same_process()
            self._db.execute("COMMIT")
        except BaseException as e:
            if self._pid == os.getpid() and self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(e, apsw.IOError):
                self._bury_failed_commit()
            if (ours := _translated(e, self.path)) is not None:
                raise ours from e
            raise
        if self._inode_of_wal() != self._wal_inode:
            self.reopen()
            raise WalReplaced(
                "Another SQLite library in this process has closed the catalog and replaced its write-ahead log.",
                hint="Do not open catalog.db with the sqlite3 module while Lading is in use in the same process; use cat.sql().",
            )

    def _bury_failed_commit(self) -> None:
        """A commit whose sync failed is rolled back here, but its frames stand whole in the log, and whoever opens the catalog next
        would see it. A small commit without a sync writes others over them. (After a power cut the old ones may be back: recovery.py
        asks which rows there are.)"""
        with contextlib.suppress(apsw.Error):
            self._durable = False
            self._db.execute("PRAGMA synchronous = 0")
            # (a change: a page that stays the same is not written)
            self._db.execute("INSERT INTO meta (k, v) VALUES ('failed_commits', 1) ON CONFLICT DO UPDATE SET v = v + 1")
        with contextlib.suppress(apsw.Error):
            self._db.execute("PRAGMA synchronous = 1")

    def run(self, sql: str, bindings: Bindings = ()) -> int:
        """A writing statement inside `writing()`: how many rows it changed itself."""
        self.same_process()
        self._db.execute(sql, bindings)
        return self._db.changes()

    def run_many(self, sql: str, many: Iterable[Bindings]) -> None:
        self.same_process()
        self._db.executemany(sql, many)

    def last_id(self) -> int:
        return self._db.last_insert_rowid()

    def reopen(self) -> None:
        self.same_process()
        self._db.close()
        self._durable = True
        self._open()

    def data_version(self) -> int:
        """Changes when another connection has committed."""
        return int(self.value("PRAGMA data_version"))

    def checkpoint(self, *, truncate: bool = False) -> None:
        """Move the WAL into the file as far as readers allow. TRUNCATE also empties it; it stops writers while it waits for readers,
        so it waits for a moment only and is tried again later."""
        self.same_process()
        self._patience.limit_s = CHECKPOINT_WAIT_S
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE if truncate else apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            return
        finally:
            self._patience.limit_s = BUSY_S

    def wal_bytes(self) -> int:
        try:
            return os.stat(f"{self.path}-wal").st_size
        except OSError:
            return 0

    def _inode_of_wal(self) -> int:
        try:
            return os.stat(f"{self.path}-wal").st_ino
        except OSError:
            return -1

    def same_process(self) -> None:
        """Raises CatalogError in a forked child."""
        if self._pid != os.getpid():
            raise CatalogError("This connection was opened before a fork; open the catalog again in the child.")


class _Patience:
    """A busy handler that asks every millisecond until a deadline. SQLite counts the calls of one wait from 0."""

    def __init__(self) -> None:
        self.limit_s = BUSY_S
        self._deadline = 0.0

    def __call__(self, calls: int) -> bool:
        now = time.monotonic()
        if calls == 0:
            self._deadline = now + self.limit_s
        time.sleep(_BUSY_STEP_S)
        return now < self._deadline


def as_dict(cursor: apsw.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    """A row tracer: rows as dicts."""
    return {column[0]: value for column, value in zip(cursor.get_description(), row, strict=True)}


def _translated(e: BaseException, path: Path) -> CatalogError | None:
    """What the disk or another process did to the catalog, in our words; None for everything else: a bug, or a rule that refused."""
    if isinstance(e, apsw.FullError):
        return disk_full(path)
    if isinstance(e, apsw.BusyError):
        return CatalogError(
            f"The catalog was locked by another process for {BUSY_S:.0f} s.",
            hint="Which one holds it: fuser -v catalog.db in the home.",
        )
    if isinstance(e, (apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError)):
        return CatalogError(f"Using the catalog {path} failed: {e}.", hint="Check the disk; nothing was recorded.")
    if isinstance(e, apsw.CorruptError):
        return CatalogError(
            f"The catalog {path} is damaged: {e}.", hint="Bring it back from a backup; the media themselves are untouched."
        )
    return None


def disk_full(path: Path) -> CatalogError:
    return CatalogFull(f"The disk that holds {path} is full.", hint="Free some space; nothing was changed.")


def refuse_bad_place(home: Path, file: Path) -> None:
    """Raise CatalogError where a catalog must not live. Nothing is written before this."""
    if tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) < SQLITE_MIN:
        raise CatalogError(f"SQLite {apsw.sqlite_lib_version()} can corrupt a catalog;"
                           f" {'.'.join(map(str, SQLITE_MIN))} or newer is needed.",
                           hint="pip install --upgrade apsw")  # fmt: skip
    if home.is_symlink():
        raise CatalogError(f"The home {home} is a symbolic link.", hint="Set `home` to the folder that it points to.")
    if (network := filesystem.network_type(home)) is not None:
        raise CatalogError(f"The home {home} lies on a network file system ({network}), where SQLite's locks cannot be trusted.",
                           hint="Set `home` to a folder on a local disk.")  # fmt: skip
    for path in (home, file):
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue
        if found.st_uid != os.getuid():
            raise CatalogError(f"{path} belongs to another user (uid {found.st_uid}).", hint="Choose a home of your own.")
        if path == file and (not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077):
            raise CatalogError(f"{path} must be a regular file that only you can read.", hint=f"chmod 600 {path}")


def open_catalog(home: Path, *, make: bool = True, **kwargs: Any) -> Connection:
    """Open the catalog of `home`; with `make`, create the home and a new catalog where there is none.

    Raises CatalogError. Many processes may do this at once on a fresh home: one creates, the others find it."""
    file = home / CATALOG_FILE
    try:
        if not os.path.lexists(file):
            if not make:
                raise CatalogError(f"There is no catalog in {home}.", hint="lading put FILE makes one.")
            refuse_bad_place(home, file)
            create(home, file)
        return Connection(home, **kwargs)
    except (OSError, apsw.Error) as e:
        raise CatalogError(f"Cannot use the catalog in {home}: {e}.", hint="Check the disk and the permissions.") from e
