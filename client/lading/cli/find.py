"""`lading ls` and `lading show`: which media there are, and all that is known of one."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import click

from lading.cli import words
from lading.cli.app import NOTHING_YET, App, command
from lading.cli.output import colour
from lading_catalog.names import printable

_STATES = ("local_only", "pending", "blocked", "safe", "lost", "deleted")


@command("ls", short_help="list media")
@click.option("--table", metavar="T")
@click.option("--column", metavar="C")
@click.option("--state", type=click.Choice(_STATES), metavar="S", help=f"One of {', '.join(_STATES)}.")
@click.option("--name", metavar="NAME", help="Media with exactly this name.")
@click.option("--deleted", is_flag=True, help="Deleted media instead, as long as they are remembered.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
def ls(
    app: App, table: str | None, column: str | None, state: str | None, name: str | None, deleted: bool, limit: int | None
) -> None:
    """List media, in the order in which they were put: id, state, size, whether a copy is on this disk, age, name."""
    if deleted and state not in (None, "deleted"):
        raise click.UsageError("--deleted and --state exclude each other.")
    cat = app.existing()
    if cat is None:
        app.out.say(NOTHING_YET)
        return
    deleted = deleted or state == "deleted"
    with cat:
        columns = {(c["table"], c["column"]) for c in cat.columns()}
        where = 0 if (table and column) or len(columns) < 2 else max(words.width(f"{t}.{c}") for t, c in columns)
        found = cat.media(table=table, column=column, state=None if deleted else state, name=name, deleted=deleted)
        n = 0
        for n, medium in enumerate(itertools.islice(found, limit), start=1):
            if app.out.json:
                app.out.document(medium.shape)
                continue
            if n == 1 and sys.stdout.isatty():
                head = f"{'ID':<28}  {'STATE':<10}  {'SIZE':>7}  {'DISK':<4}  {'PUT':>9}  {'COLUMN':<{where}}  NAME"
                app.out.result(head if where else head.replace("  COLUMN", ""))
            app.out.result(_line(medium.shape, where))
        if not n:
            app.out.say("Nothing matches." if table or column or state or name or deleted else NOTHING_YET)


def _line(shape: dict[str, Any], where: int) -> str:
    disk = "pin" if shape["pinned"] and shape["cached"] else "yes" if shape["cached"] else "-"
    place = ""
    if where:
        text = f"{shape['table'] or '?'}.{shape['column'] or '?'}"
        place = f"{text}{' ' * (where - words.width(text))}  "
    state = colour(shape["state"], f"{shape['state']:<10}")
    age = words.relative(shape["deleted_at"] or shape["created_at"]).removesuffix(" ago")
    back = f"  ({_back(shape)})" if shape["deleted_at"] else ""
    return f"{shape['id']}  {state}  {words.size(shape['size_bytes']):>7}  {disk:<4}  {age:>9}  {place}{printable(shape['name'])}{back}"


def _back(shape: dict[str, Any]) -> str:
    """Whether a deleted medium can be brought back, and for how long at least."""
    text = words.relative(shape["purge_at"])
    if not shape["restorable"]:
        return f"gone {text}" if text.endswith("ago") else "gone"
    return "can be brought back" + (f" for {text.removeprefix('in ')}" if text.startswith("in ") else "")


@command("show", short_help="all that is known of one medium")
@click.argument("what", metavar="ID")
def show(app: App, what: str) -> None:
    """Show all that is known of one medium. ID may also be a SHA-256 or a name."""
    with app.catalog() as cat:
        shape = cat.medium(what).shape
    if app.out.json:
        app.out.document(shape)
        return
    copies = [("", ""), *(_copy(r) for r in shape["replicas"])] if shape["replicas"] else []
    app.out.table(
        [
            ("name", printable(shape["name"])),
            ("id", shape["id"]),
            ("state", colour(shape["state"]) + (", pinned" if shape["pinned"] else "")),
            ("size", f"{words.size(shape['size_bytes'])} ({shape['size_bytes'] or 0:,} bytes)"),
            ("type", shape["mime"]),
            ("sha256", shape["sha256"] or "not known yet"),
            ("column", f"{shape['table']}.{shape['column']} ({shape['kind']})"),
            ("put", f"{words.relative(shape['created_at'])} ({shape['created_at']})"),
            *(
                [("deleted", f"{words.relative(shape['deleted_at'])} ({shape['deleted_at']}), {_back(shape)}")]
                if shape["deleted_at"]
                else []
            ),
            ("on this disk", printable(shape["path"]) if shape["cached"] else "no"),
            *copies,
        ]
    )


def _copy(replica: dict[str, Any]) -> tuple[str, str]:
    proof = replica["proof"]
    verified = f", verified {words.relative(replica['verified_at'])} by {proof['by']} ({proof['algorithm']})" if proof else ""
    error = f": {words.visible(replica['error']['message'])}" if replica["error"] else ""
    return replica["state"], f"{printable(replica['uri'])}{verified}{error}"
