"""`lading rm`, `undelete`, `pin`, `unpin`, `evict`: commands that change one medium after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from lading.cli.app import App, command
from lading_catalog.errors import ConfigError, Error, NotFound
from lading_catalog.ids import medium_ulid
from lading_catalog.names import printable

if TYPE_CHECKING:
    from lading.catalog import Catalog
    from lading.medium import Medium


@command("rm", short_help="delete media")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def rm(app: App, ids: tuple[str, ...]) -> int:
    """Delete media, by id only. Copies that no other medium needs are removed, here and at destinations, when their grace (delete_after)
    is over; until then: lading undelete ID.
    """

    def one(cat: Catalog, text: str) -> Medium:
        if medium_ulid(text) is None:
            raise _no_id(cat, text)
        medium = cat.medium(text)
        if medium.state == "deleted":
            raise NotFound(f"{medium.id} was deleted already.", id=medium.id)
        medium.delete()
        return medium

    code, done = _each(app, ids, one, "deleted")
    if done:
        who = ids[0] if len(ids) == 1 else "ID"
        app.out.say(
            f"Copies that nothing else needs go after {app.settings().delete_after}. To take it back: lading undelete {who}"
        )
    return code


@command("undelete", short_help="bring deleted media back")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def undelete(app: App, ids: tuple[str, ...]) -> int:
    """Bring deleted media back under their ids, as long as a copy of them is left (lading ls --deleted). ID may also be a SHA-256 or a
    name. Exit code 3 where the last copy has gone.
    """

    def one(cat: Catalog, text: str) -> Medium:
        return cat.medium(text).undelete()

    return _each(app, ids, one, "undeleted")[0]


@command("pin", short_help="keep their copies on this disk")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def pin(app: App, ids: tuple[str, ...]) -> int:
    """Keep the copies of media on this disk until `unpin`. ID may also be a SHA-256 or a name."""

    def one(cat: Catalog, text: str) -> Medium:
        medium = cat.medium(text)
        medium.pin()
        return medium

    return _each(app, ids, one, "pinned")[0]


@command("unpin", short_help="let them be evicted again")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def unpin(app: App, ids: tuple[str, ...]) -> int:
    """Let the copies of media on this disk be evicted again, once they are safe elsewhere."""

    def one(cat: Catalog, text: str) -> Medium:
        medium = cat.medium(text)
        medium.unpin()
        return medium

    return _each(app, ids, one, "unpinned")[0]


@command("evict", short_help="drop their copies on this disk")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--table", metavar="T", help="All media of this table.")
def evict(app: App, ids: tuple[str, ...], table: str | None) -> int:
    """Drop the copies of media on this disk now, whatever the budget says. ID may also be a SHA-256 or a name.

    Only what is safe at its destinations goes, and nothing that is pinned or in use. The daemon does this by itself when the cache is
    full. Exit code 4 where a copy has to stay.
    """
    if bool(ids) == (table is not None):
        raise click.UsageError("Name media, or a --table.")
    if table is not None:
        with app.catalog() as cat:
            ids = tuple(m.id for m in cat.media(table=table) if m.cached)

    def one(cat: Catalog, text: str) -> Medium:
        medium = cat.medium(text)
        medium.evict()
        return medium

    return _each(app, ids, one, "evicted")[0]


def _each(app: App, ids: tuple[str, ...], act: Callable[[Catalog, str], Medium], word: str) -> tuple[int, int]:
    """Act on each; what fails is reported and the others go on. (The exit code, how many were done)."""
    code = done = 0
    with app.catalog() as cat:
        for text in ids:
            try:
                medium = act(cat, text)
            except Error as e:
                exit_code = 2 if isinstance(e, ConfigError) else e.exit_code
                app.out.error(e, exit_code)
                code = max(code, exit_code)
                continue
            done += 1
            if app.out.json:
                app.out.document(medium.refresh().shape)
            else:
                app.out.result(f"{medium.id}  {word}  {printable(medium.name)}")
    return code, done


def _no_id(cat: Catalog, text: str) -> ConfigError:
    """Somebody wrote a name or a digest where only an id will do; say which it may be."""
    from lading_catalog.errors import Ambiguous

    try:
        ids = [cat.medium(text).id]
    except Ambiguous as e:
        ids = e.about["ids"]
    except Error:
        ids = []
    hint = f"It may be {', '.join(ids)}." if ids else "lading ls lists the ids."
    return ConfigError(f"{printable(text)} is no id, and rm deletes by id only.", hint=hint)
