"""A home that was copied or restored: its files are whole under other inodes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import lading
from lading_catalog import localstore


def test_a_copied_home_keeps_its_local_copies(tmp_path: Path) -> None:
    with lading.open(tmp_path / "old") as cat:
        cat.put(b"bytes", name="a.txt")
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    (tmp_path / "new").chmod(0o700)
    with lading.open(tmp_path / "new") as cat:
        medium = cat.medium("a.txt")
        with medium.open() as file:
            assert file.read() == b"bytes"
        # Noted, so that it is not hashed each time.
        inode, mtime_ns = cat._conn.rows("SELECT inode, mtime_ns FROM replica")[0]
        assert localstore.matches(cat.home, str(Path(medium.shape["path"]).relative_to(cat.home)), 5, inode, mtime_ns)


@pytest.mark.parametrize("bad", [b"other", b"longer than it was"])
def test_other_bytes_are_refused_and_not_noted(tmp_path: Path, bad: bytes) -> None:
    with lading.open(tmp_path / "home") as cat:
        medium = cat.put(b"bytes", name="a.txt")
        before = cat._conn.rows("SELECT inode, mtime_ns FROM replica")
        Path(medium.shape["path"]).write_bytes(bad)
        with pytest.raises(lading.Damaged):
            medium.open()
        assert cat._conn.rows("SELECT inode, mtime_ns FROM replica") == before
