"""A put on a disk that has little room left: it refuses in words, and nothing is left of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import lading
from cli_kit import Cli
from lading_catalog.config import Config
from lading_catalog.units import Amount
from put_kit import nothing_left, whole

TOO_MUCH = Amount("900TB")


def test_nothing_is_recorded_and_nothing_left(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"photo")
    with lading.open(config=Config(home=os.fspath(tmp_path / "home"), min_free=TOO_MUCH)) as cat:
        for put in (
            lambda: cat.put(b"x", name="a"), lambda: cat.put(photo), lambda: cat.put(photo, move=True), lambda: cat.put_many([photo] * 20),
        ):  # fmt: skip
            with pytest.raises(lading.Full) as e:
                put()
            assert "stay free (min_free)" in e.value.detail
        nothing_left(cat)
    assert photo.read_bytes() == b"photo"


def test_what_was_there_before_can_be_read(tmp_path: Path) -> None:
    with lading.open(config=Config(home=os.fspath(tmp_path / "home"), min_free=Amount("0"))) as cat:
        medium = cat.put(b"before", name="a")
    with lading.open(config=Config(home=os.fspath(tmp_path / "home"), min_free=TOO_MUCH)) as cat:
        whole(cat.medium(medium.id), b"before")
        with pytest.raises(lading.Full):
            cat.put(b"after", name="b")
        cat.medium(medium.id).delete()  # the catalog still writes


def test_the_command_stops_at_the_first(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [cli.file(f"{n}.jpg") for n in range(3)]
    monkeypatch.setenv("LADING_MIN_FREE", "900TB")
    done = cli.run("put", *files, code=1)
    assert done.out == ""
    assert done.err.count("No room:") == 1
    assert "lower min_free" in done.err
    shape = cli.run("put", "--json", *files, code=1).json
    assert (shape["type"], shape["exit"], shape["min_free_bytes"]) == ("urn:lading:full", 1, 900 * 10**12)
