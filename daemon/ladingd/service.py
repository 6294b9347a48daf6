"""The daemon: one process per catalog that makes the world match what the catalog says.

Start: lock → migrate if need be → a new epoch → recovery of dead writers' sessions → release of the last life's claims → READY.
There is no other recovery: the work is what the rows say. One thread writes to the catalog and calls the workers' steps; transfers
run in threads of their own and hand back results; the socket is served by another thread on a connection of its own.
"""

from __future__ import annotations

import _thread
import faulthandler
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol

import structlog
from watchdog.observers.api import BaseObserver

import lading
from lading.catalog import limits_of
from lading_catalog import (
    ballast,
    clock,
    doorbell,
    journal,
    localstore,
    media,
    migrate,
    ownership,
    recovery,
    replicas,
    safety,
    stores,
)
from lading_catalog.config import Config, without_effect
from lading_catalog.connection import CATALOG_FILE, Connection, open_catalog, refuse_bad_place
from lading_catalog.errors import CatalogError, CatalogFull, CatalogUpgraded
from lading_catalog.lock import DaemonLock
from lading_catalog.status import disk_free
from lading_catalog.stores import StoreRow
from ladingd import bell
from ladingd.cache_policy import Limits
from ladingd.cap import Cap
from ladingd.catalog_clock import CatalogClock
from ladingd.notify import notify, watchdog_s
from ladingd.open_stores import OpenStores
from ladingd.pace import Pace
from ladingd.rechecks import Rechecks
from ladingd.rehashes import Rehashes
from ladingd.stores.base import Store
from ladingd.workers.evict import Evictor
from ladingd.workers.fetch import Fetcher
from ladingd.workers.graves import Graves
from ladingd.workers.keep import Keeper
from ladingd.workers.plan import Planner
from ladingd.workers.replicate import Replicator
from ladingd.workers.sweep import Rules, Sweeper

if TYPE_CHECKING:
    from ladingd.api import Api

log = structlog.get_logger()

LOOK_EVERY_S = 5.0  # the safety net behind the doorbell: a look at data_version
DRAIN_S = 7.0  # a stop lets transfers finish for so long; the rest is re-queued
LIVE_AGAIN_S = 5.0
LINGER_S = 2.0  # one that only fetches stays so long when there is nothing more to fetch
SOON_MS = 1_000
_NEVER_AUTOCHECKPOINT = 0


class Worker(Protocol):
    """See ladingd.workers."""

    def step(self, now_ms: int) -> float | None: ...


class Service:
    """`run()` returns when `stop()` was called (any thread, signal handlers too). `exit_when_idle`: also when nothing is owed.
    `fetch_only`: only copies for this disk are owed, nothing else is done, and the socket is not served."""

    def __init__(self, config: Config, *, exit_when_idle: bool = False, fetch_only: bool = False) -> None:
        self.config = config
        self.home = Path(config.home)
        self._exit_when_idle, self._fetch_only = exit_when_idle, fetch_only
        self._stores = OpenStores(config)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._started_ms = time.time_ns() // 1_000_000
        self._replicators: dict[int, Replicator] = {}
        self._sweepers: dict[int, Sweeper] = {}
        self._was_ready = False
        self._idle_since = time.monotonic()
        self._owed = True  # whether the last steps left something to do soon

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    # -- life ------------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Raises AlreadyRunning, CatalogError, ConfigError before it is ready."""
        refuse_bad_place(self.home, self.home / CATALOG_FILE)
        if not (self.home / CATALOG_FILE).exists():
            migrate.create(self.home, self.home / CATALOG_FILE)
        lock = DaemonLock(self.home, lading.__version__, self._started_ms, fetch_only=self._fetch_only)
        try:
            self._migrate()
            while not self._stopping.is_set():
                try:
                    self._live(lock)
                except CatalogError as e:
                    if isinstance(e, CatalogUpgraded) or not self._was_ready:
                        raise
                    # A full or failing disk. Crash-only: begin a new life, whose start is the recovery, until it goes again.
                    log.error("catalog.failed", error=e.detail, hint=e.hint, next_try_in_s=LIVE_AGAIN_S)
                    if isinstance(e, CatalogFull) and ballast.release(self.home):
                        log.warning("ballast.released", hint="The disk is full; the space kept for this has been given up.")
                    else:
                        self._stopping.wait(LIVE_AGAIN_S)
        finally:
            lock.release()

    def _live(self, lock: DaemonLock) -> None:
        self._replicators, self._sweepers = {}, {}
        self._conn = open_catalog(self.home, make=False, wal_pages=_NEVER_AUTOCHECKPOINT)
        try:
            self._serve(lock)
        finally:
            self._conn.close()

    def _serve(self, lock: DaemonLock) -> None:
        self._begin()
        observer = self._listen()
        api = self._api()
        try:
            if api is not None:
                api.start()
        except OSError as e:  # copies matter more than questions
            log.error("socket.failed", error=str(e), hint="Set `socket` in the configuration.")
        try:
            notify("READY=1", f"STATUS=Serving {self.home}")
            self._was_ready = True
            log.info(
                "daemon.started", home=str(self.home), epoch=self._epoch, socket=str(api.path) if api else None, pid=os.getpid()
            )
            self._loop(lock)
            notify("STOPPING=1")
        finally:
            if observer is not None:
                observer.stop()
            if api is not None:
                api.stop()
            self._end()

    def _api(self) -> Api | None:
        if self._fetch_only:
            return None
        from ladingd.api import Api  # (200 ms that one that only fetches does not need)

        return Api(self.config)

    def _listen(self) -> BaseObserver | None:
        """The doorbell. Where the system has no watches left, the look every few seconds has to do."""
        try:
            return bell.listen(self.home, self.wake)
        except OSError as e:
            log.warning("doorbell.failed", error=str(e), hint="Raise fs.inotify.max_user_watches.", look_every_s=LOOK_EVERY_S)
            return None

    def _migrate(self) -> None:
        before = migrate.upgrade(self.home / CATALOG_FILE)
        if before < migrate.SCHEMA_VERSION:
            log.info("catalog.migrated", from_version=before, to_version=migrate.SCHEMA_VERSION)

    def _begin(self) -> None:
        self._pace = Pace(self._conn)
        for key in without_effect(self.config):
            log.warning("config.without_effect", key=key, origin=self.config.origin(key))
        migrate.remove_drafts(self.home)
        localstore.prepare(self.home)
        ballast.make(self.home, self._cache_limits().min_free_bytes)
        doorbell.prepare(self.home)
        with self._conn.writing() as conn:
            self._epoch = replicas.new_epoch(conn)
            if not self._fetch_only:
                safety.set_min_copies(conn, self.config.min_copies_count)
                self._rules = self._sweep_rules(conn)
                journal.note(conn, "daemon.started", detail={"epoch": self._epoch})
        self._recover()
        while True:
            with self._pace.writing(self._pace.slice, durable=False) as conn:
                if not replicas.release_abandoned(conn, self._epoch, self._pace.slice):
                    break
        self._keeper = Keeper(self._conn, self._pace, self.config.journal_keep_s)
        self._fetcher = Fetcher(
            self._conn, self._pace, self.home, self._epoch, self._stores, self.config.concurrency, self.config.retry_max_s,
            limits_of(self.config)[0].min_free_bytes, self.wake,
        )  # fmt: skip
        self._rechecks = Rechecks(self._conn, self._pace, self._stores.reading, self.wake)
        self._rehashes = Rehashes(self._conn, self._pace, self.home, self.wake)
        self._evictor = Evictor(
            self._conn, self._pace, self.home, self._cache_limits(), int(self.config.proof_max_age_s * 1000), self._rechecks,
            self._rehashes, free_bytes=lambda: disk_free(self.home)[0],
        )  # fmt: skip
        if self._fetch_only:
            return
        self._planner = Planner(self._conn, self._pace)
        self._clock = CatalogClock(clock.read(self._conn), self._conn.now_ms())
        self._graves = Graves(self._conn, self._pace, self.home, self._clock, self._rules.grace_ms)

    def _cache_limits(self) -> Limits:
        """Of the disk as large as it is now."""
        total = disk_free(self.home)[1]
        config = self.config
        return Limits(
            config.cache_size_bytes(total),
            config.cache_low_bytes(total),
            config.min_free_bytes(total),
            int(config.evict_after_s * 1000),
        )

    def _sweep_rules(self, conn: Connection) -> Rules:
        """What deletes go by. A catalog whose file is another one than last time was copied or restored: it has to be adopted first."""
        grace_ms = int(self.config.delete_after_s * 1000)
        clock.set_grace(conn, grace_ms)
        if not ownership.same_file(conn, os.stat(self.home / CATALOG_FILE).st_ino):
            log.warning("catalog.copied", hint="Nothing is deleted at destinations until: lading destination adopt URI")
        self._catalog_id = ownership.catalog_id(conn)
        cap = Cap(self.config.delete_max_count, self.config.delete_max_fraction.fraction)
        return Rules(grace_ms, cap, self.config.delete_versions, self.config.retry_max_s)

    def _recover(self) -> None:
        left = recovery.recover(self.home, lambda key, sha256: media.has_local_copy(self._conn, key, sha256))
        if left:
            log.info("staging.recovered", leftovers=left)

    def _end(self) -> None:
        self._fetcher.requeue_rest()
        self._fetcher.close()
        self._rechecks.close()
        self._rehashes.close()
        for sweeper in self._sweepers.values():
            sweeper.close()
        for replicator in self._replicators.values():
            replicator.requeue_rest()
            replicator.close()
        self._stores.close()
        if not self._fetch_only:
            with self._conn.writing() as conn:
                journal.note(conn, "daemon.stopped", detail={"epoch": self._epoch})
        self._conn.checkpoint()
        log.info("daemon.stopped", epoch=self._epoch)

    # -- the loop --------------------------------------------------------------------------------------------------------------

    def _loop(self, lock: DaemonLock) -> None:
        ping_s = watchdog_s()
        drained_at = float("inf")
        version = -1
        due_at = 0.0  # monotonic: when a worker wants to be called, whatever rings
        while True:
            if self._stopping.is_set() and drained_at == float("inf"):
                drained_at = time.monotonic() + (LINGER_S if self._fetch_only else DRAIN_S)  # (a fetch is continued later)
                for worker in self._busy_ones():
                    worker.stopping = True
            if drained_at < float("inf") and (time.monotonic() >= drained_at or not self._busy()):
                for worker in self._busy_ones():
                    while worker.step(self._conn.now_ms()) == 0:
                        pass  # what finished last is confirmed, not repeated
                return
            now_version = self._conn.data_version()
            rung = self._wake.is_set()
            self._wake.clear()
            if rung or now_version != version or time.monotonic() >= due_at:
                if now_version != version or rung:
                    self._keeper.dirty = True
                version = now_version
                wait_ms = self._steps()
                due_at = time.monotonic() + (wait_ms / 1000 if wait_ms is not None else float("inf"))
            if self._exit_when_idle and self._idle():
                self.stop()
            lock.touch()
            if ping_s is not None:
                notify("WATCHDOG=1")
            timeout_s = min(LOOK_EVERY_S, ping_s or LOOK_EVERY_S, max(0.0, due_at - time.monotonic()))
            if drained_at < float("inf"):
                timeout_s = min(timeout_s, 0.05)
            elif self._fetch_only:
                timeout_s = min(timeout_s, LINGER_S / 2)
            if timeout_s > 0:
                self._wake.wait(timeout_s)

    def _busy_ones(self) -> list[Fetcher | Replicator | Sweeper]:
        return [self._fetcher, *self._replicators.values(), *self._sweepers.values()]

    def _idle(self) -> bool:
        """Whether nothing is owed any more. One that only fetches leaves once nothing was to be fetched for a moment: what failed is tried
        again by the next one, or by a real daemon."""
        now = time.monotonic()
        if self._busy() or (self._fetch_only and self._fetcher.due_in_ms(self._conn.now_ms()) < LINGER_S * 1000):
            self._idle_since = now
            return False
        return now - self._idle_since >= LINGER_S if self._fetch_only else not self._owed

    def _busy(self) -> int:
        return sum(worker.busy for worker in self._busy_ones())

    def _steps(self) -> float | None:
        """One step of each worker; the shortest of their waits, in ms."""
        now = self._conn.now_ms()
        if self._fetch_only:
            waits, later = [worker.step(now) for worker in (self._fetcher, self._keeper)], [self._evictor.step(now)]
        else:
            self._know_destinations()
            workers: list[Worker] = [self._fetcher, self._planner, *self._replicators.values(), self._keeper]
            waits = [worker.step(now) for worker in workers]
            # What goes away has time: a grace of a day is no reason for a daemon to stay that leaves when it is idle.
            others: list[Worker] = [self._graves, *self._sweepers.values(), self._evictor]
            later = [worker.step(now) for worker in others]
        self._owed = any(w is not None for w in waits) or any(w is not None and w < SOON_MS for w in later)
        return min((w for w in (*waits, *later) if w is not None), default=None)

    def _know_destinations(self) -> None:
        """A replicator for each destination; its row as it stands now (another process may have paused or tested it)."""
        for row in stores.destinations(self._conn):
            found = self._replicators.get(row.id)
            own = self.config.destination(row.uri)
            if own.paused != row.paused:
                with self._conn.writing(durable=False) as conn:
                    row = stores.pause(conn, row, own.paused)
            if found is not None:
                found.row = self._sweepers[row.id].row = row
                continue
            self._sweepers[row.id] = Sweeper(
                self._conn, self._pace, self._clock, self._catalog_id, row, self._rules,
                open_store=self._to_delete_in,
                wake=self.wake,
            )  # fmt: skip
            self._replicators[row.id] = Replicator(
                self._conn, self._pace, self.home, self._epoch, row,
                open_store=self._stores.opened,
                concurrency=own.concurrency or self.config.concurrency,
                retry_max_s=self.config.retry_max_s,
                wake=self.wake,
            )  # fmt: skip

    def _to_delete_in(self, row: StoreRow, anew: bool) -> Store:
        return self._stores.reading(row) if row.probe is not None and not anew else self._stores.opened(row)[0]


def run(config: Config, *, exit_when_idle: bool = False, fetch_only: bool = False) -> None:
    """Run the daemon in this process until SIGTERM or SIGINT."""
    service = Service(config, exit_when_idle=exit_when_idle, fetch_only=fetch_only)

    def on_signal(number: int, frame: FrameType | None) -> None:
        # Not here: this runs between two instructions of the loop, which may just hold the lock inside the event that stop() sets.
        _thread.start_new_thread(service.stop, ())

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    faulthandler.enable()  # a watchdog's SIGABRT leaves in the log where each thread stood
    service.run()
