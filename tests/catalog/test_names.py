import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading_catalog.errors import ConfigError
from lading_catalog.names import NAME_MAX_BYTES, name_text, name_value, printable

FILE_NAMES = st.binary(min_size=1, max_size=60).filter(lambda raw: b"\0" not in raw)


@given(FILE_NAMES)
def test_every_file_name_survives_the_catalog_json_and_python(raw: bytes) -> None:
    value = name_value(raw)
    assert isinstance(value, str) == (raw.decode("utf-8", "replace").encode() == raw)
    text = name_text(value)
    assert os.fsencode(text) == raw
    assert name_value(text) == value, "bytes and text of one name have one stored form"
    assert json.loads(json.dumps(text)) == text


def test_any_name_of_a_real_directory(tmp_path: Path) -> None:
    for raw in (b"a.jpg", b"\xff\xfe", "é".encode(), b"two\nlines", b"-rf"):
        with open(os.path.join(os.fsencode(tmp_path), raw), "wb"):
            pass
    assert {name_value(entry) for entry in os.listdir(tmp_path)} == {"a.jpg", b"\xff\xfe", "é", "two\nlines", "-rf"}
    assert name_value(Path("trip/a.jpg")) == "trip/a.jpg"


def test_escaped_bytes_that_are_utf8_after_all_become_text() -> None:
    assert name_value("\udcc3\udca4") == "ä"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "empty"),
        (b"", "empty"),
        ("a\0b", "NUL"),
        (b"a\0", "NUL"),
        ("\ud800", "lone surrogate"),
        ("x" * (NAME_MAX_BYTES + 1), "4097 bytes"),
        ("ä" * (NAME_MAX_BYTES // 2 + 1), "4098 bytes"),
    ],
)
def test_names_that_no_file_can_have_are_refused(name: str | bytes, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        name_value(name)
    assert caught.value.detail.isprintable()
    assert caught.value.hint


def test_the_longest_name_is_taken() -> None:
    assert name_value("x" * NAME_MAX_BYTES) == "x" * NAME_MAX_BYTES


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("IMG 0042.jpg", "IMG 0042.jpg"),
        ("東京\u3000é.jpg", "東京\u3000é.jpg"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x9b2J", "\\u009b2J"),
        ("gpj\u202e.exe", "gpj\\u202e.exe"),
        ("a\u200bb\u2028c\ufeff", "a\\u200bb\\u2028c\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
        ("\u3164", "\\u3164"),
        (b"caf\xe9", "caf\\xe9"),
        ("back\\slash", "back\\\\slash"),
    ],
)
def test_printable_shows_what_is_there(name: str | bytes, shown: str) -> None:
    assert printable(name) == shown


@given(FILE_NAMES, FILE_NAMES)
def test_printable_keeps_different_names_different(one: bytes, other: bytes) -> None:
    assert (printable(one) == printable(other)) == (one == other)


@given(st.text(st.characters()) | FILE_NAMES)
def test_printable_fits_on_one_line_and_can_be_encoded(name: str | bytes) -> None:
    shown = printable(name)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 or char in "\u202a\u202e\u2066\u2069" for char in shown)
