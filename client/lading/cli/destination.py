"""`lading destination`: where media are brought, and whether that works."""

from __future__ import annotations

import click

from lading.cli.app import NOTHING_YET, App, command
from lading.cli.output import colour
from lading_catalog.names import printable


@click.group("destination", short_help="list and test destinations")
def destination() -> None:
    """Destinations and their health."""


@command("list", short_help="list destinations and their health")
def list_(app: App) -> None:
    """List the destinations: what is there, what has yet to go, and what is wrong."""
    from lading.cli.status import show_destination

    cat = app.existing()
    if cat is None:
        app.out.say(NOTHING_YET)
        return
    with cat:
        shapes = cat.status()["destinations"]
        facts = {row.id: row.probe for row in cat.destinations()}
    for number, shape in enumerate(shapes):
        if app.out.json:
            app.out.document({"schema": "lading.destination/1", **shape, "facts": facts.get(shape["id"])})
            continue
        if number:
            app.out.result("")
        show_destination(app, shape)
    if not shapes:
        app.out.say("No destination yet: lading table set-destination default file URI")


@command("test", short_help="does it work?")
@click.argument("uri")
@click.option("--moved", is_flag=True, help="It is the same store as before, under a new address.")
def test(app: App, uri: str, moved: bool) -> None:
    """Write, read and delete a small object at a destination, and show what was learnt of the store."""
    from lading.cli.probe import facts_table, probe
    from lading_catalog import uris

    told = probe(app, uris.parse(uri, frozenset(app.settings().endpoints)).uri, *(["--moved"] if moved else []))
    if app.out.json:
        app.out.document(told)
        return
    app.out.result(f"{printable(told.get('uri') or uri)}  {colour('ok')}")
    facts_table(app, told)


@command("adopt", short_help="this catalog is the one that deletes there")
@click.argument("uri")
def adopt(app: App, uri: str) -> None:
    """Say that this catalog is the one that goes on, after it was copied or brought back from a backup.

    Nothing is deleted at a destination whose owner marker holds another token than the catalog's: another life of it may be at work
    there. From now on what the marker holds counts as this one's, and the other one stops.
    """
    from lading_catalog import uris

    wanted = uris.parse(uri, frozenset(app.settings().endpoints)).uri
    with app.catalog() as cat:
        cat.sweeps.adopt(wanted)
    if app.out.json:
        app.out.document({"destination": wanted, "adopted": True})
        return
    app.out.result(f"{printable(wanted)}  {colour('ok', 'adopted')}: the daemon deletes there again.")


destination.add_command(adopt)
destination.add_command(list_)
destination.add_command(test)
