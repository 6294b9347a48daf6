"""What a service manager is told, over a real NOTIFY_SOCKET (sd_notify(3)); and which form the log has under one."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

from daemon.process import DaemonProcess


def _told(listener: socket.socket, until: str, patience_s: float = 20.0) -> list[str]:
    """The messages up to one that holds `until`."""
    listener.settimeout(patience_s)
    found: list[str] = []
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        found += listener.recv(4096).decode().splitlines()
        if any(line.startswith(until) for line in found):
            return found
    raise AssertionError(f"{until} did not come: {found}")


def test_ready_watchdog_stopping_and_a_log_in_json(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(os.fspath(address))
        daemon = DaemonProcess(tmp_path / "home", {"NOTIFY_SOCKET": os.fspath(address), "WATCHDOG_USEC": "400000"})
        with daemon.start():
            told = _told(listener, "READY=1")
            assert told == ["READY=1", f"STATUS=Serving {daemon.home}"]
            # Idle, it still says that it lives, each time well before the watchdog would bite.
            assert _told(listener, "WATCHDOG=1")
            assert _told(listener, "WATCHDOG=1")
            assert daemon.stop() == 0
            assert _told(listener, "STOPPING=1")
    events = [json.loads(line)["event"] for line in daemon.log.read_text().splitlines()]
    assert events[0] == "daemon.started"
    assert events[-1] == "daemon.stopped"


def test_nobody_listens(tmp_path: Path) -> None:
    daemon = DaemonProcess(tmp_path / "home", {"NOTIFY_SOCKET": os.fspath(tmp_path / "nobody")})
    with daemon.start():
        assert daemon.stop() == 0
