"""The open stores of this process, shared by those who send and those who read: one connection pool a destination."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from lading_catalog.config import Config
from lading_catalog.stores import StoreRow
from ladingd import destinations
from ladingd.stores.base import Store


class OpenStores:
    """Thread-safe."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._mutex = threading.Lock()
        self._by_id: dict[int, Store] = {}

    def opened(self, row: StoreRow) -> tuple[Store, dict[str, Any] | None]:
        """`destinations.opened`: always anew, so that new credentials are read; readers take this one from now on."""
        store, facts = destinations.opened(self._config, row)
        return self._remember(row.id, store), facts

    def reading(self, row: StoreRow) -> Store:
        """The store that is open, else opened without a probe: nothing is written there to read from it. Raises an Error of the
        store's."""
        with self._mutex:
            found = self._by_id.get(row.id)
        return found if found is not None else self._remember(row.id, destinations.reading(self._config, row))

    def forget(self, store_id: int) -> None:
        """Its credentials were refused: the next one to read opens it again."""
        with self._mutex:
            self._by_id.pop(store_id, None)

    def close(self) -> None:
        with self._mutex:
            stores, self._by_id = self._by_id, {}
        for store in stores.values():
            with contextlib.suppress(Exception):
                store.close()

    def _remember(self, store_id: int, store: Store) -> Store:
        with self._mutex:
            self._by_id[store_id] = store  # (one that it replaces may still be in use)
        return store
