"""An error of the disk at every system call of a put: ENOSPC, EDQUOT, EIO, EMFILE, EROFS, once and from then on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lading_catalog.connection import Connection
from life.put_check import finals, keys_with_rows, wrong
from life.put_faults import LONG, Point, Rig, place, rig
from life.put_process import Outcome, server
from life.put_scenarios import PUTS, write_sources

NEEDS = ("strace",)

_WRITES = ("write", "pwrite64", "openat", "linkat", "rename", "mkdir", "fsync", "fdatasync", "ftruncate", "utimensat")
ERRORS = {
    "ENOSPC": _WRITES,
    "EDQUOT": _WRITES,
    "EIO": (*_WRITES, "unlink", "unlinkat", "rmdir", "ioctl", "flock", "newfstatat", "pread64", "read"),
    "EMFILE": ("openat", "flock"),
    "EROFS": ("openat", "linkat", "rename", "mkdir", "unlink", "unlinkat", "utimensat", "write"),
}
CALLS = tuple(sorted({call for calls in ERRORS.values() for call in calls}))
# Every k-th point by default; LONG_RUN=1 takes all. Most points of `first` and `unknown` make folders or load modules.
EVERY = {"single": 1, "batch": 3, "dedup": 3, "dedup_changed": 5, "move": 3, "first": 23, "unknown": 13}
FEWER = {"EDQUOT": 3, "EIO": 2}  # EDQUOT goes the way of ENOSPC; EIO has most calls


@pytest.fixture(scope="module")
def faults() -> Iterator[Rig]:
    with rig() as made:
        yield made


def _left_behind(home: Path, outcome: Outcome) -> list[str]:
    """What is wrong before anything was recovered: after an error there is no row and no file under a final name."""
    if not (home / "catalog.db").exists():
        return []
    found = []
    conn = Connection(home)
    try:
        if left := finals(home) - keys_with_rows(conn):
            found.append(f"before recovery: files without a row {left}")
        known = {f"m_{u}" for (u,) in conn.rows("SELECT ulid FROM medium WHERE name LIKE 'IMG%' AND name <> 'IMG_0.jpg'")}
        if unknown := known - set(outcome.acked):
            found.append(f"raised, and yet there before recovery: {unknown}")
    finally:
        conn.close()
    return found


def _failed(faults: Rig, scenario: str, error: str, on: bool, point: Point, seen: Counter[str]) -> str | None:
    again = not on
    outcome, found = faults.run(scenario, point.inject(f"error={error}", on=on), again=again, look=_left_behind)
    if outcome.signal or not outcome.ended:
        found.append(f"ended with signal {outcome.signal}")
    if outcome.raised is None:
        seen["survived"] += 1
        if len(outcome.acked) != len(PUTS[scenario]):
            found.append(f"returned, and acked only {outcome.acked}")
    else:
        seen["raised"] += 1
        kind, cls, text, hint = outcome.raised
        if kind != "lading" or len(text) < 20:
            found.append(f"no clear error: {cls}: {text}")
        if error in ("ENOSPC", "EDQUOT") and cls == "Error" and "pace" not in text:
            found.append(f"a full disk is called {cls}: {text} ({hint})")
        if "/home" in point.text and "Reading" in text:
            found.append(f"the source is blamed: {text}")
        if again and (outcome.again_raised or not outcome.again):
            found.append(f"trying again: {outcome.again_raised}")
    return f"{error}{' from' if on else ' at'} {point}: {found}" if found else None


def _ours(point: Point, error: str) -> bool:
    """Not the loading of modules; and a full disk is met where something is written."""
    reads = "O_RDONLY" in point.text and "O_CREAT" not in point.text
    return "/home" in point.text or ("/sources" in point.text and not (reads and error in ("ENOSPC", "EDQUOT")))


@pytest.mark.parametrize("error", ERRORS)
def test_invariant_3_an_error_at_every_call(faults: Rig, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Raised: one of our errors, no row, no final file, and a second try succeeds. Returned: row and file are right."""
    seen: Counter[str] = Counter()
    jobs = []
    for scenario, every in EVERY.items():
        points = [p for p in faults.points(scenario, CALLS) if p.call in ERRORS[error] and _ours(p, error)]
        for number, point in enumerate(points):
            if LONG or number % (every * FEWER.get(error, 1)) == 0:
                jobs += [
                    partial(_failed, faults, scenario, error, on, point, seen)
                    for on in ((False, True) if LONG else (number % 2 == 0,))
                ]
    failed = faults.each(jobs)
    with capsys.disabled():
        print(f"\n{error}: {len(jobs)} injected, {seen['raised']} raised, {seen['survived']} did not matter")
    assert seen["raised"] >= 5, "hardly any error was noticed"
    assert not failed, "\n".join(failed)


def test_invariant_3_no_row_shows_when_no_sync_of_the_log_succeeds_any_more(faults: Rig) -> None:
    """The frames of the failed commit must not stand in the log for the next one who opens the catalog."""
    (point, *_) = [p for p in faults.points("single", ("fdatasync",)) if "catalog.db-wal" in p.text]
    outcome, found = faults.run("single", point.inject("error=EIO", on=True), look=_left_behind)
    assert outcome.raised
    assert found == []


_SYNC = re.compile(r"(?:\d+ +)?f(?:data)?sync\(\d+<([^>]*)>\) += (-?\d+)")


def _not_retried(faults: Rig, scenario: str, point: Point) -> str | None:
    options = ["-y", "-e", "trace=fsync,fdatasync", "-e", f"inject={point.call}:error=EIO:when={point.nth}"]
    outcome, found = faults.run(scenario, options, again=True, traced=True)
    synced = [(m[1], int(m[2])) for line in outcome.trace.splitlines() if (m := _SYNC.match(line))]
    failed = [number for number, (_, code) in enumerate(synced) if code < 0]
    if len(failed) != 1:
        return f"{point}: {len(failed)} syncs failed, not one"
    path = synced[failed[0]][0]
    # SQLite writes the frames of its log anew before it syncs them again; a folder is synced again for other names.
    if "/staging/" in path and path in [p for p, _ in synced[failed[0] + 1 :]]:
        found.append(f"{path} was synced again")
    if not outcome.raised and "catalog.db" not in path:
        found.append("nobody noticed")
    return f"{point}: {found}" if found else None


@pytest.mark.parametrize("scenario", ["single", "batch", "dedup_changed"])
def test_invariant_5_a_failed_fsync_is_never_retried(faults: Rig, scenario: str) -> None:
    points = faults.points(scenario, ("fsync", "fdatasync"))
    assert len([p for p in points if p.call == "fsync" and "/staging/" in p.text]) >= 1
    assert faults.each([partial(_not_retried, faults, scenario, point) for point in points]) == []


def test_invariant_2_a_commit_that_failed_and_shows_after_a_reboot_has_its_file() -> None:
    """The sync of the log fails: the put raises. A power cut at once leaves its frames in the log, and SQLite reads them afterwards."""
    with place() as folder, server() as one:
        counted = folder / "counted" / "home"
        home = folder / "once" / "home"
        for made in (counted, home):
            made.parent.mkdir()
            write_sources(made)
        trace = one.run("single", counted, ["-e", "trace=pwrite64,fdatasync"], trace=folder / "calls").trace
        frames = trace.split("fdatasync(")[0].count("pwrite64(")
        assert frames > 2
        # The next write after the failed sync would bury the frames under others; a power cut can undo that.
        outcome = one.run(
            "single", home,
            ["-e", "trace=fdatasync,pwrite64,rmdir", "-e", "inject=fdatasync:error=EIO:when=1", "-e",
             f"inject=pwrite64:error=EIO:when={frames + 1}+", "-e", "inject=rmdir:signal=SIGKILL:when=1"],
        )  # fmt: skip
        assert outcome.signal == 9
        assert not outcome.acked
        (home / "catalog.db-shm").unlink()
        conn = Connection(home)
        try:
            names = [name for (name,) in conn.rows("SELECT name FROM medium ORDER BY id")]
            assert names == ["IMG_0.jpg", "IMG_1.jpg"], "the frames were not there: this shows nothing"
            assert len(finals(home)) == 1
        finally:
            conn.close()
        assert wrong(home, {}) == []
        assert len(finals(home)) == 2
