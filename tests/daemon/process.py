"""A real daemon in a process of its own, in a temporary home."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lading
from lading_catalog.config import load
from servers.process import S3Server

READY_S = 20.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class DaemonProcess:
    """`python -m ladingd run` for `home`. `settings`: LADING_… and other variables, for it and for `open()`."""

    def __init__(self, home: Path, settings: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.log = home.parent / f"{home.name}.log"
        runtime = home.parent / f"{home.name}-run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "LADING_", "XDG_", "NOTIFY_", "WATCHDOG_"))}
        self.env = {
            **kept, "LADING_HOME": str(home), "LADING_LOG_FORMAT": "json", "LADING_MIN_FREE": "0",
            "XDG_RUNTIME_DIR": str(runtime), "HOME": str(home.parent),
            "AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true", **(settings or {}),
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def open(self) -> lading.Catalog:
        return lading.open(config=load(environ=self.env))

    # -- life ------------------------------------------------------------------------------------------------------------------

    def start(self, *arguments: str, ready: bool = True) -> DaemonProcess:
        assert self.process is None or self.process.poll() is not None
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ladingd", "run", *arguments], stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                env=self.env, cwd=self.home.parent,
            )  # fmt: skip
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            try:
                self.get("/healthz")
                return
            except OSError:
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the daemon did not start:\n{self.log.read_text()[-3000:]}") from None
                time.sleep(0.01)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> DaemonProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    # -- what it says ------------------------------------------------------------------------------------------------------------

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Its log, each line one event; what is not JSON is under `text`."""
        found = []
        for line in self.log.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"event": None, "text": line})
        return [e for e in found if name is None or e.get("event") == name]

    @property
    def socket(self) -> str:
        return (self.home / "socket").read_text().rstrip("\n")

    def get(self, path: str, timeout_s: float = 5.0) -> tuple[int, Any]:
        status, _, body = self.request("GET", path, timeout_s)
        return status, json.loads(body)

    def request(self, method: str, path: str, timeout_s: float = 5.0) -> tuple[int, dict[str, str], bytes]:
        connection = _UnixConnection(self.socket, timeout_s)
        try:
            connection.request(method, path)
            reply = connection.getresponse()
            return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
        finally:
            connection.close()

    def cpu_ticks(self) -> int:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])


def s3_settings(server: S3Server, folder: Path, endpoint: str | None = None, **more: str) -> dict[str, str]:
    """The configuration with which a daemon reaches a server."""
    credentials = folder / f"credentials-{server.kind}"
    credentials.write_text(f"[default]\naws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n")
    credentials.chmod(0o600)
    return {
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials), "LADING_S3__ENDPOINT_URL": endpoint or server.endpoint, **more,
    }  # fmt: skip
