"""Taking a deletion back while the daemon is at work: in every state of what it was about to delete. Dropping tables beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lading_catalog import tables
from lading_catalog.errors import NotFound, Unavailable
from ladingd.workers.plan import Planner

from .rig import A, B
from .sweep_rig import GRACE_S, SweepRig


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[SweepRig]:
    rig = SweepRig(tmp_path / "home")
    yield rig
    rig.close()


def test_what_is_being_deleted_is_sent_again_under_a_new_key(sweep: SweepRig) -> None:
    """24: the old key goes, and is never used again."""
    medium = sweep.put()
    sweep.begin().settle()
    old = sweep.key(medium)
    sweep.a().on_delete = lambda key: Unavailable("not now")
    with medium.open():  # else the copy on this disk would go too
        medium.delete()
        sweep.over()
        assert sweep.conn.value("SELECT state FROM replica WHERE key = ?", (old,)) == "dropping"
        medium.undelete()
        sweep.settle()
    new = sweep.key(medium)
    assert (medium.refresh().state, set(sweep.data())) == ("safe", {old, new})
    sweep.a().on_delete = lambda key: None
    sweep.forward(2 * sweep.retry_max_s)
    assert (sweep.a().deleted, sweep.a().reused, set(sweep.data())) == ([old], [], {new})
    sweep.forward(10 * GRACE_S)
    assert set(sweep.data()) == {new}


def test_with_the_local_copy_gone_what_is_left_elsewhere_is_enough(sweep: SweepRig) -> None:
    medium = sweep.put()
    sweep.begin().settle()
    path = sweep.local(medium)
    medium.delete()
    sweep.a().fail["read"] = lambda: Unavailable("away")  # no marker, no deletes
    sweep.over()
    assert (path.exists(), sweep.a().deleted) == (False, [])
    assert (medium.undelete().state, medium.cached) == ("safe", False)
    sweep.a().fail.clear()
    sweep.forward(10 * GRACE_S)
    assert set(sweep.data()) == {sweep.key(medium)}
    sweep.want(sweep.conn.value("SELECT id FROM object"))
    sweep.settle()
    assert sweep.local(medium).read_bytes() == b"medium 1"


def test_its_new_destination_gets_it_from_the_old_one(sweep: SweepRig) -> None:
    """Its column goes elsewhere by now, and there is no copy on this disk: the old one stays until the new one is there."""
    sweep.cat.set_destination("default", "file", A)
    medium = sweep.cat.put(b"moves", name="moves")
    sweep.begin().settle()
    sweep.put(B)
    sweep.begin()
    medium.delete()
    sweep.a().fail["read"] = lambda: Unavailable("away")
    sweep.over()
    sweep.cat.set_destination("default", "file", B)
    assert medium.undelete().cached is False
    sweep.a().fail.clear()
    sweep.fakes[B].before = lambda key: Unavailable("away too")
    sweep.over()
    assert list(sweep.data().values()) == [b"moves"]
    sweep.fakes[B].before = lambda key: None
    sweep.forward(2 * sweep.retry_max_s)
    assert medium.refresh().state == "safe"
    assert sweep.data(B)[sweep.key(medium, B)] == b"moves"
    sweep.over()
    sweep.forward(3600)
    assert sweep.data() == {}


def test_too_late(sweep: SweepRig) -> None:
    medium = sweep.put()
    sweep.begin().settle()
    medium.delete()
    sweep.over()
    assert sweep.data() == {}
    with pytest.raises(NotFound, match="its last copy is gone since"):
        medium.undelete()


def test_the_grace_of_another_deletion_begins_anew(sweep: SweepRig) -> None:
    medium = sweep.put()
    sweep.begin().settle()
    key = sweep.key(medium)
    for _ in range(3):
        medium.delete()
        sweep.settle()
        sweep.forward(GRACE_S - 10)
        medium.undelete()
        sweep.settle()
    medium.delete()
    sweep.settle()
    sweep.forward(GRACE_S - 10)
    assert list(sweep.data()) == [key]
    sweep.forward(20)
    assert sweep.data() == {}


def test_a_dropped_table_is_emptied_and_swept(sweep: SweepRig) -> None:
    media = [sweep.put(A, table="trip") for _ in range(70)]
    kept = sweep.put(A)
    sweep.begin().settle()
    planner = Planner(sweep.conn, sweep.pace)
    with sweep.conn.writing() as conn:
        assert tables.drop_table(conn, "trip") == 70
    steps = 0
    while planner.step(sweep.clock.ms) is not None:
        steps += 1
    assert steps >= 2, "in one transaction"
    sweep.settle()
    media[3].undelete()
    sweep.over()
    assert sorted(sweep.data()) == sorted([sweep.key(media[3]), sweep.key(kept)])
