"""`lading.open()` and the catalog it gives: put, find, wait."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

from lading.batch import Batch, Destinations, PutOptions, uris
from lading.intake import Source
from lading.medium import Medium, Receipt, receipt_of
from lading.recording import Recorder
from lading.sweeps import Sweeps
from lading_catalog import deleting, doorbell, finding, lock, media, shapes, stores, tables
from lading_catalog import why as reasons
from lading_catalog.config import Config, load
from lading_catalog.connection import open_catalog
from lading_catalog.errors import CatalogError, NoDaemon, NotFound, NotSafeYet
from lading_catalog.query import query as run_query
from lading_catalog.room import Here, Room, here
from lading_catalog.status import Daemon, Limits, disk_free, status

if TYPE_CHECKING:
    from lading.fetch import FetchResult

_POLL_S = (0.02, 0.25)  # how often a wait looks, at first and at most
_NO_DAEMON_S = 10.0  # a wait without time-out gives a daemon that restarts this long
_CLOSE_SLICE = 64  # media of a dropped column that are deleted in one transaction
_WAL_VALVE_BYTES = 64 << 20


def open(  # noqa: A001  (the contract: lading.open, like gzip.open)
    home: str | os.PathLike[str] | None = None, *, config: Config | None = None, make: bool = True
) -> Catalog:
    """Open the catalog of `home` (by default the configured one); with `make`, a new one where there is none.

    Raises ConfigError, CatalogError."""
    settings = config or load(home=os.fspath(home) if home is not None else None)
    return Catalog(settings, make=make)


class Catalog:
    """A catalog. Thread-safe; not usable after a fork. Close it, or use it as a context manager."""

    def __init__(self, config: Config, *, make: bool = True) -> None:
        self.config = config
        self.home = Path(config.home)
        self._conn = open_catalog(self.home, make=make)
        with contextlib.suppress(OSError):  # the daemon makes it too, and looks now and then without it
            doorbell.prepare(self.home)
        self._lock = threading.RLock()
        self._defaults = tables.Defaults(
            tuple(config.input_media_dest), tuple(config.output_media_dest), frozenset(config.endpoints)
        )
        self.sweeps = Sweeps(self)
        room = Room(self.home, limits_of(config)[0].min_free_bytes, here=self._here)
        self._recorder = Recorder(self.home, self._conn, self._lock, self._defaults, room)

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._recorder.close()
            if self._conn.wal_bytes() > _WAL_VALVE_BYTES and not self.daemon().running:
                self._conn.checkpoint(truncate=True)
            self._conn.close()

    def _here(self) -> Here | None:
        with contextlib.suppress(CatalogError), self._lock:
            return here(self._conn)
        return None

    # -- put -------------------------------------------------------------------------------------------------------------------

    def put(
        self,
        source: Source,
        *,
        name: str | bytes | os.PathLike[str] | None = None,
        values: Mapping[str, Any] | None = None,
        **options: Unpack[PutOptions],
    ) -> Medium:
        """Put one file: a path, bytes (with `name`), or a binary file object. When this returns it is durable on this disk.

        `values`: scalars of its row. The other options (table, column, kind, destination, move, priority): see PutOptions. Raises
        NotFound, SourceChanged, Full, ConfigError, CatalogError; then nothing was recorded and no file is left.
        """
        with self.batch() as batch:
            medium = batch.put(source, name=name, values=values, **options)
        return medium

    def put_many(self, sources: Iterable[Source | tuple[Source, str | bytes]], **options: Unpack[PutOptions]) -> list[Medium]:
        """Put many files with one commit: all of them or, where one fails, none. A source may be a pair (source, name)."""
        with self.batch() as batch:
            found = batch.put_many(sources, **options)
        return found

    def batch(self) -> Batch:
        """A context in which puts are collected and committed together at its end; an error in it takes all of them back."""
        return Batch(self, self._recorder)

    # -- find ------------------------------------------------------------------------------------------------------------------

    def medium(self, text: str) -> Medium:
        """The medium with this id, SHA-256 (hex) or name. Raises NotFound, Ambiguous."""
        with self._lock:
            return Medium(self, finding.find(self._conn, text, deleted=True)[0])

    def media(
        self,
        *,
        table: str | None = None,
        column: str | None = None,
        state: str | None = None,
        name: str | None = None,
        deleted: bool = False,
    ) -> Iterator[Medium]:
        """All media that match, in the order in which they were put, page by page."""
        cursor: str | None = ""
        while cursor is not None:
            documents, cursor = self.page(
                table=table, column=column, state=state, name=name, deleted=deleted, after=cursor, limit=200
            )
            for document in documents:
                yield Medium(self, document["id"][2:], document)

    def page(
        self, *, table: str | None = None, column: str | None = None, state: str | None = None, name: str | None = None,
        sha256: bytes | None = None, deleted: bool = False, after: str = "", limit: int = 100,
    ) -> tuple[list[shapes.Json], str | None]:  # fmt: skip
        """One page of documents (lading.media/1) and the cursor of the next; None after the last."""
        where = finding.Filter(table, column, state, name, sha256, deleted)
        with self._lock:
            found = finding.page(self._conn, where, after, limit)
            documents = shapes.media(self._conn, self.home, [ulid for _, ulid in found])
        return documents, found[-1][0] if len(found) == limit else None

    def refresh(self, which: Iterable[Medium]) -> None:
        """`Medium.refresh` for many, with few queries. Raises NotFound."""
        wanted = list(which)
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            with self._lock:
                found = {s["id"]: s for s in shapes.media(self._conn, self.home, [m._ulid for m in part])}
            for medium in part:
                if medium.id not in found:
                    raise NotFound(f"There is no medium {medium.id}.")
                medium._shape = found[medium.id]

    def known(self, digests: Iterable[bytes]) -> dict[bytes, tuple[bool, Medium]]:
        """Of these SHA-256 the ones that some medium has or, before it was deleted, had: whether the content is safe, and a medium."""
        with self._lock:
            return {k.sha256: (k.safe, Medium(self, k.ulid)) for k in finding.known(self._conn, digests)}

    def safe(self, paths: Iterable[str | os.PathLike[str]]) -> shapes.Json:
        """Whether the content of these files and folders is safe at its destinations (lading.safe/1); see lading.safe."""
        from lading.safe import safe

        return safe(self, paths)

    def status(self) -> shapes.Json:
        """lading.status/1"""
        limits, free = limits_of(self.config)
        with self._lock:
            return status(self._conn, self.daemon(), limits, free)

    def daemon(self) -> Daemon:
        """Whether a daemon works for this home."""
        return lock.observe(self.home)

    # -- wait ------------------------------------------------------------------------------------------------------------------

    def wait(self, which: Iterable[Medium] | None = None, *, timeout: float | None = None, progress: Any = None) -> Receipt:
        """Until all of `which` (None: all media that have a destination) are safe; returns the receipt.

        `timeout` in seconds; None waits on, as long as a daemon is there (NoDaemon after ten seconds without). Media that have no
        destination, were deleted or lost cannot become safe: they end the wait as soon as nothing else is open. Raises NotSafeYet
        with the partial receipt. `progress(safe, total)` is called as it goes.
        """
        began = time.monotonic()
        everything = which is None
        ulids = [m.id[2:] for m in which] if which is not None else self._routed()
        alone_since: float | None = None
        pause_s, version = _POLL_S[0], -1
        open_ones = list(ulids)
        while True:
            with self._lock:
                if (now := self._conn.data_version()) != version:
                    version, pause_s = now, _POLL_S[0]
                    open_ones = self._still_open(open_ones)
            if progress is not None:
                progress(len(ulids) - len(open_ones), len(ulids))
            if not open_ones:
                break
            waited = time.monotonic() - began
            if timeout is not None and waited >= timeout:
                break
            if self.daemon().running:
                alone_since = None
            elif alone_since is None:
                alone_since = waited
            elif timeout is None and waited - alone_since > _NO_DAEMON_S:
                raise NoDaemon(f"{len(open_ones)} media wait for a daemon, and none is running.", hint=reasons.START_DAEMON)
            time.sleep(pause_s if timeout is None else min(pause_s, max(0.0, timeout - waited)))
            pause_s = min(pause_s * 1.5, _POLL_S[1])
        receipt = self.receipt(ulids, time.monotonic() - began)
        if not receipt.safe and (ulids or not everything):
            raise NotSafeYet(
                f"{receipt.total - receipt.safe_count} of {receipt.total} media are not safe yet.",
                hint=f"lading why {receipt.shape['not_safe'][0]['id']}" if receipt.shape["not_safe"] else "lading status",
                receipt=receipt,
            )
        return receipt

    def receipt(self, ulids: Sequence[str], waited_s: float = 0.0) -> Receipt:
        shown: list[shapes.Json] = []
        whys: list[shapes.Json] = []
        running = self.daemon().running
        for start in range(0, len(ulids), 500):
            with self._lock:
                part = shapes.media(self._conn, self.home, ulids[start : start + 500])
                whys += [reasons.why(self._conn, self.home, m["id"][2:], running) for m in part if m["state"] != "safe"]
            shown += part
        return receipt_of(shapes.receipt(self._conn.now_ms(), waited_s, shown, whys))

    def _routed(self) -> list[str]:
        with self._lock:
            return finding.routed(self._conn)

    def _still_open(self, ulids: Sequence[str]) -> list[str]:
        """Those that are neither safe nor beyond waiting."""
        left: list[str] = []
        for start in range(0, len(ulids), 1000):
            part = ulids[start : start + 1000]
            left += finding.open_ones(self._conn, part)
        return left

    # -- fetch -----------------------------------------------------------------------------------------------------------------

    def fetch(
        self,
        which: Iterable[Medium] | None = None,
        *,
        table: str | None = None,
        timeout: float | None = None,
        progress: Callable[[FetchResult, Medium], None] | None = None,
    ) -> FetchResult:
        """Bring the copies of many media, or of a whole table, to this disk. What cannot be brought is in the result, with why; the
        others go on. `timeout` in seconds, for all of it. `progress(result so far, medium)` is called as each is decided. Raises NoDaemon
        where none runs and none that only fetches can be started; NotFound for the table."""
        from lading.fetch import FetchResult, each

        result = FetchResult()
        for medium, fetched, error in each(self, self.media(table=table) if which is None else which, timeout):
            if error is not None:
                result.failed.append((medium, error))
            elif fetched:
                result.fetched += 1
                result.size_bytes += medium.size_bytes
            else:
                result.here += 1
            if progress is not None:
                progress(result, medium)
        return result

    # -- tables, destinations --------------------------------------------------------------------------------------------------

    def set_destination(self, table: str, column: str, destination: Destinations) -> int:
        """Give a column its destinations ([] = this disk only): for new media at once; the daemon moves the old ones whose
        destinations no call gave. Returns how many media the column has. Raises NotFound, ConfigError."""
        with self._lock, self._conn.writing():
            n = tables.set_destination(
                self._conn, table, column, uris(destination) or (), endpoints=self._defaults.endpoints,
                make=(table, column) == (tables.DEFAULT_TABLE, tables.DEFAULT_COLUMN),
            )  # fmt: skip
        doorbell.ring(self.home)
        return n

    def drop_table(self, name: str, progress: Callable[[int], None] | None = None) -> int:
        """Drop a table: its name is free at once, its media are deleted, by the daemon or, where none runs, here; what an
        interruption leaves the next daemon deletes. Each can be brought back with `undelete`. `progress(deleted so far)`.
        Returns how many media it had (each column counted up to 100,000). Raises NotFound."""
        return self._drop(lambda: tables.drop_table(self._conn, name), progress)

    def drop_column(self, table: str, column: str, progress: Callable[[int], None] | None = None) -> int:
        """The same for one column."""
        return self._drop(lambda: tables.drop_column(self._conn, table, column), progress)

    def _drop(self, begin: Callable[[], int], progress: Callable[[int], None] | None) -> int:
        with self._lock, self._conn.writing():
            n = begin()
        doorbell.ring(self.home)
        done = 0
        while not self.daemon().running:
            began = time.monotonic()
            with self._lock, self._conn.writing(durable=False) as conn:
                step = tables.close_step(conn, _CLOSE_SLICE)
                if step == 0 and not tables.closing_due(conn):
                    break
            time.sleep(min(0.1, time.monotonic() - began))  # the write lock stays free as long as it was held
            done += step
            if progress is not None:
                progress(done)
        doorbell.ring(self.home)
        return n

    def columns(self) -> list[shapes.Json]:
        """All columns with their destinations (lading.column/1)."""
        with self._lock:
            return tables.columns(self._conn, self._defaults)

    def destinations(self) -> list[stores.StoreRow]:
        with self._lock:
            return stores.destinations(self._conn)

    def sql(self, query: str, bindings: Mapping[str, Any] | Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The rows of a read-only query over the documented views (docs/sql.md). Raises BadRequest for what is wrong with it."""
        return run_query(self.home, query, bindings, time_limit_s=self.config.sql_time_limit_s)

    # -- what a Medium asks ----------------------------------------------------------------------------------------------------

    def _shape(self, ulid: str) -> shapes.Json:
        with self._lock:
            found = shapes.media(self._conn, self.home, [ulid])
        if not found:
            raise NotFound(f"There is no medium m_{ulid}.")
        return found[0]

    def _why(self, ulid: str) -> shapes.Json:
        with self._lock:
            return reasons.why(self._conn, self.home, ulid, self.daemon().running)

    def _pin(self, ulid: str, pinned: bool) -> None:
        with self._lock, self._conn.writing():
            if not media.pin(self._conn, ulid, pinned):
                raise NotFound(f"There is no medium m_{ulid}.")

    def _undelete(self, ulid: str) -> None:
        with self._lock, self._conn.writing():
            deleting.undelete(self._conn, ulid)
        doorbell.ring(self.home)

    def _delete(self, ulid: str) -> None:
        with self._lock, self._conn.writing():
            if not media.delete(self._conn, ulid):
                raise NotFound(f"There is no medium m_{ulid}, or it was deleted already.")
        doorbell.ring(self.home)


def limits_of(config: Config) -> tuple[Limits, int]:
    """The limits of a configuration on the disk that holds, or will hold, its home; and the bytes that are free there."""
    place = Path(config.home)
    while not place.exists():
        place = place.parent
    free, total = disk_free(place)
    return Limits(config.cache_size.of(total), config.min_free.of(total), int(config.warn_unsafe_after.s * 1000)), free
