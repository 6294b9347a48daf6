"""Fetching: ask for copies on this disk, see that somebody brings them, and wait. The daemon does it; this side writes the wish only."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from lading.helper import Helper
from lading_catalog import fetching
from lading_catalog.errors import Error, Missing, NotFound, Unavailable
from lading_catalog.fetching import NORMAL, URGENT, Here

if TYPE_CHECKING:
    from lading.catalog import Catalog
    from lading.medium import Medium

_POLL_S = (0.001, 0.02)  # at first, at most
_WINDOW = 500  # objects on their way for one call
_SLICE = 100  # wants a transaction: a few milliseconds


class TooLate(Unavailable, TimeoutError):
    """A wait for a fetch ended before it had come; it goes on without."""

    urn, title, status, exit_code = "not-here-yet", "Not here yet", 504, 4


@dataclass
class FetchResult:
    """What became of a fetch of many. `fetched` were brought, `here` were here already; `failed` names the others and why."""

    fetched: int = 0
    here: int = 0
    size_bytes: int = 0  # of what was brought
    failed: list[tuple[Medium, Error]] = field(default_factory=list)


@dataclass(slots=True)
class Asked:
    """An object that was asked for when it had had so many attempts: what counts is an attempt that began later."""

    attempts: int
    priority: int
    here: Here


class Waiting:
    """Objects that were wanted and are waited for. Used by one thread."""

    def __init__(self, cat: Catalog, timeout_s: float | None = None) -> None:
        self._cat = cat
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._helper = Helper(cat.home, cat.config)
        self._asked: dict[int, Asked] = {}
        self._version = -1
        self._pause_s = _POLL_S[0]

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, object_ids: Iterable[int], priority: int) -> dict[int, Error]:
        """Want them. What no store has is returned with its error."""
        refused: dict[int, Error] = {}
        ids = iter(object_ids)
        while part := list(islice(ids, _SLICE)):
            with self._cat._lock, self._cat._conn.writing(durable=False) as conn:
                for object_id in part:
                    try:
                        fetching.want(conn, object_id, priority)
                    except Missing as e:
                        refused[object_id] = e
                for here in fetching.look_at(conn, [i for i in part if i not in refused]):
                    self._asked[here.object_id] = Asked(here.attempts, priority, here)
        if self._asked:
            self._helper.call()
        return refused

    def state(self, object_id: int) -> Here:
        """As it was when it was last looked at."""
        return self._asked[object_id].here

    def look(self) -> dict[int, Error | None]:
        """Those that are decided now, and are no longer waited for: None is here, else why not. Raises NoDaemon."""
        cat = self._cat
        with cat._lock:
            version = cat._conn.data_version()
            if version == self._version:
                self._helper.watch()
                return self._late()
            rows = fetching.look_at(cat._conn, self._asked)
            self._version, self._pause_s = version, _POLL_S[0]
        decided: dict[int, Error | None] = {}
        again: list[int] = []
        for here in rows:
            asked = self._asked[here.object_id]
            asked.here = here
            if here.state == "present":
                decided[here.object_id] = None
            elif here.media_n == 0:
                decided[here.object_id] = Missing("It was deleted meanwhile.")
            elif here.state is None:
                again.append(here.object_id)  # somebody has dropped it: gone with its media, or evicted at once
            elif here.state == "wanted" and (failure := here.failure()) is not None:
                if here.attempts > asked.attempts:
                    decided[here.object_id] = failure
                else:
                    again.append(here.object_id)  # the attempt that ended had begun before this was asked
        for object_id in decided:
            del self._asked[object_id]
        if again:
            self._ask_again(again, decided)
        self._helper.watch()
        return decided or self._late()

    def pause(self) -> None:
        time.sleep(self._pause_s)
        self._pause_s = min(self._pause_s * 1.25, _POLL_S[1])

    def _ask_again(self, object_ids: list[int], decided: dict[int, Error | None]) -> None:
        for priority in (URGENT, NORMAL):
            for object_id, error in self.ask([i for i in object_ids if self._asked[i].priority == priority], priority).items():
                decided[object_id] = error
                del self._asked[object_id]

    def _late(self) -> dict[int, Error | None]:
        if self._deadline is None or time.monotonic() < self._deadline:
            return {}
        error = TooLate(f"It is not here after {self._timeout_s:g} s.", hint="It is still being fetched; ask again later.")
        late: dict[int, Error | None] = dict.fromkeys(self._asked, error)
        self._asked.clear()
        return late


def fetch_one(cat: Catalog, here: Here, timeout_s: float | None = None) -> None:
    """Until this object is here. Raises what the last attempt ended with, Missing, or Unavailable after `timeout_s`."""
    waiting = Waiting(cat, timeout_s)
    decided: dict[int, Error | None] = dict(waiting.ask([here.object_id], URGENT))
    while not decided:
        decided = waiting.look()
        if not decided:
            waiting.pause()
    if (error := decided[here.object_id]) is not None:
        raise error


def each(cat: Catalog, media: Iterable[Medium], timeout_s: float | None = None) -> Iterator[tuple[Medium, bool, Error | None]]:
    """Bring the copies of many media here: each medium as it is decided, whether it was brought now, and what went wrong. Only so many
    are on their way at once, so `media` may be endless."""
    from lading.reading import whole_here

    waiting = Waiting(cat, timeout_s)
    by_object: dict[int, list[Medium]] = {}
    source, more = iter(media), True
    while more or by_object:
        if more and len(waiting) <= _WINDOW // 2:
            batch = list(islice(source, _SLICE))
            more = bool(batch)
            wanted: list[int] = []
            for medium in batch:
                with cat._lock:
                    here = fetching.look(cat._conn, medium.id[2:])
                if here is None:
                    yield medium, False, NotFound(f"There is no medium {medium.id}, or it was deleted.", id=medium.id)
                    continue
                try:
                    if here.state == "present" and whole_here(cat, here):
                        yield medium, False, None
                        continue
                except Error as e:
                    yield medium, False, e
                    continue
                if here.object_id not in by_object:
                    wanted.append(here.object_id)
                by_object.setdefault(here.object_id, []).append(medium)
            for object_id, refusal in waiting.ask(wanted, NORMAL).items():
                yield from ((medium, False, refusal) for medium in by_object.pop(object_id))
            continue
        if not (decided := waiting.look()):
            waiting.pause()
        for object_id, error in decided.items():
            yield from ((medium, error is None, error) for medium in by_object.pop(object_id))
