"""Local copies whose file is another one than was hashed (a home that was copied has new inodes everywhere) are hashed again, in a thread:
a large one takes minutes. Whole: the catalog notes the file as it is now. Else it is set aside with its bytes; nothing is unlinked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from lading_catalog import cache, journal, localstore, media, replicas
from lading_catalog.connection import Connection
from lading_catalog.evicting import Candidate
from lading_catalog.localstore import Hashed
from lading_catalog.stores import LOCAL
from ladingd.pace import Pace
from ladingd.transfers import Pool

log = structlog.get_logger()

WAITING_MAX = 64


@dataclass(frozen=True, slots=True)
class Seen:
    """`found`: None if two looks did not show what was put."""

    one: Candidate
    found: Hashed | None


class Rehashes:
    def __init__(self, conn: Connection, pace: Pace, home: Path, wake: Callable[[], None]) -> None:
        self._conn, self._pace, self._home, self._wake = conn, pace, home, wake
        self._pool: Pool[Seen] = Pool("rehash", 1, self._ended)
        self._done: deque[Seen] = deque()
        self._out: set[int] = set()

    @property
    def busy(self) -> int:
        return len(self._out)

    @property
    def full(self) -> bool:
        return len(self._out) >= WAITING_MAX

    def ask(self, one: Candidate) -> None:
        if one.replica_id not in self._out:
            self._out.add(one.replica_id)
            sha256 = cache.sha256_of(self._conn, one.object_id)
            self._pool.submit(lambda: self._look(one, sha256))

    def record(self) -> dict[int, bool]:
        """Write down what was seen: object → whether its copy is whole."""
        ended = [self._done.popleft() for _ in range(min(len(self._done), self._pace.slice))]
        for seen in ended:
            self._out.discard(seen.one.replica_id)
            with self._pace.writing(1) as conn:
                if seen.found is not None:
                    media.note_file(conn, seen.one.replica_id, seen.found)
                elif replicas.lose(conn, seen.one.replica_id):
                    detail = {"key": seen.one.key, "message": "not what was put any more"}
                    journal.note(conn, "damage.found", store_id=LOCAL, detail=detail)
                    log.error("damage.found", **detail)
        return {seen.one.object_id: seen.found is not None for seen in ended}

    def close(self) -> None:
        self._pool.close()

    def _look(self, one: Candidate, sha256: bytes) -> Seen:
        for _ in range(2):  # one bad read is no proof
            found = localstore.hashed(self._home, one.key)
            if found is not None and found.sha256 == sha256:
                return Seen(one, found)
        return Seen(one, None)

    def _ended(self, seen: Seen) -> None:
        self._done.append(seen)
        self._wake()
