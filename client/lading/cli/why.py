"""`lading why`: why a medium is not safe yet, and what to do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from lading.cli import words
from lading.cli.app import App, command
from lading.cli.output import colour
from lading_catalog.errors import NotFound
from lading_catalog.ids import medium_ulid
from lading_catalog.names import printable

if TYPE_CHECKING:
    from lading.catalog import Catalog
    from lading.medium import Medium

_LOCAL = {
    "not_safe": "stays: it is not safe elsewhere",
    "pinned": "stays: it is pinned",
    "changed": "was changed or removed: it is no longer what was put",
    "not_cached": "no copy",
    "deleted": "deleted, goes when its grace is over",
}


@command("why", short_help="why is this medium not safe yet, and what to do")
@click.argument("what", metavar="ID|PATH")
def why(app: App, what: str) -> None:
    """Say why a medium is not safe yet, for each destination, and what to do about it.

    An existing file is hashed, and found by its content, whatever it was called when it was put.
    """
    with app.catalog() as cat:
        medium = find(cat, what)
        shape, name = medium.why(), medium.name
    if app.out.json:
        app.out.document(shape)
        return
    show(app, shape, name)


def find(cat: Catalog, what: str) -> Medium:
    """The medium that an id, the path of an existing file, a SHA-256 or a name means. Raises NotFound, Ambiguous, Error."""
    from lading.safe import hash_file

    if medium_ulid(what) is not None or not os.path.isfile(what):
        return cat.medium(what)
    _, sha256 = hash_file(what)
    found = cat.known([sha256]).get(sha256)
    if found is None:
        raise NotFound(
            f"The content of {printable(what)} has not been put, or it was changed since.",
            hint=f"lading put {printable(what)}",
            path=what,
        )
    return found[1]


def show(app: App, shape: dict[str, Any], name: str) -> None:
    out = app.out
    out.result(f"{printable(name)}  {colour(shape['state'], shape['state'].replace('_', ' '))}  {shape['id']}")
    for one in [*shape["destinations"], *([shape] if shape["sentence"] else [])]:
        out.result(f"  {words.visible(one['sentence'])}")
        if one.get("next_try_at"):
            tries = f"{words.count(one['attempts'], 'try', 'tries')} so far, the next" if one["attempts"] else "The next try"
            out.result(f"    {tries} {words.due(one['next_try_at'])}.")
        if one["do"]:
            out.result(f"    {words.visible(one['do'])}")
    local = shape["local"]
    text = "can be evicted" if local["evictable"] else _LOCAL.get(local["reason"], local["reason"])
    out.result(f"  On this disk: {text}.")
