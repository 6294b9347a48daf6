"""What the crash, error and power-cut tests let a process do: puts of known contents, and a report after each that returned.

A scenario runs in a process of its own (put_process.py). It says `ready` when everything before the put under test is done, waits
until it is let go, and then reports with writev, a call that no test counts or breaks: `acked <ulid>`, `raised <JSON>`, `end`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import lading

JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1"
CHANGED = b"something else"  # what an outsider writes into a local copy
REPORT_FD, GO_FD = 3, 4


def content(number: int) -> bytes:
    """Of medium `number` of a scenario; the sizes differ, and one does not fit into a page."""
    return JPEG + bytes([number]) * (1500 + 3100 * number)


def name(number: int) -> str:
    return f"IMG_{number}.jpg"


def source(home: Path, number: int) -> Path:
    """The file of medium `number`, outside the home."""
    return home.parent / "sources" / name(number)


def write_sources(home: Path) -> None:
    (home.parent / "sources").mkdir(exist_ok=True)
    for number in range(4):
        source(home, number).write_bytes(content(number))


def report(*words: str) -> None:
    os.writev(REPORT_FD, [" ".join(words).encode() + b"\n"])


def go() -> None:
    """Everything is ready: wait to be let go. What the tests count, kill and break begins here."""
    report("ready")
    if os.read(GO_FD, 1) != b"g":
        os._exit(3)


def acked(medium: lading.Medium, number: int) -> None:
    report("acked", medium.id, str(number))


def single(home: Path) -> None:
    with lading.open(home) as cat:
        cat.put(content(0), name=name(0))  # so that its session is open
        go()
        acked(cat.put(source(home, 1)), 1)


def first(home: Path) -> None:
    """The first put of all: home, catalog, folders and session are made too."""
    go()
    with lading.open(home) as cat:
        acked(cat.put(source(home, 1)), 1)


def dedup(home: Path) -> None:
    with lading.open(home) as cat:
        cat.put(content(1), name="before.jpg")
        go()
        acked(cat.put(source(home, 1)), 1)


def dedup_changed(home: Path) -> None:
    """The bytes are there already, but their local copy was changed: a new one is published, the old one set aside."""
    with lading.open(home) as cat:
        medium = cat.put(content(1), name="before.jpg")
        with medium.local() as path:
            path.write_bytes(CHANGED)
        go()
        acked(cat.put(source(home, 1)), 1)


def batch(home: Path) -> None:
    with lading.open(home) as cat:
        cat.put(content(0), name=name(0))
        go()
        with cat.batch() as puts:
            media = [puts.put(source(home, number)) for number in (1, 2, 3)]
        for number, medium in enumerate(media, 1):
            acked(medium, number)


def move(home: Path) -> None:
    with lading.open(home) as cat:
        cat.put(content(0), name=name(0))
        go()
        acked(cat.put(source(home, 1), move=True), 1)


def unknown(home: Path) -> None:
    """Bytes that need the package `filetype` to be told, from memory, in a session that is not open yet."""
    with lading.open(home) as cat:
        go()
        acked(cat.put(content(2)[20:], name=name(2)), -2)


def first_batch(home: Path) -> None:
    go()
    with lading.open(home) as cat, cat.batch() as puts:
        media = [puts.put(source(home, number)) for number in (1, 2, 3)]
        puts.commit()
        for number, medium in enumerate(media, 1):
            acked(medium, number)


def a_day(home: Path) -> None:
    """Single, batch with twins, dedup, a move, a copy that was changed, in two sessions with a checkpoint in between."""
    go()
    with lading.open(home) as cat:
        acked(cat.put(source(home, 1)), 1)
        media = cat.batch()
        with media as puts:
            two, twin, three = puts.put(source(home, 2)), puts.put(content(2), name="twin.jpg"), puts.put(source(home, 3))
        for medium, number in ((two, 2), (twin, 2), (three, 3)):
            acked(medium, number)
        acked(cat.put(content(1), name="again.jpg"), 1)
    with lading.open(home) as cat:
        acked(cat.put(source(home, 3), move=True), 3)
        acked(cat.put(source(home, 0), move=True), 0)


def evicted(home: Path) -> None:
    """Media that are safe elsewhere lose their copies here: one by hand, two in one transaction."""
    from lading_catalog import evicting, replicas, stores

    go()
    with lading.open(home) as cat:
        media = [cat.put(source(home, n), destination=f"file://{home.parent}/nas/") for n in (1, 2, 3)]
        for medium, number in zip(media, (1, 2, 3), strict=True):
            acked(medium, number)
        conn = cat._conn
        with conn.writing():
            (store,) = stores.destinations(conn)
            ids = [claim.replica_id for claim in replicas.claim(conn, replicas.claimable(conn, store.id, conn.now_ms(), 9, 0), 1)]
            replicas.confirm(conn, [replicas.Success(i, "read", "sha256", None, conn.now_ms()) for i in ids], 1)
        media[0].evict()
        evicting.evict(
            home, evicting.candidates(conn, False, (-1, 0), 9), evicting.ProofAge.at(conn.now_ms(), 60_000),
            lambda rows, durable: conn.writing(durable=durable),
        )  # fmt: skip


SCENARIOS: dict[str, Callable[[Path], None]] = {
    f.__name__: f for f in (single, first, dedup, dedup_changed, batch, move, unknown, first_batch, a_day, evicted)
}
# Contents that each scenario of the crash and error tests puts after `go`; the power-cut tests have their own.
PUTS = {"single": [1], "first": [1], "dedup": [1], "dedup_changed": [1], "batch": [1, 2, 3], "move": [1], "unknown": [-2]}


AGAIN = 100  # added to the number of a content that is tried anew: other bytes, or it would mend what the first try has left


def bytes_of(number: int) -> bytes:
    if number > AGAIN // 2:
        return bytes_of(number - AGAIN) + b"again"
    return content(number) if number >= 0 else content(-number)[20:]


def run(scenario: str, home: Path, *, again: bool = False) -> None:
    """In the child. `again`: an error is reported, and then another put is tried."""
    try:
        SCENARIOS[scenario](home)
    except BaseException as e:
        hint = getattr(e, "hint", "")
        kind = "lading" if isinstance(e, lading.Error) else "bare"
        report("raised", json.dumps([kind, type(e).__name__, str(e), hint]))
        if again and isinstance(e, (lading.Error, KeyboardInterrupt)):
            _again(scenario, home)
    report("end")


def _again(scenario: str, home: Path) -> None:
    try:
        with lading.open(home) as cat:
            for number in PUTS[scenario]:
                medium = cat.put(bytes_of(number + AGAIN), name=f"again-{name(abs(number))}")
                report("again", medium.id, str(number + AGAIN))
    except BaseException as e:
        report("again-raised", json.dumps([type(e).__name__, str(e)]))
