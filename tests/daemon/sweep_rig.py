"""The rig, with the collector: stores that know the owner marker and lie about deletes, and a clock whose two faces a test turns."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lading
from lading_catalog import clock, stores
from lading_catalog.errors import Error
from lading_catalog.stores import StoreRow
from ladingd import owner
from ladingd.cap import Cap
from ladingd.catalog_clock import CatalogClock
from ladingd.stores.base import Entry, Proof, Store, Upload
from ladingd.workers.graves import Graves
from ladingd.workers.sweep import Rules, Sweeper

from .rig import SETTLE_S, A, B, FakeStore, Rig

HOUR_S = 3600.0
GRACE_S = 24 * HOUR_S


@dataclass
class SweepStore(FakeStore):
    """`deleted`: keys in the order in which their DELETE was carried out; `requests`: every request as (what, keys). `on_delete`: an error
    for a key that is not deleted (a partial failure); `fail`: raised instead of an answer, by the name of the request. `listed`: what a
    list shows, whatever is there."""

    clock_offset_s: float | None = 0.0
    deleted: list[str] = field(default_factory=list)
    requests: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    on_delete: Callable[[str], Error | None] = lambda key: None
    fail: dict[str, Callable[[], Error | None]] = field(default_factory=dict)
    listed: list[Entry] | None = None
    reused: list[str] = field(default_factory=list)  # keys that were put again after their delete

    def put(self, key: str, upload: Upload) -> Proof:
        if key in self.deleted:
            self.reused.append(key)
        return super().put(key, upload)

    def _ask(self, what: str, *keys: str) -> None:
        self.requests.append((what, keys))
        if what in self.fail and (error := self.fail[what]()) is not None:
            raise error

    def read(self, key: str) -> bytes | None:
        self._ask("read", key)
        return self.objects.get(key)

    def write(self, key: str, data: bytes) -> None:
        self._ask("write", key)
        self.objects[key] = data

    def delete(self, keys: Sequence[str], *, versions: bool = False) -> dict[str, Error]:
        self._ask("delete", *keys)
        failed = {key: error for key in keys if (error := self.on_delete(key)) is not None}
        for key in keys:
            if key not in failed:
                self.deleted.append(key)
                self.objects.pop(key, None)
        return failed

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        self._ask("list", prefix)
        return iter(self.listed) if self.listed is not None else super().entries(prefix)


class SweepRig(Rig):
    """`grace_s`, `cap`: the rules. `mono`: the monotonic clock in ms, which goes with the wall clock unless a test turns one alone."""

    def __init__(self, home: Path, *, grace_s: float = GRACE_S, cap: Cap | None = None) -> None:
        super().__init__(home)
        self.fakes: dict[str, SweepStore] = {uri: SweepStore(uri) for uri in (A, B)}  # type: ignore[assignment]
        self.rules = Rules(int(grace_s * 1000), cap or Cap(1000, 0.2), False, self.retry_max_s)
        self.mono = 1_000_000
        self.opened_anew = 0
        self.sweepers: dict[str, Sweeper] = {}
        self.catalog_id: str = self.conn.value("SELECT v FROM meta WHERE k = 'catalog_id'")
        with self.conn.writing() as conn:
            clock.set_grace(conn, self.rules.grace_ms)

    def begin(self) -> SweepRig:
        super().begin()
        self.catalog_clock = CatalogClock(clock.read(self.conn), self.clock.ms, lambda: self.mono)
        self.graves = Graves(self.conn, self.pace, self.home, self.catalog_clock, self.rules.grace_ms)
        self.sweepers = {
            row.uri: Sweeper(
                self.conn,
                self.pace,
                self.catalog_clock,
                self.catalog_id,
                row,
                self.rules,
                self._to_delete_in,
                self.woken.set,
                lambda: 0.5,
            )
            for row in stores.destinations(self.conn)
        }
        return self

    def _to_delete_in(self, row: StoreRow, anew: bool) -> Store:
        self.opened_anew += anew
        return self._open_only(row)

    def _open_only(self, row: StoreRow) -> Store:
        return self._open(row)[0]

    def step(self) -> float | None:
        waits = [super().step(), self.graves.step(self.clock.ms)]
        for row in stores.destinations(self.conn):
            self.sweepers[row.uri].row = row
            waits.append(self.sweepers[row.uri].step(self.clock.ms))
        return min((w for w in waits if w is not None), default=None)

    def settle(self, *, most: int = 0) -> float | None:
        deadline = time.monotonic() + SETTLE_S
        while True:
            wait = super().settle(most=most)
            if not any(s.busy for s in self.sweepers.values()):
                return wait
            assert time.monotonic() < deadline, "a sweep never ends"
            self.woken.wait(0.002)

    def close(self) -> None:
        for sweeper in self.sweepers.values():
            sweeper.close()
        super().close()

    # -- time --------------------------------------------------------------------------------------------------------------------

    def forward(self, seconds: float) -> None:
        """Both clocks go on, and a daemon is at work all the while."""
        self.clock.forward(seconds)
        self.mono += int(seconds * 1000)
        self.settle()

    def over(self) -> None:
        """Until every grace is over."""
        self.settle()
        self.forward(self.rules.grace_ms / 1000 + 1)

    # -- looking -----------------------------------------------------------------------------------------------------------------

    def a(self) -> SweepStore:
        return self.fakes[A]

    def data(self, uri: str = A) -> dict[str, bytes]:
        """What is in a destination besides what is Lading's own."""
        return {k: v for k, v in self.fakes[uri].objects.items() if not k.startswith(".lading/")}

    def token(self, uri: str = A) -> str | None:
        found = self.fakes[uri].objects.get(owner.key(self.catalog_id))
        return json.loads(found)["token"] if found else None

    def many(self, n: int, *uris: str) -> list[lading.Medium]:
        return [self.put(*uris) for _ in range(n)]

    def rest(self, uri: str = A) -> Any:
        return self.conn.value("SELECT rest_code FROM store WHERE uri = ?", (uri,))

    def replicas(self, medium: lading.Medium) -> list[str]:
        return [r.state for r in medium.refresh().replicas]
