"""`lading wait`: until media are safe; the receipt says where they are and how that was verified."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from lading.cli import words
from lading.cli.app import App, command
from lading.cli.output import colour
from lading_catalog.names import printable

if TYPE_CHECKING:
    from lading.catalog import Catalog
    from lading.medium import Medium, Receipt

_REASONS = 10  # groups of media that are not safe, shown to a person
_HOW = {
    "put": "checked by the store on arrival",
    "head": "asked of the store",
    "list": "listed by the store",
    "read": "read back",
}


class Seconds(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """A length of time: plain seconds, or a duration of the configuration."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from lading_catalog.units import Duration

        try:
            seconds = float(value) if str(value).replace(".", "", 1).isdecimal() else Duration(value).s
        except ValueError:
            self.fail(f"{value!r} is no length of time; write 90, 90s, 5m or 1h30m.", param, ctx)
        return seconds


SECONDS = Seconds()


@command("wait", short_help="until media are safe; print the receipt")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--table", metavar="T", help="All media of this table.")
@click.option("--all", "everything", is_flag=True, help="All media that have a destination (also without any argument).")
@click.option("--timeout", type=SECONDS, metavar="TIME", help="At most so long (90, 5m, 1h30m); 0 only looks.")
def wait(app: App, ids: tuple[str, ...], table: str | None, everything: bool, timeout: float | None) -> int:
    """Wait until media are safe at their destinations, and print the receipt.

    An ID may also be a SHA-256 or a name. Exit code 4 with the partial receipt when not all are safe; 5 when no daemon is there to
    bring them (and no --timeout says how long to wait for one).
    """
    if bool(ids) + (table is not None) + everything > 1:
        raise click.UsageError("IDs, --table and --all exclude each other.")
    with app.catalog() as cat:
        which: list[Medium] | None = None
        if ids:
            which = list({m.id: m for m in map(cat.medium, ids)}.values())
        elif table is not None:
            which = list(cat.media(table=table))
        return wait_for(app, cat, which, timeout)


def wait_for(app: App, cat: Catalog, which: list[Medium] | None, timeout: float | None) -> int:
    """Wait and print the receipt; the exit code. Raises NoDaemon."""
    from lading_catalog.errors import NotSafeYet
    from lading_catalog.why import START_DAEMON

    bar = app.out.progress("media safe")
    told = False

    def progress(safe: int, total: int) -> None:
        nonlocal told
        if safe < total and not told and not cat.daemon().running:
            app.out.say(f"{words.media(total - safe)} to bring, and no daemon is running. {START_DAEMON}")
            told = True
        bar.show(safe, total)

    try:
        receipt: Receipt = cat.wait(which, timeout=timeout, progress=progress)
    except NotSafeYet as e:
        receipt = e.receipt
    finally:
        app.out.done()
    if app.out.json:
        app.out.document(receipt.shape)
    else:
        show_receipt(app, receipt.shape)
        if which is None and (alone := cat.status()["media"]["local_only"]):
            app.out.say(f"{words.media(alone)} without a destination not counted: lading ls --state local_only")
    return 0 if receipt.safe else 4


def show_receipt(app: App, shape: dict[str, Any]) -> None:
    out = app.out
    if not shape["total"]:
        out.result("Nothing to wait for: no medium has a destination.")
        return
    size = words.size(shape["size_bytes"])
    if shape["safe"]:
        what = "1 file" if shape["total"] == 1 else f"All {words.files(shape['total'])}"
        out.result(f"{what}, {size}: {colour('safe')}.")
    else:
        out.result(f"{shape['safe_count']:,} of {words.files(shape['total'])} ({size}) {colour('blocked', 'safe')}.")
    copies: dict[str, Counter[str]] = {}
    for medium in shape["media"]:
        for copy in medium["copies"]:
            how = f"{_HOW.get(copy['by'], copy['by'])} ({copy['algorithm']})"
            copies.setdefault(copy["destination"], Counter())[how] += 1
    out.table(
        [
            (f"  {printable(uri)}", f"{sum(hows.values()):,} of {shape['total']:,}", _how(hows))
            for uri, hows in copies.items()
        ],
        right=(1,),
    )  # fmt: skip
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in shape["not_safe"]:
        groups.setdefault(one["sentence"], []).append(one)
    for sentence, ones in list(groups.items())[:_REASONS]:
        who = printable(ones[0]["name"]) if len(ones) == 1 else words.files(len(ones))
        out.result(f"  {words.visible(sentence)} ({who})")
    if len(groups) > _REASONS:
        out.result(f"  … and {len(groups) - _REASONS:,} other reasons")
    if shape["not_safe"]:
        out.say(f"  lading why {shape['not_safe'][0]['id']}")


def _how(hows: Counter[str]) -> str:
    if len(hows) == 1:
        return next(iter(hows))
    return ", ".join(f"{n:,} {how}" for how, n in hows.most_common())
