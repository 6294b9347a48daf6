"""Who fetches for a client: the daemon that runs, or one that only fetches, started here where none runs. So the code that talks to
stores stays in one place. It leaves by itself, and at once when a real daemon starts."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading_catalog import doorbell, lock
from lading_catalog.config import Config
from lading_catalog.errors import NoDaemon
from lading_catalog.why import START_DAEMON

if TYPE_CHECKING:
    import subprocess

LOG = "fetch.log"
_LOOK_EVERY_S = 0.2
_STARTS_AT_MOST = 5  # of those that died while somebody waited


def environment(config: Config) -> dict[str, str]:
    """For a process of ours that shall see the same home and configuration, also where a call gave it. Naming the home alone would make it
    look for the configuration there."""
    found = {**os.environ, "LADING_HOME": config.home}
    if os.path.lexists(config.path):
        found["LADING_CONFIG"] = config.path
    for key, origin in config.origins.items():
        if origin == "call" or origin.startswith("environment LADING_"):
            value: Any = config
            for part in key.split("."):
                value = getattr(value, part, None)
            if value is not None and key != "home":
                found[f"LADING_{key.upper().replace('.', '__')}"] = _text(value)
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(list(value)) if isinstance(value, (tuple, list)) else str(value)


class Helper:
    """For one wait. `call` once something is wanted, `watch` while waiting."""

    def __init__(self, home: Path, config: Config) -> None:
        self._home, self._config = home, config
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._looked = 0.0

    def call(self) -> None:
        """Raises NoDaemon where none can be started."""
        doorbell.ring(self._home)
        self._looked = 0.0
        self.watch()

    def watch(self) -> None:
        """See now and then that somebody is there. Raises NoDaemon."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        seen = lock.observe(self._home)
        if seen.running or seen.fetch_only:
            return
        if self._process is not None and self._process.poll() is None:
            return  # it is starting, or leaving
        if self._starts >= _STARTS_AT_MOST:
            raise NoDaemon(
                f"No daemon is running, and one that only fetches ended {self._starts} times: {self._last_words()}",
                hint=START_DAEMON,
            )
        self._start()

    def _start(self) -> None:
        import subprocess  # (10 ms, and nearly all reads find a copy here)

        self._starts += 1
        try:
            log = os.open(self._home / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            log = os.open(os.devnull, os.O_WRONLY)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ladingd", "run", "--fetch-only", "--exit-when-idle"],
                env=environment(self._config), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._home, start_new_session=True,
            )  # fmt: skip
        except OSError as e:
            raise NoDaemon(f"No daemon is running, and none could be started: {e.strerror}.", hint=START_DAEMON) from e
        finally:
            os.close(log)
        threading.Thread(target=self._process.wait, name="fetch-helper", daemon=True).start()  # no zombie stays

    def _last_words(self) -> str:
        try:
            lines = (self._home / LOG).read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:300] if lines else "it said nothing."
