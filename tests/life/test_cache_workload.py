"""Reading ten times what the cache holds, while the daemon and a reader are killed again and again (cache_workload.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from life.cache_sims import hit_ratio_lru, hit_ratio_optimum
from life.cache_workload import lines, run
from life.put_faults import LONG


def test_invariants_31_to_34_under_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(tmp_path, seconds=60 if LONG else 10, objects=400 if LONG else 200, seed=7)
    with capsys.disabled():
        print("\n" + "\n".join(lines(report)))
    assert report.wrong == []
    assert report.reads > 100
    assert report.kills >= 2
    assert 0 < report.hits < report.reads
    assert report.last_bytes <= report.budget_bytes


def test_the_bounds_beside_it() -> None:
    """Plain LRU and the optimum, on traces whose answer is known."""
    sizes = dict.fromkeys("abcd", 1)
    loop = "abcabcabc"
    assert hit_ratio_lru(loop, sizes, 2) == 0
    assert hit_ratio_optimum(loop, sizes, 2) == pytest.approx(4 / 9)
    assert hit_ratio_lru("aabb", sizes, 1) == hit_ratio_optimum("aabb", sizes, 1) == 0.5
