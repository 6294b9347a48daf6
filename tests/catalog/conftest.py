from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog_kit import Kit


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    """A fresh catalog; its integrity is checked at the end of every test."""
    made = Kit(tmp_path / "home")
    yield made
    made.check()
    made.conn.close()
