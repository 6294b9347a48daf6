"""A random walk beside a plain model: after every step all that the triggers count is counted anew, in Python, from the few facts
that a person would name – which media there are, where they are to go, and in which state each replica is."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from pathlib import Path

import apsw
import pytest

from catalog_kit import EPOCH, LIVE, A, B, C, Kit, size_of
from lading_catalog import deleting, replicas, safety, tables
from lading_catalog.errors import ConfigError, NotFound, Refused, Unavailable

URIS = (A, B, C)
CONTENTS = range(1, 6)
TABLES = ("one", "two", "three")
WALKS, STEPS = 6, 300


class Walk:
    """One walk over one catalog. `media`: what the model knows of each living medium; the rest is read and recomputed."""

    def __init__(self, kit: Kit, seed: int) -> None:
        self.kit, self.dice = kit, random.Random(seed)
        self.media: dict[str, dict[str, object]] = {}
        self.deleted: set[str] = set()
        self.graves: dict[str, dict[str, object]] = {}
        self.keys: dict[int, str] = {}
        self.min_copies: int | None = None
        self.journal = 0
        self.done: Counter[str] = Counter()

    # -- steps: each returns whether it did something ---------------------------------------------------------------------------

    def put(self) -> bool:
        table = self.dice.choice(TABLES)
        uris = self.dice.choice([None, self.dice.sample(URIS, self.dice.randint(0, 3))])
        content = self.dice.choice(CONTENTS)
        given = uris is not None
        if uris is None:
            uris = self.columns.get(table, [])
        ulid = self.kit.put(
            content, uris if given else None, table=table, matches=self.dice.random() < 0.8, priority=self.dice.randrange(3)
        )
        self.media[ulid] = {"content": content, "table": table, "uris": frozenset(uris), "given": given, "pinned": False}
        return True

    columns: dict[str, list[str]]

    def delete(self) -> bool:
        if not self.media:
            return False
        ulid = self.dice.choice(sorted(self.media))
        self.kit.delete(ulid)
        self.graves[ulid] = self.media.pop(ulid)
        self.deleted.add(ulid)
        return True

    def undelete(self) -> bool:
        """A deleted medium that has a copy left comes back as it was."""
        for ulid in self.dice.sample(sorted(self.graves), min(2, len(self.graves))):
            try:
                with self.kit.conn.writing(durable=False):
                    deleting.undelete(self.kit.conn, ulid)
            except NotFound:
                continue
            except ConfigError:
                assert self.graves[ulid]["table"] in self.dropped, "only what was in a dropped table may be refused"
                continue
            known = self.media[ulid] = self.graves.pop(ulid)
            self.deleted.discard(ulid)
            if known["table"] in self.dropped:
                self.reopened(str(known["table"]))
            if not known["given"] and known["table"] in self.columns:
                known["uris"] = frozenset(self.columns[str(known["table"])])
            return True
        return False

    def drop_table(self) -> bool:
        """From now on the model calls it by another name, until its media are deleted or an undelete brings it back."""
        table, closed = self.dice.choice(TABLES), f"dropped {len(self.closed)}"
        try:
            with self.kit.conn.writing(durable=False):
                if self.dice.random() < 0.5:
                    tables.drop_table(self.kit.conn, table)
                else:
                    tables.drop_column(self.kit.conn, table, "file")
        except NotFound:
            return False
        self.closed.append(closed)
        self.dropped[closed] = table, self.columns.pop(table, None)
        self.rename(table, closed)
        return True

    def close(self) -> bool:
        """A slice of what is being dropped."""
        with self.kit.conn.writing(durable=False):
            n = tables.close_step(self.kit.conn, self.dice.randint(1, 4))
        left = {u for (u,) in self.kit.conn.rows("SELECT ulid FROM medium")}
        gone = sorted(set(self.media) - left)
        assert len(gone) == n
        for ulid in gone:
            assert self.media[ulid]["table"] in self.dropped, "a medium of a living column was deleted"
            self.graves[ulid] = self.media.pop(ulid)
            self.deleted.add(ulid)
        return n > 0

    def reopened(self, closed: str) -> None:
        table, uris = self.dropped.pop(closed)
        assert not any(m["table"] == table for m in self.media.values()), "it took the name of a living one"
        if uris is not None:
            self.columns[table] = uris
        self.rename(closed, table)

    def rename(self, old: str, new: str) -> None:
        for known in (*self.media.values(), *self.graves.values()):
            known["table"] = new if known["table"] == old else known["table"]

    dropped: dict[str, tuple[str, list[str] | None]]
    closed: list[str]

    def pin(self) -> bool:
        if not self.media:
            return False
        ulid = self.dice.choice(sorted(self.media))
        self.media[ulid]["pinned"] = pinned = self.dice.random() < 0.4
        self.kit.pin(ulid, pinned)
        return True

    def set_destination(self) -> bool:
        table, uris = self.dice.choice(TABLES), self.dice.sample(URIS, self.dice.randint(0, 3))
        with self.kit.conn.writing(durable=False):
            tables.set_destination(self.kit.conn, table, "file", uris, make=True)
        self.columns[table] = uris
        self.moving[table] = True
        return True

    moving: dict[str, bool]

    def move(self) -> bool:
        """To the end, in small steps, checked after each: who has moved is read back, and must be allowed to."""
        conn = self.kit.conn
        if not tables.moves_due(conn):
            return False
        with conn.writing(durable=False):
            tables.move_step(conn, self.dice.randint(1, 4))
        for ulid, stores in conn.rows("SELECT m.ulid, d.stores FROM medium m LEFT JOIN dest_set d ON d.id = m.set_id"):
            uris = frozenset(self.kit.conn.value("SELECT uri FROM store WHERE id = ?", (i,)) for i in json.loads(stores or "[]"))
            known = self.media[ulid]
            if uris != known["uris"]:
                assert not known["given"]
                assert uris == frozenset(self.columns[str(known["table"])])
                known["uris"] = uris
        if not tables.moves_due(conn):
            for known in self.media.values():
                if not known["given"] and known["table"] in self.columns:
                    assert known["uris"] == frozenset(self.columns[str(known["table"])])
        return True

    def _some(self, view: str) -> list[int]:
        found = sorted(self.kit.ids(view))
        return self.dice.sample(found, min(len(found), self.dice.randint(1, 3)))

    def claim(self) -> bool:
        return bool(self.kit.claim(self._some("owed")))

    def confirm(self) -> bool:
        ids = self._some("replica WHERE state = 'copying'")
        with self.kit.conn.writing(durable=False):
            for rid in ids:
                self.kit.conn.run("UPDATE replica SET inode = 1, mtime_ns = 1 WHERE id = ? AND store_id = 0", (rid,))
            return bool(replicas.confirm(self.kit.conn, [self.kit.success(i) for i in ids], EPOCH))

    def release(self) -> bool:
        error = self.dice.choice([Refused("no"), Unavailable("later")])
        failures = [replicas.Failure(i, error, self.kit.now() + 1000) for i in self._some("replica WHERE state = 'copying'")]
        with self.kit.conn.writing(durable=False):
            return bool(replicas.release(self.kit.conn, failures, EPOCH, self.kit.now()))

    def lose(self) -> bool:
        return sum(self.kit.lose(i) for i in self._some("replica WHERE state = 'present'")[:1]) > 0

    def evict(self) -> bool:
        return sum(self.kit.drop(i) for i in self._some("evictable")) > 0

    def use_again(self) -> bool:
        return sum(self.kit.sql("UPDATE replica SET reused = 1 - reused WHERE id = ?", (i,)) for i in self._some("evictable")) > 0

    def fetch(self) -> bool:
        """Want an evicted object here."""
        gone = (
            "object o WHERE media_n > 0 AND NOT EXISTS (SELECT 1 FROM replica WHERE object_id = o.id AND store_id = 0"
            " AND state IN ('wanted', 'copying', 'present'))"
        )
        for i in self._some(gone)[:1]:
            self.kit.sql(
                "INSERT INTO replica (object_id, store_id, key, state) VALUES (?, 0, ?, 'wanted')", (i, self.kit.new_file().key)
            )
            return True
        return False

    def sweep(self) -> bool:
        """Drop what nothing needs, as far as the guard allows."""
        self.kit.see_tombstones()
        done = False
        for rid in self._some("unwanted"):
            state = self.kit.state(rid)
            try:
                done |= self.kit.drop(rid)
            except apsw.ConstraintError as e:
                if (state, str(e)) != ("present", "not safe elsewhere"):
                    raise
        return done

    def forget(self) -> bool:
        return sum(self.kit.forget(i) for i in self._some("replica WHERE state = 'dropping'")) > 0

    def drop_anything(self) -> bool:
        """Somebody tries to drop what he should not: never the last good copy."""
        for rid in self._some("replica WHERE state IN ('wanted', 'present', 'damaged')")[:1]:
            try:
                return self.kit.drop(rid)
            except apsw.ConstraintError:
                return False
        return False

    def set_min_copies(self) -> bool:
        number = self.dice.choice([None, 1, 2])
        conn = self.kit.conn
        with conn.writing(durable=False):
            safety.set_min_copies(conn, number)
        self.min_copies = number
        while safety.review_due(conn):
            with conn.writing(durable=False):
                safety.review_step(conn, 2)
        return True

    # -- the oracle -------------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        conn, kit = self.kit.conn, self.kit
        columns = "id, object_id, store_id, state, need_n, blocked, hold, key, inode, proof_by"
        found = conn.rows(f"SELECT {columns} FROM replica")
        contents: dict[int, int] = {
            kit.object(n): n for n in CONTENTS if conn.one("SELECT 1 FROM object WHERE size_bytes = ?", (size_of(n),))
        }
        stores = {kit.store(uri): uri for uri in URIS}
        needs: dict[tuple[int, int], int] = defaultdict(int)  # (object, store) → media that ask for it
        of_object: dict[int, list[dict[str, object]]] = {i: [] for i in contents}
        by_content = {n: i for i, n in contents.items()}
        for known in self.media.values():
            object_id = by_content[int(str(known["content"]))]
            of_object[object_id].append(known)
            for store_id, uri in stores.items():
                needs[object_id, store_id] += uri in known["uris"]  # type: ignore[operator]

        live = [(o, s) for _, o, s, state, *_ in found if state in LIVE]
        assert len(live) == len(set(live)), "two live replicas of one object in one store"
        for rid, *_, key, _, _ in found:
            assert self.keys.setdefault(rid, key) == key, "a key changed"
        assert len(set(self.keys.values())) == len(self.keys), "a key was used twice"
        present = {(o, s) for _, o, s, state, *_ in found if state == "present"}
        blocked = {(o, s) for _, o, s, state, _, b, *_ in found if state in ("wanted", "copying") and b}
        assert {pair for pair, n in needs.items() if n} <= set(live), "a need without a replica"
        for _, o, s, state, need_n, *_ in found:
            assert need_n == (needs[o, s] if s and state in LIVE else 0)
        assert sorted((m, o, s) for m, o, s in conn.rows("SELECT * FROM need")) == sorted(
            (conn.value("SELECT id FROM medium WHERE ulid = ?", (u,)), by_content[int(str(k["content"]))], s)
            for u, k in self.media.items() for s, uri in stores.items() if uri in k["uris"]  # type: ignore[operator]
        )  # fmt: skip

        states: dict[int, str] = {}
        for o, media in of_object.items():
            needed = {s for s in stores if needs[o, s]}
            there = {s for s in needed if (o, s) in present}
            stuck = {s for s in needed if (o, s) in blocked}
            copies = sum(p[0] == o for p in present)
            enough = min(len(needed), self.min_copies or len(needed))
            states[o] = (
                "unused" if not media else "lost" if not copies else "local_only" if not needed
                else "safe" if len(there) >= enough else "blocked" if stuck else "pending"
            )  # fmt: skip
            assert conn.one(
                "SELECT media_n, routed_n, pins_n, copies_n, need_n, safe_n, blocked_n, state FROM object WHERE id = ?", (o,)
            ) == (
                len(media), sum(bool(m["uris"]) for m in media), sum(bool(m["pinned"]) for m in media), copies, len(needed),
                len(there), len(stuck), states[o],
            )  # fmt: skip
        assert dict(conn.rows("SELECT id, state FROM object_state")) == states
        assert kit.ids("safe") == {o for o, state in states.items() if state == "safe"}
        assert kit.ids("lost") == {o for o, state in states.items() if state == "lost"}

        tally = Counter(
            "lost" if states[o] == "lost" else states[o] if m["uris"] else "local_only"
            for o, media in of_object.items()
            for m in media
        )
        tally["deleted"] = len(self.deleted)
        assert {state: n for state, n in conn.rows("SELECT state, n FROM media_tally") if n} == {
            s: n for s, n in tally.items() if n
        }
        shown = dict(conn.rows("SELECT id, state FROM media"))
        assert Counter(shown.values()) == Counter({s: n for s, n in tally.items() if s != "deleted" and n})

        counted: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
        held: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        owed, unwanted, evictable, tombs = set(), set(), set(), set()
        for rid, o, s, state, need_n, _, hold, *_ in found:
            size = size_of(contents[o])
            word = "unneeded" if state == "wanted" and s and not need_n else state
            counted[s, word][0] += 1
            counted[s, word][1] += size
            wanted_hold = None
            if s == 0 and state == "present":
                pinned = any(m["pinned"] for m in of_object[o])
                wanted_hold = (
                    "unused" if not of_object[o] else "unsafe" if states[o] != "safe" else "pinned" if pinned else "evictable"
                )
                held[wanted_hold][0] += 1
                held[wanted_hold][1] += size
                if wanted_hold == "evictable":
                    evictable.add(rid)
                    once = held["once"] if not kit.conn.value("SELECT reused FROM replica WHERE id = ?", (rid,)) else [0, 0]
                    once[0] += 1
                    once[1] += size
            assert hold == wanted_hold
            if state == "wanted" and (need_n or s == 0):
                owed.add(rid)
            # What nothing needs: a live one that no medium asks for (here: that has no media), a damaged one that was replaced or
            # has no media any more. What is dropping keeps the tombstone it went for, if it had one.
            replaced = state == "damaged" and ((o, s) in present)
            if (
                (state in LIVE and not (needs[o, s] if s else of_object[o]))
                or replaced
                or (state == "damaged" and not of_object[o])
            ):
                tombs.add(rid)
                if state != "copying":
                    unwanted.add(rid)
        real = kit.tombstones()
        dropping = {rid for rid, _, _, state, *_ in found if state == "dropping"}
        damaged = {rid for rid, _, _, state, *_ in found if state == "damaged"}
        assert real - dropping - damaged == tombs - damaged
        assert tombs & damaged <= real, "a damaged copy that was replaced has no tombstone"
        assert kit.ids("owed") == owed
        assert kit.ids("unwanted") - damaged == unwanted - damaged
        assert kit.ids("evictable") == evictable
        assert {(s, state): [n, size] for s, state, n, size in conn.rows("SELECT * FROM counter") if n} == dict(counted)
        assert {h: [n, size] for h, n, size in conn.rows("SELECT * FROM hold_tally") if n} == {
            h: v for h, v in held.items() if v[0]
        }
        assert conn.value("SELECT coalesce(sum(size_bytes), 0) FROM counter WHERE n = 0") == 0

        # Whoever reads that something became safe finds it safe.
        news = conn.rows("SELECT seq, object_id FROM journal WHERE seq > ? AND step = 'safe'", (self.journal,))
        self.journal = conn.value("SELECT max(seq) FROM journal")
        for _, o in news:
            assert states[o] == "safe", "the journal says safe, and it is not"
        # Nothing that has media has lost its last good copy to a drop.
        if self.last in ("evict", "sweep", "drop_anything", "forget", "move", "set_destination", "delete", "close", "pin"):
            assert kit.ids("lost") <= self.lost_before
        self.lost_before = kit.ids("lost")

    last = ""
    lost_before: set[int]

    def run(self, steps: int) -> None:
        self.columns, self.moving, self.lost_before = {}, {}, set()
        self.dropped, self.closed = {}, []
        for uri in URIS:
            with self.kit.conn.writing(durable=False):
                self.kit.conn.run("INSERT INTO store (uri, role) VALUES (?, 'destination')", (uri,))
        weights = {
            self.put: 8, self.delete: 4, self.undelete: 3, self.pin: 3, self.set_destination: 2, self.move: 6, self.claim: 10,
            self.confirm: 8, self.release: 2, self.lose: 2, self.evict: 4, self.use_again: 2, self.fetch: 2, self.sweep: 4,
            self.forget: 4, self.drop_anything: 3, self.set_min_copies: 1, self.drop_table: 1,
            self.close: 3,
        }  # fmt: skip
        for _ in range(steps):
            step = self.dice.choices(list(weights), list(weights.values()))[0]
            self.last = step.__name__
            self.done[self.last] += step()
            self.check()


@pytest.mark.parametrize("seed", range(WALKS))
def test_walk(tmp_path: Path, seed: int) -> None:
    kit = Kit(tmp_path / "home", seed)
    walk = Walk(kit, seed)
    walk.run(STEPS)
    kit.check()
    often = "put delete undelete drop_table close move claim confirm lose evict sweep forget"
    assert all(walk.done[step] for step in often.split()), walk.done
    kit.conn.close()
