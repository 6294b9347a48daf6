"""sd_notify(3): tell the service manager that we are ready, alive, stopping. A few lines; without NOTIFY_SOCKET they do nothing."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*states: str) -> None:
    """`notify("READY=1", "STATUS=…")`. Never raises: a service manager that does not listen is no reason to stop."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        s.sendto("\n".join(states).encode(), address)


def watchdog_s() -> float | None:
    """How often WATCHDOG=1 is expected, halved; None if it is not (sd_watchdog_enabled(3))."""
    usec, pid = os.environ.get("WATCHDOG_USEC"), os.environ.get("WATCHDOG_PID")
    if not usec or not usec.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2e6
