"""The doorbell: after its commit a writer touches one file, and the daemon, which watches that file, looks.

The `-wal` itself will not do: its event comes before the commit, and who looks at once misses it. The file stands in a folder of
its own, so that nothing else wakes the daemon. A bell that nobody hears costs nothing; the daemon also looks every few seconds.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

FOLDER = "doorbell"
FILE = "bell"


def prepare(home: Path) -> Path:
    """Make the bell; returns its folder."""
    folder = home / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    os.close(os.open(folder / FILE, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    return folder


def ring(home: Path) -> None:
    """Never raises: the rows are committed, and the daemon finds them without a bell too, a few seconds later."""
    with contextlib.suppress(OSError):
        os.utime(f"{home}/{FOLDER}/{FILE}", follow_symlinks=False)  # (no Path: it would cost as much as the call)
