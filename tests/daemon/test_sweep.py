"""The collector: what nothing needs any more is deleted, and never anything else. The numbers are those of the invariants in
docs/testing.md."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lading
from lading_catalog import clock, doorbell, ownership, sweeping
from lading_catalog.config import load
from lading_catalog.connection import CATALOG_FILE
from lading_catalog.errors import Error, Missing, Refused, Unavailable
from ladingd import owner
from ladingd.cap import Cap
from ladingd.stores.base import Entry

from .rig import YEAR_MS, A, B
from .sweep_rig import GRACE_S, HOUR_S, SweepRig

Make = Callable[..., SweepRig]
GRACE = GRACE_S + 1


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[SweepRig] = []

    def new(name: str = "home", **rules: object) -> SweepRig:
        made.append(SweepRig(tmp_path / name, **rules))  # type: ignore[arg-type]
        return made[-1]

    yield new
    for rig in made:
        rig.close()


@pytest.fixture
def sweep(make: Make) -> SweepRig:
    return make()


def brought(rig: SweepRig, n: int = 3, *uris: str) -> list[lading.Medium]:
    """Media that are in their destinations."""
    media = rig.many(n, *uris)
    rig.begin().settle()
    assert all(set(rig.replicas(m)) == {"present"} for m in media)
    return media


# -- 37: only for an aged tombstone of exactly that replica ----------------------------------------------------------------------------


def test_a_deleted_medium_goes_when_its_grace_is_over_and_not_before(sweep: SweepRig) -> None:
    gone, kept = brought(sweep, 2)
    key = sweep.key(gone)
    gone.delete()
    sweep.settle()
    sweep.forward(GRACE_S - 10)
    assert sweep.a().deleted == []
    sweep.forward(20)
    assert sweep.a().deleted == [key]
    assert list(sweep.data()) == [sweep.key(kept)]
    assert sweep.conn.rows("SELECT state FROM replica WHERE key = ?", (key,)) == []


def test_what_another_medium_needs_stays(sweep: SweepRig) -> None:
    first, second = sweep.put(data=b"the same"), sweep.put(data=b"the same")
    sweep.begin().settle()
    first.delete()
    sweep.over()
    assert sweep.a().deleted == []
    assert list(sweep.data()) == [sweep.key(second)]


def test_an_undelete_in_time_keeps_it(sweep: SweepRig) -> None:
    (medium,) = brought(sweep, 1)
    medium.delete()
    sweep.settle()
    sweep.forward(GRACE_S - 10)
    again = sweep.put(data=b"medium 1")
    sweep.forward(GRACE)
    assert sweep.a().deleted == []
    assert sweep.replicas(again) == ["present"]


def test_what_was_never_sent_is_forgotten_without_a_request(sweep: SweepRig) -> None:
    medium = sweep.put()
    medium.delete()
    sweep.begin().over()
    assert (sweep.a().arrived, sweep.a().deleted) == ([], [])
    assert sweep.conn.value("SELECT count(*) FROM replica WHERE store_id = 1") == 0


def test_one_marker_is_read_and_written_for_a_sweep(sweep: SweepRig) -> None:
    media = brought(sweep, 5)
    for medium in media:
        medium.delete()
    sweep.a().requests.clear()
    sweep.over()
    assert [what for what, _ in sweep.a().requests] == ["read", "write", "delete"]
    assert len(sweep.a().requests[-1][1]) == 5


def test_a_sweep_with_nothing_to_do_asks_and_writes_nothing(sweep: SweepRig) -> None:
    brought(sweep, 2)
    sweep.a().requests.clear()
    before = sweep.pace.transactions
    for _ in range(50):
        sweep.forward(3600)
    assert sweep.a().requests == []
    assert sweep.pace.transactions == before


def test_the_catalog_clock_is_kept_only_while_something_waits(sweep: SweepRig) -> None:
    (medium,) = brought(sweep, 1)
    medium.delete()
    sweep.settle()
    for _ in range(10):
        sweep.forward(3600)
    assert clock.read(sweep.conn) == pytest.approx(sweep.catalog_clock.ms, abs=3_600_000)
    assert clock.read(sweep.conn) > 8 * 3_600_000


# -- the marker: 37, 38, 18 --------------------------------------------------------------------------------------------------------------


def test_the_first_sweep_writes_a_marker_and_each_one_a_fresh_token(sweep: SweepRig) -> None:
    tokens = []
    for medium in brought(sweep, 3):
        medium.delete()
        sweep.over()
        tokens.append(sweep.token())
    assert None not in tokens
    assert len(set(tokens)) == 3


@pytest.mark.parametrize("found", [b'{"token": "somebody else"}', b"garbage", b"", b'{"token": ""}'])
def test_another_token_stops_the_sweep(sweep: SweepRig, found: bytes) -> None:
    first, second = brought(sweep, 2)
    first.delete()
    sweep.over()
    sweep.a().objects[owner.key(sweep.catalog_id)] = found
    second.delete()
    sweep.over()
    assert len(sweep.a().deleted) == 1
    assert sweep.rest() == "owner"
    assert sweep.a().objects[owner.key(sweep.catalog_id)] == found
    status = sweep.cat.status()
    assert status["verdict"] == "at_risk"
    assert f"lading destination adopt {A}" in status["deletes"]["resting"][0]["hint"]


@pytest.mark.parametrize("found", [b'{"token": "somebody else"}', b"garbage", b"", b'{"token": ""}'])
def test_a_fresh_catalog_stops_at_a_marker_that_is_there(sweep: SweepRig, found: bytes) -> None:
    """One that has never written a token: a copy or a backup from before its first sweep."""
    (medium,) = brought(sweep, 1)
    sweep.a().objects[owner.key(sweep.catalog_id)] = found
    medium.delete()
    sweep.over()
    assert (sweep.a().deleted, sweep.rest()) == ([], "owner")


def test_a_marker_that_is_gone_stops_the_sweep(sweep: SweepRig) -> None:
    """An emptied or another bucket: absence is never a command."""
    first, second = brought(sweep, 2)
    first.delete()
    sweep.over()
    del sweep.a().objects[owner.key(sweep.catalog_id)]
    second.delete()
    sweep.over()
    assert (len(sweep.a().deleted), sweep.rest()) == (1, "owner")


def test_adopt_lets_it_go_on(sweep: SweepRig) -> None:
    first, second = brought(sweep, 2)
    first.delete()
    sweep.over()
    sweep.a().objects[owner.key(sweep.catalog_id)] = b'{"token": "somebody else"}'
    second.delete()
    sweep.over()
    sweep.cat.sweeps.adopt(A)
    sweep.settle()
    assert len(sweep.a().deleted) == 2
    assert sweep.rest() is None
    assert sweep.token() not in (None, "somebody else")


@pytest.mark.parametrize("cut", ["before the write", "after the write"])
def test_a_crash_around_the_write_of_the_marker_is_no_foreign_owner(sweep: SweepRig, cut: str) -> None:
    first, second = brought(sweep, 2)
    first.delete()
    sweep.over()
    second.delete()
    sweep.settle()
    if cut == "before the write":
        sweep.a().fail["write"] = lambda: Unavailable("cut")
    else:
        real = sweep.a().write

        def lost(key: str, data: bytes) -> None:
            real(key, data)
            raise Unavailable("the reply was lost")

        sweep.a().write = lost  # type: ignore[method-assign]
    sweep.forward(GRACE)
    assert len(sweep.a().deleted) == 1
    sweep.a().fail.clear()
    sweep.a().__dict__.pop("write", None)
    sweep.begin().settle()  # another life
    assert len(sweep.a().deleted) == 2


def twin(rig: SweepRig, make: Make, name: str = "twin") -> SweepRig:
    """A copy of the whole home, with the same stores behind it."""
    rig.conn.checkpoint(truncate=True)
    shutil.copytree(rig.home, rig.home.parent / name)
    other = make(name)
    other.fakes = rig.fakes
    other.clock.ms = rig.clock.ms
    return other.begin()


def test_a_copied_catalog_that_has_fallen_behind_deletes_nothing(sweep: SweepRig, make: Make) -> None:
    """18: an older twin that wakes up. What it takes for deleted may be needed by the one that went on."""
    first, second = brought(sweep, 2)
    first.delete()
    sweep.over()
    second.delete()
    sweep.settle()
    old = twin(sweep, make)
    again = sweep.put(data=b"medium 2")  # the tombstone is taken away here, and not there
    third = sweep.put()
    sweep.settle()
    third.delete()
    sweep.over()  # this sweep has rotated the token
    deleted = list(sweep.a().deleted)
    old.over()
    old.forward(30 * GRACE_S)
    assert sweep.a().deleted == deleted
    assert old.rest() == "owner"
    assert sweep.key(again) in sweep.a().objects


def test_a_catalog_in_another_file_forgets_its_tokens(sweep: SweepRig) -> None:
    """A copy or a restored backup, also one that holds the newest token."""
    first, second = brought(sweep, 2)
    inode = (sweep.home / CATALOG_FILE).stat().st_ino
    with sweep.conn.writing() as conn:
        assert ownership.same_file(conn, inode)
    first.delete()
    sweep.over()
    with sweep.conn.writing() as conn:
        assert not ownership.same_file(conn, inode + 1)
        assert ownership.same_file(conn, inode + 1)
    second.delete()
    sweep.over()
    assert (len(sweep.a().deleted), sweep.rest()) == (1, "owner")


def test_an_empty_and_a_fresh_catalog_delete_nothing(sweep: SweepRig, make: Make) -> None:
    """38: the same destination, full of another catalog's objects."""
    brought(sweep, 5)
    before = dict(sweep.a().objects)
    empty = make("empty")
    empty.fakes = sweep.fakes
    empty.begin().forward(100 * GRACE_S)
    fresh = make("fresh")
    fresh.fakes = sweep.fakes
    fresh._n = 100
    fresh.put(B)
    fresh.begin().forward(100 * GRACE_S)
    assert sweep.a().deleted == []
    assert sweep.a().objects == before


@pytest.mark.parametrize("error", [Unavailable("away"), Refused("no"), Missing("gone"), Error("what?")])
@pytest.mark.parametrize("where", ["read", "write"])
def test_an_error_anywhere_before_the_first_delete_stops_the_sweep(sweep: SweepRig, where: str, error: Error) -> None:
    """38."""
    (medium,) = brought(sweep, 1)
    medium.delete()
    sweep.settle()
    sweep.a().fail[where] = lambda: error
    sweep.over()
    assert sweep.a().deleted == []
    assert sweep.conn.value("SELECT state FROM replica WHERE store_id = 1") == "present"
    assert sweep.rest() == error.reason
    sweep.a().fail.clear()
    sweep.forward(3600)
    assert (sweep.opened_anew > 0) == isinstance(error, Refused), "credentials are read again where they were refused"
    assert len(sweep.a().deleted) == 1
    assert sweep.rest() is None


# -- 39: the cap -------------------------------------------------------------------------------------------------------------------------


def test_above_the_cap_nothing_goes_before_somebody_confirms_the_plan(make: Make) -> None:
    rig = make(cap=Cap(150, 1.0))
    media = brought(rig, 200)
    for medium in media[:160]:
        medium.delete()
    rig.over()
    rig.forward(10 * GRACE_S)
    assert rig.a().deleted == []
    assert rig.rest() == "cap"
    (plan,) = rig.cat.sweeps.plans()
    assert (plan["objects"], plan["destination"], plan["confirmed_at"]) == (160, A, None)
    assert rig.cat.status()["deletes"]["stopped_plan"] == plan["id"]
    assert {one["plan"] for one in rig.cat.sweeps.waiting()} == {plan["id"]}
    with pytest.raises(lading.NotFound):
        rig.cat.sweeps.confirm("another")
    rig.cat.sweeps.confirm(plan["id"])
    rig.settle()
    assert len(rig.a().deleted) == 160
    assert rig.cat.sweeps.plans() == []
    assert rig.rest() is None
    media[160].delete()  # what was confirmed does not count against the next ones
    rig.over()
    assert len(rig.a().deleted) == 161


def test_a_confirmed_plan_covers_no_later_tombstone(make: Make) -> None:
    rig = make(cap=Cap(110, 1.0))
    media = brought(rig, 300)
    for medium in media[:120]:
        medium.delete()
    rig.over()
    (plan,) = rig.cat.sweeps.plans()
    rig.a().fail["read"] = lambda: Unavailable("away")
    rig.cat.sweeps.confirm(plan["id"])
    for medium in media[120:240]:
        medium.delete()
    rig.settle()
    rig.forward(GRACE)
    assert rig.a().deleted == []
    rig.a().fail.clear()
    rig.forward(60)
    assert len(rig.a().deleted) == 120
    rig.forward(120)
    assert len(rig.a().deleted) == 120
    (other,) = rig.cat.sweeps.plans()
    assert (other["objects"], other["id"] != plan["id"]) == (120, True)


def test_the_cap_counts_a_rolling_day(make: Make) -> None:
    rig = make(cap=Cap(120, 1.0), grace_s=HOUR_S)
    media = brought(rig, 300)
    for medium in media[:90]:
        medium.delete()
    rig.over()
    assert len(rig.a().deleted) == 90
    for medium in media[90:150]:
        medium.delete()
    rig.over()
    assert (len(rig.a().deleted), rig.rest()) == (90, "cap")
    rig.forward(23 * HOUR_S)  # the first ones have left the window
    assert (len(rig.a().deleted), rig.rest()) == (150, None)
    assert rig.cat.sweeps.plans() == []


@pytest.mark.parametrize(
    ("due", "swept", "present", "stops"),
    [(99, 0, 99, False), (100, 0, 500, False), (100, 0, 499, True), (1, 99, 401, False), (1, 99, 300, True), (1000, 0, 9000, False),
     (1001, 0, 9000, True), (0, 1001, 9000, True), (60, 39, 60, False)],
)  # fmt: skip
def test_when_the_cap_stops_a_sweep(due: int, swept: int, present: int, stops: bool) -> None:
    assert Cap(1000, 0.2).exceeded(due, swept, present) is stops


# -- 40: lists are never input -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_list_that_lies_changes_nothing_of_what_is_deleted(sweep: SweepRig, seed: int) -> None:
    dice = random.Random(seed)
    media = brought(sweep, 20)
    chosen = dice.sample(media, 7)
    wanted = {sweep.key(m) for m in chosen}
    for medium in chosen:
        medium.delete()
    whole = [Entry(k, len(v)) for k, v in sweep.a().objects.items()]
    sweep.settle()
    for _ in range(30):
        sweep.a().listed = dice.sample(whole, dice.randrange(len(whole)))
        sweep.forward(HOUR_S)
    assert set(sweep.a().deleted) == wanted
    assert not any(what == "list" for what, _ in sweep.a().requests)


# -- 41: partial failures ------------------------------------------------------------------------------------------------------------


def test_keys_that_failed_in_a_batch_are_tried_again_and_the_others_are_done(sweep: SweepRig) -> None:
    media = brought(sweep, 6)
    keys = [sweep.key(m) for m in media]
    for medium in media:
        medium.delete()
    sweep.a().on_delete = lambda key: Refused("not this one") if key in keys[:2] else None
    sweep.over()
    assert set(sweep.a().deleted) == set(keys[2:])
    assert sweep.conn.rows("SELECT state, error_code FROM replica WHERE store_id = 1") == [("dropping", "refused")] * 2
    sweep.a().on_delete = lambda key: None
    sweep.forward(HOUR_S)
    assert set(sweep.a().deleted) == set(keys)
    assert sweep.conn.value("SELECT count(*) FROM replica WHERE store_id = 1") == 0


def test_a_crash_at_any_point_of_a_sweep_repeats_the_rest(make: Make) -> None:
    """Each step may be the last one of a life."""
    for steps in range(1, 25):
        rig = make(f"home{steps}")
        media = brought(rig, 4)
        keys = {rig.key(m) for m in media[:3]}
        for medium in media[:3]:
            medium.delete()
        rig.settle()
        rig.clock.forward(GRACE)
        rig.mono += int(GRACE * 1000)
        for _ in range(steps):
            rig.step()
            rig.woken.wait(0.0005)
        rig.begin()  # the old life is dropped where it stands
        rig.settle()
        rig.forward(HOUR_S)
        assert set(rig.a().deleted) == keys
        assert set(rig.data()) == {rig.key(media[3])}
        assert rig.conn.value("SELECT count(*) FROM replica WHERE store_id = 1") == 1


# -- 43: deleting while an upload is under way -------------------------------------------------------------------------------------------


def test_a_medium_deleted_during_its_upload_ends_with_no_object(sweep: SweepRig) -> None:
    medium = sweep.put()
    sweep.a().gate_after.clear()
    sweep.begin()
    sweep.until(lambda: len(sweep.data()) == 1)
    medium.delete()
    sweep.until(lambda: not sweeping.unseen(sweep.conn))
    sweep.a().gate_after.set()
    sweep.settle()
    sweep.over()
    assert sweep.data() == {}
    assert sweep.conn.value("SELECT count(*) FROM replica WHERE store_id = 1") == 0


def test_an_attempt_that_ended_without_a_word_is_deleted_again_later(sweep: SweepRig) -> None:
    """Its bytes arrive after the first DELETE."""
    sweep.a().before = lambda key: Unavailable("no answer")
    medium = sweep.put()
    sweep.begin().settle()
    key = sweep.key(medium)
    medium.delete()
    sweep.over()
    assert sweep.a().deleted == [key]
    sweep.a().objects[key] = b"late"
    assert sweep.conn.rows("SELECT state FROM replica WHERE store_id = 1") == [("dropping",)]
    sweep.forward(sweeping.AGAIN_MS / 1000 + 1)
    assert sweep.data() == {}
    assert sweep.conn.rows("SELECT state FROM replica WHERE store_id = 1") == []


def test_a_delete_waits_until_the_last_attempt_has_been_over_for_a_while(make: Make) -> None:
    rig = make(grace_s=1)
    rig.a().before = lambda key: Refused("not now")
    medium = rig.put()
    rig.begin().settle()
    medium.delete()
    rig.over()
    rig.forward(sweeping.SETTLE_MS / 1000 - 60)
    assert rig.a().deleted == []
    rig.forward(180)
    assert len(rig.a().deleted) == 1


@pytest.mark.parametrize("seed", range(12))
def test_put_and_delete_of_the_same_bytes_in_any_order_keep_what_lives(make: Make, seed: int) -> None:
    """43, 24: whatever the interleaving, a living medium's object is there, and no key is ever used twice."""
    rig, dice = make(grace_s=30), random.Random(seed)
    living: list[lading.Medium] = []
    rig.begin()
    for _ in range(60):
        if not living or dice.random() < 0.5:
            living.append(rig.cat.put(b"always the same", name="same.txt", destination=[A]))
            if len(rig.workers) == 0 or A not in rig.sweepers:
                rig.begin()
        else:
            living.pop(dice.randrange(len(living))).delete()
        if dice.random() < 0.15:
            rig.begin()
        for _ in range(dice.randrange(6)):
            rig.step()
            rig.woken.wait(0.0003)
        if dice.random() < 0.4:
            seconds = dice.choice([1, 20, 40, 5000])
            rig.clock.forward(seconds)
            rig.mono += seconds * 1000
        if dice.random() < 0.3:
            rig.settle()
    rig.forward(5000)
    rig.forward(5000)
    if living:
        assert set(rig.data()) == {rig.key(living[0])}
        assert rig.data()[rig.key(living[0])] == b"always the same"
    else:
        assert rig.data() == {}
    for medium in living:
        medium.delete()
    rig.forward(60)
    rig.forward(5000)
    rig.forward(5000)
    assert rig.data() == {}
    assert rig.a().deleted
    assert rig.a().reused == [], "a key was used again after its delete"


# -- 44: clocks ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("years", [-10, -1, 1, 10])
def test_a_wall_clock_that_jumps_shortens_no_grace(sweep: SweepRig, years: int) -> None:
    (medium,) = brought(sweep, 1)
    medium.delete()
    sweep.settle()
    sweep.clock.ms += years * YEAR_MS
    sweep.settle()
    sweep.begin().settle()
    sweep.forward(GRACE_S - 10)
    assert sweep.a().deleted == []
    sweep.forward(20)
    assert len(sweep.a().deleted) == 1


def test_a_machine_that_slept_or_a_daemon_that_was_away_shortens_no_grace(sweep: SweepRig) -> None:
    (medium,) = brought(sweep, 1)
    medium.delete()
    sweep.settle()
    sweep.clock.forward(100 * GRACE_S)  # the monotonic clock stood still
    sweep.settle()
    sweep.begin()
    sweep.mono += int(100 * GRACE_S * 1000)
    sweep.begin()
    sweep.clock.forward(100 * GRACE_S)  # while nobody was there
    sweep.mono += int(100 * GRACE_S * 1000)
    sweep.begin().settle()
    assert sweep.a().deleted == []


def test_a_store_that_tells_its_time_only_when_it_is_written_to(sweep: SweepRig) -> None:
    """A directory: the marker is written, and then its clock is known."""
    (medium,) = brought(sweep, 1)
    medium.delete()
    sweep.a().clock_offset_s = None
    real = sweep.a().write

    def write(key: str, data: bytes) -> None:
        real(key, data)
        sweep.a().clock_offset_s = 4000.0

    sweep.a().write = write  # type: ignore[method-assign]
    sweep.over()
    assert (sweep.a().deleted, sweep.rest()) == ([], "clock")


@pytest.mark.parametrize("offset_s", [-400.0, 400.0, 3.2e8])
def test_a_store_whose_clock_is_off_rests(sweep: SweepRig, offset_s: float) -> None:
    (medium,) = brought(sweep, 1)
    medium.delete()
    sweep.a().clock_offset_s = offset_s
    sweep.over()
    assert (sweep.a().deleted, sweep.rest()) == ([], "clock")
    assert "clock" in sweep.cat.status()["reasons"][0]
    sweep.a().clock_offset_s = 200.0
    sweep.forward(HOUR_S)
    assert (len(sweep.a().deleted), sweep.rest()) == (1, None)


# -- changing a destination ----------------------------------------------------------------------------------------------------------------


def test_old_copies_go_only_once_the_new_ones_are_there(sweep: SweepRig) -> None:
    media = [sweep.cat.put(f"moved {n}".encode(), name=f"{n}") for n in range(3)]
    sweep.cat.set_destination("default", "file", A)
    move(sweep)
    sweep.begin().settle()
    assert len(sweep.data(A)) == 3
    sweep.fakes[B].before = lambda key: Unavailable("away")
    sweep.cat.set_destination("default", "file", B)
    move(sweep)
    sweep.begin().settle()
    sweep.over()
    sweep.forward(10 * GRACE_S)
    assert len(sweep.data(A)) == 3
    assert sweep.a().deleted == []
    sweep.fakes[B].before = lambda key: None
    sweep.forward(HOUR_S)
    sweep.forward(GRACE)
    assert (sweep.data(A), len(sweep.data(B))) == ({}, 3)
    assert all(m.refresh().state == "safe" for m in media)


def test_while_nothing_may_go_yet_the_marker_is_left_alone(sweep: SweepRig) -> None:
    """Requests are money."""
    sweep.cat.put(b"moved", name="moved")
    sweep.cat.set_destination("default", "file", A)
    move(sweep)
    sweep.begin().settle()
    sweep.fakes[B].before = lambda key: Unavailable("away")
    sweep.cat.set_destination("default", "file", B)
    move(sweep)
    sweep.begin().settle()
    sweep.a().requests.clear()
    sweep.over()
    for _ in range(20):
        sweep.forward(600)
    assert sweep.a().requests == []


def move(rig: SweepRig) -> None:
    from lading_catalog import tables

    with rig.conn.writing() as conn:
        while tables.moves_due(conn):
            tables.move_step(conn, 100)


def test_a_paused_destination_deletes_nothing(sweep: SweepRig) -> None:
    (medium,) = brought(sweep, 1)
    medium.delete()
    with sweep.conn.writing() as conn:
        conn.run("UPDATE store SET paused = 1 WHERE uri = ?", (A,))
    sweep.over()
    assert sweep.a().deleted == []
    with sweep.conn.writing() as conn:
        conn.run("UPDATE store SET paused = 0")
    sweep.settle()
    assert len(sweep.a().deleted) == 1


def test_an_adopted_destination_is_found_by_its_own_uri_only(sweep: SweepRig) -> None:
    brought(sweep, 1)
    with pytest.raises(lading.NotFound):
        sweep.cat.sweeps.adopt("s3://never-seen/")
    assert load(home=str(sweep.home), environ={}).delete_after_s == GRACE_S
    doorbell.ring(sweep.home)
