"""An iterator that runs in a thread, some items ahead: its caller writes while it receives and hashes. (Tried and not better: several
ranges at once. From a server on the same two cores they were no faster, and what waits for its turn costs memory.)"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator

ITEMS = 16  # of what a store hands out at once, 120 KiB to 1 MiB
_LOOK_S = 0.2


def ahead(items: Iterator[bytes]) -> Generator[bytes, None, None]:
    """The same items, and the same exception in the same place. Read it to its end or close it, so that the thread ends."""
    ready: queue.Queue[bytes | BaseException | None] = queue.Queue(ITEMS)
    given_up = threading.Event()

    def put(what: bytes | BaseException | None) -> None:
        while not given_up.is_set():
            try:
                ready.put(what, timeout=_LOOK_S)
                return
            except queue.Full:
                continue

    def run() -> None:
        try:
            for item in items:
                put(item)
                if given_up.is_set():
                    return
            put(None)
        except BaseException as e:  # noqa: BLE001  (raised again where the items are taken)
            put(e)

    threading.Thread(target=run, name="ahead", daemon=True).start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        given_up.set()
