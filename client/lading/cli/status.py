"""`lading status`: is everything all right?"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from lading.cli import words
from lading.cli.app import NOTHING_YET, App, command
from lading.cli.output import colour
from lading_catalog.names import printable

_LOOK_S = 1.0
_VERDICTS = {"ok": "OK", "working": "Working", "at_risk": "At risk", "lost": "LOST"}


@command("status", short_help="is everything all right?")
@click.option("--watch", is_flag=True, help="Go on, and show what changes, until Ctrl-C.")
def status(app: App, watch: bool) -> None:
    """Say whether everything is all right, and what is not. Works with the daemon down."""
    shape = look(app)
    show(app, shape)
    before = _steady(shape)
    while watch:
        time.sleep(_LOOK_S)
        shape = look(app)
        if _steady(shape) != before:
            before = _steady(shape)
            if sys.stdout.isatty() and not app.out.json:
                print("\x1b[H\x1b[2J", end="")
            show(app, shape)
            sys.stdout.flush()


def look(app: App) -> dict[str, Any]:
    """lading.status/1; of an empty catalog where there is none. Creates nothing."""
    cat = app.existing()
    if cat is not None:
        with cat:
            return cat.status()
    from lading.catalog import limits_of
    from lading_catalog.lock import observe
    from lading_catalog.status import nothing_yet

    settings = app.settings()
    home = Path(settings.home)
    limits, free = limits_of(settings)
    return nothing_yet(time.time_ns() // 1_000_000, home, observe(home), limits, free)


def show(app: App, shape: dict[str, Any]) -> None:
    out = app.out
    if out.json:
        out.document(shape)
        return
    if shape["catalog"]["id"] is None:
        out.result(NOTHING_YET)
        return
    verdict = _VERDICTS.get(shape["verdict"], shape["verdict"])
    if shape["verdict"] == "working" and not shape["daemon"]["running"]:
        verdict = "Waiting for a daemon"
    out.result(f"{colour(shape['verdict'], verdict)}.")
    for reason in shape["reasons"]:
        out.result(f"  {words.visible(reason)}")
    out.result("")
    out.table([("media", _media(shape["media"])), ("this disk", _local(shape["local"])), ("daemon", _daemon(shape["daemon"]))])
    if shape["deletes"]["waiting"]:
        out.result(f"deletes    {_deletes(shape['deletes'])}")
    for destination in shape["destinations"]:
        out.result("")
        show_destination(app, destination)


def _deletes(deletes: dict[str, Any]) -> str:
    text = f"{words.count(deletes['waiting'], 'copy', 'copies')} that nothing needs any more"
    return text + (f", the first goes {words.due(deletes['next_due_at'])}" if deletes["next_due_at"] else "")


def _media(media: dict[str, int]) -> str:
    parts = [
        f"{media[s]:,} {colour(s, s.replace('_', ' '))}" for s in ("lost", "blocked", "pending", "safe", "local_only") if media[s]
    ]
    living = f"{media['total']:,}: {', '.join(parts)}" if len(parts) > 1 else "".join(parts) or "none"
    return living + (f"; {media['deleted']:,} deleted" if media["deleted"] else "")


def _local(local: dict[str, Any]) -> str:
    parts = [f"{words.size(local['size_bytes'])} in {words.count(local['objects'], 'object', 'objects')}"]
    if local["unsafe_bytes"]:
        parts.append(f"{words.size(local['unsafe_bytes'])} of it safe nowhere else")
    if local["evictable_bytes"]:
        parts.append(f"{words.size(local['evictable_bytes'])} can be evicted")
    return f"{', '.join(parts)}; budget {words.size(local['budget_bytes'])}, free {words.size(local['disk_free_bytes'])}"


def _daemon(daemon: dict[str, Any]) -> str:
    if daemon["running"]:
        since = f" for {words.since(daemon['started_at'])}" if daemon["started_at"] else ""
        return f"running{since} (process {daemon['pid']}, version {daemon['version']})" + (", paused" if daemon["paused"] else "")
    seen = f"last seen {words.relative(daemon['last_seen_at'])}" if daemon["last_seen_at"] else "it has never run"
    return f"not running, {seen}. Start it: lading daemon"


def show_destination(app: App, d: dict[str, Any]) -> None:
    """A destination and its health, on a line and a few below."""
    app.out.result(f"{printable(d['uri'])}  {colour(d['state'])}")
    there = f"{words.count(d['present']['objects'], 'object', 'objects')} there ({words.size(d['present']['size_bytes'])})"
    parts = [there]
    if d["owed"]["objects"]:
        oldest = f", the oldest for {words.since(d['owed']['oldest_at'])}" if d["owed"]["oldest_at"] else ""
        parts.append(f"{d['owed']['objects']:,} to go ({words.size(d['owed']['size_bytes'])}{oldest})")
    if d["dropping"]["objects"]:
        parts.append(f"{d['dropping']['objects']:,} being removed")
    if d["rate_bytes_per_s"]:
        parts.append(f"{words.size(d['rate_bytes_per_s'])}/s")
    app.out.result(f"  {', '.join(parts)}")
    if d["error"]:
        again = f"; next try {words.due(d['next_try_at'])}" if d["next_try_at"] else ""
        tries = words.count(d["error"]["count"], "failure", "failures")
        app.out.result(f"  {words.visible(d['error']['message'])} ({tries} in {words.since(d['error']['first_at'])}{again})")
        if d["error"]["hint"]:
            app.out.result(f"  {words.visible(d['error']['hint'])}")


def _steady(shape: dict[str, Any]) -> dict[str, Any]:
    """What must change before it is shown again: not the clock, not the free space of the disk."""
    daemon = {**shape["daemon"], "last_seen_at": None}
    return {**shape, "at": None, "daemon": daemon, "local": {**shape["local"], "disk_free_bytes": 0}}
