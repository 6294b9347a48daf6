"""From a URI to a provider: the one place. A provider is imported when the first destination of its kind is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from lading_catalog.errors import ConfigError
from ladingd.stores.base import Store


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What the configuration says of stores; None leaves a choice to the provider's own configuration."""

    s3_profile: str | None = None
    endpoint_url: str | None = None
    region: str | None = None
    addressing: Literal["auto", "path", "virtual"] = "auto"
    ca_bundle: str | None = None
    concurrency: int = 8
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0


def open_store(uri: str, settings: StoreSettings, facts: Mapping[str, Any] | None = None) -> Store:
    """The store behind a canonical URI (it ends in "/"). `facts`: of its last probe. Touches neither network nor disk.

    Raises ConfigError for a scheme that has no provider.
    """
    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        from ladingd.stores.directory import DirectoryStore

        return DirectoryStore(uri, unquote(rest), marker=(facts or {}).get("marker"))
    if scheme == "s3" or scheme.startswith("s3+"):
        from ladingd.stores.s3 import S3Store

        bucket, _, prefix = rest.partition("/")
        return S3Store(
            uri,
            bucket=bucket,
            prefix=prefix,
            profile=settings.s3_profile,
            endpoint_url=settings.endpoint_url,
            region=settings.region,
            addressing=settings.addressing,
            ca_bundle=settings.ca_bundle,
            concurrency=settings.concurrency,
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.read_timeout_s,
            facts=facts,
        )
    raise ConfigError(
        f"{uri}: there is no provider for {scheme or 'this'} yet",
        hint="use file:///path/ or s3://bucket/prefix/",
        uri=uri,
    )
