"""Short words for the tests of put: a catalog, and what lies on the disk beside it."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lading
from lading_catalog.config import Config
from lading_catalog.units import Amount

JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1"


@contextmanager
def catalog(home: Path) -> Iterator[lading.Catalog]:
    """Without the configuration and the environment of whoever runs the tests."""
    with lading.open(config=Config(home=os.fspath(home), min_free=Amount("0"))) as cat:
        yield cat


def objects(home: Path) -> list[Path]:
    """All files under a final name."""
    return sorted(path for path in (home / "objects").rglob("*") if path.is_file())


def staged(home: Path) -> list[Path]:
    """All files under a temporary name."""
    return sorted(path for path in (home / "staging").rglob("*") if path.is_file())


def names(cat: lading.Catalog) -> list[str]:
    return [medium.name for medium in cat.media()]


def nothing_left(cat: lading.Catalog) -> None:
    assert (names(cat), objects(cat.home), staged(cat.home)) == ([], [], [])


def whole(medium: lading.Medium, data: bytes) -> None:
    """The medium is there, byte for byte, and so is its file."""
    assert medium.size_bytes == len(data)
    with medium.open() as file:
        assert file.read() == data


def copies(cat: lading.Catalog) -> list[tuple[str, str]]:
    """State and key of all local replicas, in the order in which they were made."""
    return [(state, key) for state, key in cat._conn.rows("SELECT state, key FROM replica WHERE store_id = 0 ORDER BY id")]


def commits(home: Path) -> int:
    """How many transactions stand in the write-ahead log: frames that say how large the file is after them
    (https://sqlite.org/fileformat2.html#walformat)."""
    log = (home / "catalog.db-wal").read_bytes()
    page = struct.unpack(">I", log[8:12])[0]
    salts, found = log[16:24], 0
    for start in range(32, len(log) - page - 23, page + 24):
        size = struct.unpack(">I", log[start + 4 : start + 8])[0]
        found += log[start + 8 : start + 16] == salts and size > 0
    return found
