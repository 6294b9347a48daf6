"""What these tests take from the machine: a test module names it in NEEDS. Where it is missing they fail in CI, and elsewhere are
skipped with a word: nothing is green in silence."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

_INSTALL = "scripts/apt-packages installs it"


def _missing(need: str) -> str | None:
    if need == "mounts":
        may = (
            subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
            if shutil.which("unshare")
            else False
        )
        return None if may else "no mount namespaces here: they need root"
    return None if shutil.which(need) else f"no {need} here: {_INSTALL}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    for need in getattr(getattr(item, "module", None), "NEEDS", ()):
        if (why := _missing(need)) is not None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
