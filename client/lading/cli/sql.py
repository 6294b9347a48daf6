"""`lading sql`: a read-only query over the documented views."""

from __future__ import annotations

import sys
from typing import Any

import click

from lading.cli import words
from lading.cli.app import App, command
from lading_catalog.names import name_text, printable


@command("sql", short_help="a read-only query")
@click.argument("query")
def sql(app: App, query: str) -> None:
    """Run a read-only SQL query (- reads it from stdin) over the views media, deleted_media, objects, replicas, destinations, tables,
    columns, rows and events.
    """
    if query == "-":
        query = sys.stdin.read()
    with app.catalog() as cat:
        found = cat.sql(query)
    if app.out.json:
        for row in found:
            app.out.document({key: name_text(value) if isinstance(value, bytes) else value for key, value in row.items()})
        return
    if found:
        head = list(found[0])
        numeric = [i for i, key in enumerate(head) if all(isinstance(row[key], (int, float, type(None))) for row in found)]
        app.out.table(([_cell(row[key]) for key in head] for row in found), head=[printable(h) for h in head], right=numeric)
    app.out.say(words.count(len(found), "row", "rows") + ".")


def _cell(value: Any) -> str:
    return "" if value is None else printable(value) if isinstance(value, (str, bytes)) else str(value)
