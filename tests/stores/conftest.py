"""The stores that the suite runs against. Servers start once per process; every test has a prefix of its own."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from ladingd.stores.base import Store, Upload
from ladingd.stores.directory import DirectoryStore
from ladingd.stores.open import StoreSettings, open_store
from ladingd.stores.s3 import S3Store
from servers import ministack as ministack_module
from servers import rclone as rclone_module
from servers.faults import FaultProxy, fault_proxy
from servers.ministack import ministack
from servers.process import S3Server
from servers.rclone import rclone
from servers.tls import Certificate, make_certificate

BUCKET = "lading-test"
SECRETS = (ministack_module.SECRET_KEY, rclone_module.SECRET_KEY, "canary-secret-wrong")


@dataclass
class Target:
    """One store under test. `make` opens it again with other facts or settings."""

    kind: str
    store: Store
    make: Callable[..., Store]

    @property
    def is_s3(self) -> bool:
        return self.kind != "directory"


@dataclass
class Faulty:
    """An S3 store behind the proxy, with the facts of its probe, and what the server itself holds."""

    kind: str
    store: S3Store
    make: Callable[..., S3Store]
    proxy: FaultProxy
    direct: Store


@pytest.fixture(scope="session", autouse=True)
def _credentials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Profiles of the servers, and nothing of the user's own AWS configuration."""
    path = tmp_path_factory.mktemp("aws") / "credentials"
    text = ""
    for profile, key, secret in (
        ("ministack", ministack_module.ACCESS_KEY, ministack_module.SECRET_KEY),
        ("rclone", rclone_module.ACCESS_KEY, rclone_module.SECRET_KEY),
        ("wrong", rclone_module.ACCESS_KEY, "canary-secret-wrong"),
    ):
        text += f"[{profile}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("AWS_"):
                patch.delenv(name)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def _make_bucket(server: S3Server) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        verify=server.ca,
    )
    client.create_bucket(Bucket=BUCKET)
    client.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Callable[[str], S3Server]]:
    """Starts a server when it is first asked for, by kind."""
    known: dict[str, S3Server] = {}
    with contextlib.ExitStack() as stack:

        def start(kind: str) -> S3Server:
            if kind not in known:
                folder = tmp_path_factory.mktemp(kind)
                tls = certificate if kind.endswith("-https") else None
                run = rclone if kind.startswith("rclone") else ministack
                known[kind] = stack.enter_context(run(folder, tls))
                _make_bucket(known[kind])
            return known[kind]

        yield start


@pytest.fixture(scope="session")
def facts_of() -> Callable[[str, Store], Mapping[str, Any]]:
    known: dict[str, Mapping[str, Any]] = {}

    def get(kind: str, store: Store) -> Mapping[str, Any]:
        if kind not in known:
            known[kind] = store.probe().facts
        return known[kind]

    return get


def _profile(kind: str) -> str:
    return "rclone" if kind.startswith("rclone") else "ministack"


def settings_for(server: S3Server, **changes: Any) -> StoreSettings:
    values = {"s3_profile": _profile(server.kind), "endpoint_url": server.endpoint, "ca_bundle": server.ca, **changes}
    return StoreSettings(**values)


@pytest.fixture(params=["directory", "ministack", "ministack-https", "rclone"])
def target(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    servers: Callable[[str], S3Server],
    facts_of: Callable[[str, Store], Mapping[str, Any]],
) -> Iterator[Target]:
    kind: str = request.param
    if kind == "directory":
        root = tmp_path / "disk"
        root.mkdir()
        uri = f"file://{root}/"
        marker = DirectoryStore(uri, str(root)).probe().facts["marker"]
        yield Target(kind, DirectoryStore(uri, str(root), marker=marker), lambda **kw: open_store(uri, StoreSettings(), kw))
        return
    server = servers(kind)
    uri = f"s3://{BUCKET}/{secrets.token_hex(6)}/"

    def make(*, facts: Mapping[str, Any] | None = None, **changes: Any) -> Store:
        return open_store(changes.pop("uri", uri), settings_for(server, **changes), facts)

    store = make(facts=facts_of(kind, make()))
    yield Target(kind, store, make)
    store.close()


@pytest.fixture(params=["ministack", "rclone"])
def faulty(
    request: pytest.FixtureRequest,
    servers: Callable[[str], S3Server],
    facts_of: Callable[[str, Store], Mapping[str, Any]],
) -> Iterator[Faulty]:
    kind: str = request.param
    server = servers(kind)
    prefix = f"{secrets.token_hex(6)}/"
    uri = f"s3://{BUCKET}/{prefix}"
    direct = open_store(uri, settings_for(server))
    with fault_proxy(server.port) as proxy:

        def make(**changes: Any) -> S3Store:
            values: dict[str, Any] = {
                "bucket": BUCKET,
                "prefix": prefix,
                "profile": _profile(kind),
                "endpoint_url": proxy.endpoint,
                "read_timeout_s": 20.0,
                "facts": facts_of(kind, direct),
            }
            return S3Store(uri, **{**values, **changes})

        store = make()
        yield Faulty(kind, store, make, proxy, direct)
        assert not proxy.unused, "a fault that never fired shows nothing"
        store.close()
        direct.close()


@pytest.fixture
def make_upload(tmp_path: Path) -> Callable[..., Upload]:
    """Writes a file and describes it."""

    def make(data: bytes, **changes: Any) -> Upload:
        path = tmp_path / f"source-{secrets.token_hex(4)}"
        path.write_bytes(data)
        values: dict[str, Any] = {
            "path": str(path),
            "sha256": hashlib.sha256(data).digest(),
            "size_bytes": len(data),
            "mime": "image/png",
            "name": "a.png",
        }
        return Upload(**{**values, **changes})

    return make
