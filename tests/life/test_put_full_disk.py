"""A disk without room, and one without inodes: a real one, mounted for the test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from life import put_full
from life.put_process import ROOTS, environment

NEEDS = ("mounts",)


def states_of(what: str, folder: Path) -> list[dict[str, Any]]:
    run = subprocess.run(
        ["unshare", "-m", sys.executable, str(put_full.__file__), str(folder), what, *ROOTS],
        env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, f"NOT SHOWN: a tmpfs could not be mounted in a namespace, or the program failed: {run.stderr}"
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_a_put_refuses_before_the_disk_is_full(tmp_path: Path) -> None:
    (said,) = states_of("min_free", tmp_path)
    assert said["put"] > 5
    assert "stay free (min_free)" in said["text"]
    assert 0.2 < said["free_share"] < 0.35
    assert said["there"] == said["put"] - 1


def test_the_catalog_writes_on_a_disk_that_somebody_has_filled(tmp_path: Path) -> None:
    (said,) = states_of("ballast", tmp_path)
    assert said == {"made": True, "before": "CatalogFull", "released": True, "pinned": True}


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_invariant_3_a_full_disk(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With 0, 2, 4, … pages left, and 0 to 6 inodes: an error in words, nothing left, and once there is room all is well."""
    states = states_of(what, tmp_path)
    assert len(states) == 2 * len(put_full.STATES[what])
    assert [state for state in states if state["wrong"]] == []
    raised = [state for state in states if state["raised"]]
    with capsys.disabled():
        print(f"\n{what}: {len(states)} states, {len(raised)} raised")
    assert 3 <= len(raised) < len(states), "the disk was always full, or never"
    assert [
        s
        for s in raised
        if s["raised"] not in ("Full", "CatalogFull", "CatalogError") or ("pace" not in s["text"] and "full" not in s["text"])
    ] == []
