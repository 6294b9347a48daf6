"""From a destination's row and the configuration to an open, probed store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lading_catalog.config import Config
from lading_catalog.stores import StoreRow
from ladingd.stores.base import Store
from ladingd.stores.open import StoreSettings, open_store


def settings(config: Config, uri: str) -> StoreSettings:
    return StoreSettings(
        s3_profile=config.s3_profile or None,
        endpoint_url=config.s3.endpoint_url or None,
        region=config.s3.region or None,
        addressing=config.s3.addressing,
        ca_bundle=config.s3.ca_bundle or None,
        concurrency=config.destination(uri).concurrency or config.concurrency,
    )


def opened(config: Config, row: StoreRow) -> tuple[Store, dict[str, Any] | None]:
    """The store, and what its probe has shown if it had to be probed now (the first use, or after a change of what it answers to).
    Raises an Error of the store's."""
    store = open_store(row.uri, settings(config, row.uri), row.probe)
    if row.probe is not None:
        return store, None
    try:
        facts = dict(store.probe().facts)
    except BaseException:
        store.close()
        raise
    store.close()
    return open_store(row.uri, settings(config, row.uri), facts), facts


def probe(config: Config, uri: str, marker: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Probe a destination once, for `lading destination test`. Raises an Error of the store's."""
    store = open_store(uri, settings(config, uri), marker)
    try:
        return dict(store.probe().facts)
    finally:
        store.close()
