"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _a_machine_with_little_room() -> Iterator[None]:
    """Puts leave a part of the disk free, and the machine that runs the tests may have less than that. Those that are about it say so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LADING_MIN_FREE", "0")
        yield
