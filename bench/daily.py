"""What a person notices: how long a command takes, what an import costs, how big an idle daemon is, how soon a put has arrived."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.common import JPEG, make_files, save, table, timed
from bench.replicate import cpu_s

import lading
from lading_catalog.config import load
from servers.process import program

PAUSE_S = 0.15  # between puts: each finds an idle daemon


def _rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _process_ms(command: list[str], env: dict[str, str]) -> float:
    return 1000 * timed(
        lambda: subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    )


def _commands(folder: Path, env: dict[str, str], rounds: int) -> list[list[object]]:
    photos = make_files(folder / "photos", rounds + 1, 16 << 10)
    put = [program("lading"), "put"]
    _process_ms([*put, str(photos[0])], env)  # makes the home
    taken: dict[str, list[float]] = {"python -c pass": [], "import lading": [], "lading put one.jpg": [], "lading status": []}
    for photo in photos[1:]:
        taken["python -c pass"].append(_process_ms([sys.executable, "-c", "pass"], env))
        taken["import lading"].append(_process_ms([sys.executable, "-c", "import lading"], env))
        taken["lading put one.jpg"].append(_process_ms([*put, str(photo)], env))
        taken["lading status"].append(_process_ms([program("lading"), "status"], env))
    return [[name, statistics.median(ms), "ms"] for name, ms in taken.items()]


def _arrivals(folder: Path, env: dict[str, str], rounds: int) -> list[list[object]]:
    home, there = folder / "home", folder / "there"
    there.mkdir()
    uri = f"file://{there}/"
    latencies = []
    with lading.open(config=load(home=str(home), environ=env)) as cat, (folder / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen([sys.executable, "-m", "ladingd", "run", "--home", str(home)], env=env, stdout=log, stderr=log)
        try:
            cat.put(b"first", name="first.txt", destination=uri).wait(timeout=60)
            for _ in range(rounds):
                time.sleep(PAUSE_S)
                data = JPEG + os.urandom(16 << 10)
                began = time.perf_counter()
                photo = cat.put(data, name="one.jpg", destination=uri)
                while photo.refresh().state != "safe":
                    time.sleep(0.0005)
                latencies.append(1000 * (time.perf_counter() - began))
            time.sleep(6)
            rss, cpu, idle_s = _rss_bytes(daemon.pid), cpu_s(daemon.pid), 10
            time.sleep(idle_s)
            idle_cpu = (cpu_s(daemon.pid) - cpu) / idle_s
        finally:
            daemon.terminate()
            daemon.wait(30)
    return [
        [f"put → present in a directory, median of {rounds}", statistics.median(latencies), "ms"],
        ["the same, 90th percentile", statistics.quantiles(latencies, n=10)[-1], "ms"],
        ["idle daemon, memory", rss / (1 << 20), "MiB"],
        ["idle daemon, CPU", idle_cpu * 100, "%"],
    ]


def run(folder: Path, quick: bool) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("LADING_")} | {"LADING_HOME": str(folder / "home")}
    rows = _commands(folder, env, 3 if quick else 15) + _arrivals(folder, env, 5 if quick else 30)
    table("daily use", ("", "", ""), rows)
    save("daily", {"results": [dict(zip(("name", "value", "unit"), row, strict=True)) for row in rows]})
