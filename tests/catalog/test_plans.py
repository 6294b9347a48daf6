"""Work costs what changed, never the size of the catalog: the plan of every statement, those inside triggers too, and the number of
virtual machine steps at 1,000 and at 100,000 objects."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import apsw
import pytest

import lading_catalog
from catalog_bulk import URI, grow
from catalog_kit import EPOCH, A, B, Kit, digest
from lading_catalog import (
    cache,
    clock,
    deleting,
    evicting,
    fetching,
    finding,
    journal,
    localstore,
    media,
    ownership,
    replicas,
    room,
    safety,
    shapes,
    status,
    stores,
    sweeping,
    tables,
    why,
)  # fmt: skip
from lading_catalog.errors import NotFound, Refused, Unavailable

SMALL, LARGE = 1_000, 100_000
SAFE_NAME, SAFE_ULID, SAFE_ID = "IMG_00000500.jpg", "01BXXXMED" + "5".rjust(17, "0"), 1_500
NO_DAEMON = status.Daemon(running=False)
LIMITS = status.Limits(1, 1, 1)

# What must not be scanned. Indexes of these tables count as well, unless they are partial and hold only what is to be done.
GROWING = {"object", "medium", "row", "replica", "tombstone", "journal", "deleted_medium"}

# (function, table or index): why it may. The cost of each is bounded or the whole is what was asked for.
MAY_SCAN = {
    ("finding.routed", "medium"): "a wait for everything asks for everything",
    ("status.status", "tombstone"): "counts at most 100,000",
    ("sweeping.outlook", "tombstone"): "counts at most 100,000",
    ("sweeping.waiting", "tombstone"): "looks at one",
    ("journal.trimmable", "journal"): "looks at the oldest event only",
    ("journal.trim", "journal"): "walks from the oldest, `limit` events far",
}


@dataclass
class Exercise:
    """Every function of the catalog that takes a connection, called at least once by `run`; `trace` holds what each one cost."""

    kit: Kit
    statements: dict[str, set[str]] = field(default_factory=dict)  # function → SQL
    steps: dict[str, int] = field(default_factory=dict)
    scanned: dict[str, int] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)

    def do(self, name: str, call: Callable[[], Any]) -> Any:
        """Call it in a writing transaction and count."""
        seen = self.statements.setdefault(name, set())

        def trace(event: dict[str, Any]) -> None:
            if not event["sql"].startswith(("BEGIN", "COMMIT", "PRAGMA", "ROLLBACK")):
                seen.add(event["sql"])
                self.steps[name] = self.steps.get(name, 0) + event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]
                self.scanned[name] = self.scanned.get(name, 0) + event["stmt_status"]["SQLITE_STMTSTATUS_FULLSCAN_STEP"]

        conn = self.kit.conn
        with conn.writing(durable=False):
            conn._db.trace_v2(apsw.SQLITE_TRACE_PROFILE, trace)
            try:
                answer = call()
            finally:
                conn._db.trace_v2(0)
        self.called.add(name.split(" ")[0])
        return answer

    def run(self) -> Exercise:
        kit, conn, do = self.kit, self.kit.conn, self.do
        now = kit.now
        d = tables.Defaults((URI,))

        def put(*items: media.NewMedium) -> list[str]:
            return media.put(conn, items, d, lambda *_: True).ulids

        first = do("media.put new", lambda: put(kit.item(1, None), kit.item(2, [A, B]), kit.item(3, [])))
        same = do("media.put same bytes", lambda: put(kit.item(1, [A]), kit.item(1, None, again=False)))
        do("media.local_copy", lambda: media.local_copy(conn, digest(1)))
        do("media.has_local_copy", lambda: media.has_local_copy(conn, "k", digest(1)))
        here = conn.value("SELECT id FROM replica WHERE object_id = ? AND store_id = 0", (kit.object(1),))
        do("media.note_file", lambda: media.note_file(conn, here, localstore.Hashed(digest(1), 2, 3)))
        do("media.pin", lambda: media.pin(conn, first[0], True))
        do("media.pin off", lambda: media.pin(conn, first[0], False))
        do("finding.open_ones", lambda: finding.open_ones(conn, [*first, SAFE_ULID]))
        do("finding.moves_soon", lambda: finding.moves_soon(conn, first[0]))
        do("finding.routed", lambda: finding.routed(conn))
        do("finding.exists", lambda: finding.exists(conn, first))
        do("finding.known", lambda: finding.known(conn, [digest(1), digest(99)]))
        for what, text in (("id", f"m_{first[0]}"), ("digest", digest(2).hex()), ("name", SAFE_NAME)):
            do(f"finding.find {what}", partial(finding.find, conn, text, deleted=True))

        def nothing() -> None:
            with pytest.raises(NotFound):
                finding.find(conn, "no such name", deleted=True)

        do("finding.find nothing", nothing)
        filters: dict[str, dict[str, Any]] = {
            "": {}, "table": {"table": "default"}, "column": {"table": "default", "column": "file"}, "name": {"name": SAFE_NAME},
            "sha256": {"sha256": digest(1)}, **{f"state={s}": {"state": s} for s in ("local_only", "pending", "blocked", "safe", "lost")},
            "table and state": {"table": "default", "column": "file", "state": "safe"},
            "table and name": {"table": "default", "name": SAFE_NAME},
            "table and pending": {"table": "default", "column": "file", "state": "pending"},
        }  # fmt: skip
        for what, where in filters.items():
            do(f"finding.page {what}".strip(), partial(finding.page, conn, finding.Filter(**where), "", 10))
        do("finding.page later", lambda: finding.page(conn, finding.Filter(table="default"), str(SAFE_ID), 10))
        for what in ("", "name", "sha256", "table"):
            do(
                f"finding.page deleted {what}".strip(),
                partial(finding.page, conn, finding.Filter(deleted=True, **filters[what]), "", 10),
            )
        do("shapes.media", lambda: shapes.media(conn, kit.home, [*first, SAFE_ULID]))
        do("why.why", lambda: why.why(conn, kit.home, first[1], True))
        do("status.status", lambda: status.status(conn, NO_DAEMON, LIMITS, 1))

        bulk, a = kit.store(URI), kit.store(A)
        do("replicas.next_due_ms", lambda: replicas.next_due_ms(conn, a))
        ids = do("replicas.claimable", lambda: replicas.claimable(conn, a, now() + 9, 10, 10_000))
        assert len(ids) == 2
        assert len(do("replicas.claim", lambda: replicas.claim(conn, ids, EPOCH))) == 2
        assert (
            do("replicas.release", lambda: replicas.release(conn, [replicas.Failure(ids[0], Refused("no"), now())], EPOCH, now()))
            == 1
        )
        assert do("replicas.release_running", lambda: replicas.release_running(conn, ids[1:], EPOCH)) == 1
        kit.claim(ids, EPOCH - 1)
        assert do("replicas.release_abandoned", lambda: replicas.release_abandoned(conn, EPOCH, 10)) == 2
        kit.claim(ids)
        assert do("replicas.confirm", lambda: replicas.confirm(conn, [kit.success(i) for i in ids], EPOCH)) == 2
        assert do("replicas.lose", lambda: replicas.lose(conn, ids[0]))
        kit.bring()
        kit.see_tombstones()
        assert do("replicas.drop damaged", lambda: replicas.drop(conn, ids[0], "damaged"))
        assert do("replicas.forget", lambda: replicas.forget(conn, ids[0]))
        safe_here = conn.value("SELECT id FROM evictable ORDER BY used_at_ms LIMIT 1")
        assert do("replicas.drop evict", lambda: replicas.drop(conn, safe_here, "present"))
        assert do("media.delete", lambda: media.delete(conn, SAFE_ULID))
        assert do("media.delete one of two", lambda: media.delete(conn, same[0]))
        do("finding.find deleted", lambda: finding.find(conn, f"m_{SAFE_ULID}", deleted=True))
        kit.see_tombstones()
        remote = conn.value(
            "SELECT id FROM replica WHERE object_id = 1005 AND store_id = ? AND state IN ('wanted','copying','present')", (bulk,)
        )
        assert do("replicas.drop remote", lambda: replicas.drop(conn, remote, "present"))
        do("replicas.new_epoch", lambda: replicas.new_epoch(conn))
        self._fetch(safe_here)

        do("stores.destinations", lambda: stores.destinations(conn))
        do("stores.get", lambda: stores.get(conn, a))
        do("stores.destination_id", lambda: stores.destination_id(conn, "file:///new/"))
        do("stores.set_id", lambda: stores.set_id(conn, [A, "file:///newer/"]))
        do("stores.set_uris", lambda: stores.set_uris(conn, 1))
        do("stores.failed", lambda: stores.failed(conn, a, Refused("no"), now(), now()))
        kit.put(4, [A])
        assert do("stores.follow_block", lambda: stores.follow_block(conn, a, 10)) == 1
        do("replicas.claimable blocked", lambda: replicas.claimable(conn, a, now() + 9, 10, 10_000, blocked=True))
        do("stores.well", lambda: stores.well(conn, a))
        assert do("stores.follow_block well", lambda: stores.follow_block(conn, a, 10)) == 1
        do("stores.failed again", lambda: stores.failed(conn, a, Unavailable("no"), now(), now()))
        do("stores.pause", lambda: stores.pause(conn, stores.get(conn, a), True))
        do("stores.pause off", lambda: stores.pause(conn, stores.get(conn, a), False))
        do("stores.set_probe", lambda: stores.set_probe(conn, a, {}))
        do("stores.set_rate", lambda: stores.set_rate(conn, a, 5, now()))
        do("stores.tested", lambda: stores.tested(conn, a, {}))

        do("tables.find_column", lambda: tables.find_column(conn, "default", "file"))
        column = do("tables.column", lambda: tables.column(conn, "t/new", "c"))
        do("tables.columns", lambda: tables.columns(conn, d))
        do("tables.resolve", lambda: tables.resolve(conn, column, None, d))
        do("tables.set_destination", lambda: tables.set_destination(conn, "default", "file", [URI, B]))
        do("tables.moves_due", lambda: tables.moves_due(conn))
        assert do("tables.move_step", lambda: tables.move_step(conn, 10)) == 10
        dropped = kit.put(31, [A], table="to/drop", column="c")
        kit.put(32, [A], table="to/drop", column="d")
        assert do("tables.drop_column", lambda: tables.drop_column(conn, "to/drop", "c")) == 1
        assert do("tables.drop_table", lambda: tables.drop_table(conn, "to/drop")) == 1
        do("tables.closing_due", lambda: tables.closing_due(conn))
        while tables.closing_due(conn):
            do("tables.close_step", lambda: tables.close_step(conn, 10))
        gone = conn.value("SELECT col_id FROM deleted_medium WHERE ulid = ?", (dropped,))
        do("tables.reopen", lambda: tables.reopen(conn, gone))
        do("deleting.undelete", lambda: deleting.undelete(conn, dropped))
        assert do("safety.set_min_copies", lambda: safety.set_min_copies(conn, 1))
        do("safety.review_due", lambda: safety.review_due(conn))
        do("safety.review_step", lambda: safety.review_step(conn, 10))
        self.evict()
        self.sweep(a, bulk)
        do("journal.note", lambda: journal.note(conn, "daemon.started"))
        do("journal.trimmable", lambda: journal.trimmable(conn, 1_700_000_000_500))
        assert do("journal.trim", lambda: journal.trim(conn, 1_700_000_000_500, 10)) == 10
        return self

    def _fetch(self, dropped: int) -> None:
        """The copy that was dropped comes back; another object's goes to a new destination by way of this disk."""
        kit, conn, do = self.kit, self.kit.conn, self.do
        away = conn.value("SELECT object_id FROM replica WHERE id = ?", (dropped,))
        ulid = conn.value("SELECT ulid FROM medium WHERE object_id = ?", (away,))
        assert kit.forget(dropped)
        do("fetching.want", lambda: fetching.want(conn, away))
        do("fetching.want again", lambda: fetching.want(conn, away))
        assert do("fetching.want_back", lambda: fetching.want_back(conn, away))
        here = do("fetching.look", lambda: fetching.look(conn, ulid))
        do("fetching.look_at", lambda: fetching.look_at(conn, [away]))
        do("fetching.unfinished", lambda: fetching.unfinished(conn, [here.replica_id]))
        do("fetching.next_due_ms", lambda: fetching.next_due_ms(conn))
        ids = do("fetching.claimable", lambda: fetching.claimable(conn, (0, 1, 2), kit.now() + 9, 10, 10_000))
        assert ids == [here.replica_id]
        assert do("fetching.claim", lambda: fetching.claim(conn, ids, EPOCH, kit.now()))[0].sources
        failed = [(here.replica_id, Unavailable("no"), kit.now())]
        assert do("fetching.release", lambda: fetching.release(conn, failed, EPOCH, kit.now())) == 1
        owed = kit.sql("INSERT INTO store (uri, role) VALUES ('file:///later/', 'destination')") and kit.store("file:///later/")
        kit.sql("INSERT INTO replica (object_id, store_id, key, state, need_n) VALUES (?, ?, 'k', 'wanted', 1)", (away, owed))
        copy = [kit.conn.value("SELECT id FROM owed WHERE store_id = ?", (owed,))]
        assert do("fetching.want_for_copies", lambda: fetching.want_for_copies(conn, copy)) == []
        do("fetching.claim again", lambda: fetching.claim(conn, ids, EPOCH, kit.now()))
        arrived = [fetching.Arrived(here.replica_id, 1, 2)]
        assert do("fetching.confirm", lambda: fetching.confirm(conn, arrived, EPOCH))

    def evict(self) -> None:
        conn, do, now = self.kit.conn, self.do, self.kit.now
        age = evicting.ProofAge(0, now() + 1_000)
        chosen = do("evicting.candidates", lambda: evicting.candidates(conn, False, (-1, 0), 3))
        assert len(chosen) == 3
        do(
            "evicting.candidates later",
            lambda: evicting.candidates(conn, False, (chosen[-1].used_at_ms, chosen[-1].replica_id), 3),
        )
        ulid = conn.value("SELECT ulid FROM medium WHERE object_id = ?", (chosen[0].object_id,))
        assert do("evicting.of_medium", lambda: evicting.of_medium(conn, ulid)) == (chosen[0], "evictable")
        assert do("evicting.of_objects", lambda: evicting.of_objects(conn, [c.object_id for c in chosen])) == chosen
        ids = [c.object_id for c in chosen]
        assert do("evicting.stale", lambda: evicting.stale(conn, ids, age)) == {}
        (old,) = do("evicting.stale all", lambda: evicting.stale(conn, ids[:1], evicting.ProofAge(now(), now() + 1_000)))[ids[0]]
        assert (
            do("evicting.renew", lambda: evicting.renew(conn, [evicting.Renewed(old.replica_id, "head", "md5", b"x", now())]))
            == 1
        )
        do("evicting.used", lambda: evicting.used(conn, [(chosen[0].replica_id, now(), True)]))
        do("evicting.ask", lambda: evicting.ask(conn, chosen[1].replica_id))
        assert do("evicting.asked", lambda: evicting.asked(conn))
        dropped = do("evicting.drop", lambda: evicting.drop(conn, chosen[2:], age))
        assert len(dropped) == 1
        do("evicting.remember", lambda: evicting.remember(conn, chosen[2:]))
        assert do("evicting.forget", lambda: evicting.forget(conn, dropped)) == 1
        do("room.here", lambda: room.here(conn))
        do("cache.local_bytes", lambda: cache.local_bytes(conn))
        do("cache.once_and_evictable_bytes", lambda: cache.once_and_evictable_bytes(conn))
        do("cache.sha256_of", lambda: cache.sha256_of(conn, ids[0]))
        do("cache.wanted", lambda: cache.wanted(conn, now()))

        @contextlib.contextmanager
        def writing(rows: int, durable: bool) -> Iterator[Any]:
            yield conn

        do("cache.note_wanted", lambda: cache.note_wanted(conn, 5, now(), writing))

    def sweep(self, a: int, bulk: int) -> None:
        """Three deleted media: one that may go, one that was never sent, one whose attempt ended without a word."""
        kit, conn, do, now = self.kit, self.kit.conn, self.do, self.kit.now
        sent = [kit.put(n, [A]) for n in (21, 22)]
        kit.bring(A)
        never = kit.put(23, [A])
        kit.sql("UPDATE replica SET unsure = 1 WHERE id = ?", (kit.replica(22, A),))
        for ulid in (*sent, never):
            kit.delete(ulid)
        ours = {kit.replica(n, A) for n in (21, 22, 23)}
        assert do("sweeping.unseen", lambda: sweeping.unseen(conn))
        assert do("sweeping.see", lambda: sweeping.see(conn, 5, 100)) > 0
        assert do("sweeping.waiting", lambda: sweeping.waiting(conn))
        assert do("sweeping.next_seen_ms", lambda: sweeping.next_seen_ms(conn, a)) is not None
        assert do("sweeping.how_many", lambda: sweeping.how_many(conn, a, 5))[0] >= 2
        do("sweeping.local_copy_wanted", lambda: sweeping.local_copy_wanted(conn, 1_002))
        assert do("sweeping.listing", lambda: sweeping.listing(conn, a, 0, 10))
        chosen = [d for d in do("sweeping.due", lambda: sweeping.due(conn, a, 5, (4, 0), 50)) if d.replica_id in ours]
        assert len(chosen) == 3
        dropped, refused = do("sweeping.drop", lambda: sweeping.drop(conn, chosen, now()))
        assert (len(dropped), refused) == (2, [])
        ids = [d.replica_id for d in dropped]
        assert do("sweeping.next_delete_ms", lambda: sweeping.next_delete_ms(conn, a)) is not None
        assert len(do("sweeping.to_delete", lambda: sweeping.to_delete(conn, a, now(), 10_000, 10))) == 2
        do("sweeping.not_gone", lambda: sweeping.not_gone(conn, [(ids[0], Refused("no"))], now(), now()))
        assert do("sweeping.gone", lambda: sweeping.gone(conn, ids, 5, now())) == 1
        do("sweeping.outlook", lambda: sweeping.outlook(conn, now()))
        do("clock.read", lambda: clock.read(conn))
        do("clock.save", lambda: clock.save(conn, 6))
        do("clock.grace_ms", lambda: clock.grace_ms(conn))
        do("clock.set_grace", lambda: clock.set_grace(conn, 5))
        do("ownership.catalog_id", lambda: ownership.catalog_id(conn))
        do("ownership.tokens", lambda: ownership.tokens(conn, a))
        do("ownership.renew", lambda: ownership.renew(conn, a, None, "t"))
        do("ownership.written", lambda: ownership.written(conn, a, "t"))
        do("ownership.adopt", lambda: ownership.adopt(conn, a))
        do("ownership.same_file", lambda: ownership.same_file(conn, 5))
        do("ownership.rest", lambda: ownership.rest(conn, a, "cap", Refused("no"), now()))
        do("ownership.resting", lambda: ownership.resting(conn, a))
        do("ownership.go_on", lambda: ownership.go_on(conn, a))
        do("ownership.make_plan", lambda: ownership.make_plan(conn, ownership.Plan("p", a, 5, 1, 1, now(), None)))
        do("ownership.plans", lambda: ownership.plans(conn))
        do("ownership.plan", lambda: ownership.plan(conn, a))
        do("ownership.confirm_plan", lambda: ownership.confirm_plan(conn, "p"))
        do("ownership.end_plan", lambda: ownership.end_plan(conn, a))
        do("ownership.count_swept", lambda: ownership.count_swept(conn, a, 5, 1))
        do("ownership.swept", lambda: ownership.swept(conn, a, 5))
        do("ownership.present_n", lambda: ownership.present_n(conn, bulk))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exercise]:
    yield from _exercised(tmp_path_factory, SMALL)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exercise]:
    yield from _exercised(tmp_path_factory, LARGE)


def _exercised(tmp: pytest.TempPathFactory, n: int) -> Iterator[Exercise]:
    kit = Kit(tmp.mktemp("plans") / "home")
    grow(kit, n)
    yield Exercise(kit).run()
    kit.conn.close()


def test_the_bulk_catalog_is_as_the_triggers_would_have_made_it(tmp_path: Any) -> None:
    """Touching every counter changes no state, and the counts are those of the rows."""
    kit = Kit(tmp_path / "home")
    grow(kit, 50)
    kit.check()
    before = kit.dump()
    kit.sql("UPDATE object SET need_n = need_n, state = state")
    kit.sql("UPDATE replica SET hold = (SELECT hold FROM local_hold WHERE replica_id = replica.id) WHERE store_id = 0")
    assert kit.dump() == before
    assert kit.conn.value("SELECT n FROM media_tally WHERE state = 'safe'") == 51
    kit.conn.close()


def test_every_function_is_exercised(small: Exercise) -> None:
    wanted = set()
    for module in pkgutil.iter_modules(lading_catalog.__path__):
        found = importlib.import_module(f"lading_catalog.{module.name}")
        for name, function in vars(found).items():
            ours = inspect.isfunction(function) and function.__module__ == found.__name__ and not name.startswith("_")
            if ours and next(iter(inspect.signature(function).parameters), None) == "conn":
                wanted.add(f"{module.name}.{name}")
    assert wanted - small.called == set(), "call these in Exercise.run, so that their plans are checked"


def scans(conn: Any, sql: str) -> set[str]:
    """The tables and indexes that a statement walks from one end to the other without a bound, itself and in its
    triggers, read off the bytecode."""
    names = {
        root: (name, table)
        for name, table, root in conn.rows("SELECT name, tbl_name, rootpage FROM sqlite_schema WHERE rootpage > 0")
    }
    partial_ones = {n for (n,) in conn.rows("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql LIKE '% WHERE %'")}
    programs: list[list[tuple[Any, ...]]] = []
    bindings = _nothing(sql)
    for row in conn._db.execute(f"EXPLAIN {sql}", bindings):
        if row[0] == 0:
            programs.append([])
        programs[-1].append(row)
    found = set()
    for program in programs:
        cursors: dict[int, tuple[str, str]] = {}
        bounded, looped = set(), {}
        for _, op, p1, p2, _, _p4, _, _ in program:
            if op in ("OpenRead", "OpenWrite", "ReopenIdx") and p2 in names:
                cursors[p1] = names[p2]
            elif op in ("IdxGE", "IdxGT", "IdxLE", "IdxLT") or op.startswith("Seek"):
                bounded.add(p1)
            elif op in ("Rewind", "Last", "Count"):
                looped[p1] = op
        nexts = {p1 for _, op, p1, *_ in program if op in ("Next", "Prev")}
        for cursor, op in looped.items():
            name, table = cursors.get(cursor, ("", ""))
            if table in GROWING and name not in partial_ones and cursor not in bounded and (cursor in nexts or op == "Count"):
                found.add(name)
    return found


def _nothing(sql: str) -> Any:
    """NULLs for the parameters of a statement: EXPLAIN does not run it."""
    named = re.findall(r"(?<![:\w]):([a-z_0-9]+)", sql)
    numbered = [int(n) for n in re.findall(r"\?([0-9]+)", sql)]
    return dict.fromkeys(named) if named else (None,) * (max(numbered) if numbered else sql.count("?"))


def test_no_statement_scans_a_table_that_grows(small: Exercise) -> None:
    found = {
        (name, scan): sql
        for name, statements in small.statements.items()
        for sql in statements
        for scan in scans(small.kit.conn, sql)
        if (name, scan) not in MAY_SCAN
    }
    assert found == {}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM medium WHERE mime = ?",
        "SELECT count(*) FROM object",
        "SELECT id FROM replica WHERE state = 'present'",
        "SELECT name FROM medium ORDER BY name",
        "DELETE FROM journal WHERE step = ?",
        "SELECT key FROM replicas WHERE error = ?",
    ],
)
def test_a_scan_would_be_found(small: Exercise, sql: str) -> None:
    assert scans(small.kit.conn, sql)


def test_a_scan_in_a_trigger_would_be_found(kit: Kit) -> None:
    kit.sql(
        "CREATE TRIGGER bad AFTER UPDATE OF pinned ON medium"
        " BEGIN UPDATE object SET size_bytes = size_bytes WHERE state = 'x' || NEW.id; END"
    )
    assert scans(kit.conn, "UPDATE medium SET pinned = ? WHERE ulid = ?") == {"object"}


def test_the_work_is_the_same_at_100_times_the_size(small: Exercise, large: Exercise) -> None:
    assert small.steps.keys() == large.steps.keys()
    whole = {"finding.routed", "tables.columns", "tables.set_destination"}  # all, or counted up to 100,000
    grown = {
        name: (steps, large.steps[name])
        for name, steps in small.steps.items()
        if name not in whole and large.steps[name] > steps * 1.1 + 50
    }
    assert grown == {}


def test_full_scan_steps_stay_small(small: Exercise, large: Exercise) -> None:
    """SQLite's own count of rows that a scan stepped through, triggers included."""
    whole = {"finding.routed"}
    assert {n: s for n, s in large.scanned.items() if n not in whole and s > small.scanned[n] + 20} == {}
