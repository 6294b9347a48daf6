"""The durable half of a put: from bytes that are staged on this disk to rows that are committed, or to nothing at all."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import apsw

from lading.intake import Taken
from lading_catalog import doorbell, finding, localstore, media, tables
from lading_catalog.connection import Connection, WalReplaced
from lading_catalog.errors import CatalogError
from lading_catalog.room import Room
from lading_catalog.staging import Session, Staged


class Recorder:
    """Publishes staged files and commits their rows. Thread-safe: `lock` guards `conn`; files are published outside of it."""

    def __init__(self, home: Path, conn: Connection, lock: threading.RLock, defaults: tables.Defaults, room: Room) -> None:
        self._home = home
        self._conn = conn
        self._lock = lock
        self._defaults = defaults
        self._room = room
        self._session: Session | None = None
        self._matches = lambda *file: localstore.matches(home, *file)

    def session(self) -> Session:
        """The part of the staging folder that this catalog writes to. Raises CatalogError after a fork: it is the parent's."""
        with self._lock:
            self._conn.same_process()
            if self._session is None:
                self._session = Session(self._home, room=self._room)
            return self._session

    def new_call(self) -> None:
        """A put or a batch begins."""
        self._room.new_call()

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def record(self, items: Sequence[media.NewMedium], taken: Sequence[Taken]) -> media.PutResult:
        """Publish what was taken in and commit its rows, in that order. On an error nothing of it is left.

        Every file is published, also one whose bytes are there already: whether an existing copy may be relied on is decided inside the
        transaction, and what it makes superfluous is unlinked after the commit."""
        session = self.session()
        staged = [t.staged for t in taken]
        try:
            session.publish(staged)
            with self._lock:
                result = self._commit(items)
        except BaseException as e:
            self._take_back(session, staged, e)
            raise
        if result.unused:
            unused = set(result.unused)
            session.settle([s for s in staged if s.key in unused], keep=False)
            staged = [s for s in staged if s.key not in unused]
        session.settle(staged, keep=True)
        doorbell.ring(self._home)
        return result

    def _commit(self, items: Sequence[media.NewMedium]) -> media.PutResult:
        result = media.PutResult()
        try:
            with self._conn.writing():
                result = media.put(self._conn, items, self._defaults, self._matches)
        except WalReplaced:
            # Another SQLite library has replaced the log. If our rows are there all the same, the put is as good as any.
            if not finding.exists(self._conn, result.ulids):
                raise
        return result

    def _take_back(self, session: Session, staged: Sequence[Staged], error: BaseException) -> None:
        """After an error nothing is left, unless it is recorded all the same: a Ctrl-C that arrives during the commit shows after it."""
        unsure = isinstance(error, CatalogError) and isinstance(error.__cause__, apsw.IOError)
        try:
            with self._lock:
                kept = {s.key for s in staged if s.published and media.has_local_copy(self._conn, s.key, s.sha256)}
        except CatalogError:
            kept, unsure = set(), True
        session.settle((s for s in staged if s.key in kept), keep=True)
        session.settle((s for s in staged if s.key not in kept), keep=False, unsure=unsure)
