"""`lading table`: columns and the destinations of what is put into them."""

from __future__ import annotations

import click

from lading.cli import words
from lading.cli.app import NOTHING_YET, App, command
from lading.cli.output import colour
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


table.add_command(ls)
table.add_command(set_destination)
