"""A catalog to test with: the real SQLite, a clock that ticks once a question, dice from a seed, and puts of numbered contents."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lading_catalog import media, replicas, tables
from lading_catalog.connection import open_catalog

EPOCH = 7
A, B, C = "file:///a/", "file:///b/", "file:///c/"
LIVE = ("wanted", "copying", "present")
STATES = ("wanted", "copying", "present", "dropping", "damaged")


def digest(content: int) -> bytes:
    return hashlib.sha256(f"content {content}".encode()).digest()


def size_of(content: int) -> int:
    return 1000 + content


class Kit:
    """`conn` on a catalog in `home`, and short words for what tests do with it. Methods open no transaction of their own unless
    they say so; `tx` does."""

    def __init__(self, home: Path, seed: int = 1) -> None:
        self.home = home
        self.at_ms = 1_700_000_000_000
        self.dice = random.Random(seed)
        self.files = 0
        self.conn = open_catalog(home, now_ms=self.now, random_bytes=self.dice.randbytes)

    def now(self) -> int:
        self.at_ms += 1
        return self.at_ms

    # Writing each in a transaction of its own; not synced, because no test here cuts the power.

    def sql(self, sql: str, bindings: Any = ()) -> int:
        with self.conn.writing(durable=False):
            return self.conn.run(sql, bindings)

    def new_file(self) -> media.LocalFile:
        self.files += 1
        return media.LocalFile(f"objects/{self.files % 256:03x}/{self.files:024x}.jpg", 10_000 + self.files, self.files)

    def item(self, content: int, uris: Sequence[str] | None = (), **more: Any) -> media.NewMedium:
        more.setdefault("name", f"IMG_{content:05}.jpg")
        return media.NewMedium(
            sha256=digest(content), size_bytes=size_of(content), file=self.new_file(), mime="image/jpeg",
            destinations=None if uris is None else tuple(uris), **more,
        )  # fmt: skip

    def put(self, content: int, uris: Sequence[str] | None = (), *, matches: bool = True, **more: Any) -> str:
        """The ULID of a new medium."""
        with self.conn.writing(durable=False):
            result = media.put(self.conn, [self.item(content, uris, **more)], tables.Defaults(), lambda *_: matches)
        return result.ulids[0]

    def delete(self, ulid: str) -> None:
        with self.conn.writing(durable=False):
            assert media.delete(self.conn, ulid)

    def pin(self, ulid: str, pinned: bool = True) -> None:
        with self.conn.writing(durable=False):
            assert media.pin(self.conn, ulid, pinned)

    def claim(self, ids: Iterable[int], epoch: int = EPOCH) -> list[replicas.Claim]:
        with self.conn.writing(durable=False):
            return replicas.claim(self.conn, list(ids), epoch)

    def confirm(self, ids: Iterable[int], epoch: int = EPOCH) -> int:
        with self.conn.writing(durable=False):
            return replicas.confirm(self.conn, [self.success(i) for i in ids], epoch)

    def success(self, replica_id: int) -> replicas.Success:
        return replicas.Success(replica_id, "put", "sha256", None, self.now())

    def lose(self, replica_id: int) -> bool:
        with self.conn.writing(durable=False):
            return replicas.lose(self.conn, replica_id)

    def drop(self, replica_id: int) -> bool:
        with self.conn.writing(durable=False):
            return replicas.drop(self.conn, replica_id, self.state(replica_id))

    def forget(self, replica_id: int) -> bool:
        with self.conn.writing(durable=False):
            return replicas.forget(self.conn, replica_id)

    def see_tombstones(self) -> None:
        self.sql("UPDATE tombstone SET seen_clock_ms = 1 WHERE seen_clock_ms IS NULL")

    def bring(self, *uris: str) -> None:
        """Claim and confirm all that is owed, or all that is owed to these."""
        ids = [
            i
            for uri in (uris or self.uris())
            for (i,) in self.conn.rows("SELECT id FROM owed WHERE store_id = ?", (self.store(uri),))
        ]
        self.claim(ids)
        assert self.confirm(ids) == len(ids)

    def source(self, uri: str = "file:///camera/") -> int:
        self.sql("INSERT INTO store (uri, role) VALUES (?, 'source') ON CONFLICT DO NOTHING", (uri,))
        return self.store(uri)

    def adopt(self, object_id: int, store_id: int, key: str = "k") -> int:
        """A present replica that came with its proof: an import or a restore."""
        with self.conn.writing(durable=False):
            self.conn.run(
                "INSERT INTO replica (object_id, store_id, key, state, proof_by, proof_algorithm, verified_at_ms)"
                " VALUES (?, ?, ?, 'present', 'head', 'md5', 5)",
                (object_id, store_id, key),
            )
            return self.conn.last_id()

    # Looking.

    def uris(self) -> list[str]:
        return [uri for (uri,) in self.conn.rows("SELECT uri FROM store WHERE role = 'destination' ORDER BY id")]

    def store(self, uri: str) -> int:
        return int(self.conn.value("SELECT id FROM store WHERE uri = ?", (uri,)))

    def object(self, content: int) -> int:
        return int(self.conn.value("SELECT id FROM object WHERE sha256 = ?", (digest(content),)))

    def object_state(self, content: int) -> str:
        return str(self.conn.value("SELECT state FROM object WHERE sha256 = ?", (digest(content),)))

    def replica(self, content: int, uri: str | None, states: Sequence[str] = LIVE) -> int:
        """The id of the one replica in these states; `uri` None is the local store."""
        store = 0 if uri is None else self.store(uri)
        found = self.conn.rows(
            f"SELECT id FROM replica WHERE object_id = ? AND store_id = ? AND state IN ({','.join('?' * len(states))})",
            (self.object(content), store, *states),
        )
        assert len(found) == 1, f"{len(found)} replicas of content {content} in {uri or 'the local store'}, {states}"
        return int(found[0][0])

    def state(self, replica_id: int) -> str:
        return str(self.conn.value("SELECT state FROM replica WHERE id = ?", (replica_id,)) or "")

    def ids(self, view: str, column: str = "id") -> set[int]:
        return {i for (i,) in self.conn.rows(f"SELECT {column} FROM {view}")}

    def tombstones(self) -> set[int]:
        return self.ids("tombstone", "replica_id")

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all tables: to show that nothing changed."""
        names = [n for (n,) in self.conn.rows("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")]
        return {name: self.conn.rows(f"SELECT * FROM {name}") for name in names}  # each has a primary key: the order is fixed

    def check(self) -> None:
        assert self.conn.rows("PRAGMA integrity_check") == [("ok",)]
        assert self.conn.rows("PRAGMA foreign_key_check") == []
