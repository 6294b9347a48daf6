"""Fixtures of the daemon's tests: workers without a service, and real daemons with real stores."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers.ministack import ministack
from servers.process import S3Server
from servers.rclone import rclone

from .buckets import bucket_contents, folder_contents, make_bucket
from .process import DaemonProcess, s3_settings
from .rig import Rig

BUCKET = "daemon-test"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], S3Server]]:
    """Starts ministack or rclone when it is first asked for."""
    known: dict[str, S3Server] = {}
    with contextlib.ExitStack() as stack:

        def start(kind: str) -> S3Server:
            if kind not in known:
                run = {"ministack": ministack, "rclone": rclone}[kind]
                known[kind] = stack.enter_context(run(tmp_path_factory.mktemp(kind)))
                make_bucket(known[kind], BUCKET)
            return known[kind]

        yield start


@dataclass
class Place:
    """A destination, and what it holds as others see it. `settings`: with which a daemon reaches it."""

    kind: str
    uri: str
    settings: dict[str, str]
    contents: Callable[[], dict[str, bytes]]


@pytest.fixture
def make_place(tmp_path: Path, s3_server: Callable[[str], S3Server]) -> Callable[..., Place]:
    def make(kind: str, endpoint: str | None = None) -> Place:
        if kind == "directory":
            root = tmp_path / "disk"
            root.mkdir(exist_ok=True)
            return Place(kind, f"file://{root}/", {}, lambda: folder_contents(root))
        server, prefix = s3_server(kind), f"{secrets.token_hex(6)}/"

        def contents() -> dict[str, bytes]:
            return {k: v for k, v in bucket_contents(server, BUCKET, prefix).items() if not k.startswith(".lading/")}

        return Place(kind, f"s3://{BUCKET}/{prefix}", s3_settings(server, tmp_path, endpoint), contents)

    return make


@pytest.fixture(params=["directory", "ministack", "rclone"])
def place(request: pytest.FixtureRequest, make_place: Callable[..., Place]) -> Place:
    return make_place(request.param)


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    """Daemons, not yet started; killed at the end if they still run."""
    with contextlib.ExitStack() as stack:

        def make(*places: Place, name: str = "home", **settings: str) -> DaemonProcess:
            merged: dict[str, str] = {}
            for place in places:
                merged |= place.settings
            return stack.enter_context(DaemonProcess(tmp_path / name, merged | settings))

        yield make
