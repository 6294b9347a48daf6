"""Evicting: which local copies may go now, and the act. What is safe stands in rules/20_safety.sql and is checked inside the transaction.

    choose ─► take the file's lock (leases.seize) ─► drop: all conditions again, FULL ─► unlink ─► fsync the folder ─► forget

The evictor of the daemon and `photo.evict()` do the same act. A crash after the drop leaves a row in `dropping`: the next daemon unlinks
the file, if it is there yet, and forgets the row. The copies in destinations are what the object has then.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from lading_catalog import leases, localstore
from lading_catalog.connection import Connection

CLOCK_SLACK_MS = 300_000  # a time further in the future than this is the trace of a clock that jumped
ASKED_MS = 0  # `used_at_ms` of a copy that somebody asked to evict: the first to go


@dataclass(frozen=True, slots=True)
class Candidate:
    """A copy that the schema would let go. `arrived_at_ms`: when its bytes came here; `last_used_ms`: when the copy that was evicted before
    this one had been used last, None if there was none."""

    replica_id: int
    object_id: int
    key: str
    size_bytes: int
    inode: int
    mtime_ns: int
    used_at_ms: int
    arrived_at_ms: int
    reused: bool
    last_used_ms: int | None


@dataclass(frozen=True, slots=True)
class ProofAge:
    """Which proofs are fresh: observed between `oldest_ms` and `newest_ms`. One from the future shows a clock that jumped."""

    oldest_ms: int
    newest_ms: int

    @classmethod
    def at(cls, now_ms: int, proof_max_age_ms: int) -> ProofAge:
        return cls(now_ms - proof_max_age_ms, now_ms + CLOCK_SLACK_MS)


@dataclass(frozen=True, slots=True)
class Stale:
    """A counted copy in a destination whose proof is too old: it has to be looked at before the local copy may go."""

    object_id: int
    replica_id: int
    store_id: int
    key: str
    sha256: bytes
    size_bytes: int
    algorithm: str
    value: bytes | None  # None: the object's SHA-256


@dataclass(frozen=True, slots=True)
class Renewed:
    """A fresh look at a copy: `value` None where it is the object's SHA-256."""

    replica_id: int
    by: str
    algorithm: str
    value: bytes | None
    verified_at_ms: int


_CANDIDATE = (
    "SELECT r.id, r.object_id, r.key, o.size_bytes, r.inode, r.mtime_ns, r.used_at_ms, coalesce(r.verified_at_ms, r.used_at_ms), r.reused,"
    " o.last_used_ms FROM {} JOIN object o ON o.id = r.object_id"
)


def candidates(conn: Connection, reused: bool, after: tuple[int, int], limit: int) -> list[Candidate]:
    """The next of one queue, the longest unused first, behind `after` (used_at_ms, replica id). One walk of the index."""
    rows = conn.rows(
        f"{_CANDIDATE.format('replica r')} WHERE r.hold = 'evictable' AND r.reused = ? AND r.used_at_ms >= ?"
        " AND (r.used_at_ms > ? OR r.id > ?) ORDER BY r.used_at_ms, r.id LIMIT ?",
        (reused, after[0], *after, limit),
    )
    return [_candidate(row) for row in rows]


def of_objects(conn: Connection, object_ids: Iterable[int]) -> list[Candidate]:
    """The candidates among the copies of these objects."""
    rows = conn.rows(
        _CANDIDATE.format("json_each(?) j CROSS JOIN replica r ON r.object_id = j.value AND r.store_id = 0")
        + " WHERE r.state IN ('wanted', 'copying', 'present') AND r.hold = 'evictable'",
        (json.dumps(list(object_ids)),),
    )
    return [_candidate(row) for row in rows]


def of_medium(conn: Connection, ulid: str) -> tuple[Candidate | None, str | None]:
    """The local copy of a medium, and what holds it here (`unsafe`, `pinned`, `evictable`, `unused`); (None, None) if there is none."""
    row = conn.one(
        f"{_CANDIDATE.format('medium m CROSS JOIN replica r ON r.object_id = m.object_id AND r.store_id = 0')}"
        " WHERE m.ulid = ? AND r.state IN ('wanted', 'copying', 'present') AND r.state = 'present'",
        (ulid,),
    )
    if row is None:
        return None, None
    found = _candidate(row)
    return found, conn.value("SELECT hold FROM replica WHERE id = ?", (found.replica_id,))


def _candidate(row: tuple[int, ...]) -> Candidate:
    *some, reused, last_used = row
    return Candidate(*some, bool(reused), last_used)  # type: ignore[call-arg,arg-type]


_FRESH = (
    "(SELECT count(*) FROM replica p WHERE p.object_id = o.id AND p.state IN ('wanted', 'copying', 'present') AND p.state = 'present'"
    " AND p.store_id <> 0 AND p.need_n > 0 AND p.verified_at_ms BETWEEN :oldest AND :newest)"
    " >= min(o.need_n, (SELECT v FROM meta WHERE k = 'min_copies'))"
)


def stale(conn: Connection, object_ids: Iterable[int], age: ProofAge) -> dict[int, list[Stale]]:
    """Of these objects those that have not enough fresh proofs, each with the counted copies that are to be looked at."""
    rows = conn.rows(
        "SELECT o.id, r.id, r.store_id, r.key, o.sha256, o.size_bytes, r.proof_algorithm, r.proof_value FROM json_each(:ids) j"
        " CROSS JOIN object o ON o.id = j.value CROSS JOIN replica r ON r.object_id = o.id"
        " AND r.state IN ('wanted', 'copying', 'present') AND r.state = 'present' AND r.store_id <> 0 AND r.need_n > 0"
        f" WHERE NOT {_FRESH} AND r.verified_at_ms NOT BETWEEN :oldest AND :newest",
        {"ids": json.dumps(list(object_ids)), "oldest": age.oldest_ms, "newest": age.newest_ms},
    )
    found: dict[int, list[Stale]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(Stale(*row))
    return found


def renew(conn: Connection, looks: Iterable[Renewed]) -> int:
    """Note fresh proofs of copies that are still present. Returns how many."""
    proofs = [[r.replica_id, r.by, r.algorithm, r.value and r.value.hex(), r.verified_at_ms] for r in looks]
    return conn.run(
        "UPDATE replica SET proof_by = j.value ->> 1, proof_algorithm = j.value ->> 2, proof_value = unhex(j.value ->> 3),"
        " verified_at_ms = j.value ->> 4 FROM json_each(?) j WHERE replica.id = j.value ->> 0 AND replica.state = 'present'",
        (json.dumps(proofs),),
    )


def used(conn: Connection, moves: Iterable[tuple[int, int, bool]]) -> None:
    """Put copies where their use has brought them: (replica id, used_at_ms, reused)."""
    conn.run_many(
        "UPDATE replica SET used_at_ms = ?2, reused = ?3 WHERE id = ?1 AND store_id = 0 AND state = 'present'",
        [(i, at, again) for i, at, again in moves],
    )


def ask(conn: Connection, replica_id: int) -> None:
    """Somebody wants this copy to go: it is the daemon's next, whatever the budget says."""
    conn.run(
        "UPDATE replica SET used_at_ms = ?, reused = 0 WHERE id = ? AND store_id = 0 AND state = 'present'",
        (ASKED_MS, replica_id),
    )


def asked(conn: Connection) -> bool:
    """Whether somebody waits for a copy to go."""
    return (
        conn.one("SELECT 1 FROM replica WHERE hold = 'evictable' AND reused = 0 AND used_at_ms = ? LIMIT 1", (ASKED_MS,))
        is not None
    )


def drop(conn: Connection, chosen: Sequence[Candidate], age: ProofAge) -> set[int]:
    """present → dropping, for those of which every condition still holds; which. The transaction has to be durable: the unlink follows.

    Besides what the schema refuses (not safe elsewhere, pinned): the copy is the file that was looked at, nobody used it meanwhile that
    the catalog knows of, and enough proofs are fresh."""
    try:
        return _drop(conn, chosen, age)
    except apsw.ConstraintError:
        taken: set[int] = set()
        for one in chosen:
            with contextlib.suppress(apsw.ConstraintError):
                taken |= _drop(conn, [one], age)
        return taken


def _drop(conn: Connection, chosen: Sequence[Candidate], age: ProofAge) -> set[int]:
    rows = conn.rows(
        "UPDATE replica SET state = 'dropping', due_at_ms = 0 FROM json_each(:chosen) j JOIN object o ON o.id = j.value ->> 1"
        " WHERE replica.id = j.value ->> 0 AND replica.store_id = 0 AND replica.state = 'present' AND replica.hold = 'evictable'"
        " AND replica.inode = j.value ->> 2 AND replica.mtime_ns = j.value ->> 3 AND replica.used_at_ms = j.value ->> 4"
        f" AND {_FRESH} RETURNING replica.id",
        {
            "chosen": json.dumps([[c.replica_id, c.object_id, c.inode, c.mtime_ns, c.used_at_ms] for c in chosen]),
            "oldest": age.oldest_ms,
            "newest": age.newest_ms,
        },
    )
    return {i for (i,) in rows}


def remember(conn: Connection, gone: Iterable[Candidate]) -> None:
    """Their objects remember when the evicted copies were used last."""
    conn.run_many(
        "UPDATE object SET last_used_ms = ? WHERE id = ?", [(c.used_at_ms, c.object_id) for c in gone if c.used_at_ms != ASKED_MS]
    )


def forget(conn: Connection, replica_ids: Iterable[int]) -> int:
    """dropping → no row, for local copies whose file is gone."""
    return conn.run(
        "DELETE FROM replica WHERE id IN (SELECT value FROM json_each(?)) AND store_id = 0 AND state = 'dropping'",
        (json.dumps(list(replica_ids)),),
    )


# -- the act -----------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Evicted:
    """What became of the chosen: `gone`; `busy`: read now; `changed`: no longer the file that was hashed, or not to be read; `kept`: the
    catalog did not let it go."""

    gone: list[Candidate] = field(default_factory=list)
    busy: list[Candidate] = field(default_factory=list)
    changed: list[Candidate] = field(default_factory=list)
    kept: list[Candidate] = field(default_factory=list)


Writing = Callable[[int, bool], AbstractContextManager[Connection]]  # (rows, durable): a writing transaction


def evict(home: Path, chosen: Sequence[Candidate], age: ProofAge, writing: Writing) -> Evicted:
    """Let the chosen copies go, as far as every rule allows. Raises OSError where the disk fails, CatalogError; what was dropped by then
    is finished by the next daemon."""
    result = Evicted()
    sound: list[Candidate] = []
    with contextlib.ExitStack() as held:
        for one in chosen:
            try:
                seized = leases.seize(home / one.key)
            except OSError as e:
                if e.errno in _NOT_ITS_FAULT:
                    raise
                result.changed.append(one)
                continue
            if seized is not None:
                held.callback(os.close, seized[0])
                (sound if _is(seized[1], one) else result.changed).append(one)
            elif os.path.lexists(home / one.key):
                result.busy.append(one)
            else:  # somebody has removed it by hand: only its row is left to go
                sound.append(one)
        if not sound:
            return result
        with writing(len(sound), True) as conn:
            taken = drop(conn, sound, age)
        result.gone = [c for c in sound if c.replica_id in taken]
        result.kept = [c for c in sound if c.replica_id not in taken]
        unlink_dropped(home, [c.key for c in result.gone])
        if result.gone:
            with writing(len(result.gone), False) as conn:
                remember(conn, result.gone)
                forget(conn, taken)
    return result


_NOT_ITS_FAULT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # no file of this one is wrong


def _is(found: os.stat_result, one: Candidate) -> bool:
    return (found.st_size, found.st_ino, found.st_mtime_ns) == (one.size_bytes, one.inode, one.mtime_ns)


def unlink_dropped(home: Path, keys: Iterable[str]) -> None:
    """Unlink local copies whose rows are in `dropping`, and make it durable: an unlink alone comes back after a power cut. Absent is
    success. Raises OSError."""
    folders = set()
    for key in keys:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(home / key)
        folders.add((home / key).parent)
    for folder in folders:  # after all of them: the first sync carries the other folders' unlinks with it
        with contextlib.suppress(FileNotFoundError):
            localstore.sync_path(folder)
