"""A power cut at every instant of an eviction, by replay (put_replay.py): a whole file, or no copy here and one elsewhere."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from lading_catalog import evicting
from lading_catalog.connection import Connection
from life.put_check import finals, keys_with_rows, recover
from life.put_faults import LONG, place
from life.put_process import server
from life.put_replay import RECORD, Disk, File, Folder, cuts
from life.put_scenarios import content, write_sources

NEEDS = ("strace",)

MODELS = ("strict", "greedy", "everything", "mixed")
MIXED = 12 if LONG else 2  # throws of the dice an instant
COPIES = 3

_COPIES = (
    "SELECT 'm_' || m.ulid, l.key, l.state, EXISTS (SELECT 1 FROM replica d WHERE d.object_id = m.object_id AND d.store_id <> 0"
    " AND d.state = 'present') FROM medium m LEFT JOIN replica l ON l.object_id = m.object_id AND l.store_id = 0"
)


def wrong(home: Path, acked: Mapping[str, int]) -> list[str]:
    """After the cut, and once more after the daemon has finished what was dropped."""
    conn = Connection(home)
    try:
        recover(home, conn)
        found = [f"integrity_check: {row}" for (row,) in conn.rows("PRAGMA integrity_check") if row != "ok"]
        found += _copies(home, conn, acked)
        dropped = conn.rows("SELECT id, key FROM replica WHERE store_id = 0 AND state = 'dropping'")
        evicting.unlink_dropped(home, [key for _, key in dropped])
        with conn.writing():
            evicting.forget(conn, [i for i, _ in dropped])
        return found + _copies(home, conn, acked)
    finally:
        conn.close()


def _copies(home: Path, conn: Connection, acked: Mapping[str, int]) -> list[str]:
    found = []
    rows = {ident: row for ident, *row in conn.rows(_COPIES)}
    for ident, number in acked.items():
        key, state, elsewhere = rows.get(ident, ("", "no row", False))
        if state == "present":
            path = home / key
            if not path.exists() or hashlib.sha256(path.read_bytes()).digest() != hashlib.sha256(content(number)).digest():
                found.append(f"{ident}: its copy is not what was put")
        elif not elsewhere:
            found.append(f"{ident}: no copy here ({state}) and none elsewhere")
    if len(acked) == COPIES and (strays := finals(home) - keys_with_rows(conn)):
        found.append(f"came back without a row: {strays}")
    return found


def test_invariant_32_a_power_cut_at_every_instant_of_an_eviction(capsys: pytest.CaptureFixture[str]) -> None:
    with server() as one, place() as folder:
        home = folder / "evicted" / "home"
        home.parent.mkdir()
        write_sources(home)
        outcome = one.run("evicted", home, RECORD, trace=home.parent / "trace")
        assert outcome.ended
        assert not outcome.raised, outcome
        assert finals(home) == set()
        disk = _disk_before(home)
        states: Counter[str] = Counter()
        failed = []
        rebuilt = folder / "rebuilt"
        for number, call in cuts(disk, outcome.trace.splitlines()):
            if not disk.acked:
                continue  # (a put alone: test_put_cut.py)
            for model in MODELS:
                for throw in range(MIXED if model == "mixed" else 1):
                    rebuilt.mkdir()
                    disk.rebuild(rebuilt, model, random.Random(number * 1000 + throw))
                    states[model] += 1
                    if found := wrong(rebuilt / "home", disk.acked):
                        failed.append(f"after call {number} ({call}), {model}: {found}")
                    shutil.rmtree(rebuilt)
    with capsys.disabled():
        print(f"\nevicted: {states.total()} states {dict(states)}")
    assert not failed, "\n".join(failed[:20])
    assert len(disk.acked) == COPIES
    assert states.total() > 150


def _disk_before(home: Path) -> Disk:
    disk = Disk(home.parent)
    sources = Folder()
    for path in (home.parent / "sources").iterdir():
        data = path.read_bytes()
        sources.now[path.name] = File(bytearray(data), data)
    sources.sync()
    disk.top.now["sources"] = sources
    disk.top.sync()
    return disk
