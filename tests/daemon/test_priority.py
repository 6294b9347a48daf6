"""Who goes first: urgent before normal before bulk, the oldest first within a class, and nothing starves while others pass it."""

from __future__ import annotations

import time

import pytest

from lading_catalog.errors import Refused, Unavailable

from .rig import A, Rig


def arrived(rig: Rig, media: list[object]) -> list[int]:
    """In which order these came to the store, by their index."""
    keys = [rig.key(m) for m in media]  # type: ignore[arg-type]
    return [keys.index(k) for k in rig.fakes[A].arrived if k in keys]


def test_the_oldest_first_within_a_class(rig: Rig) -> None:
    rig.concurrency = 1
    media = [rig.put(priority="normal") for _ in range(12)]
    rig.begin().settle()
    assert arrived(rig, list(media)) == list(range(12))


@pytest.mark.parametrize("late", ["normal", "bulk"])
def test_invariant_30_nothing_starves_under_a_stream_of_urgent_puts(rig: Rig, late: str) -> None:
    """More urgent ones come than the store takes; what is less urgent gets its share all the same, the oldest of it first."""
    rig.concurrency = 4
    rig.put()
    rig.begin().settle()
    waiting = [rig.put(priority=late) for _ in range(6)]
    sent = len(rig.fakes[A].arrived)
    for _ in range(40):
        for _ in range(20):
            rig.put(priority="urgent")
        sent += 10
        rig.until(lambda: len(rig.fakes[A].arrived) >= sent)  # noqa: B023  (called at once)
    assert rig.cat.status()["destinations"][0]["owed"]["objects"] > 100, "the store has kept up: nothing was shown"
    assert arrived(rig, list(waiting)) == list(range(6))


def test_invariant_30_what_failed_once_is_not_passed_for_ever(rig: Rig) -> None:
    """A retried one is due later than what came meanwhile, by its pause and no more."""
    rig.concurrency = 1
    failing = {"on": True}
    first = rig.put()
    rig.begin()
    key = rig.key(first)
    rig.fakes[A].before = lambda k: Refused("not yet") if k == key and failing["on"] else None
    rig.settle()
    failing["on"] = False
    for _ in range(200):
        rig.put(priority="urgent")
        rig.put()
        rig.settle()
        rig.clock.forward(1)
        if rig.state(first) == "present":
            break
    assert rig.state(first) == "present"


def test_what_is_stuck_is_named_in_status(rig: Rig) -> None:
    rig.fakes[A].before = lambda key: Unavailable("away")
    old = rig.put()
    rig.clock.forward(60)
    rig.put()
    rig.begin().settle()
    assert rig.cat.status()["destinations"][0]["owed"]["oldest"] == {"id": old.id, "name": "1.txt"}
    assert old.id not in " ".join(rig.cat.status()["reasons"])
    rig.clock.forward(25 * 3600)
    rig.settle()
    status = rig.cat.status()
    assert status["verdict"] == "at_risk"
    assert f"The oldest is 1.txt ({old.id})." in status["reasons"][0]


@pytest.mark.parametrize("late", ["normal", "bulk"])
def test_invariant_30_nothing_starves_where_one_goes_at_a_time(rig: Rig, late: str) -> None:
    """Each that is finished makes room for one, and more urgent ones wait than can be sent: every eighth place is for the others."""
    rig.concurrency = 1
    rig.fakes[A].before = lambda key: time.sleep(0.003)
    rig.put()
    rig.begin().settle()
    waiting = [rig.put(priority=late) for _ in range(6)]
    rig.cat.put_many([(f"urgent {n}".encode(), f"u{n}") for n in range(200)], destination=A, priority="urgent")
    rig.until(lambda: len(rig.fakes[A].arrived) >= 150)
    assert arrived(rig, list(waiting)) == list(range(6))


def test_what_is_blocked_gets_an_eighth_where_one_goes_at_a_time(rig: Rig) -> None:
    """26: it blocks no other, and is not held back for ever either."""
    rig.concurrency = 1
    rig.fakes[A].before = lambda key: time.sleep(0.003)
    rig.put()
    rig.begin().settle()
    stuck = [rig.put(priority=p) for p in ("urgent", "bulk") for _ in range(20)]
    with rig.conn.writing(durable=False) as conn:
        conn.run("UPDATE replica SET blocked = 1 WHERE state = 'wanted'")
    rig.cat.put_many([(f"good {n}".encode(), f"g{n}") for n in range(200)], destination=A)
    rig.until(lambda: len(rig.fakes[A].arrived) >= 161)
    came = arrived(rig, list(stuck))
    assert 16 <= len(came) <= 24, "not an eighth of 160"
    assert any(i >= 20 for i in came), "of the blocked ones the less urgent starve"
