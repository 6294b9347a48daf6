"""Invariant 9: any file name that the file system allows round-trips, or is refused before anything is written."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lading
from life.put_check import recover
from put_kit import catalog, nothing_left, objects, staged, whole

NAMES = {
    "newline": b"a\nb\r.jpg", "quotes": b"it's \"quoted\" `x` $(y) \\.jpg", "dots": b"..jpg..a..", "hidden": b".hidden", "dash": b"-rf",
    "three dots": b"...", "blank": b" ", "trailing blank": b"a .jpg ", "not utf-8": b"\xff\xfe\x80.jpg", "half utf-8": b"caf\xc3.jpg",
    "nfc": "é.jpg".encode(), "nfd": unicodedata.normalize("NFD", "é.jpg").encode(), "255 bytes": b"x" * 251 + b".jpg",
    "255 bytes of kanji": ("写" * 83 + ".jpeg!").encode()[:255], "right to left": "\u202egpj.exe".encode(), "zero width": "\u200b".encode(),
    "emoji": "👩‍👩‍👧.png".encode(), "percent": b"%2e%2e%2f.jpg", "colon": b"C:\\x.jpg", "control": bytes(range(1, 32)),
    "device": b"CON.jpg",    "surrogate form": "\udcff".encode("utf-8", "surrogatepass"), "wildcards": b"*?[a].jpg", "tilde": b"~root",
    "sql": b"'; DROP TABLE medium; --",
    "our ending": b"a.unsure", "our other ending": b"a.jpg-unsure", "long ending": b"a." + b"e" * 200, "ending with a blank": b"a.jp g",
}  # fmt: skip


@pytest.fixture
def cat(tmp_path: Path) -> Iterator[lading.Catalog]:
    with catalog(tmp_path / "home") as made:
        yield made


def _create(path: bytes, data: bytes) -> None:
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as e:
        if e.errno in (errno.EILSEQ, errno.EINVAL):  # APFS takes UTF-8 only
            pytest.skip("this file system has no such names")
        raise


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_invariant_9_a_name_comes_back_byte_for_byte(cat: lading.Catalog, tmp_path: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(tmp_path), name)
    data = b"content of " + name
    _create(path, data)
    for medium in (cat.put(os.fsdecode(path)), cat.put(data, name=name), cat.put(data, name=os.fsdecode(name))):
        assert os.fsencode(medium.name) == name
        whole(medium, data)
        assert cat.medium(medium.id).name == medium.name
    assert len(objects(cat.home)) == 1
    assert all(path.parent.parent == cat.home / "objects" for path in objects(cat.home))
    assert {m.id for m in cat.media(name=os.fsdecode(name))} == {m.id for m in cat.media()}
    cat.put(os.fsdecode(path), move=True)
    assert not os.path.lexists(path)


def test_twins_that_only_look_alike_stay_two(cat: lading.Catalog) -> None:
    composed, apart = "é.jpg", unicodedata.normalize("NFD", "é.jpg")
    cat.put_many([(b"1", composed), (b"2", apart)])
    whole(cat.medium(composed), b"1")
    whole(cat.medium(apart), b"2")


@pytest.mark.parametrize("name", ["", b"", "nul\0", b"nul\0", "\ud800.jpg", "x" * 4097, "ä" * 2049])
def test_a_name_that_no_file_can_have_is_refused_before_anything_is_written(cat: lading.Catalog, name: str | bytes) -> None:
    with pytest.raises(lading.ConfigError) as raised:
        cat.put(b"data", name=name)
    assert raised.value.hint
    str(raised.value).encode()  # it can be printed
    nothing_left(cat)
    assert not (cat.home / "staging").exists() or list((cat.home / "staging").iterdir()) == []


@pytest.mark.parametrize("path", ["nul\0", b"nul\0".decode()])
def test_a_path_that_cannot_be_one_is_refused(cat: lading.Catalog, path: str) -> None:
    with pytest.raises(lading.Error):
        cat.put(path)
    nothing_left(cat)


@given(name=st.binary(min_size=1, max_size=255).filter(lambda n: b"\0" not in n))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_invariant_9_any_bytes(cat: lading.Catalog, name: bytes) -> None:
    assert os.fsencode(cat.put(name, name=name).name) == name


@pytest.mark.parametrize("name", ["a.jpg", "a.unsure", "a", "a.jpg-unsure"])
@pytest.mark.parametrize("published", [False, True])
def test_recovery_takes_back_what_a_dead_put_left_whatever_its_name(
    cat: lading.Catalog, tmp_path: Path, name: str, published: bool
) -> None:
    """A process that died before its commit: both names go. After its commit only the temporary one."""
    from lading.intake import intake, take
    from lading_catalog.staging import Session

    kept = cat.put(b"kept", name=name)
    session = Session(cat.home)
    taken = take(session, intake(b"lost", name))
    if published:
        session.publish([taken.staged])
    assert len(objects(cat.home)) == 1 + published
    os.close(session._fd)  # its lock is free, as after a kill
    assert recover(cat.home, cat._conn) == 1
    assert len(objects(cat.home)) == 1
    assert staged(cat.home) == []
    whole(kept, b"kept")
