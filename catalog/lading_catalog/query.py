"""SQL of users: read-only, over the documented views, bounded in time.

A connection of its own, opened read-only, with an authorizer that allows nothing but reading the public views (docs/sql.md), and a
deadline. One call cannot write, attach, set a pragma, or look at the private tables, whatever the statement says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw

from lading_catalog.connection import CATALOG_FILE, as_dict
from lading_catalog.errors import BadRequest, Error

PUBLIC = ("tables", "columns", "rows", "media", "deleted_media", "objects", "replicas", "destinations", "events")
_ALLOWED = (apsw.SQLITE_SELECT, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE)
_STEPS_BETWEEN_LOOKS = 5_000


class TookTooLong(Error):
    urn, title, status, exit_code = "query-too-long", "The query took too long", 408, 1


def query(
    home: Path, sql: str, bindings: Mapping[str, Any] | Sequence[Any] = (), *, time_limit_s: float = 10.0
) -> list[dict[str, Any]]:
    """The rows of one query. Raises BadRequest for what is wrong with it, TookTooLong."""
    db = apsw.Connection(os.fspath(home / CATALOG_FILE), flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW)
    try:
        db.set_busy_timeout(1000)
        db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        db.execute("PRAGMA trusted_schema = 0")
        deadline = time.monotonic() + time_limit_s
        db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
        db.authorizer = _authorize
        cursor = db.cursor()
        cursor.row_trace = as_dict
        found: list[Any] = cursor.execute(sql, bindings).fetchall()
        return found
    except apsw.InterruptError as e:
        raise TookTooLong(f"The query took more than {time_limit_s:g} s.", hint="Ask for less, or raise sql_time_limit.") from e
    except apsw.AuthError as e:
        raise BadRequest(
            f"Only reading is possible here, and only of the views {', '.join(PUBLIC)}.", hint="docs/sql.md describes them."
        ) from e
    except (apsw.Error, TypeError, ValueError) as e:
        raise BadRequest(f"SQL: {e}.", hint="docs/sql.md describes the views.") from e
    finally:
        db.close()


def _authorize(action: int, first: str | None, second: str | None, database: str | None, inside: str | None) -> int:
    """`inside`: the view through which a private table is read; None where the statement names the table itself, and also, with an
    empty column (`second`), for a table of a flattened view of which no column is read: that shows no more than how many rows it has."""
    if action == apsw.SQLITE_READ:
        named = first in PUBLIC or first in _TABLE_FUNCTIONS
        return apsw.SQLITE_OK if inside in PUBLIC or not first or not second or named else apsw.SQLITE_DENY
    return apsw.SQLITE_OK if action in _ALLOWED else apsw.SQLITE_DENY


_TABLE_FUNCTIONS = ("json_each", "json_tree")
