"""The tests see bugs: each planted one turns a test red (mutants_put.py, mutants_sweep.py, mutants_evict.py)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from life import mutants_evict, mutants_put, mutants_sweep
from life.mutants_put import NOTHING, ROOT, Mutant, verdict, verdicts
from life.put_faults import LONG

NEEDS = ("strace",)
TABLES = {
    "put": (mutants_put.MUTANTS, mutants_put.SHORT),
    "evict": (mutants_evict.MUTANTS, mutants_evict.SHORT),
    "sweep": (mutants_sweep.MUTANTS, mutants_sweep.SHORT),
}


@pytest.mark.parametrize("what", TABLES)
def test_planted_bugs_are_seen(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    table, short = TABLES[what]
    chosen = [mutant for mutant in table if LONG or mutant.name in short]
    red, said = verdict(NOTHING, sorted({mutant.test for mutant in chosen})) if LONG else (False, "")
    assert not red, f"without a planted bug: {said}"  # by default the same tests run beside this one
    found = verdicts(chosen)
    with capsys.disabled():
        print(
            f"\n{what}: {sum(caught for _, caught, _ in found)} of {len(found)} planted bugs caught ({len(table)} with LONG_RUN=1)"
        )
    assert len(found) >= len(short)
    assert [mutant.name for mutant, caught, _ in found if not caught] == []


@pytest.mark.parametrize("what", TABLES)
def test_every_planted_bug_still_has_its_place(what: str) -> None:
    table, short = TABLES[what]
    assert misplaced(table) == []
    assert set(short) <= {mutant.name for mutant in table}


def misplaced(table: Sequence[Mutant]) -> list[tuple[str, str, str]]:
    texts = [(mutant.name, file, old) for mutant in table for file, old, _ in mutant.changes]
    return [text for text in texts if (ROOT / text[1]).read_text().count(text[2]) != 1]
