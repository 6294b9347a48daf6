"""The daemon's ear: wakes the service when a writer rings the doorbell (lading_catalog.doorbell)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from lading_catalog import doorbell

# A touch: `attrib` since watchdog 7, `modified` before. Not what opening and closing the file say.
_RINGS = ("attrib", "modified")


class _Handler(FileSystemEventHandler):
    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _RINGS:
            self._ring()


def listen(home: Path, ring: Callable[[], None]) -> BaseObserver:
    """Start listening; the caller stops the observer. Raises OSError where the system has no watches left."""
    observer = Observer()
    observer.schedule(_Handler(ring), str(doorbell.prepare(home)), recursive=False)
    observer.daemon = True
    observer.start()
    return observer
