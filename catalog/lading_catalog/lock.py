"""The daemon's lock: one daemon per catalog, and how everybody else sees whether it runs.

`<home>/daemon.lock` is flocked exclusively while a daemon lives, so a crash frees it. The file holds who that is, JSON; its time
stamp is when the daemon was last seen alive, touched now and then without a write to the catalog.

A daemon that only fetches (a client has started it, because none ran) holds the same lock. To everybody who waits for destinations no
daemon runs then; and it leaves as soon as a real one asks it to.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from pathlib import Path

from lading_catalog.errors import Error
from lading_catalog.status import Daemon

LOCK_FILE = "daemon.lock"
INSTANT_S = 0.5
LEAVES_S = 10.0  # a daemon that only fetches, once it is asked to


class AlreadyRunning(Error):
    urn, title, status, exit_code = "already-running", "A daemon is already running", 409, 1


class DaemonLock:
    """Held for a daemon's life. Raises AlreadyRunning; a daemon that only fetches is asked to leave first, unless this is one."""

    def __init__(self, home: Path, version: str, started_at_ms: int, *, fetch_only: bool = False) -> None:
        self.path = home / LOCK_FILE
        if not fetch_only:
            _make_way(home)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if not _taken(self._fd):
            os.close(self._fd)
            other = observe(home)
            raise AlreadyRunning(f"A daemon (process {other.pid}) already works for {home}.", hint="lading status", pid=other.pid)
        self._touched = 0.0
        self._quiet = fetch_only  # it is not the daemon that people ask about
        before = os.fstat(self._fd)
        os.truncate(self._fd, 0)
        about = {"pid": os.getpid(), "version": version, "started_at_ms": started_at_ms, "fetch_only": fetch_only}
        os.write(self._fd, json.dumps(about).encode())
        if fetch_only:
            os.utime(self._fd, ns=(before.st_atime_ns, before.st_mtime_ns))

    def touch(self) -> None:
        """Note that we live; once a second is enough."""
        now = time.monotonic()
        if self._quiet or now - self._touched < 1.0:
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


def _make_way(home: Path) -> None:
    """Ask a daemon that only fetches to leave, and wait for that. What it has begun is continued. It is looked at twice: who has just
    taken the lock has not yet written who it is."""
    asked: int | None = None
    deadline = time.monotonic() + LEAVES_S
    before: int | None = None
    while (seen := observe(home)).fetch_only and time.monotonic() < deadline:
        if seen.pid is not None and seen.pid == before and seen.pid != asked:
            asked = seen.pid
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(seen.pid, signal.SIGTERM)
        before = seen.pid
        time.sleep(0.02)


def observe(home: Path) -> Daemon:
    """Whether a daemon runs for this home, and who it is or was. `running` is False for one that only fetches; `fetch_only` tells."""
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
        fetch_only = running and told.get("fetch_only") is True
        return Daemon(
            running and not fetch_only, told.get("pid"), told.get("version"), told.get("started_at_ms"), seen_ms, fetch_only
        )
    finally:
        os.close(fd)
