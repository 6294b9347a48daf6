"""The copier, step by step: from claim to confirm, across crashes, failures and clocks that jump."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from lading_catalog import stores, tables
from lading_catalog.connection import open_catalog
from lading_catalog.errors import Damaged, Error, Full, Refused, Unavailable
from ladingd.workers.keep import WAL_TRUNCATE_BYTES, Keeper
from ladingd.workers.plan import Planner

from .rig import YEAR_MS, A, B, FakeStore, Rig

DOWN = Unavailable("nobody answers", reason="unreachable")
SLOW = Unavailable("slow down", reason="throttled")
NO_KEY = Refused("the key is unknown", reason="no_credentials", hint="set one")
NO_BUCKET = Refused("no such bucket", reason="no_bucket")
FULL = Full("no space left")
DENIED = Refused("access denied", reason="refused", hint="s3:PutObject is missing")


def always(error: Error) -> Callable[[str], Error | None]:
    return lambda key: error


def never(key: str) -> Error | None:
    return None


def test_claim_then_confirm(rig: Rig) -> None:
    medium = rig.put()
    key = rig.key(medium)
    fake = rig.fakes[A]
    rig.begin()
    fake.gate_before.clear()
    rig.until(lambda: fake.arrived == [key])
    assert rig.state(medium) == "copying"
    assert medium.state == "pending"
    fake.gate_before.set()
    assert rig.settle() is None
    (replica,) = medium.refresh().replicas
    assert (replica.state, replica.attempts, medium.state) == ("present", 1, "safe")
    assert replica.proof is not None
    assert (replica.proof.by, replica.proof.value) == ("put", medium.sha256)
    assert fake.objects == {key: b"medium 1"}


@pytest.mark.parametrize("moment", ["before the claim", "after the claim", "after the put", "after the confirm"])
def test_a_crash_between_any_two_effects(rig: Rig, moment: str) -> None:
    medium = rig.put()
    key = rig.key(medium)
    fake = rig.fakes[A]
    rig.begin()
    gate = {"after the claim": fake.gate_before, "after the put": fake.gate_after}.get(moment)
    if gate is not None:
        gate.clear()
        rig.until(lambda: fake.arrived == [key] and (moment == "after the claim" or key in fake.objects))
        assert rig.state(medium) == "copying"
    elif moment == "after the confirm":
        rig.settle()
    crashed = rig.workers[A]
    rig.begin()
    if gate is not None:
        assert rig.state(medium) == "wanted"
        gate.set()  # the dead life's request may still arrive, whenever it likes
    rig.settle()
    assert crashed.busy <= 1
    assert fake.objects == {key: b"medium 1"}
    assert set(fake.arrived) == {key}
    assert (rig.state(medium), rig.key(medium)) == ("present", key)
    assert len(fake.arrived) == (2 if gate is not None else 1)
    assert rig.conn.value("SELECT count(*) FROM replica") == 2


def test_the_confirm_of_an_old_life_is_refused(rig: Rig) -> None:
    medium = rig.put()
    fake = rig.fakes[A]
    rig.begin()
    fake.gate_after.clear()
    rig.until(lambda: len(fake.objects) == 1)
    old = rig.workers[A]
    fake.gate_before.clear()
    rig.begin()
    rig.until(lambda: len(fake.arrived) == 2)  # the new life has claimed it and hangs
    fake.gate_after.set()
    while not old._outcomes:
        assert rig.woken.wait(5)
    old.step(rig.clock.ms)
    assert old.busy == 0, "it had its outcome"
    assert rig.state(medium) == "copying", "and it did not count"
    fake.gate_before.set()
    rig.settle()
    assert rig.state(medium) == "present"


def test_the_release_of_an_old_life_is_refused(rig: Rig) -> None:
    medium = rig.put()
    fake = rig.fakes[A]
    fake.after = always(DOWN)
    rig.begin()
    fake.gate_after.clear()
    rig.until(lambda: len(fake.objects) == 1)
    old = rig.workers[A]
    fake.after = never
    fake.gate_before.clear()
    rig.begin()
    rig.until(lambda: len(fake.arrived) == 2)
    fake.gate_after.set()
    while not old._outcomes:
        assert rig.woken.wait(5)
    old.step(rig.clock.ms)
    assert rig.state(medium) == "copying"
    fake.gate_before.set()


def test_a_lost_reply_ends_in_one_object(rig: Rig) -> None:
    medium = rig.put()
    fake = rig.fakes[A]
    fake.after = always(DOWN)
    rig.begin().settle()
    assert rig.state(medium) == "wanted"
    fake.after = never
    rig.pass_time(2, 1)
    assert (rig.state(medium), len(fake.objects), len(fake.arrived)) == ("present", 1, 2)


@pytest.mark.parametrize(("error", "times"), [(DOWN, 1_000), (NO_KEY, 50)], ids=["unreachable", "no_credentials"])
def test_a_thousand_failures_later_it_still_tries(rig: Rig, error: Error, times: int) -> None:
    medium = rig.put()
    fake = rig.fakes[A]
    fake.before = always(error)
    rig.begin().settle()
    for tried in range(1, times):
        assert len(fake.arrived) == tried
        gate = rig.row().next_try_at_ms
        assert gate is not None
        assert 0 < gate - rig.clock.ms <= rig.retry_max_s * 1000
        rig.clock.ms = gate
        rig.settle()
    row = rig.row()
    assert row.error_n == times
    assert row.next_try_at_ms is not None
    fake.before = never
    rig.clock.ms = row.next_try_at_ms
    rig.settle()
    assert medium.refresh().state == "safe"
    assert medium.replicas[0].attempts == times + 1


@pytest.mark.parametrize("error", [DOWN, SLOW, NO_KEY, NO_BUCKET, FULL], ids=lambda e: e.reason)
def test_a_failure_of_the_store_closes_the_gate(rig: Rig, error: Error) -> None:
    media = [rig.put() for _ in range(20)]
    fake = rig.fakes[A]
    fake.before = always(error)
    rig.begin().settle()
    first = len(fake.arrived)
    assert first <= 3 * rig.concurrency, "what had been claimed, and no more"
    row = rig.row()
    assert (row.error_n, row.error_code) == (1, error.reason), "many transfers in flight, one failure of the store"
    assert row.next_try_at_ms is not None
    assert row.next_try_at_ms - rig.clock.ms <= (60_000 if error.permanent else 500)
    for trial in range(1, 6):
        gate = rig.row().next_try_at_ms
        assert gate is not None
        rig.clock.ms = gate - 100
        rig.settle()
        assert len(fake.arrived) == first + trial - 1, "closed"
        rig.clock.ms = gate
        rig.settle()
        assert len(fake.arrived) == first + trial, "one trial and only one"
        assert rig.row().error_n == 1 + trial
    pause_ms = (rig.row().next_try_at_ms or 0) - rig.clock.ms
    assert pause_ms >= (450_000 if error.permanent else 8_000), "the pauses grew from trial to trial"
    fake.before = never
    rig.clock.ms += pause_ms
    rig.settle()
    assert {m.refresh().state for m in media} == {"safe"}, "its success lets all go at once"
    assert (rig.row().state, rig.row().next_try_at_ms, rig.row().error_n) == ("ok", None, 0)
    assert len(fake.objects) == 20


def test_a_store_that_cannot_even_be_opened(rig: Rig) -> None:
    medium = rig.put()
    rig.probed = set()
    rig.open_error = always(DOWN)
    rig.begin().settle()
    fake = rig.fakes[A]
    assert (fake.opened, fake.arrived, rig.row().state) == (1, [], "unreachable")
    rig.settle()
    assert fake.opened == 1
    rig.open_error = never
    rig.pass_time(1, 1)
    assert (fake.opened, medium.refresh().state) == (2, "safe")
    assert rig.row().probe == {"proof": "checksum"}


def test_retry_after_is_heard_whatever_it_says(rig: Rig) -> None:
    """Longer than the longest pause is not "due because the clock jumped"."""
    rig.put()
    fake = rig.fakes[A]
    fake.before = always(Unavailable("later", reason="throttled", retry_after_s=7200.0))
    rig.begin().settle()
    assert len(fake.arrived) == 1
    rig.pass_time(600, 60)
    assert len(fake.arrived) == 1
    rig.pass_time(330, 30)
    assert len(fake.arrived) == 2


@pytest.mark.parametrize("reason", ["refused", "source_changed", "damaged"])
@pytest.mark.parametrize("retry_max_s", [10.0, 60.0, 900.0])
def test_one_bad_object_blocks_no_other(rig: Rig, reason: str, retry_max_s: float) -> None:
    rig.retry_max_s = retry_max_s
    bad = rig.put()
    key = rig.key(bad)
    fake = rig.fakes[A]
    if reason == "source_changed":
        os.truncate(rig.local(bad), 3)
    else:
        error: Error = DENIED if reason == "refused" else Damaged("other bytes arrived")
        fake.before = lambda k: error if k == key else None
    rig.begin().settle()
    minutes = 30
    for _ in range(minutes):
        good = rig.put()
        rig.settle()
        assert good.refresh().state == "safe", "at once, whatever the other one does"
        rig.pass_time(60, 10)
    attempts = fake.arrived.count(key)
    assert attempts >= 2, "it is tried again"
    if reason != "damaged":
        assert attempts <= minutes + 1
        assert bad.refresh().state == "blocked"
    error_seen = bad.refresh().replicas[0].error
    assert error_seen is not None
    assert error_seen["code"] == reason
    assert key not in fake.objects
    assert rig.row().state == "ok"


def test_alone_a_refused_object_does_not_close_the_gate(rig: Rig) -> None:
    """Three refusals of one object are no three objects refused."""
    bad = rig.put()
    key = rig.key(bad)
    fake = rig.fakes[A]
    fake.before = lambda k: DENIED if k == key else None
    rig.begin().settle()
    rig.pass_time(3 * 3600, 120)
    assert fake.arrived.count(key) > 5
    assert rig.row().state == "ok"
    good = rig.put()
    rig.settle()
    assert good.refresh().state == "safe"


def test_three_refused_objects_in_a_row_close_the_gate(rig: Rig) -> None:
    media = [rig.put() for _ in range(30)]
    fake = rig.fakes[A]
    fake.before = always(DENIED)
    rig.begin().settle()
    assert rig.row().state == "blocked"
    assert len(fake.arrived) <= 3 * rig.concurrency
    assert {m.refresh().state for m in media} == {"blocked"}
    fake.before = never
    rig.pass_time(61, 61)
    assert {m.refresh().state for m in media} == {"safe"}


def test_a_trial_that_fails_for_its_own_reasons_does_not_spin(rig: Rig) -> None:
    """The store was away; what is left to try has changed on this disk. That says nothing of the store, and must not be asked again
    and again."""
    good, bad = rig.put(), rig.put()
    fake = rig.fakes[A]
    os.truncate(rig.local(bad), 1)
    bad_key = rig.key(bad)
    fake.before = always(DOWN)
    rig.begin().settle()
    good.delete()
    fake.before = never
    rig.pass_time(600, 1)
    assert fake.arrived.count(bad_key) <= 12
    other = rig.put()
    rig.settle()
    assert other.refresh().state == "safe"


def test_a_destination_that_is_away_holds_up_no_other(rig: Rig) -> None:
    rig.fakes[A].before = always(DOWN)
    both = [rig.put(A, B) for _ in range(10)]
    rig.begin().settle()
    assert {rig.state(m, B) for m in both} == {"present"}
    assert {rig.state(m, A) for m in both} == {"wanted"}
    assert {m.state for m in both} == {"pending"}
    rig.fakes[A].gate_before.clear()  # and one that hangs neither
    rig.clock.forward(40)
    rig.until(lambda: rig.workers[A].busy > 0)
    more = [rig.put(B) for _ in range(20)]
    rig.until(lambda: all(m.refresh().state == "safe" for m in more))
    rig.fakes[A].before = never
    rig.fakes[A].gate_before.set()
    rig.settle()
    assert {m.refresh().state for m in both} == {"safe"}


def test_oldest_first_within_a_priority(rig: Rig) -> None:
    rig.concurrency = 1
    media = []
    for priority in ("normal", "urgent", "bulk") * 5:
        rig.clock.forward(1)
        media.append((priority, rig.put(priority=priority)))
    keys = {rig.key(m): (priority, i) for i, (priority, m) in enumerate(media)}
    rig.begin().settle()
    order = [keys[key] for key in rig.fakes[A].arrived]
    for priority in ("urgent", "normal", "bulk"):
        numbers = [i for p, i in order if p == priority]
        assert numbers == sorted(numbers)
        assert len(numbers) == 5


def test_a_failed_object_goes_behind_those_that_wait(rig: Rig) -> None:
    rig.concurrency = 1
    first = rig.put()
    key = rig.key(first)
    fake = rig.fakes[A]
    fake.before = lambda k: Damaged("once") if k == key and fake.arrived.count(key) == 1 else None
    rig.clock.forward(1)
    others = [rig.put() for _ in range(8)]
    rig.begin().settle()
    assert {m.refresh().state for m in others} == {"safe"}
    rig.pass_time(1, 1)
    assert first.refresh().state == "safe"


def test_each_priority_has_its_share(rig: Rig) -> None:
    rig.concurrency = 16
    bulk = {rig.key(rig.put(priority="bulk")) for _ in range(10)}
    normal = {rig.key(rig.put()) for _ in range(60)}
    rig.clock.forward(1)
    urgent = {rig.key(rig.put(priority="urgent")) for _ in range(60)}
    rig.begin()
    fake = rig.fakes[A]
    fake.gate_before.clear()
    rig.pace.slice = 32
    rig.until(lambda: rig.workers[A].busy > 1)
    claimed = {k for (k,) in rig.conn.rows("SELECT key FROM replica WHERE state = 'copying'")}
    assert 32 <= len(claimed) <= 48
    assert len(claimed & urgent) > 16, "the urgent ones have most places"
    assert len(claimed & bulk) == len(claimed & normal) == len(claimed) // 8, "an eighth for each of the others"


@pytest.mark.parametrize("years", [-10, 10])
@pytest.mark.parametrize("what", ["the store", "one object", "a put from the future"])
def test_a_clock_that_jumps_stalls_nothing(rig: Rig, years: int, what: str) -> None:
    fake = rig.fakes[A]
    if what == "a put from the future":
        rig.clock.ms -= years * YEAR_MS
        media = [rig.put() for _ in range(5)]
        rig.begin()
    else:
        media = [rig.put() for _ in range(5)]
        error = NO_BUCKET if what == "the store" else DENIED
        key = rig.key(media[0])
        fake.before = lambda k: error if what == "the store" or k == key else None
        rig.begin().settle()
        rig.pass_time(180, 60)
        fake.before = never
    rig.clock.ms += years * YEAR_MS
    rig.settle()
    assert {m.refresh().state for m in media} == {"safe"}
    later = rig.put()
    rig.settle()
    assert later.refresh().state == "safe"


def test_what_was_deleted_meanwhile_is_not_sent(rig: Rig) -> None:
    keep, gone = rig.put(), rig.put()
    twin = rig.put(data=b"medium 2")  # the same object as `gone`
    only = rig.put()
    gone.delete()
    only.delete()
    rig.begin().settle()
    assert sorted(rig.fakes[A].objects.values()) == [b"medium 1", b"medium 2"], "the twin still needs it"
    assert (keep.refresh().state, twin.refresh().state, only.refresh().state) == ("safe", "safe", "deleted")


def test_what_is_deleted_on_the_way_is_confirmed_and_unwanted(rig: Rig) -> None:
    medium = rig.put()
    key = rig.key(medium)
    fake = rig.fakes[A]
    fake.gate_after.clear()
    rig.begin().until(lambda: bool(fake.objects))
    medium.delete()
    fake.gate_after.set()
    rig.settle()
    assert rig.conn.rows("SELECT key, reason FROM unwanted WHERE store_id <> 0") == [(key, "nothing needs it")]
    assert fake.arrived == [key]


def test_a_put_of_the_same_bytes_later_keeps_the_same_object(rig: Rig) -> None:
    first = rig.put(data=b"same")
    rig.begin().settle()
    first.delete()
    second = rig.put(data=b"same")
    rig.settle()
    assert (second.refresh().state, len(rig.fakes[A].arrived)) == ("safe", 1)
    assert rig.conn.rows("SELECT key FROM unwanted WHERE store_id <> 0") == []


@pytest.mark.parametrize(
    ("error", "store_state", "media_state"),
    [
        (DOWN, "unreachable", "pending"),
        (SLOW, "throttled", "pending"),
        (NO_KEY, "blocked", "blocked"),
        (NO_BUCKET, "blocked", "blocked"),
        (FULL, "full", "blocked"),
    ],
    ids=lambda v: v.reason if isinstance(v, Error) else "",
)
def test_media_follow_their_store(rig: Rig, error: Error, store_state: str, media_state: str) -> None:
    media = [rig.put() for _ in range(70)]
    fake = rig.fakes[A]
    fake.before = always(error)
    rig.begin().settle()
    assert rig.row().state == store_state
    assert {m.refresh().state for m in media} == {media_state}
    assert rig.cat.status()["media"] | {"deleted": 0} == {
        "total": 70, "safe": 0, "pending": 0, "blocked": 0, "local_only": 0, "lost": 0, "deleted": 0, media_state: 70,
    }  # fmt: skip
    late = rig.put()
    rig.settle()
    assert rig.row().state == store_state
    fake.gate_before.clear()
    fake.before = never
    rig.clock.forward(61)
    rig.until(lambda: bool(fake.arrived))
    fake.gate_before.set()
    rig.settle()
    assert {m.refresh().state for m in [*media, late]} == {"safe"}


def test_a_put_into_a_blocked_destination_is_blocked_too(rig: Rig) -> None:
    rig.put()
    rig.fakes[A].before = always(NO_BUCKET)
    rig.begin().settle()
    late = rig.put()
    rig.settle()
    assert late.refresh().state == "blocked"


def test_what_waits_is_unblocked_when_its_store_is_away_and_no_longer_misconfigured(rig: Rig) -> None:
    media = [rig.put() for _ in range(3)]
    fake = rig.fakes[A]
    fake.before = always(NO_KEY)
    rig.begin().settle()
    fake.before = always(DOWN)
    rig.pass_time(61, 61)
    assert rig.row().state == "unreachable"
    assert {m.refresh().state for m in media} == {"pending"}


def test_a_paused_destination_gets_nothing(rig: Rig) -> None:
    medium = rig.put(A, B)
    with rig.conn.writing() as conn:
        conn.run("UPDATE store SET paused = 1 WHERE uri = ?", (A,))
    rig.begin().settle()
    assert (rig.fakes[A].arrived, rig.state(medium, B)) == ([], "present")
    with rig.conn.writing() as conn:
        conn.run("UPDATE store SET paused = 0 WHERE uri = ?", (A,))
    rig.settle()
    assert medium.refresh().state == "safe"


def test_somebody_tests_a_destination_and_the_gate_opens(rig: Rig) -> None:
    medium = rig.put()
    fake = rig.fakes[A]
    fake.before = always(NO_KEY)
    rig.begin().settle()
    fake.before = never
    rig.settle()
    assert len(fake.arrived) == 1
    with rig.conn.writing() as conn:
        stores.tested(conn, rig.row().id, {"proof": "checksum", "round_trip_s": 1})
    rig.settle()
    assert medium.refresh().state == "safe"


def test_a_step_that_finds_nothing_writes_nothing(rig: Rig) -> None:
    for _ in range(5):
        rig.put()
    bad = rig.put()
    os.truncate(rig.local(bad), 1)
    rig.begin().settle()
    planner, keeper = Planner(rig.conn, rig.pace), Keeper(rig.conn, rig.pace, 3600.0)
    while planner.step(rig.clock.ms) is not None:
        pass
    keeper.step(rig.clock.ms)
    other = open_catalog(rig.home, make=False)
    version, wal = other.data_version(), rig.conn.wal_bytes()
    for _ in range(50):
        rig.clock.forward(0.5)
        rig.step()
        planner.step(rig.clock.ms)
        keeper.step(rig.clock.ms)
    assert (other.data_version(), rig.conn.wal_bytes()) == (version, wal)
    assert len(rig.fakes[A].arrived) == 6
    other.close()


def test_slow_commits_do_not_stop_the_claims(rig: Rig) -> None:
    """On a slow disk the slice shrinks below the number of threads."""
    rig.concurrency = 16
    rig.pace.slice = 8
    media = [rig.put() for _ in range(40)]
    rig.begin().settle()
    assert {m.refresh().state for m in media} == {"safe"}


def test_an_unforeseen_exception_costs_one_object_only(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = rig.put(), rig.put()
    key = rig.key(bad)
    put = FakeStore.put

    def broken(self: FakeStore, k: str, upload: object) -> object:
        if k == key:
            raise ZeroDivisionError("with canary-secret-in-it")
        return put(self, k, upload)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeStore, "put", broken)
    rig.begin().settle()
    assert (good.refresh().state, rig.state(bad)) == ("safe", "wanted")
    assert "ZeroDivisionError" in (bad.replicas[0].error or {})["message"]
    assert "canary" not in str(bad.shape)


def test_the_planner_moves_old_media_to_a_new_destination(rig: Rig) -> None:
    old = [rig.cat.put(f"{i}".encode(), name=f"{i}") for i in range(300)]
    asked = rig.cat.put(b"asked", name="asked", destination=[B])
    rig.cat.set_destination(tables.DEFAULT_TABLE, tables.DEFAULT_COLUMN, A)
    planner = Planner(rig.conn, rig.pace)
    steps = 0
    while planner.step(rig.clock.ms) is not None:
        steps += 1
    assert 2 <= steps < 300, "in slices"
    rig.begin().settle()
    assert {m.refresh().state for m in old} == {"safe"}
    assert len(rig.fakes[A].objects) == 300
    assert [r.destination for r in asked.refresh().replicas] == [B]


def test_the_keeper_keeps_the_log_and_the_journal_small(rig: Rig) -> None:
    keeper = Keeper(rig.conn, rig.pace, journal_keep_s=3600.0)
    for _ in range(30):
        rig.put()
    assert rig.conn.value("SELECT count(*) FROM journal") == 30
    rig.clock.forward(3700)
    rig.put()
    while keeper.step(rig.clock.ms) == 0:
        pass
    assert rig.conn.value("SELECT count(*) FROM journal") == 1
    with rig.conn.writing() as conn:
        conn.run("CREATE TABLE ballast (x BLOB)")
        conn.run("INSERT INTO ballast VALUES (zeroblob(?))", (WAL_TRUNCATE_BYTES + 1_000_000,))
    assert rig.conn.wal_bytes() > WAL_TRUNCATE_BYTES
    keeper.dirty = True
    rig.clock.forward(2)
    keeper.step(rig.clock.ms)
    assert rig.conn.wal_bytes() == 0
