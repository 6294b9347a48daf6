"""How much a put costs beyond what any durable put must cost on this machine.

The floor, single: write the bytes, fsync, rename, fsync the folder, commit one small row (SQLite, WAL, synchronous=FULL).
The floor, batch: the same threads write, fsync and rename; one fsync of the folder; one commit with a row each.
"""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
from bench.common import in_turns, make_files, ratio, save, table, timed

import lading
from lading.batch import WRITERS
from lading_catalog.config import load

URI = "s3://bucket/photos/"  # no daemon runs: nothing is sent
AIM = 1.5


class Floor:
    def __init__(self, folder: Path) -> None:
        self.files = folder / "floor"
        self.files.mkdir()
        self._folder_fd = os.open(self.files, os.O_RDONLY | os.O_DIRECTORY)
        self._db = apsw.Connection(os.fspath(folder / "floor.db"))
        for pragma in ("journal_mode = wal", "synchronous = full"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("CREATE TABLE done (name TEXT, size_bytes INTEGER)")

    def single(self, paths: list[Path], datas: list[bytes], tag: str) -> None:
        for path, data in zip(paths, datas, strict=True):
            self._write(f"{tag}-{path.name}", data)
            os.fsync(self._folder_fd)
            self._db.execute("INSERT INTO done VALUES (?, ?)", (path.name, len(data)))

    def batch(self, paths: list[Path], datas: list[bytes], tag: str) -> None:
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(self._write, [f"{tag}-{path.name}" for path in paths], datas))
        os.fsync(self._folder_fd)
        with self._db:
            self._db.executemany("INSERT INTO done VALUES (?, ?)", [(p.name, len(d)) for p, d in zip(paths, datas, strict=True)])

    def _write(self, name: str, data: bytes) -> None:
        tmp = f"{name}.tmp"
        folder = self._folder_fd
        fd = os.open(tmp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=folder)
        os.write(fd, data)
        os.fsync(fd)
        os.close(fd)
        os.rename(tmp, name, src_dir_fd=folder, dst_dir_fd=folder)


def _copy_synced(paths: list[Path], to: Path) -> None:
    to.mkdir()
    for path in paths:
        shutil.copy(path, to / path.name)
        with open(to / path.name, "rb") as copied:
            os.fsync(copied.fileno())


def _measure(folder: Path, count: int, size_bytes: int, rounds: int) -> list[list[object]]:
    folder.mkdir()
    floor = Floor(folder)
    sources = [make_files(folder / f"source-{n}", count, size_bytes) for n in range(-1, rounds)]
    datas = [path.read_bytes() for path in sources[0]]
    with lading.open(config=load(home=str(folder / "home"), environ={})) as single, \
         lading.open(config=load(home=str(folder / "home-batch"), environ={})) as many:  # fmt: skip
        contestants: dict[str, Callable[[int], float]] = {
            "floor, single": lambda n: timed(lambda: floor.single(sources[n + 1], datas, f"s{n}")),
            "put": lambda n: timed(lambda: [single.put(path, destination=URI) for path in sources[n + 1]]),
            "floor, batch": lambda n: timed(lambda: floor.batch(sources[n + 1], datas, f"b{n}")),
            "put_many": lambda n: timed(lambda: many.put_many(sources[n + 1], destination=URI)),
            "copy + fsync": lambda n: timed(lambda: _copy_synced(sources[n + 1], folder / f"copy-{n}")),
        }
        for contestant in contestants.values():
            contestant(-1)  # the first puts make folders and grow the logs
        taken = in_turns(contestants, rounds)
    rows: list[list[object]] = []
    for name, base in (
        ("floor, single", None), ("put", "floor, single"), ("floor, batch", None), ("put_many", "floor, batch"), ("copy + fsync", None),
    ):  # fmt: skip
        each_s = statistics.median(taken[name]) / count
        rows.append([name, each_s * 1000, round(1 / each_s), ratio(taken, name, base) if base else ""])
    return rows


def run(folder: Path, quick: bool) -> None:
    results = {}
    for label, count, size_bytes, rounds in (
        ("16 KiB", 100 if quick else 500, 16 << 10, 2 if quick else 7),
        ("1 MiB", 20 if quick else 100, 1 << 20, 2 if quick else 5),
    ):
        head = ("", "ms a file", "files/s", "× floor")
        rows = _measure(folder / label.replace(" ", ""), count, size_bytes, rounds)
        table(f"put: {count} files of {label}, median of {rounds} rounds (aim: at most {AIM} × the floor)", head, rows)
        results[label] = [dict(zip(("name", "ms", "files_per_s", "ratio"), row, strict=True)) for row in rows]
    save("put", {"results": results})
