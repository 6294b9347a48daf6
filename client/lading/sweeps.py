"""Deletions that wait in destinations: what they are, and what only a person can decide about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lading_catalog import clock, doorbell, ownership, stores, sweeping
from lading_catalog.errors import NotFound
from lading_catalog.shapes import Json, when

if TYPE_CHECKING:
    from lading.catalog import Catalog

_PAGE = 500


class Sweeps:
    """`cat.sweeps`. Deletes themselves are the daemon's."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def waiting(self, destination: str | None = None) -> Iterator[Json]:
        """Copies that nothing needs any more, destination by destination: lading.sweep/1. `due_at`: when their grace is over if a daemon
        runs until then; `held`: what else holds them back; `plan`: the id of the plan that waits for a confirmation and covers it."""
        conn = self._catalog._conn
        with self._catalog._lock:
            rows = [row for row in stores.destinations(conn) if destination in (None, row.uri)]
            plans = {plan.store_id: plan for plan in ownership.plans(conn)}
            left_ms = clock.grace_ms(conn) - clock.read(conn)
        for row in rows:
            after, plan = 0, plans.get(row.id)
            while True:
                with self._catalog._lock:
                    found = sweeping.listing(conn, row.id, after, _PAGE)
                    now = conn.now_ms()
                for one in found:
                    seen, id_ = one.pop("seen_clock_ms"), one.pop("replica_id")
                    covered = plan is not None and seen is not None and seen <= plan.upto_clock_ms
                    yield {
                        "schema": "lading.sweep/1", "destination": row.uri, **one,
                        "due_at": when(now + max(0, seen + left_ms)) if seen is not None else None,
                        "plan": plan.id if plan is not None and covered else None,
                    }  # fmt: skip
                    after = id_
                if len(found) < _PAGE:
                    break

    def overview(self) -> Json:
        """lading.sweeps/1: how much waits and since when, where deletes rest, the plans."""
        return {"schema": "lading.sweeps/1", **self._catalog.status()["deletes"], "plans": self.plans()}

    def plans(self) -> list[Json]:
        """Sweeps that stopped at the cap (lading.plan/1)."""
        conn = self._catalog._conn
        with self._catalog._lock:
            uris = {row.id: row.uri for row in stores.destinations(conn)}
            return [_shape(plan, uris[plan.store_id]) for plan in ownership.plans(conn)]

    def confirm(self, plan_id: str) -> Json:
        """Let a plan be carried out. Raises NotFound."""
        conn = self._catalog._conn
        with self._catalog._lock, conn.writing():
            plan = ownership.confirm_plan(conn, plan_id)
            uri = stores.get(conn, plan.store_id).uri
        doorbell.ring(self._catalog.home)
        return _shape(plan, uri)

    def adopt(self, uri: str) -> None:
        """This catalog is the one that goes on deleting at a destination. Raises NotFound."""
        conn = self._catalog._conn
        with self._catalog._lock, conn.writing():
            row = next((row for row in stores.destinations(conn) if row.uri == uri), None)
            if row is None:
                raise NotFound(f"There is no destination {uri}.", hint="lading destination list")
            ownership.adopt(conn, row.id)
        doorbell.ring(self._catalog.home)


def _shape(plan: ownership.Plan, uri: str) -> Json:
    return {
        "schema": "lading.plan/1", "id": plan.id, "destination": uri, "objects": plan.n, "size_bytes": plan.size_bytes,
        "made_at": when(plan.made_at_ms), "confirmed_at": when(plan.confirmed_at_ms),
    }  # fmt: skip
