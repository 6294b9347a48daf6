"""`lading table`: columns and the destinations of what is put into them."""

from __future__ import annotations

import sys

import click

from lading.cli import words
from lading.cli.app import NOTHING_YET, App, command
from lading.cli.output import colour
from lading_catalog.errors import NotFound
from lading_catalog.names import printable


@click.group("table", short_help="columns and where their media go")
def table() -> None:
    """Columns and their destinations."""


@command("ls", short_help="list tables and columns")
def ls(app: App) -> None:
    """List tables and columns: kind, how many media, destinations and where those are set."""
    cat = app.existing()
    if cat is None:
        app.out.say(NOTHING_YET)
        return
    with cat:
        columns = cat.columns()
    if app.out.json:
        for column in columns:
            app.out.document(column)
        return
    rows = []
    for c in columns:
        uris = ", ".join(map(printable, c["destinations"])) or "this disk only"
        how = {"column": "", "configuration": " (configuration)", "nowhere": " (nothing set)"}[c["destinations_from"]]
        n = f"{c['media']:,}{'+' if c['media_capped'] else ''}"
        rows.append((f"{c['table']}.{c['column']}", c["kind"], n, f"{uris}{how}{', moving' if c['moving'] else ''}"))
    app.out.table(rows, head=("COLUMN", "KIND", "MEDIA", "DESTINATIONS"), right=(2,))


@command("set-destination", short_help="where the media of a column go")
@click.argument("table_name", metavar="TABLE")
@click.argument("column")
@click.argument("uris", nargs=-1, metavar="URI...")
@click.option("--local-only", is_flag=True, help="No destination: this disk only.")
@click.option("--no-test", is_flag=True, help="Store the destinations without testing them.")
def set_destination(app: App, table_name: str, column: str, uris: tuple[str, ...], local_only: bool, no_test: bool) -> None:
    """Give a column its destinations, which are tested first.

    They hold for new media at once. The daemon moves the old ones, except those put with a destination of their own.
    """
    if bool(uris) == local_only:
        raise click.UsageError("Give at least one URI, or --local-only.")
    from lading_catalog import uris as destinations

    endpoints = frozenset(app.settings().endpoints)
    wanted = [destinations.parse(uri, endpoints).uri for uri in uris]
    from lading.cli.probe import probe

    with app.catalog(make=True) as cat:
        if not no_test:
            for uri in wanted:
                probe(app, uri)
        media = cat.set_destination(table_name, column, wanted)
        running = cat.daemon().running
        stored = next(c for c in cat.columns() if (c["table"], c["column"]) == (table_name, column))
    if app.out.json:
        app.out.document(stored)
        return
    goes = ", ".join(map(printable, stored["destinations"])) or "this disk only"
    app.out.result(f"{printable(table_name)}.{printable(column)} → {colour('safe', goes) if wanted else goes}")
    if media:
        n = f"{media:,}{'+' if stored['media_capped'] else ''} {'medium is' if media == 1 else 'media are'}"
        who = "the daemon" if running else "the daemon, once it runs (lading daemon),"
        app.out.say(f"{n} in that column: {who} moves those that were put without a destination of their own.")
    else:
        app.out.say(f"{words.media(0)} there yet: it holds for what is put from now on.")


@command("drop", short_help="delete a table or a column with its media")
@click.argument("table_name", metavar="TABLE")
@click.argument("column", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(app: App, table_name: str, column: str | None, yes: bool) -> int:
    """Drop a table, or one COLUMN of it: its media are deleted. Their copies go when their grace (delete_after) is over; until then each
    can be brought back with `lading undelete`.
    """
    what = printable(table_name if column is None else f"{table_name}.{column}")
    with app.catalog() as cat:
        found = [c for c in cat.columns() if c["table"] == table_name and column in (None, c["column"])]
        if not found and column is not None:
            raise NotFound(f"There is no column {what}.", hint="lading table ls lists them.")
        n = sum(c["media"] for c in found)
        more = "+" if any(c["media_capped"] for c in found) else ""
        yes = yes or not found  # (there is no such table, or it is empty: all its columns were dropped)
        if not yes and not sys.stdin.isatty():
            raise click.UsageError(f"{what} has {n:,}{more} media: --yes deletes them.")
        if not yes and not click.confirm(f"Delete {what} with its {n:,}{more} media?", err=True):
            app.out.say("Nothing was deleted.")
            return 1
        bar = app.out.progress("media deleted", total=0 if more else n)
        show = lambda done: bar.show(done, 0 if more else n)  # noqa: E731
        n = cat.drop_table(table_name, show) if column is None else cat.drop_column(table_name, column, show)
        app.out.done()
        running = cat.daemon().running
    if app.out.json:
        app.out.document({"schema": "lading.dropped/1", "table": table_name, "column": column, "media": n})
        return 0
    app.out.result(
        f"{what}  dropped, {n:,}{more} {'medium' if n == 1 else 'media'}{' (the daemon deletes them)' if running and n else ''}"
    )
    return 0


table.add_command(drop)
table.add_command(ls)
table.add_command(set_destination)
