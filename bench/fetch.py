"""Reading: what a cached read costs above `open()`, and how long a copy takes to come back from an S3 server, beside rclone and the aws
command (where one is installed).

A cached read is `local()` and an `open()` of the path, against that `open()` alone. A cold one runs from the call to the path, with the
daemon running; a peer's runs as long as its process does. Lading syncs what it fetches and the peers do not; both figures are as a user
sees them, with nothing else unsynced when they begin. Each copy is fetched once by each contestant, from the same server, whose cache is
warm for all, and removed afterwards: memory that a virtual machine has never touched costs more than the rest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.common import in_turns, make_files, ratio, save, table
from bench.replicate import BUCKET, Bench

import lading
from lading_catalog import fetching, replicas
from servers.process import program
from servers.rclone import rclone

SMALL, LARGE = 16 << 10, 256 << 20
PATIENCE_S = 120.0


def evict(cat: lading.Catalog, media: list[lading.Medium]) -> None:
    """Their copies on this disk are gone, as after an eviction."""
    for medium in media:
        path = Path(medium.refresh().shape["path"])
        with cat._conn.writing(durable=False) as conn:
            here = fetching.look(conn, medium.id[2:])
            assert here is not None
            assert here.replica_id is not None
            replicas.drop(conn, here.replica_id, "present")
            replicas.forget(conn, here.replica_id)
        path.unlink()


def cached(folder: Path, rounds: int) -> dict[str, float]:
    """Microseconds, medians: open() of a file; local() and open() of its path; Medium.open()."""
    with lading.open(folder / "cached") as cat:
        media = cat.put_many(make_files(folder / "photos", 64, SMALL))
        paths = [m.refresh().shape["path"] for m in media]
        taken: dict[str, list[int]] = {"open()": [], "local() + open()": [], "Medium.open()": []}

        def local(medium: lading.Medium) -> None:
            with medium.local() as path, path.open("rb"):
                pass

        clock = time.perf_counter_ns
        for n in range(rounds):
            medium, path = media[n % 64], paths[n % 64]
            for name, work in (
                ("open()", lambda path=path: open(path, "rb").close()),
                ("local() + open()", lambda medium=medium: local(medium)),
                ("Medium.open()", lambda medium=medium: medium.open().close()),
            ):
                began = clock()
                work()
                taken[name].append(clock() - began)
    return {name: statistics.median(ns) / 1000 for name, ns in taken.items()}


class Cold(Bench):
    """The daemon and the server of bench.replicate, asked for copies."""

    def prepare(self, size_bytes: int, count: int, tag: str) -> dict[str, Callable[[int], float]]:
        uri = f"s3://{BUCKET}/fetch-{tag}/"
        self.media = self._cat.put_many(make_files(self.folder / tag, count, size_bytes), destination=uri)
        self._cat.wait(self.media, timeout=PATIENCE_S)
        self.keys = [m.refresh().replicas[0].uri.removeprefix("s3://") for m in self.media]
        self.size_bytes = size_bytes
        evict(self._cat, self.media)
        found: dict[str, Callable[[int], float]] = {"lading": self._fetch, "rclone copyto": self._copyto}
        if aws() is not None:
            found["aws s3 cp"] = self._aws
        return found

    def _fetch(self, n: int) -> float:
        os.sync()  # what the one before has left unsynced is not this one's
        began = time.perf_counter()
        with self.media[n].local(timeout=PATIENCE_S) as path:
            took = time.perf_counter() - began
            assert path.stat().st_size == self.size_bytes
        evict(self._cat, [self.media[n]])
        return took

    def _copyto(self, n: int) -> float:
        to = self.folder / f"rclone-{n}"
        return self._run([program("rclone"), "copyto", f"peer:{self.keys[n]}", str(to), "--s3-no-check-bucket"], to)

    def _aws(self, n: int) -> float:
        to = self.folder / f"aws-{n}"
        binary = aws()
        assert binary is not None
        return self._run(
            [binary, "--endpoint-url", self.server.endpoint, "s3", "cp", "--only-show-errors", f"s3://{self.keys[n]}", str(to)],
            to,
        )

    def _run(self, command: list[str], to: Path) -> float:
        os.sync()
        began = time.perf_counter()
        subprocess.run(command, env=self.env, stdout=subprocess.DEVNULL, check=True)
        took = time.perf_counter() - began
        assert to.stat().st_size == self.size_bytes
        to.unlink()
        return took


def aws() -> str | None:
    """The aws command: beside the interpreter, or anywhere on PATH."""
    return shutil.which("aws", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


def run(folder: Path, quick: bool) -> None:
    reads = cached(folder, 300 if quick else 5000)
    base = reads["open()"]
    table(
        "fetch: a read of what is here, median", ("", "µs", "more than open()"), [[n, us, us - base] for n, us in reads.items()]
    )
    results: dict[str, object] = {"cached_us": reads}
    place = folder / "rclone"
    place.mkdir()
    with rclone(place) as server, contextlib.ExitStack() as stack:
        bench = Cold(place, server, 1)
        stack.enter_context(bench.daemon())
        for tag, size_bytes, rounds in (("16 KiB", SMALL, 5 if quick else 30), ("256 MiB", LARGE, 1 if quick else 4)):
            taken = in_turns(bench.prepare(size_bytes, rounds, tag.replace(" ", "-")), rounds)
            rows = [[n, statistics.median(s) * 1000, ratio(taken, n, "lading")] for n, s in taken.items()]
            table(f"fetch: {tag} from rclone's server, median of {rounds}", ("", "ms", "time ÷ lading's"), rows)
            results[tag] = taken
    save("fetch", results)
