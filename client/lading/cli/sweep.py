"""`lading sweep`: what waits to be deleted in destinations, and the word that a large deletion waits for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from lading.cli import words
from lading.cli.app import NOTHING_YET, App, command
from lading_catalog.names import printable

if TYPE_CHECKING:
    from lading.catalog import Catalog

_SHOWN = 20  # copies listed on a terminal; into a pipe go all
_HELD = {
    "not safe elsewhere": "waits until the other copies are there",
    "dropping": "being deleted",
    "copying": "being sent",
}


@command("sweep", short_help="what waits to be deleted at destinations")
@click.option("--plan", "listed", is_flag=True, help="List each copy that waits.")
@click.option("--confirm", metavar="PLAN", help="Let a sweep that has stopped at the cap be carried out.")
def sweep(app: App, listed: bool, confirm: str | None) -> int:
    """Show what waits to be deleted at destinations, because nothing needs it any more.

    The daemon deletes it when its grace (delete_after) is over. A sweep that would delete unusually much (delete_max_count,
    delete_max_fraction) stops first and waits for --confirm.
    """
    if listed and confirm is not None:
        raise click.UsageError("--plan and --confirm exclude each other.")
    cat = app.existing()
    if cat is None:
        app.out.say(NOTHING_YET)
        return 0
    with cat:
        if confirm is not None:
            _confirm(app, cat, confirm)
        elif listed:
            _list(app, cat)
        else:
            _overview(app, cat)
    return 0


def _confirm(app: App, cat: Catalog, plan_id: str) -> None:
    plan = cat.sweeps.confirm(plan_id)
    if app.out.json:
        app.out.document(plan)
        return
    app.out.result(f"{plan['id']}  confirmed: {_copies(plan)} at {printable(plan['destination'])}")
    if not cat.daemon().running:
        from lading_catalog.why import START_DAEMON

        app.out.say(f"No daemon is running to delete them. {START_DAEMON}")


def _list(app: App, cat: Catalog) -> None:
    n = 0
    for n, one in enumerate(cat.sweeps.waiting(), start=1):
        if app.out.json:
            app.out.document(one)
        elif n <= _SHOWN or not sys.stdout.isatty():
            app.out.result(f"{_when(one):<12}  {words.size(one['size_bytes']):>7}  {printable(one['destination'] + one['key'])}")
    if n > _SHOWN and sys.stdout.isatty() and not app.out.json:
        app.out.result(f"… and {n - _SHOWN:,} more: lading sweep --plan | less")
    if not n:
        app.out.say("Nothing waits to be deleted at any destination.")
    for plan in cat.sweeps.plans():
        if plan["confirmed_at"] is None:
            app.out.say(f"Stopped at the cap: {_copies(plan)} at {printable(plan['destination'])}.")
            app.out.say(f"  If that is meant: lading sweep --confirm {plan['id']}")


def _when(one: dict[str, Any]) -> str:
    if one["state"] in _HELD:
        return _HELD[one["state"]]
    if one["plan"] is not None:
        return "stopped"
    if one["due_at"] is None:
        return "not seen yet"
    return words.due(one["due_at"]) if one["held"] is None else _HELD.get(one["held"], one["held"])


def _overview(app: App, cat: Catalog) -> None:
    deletes = cat.sweeps.overview()
    if app.out.json:
        app.out.document(deletes)
        return
    if not deletes["waiting"]:
        app.out.result("Nothing waits to be deleted.")
        return
    due = f", the first {words.due(deletes['next_due_at'])}" if deletes["next_due_at"] else ""
    app.out.result(f"{words.count(deletes['waiting'], 'copy', 'copies')} to delete, here and at destinations{due}.")
    for rest in deletes["resting"]:
        app.out.result(f"  {words.visible(rest['message'])}")
        if rest["hint"]:
            app.out.result(f"    {words.visible(rest['hint'])}")
    if not cat.config.delete_versions:
        for row in cat.destinations():
            if row.probe is not None and row.probe.get("versioned"):
                app.out.say(f"{printable(row.uri)} is a versioned bucket: old versions stay, until a lifecycle rule removes them or"
                            " delete_versions = true does.")  # fmt: skip
    if not cat.daemon().running:
        from lading_catalog.why import START_DAEMON

        app.out.say(f"No daemon is running; grace counts only while one runs. {START_DAEMON}")


def _copies(plan: dict[str, Any]) -> str:
    return f"{words.count(plan['objects'], 'copy', 'copies')} ({words.size(plan['size_bytes'])})"
