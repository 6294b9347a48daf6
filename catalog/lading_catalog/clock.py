"""The catalog clock: milliseconds that a daemon has been at work for this catalog. Grace is counted on it, so that no jump of the wall
clock shortens one. The daemon advances it (ladingd.catalog_clock); everybody else only reads."""

from __future__ import annotations

from lading_catalog.connection import Connection


def read(conn: Connection) -> int:
    return int(conn.value("SELECT v FROM meta WHERE k = 'clock_ms'"))


def save(conn: Connection, clock_ms: int) -> None:
    """It never goes back, whoever writes."""
    conn.run("UPDATE meta SET v = max(v, ?) WHERE k = 'clock_ms'", (clock_ms,))


def grace_ms(conn: Connection) -> int:
    """`delete_after`, as the last daemon had it from its configuration."""
    return int(conn.value("SELECT v FROM meta WHERE k = 'delete_after_ms'"))


def set_grace(conn: Connection, delete_after_ms: int) -> None:
    conn.run("UPDATE meta SET v = ? WHERE k = 'delete_after_ms' AND v <> ?", (delete_after_ms, delete_after_ms))
