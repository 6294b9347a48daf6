"""A batch of puts: taken in one by one, or by several threads at once, and recorded with one commit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from lading import mime
from lading.intake import Intake, Source, Taken, intake, remove_source, take
from lading.medium import Medium
from lading.recording import Recorder
from lading_catalog import media, tables
from lading_catalog.connection import wall_ms
from lading_catalog.errors import ConfigError, Error
from lading_catalog.ids import new_ulid
from lading_catalog.replicas import PRIORITIES

if TYPE_CHECKING:
    from lading.catalog import Catalog

WRITERS = 8  # threads that write and sync files of one put_many: the file system commits their syncs together

Destinations = str | Sequence[str] | None
Each = Callable[[int, Error | None], None]


class PutOptions(TypedDict, total=False):
    """What every put can be told.

    `table`, `column`: where the medium belongs (default, file); made if they are new. `kind`: `input` or `computed`; None is the
    column's. `destination`: URI or URIs; [] keeps it on this disk only; None lets the column and then the configuration decide.
    `move`: unlink the source after the commit. `priority`: urgent, normal or bulk.
    """

    table: str
    column: str
    kind: str | None
    destination: Destinations
    move: bool
    priority: str


class Batch:
    """Puts with one commit. `media` has them after the `with`; `new` says of each whether it was made or was there already."""

    def __init__(self, catalog: Catalog, recorder: Recorder) -> None:
        self._catalog = catalog
        self._recorder = recorder
        recorder.new_call()
        self._taken: list[Taken] = []
        self._items: list[media.NewMedium] = []
        self._moves: list[Taken] = []
        self.media: list[Medium] = []
        self.new: list[bool] = []
        self.unmoved: list[Intake] = []  # of a move: recorded, but the source could not be removed or has changed since

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.discard()
        elif self._items:
            self.commit()

    def put(
        self,
        source: Source,
        *,
        name: str | bytes | os.PathLike[str] | None = None,
        values: Mapping[str, Any] | None = None,
        again: bool = True,
        **options: Unpack[PutOptions],
    ) -> Medium:
        """As Catalog.put; recorded when the batch ends. `again=False`: where the column has the same name with the same content,
        that medium stands instead of a second one (see `media` and `new` afterwards)."""
        _check(options)
        what = intake(source, name)  # before the session: what is refused has written nothing
        return self._add(take(self._recorder.session(), what), options, values, again)

    def put_many(
        self,
        sources: Iterable[Source | tuple[Source, str | bytes]],
        *,
        again: bool = True,
        each: Each | None = None,
        **options: Unpack[PutOptions],
    ) -> list[Medium]:
        """As `put`, for many; several threads write and sync. Raises the first error, after which the batch should end, unless there
        is `each`: it is called with the index of each source, in order, and its Error or None, and those that fail are left out."""
        from concurrent.futures import ThreadPoolExecutor  # 10 ms that a single put does not need

        _check(options)
        session = self._recorder.session()

        def one(source: Source | tuple[Source, str | bytes]) -> Taken:
            return take(session, intake(*source) if isinstance(source, tuple) else intake(source))

        many = list(sources)
        taken: list[Taken] = []
        error: BaseException | None = None
        with ThreadPoolExecutor(min(WRITERS, max(1, len(many)))) as pool:
            futures = [pool.submit(one, source) for source in many]
            try:
                for index, future in enumerate(futures):
                    failed = future.exception()
                    if failed is None:
                        taken.append(future.result())
                    elif each is None or not isinstance(failed, Error):
                        error = error or failed
                    if each is not None and (failed is None or isinstance(failed, Error)):
                        each(index, failed)
            except BaseException:  # Ctrl-C: what has not begun does not begin, what is running ends, and all of it is taken back
                pool.shutdown(cancel_futures=True)
                done = [f.result() for f in futures if not f.cancelled() and f.exception() is None]
                session.settle((t.staged for t in done), keep=False)
                raise
        found = [self._add(t, options, None, again) for t in taken]
        if error is not None:
            raise error
        return found

    def commit(self) -> None:
        """Record what was put so far; the batch is empty afterwards."""
        try:
            result = self._recorder.record(self._items, self._taken)
        finally:
            self._items, self._taken, moves, self._moves = [], [], self._moves, []
        self.new += result.new
        self.media += [Medium(self._catalog, ulid) for ulid in result.ulids]
        self.unmoved += [taken.intake for taken in moves if not remove_source(taken)]

    def discard(self) -> None:
        """Take back what was put since the last commit."""
        if self._taken:
            self._recorder.session().settle((t.staged for t in self._taken), keep=False)
        self._items, self._taken, self._moves = [], [], []

    def _add(self, taken: Taken, options: PutOptions, values: Mapping[str, Any] | None, again: bool) -> Medium:
        staged = taken.staged
        ulid = new_ulid(wall_ms())
        self._taken.append(taken)
        self._items.append(
            media.NewMedium(
                sha256=staged.sha256,
                size_bytes=staged.size_bytes,
                file=media.LocalFile(staged.key, staged.inode, staged.mtime_ns),
                name=taken.intake.name,
                mime=mime.guess(staged.head, taken.intake.name),
                modified_at_ms=taken.modified_at_ms,
                table=options.get("table", tables.DEFAULT_TABLE),
                column=options.get("column", tables.DEFAULT_COLUMN),
                kind=options.get("kind"),
                destinations=uris(options.get("destination")),
                priority=PRIORITIES[options.get("priority", "normal")],
                scalars=values,
                ulid=ulid,
                again=again,
            )
        )
        if options.get("move") and _inside(self._catalog.home, taken.intake):
            self.unmoved.append(taken.intake)
        elif options.get("move"):
            self._moves.append(taken)
        return Medium(self._catalog, ulid)


def _inside(home: Path, what: Intake) -> bool:
    """Whether a source lies in the home: it may be the very copy that the put relies on, and is never moved away."""
    return what.path is not None and Path(os.path.realpath(os.fsdecode(what.path))).is_relative_to(os.path.realpath(home))


def uris(destination: Destinations) -> tuple[str, ...] | None:
    if destination is None:
        return None
    return (destination,) if isinstance(destination, str) else tuple(destination)


def _check(options: PutOptions) -> None:
    """Before a byte is read."""
    kind, priority = options.get("kind"), options.get("priority", "normal")
    if kind is not None and kind not in tables.KINDS:
        raise ConfigError(f"kind is {' or '.join(tables.KINDS)}, not {kind!r}.")
    if priority not in PRIORITIES:
        raise ConfigError(f"priority is one of {', '.join(PRIORITIES)}, not {priority!r}.")
