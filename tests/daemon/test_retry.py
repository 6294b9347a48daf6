"""When to try again: pure functions."""

from __future__ import annotations

import itertools

import pytest

from ladingd.retry import FIRST_S, PERMANENT_FIRST_S, STORE_MAX_S, pause_s, store_pause_s

LONGEST_S = 900.0
DICE = [0.0, 0.25, 0.5, 0.999]


@pytest.mark.parametrize("roll", DICE)
def test_pauses_double_up_to_the_longest(roll: float) -> None:
    pauses = [pause_s(n, False, LONGEST_S, lambda: roll) for n in range(1, 40)]
    assert FIRST_S / 2 <= pauses[0] <= FIRST_S
    assert pauses == sorted(pauses)
    for earlier, later in itertools.pairwise(pauses[:9]):
        assert later == pytest.approx(2 * earlier)
    assert LONGEST_S / 2 <= pauses[-1] <= LONGEST_S


def test_jitter_spreads_over_the_upper_half() -> None:
    pauses = [pause_s(6, False, LONGEST_S, lambda roll=i / 100: roll) for i in range(100)]  # type: ignore[misc]
    assert min(pauses) == pytest.approx(8.0)
    assert max(pauses) == pytest.approx(16.0, rel=0.02)
    assert len(set(pauses)) == 100


@pytest.mark.parametrize("failures", [1, 2, 1_000, 10**9])
@pytest.mark.parametrize("permanent", [False, True])
def test_it_never_gives_up(failures: int, permanent: bool) -> None:
    for roll in DICE:
        for pause in (pause_s, store_pause_s):
            assert 0 < pause(failures, permanent, LONGEST_S, lambda r=roll: r) <= LONGEST_S  # type: ignore[misc]


@pytest.mark.parametrize("longest_s", [1.0, 60.0, 90.0, LONGEST_S])
@pytest.mark.parametrize("failures", [1, 2, 3, 50])
def test_what_somebody_must_mend_costs_one_attempt_a_minute_at_most(failures: int, longest_s: float) -> None:
    for roll in DICE:
        for pause in (pause_s, store_pause_s):
            assert pause(failures, True, longest_s, lambda r=roll: r) >= PERMANENT_FIRST_S  # type: ignore[misc]


def test_what_the_store_asks_for_is_the_least() -> None:
    assert pause_s(1, False, LONGEST_S, lambda: 0.5, asked_s=7.0) == 7.0
    assert pause_s(20, False, LONGEST_S, lambda: 0.5, asked_s=7.0) > 7.0
    assert store_pause_s(1, False, LONGEST_S, lambda: 0.5, asked_s=120.0) == 120.0


def test_no_pause_is_longer_than_the_longest_because_then_it_would_count_as_due() -> None:
    """A due time beyond now + the longest pause is taken for a clock that jumped."""
    for asked_s in (901.0, 3600.0, 1e12):
        assert pause_s(1, False, LONGEST_S, lambda: 0.5, asked_s=asked_s) == LONGEST_S
        assert store_pause_s(1, False, LONGEST_S, lambda: 0.5, asked_s=asked_s) == LONGEST_S


def test_a_store_that_is_away_is_looked_at_more_often_than_an_object() -> None:
    assert store_pause_s(50, False, LONGEST_S, lambda: 0.999) <= STORE_MAX_S
    assert store_pause_s(50, True, LONGEST_S, lambda: 0.999) > STORE_MAX_S
