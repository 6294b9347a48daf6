"""Incoming bytes: the part of a fetch that waits for stores and for the disk. Runs in a thread of its own and never touches the catalog.

A source that fails is left for the next one, which goes on where the part ends. Only bytes with the catalogued SHA-256 get the final
name; where they are wrong, the part begins anew, once for each source that has it all to answer for.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import structlog

from lading_catalog.errors import Archived, Damaged, Error, Missing, Refused, Unavailable
from lading_catalog.fetching import Arrived, Fetch, Source
from lading_catalog.names import printable
from lading_catalog.parts import Abandoned, Part, full, published
from lading_catalog.status import disk_free
from ladingd.ahead import ahead
from ladingd.stores.base import Store
from ladingd.suspects import Sighting

log = structlog.get_logger()

WRONG_AT_MOST = 2  # complete downloads of one source in one attempt
AHEAD_FROM_BYTES = 8 << 20  # below, a thread more costs more than it brings
CUTS_AT_MOST = 4  # connections of one source that broke after they had brought something

ReadStore = Callable[[Source], Store]

# Which error of several sources is told: what time mends, what somebody can mend, then what is wrong with the copies.
_TELL_FIRST: tuple[type[Error], ...] = (Unavailable, Archived, Refused, Damaged, Missing)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of a fetch: `arrived`, or `error`. `origin`: the source that brought all of it, if one did. `seen`: what was wrong on
    the way."""

    fetch: Fetch
    arrived: Arrived | None
    error: Error | None
    origin: int | None = None
    seen: tuple[Sighting, ...] = ()


class Incoming:
    """One attempt of one fetch."""

    def __init__(self, fetch: Fetch, part: Part, read: ReadStore, room: Room) -> None:
        self._fetch, self.part = fetch, part
        self._read, self._room = read, room
        self._origin: int | None = None  # the source of all bytes of the part
        self._seen: list[Sighting] = []

    def run(self) -> Fetched | None:
        """Never raises; None when it was abandoned."""
        try:
            return self._run()
        except Abandoned:
            return None
        except Error as e:
            return self._failed(e)
        except Exception as e:  # (a thread that died would hold its claim for ever)
            log.exception("fetch.crashed", key=self._fetch.key)
            return self._failed(
                Unavailable(f"Unforeseen {type(e).__name__} while fetching.", hint="Please report it with the log.")
            )
        finally:
            self._room.give(self.part)
            self.part.close()

    def _failed(self, error: Error) -> Fetched:
        return Fetched(self._fetch, None, error, None, tuple(self._seen))

    def _run(self) -> Fetched:
        fetch, part = self._fetch, self.part
        if (found := published(part.home, fetch.replica_id, fetch.key, fetch.sha256)) is not None:
            return Fetched(fetch, found, None)
        part.open()
        self._room.take(part)
        error = None if part.whole() else self._from_sources()
        if error is not None:
            return self._failed(error)
        return Fetched(fetch, part.publish(), None, self._origin, tuple(self._seen))

    def _from_sources(self) -> Error | None:
        """Until the part is whole; else the error to tell."""
        part, left = self.part, list(self._fetch.sources)
        wrong: Counter[int] = Counter()
        cuts: Counter[int] = Counter()
        errors: list[Error] = []
        while left:
            source = left.pop(0)
            if part.length == part.size_bytes:  # as long as it should be, and not it
                part.restart()
            at = part.length
            if at == 0:
                self._origin = source.replica_id
            elif self._origin != source.replica_id:
                self._origin = None
            error = self._continue(source)
            if error is None and part.whole():
                return None
            if error is None or isinstance(error, Damaged):
                error = error or Damaged(f"{source.uri}{printable(source.key)} has other bytes than were put.", key=source.key)
                part.restart()
                if self._origin is None:  # perhaps the fault of what another one had brought
                    left.insert(0, source)
                    continue
                self._see(source, error)
                wrong[source.replica_id] += 1
                if wrong[source.replica_id] < WRONG_AT_MOST:
                    left.append(source)
            elif isinstance(error, Missing):
                self._see(source, error)
            elif isinstance(error, Unavailable) and part.length > at:
                cuts[source.replica_id] += 1
                if cuts[source.replica_id] < CUTS_AT_MOST:
                    left.append(source)
            errors.append(error)
        return min(errors, key=_rank, default=Missing("No store has a copy of it any more.", hint="Put the original file again."))

    def _continue(self, source: Source) -> Error | None:
        """Append what a source has from where the part ends. An error of the source is returned, one of this disk raised."""
        part = self.part
        try:
            chunks = self._chunks(self._read(source), source)
        except Error as e:
            return e
        with contextlib.closing(chunks):
            while True:
                try:
                    chunk = next(chunks, None)
                except Error as e:
                    return e
                if chunk is None:
                    return None
                if part.length + len(chunk) > part.size_bytes:
                    return Damaged(f"{source.uri}{printable(source.key)} is longer than what was put.", key=source.key)
                part.append(chunk)

    def _chunks(self, store: Store, source: Source) -> Generator[bytes, None, None]:
        """What the store has from where the part ends, hashed; of a large object while the part is written."""
        chunks = self.part.hashing(store.get(source.key, self.part.length))
        return ahead(chunks) if self.part.size_bytes - self.part.length >= AHEAD_FROM_BYTES else chunks

    def _see(self, source: Source, error: Error) -> None:
        if not source.damaged:
            self._seen.append(Sighting(source, error))


def _rank(error: Error) -> int:
    return next((i for i, kind in enumerate(_TELL_FIRST) if isinstance(error, kind)), 0)


class Room:
    """The space that fetches will still take: `min_free_bytes` stay free, however many write at once. Thread-safe."""

    def __init__(self, home: Path, min_free_bytes: int) -> None:
        self._home, self._min_free_bytes = home, min_free_bytes
        self._mutex = threading.Lock()
        self._writing: set[Part] = set()

    def take(self, part: Part) -> None:
        """Raises Full."""
        with self._mutex:
            free, _ = disk_free(self._home)
            wanted = sum(p.size_bytes - p.length for p in {*self._writing, part})
            if free - wanted < self._min_free_bytes:
                raise full(self._home)
            self._writing.add(part)

    def give(self, part: Part) -> None:
        with self._mutex:
            self._writing.discard(part)
