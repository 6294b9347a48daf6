"""TLS with a private authority: both clients trust it when told, and neither when not."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from lading_catalog.errors import Unavailable
from ladingd.stores.base import Store, Upload
from ladingd.stores.open import open_store
from ladingd.stores.s3 import S3Store
from servers.process import S3Server

from .conftest import BUCKET, settings_for

SMALL = 8 << 20


@pytest.fixture(params=["ministack-https", "rclone-https"])
def server(request: pytest.FixtureRequest, servers: Callable[[str], S3Server]) -> S3Server:
    return servers(request.param)


@pytest.mark.parametrize("size", [10, SMALL + 10])
def test_one_answer_is_proof(
    server: S3Server,
    facts_of: Callable[[str, Store], Mapping[str, Any]],
    make_upload: Callable[..., Upload],
    size: int,
) -> None:
    uri = f"s3://{BUCKET}/{secrets.token_hex(6)}/"
    facts = facts_of(f"tls {server.endpoint}", open_store(uri, settings_for(server)))
    store = open_store(uri, settings_for(server), facts)
    assert isinstance(store, S3Store)
    data = random.Random(size).randbytes(size)
    assert store.put("k", make_upload(data)).by == "put"
    assert b"".join(store.get("k")) == data
    assert (store._small._fast is not None) == (size <= SMALL), "obstore takes the authority too"
    store.close()


@pytest.mark.parametrize("size", [10, SMALL + 10])
def test_an_unknown_authority_is_not_trusted(server: S3Server, make_upload: Callable[..., Upload], size: int) -> None:
    facts = {"proof": "digest", "algorithm": "md5", "etag_md5": True}
    store = open_store(f"s3://{BUCKET}/untrusted/", settings_for(server, ca_bundle=None), facts)
    with pytest.raises(Unavailable):
        store.put("k", make_upload(bytes(size)))
    with pytest.raises(Unavailable):
        store.stat("k")
    trusted = open_store(f"s3://{BUCKET}/untrusted/", settings_for(server))
    assert list(trusted.entries()) == []
