"""`lading put`: files and folders into the catalog, many with one commit, one bad file not failing the others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lading.cli import words
from lading.cli.app import App, command
from lading.cli.wait import SECONDS, wait_for
from lading.tree import Found, Walk
from lading_catalog.errors import ConfigError, Error, Full
from lading_catalog.names import printable
from lading_catalog.replicas import PRIORITIES
from lading_catalog.tables import DEFAULT_COLUMN, DEFAULT_TABLE, check_name

if TYPE_CHECKING:
    from lading.batch import Batch
    from lading.catalog import Catalog
    from lading.medium import Medium

_BATCH_FILES, _BATCH_BYTES = 256, 256 << 20  # what one commit takes: a kill costs at most this much work
_SHOWN = 10  # lines on a terminal; into a pipe go all


@command("put", short_help="put files and folders: durable on this disk when it returns")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--table", default=DEFAULT_TABLE, show_default=True, metavar="T")
@click.option("--column", default=DEFAULT_COLUMN, show_default=True, metavar="C")
@click.option("--computed", is_flag=True, help="They can be made again: destinations of a computed column.")
@click.option("--destination", multiple=True, metavar="URI", help="Instead of the column's; may be given several times.")
@click.option("--local-only", is_flag=True, help="No destination: keep them on this disk only.")
@click.option("--move", is_flag=True, help="Remove each source file once it is recorded. Folders stay.")
@click.option("--again", is_flag=True, help="A second medium where the same name with the same content is there.")
@click.option("--priority", type=click.Choice(list(PRIORITIES)), default="normal", show_default=True, metavar="P",
              help="urgent, normal or bulk: who is brought to the destinations first.")  # fmt: skip
@click.option("--wait", "and_wait", is_flag=True, help="Return when all of them are safe at their destinations.")
@click.option("--timeout", type=SECONDS, metavar="TIME", help="With --wait: at most so long (90, 5m, 1h30m).")
def put(app: App, paths: tuple[str, ...], **options: Any) -> int:
    """Put files and folders: when this returns they are durable on this disk.

    A file is named by its base name, a file in a folder by its way from there: `lading put a/trip` names trip/day1/x.jpg. Links inside
    folders are not followed; one that you name yourself is. What is there already (same name and content, same table and column) is
    skipped and counted. Prints one line a medium: id, size, name. A file that cannot be put is reported, the others go on; exit code 1.
    """
    if options["destination"] and options["local_only"]:
        raise click.UsageError("--destination and --local-only exclude each other.")
    if options["timeout"] is not None and not options["and_wait"]:
        raise click.UsageError("--timeout needs --wait.")
    _check(app, options)
    app.out.unread_is_fine = True
    with app.catalog(make=True) as cat:
        work = _Put(app, cat, options)
        try:
            work.run(Walk(paths, avoid=cat.home), Walk(paths, avoid=cat.home))
        finally:
            app.out.done()
            work.summary()
        if options["and_wait"]:
            code = wait_for(app, cat, work.media, options["timeout"]) if work.media else 0
            return code or int(work.failed > 0)
    return int(work.failed > 0)


def _check(app: App, options: dict[str, Any]) -> None:
    """What is wrong with the call is said before anything is made."""
    from lading_catalog import uris

    endpoints = frozenset(app.settings().endpoints)
    for uri in options["destination"]:
        uris.parse(uri, endpoints)
    check_name("table", options["table"], path=True)
    check_name("column", options["column"])


class _Put:
    def __init__(self, app: App, cat: Catalog, options: dict[str, Any]) -> None:
        self._app, self._cat = app, cat
        self._move: bool = options["move"]
        self._quiet: bool = options["and_wait"] and app.out.json  # then the receipt is the result
        self._keep: bool = options["and_wait"]
        self._column: tuple[str, str] = options["table"], options["column"]
        self._how: dict[str, Any] = {
            "table": options["table"],
            "column": options["column"],
            "kind": "computed" if options["computed"] else None,
            "destination": [] if options["local_only"] else list(options["destination"]) or None,
            "move": options["move"],
            "priority": options["priority"],
            "again": options["again"],
        }
        self._local_only: bool = options["local_only"]
        self.media: list[Medium] = []  # for the wait
        self.new = self.known = self.failed = self.size_bytes = self.unrouted = 0

    def run(self, walk: Walk, survey: Walk) -> None:
        files = size_bytes = 0
        if sys.stderr.isatty() and not self._app.out.json:  # a bar needs to know how much there is
            for found in survey:
                files, size_bytes = files + 1, size_bytes + found.size_bytes
        self._progress = self._app.out.progress("files", total=files, total_bytes=size_bytes)
        for batch in self._batches(walk):
            self._one(batch)
        self._notes(walk)

    def _batches(self, walk: Walk) -> Iterator[list[Found]]:
        batch: list[Found] = []
        size_bytes = 0
        for found in walk:
            if found.error is not None:
                self._failure(found.error)
                self._progress.advance()
                continue
            batch.append(found)
            size_bytes += found.size_bytes
            if len(batch) == _BATCH_FILES or size_bytes >= _BATCH_BYTES:
                yield batch
                batch, size_bytes = [], 0
        if batch:
            yield batch

    def _one(self, files: list[Found]) -> None:
        full: list[Error] = []

        def each(index: int, error: Error | None) -> None:
            self._progress.advance(files[index].size_bytes)
            if isinstance(error, Full):
                full.append(error)  # of all that follow too
            elif error is not None:
                self._failure(error)

        with self._cat.batch() as batch:
            batch.put_many([(f.path, f.name) for f in files], each=each, **self._how)
        self._done(batch)
        if full:
            raise full[0]

    def _done(self, batch: Batch) -> None:
        self._cat.refresh(batch.media)
        for medium, new in zip(batch.media, batch.new, strict=True):
            self.new += new
            self.known += not new
            self.size_bytes += medium.size_bytes
            self.unrouted += medium.state == "local_only"
            self._show(medium, new)
        self._app.out.flush()
        if self._keep:
            self.media += batch.media
        for what in batch.unmoved:
            shown = printable(what.path or "")
            self._failure(
                Error(f"{shown} was put, but it has changed since or cannot be removed: it is still there.", path=what.path)
            )

    def _show(self, medium: Medium, new: bool) -> None:
        out = self._app.out
        if self._quiet:
            return
        if out.json:
            out.document({**medium.shape, "new": new})
        elif new and (self.new <= _SHOWN or not sys.stdout.isatty()):
            out.result(f"{medium.id}  {words.size(medium.size_bytes):>7}  {printable(medium.name)}")

    def _failure(self, error: Error) -> None:
        self.failed += 1
        self._app.out.error(error, ConfigError.exit_code if isinstance(error, ConfigError) and not self._app.configured else 1)

    def _notes(self, walk: Walk) -> None:
        if walk.links:
            self._app.out.say(f"{words.count(walk.links, 'symbolic link', 'symbolic links')} not followed.")
        if walk.special:
            self._app.out.say(f"{words.count(walk.special, 'special file', 'special files')} (device, pipe, socket) left out.")
        if walk.avoided:
            self._app.out.say(f"{walk.avoided} left out: it is Lading's own home.")

    def summary(self) -> None:
        say = self._app.out.say
        if not self.new + self.known + self.failed:
            return
        if sys.stdout.isatty() and self.new > _SHOWN and not self._app.out.json:
            self._app.out.result(f"… and {self.new - _SHOWN:,} more: lading ls")
        parts = [f"{words.files(self.new)} put"] if self.new or not self.known else []
        if self.known:
            parts.append(f"{words.files(self.known)} there already")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.new + self.known != 1 or self.failed or self.known:
            size = f" ({words.size(self.size_bytes)})" if self.new + self.known else ""
            say(f"{', '.join(parts)}{size}.")
        if self.unrouted and not self._local_only:
            table, column = map(printable, self._column)
            say(f"Kept only on this disk. Give it a destination: lading table set-destination {table} {column} URI")
