"""A power cut at every instant of a put, by replay: a small model of a disk (put_replay.py)."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from life.put_check import wrong
from life.put_faults import LONG, place
from life.put_process import Server, server
from life.put_replay import RECORD, Disk, File, Folder, cuts
from life.put_scenarios import content, write_sources

NEEDS = ("strace",)

MODELS = ("strict", "greedy", "everything", "mixed")
MIXED = 12 if LONG else 1  # throws of the dice an instant


@pytest.fixture(scope="module")
def one() -> Iterator[Server]:
    with server() as made:
        yield made


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with place() as made:
        yield made


def _record(one: Server, folder: Path, scenario: str) -> tuple[Disk, list[str]]:
    """The disk before, with the sources on it, and what was done."""
    home = folder / scenario / "home"
    home.parent.mkdir()
    write_sources(home)
    disk = Disk(home.parent)
    sources = Folder()
    for path in (home.parent / "sources").iterdir():
        data = path.read_bytes()
        sources.now[path.name] = File(bytearray(data), data)
    sources.sync()
    disk.top.now["sources"] = sources
    disk.top.sync()
    outcome = one.run(scenario, home, RECORD, trace=home.parent / "trace")
    assert outcome.ended
    assert not outcome.raised, outcome
    return disk, outcome.trace.splitlines()


def _after_the_cut(place: Path, acked: dict[str, int]) -> list[str]:
    """What is wrong with the rebuilt disk; a source that is gone counts as acked content."""
    home = place / "home"
    if not (home / "catalog.db").exists():
        found = [f"no catalog, and acked: {acked}"] if acked else []
        known: set[int] = set()
    else:
        found = wrong(home, acked, orphans=True)
        known = (
            {path.stat().st_size for path in (home / "objects").rglob("*") if path.is_file()}
            if (home / "objects").exists()
            else set()
        )
    for number in range(4):
        if not (place / "sources" / f"IMG_{number}.jpg").exists() and len(content(number)) not in known:
            found.append(f"source {number} is gone, and no copy is there")
    return found


@pytest.mark.parametrize("scenario", ["first", "first_batch", "a_day"])
def test_invariants_1_2_10_a_power_cut_at_every_instant(
    one: Server, folder: Path, scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    disk, lines = _record(one, folder, scenario)
    states: Counter[str] = Counter()
    failed = []
    rebuilt = folder / "rebuilt"
    for number, call in cuts(disk, lines):
        for model in MODELS:
            for throw in range(MIXED if model == "mixed" else 1):
                rebuilt.mkdir()
                disk.rebuild(rebuilt, model, random.Random(number * 1000 + throw))
                states[model] += 1
                if found := _after_the_cut(rebuilt, disk.acked):
                    failed.append(f"{scenario}, after call {number} ({call}), {model}: {found}")
                shutil.rmtree(rebuilt)
    with capsys.disabled():
        print(f"\n{scenario}: {states.total()} states {dict(states)}")
    assert not failed, "\n".join(failed[:20])
    assert states.total() > 300
    assert len(disk.acked) == {"first": 1, "first_batch": 3, "a_day": 7}[scenario]


def test_the_replay_ends_as_the_real_run_did(one: Server) -> None:
    """Control: with everything kept the model holds the very files that the run has left on the disk."""
    with place() as second:
        disk, lines = _record(one, second, "a_day")
        assert sum(1 for _ in cuts(disk, lines)) > 100
        rebuilt = second / "rebuilt"
        rebuilt.mkdir()
        disk.rebuild(rebuilt, "everything", random.Random(0))
        (second / "a_day" / "trace").unlink()
        assert _files(rebuilt) == _files(second / "a_day")


def _files(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
