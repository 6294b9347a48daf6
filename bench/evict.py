"""How fast the evictor makes room: it chooses, proves and drops 10,000 of 100,000 and of 1,000,000 cached objects.

The catalog is built with bulk SQL, and what goes has real files; what stays has none, and is not looked at. Everything else is as in the
daemon: its worker, its manners at the write lock, FULL commits, locks on the files, unlinks that are synced. The floor beside it: the
same files unlinked, each folder synced once for as many files as the evictor took at a time, and no catalog.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from bench.common import save, table

from catalog_bulk import grow
from catalog_kit import Kit
from lading_catalog import cache, localstore
from lading_catalog.connection import open_catalog, wall_ms
from lading_catalog.stores import StoreRow
from ladingd.cache_policy import Limits
from ladingd.pace import Pace
from ladingd.rechecks import Rechecks
from ladingd.rehashes import Rehashes
from ladingd.stores.base import Store
from ladingd.workers.evict import Evictor

AIM_S = 10.0
AT_ONCE = 128
DAY_MS = 86_400_000


class EvictBench:
    """A home with `cached` objects, of which the `victims` longest unused are to go."""

    def __init__(self, home: Path, cached: int, victims: int) -> None:
        self.home, self.victims = home, victims
        kit = Kit(home)
        grow(kit, cached)
        self.conn = kit.conn
        self.conn.now_ms = wall_ms
        with self.conn.writing(durable=False) as conn:  # what grow() has begun with is none of them
            conn.run("UPDATE replica SET used_at_ms = ? WHERE store_id = 0 AND object_id < 1000", (wall_ms(),))
        localstore.prepare(home)
        rows = self.conn.rows(
            "SELECT r.id, r.key, o.size_bytes FROM replica r JOIN object o ON o.id = r.object_id WHERE r.hold = 'evictable'"
            " ORDER BY r.reused, r.used_at_ms LIMIT ?",
            (victims,),
        )
        self.keys = [key for _, key, _ in rows]
        found = []
        for replica_id, key, size_bytes in rows:
            (home / key).write_bytes(os.urandom(size_bytes))
            seen = os.stat(home / key)
            # Used when it came: nobody has read it since.
            os.utime(home / key, ns=(1_600_000_000_000_000_000, seen.st_mtime_ns))
            found.append((seen.st_ino, seen.st_mtime_ns, replica_id))
        now = wall_ms()
        with self.conn.writing(durable=False) as conn:
            conn.run_many("UPDATE replica SET inode = ?, mtime_ns = ? WHERE id = ?", found)
            conn.run("UPDATE replica SET verified_at_ms = ? WHERE store_id <> 0", (now,))
        self.conn.checkpoint()
        os.sync()
        self.size_bytes = sum(size for _, _, size in rows)
        self.conn.close()

    def evict(self) -> tuple[float, float]:
        """(seconds, CPU seconds) until the cache is down to its budget."""
        conn = open_catalog(self.home, make=False)
        try:
            budget = cache.local_bytes(conn) - self.size_bytes
            evictor = Evictor(
                conn, Pace(conn), self.home, Limits(budget, budget, 0, 0), DAY_MS,
                Rechecks(conn, Pace(conn), _nowhere, _silent), Rehashes(conn, Pace(conn), self.home, _silent),
                free_bytes=lambda: 1 << 60,
            )  # fmt: skip
            cpu, began = time.process_time(), time.perf_counter()
            while evictor.step(wall_ms()) == 0:
                pass
            taken = time.perf_counter() - began, time.process_time() - cpu
            if (left := cache.local_bytes(conn) - budget) > 0:
                raise RuntimeError(f"{left} bytes too many are here yet")
        finally:
            conn.close()
        there = sum((self.home / key).exists() for key in self.keys)
        if there:
            raise RuntimeError(f"{there} files of what was to go are here yet")
        return taken


def _silent() -> None: ...


def _nowhere(row: StoreRow) -> Store:
    raise AssertionError("no proof is old here")


def floor_s(folder: Path, victims: int) -> float:
    """The same number of files in as many folders, unlinked and synced."""
    localstore.prepare(folder)
    paths = [folder / f"objects/{i % localstore.SHARDS:03x}/{i:024x}.jpg" for i in range(victims)]
    for i, path in enumerate(paths):
        path.write_bytes(os.urandom(1000 + i % 5000))
    os.sync()
    began = time.perf_counter()
    for start in range(0, victims, AT_ONCE):
        _unlink(paths[start : start + AT_ONCE])
    return time.perf_counter() - began


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink()
    for folder in {path.parent for path in paths}:
        localstore.sync_path(folder)


def run(folder: Path, quick: bool) -> None:
    sizes, victims, rounds = ((20_000, 100_000), 2_000, 1) if quick else ((100_000, 1_000_000), 10_000, 3)
    rows, results = [], {}
    for cached in sizes:
        taken = []
        for n in range(rounds):
            home = folder / f"home-{cached}-{n}"
            home.mkdir(mode=0o700)
            taken.append(EvictBench(home, cached, victims).evict())
        wall, cpu = (statistics.median(t[i] for t in taken) for i in (0, 1))
        rows.append([f"{victims} of {cached}", wall, wall / victims * 1e6, cpu / victims * 1e6])
        results[cached] = taken
    bare = folder / "floor"
    bare.mkdir()
    floor = floor_s(bare, victims)
    rows.append([f"{victims} unlinked and synced, no catalog", floor, floor / victims * 1e6, ""])
    table(f"evict: median of {rounds} rounds (aim: {AIM_S:.0f} s)", ("", "seconds", "µs each", "CPU µs each"), rows)
    save("evict", {"victims": victims, "results": results, "floor_s": floor})
