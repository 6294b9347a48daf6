"""A fault at every system call of a put, one process and one home each: which calls there are, and many such runs side by side."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from life.put_check import wrong
from life.put_process import Outcome, Server, server
from life.put_scenarios import write_sources

LONG = bool(os.environ.get("LONG_RUN"))
WRITERS = 2
# What changes the disk or the locks, and what looks at them on the way.
CALLS = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "link", "linkat", "rename", "renameat", "renameat2", "unlink", "unlinkat",
    "rmdir", "mkdir", "mkdirat", "ftruncate", "close", "utimensat", "ioctl", "flock",
)  # fmt: skip
_LINE = re.compile(r"(?:\d+ +)?(\w+)\((.*)")


@dataclass(frozen=True, slots=True)
class Point:
    """The n-th call of that name after `go`, and the text of its arguments in the run without a fault."""

    call: str
    nth: int
    text: str

    def inject(self, fault: str, *, on: bool = False) -> list[str]:
        """Options for strace. `on`: from this one on, all of them."""
        return ["-e", f"trace={self.call}", "-e", f"inject={self.call}:{fault}:when={self.nth}{'+' if on else ''}"]


@contextmanager
def place() -> Iterator[Path]:
    """A folder in memory where there is one: nothing here tests the disk, and thousands of syncs cost seconds there."""
    shm = "/dev/shm"
    found = Path(tempfile.mkdtemp(prefix="lading-put-", dir=shm if os.access(shm, os.W_OK) else None))
    try:
        yield found
    finally:
        shutil.rmtree(found)


class Rig:
    """`WRITERS` servers, and homes for them."""

    def __init__(self, folder: Path, servers: Sequence[Server]) -> None:
        self.folder = folder
        self._servers: SimpleQueue[tuple[int, Server]] = SimpleQueue()
        for numbered in enumerate(servers):
            self._servers.put(numbered)

    def run(
        self, scenario: str, options: Sequence[str], *, again: bool = False, look: Callable[[Path, Outcome], list[str]] | None = None,
        traced: bool = False,
    ) -> tuple[Outcome, list[str]]:  # fmt: skip
        """One run in a new home: the outcome, and what `look` (before recovery) and the rules (after it) find wrong."""
        number, one = self._servers.get()
        try:
            home = self.folder / str(number) / "home"
            home.parent.mkdir()
            try:
                write_sources(home)
                outcome = one.run(scenario, home, options, trace=home.parent / "trace" if traced else None, again=again)
                found = look(home, outcome) if look is not None else []
                if (home / "catalog.db").exists():
                    found += wrong(home, {**outcome.acked, **outcome.again})
                elif outcome.acked:
                    found.append("acked, and there is no catalog")
            finally:
                shutil.rmtree(home.parent)
        finally:
            self._servers.put((number, one))
        return outcome, found

    def points(self, scenario: str, calls: Sequence[str] = CALLS) -> list[Point]:
        """The calls of a run without a fault, in order."""
        outcome, found = self.run(scenario, ["-y", "-e", f"trace={','.join(calls)}"], traced=True)
        assert outcome.ended, outcome
        assert not outcome.raised, outcome
        assert not found
        counts: Counter[str] = Counter()
        points = []
        for line in outcome.trace.splitlines():
            if (match := _LINE.match(line)) and match[1] in calls:
                counts[match[1]] += 1
                points.append(Point(match[1], counts[match[1]], match[2][:160]))
        return points

    def each(self, jobs: Sequence[Callable[[], str | None]]) -> list[str]:
        """What each job says is wrong; WRITERS at a time."""
        with ThreadPoolExecutor(WRITERS) as pool:
            return [said for said in pool.map(lambda job: job(), jobs) if said]


@contextmanager
def rig() -> Iterator[Rig]:
    with ExitStack() as stack:
        folder = stack.enter_context(place())
        yield Rig(folder, [stack.enter_context(server()) for _ in range(WRITERS)])


def sample(points: Sequence[Point], every: int) -> list[Point]:
    """All of them with LONG_RUN, else every k-th, beginning with the first."""
    return list(points) if LONG else list(points[::every])
