"""kill -9, and Ctrl-C, at every system call of a put."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lading_catalog.connection import Connection
from life.put_check import finals, keys_with_rows, staged, wrong
from life.put_faults import Point, Rig, place, rig, sample
from life.put_process import environment, server
from life.put_scenarios import PUTS, source, write_sources

NEEDS = ("strace",)

EVERY = {"first": 8, "unknown": 12}  # most of their calls make folders, or load modules


@pytest.fixture(scope="module")
def faults() -> Iterator[Rig]:
    with rig() as made:
        yield made


def _killed(faults: Rig, scenario: str, point: Point) -> str | None:
    moved: list[str] = []

    def look(home: Path, outcome: object) -> list[str]:
        if scenario == "move" and not source(home, 1).exists():
            moved.append("")  # then the row and the file have to be there
        return []

    outcome, found = faults.run(scenario, point.inject("signal=SIGKILL"), look=look)
    if outcome.signal != 9:
        return f"{point}: was not killed, so nothing was shown"
    if outcome.raised:
        found.append(f"raised {outcome.raised}")
    return f"{point}: {found}" if found else None


@pytest.mark.parametrize("scenario", sorted(PUTS))
def test_invariants_1_2_10_kill_at_every_call(faults: Rig, scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Acked: there, byte for byte. Not acked: no row, or the row and the whole file. No file without a row, no leftover."""
    points = faults.points(scenario)
    chosen = sample(points, EVERY.get(scenario, 1))
    assert {"fsync", "linkat", "pwrite64", "fdatasync"} - {p.call for p in points} <= (
        {"linkat"} if scenario == "dedup" else set()
    )
    failed = faults.each([partial(_killed, faults, scenario, point) for point in chosen])
    with capsys.disabled():
        print(f"\n{scenario}: {len(chosen)} of {len(points)} calls killed")
    assert len(chosen) >= 30, "hardly anything was killed"
    assert not failed, "\n".join(failed)


def test_invariant_1_a_moved_source_goes_only_after_the_commit(faults: Rig) -> None:
    """At each kill: the source is there, or the medium is."""
    failed = faults.each(
        [
            partial(_source_or_medium, faults, point)
            for point in sample(faults.points("move"), 1)
            if "unlink" in point.call or "sync" in point.call
        ]
    )
    assert not failed, "\n".join(failed)


def _source_or_medium(faults: Rig, point: Point) -> str | None:
    def look(home: Path, outcome: object) -> list[str]:
        if source(home, 1).exists():
            return []
        conn = Connection(home)
        try:
            found = conn.rows(
                "SELECT key FROM replica r JOIN object o ON o.id = r.object_id WHERE o.size_bytes = ?", (len_of(1),)
            )
            return [] if any((home / key).exists() for (key,) in found) else ["the source is gone, and no medium is there"]
        finally:
            conn.close()

    outcome, found = faults.run("move", point.inject("signal=SIGKILL"), look=look)
    return f"{point}: {found}" if found or outcome.signal != 9 else None


def len_of(number: int) -> int:
    from life.put_scenarios import content

    return len(content(number))


def _interrupted(faults: Rig, scenario: str, point: Point) -> str | None:
    def look(home: Path, outcome: object) -> list[str]:
        conn = Connection(home)
        try:
            left = finals(home) - keys_with_rows(conn)
            return [f"before recovery: files without a row {left}"] if left else []
        finally:
            conn.close()

    outcome, found = faults.run(scenario, point.inject("signal=SIGINT"), again=True, look=look)
    if outcome.signal or not outcome.ended:
        found.append(f"ended with signal {outcome.signal}")
    if outcome.raised and outcome.raised[1] != "KeyboardInterrupt":
        found.append(f"raised {outcome.raised}")
    if outcome.again_raised:
        found.append(f"the next put raised {outcome.again_raised}")
    return f"{point}: {found}" if found else None


@pytest.mark.parametrize("scenario", ["single", "batch", "move"])
def test_invariant_2_ctrl_c_at_every_call(faults: Rig, scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Python shows a Ctrl-C after the call in which it came. In COMMIT that is after the row: then its file has to stay."""
    points = faults.points(
        scenario, ("openat", "write", "fsync", "fdatasync", "linkat", "unlinkat", "pwrite64", "close", "flock", "utimensat")
    )
    chosen = [p for p in sample(points, 1) if p.call != "pwrite64" or p.nth % 7 == 0]
    failed = faults.each([partial(_interrupted, faults, scenario, point) for point in chosen])
    with capsys.disabled():
        print(f"\n{scenario}: {len(chosen)} interrupts")
    assert len(chosen) >= 15
    assert not failed, "\n".join(failed)


def test_the_daemon_recovers_what_a_killed_put_left() -> None:
    """The same with the real start of the daemon, at the calls where most is left over."""
    with place() as folder, server() as one:
        home = folder / "first" / "home"
        home.parent.mkdir()
        write_sources(home)
        points = {"link": ["-e", "trace=fsync", "-e", "inject=fsync:signal=SIGKILL:when=4"],
                  "commit": ["-e", "trace=fdatasync", "-e", "inject=fdatasync:signal=SIGKILL:when=1"],
                  "unlink": ["-e", "trace=unlinkat", "-e", "inject=unlinkat:signal=SIGKILL:when=1"]}  # fmt: skip
        for options in points.values():
            assert one.run("batch", home, options).signal == 9
        assert len([name for name in staged(home) if not name.endswith("/")]) == 9
        run = subprocess.run(
            [sys.executable, "-m", "ladingd", "run", "--exit-when-idle", "--home", str(home)],
            env=environment(), capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert staged(home) == []
        conn = Connection(home)
        try:
            assert finals(home) == keys_with_rows(conn)
        finally:
            conn.close()
        assert wrong(home, {}) == []
