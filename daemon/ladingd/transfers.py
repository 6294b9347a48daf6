"""Transfers: the part of the copier that waits for disks and networks. Threads take claims, call the store, and hand back what came
of it; they never touch the catalog."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from lading_catalog.connection import wall_ms
from lading_catalog.errors import Damaged, Error
from lading_catalog.replicas import Claim, Success
from ladingd.stores.base import Proof, Store, Upload

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a claim: `success`, or `error`."""

    claim: Claim
    success: Success | None
    error: Error | None


def copy(store: Store, claim: Claim, home: Path) -> Outcome:
    """Bring one object to its store. Never raises: an unforeseen exception is an error of this object only, and is logged."""
    try:
        if claim.local_key is None:
            raise Damaged("There is no copy on this disk to send.", reason="source_changed", hint="Put the file again.")
        upload = Upload(str(home / claim.local_key), claim.sha256, claim.size_bytes, claim.mime, claim.name)
        return Outcome(claim, accept(claim, store.put(claim.key, upload)), None)
    except Error as e:
        return Outcome(claim, None, e)
    except Exception as e:  # (a thread that died would hold its claim for ever)
        log.exception("transfer.crashed", destination=store.uri, key=claim.key)
        return Outcome(
            claim, None, Damaged(f"Unforeseen {type(e).__name__} while sending.", hint="Please report it with the log.")
        )


def accept(claim: Claim, proof: Proof) -> Success:
    """The last look at a proof before it counts. Raises Damaged where it shows other bytes than the catalog's."""
    digest = bytes.fromhex(proof.value)
    if proof.size_bytes != claim.size_bytes or (proof.algorithm == "sha256" and digest != claim.sha256) or not digest:
        raise Damaged(f"The store has {proof.size_bytes} bytes with {proof.algorithm} {proof.value}, not what was sent.")
    return Success(claim.replica_id, proof.by, proof.algorithm, None if proof.algorithm == "sha256" else digest, wall_ms())


T = TypeVar("T")


class Pool(Generic[T]):
    """Up to `size` threads for one destination, started as they are needed. A slow destination holds up no other's threads. `done` is
    called with what a job returns, unless that is None."""

    def __init__(self, name: str, size: int, done: Callable[[T], None]) -> None:
        self._name = name
        self._size = size
        self._done = done
        self._work: queue.SimpleQueue[Callable[[], T | None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def submit(self, job: Callable[[], T | None]) -> None:
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._size:
            # Daemon threads: a transfer that hangs must not hold up the end of the process; its claim is released at the next start.
            thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._work.put(job)

    def close(self) -> None:
        for _ in self._threads:
            self._work.put(None)

    def _run(self) -> None:
        while (job := self._work.get()) is not None:
            outcome = job()
            self._idle.release()
            if outcome is not None:
                self._done(outcome)
