"""The workers without their service: a real catalog, a store in memory that lies as it is told, and a clock that a test turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lading
from lading_catalog import fetching, replicas, stores
from lading_catalog.config import load
from lading_catalog.connection import Connection, open_catalog, wall_ms
from lading_catalog.errors import Error, Missing
from lading_catalog.stores import StoreRow
from ladingd.pace import Pace
from ladingd.stores.base import Entry, Probe, Proof, Stat, Store, Upload
from ladingd.stores.source import open_source
from ladingd.workers.fetch import Fetcher
from ladingd.workers.replicate import GATHER_MS, Replicator

A, B = "s3://fake-a/", "s3://fake-b/"
YEAR_MS = 365 * 24 * 3600 * 1000
SETTLE_S = 10.0


def _fine(key: str) -> Error | None:
    return None


@dataclass
class FakeStore:
    """`before` and `after` answer an error for a key, or None: raised before anything is stored, or once it is (a lost reply). While
    `gate_before` or `gate_after` is cleared, puts hang there. `arrived`: the keys in the order in which puts began.

    `gets`: (key, offset) of each GET; `got_bytes`: what they handed out, in pieces of `piece_bytes`. `on_get(key, offset, so far)` is
    called before each piece: it may raise, or return another piece to hand out instead."""

    uri: str
    objects: dict[str, bytes] = field(default_factory=dict)
    arrived: list[str] = field(default_factory=list)
    before: Callable[[str], Error | None] = _fine
    after: Callable[[str], Error | None] = _fine
    gate_before: threading.Event = field(default_factory=threading.Event)
    gate_after: threading.Event = field(default_factory=threading.Event)
    opened: int = 0
    gets: list[tuple[str, int]] = field(default_factory=list)
    looks: list[str] = field(default_factory=list)
    got_bytes: int = 0
    piece_bytes: int = 1 << 16
    on_get: Callable[[str, int, int], bytes | None] = lambda key, offset, so_far: None

    def __post_init__(self) -> None:
        self.gate_before.set()
        self.gate_after.set()

    def put(self, key: str, upload: Upload) -> Proof:
        self.arrived.append(key)
        assert self.gate_before.wait(SETTLE_S)
        with open_source(upload) as source:
            data = source.load()
        if (error := self.before(key)) is not None:
            raise error
        self.objects[key] = data
        error = self.after(key)
        assert self.gate_after.wait(SETTLE_S)
        if error is not None:
            raise error
        return Proof("put", "sha256", upload.sha256.hex(), len(data))

    def get(self, key: str, offset: int = 0) -> Iterator[bytes]:
        self.gets.append((key, offset))
        at = offset
        while True:
            other = self.on_get(key, offset, at - offset)
            if key not in self.objects:
                raise Missing(f"{self.uri} has no {key}")
            piece = self.objects[key][at : at + self.piece_bytes] if other is None else other
            if not piece:
                return
            at += len(piece)
            self.got_bytes += len(piece)
            yield piece

    def stat(self, key: str) -> Stat:
        self.looks.append(key)
        if key not in self.objects:
            raise Missing(key)
        return Stat(len(self.objects[key]))

    clock_offset_s: float | None = None

    def read(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def write(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    def delete(self, keys: Sequence[str], *, versions: bool = False) -> dict[str, Error]:
        for key in keys:
            self.objects.pop(key, None)
        return {}

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        return iter([Entry(k, len(v)) for k, v in sorted(self.objects.items()) if k.startswith(prefix)])

    def presign(self, key: str, expires_s: int) -> str:
        return self.uri + key

    def probe(self) -> Probe:
        return Probe({"proof": "checksum"})

    def close(self) -> None: ...


class Clock:
    def __init__(self) -> None:
        self.ms = wall_ms()

    def __call__(self) -> int:
        return self.ms

    def forward(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


class Rig:
    """A catalog with destinations A and B. `begin()` is a new life of the daemon; the one before it is just dropped, as by a crash."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = Clock()
        self.fakes = {uri: FakeStore(uri) for uri in (A, B)}
        self.cat = lading.open(config=load(home=str(home), environ={"LADING_MIN_FREE": "0"}))
        self.cat._conn.now_ms = self.clock
        self.conn: Connection = open_catalog(home, make=False, now_ms=self.clock)
        self.pace = Pace(self.conn, sleep=lambda s: None)
        self.woken = threading.Event()
        self.workers: dict[str, Replicator] = {}
        self.concurrency, self.retry_max_s = 4, 900.0
        self.probed = {A, B}  # destinations whose canary has been seen in an earlier life
        self.open_error: Callable[[str], Error | None] = _fine
        self.real: dict[str, Store] = {}  # stores that stand in for the fakes
        self.fetcher: Fetcher | None = None
        self.min_free_bytes = 0
        self.forgotten: list[int] = []  # stores whose credentials were refused to a fetch
        self._n = 0

    def close(self) -> None:
        for fake in self.fakes.values():
            fake.gate_before.set()
            fake.gate_after.set()
        for worker in self.workers.values():
            worker.close()
        if self.fetcher is not None:
            self.fetcher.close()
        self.cat.close()
        self.conn.close()

    # -- media -----------------------------------------------------------------------------------------------------------------

    def put(self, *uris: str, data: bytes | None = None, **options: Any) -> lading.Medium:
        self._n += 1
        data = f"medium {self._n}".encode() if data is None else data
        return self.cat.put(data, name=f"{self._n}.txt", destination=list(uris or (A,)), **options)

    def key(self, medium: lading.Medium, uri: str = A) -> str:
        (found,) = [
            r.uri for r in medium.refresh().replicas if r.destination == uri and r.state in ("wanted", "copying", "present")
        ]
        return found.removeprefix(uri)

    def state(self, medium: lading.Medium, uri: str = A) -> str:
        (found,) = [r.state for r in medium.refresh().replicas if r.destination == uri]
        return found

    def local(self, medium: lading.Medium) -> Path:
        return Path(medium.refresh().shape["path"])

    def row(self, uri: str = A) -> StoreRow:
        return next(row for row in stores.destinations(self.conn) if row.uri == uri)

    def evict(self, medium: lading.Medium) -> int:
        """Its copy on this disk is gone; the id of its object."""
        path = self.local(medium)
        with self.conn.writing(durable=False) as conn:
            here = fetching.look(conn, medium.id[2:])
            assert here is not None
            assert here.replica_id is not None
            assert replicas.drop(conn, here.replica_id, "present")
            assert replicas.forget(conn, here.replica_id)
        path.unlink()
        return here.object_id

    def want(self, object_id: int, priority: int = fetching.URGENT) -> None:
        with self.conn.writing(durable=False) as conn:
            fetching.want(conn, object_id, priority)

    def here(self, object_id: int) -> fetching.Here:
        (found,) = fetching.look_at(self.conn, [object_id])
        return found

    # -- lives -----------------------------------------------------------------------------------------------------------------

    def begin(self) -> Rig:
        with self.conn.writing() as conn:
            epoch = replicas.new_epoch(conn)
            while replicas.release_abandoned(conn, epoch, 100):
                pass
            for row in stores.destinations(conn):
                if row.uri in self.probed and row.probe is None:
                    stores.set_probe(conn, row.id, {"proof": "checksum"})
        self.workers = {}
        for row in stores.destinations(self.conn):
            self.workers[row.uri] = Replicator(
                self.conn, self.pace, self.home, epoch, row,
                open_store=self._open, concurrency=self.concurrency, retry_max_s=self.retry_max_s, wake=self.woken.set,
            )  # fmt: skip
        self.fetcher = Fetcher(
            self.conn, self.pace, self.home, epoch, self, self.concurrency, self.retry_max_s, self.min_free_bytes, self.woken.set
        )
        return self

    def reading(self, row: StoreRow) -> Store:
        if (error := self.open_error(row.uri)) is not None:
            raise error
        return self.real.get(row.uri) or self.fakes[row.uri]

    def forget(self, store_id: int) -> None:
        self.forgotten.append(store_id)

    def _open(self, row: StoreRow) -> tuple[Store, dict[str, object] | None]:
        if row.uri in self.real:
            return self.real[row.uri], None
        self.fakes[row.uri].opened += 1
        if (error := self.open_error(row.uri)) is not None:
            raise error
        return self.fakes[row.uri], {"proof": "checksum"} if row.probe is None else None

    def step(self) -> float | None:
        assert self.fetcher is not None
        waits = [self.fetcher.step(self.clock.ms)]
        for row in stores.destinations(self.conn):
            self.workers[row.uri].row = row
            waits.append(self.workers[row.uri].step(self.clock.ms))
        return min((w for w in waits if w is not None), default=None)

    def settle(self, *, most: int = 0) -> float | None:
        """Steps until nothing can happen without the clock or a put. Fails if the workers never come to rest. `most`: transfers that
        may stay out."""
        deadline = time.monotonic() + SETTLE_S
        idle = 0
        while True:
            self.woken.clear()
            wait = self.step()
            assert self.fetcher is not None
            busy = sum(w.busy for w in self.workers.values()) + self.fetcher.busy
            idle = idle + 1 if busy <= most and (wait is None or wait > GATHER_MS) else 0
            if idle > (1 if most == 0 else 20):
                return wait
            assert time.monotonic() < deadline, f"no rest: {busy} busy, wants to be called in {wait} ms"
            self.woken.wait(0.002)

    def until(self, true: Callable[[], bool]) -> None:
        """Steps until something is true."""
        deadline = time.monotonic() + SETTLE_S
        while not true():
            self.step()
            assert time.monotonic() < deadline
            self.woken.wait(0.002)
            self.woken.clear()

    def pass_time(self, seconds: float, step_s: float) -> None:
        """The clock goes on, with all work done at each step of it."""
        end = self.clock.ms + seconds * 1000
        while self.clock.ms < end:
            self.clock.forward(step_s)
            self.settle()
