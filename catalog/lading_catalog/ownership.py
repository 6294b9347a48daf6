"""Who may delete in a destination, and what holds deletes back there.

**The owner marker.** A file in the destination (`.lading/owners/<catalog id>`) holds a random token, and the catalog remembers it. Before
a sweep deletes anything it reads the marker: it must hold our token, or the one before it if our last write was cut. Then a fresh token is
committed and written. A catalog that was copied or brought back from a backup holds an old token, or none: another life of it is at
work, and it deletes nothing until somebody says `lading destination adopt`.

**The cap.** A sweep that would delete unusually much makes a plan and waits until somebody confirms it.
"""

from __future__ import annotations

from dataclasses import dataclass

from lading_catalog.connection import Connection
from lading_catalog.errors import Error, NotFound

OWNER, CLOCK, CAP = "owner", "clock", "cap"  # why deletes rest, besides what a store's error says
ANY = "*"  # as a token: whatever the marker holds is ours (somebody has adopted the destination)
HOUR_MS = 3_600_000
WINDOW_HOURS = 24


@dataclass(frozen=True, slots=True)
class Tokens:
    """`now`: what our last write put into the marker; `before`: what stood there when we wrote. Both None: never written."""

    now: str | None
    before: str | None

    def fit(self, found: str | None) -> bool:
        """Whether a marker that holds `found` (None: there is no marker) is ours."""
        return self.now == ANY or found == self.now or found == self.before


def catalog_id(conn: Connection) -> str:
    return str(conn.value("SELECT v FROM meta WHERE k = 'catalog_id'"))


def tokens(conn: Connection, store_id: int) -> Tokens:
    return Tokens(*conn.rows("SELECT owner_token, owner_before FROM store WHERE id = ?", (store_id,))[0])


def renew(conn: Connection, store_id: int, found: str | None, fresh: str) -> None:
    """Before `fresh` is written over `found`. Durable."""
    conn.run("UPDATE store SET owner_token = ?, owner_before = ? WHERE id = ?", (fresh, found, store_id))


def written(conn: Connection, store_id: int, fresh: str) -> None:
    """The marker holds `fresh`; from now on nothing else is ours."""
    conn.run("UPDATE store SET owner_before = owner_token WHERE id = ? AND owner_token = ?", (store_id, fresh))


def adopt(conn: Connection, store_id: int) -> None:
    """A person says that this catalog is the one that goes on: what the marker holds at the next sweep counts as ours."""
    conn.run("UPDATE store SET owner_token = ?, owner_before = NULL WHERE id = ?", (ANY, store_id))
    go_on(conn, store_id, OWNER)


def same_file(conn: Connection, inode: int) -> bool:
    """Whether the catalog's file is the one that it was when tokens were last used. A copy or a restored backup is another file: its
    tokens are forgotten. For the daemon, at its start."""
    known = conn.value("SELECT v FROM meta WHERE k = 'inode'")
    if known == inode:
        return True
    conn.run("INSERT INTO meta (k, v) VALUES ('inode', ?) ON CONFLICT DO UPDATE SET v = excluded.v", (inode,))
    if known is None:
        return True
    conn.run("UPDATE store SET owner_token = NULL, owner_before = NULL WHERE owner_token IS NOT NULL")
    return False


# -- deletes rest ------------------------------------------------------------------------------------------------------------------


def rest(conn: Connection, store_id: int, code: str, error: Error, now_ms: int) -> bool:
    """Deletes rest at this store, and why. Returns whether that is news; writes nothing where it is not."""
    known = conn.rows("SELECT rest_code, rest_text FROM store WHERE id = ?", (store_id,))[0]
    if known == (code, error.detail):
        return False
    conn.run(
        "UPDATE store SET rest_code = ?, rest_text = ?, rest_hint = ?, rest_since_ms = iif(rest_code IS ?, rest_since_ms, ?) WHERE id = ?",
        (code, error.detail, error.hint or None, code, now_ms, store_id),
    )
    return bool(known[0] != code)


def go_on(conn: Connection, store_id: int, code: str | None = None) -> None:
    """Deletes rest no longer, if it was for this reason (None: whatever it was)."""
    conn.run(
        "UPDATE store SET rest_code = NULL, rest_text = NULL, rest_hint = NULL, rest_since_ms = NULL"
        " WHERE id = ? AND rest_code IS NOT NULL AND rest_code = coalesce(?, rest_code)",
        (store_id, code),
    )


def resting(conn: Connection, store_id: int) -> str | None:
    """The code of why deletes rest; None while they go on."""
    return conn.value("SELECT rest_code FROM store WHERE id = ?", (store_id,))  # type: ignore[no-any-return]


# -- the cap -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What waits for somebody's word: `n` copies of `size_bytes` in one store, whose tombstones were seen until `upto_clock_ms`."""

    id: str
    store_id: int
    upto_clock_ms: int
    n: int
    size_bytes: int
    made_at_ms: int
    confirmed_at_ms: int | None


_PLAN = "SELECT id, store_id, upto_clock_ms, n, size_bytes, made_at_ms, confirmed_at_ms FROM sweep_plan"


def plans(conn: Connection) -> list[Plan]:
    return [Plan(*row) for row in conn.rows(f"{_PLAN} ORDER BY store_id")]


def plan(conn: Connection, store_id: int) -> Plan | None:
    row = conn.one(f"{_PLAN} WHERE store_id = ?", (store_id,))
    return Plan(*row) if row else None


def make_plan(conn: Connection, new: Plan) -> None:
    conn.run(
        "INSERT INTO sweep_plan (id, store_id, upto_clock_ms, n, size_bytes, made_at_ms) VALUES (?, ?, ?, ?, ?, ?)",
        (new.id, new.store_id, new.upto_clock_ms, new.n, new.size_bytes, new.made_at_ms),
    )


def confirm_plan(conn: Connection, plan_id: str) -> Plan:
    """Let a plan be carried out. Raises NotFound."""
    if not conn.run(
        "UPDATE sweep_plan SET confirmed_at_ms = coalesce(confirmed_at_ms, ?) WHERE id = ?", (conn.now_ms(), plan_id)
    ):
        raise NotFound(f"There is no plan {plan_id!r}.", hint="lading sweep --plan shows those that wait.")
    found = next(p for p in plans(conn) if p.id == plan_id)
    go_on(conn, found.store_id, CAP)
    return found


def end_plan(conn: Connection, store_id: int) -> None:
    conn.run("DELETE FROM sweep_plan WHERE store_id = ?", (store_id,))


def count_swept(conn: Connection, store_id: int, clock_ms: int, n: int) -> None:
    """`n` copies go without a plan; forgets what has left the window."""
    hour = clock_ms // HOUR_MS
    conn.run("DELETE FROM sweep_tally WHERE store_id = ? AND hour <= ?", (store_id, hour - WINDOW_HOURS))
    conn.run(
        "INSERT INTO sweep_tally (store_id, hour, n) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
        (store_id, hour, n),
    )


def swept(conn: Connection, store_id: int, clock_ms: int) -> int:
    """How many copies went without a plan in the last 24 hours of the catalog clock."""
    return int(
        conn.value(
            "SELECT coalesce(sum(n), 0) FROM sweep_tally WHERE store_id = ? AND hour > ?",
            (store_id, clock_ms // HOUR_MS - WINDOW_HOURS),
        )
    )


def present_n(conn: Connection, store_id: int) -> int:
    return int(conn.value("SELECT coalesce(sum(n), 0) FROM counter WHERE store_id = ? AND state = 'present'", (store_id,)))
