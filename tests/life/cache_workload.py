#!/usr/bin/env python3
"""Read ten times more than the cache holds, while the daemon is killed again and again: every byte must be right, the budget must hold, and
the hit ratio stands beside plain LRU and the offline optimum on the same reads.

    tests/life/cache_workload.py [--seconds 60] [--objects 400] [--seed N]

Readers choose objects by Zipf's law; now and then one of them passes once over everything, as a backup would. Another process holds leases
and is killed, too. Exit 1 if a byte was wrong, something is lost, or the cache does not come down to its budget at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lading
from daemon.process import DaemonProcess
from life.cache_sims import hit_ratio_lru, hit_ratio_optimum

READERS = 3
COMES_DOWN_S = 60.0  # that a daemon gets at the end to bring the cache down to its budget
PATIENCE_S = 60.0

_HOLDER = """
import random, sys, time
import lading
dice = random.Random(int(sys.argv[1]))
with lading.open() as cat:
    ids = sys.argv[2].split(",")
    while True:
        with cat.medium(dice.choice(ids)).local() as path:
            path.read_bytes()
            time.sleep(0.2)
"""


@dataclass
class Report:
    objects: int = 0
    size_bytes: int = 0
    budget_bytes: int = 0
    reads: int = 0
    hits: int = 0
    kills: int = 0
    reader_kills: int = 0
    errors: int = 0  # reads that raised while the daemon was being killed, and were right when tried again
    peak_bytes: int = 0
    last_bytes: int = 0
    over_share: float = 0.0  # of the looks at the cache those that found it above its budget
    lru: float = 0.0
    optimum: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def hit_ratio(self) -> float:
        return self.hits / max(1, self.reads)


class Workload:
    def __init__(self, daemon: DaemonProcess, uri: str, *, objects: int, seed: int, kill_every_s: float = 3.0) -> None:
        self.daemon, self.uri = daemon, uri
        self.dice = random.Random(seed)
        self.kill_every_s = kill_every_s
        self.report = Report(objects=objects)
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self._trace: list[str] = []
        self._expected: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._samples: list[int] = []

    def run(self, seconds: float, say: Callable[[str], None] = lambda text: None) -> Report:
        report = self.report
        with self.daemon.open() as cat:
            self._fill(cat)
            self.daemon.start()
            cat.wait(timeout=PATIENCE_S * 5)
            self._come_down(cat)
            say(f"{report.objects} objects, {report.size_bytes:,} bytes, budget {report.budget_bytes:,}")
            threads = [threading.Thread(target=self._read, args=(n,)) for n in range(READERS)]
            threads += [threading.Thread(target=self._watch), threading.Thread(target=self._kill)]
            for thread in threads:
                thread.start()
            self._stop.wait(seconds)
            self._stop.set()
            for thread in threads:
                thread.join()
            self._come_down(cat)
            self._all_there(cat)
        self.daemon.stop()
        report.over_share = sum(n > report.budget_bytes for n in self._samples) / max(1, len(self._samples))
        report.lru = hit_ratio_lru(self._trace, self._sizes, report.budget_bytes)
        report.optimum = hit_ratio_optimum(self._trace, self._sizes, report.budget_bytes)
        return report

    def _fill(self, cat: lading.Catalog) -> None:
        data = [self.dice.randbytes(self.dice.choice((4_000, 20_000, 60_000, 120_000))) for _ in range(self.report.objects)]
        for start in range(0, len(data), 100):
            part = data[start : start + 100]
            media = cat.put_many([(d, f"{start + i}.bin") for i, d in enumerate(part)], destination=self.uri)
            for medium, d in zip(media, part, strict=True):
                self._expected[medium.id] = hashlib.sha256(d).hexdigest()
                self._sizes[medium.id] = len(d)
        self.report.size_bytes = sum(self._sizes.values())
        self.report.budget_bytes = cat.status()["local"]["budget_bytes"]

    # -- threads -----------------------------------------------------------------------------------------------------------------

    def _read(self, n: int) -> None:
        dice = random.Random(self.dice.random() + n)
        ids = list(self._expected)
        order = ids[:]
        random.Random(1).shuffle(order)
        weights = [1 / (rank + 1) ** 0.9 for rank in range(len(order))]
        scan: list[str] = []
        with self.daemon.open() as cat:
            while not self._stop.is_set():
                if n == 0 and not scan and dice.random() < 0.001:
                    scan = ids[:]
                chosen = scan.pop() if scan else dice.choices(order, weights)[0]
                self._one(cat, chosen)

    def _one(self, cat: lading.Catalog, id_: str) -> None:
        medium = cat.medium(id_)
        hit = medium.cached
        for attempt in range(200):
            try:
                with medium.local(timeout=PATIENCE_S) as path:
                    found = hashlib.sha256(path.read_bytes()).hexdigest()
                break
            except lading.Error as e:
                with self._mutex:
                    self.report.errors += 1
                if attempt == 199:
                    self._wrong(f"{id_}: {e}")
                    return
                time.sleep(0.05)
        with self._mutex:
            self._trace.append(id_)
            self.report.reads += 1
            self.report.hits += hit
        if found != self._expected[id_]:
            self._wrong(f"{id_} gave other bytes")

    def _kill(self) -> None:
        """The daemon is killed and started again, and so is a process that holds leases."""
        holder: subprocess.Popen[bytes] | None = None
        n = 0
        while not self._stop.wait(self.kill_every_s):
            self.daemon.kill()
            self.report.kills += 1
            if holder is not None:
                holder.kill()
                holder.wait()
                self.report.reader_kills += 1
            n += 1
            ids = ",".join(self.dice.sample(sorted(self._expected), min(40, len(self._expected))))
            holder = subprocess.Popen(
                [sys.executable, "-c", _HOLDER, str(n), ids], env=self.daemon.env, stderr=subprocess.DEVNULL
            )
            self._start_again()
        if holder is not None:
            holder.kill()
            holder.wait()

    def _start_again(self) -> None:
        """A reader may have started a one-shot daemon meanwhile; the service asks it to leave."""
        for _ in range(5):
            with contextlib.suppress(RuntimeError):
                self.daemon.start()
                return
        self._wrong("the daemon does not start again")

    def _watch(self) -> None:
        with self.daemon.open() as cat:
            while not self._stop.wait(0.2):
                now = cat.status()["local"]["size_bytes"]
                self.report.peak_bytes = max(self.report.peak_bytes, now)
                self._samples.append(now)

    def _wrong(self, text: str) -> None:
        with self._mutex:
            self.report.wrong.append(text)

    # -- the end -----------------------------------------------------------------------------------------------------------------

    def _come_down(self, cat: lading.Catalog) -> None:
        deadline = time.monotonic() + COMES_DOWN_S
        while (now := cat.status()["local"]["size_bytes"]) > self.report.budget_bytes and time.monotonic() < deadline:
            time.sleep(0.1)
        self.report.last_bytes = now
        if now > self.report.budget_bytes:
            self._wrong(f"{now:,} bytes are cached at the end, the budget is {self.report.budget_bytes:,}")

    def _all_there(self, cat: lading.Catalog) -> None:
        for id_ in self._expected:
            with cat.medium(id_).local(timeout=PATIENCE_S) as path:
                if hashlib.sha256(path.read_bytes()).hexdigest() != self._expected[id_]:
                    self._wrong(f"{id_} is not what was put")
        status = cat.status()
        if status["media"]["safe"] != self.report.objects or status["media"]["lost"]:
            self._wrong(f"status says {status['media']}")


def settings(budget_bytes: int) -> dict[str, str]:
    return {"LADING_CACHE_SIZE": f"{budget_bytes}B", "LADING_EVICT_AFTER": "0s", "LADING_MIN_FREE": "0"}


def run(work: Path, *, seconds: float, objects: int, seed: int, say: Callable[[str], None] = lambda text: None) -> Report:
    disk = work / "disk"
    disk.mkdir()
    budget = objects * 51_000 // 10
    with DaemonProcess(work / "home", settings(budget)) as daemon:
        return Workload(daemon, f"file://{disk}/", objects=objects, seed=seed).run(seconds, say)


def lines(report: Report) -> list[str]:
    return [
        f"{report.reads} reads, {report.kills} kills of the daemon, {report.reader_kills} of a reader, {report.errors} tried again",
        f"hit ratio {report.hit_ratio:.1%}; plain LRU {report.lru:.1%}; offline optimum {report.optimum:.1%}",
        f"cached at most {report.peak_bytes:,} bytes (above the budget {report.over_share:.0%} of the time),"
        f" at the end {report.last_bytes:,}; budget {report.budget_bytes:,}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--objects", type=int, default=400)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    given = parser.parse_args()
    print(f"--seed {given.seed}")
    with tempfile.TemporaryDirectory(prefix="lading-cache-") as text:
        report = run(Path(text), seconds=given.seconds, objects=given.objects, seed=given.seed, say=print)
    print("\n".join(lines(report)))
    print("\n".join(report.wrong[:50]) or "every byte was right, and nothing is lost")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
