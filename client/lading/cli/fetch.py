"""`lading fetch`: bring copies to this disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lading.cli import words
from lading.cli.app import App, command
from lading.cli.wait import SECONDS
from lading_catalog.errors import Error
from lading_catalog.names import printable

if TYPE_CHECKING:
    from lading.catalog import Catalog
    from lading.medium import Medium


@command("fetch", short_help="bring copies to this disk")
@click.argument("what", nargs=-1, metavar="[ID|SHA256|NAME...]")
@click.option("--table", metavar="T", help="All media of this table.")
@click.option("--timeout", type=SECONDS, metavar="TIME", help="At most so long for all of it (90, 5m, 1h30m).")
def fetch(app: App, what: tuple[str, ...], table: str | None, timeout: float | None) -> int:
    """Bring copies of media to this disk from their destinations. What is here already stays.

    Where no daemon runs, one that only fetches is started for it. What cannot be brought is reported and the others go on. Exit code 1
    where some could not be fetched, 3 where some are not known, 4 where time ran out.
    """
    if bool(what) == (table is not None):
        raise click.UsageError("Name media, or a --table.")
    with app.catalog() as cat:
        code, media = _found(app, cat, what) if table is None else (0, list(cat.media(table=table)))
        return max(code, _fetch(app, cat, media, timeout, each=table is None))


def _found(app: App, cat: Catalog, what: tuple[str, ...]) -> tuple[int, list[Medium]]:
    """The media that are meant; unknown ones are reported."""
    code, media = 0, []
    for text in what:
        try:
            media.append(cat.medium(text))
        except Error as e:
            app.out.error(e, e.exit_code)
            for id_ in e.about.get("ids", []):
                app.out.say(f"  {id_}")
            code = max(code, e.exit_code)
    return code, list({m.id: m for m in media}.values())


def _fetch(app: App, cat: Catalog, media: list[Medium], timeout: float | None, *, each: bool) -> int:
    from lading.fetch import FetchResult

    away = sum(m.size_bytes for m in media if not m.cached)
    bar = app.out.progress("media", total=len(media), total_bytes=away)
    code = done = 0

    def decided(result: FetchResult, medium: Medium) -> None:
        nonlocal code, done
        done += 1
        if result.failed and result.failed[-1][0] is medium:
            error = result.failed[-1][1]
            error.about.setdefault("id", medium.id)
            app.out.error(error, error.exit_code)
            code = max(code, error.exit_code)
        elif app.out.json:
            app.out.document(medium.refresh().shape)
        elif each:
            app.out.result(f"{medium.id}  {'here' if medium.cached else 'fetched'}  {printable(medium.name)}")
        bar.show(done, len(media), result.size_bytes)

    result = cat.fetch(media, timeout=timeout, progress=decided)
    app.out.done()
    if not app.out.json and not each:
        failed = f", {len(result.failed):,} failed" if result.failed else ""
        app.out.result(
            f"{words.media(result.fetched)} fetched ({words.size(result.size_bytes)}), {result.here:,} were here{failed}."
        )
    return code
