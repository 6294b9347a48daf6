"""Walking files and folders that a person named: which files there are, under which names, and what could not be read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lading_catalog.errors import Error, NotFound


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or (`error`) a path that is none or cannot be read. `name`: the base name of what the person named, and the way down
    from there: `lading put a/trip` names `trip/x.jpg`, `lading put a/trip/x.jpg` names `x.jpg`."""

    path: str
    name: str
    size_bytes: int = 0
    error: Error | None = None


class Walk:
    """The files below `paths`, in the order of the bytes of their names, each folder at its place. A symbolic link that was named
    itself is followed; links inside folders are counted (`links`) and not followed, and so are devices, pipes and sockets
    (`special`). `avoid`: a folder that is left out, and named in `avoided` if it was met."""

    def __init__(self, paths: Iterable[str], avoid: str | os.PathLike[str] | None = None) -> None:
        self._paths = [os.fspath(p) for p in paths]
        self._avoid = os.path.realpath(avoid) if avoid is not None else None
        self.links = self.special = 0
        self.avoided: str | None = None

    def __iter__(self) -> Iterator[Found]:
        for path in self._paths:
            try:
                found = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                dangling = os.path.islink(path)
                text = f"The symbolic link {path} leads nowhere." if dangling else f"There is no file {path}."
                yield Found(path, path, error=NotFound(text, path=path))
            except (OSError, ValueError) as e:
                yield Found(path, path, error=_unreadable(path, e))
            else:
                yield from self._named(path, found)

    def _named(self, path: str, found: os.stat_result) -> Iterator[Found]:
        real = os.path.realpath(path)
        if self._avoid is not None and (real == self._avoid or real.startswith(os.path.join(self._avoid, ""))):
            yield Found(path, path, error=Error(f"{path} lies in Lading's own home.", hint="lading get copies out.", path=path))
        elif stat.S_ISDIR(found.st_mode):
            base = os.path.basename(path.rstrip("/"))
            yield from self._folder(path, os.path.basename(real) if base in ("", ".", "..") else base)
        elif stat.S_ISREG(found.st_mode):
            yield Found(path, os.path.basename(path), found.st_size)
        else:
            yield Found(path, path, error=Error(f"{path} is not a regular file.", path=path))

    def _folder(self, path: str, name: str) -> Iterator[Found]:
        # A stack of its own: folders may be nested deeper than Python recurses.
        stack = [self._entries(path, name)]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif isinstance(entry, Found):
                yield entry
            elif self._avoid is not None and os.path.realpath(entry[0]) == self._avoid:
                self.avoided = entry[0]
            else:
                stack.append(self._entries(*entry))

    def _entries(self, path: str, name: str) -> Iterator[Found | tuple[str, str]]:
        """Files, and folders as (path, name)."""
        try:
            with os.scandir(path) as entries:
                listed = sorted(entries, key=lambda e: os.fsencode(e.name))
        except OSError as e:
            yield Found(path, name, error=_unreadable(path, e))
            return
        for entry in listed:
            named = f"{name}/{entry.name}" if name else entry.name
            try:
                if entry.is_symlink():
                    self.links += 1
                elif entry.is_dir(follow_symlinks=False):
                    yield entry.path, named
                elif entry.is_file(follow_symlinks=False):
                    yield Found(entry.path, named, entry.stat(follow_symlinks=False).st_size)
                else:
                    self.special += 1
            except FileNotFoundError:
                continue  # gone since it was listed
            except OSError as e:
                yield Found(entry.path, named, error=_unreadable(entry.path, e))


def _unreadable(path: str, e: OSError | ValueError) -> Error:
    if isinstance(e, PermissionError):
        return Error(f"No permission to read {path}.", path=path)
    return Error(f"Reading {path} failed: {os.strerror(e.errno or 0) if isinstance(e, OSError) else e}.", path=path)
