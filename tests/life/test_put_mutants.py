"""The tests of the durable put see bugs: each planted one turns a test red (mutants_put.py)."""

from __future__ import annotations

import pytest

from life.mutants_put import MUTANTS, NOTHING, ROOT, SHORT, verdict, verdicts
from life.put_faults import LONG

NEEDS = ("strace",)


def test_planted_bugs_are_seen(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = [mutant for mutant in MUTANTS if LONG or mutant.name in SHORT]
    red, said = verdict(NOTHING, sorted({mutant.test for mutant in chosen})) if LONG else (False, "")
    assert not red, f"without a planted bug: {said}"  # by default the same tests run beside this one
    found = verdicts(chosen)
    with capsys.disabled():
        print(f"\n{sum(caught for _, caught, _ in found)} of {len(found)} planted bugs caught ({len(MUTANTS)} with LONG_RUN=1)")
    assert len(found) >= len(SHORT)
    assert [mutant.name for mutant, caught, _ in found if not caught] == []


def test_every_planted_bug_still_has_its_place() -> None:
    texts = [(mutant.name, file, old) for mutant in MUTANTS for file, old, _ in mutant.changes]
    missing = [text for text in texts if (ROOT / text[1]).read_text().count(text[2]) != 1]
    assert missing == []
    assert set(SHORT) <= {mutant.name for mutant in MUTANTS}
