"""What all benchmarks share: files to work on, rounds, medians, a table, and the JSON beside it.

Machines are shared and disks have moods: only figures of one run are compared, taken in turns, and a ratio is the median of the
rounds' ratios.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
JPEG = b"\xff\xd8\xff\xe0"  # what a photo begins with

Rounds = dict[str, list[float]]  # seconds of each round, by contestant


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A folder for one benchmark. Removed at its end only: ext4 is slow to make files for seconds after others were deleted."""
    base = os.environ.get("BENCH_DIR")
    folder = Path(tempfile.mkdtemp(prefix=f"lading-bench-{name}-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_files(folder: Path, count: int, size_bytes: int) -> list[Path]:
    """Files of random bytes that look like photos, on the disk before anything is measured."""
    folder.mkdir(parents=True)
    paths = [folder / f"IMG_{n:05}.jpg" for n in range(count)]
    for path in paths:
        path.write_bytes(JPEG + os.urandom(size_bytes - len(JPEG)))
    os.sync()
    return paths


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turns(contestants: Mapping[str, Callable[[int], float]], rounds: int) -> Rounds:
    """Each contestant once a round, another one first each time. A contestant is given the round's number and returns its seconds."""
    names = list(contestants)
    taken: Rounds = {name: [] for name in names}
    for n in range(rounds):
        for name in names[n % len(names) :] + names[: n % len(names)]:
            taken[name].append(contestants[name](n))
    return taken


def ratio(rounds: Rounds, name: str, base: str) -> float:
    return statistics.median(a / b for a, b in zip(rounds[name], rounds[base], strict=True))


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    texts = [list(head)] + [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in texts) for i in range(len(head))]
    print(f"\n{title}")
    for row in texts:
        print(
            "  "
            + "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        )


def save(name: str, results: Mapping[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    at = time.strftime("%Y%m%dT%H%M%S")
    document = {
        "bench": name,
        "at": at,
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        **results,
    }
    (RESULTS / f"{name}-{at}.json").write_text(json.dumps(document, indent=1) + "\n")
