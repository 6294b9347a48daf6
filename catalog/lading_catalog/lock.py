"""The daemon's lock: one daemon per catalog, and how everybody else sees whether it runs.

`<home>/daemon.lock` is flocked exclusively while a daemon lives, so a crash frees it. The file holds who that is, JSON; its time
stamp is when the daemon was last seen alive, touched now and then without a write to the catalog.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path

from lading_catalog.errors import Error
from lading_catalog.status import Daemon

LOCK_FILE = "daemon.lock"
INSTANT_S = 0.5


class AlreadyRunning(Error):
    urn, title, status, exit_code = "already-running", "A daemon is already running", 409, 1


class DaemonLock:
    """Held for a daemon's life. Raises AlreadyRunning."""

    def __init__(self, home: Path, version: str, started_at_ms: int) -> None:
        self.path = home / LOCK_FILE
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if not _taken(self._fd):
            os.close(self._fd)
            other = observe(home)
            raise AlreadyRunning(f"A daemon (process {other.pid}) already works for {home}.", hint="lading status", pid=other.pid)
        self._touched = 0.0
        os.truncate(self._fd, 0)
        os.write(self._fd, json.dumps({"pid": os.getpid(), "version": version, "started_at_ms": started_at_ms}).encode())

    def touch(self) -> None:
        """Note that we live; once a second is enough."""
        now = time.monotonic()
        if now - self._touched < 1.0:
            return
        self._touched = now
        with contextlib.suppress(OSError):
            os.utime(self._fd)

    def release(self) -> None:
        self.touch()
        os.close(self._fd)


def _taken(fd: int) -> bool:
    """Take the lock. Who only observes holds it for an instant, many times a second while somebody waits: a daemon holds it longer."""
    deadline = time.monotonic() + INSTANT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)


def observe(home: Path) -> Daemon:
    """Whether a daemon runs for this home, and who it is or was."""
    try:
        fd = os.open(home / LOCK_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return Daemon(running=False)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            running = False
        except BlockingIOError:
            running = True
        seen_ms = os.fstat(fd).st_mtime_ns // 1_000_000
        try:
            told = json.loads(os.read(fd, 4096) or b"{}")
        except ValueError:
            told = None
        if not isinstance(told, dict):
            told = {}
        return Daemon(running, told.get("pid"), told.get("version"), told.get("started_at_ms"), seen_ms)
    finally:
        os.close(fd)
