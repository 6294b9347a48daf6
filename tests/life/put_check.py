"""What must be true of a home after a crash, an error or a power cut, whatever was cut off."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from lading_catalog import localstore, media, recovery
from lading_catalog.connection import Connection
from life.put_scenarios import CHANGED, bytes_of

_ROWS = (
    "SELECT 'm_' || m.ulid, lower(hex(o.sha256)), o.size_bytes, r.key, o.state FROM medium m JOIN object o ON o.id = m.object_id"
    " LEFT JOIN replica r ON r.object_id = o.id AND r.store_id = 0 AND r.state = 'present'"
)


def recover(home: Path, conn: Connection) -> int:
    """As the daemon does when it starts: first a commit of its own, then the sessions of the dead."""
    with conn.writing():
        conn.run("UPDATE meta SET v = v + 1 WHERE k = 'epoch'")
    return recovery.recover(home, lambda key, sha256: media.has_local_copy(conn, key, sha256))


def finals(home: Path) -> set[str]:
    """Keys of all files under a final name."""
    objects = home / localstore.OBJECTS
    if not objects.exists():
        return set()
    return {
        f"{localstore.OBJECTS}/{shard.name}/{entry.name}" for shard in os.scandir(objects) for entry in os.scandir(shard.path)
    }


def staged(home: Path) -> list[str]:
    staging = home / localstore.STAGING
    if not staging.exists():
        return []
    return [f"{folder}/{name}" for folder in os.listdir(staging) for name in ["", *os.listdir(staging / folder)]]


def keys_with_rows(conn: Connection) -> set[str]:
    return {key for (key,) in conn.rows("SELECT key FROM replica WHERE store_id = 0")}


def wrong(home: Path, acked: Mapping[str, int], *, orphans: bool = False) -> list[str]:
    """Recover the home, and say what is wrong with it then; [] is all well. `orphans`: files without a row are allowed (the model of
    a power cut that keeps a name of one folder and drops that of another)."""
    conn = Connection(home)
    try:
        recover(home, conn)
        found = [f"integrity_check: {row}" for (row,) in conn.rows("PRAGMA integrity_check") if row != "ok"]
        found += [f"foreign_key_check: {row}" for row in conn.rows("PRAGMA foreign_key_check")]
        rows = conn.rows(_ROWS)
        promised = {hashlib.sha256(bytes_of(number)).hexdigest() for number in acked.values()}
        for ident, sha256, size, key, state in rows:
            if key is None:
                found.append(f"{ident} has no present local copy ({state})")
                continue
            try:
                data = (home / key).read_bytes()
            except OSError as e:
                found.append(f"{ident} is in the catalog without its file: {e}")
                continue
            if data == CHANGED and sha256 not in promised:
                continue  # by an outsider; the put that would have noticed did not come to its end
            if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
                found.append(f"{ident} has {len(data)} bytes, or others, on the disk; the catalog says {size}")
        digests = {ident: sha256 for ident, sha256, *_ in rows}
        for ident, number in acked.items():
            if digests.get(ident) != hashlib.sha256(bytes_of(number)).hexdigest():
                found.append(f"{ident} was acked and is not there, or is another content")
        if not orphans and (left := finals(home) - keys_with_rows(conn)):
            found.append(f"files without a row: {left}")
        if left_staged := staged(home):
            found.append(f"staging after recovery: {left_staged}")
        return found
    finally:
        conn.close()
