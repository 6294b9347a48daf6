"""Local copies of what was deleted: they go with their grace, not while somebody reads them, and durably."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lading_catalog import evicting

from .rig import A
from .sweep_rig import GRACE_S, SweepRig


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[SweepRig]:
    rig = SweepRig(tmp_path / "home")
    yield rig
    rig.close()


def here(rig: SweepRig) -> list[tuple[str, ...]]:
    return rig.conn.rows("SELECT state FROM replica WHERE store_id = 0 ORDER BY id")


def test_a_local_copy_goes_with_its_grace(sweep: SweepRig) -> None:
    gone, kept = sweep.many(2)
    sweep.begin().settle()
    path = sweep.local(gone)
    gone.delete()
    sweep.settle()
    sweep.forward(GRACE_S - 10)
    assert path.exists()
    sweep.forward(20)
    assert not path.exists()
    assert here(sweep) == [("present",)]
    assert sweep.local(kept).exists()


def test_one_that_was_never_sent_anywhere_too(sweep: SweepRig) -> None:
    medium = sweep.cat.put(b"x", name="x", destination=[])
    path = sweep.local(medium)
    sweep.put(A)  # (a destination to have)
    sweep.begin().settle()
    medium.delete()
    sweep.over()
    assert not path.exists()
    assert [t for (t,) in sweep.conn.rows("SELECT type FROM events WHERE type = 'media.purged'")] == ["media.purged"]


def test_one_that_is_read_stays_until_it_is_closed(sweep: SweepRig) -> None:
    medium = sweep.put()
    sweep.begin().settle()
    path = sweep.local(medium)
    with medium.open() as file:
        medium.delete()
        sweep.over()
        sweep.forward(3600)
        assert file.read() == path.read_bytes()
        assert here(sweep) == [("present",)]
    sweep.forward(3600)
    assert not path.exists()
    assert here(sweep) == []


def test_a_damaged_copy_that_was_replaced_goes_too(sweep: SweepRig) -> None:
    """It was set aside with its bytes when a put found it changed."""
    medium = sweep.put(data=b"the bytes")
    path = sweep.local(medium)
    path.write_bytes(b"other byt")
    again = sweep.put(data=b"the bytes")
    sweep.begin().settle()
    assert here(sweep) == [("damaged",), ("present",)]
    assert path.exists()
    sweep.over()
    assert not path.exists()
    assert sweep.local(again).read_bytes() == b"the bytes"


@pytest.mark.parametrize("cut", ["unlink_dropped", "forget"])
def test_a_crash_in_the_middle_is_finished_by_the_next_life(sweep: SweepRig, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(BaseException):
        pass

    def cut_off(*args: object) -> None:
        raise Cut

    medium = sweep.put()
    sweep.begin().settle()
    path = sweep.local(medium)
    medium.delete()
    with monkeypatch.context() as patch:
        patch.setattr(evicting, cut, cut_off)
        with pytest.raises(Cut):
            sweep.over()
    assert here(sweep) == [("dropping",)]
    assert path.exists() == (cut == "unlink_dropped")


def test_an_undelete_keeps_the_local_copy(sweep: SweepRig) -> None:
    medium = sweep.put()
    sweep.begin().settle()
    path = sweep.local(medium)
    medium.delete()
    sweep.settle()
    sweep.forward(GRACE_S - 10)
    medium.undelete()
    sweep.forward(10 * GRACE_S)
    assert path.exists()
    assert medium.refresh().state == "safe"
    assert sweep.a().deleted == []
