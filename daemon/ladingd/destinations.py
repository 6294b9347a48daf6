"""From a destination's row and the configuration to an open, probed store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lading_catalog import uris
from lading_catalog.config import Config
from lading_catalog.errors import ConfigError, Refused
from lading_catalog.stores import StoreRow
from ladingd.stores.base import Store
from ladingd.stores.open import StoreSettings, open_store


def settings(config: Config, uri: str) -> StoreSettings:
    """What the configuration says of this destination. Raises ConfigError for one whose [endpoints.NAME] is gone."""
    own = config.destination(uri)
    if own.sse or own.sse_kms_key_id or own.storage_class:
        # Silence would let somebody believe that their objects are encrypted.
        raise ConfigError(
            f"{uri}: sse, sse_kms_key_id and storage_class are not there in this version.", hint="Take them out of config.toml."
        )
    name = uris.parse(uri, frozenset(config.endpoints)).endpoint
    at = config.endpoints[name] if name else config.s3
    return StoreSettings(
        s3_profile=(config.endpoints[name].profile if name else config.s3_profile) or None,
        endpoint_url=at.endpoint_url or None,
        region=at.region or None,
        addressing=at.addressing,
        ca_bundle=at.ca_bundle or None,
        concurrency=own.concurrency or config.concurrency,
    )


def opened(config: Config, row: StoreRow) -> tuple[Store, dict[str, Any] | None]:
    """The store, and what its probe has shown if it had to be probed now (the first use). Raises an Error of the store's."""
    if row.probe is not None:
        _same_place(config, row.uri, row.probe)
        return open_store(row.uri, settings(config, row.uri), row.probe), None
    facts = probe(config, row.uri)
    return open_store(row.uri, settings(config, row.uri), facts), facts


def reading(config: Config, row: StoreRow) -> Store:
    """The store to read from, probed or not: what is read is hashed anyhow. Raises an Error of the store's."""
    if row.probe is not None:
        _same_place(config, row.uri, row.probe)
    return open_store(row.uri, settings(config, row.uri), row.probe)


def probe(config: Config, uri: str, known: Mapping[str, Any] | None = None, *, moved: bool = False) -> dict[str, Any]:
    """Probe a destination with a canary: the facts to remember. `known`: those of the last probe. Raises an Error of the store's.

    `moved`: it is the same store under a new address, says a person."""
    if known is not None and not moved:
        _same_place(config, uri, known)
    store = open_store(uri, settings(config, uri), known)
    try:
        return {**store.probe().facts, "endpoint": _endpoint(config, uri)}
    finally:
        store.close()


def _endpoint(config: Config, uri: str) -> str:
    return settings(config, uri).endpoint_url or ""


def _same_place(config: Config, uri: str, facts: Mapping[str, Any]) -> None:
    """The same URI at another endpoint is another place: the copies that the catalog counts on are not there. Raises Refused."""
    then, now = facts.get("endpoint", ""), _endpoint(config, uri)
    if then != now:
        raise Refused(
            f"{uri} was first used at {then or 'Amazon S3'}, and the configuration now says {now or 'Amazon S3'}:"
            " another place, which does not hold the copies made so far.",
            hint="Set endpoint_url back and name the new place s3+NAME://…;"
            f" or, if it is the same store: lading destination test --moved {uri}",
        )
