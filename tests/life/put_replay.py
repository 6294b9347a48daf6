"""The disk as it could look after a power cut at any instant of a recorded run.

A run is recorded with strace (RECORD). Its calls are done again on a model of a disk, which knows of each file and folder what is
there and what was synced: of a file, its bytes (by a sync of the file); of a folder, its names (by a sync of the folder). At each
instant the disk can be rebuilt as

    strict      only what was synced
    greedy      what was synced, and of what was not only the removals of names
    everything  everything so far
    mixed       of what was not synced any part, by the dice: each name, each write, the last write cut short

`-shm` is left out: it is mapped memory, and SQLite makes it anew.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "openat", "write", "writev", "pwrite64", "fsync", "fdatasync", "link", "linkat", "rename", "renameat", "renameat2", "unlink",
    "unlinkat", "rmdir", "mkdir", "mkdirat", "ftruncate", "pwritev", "fallocate", "copy_file_range",
)  # fmt: skip
RECORD = ["-y", "-xx", "-s", "1000000", "-e", f"trace={','.join(CALLS)}"]
_CALL = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (\d+)(?:<.*>)?$")
_ARGUMENT = re.compile(r'\s*((?:\d+|AT_FDCWD)<[^>]*>(?:\(deleted\))?|"[^"]*"|\[[^\]]*\]|[^,]+)(?:,|$)')


@dataclass(eq=False)
class File:
    now: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # offset and bytes; None: cut to that length

    def do(self, offset: int, data: bytes | None) -> None:
        self.pending.append((offset, data))
        _apply(self.now, offset, data)

    def sync(self) -> None:
        self.synced, self.pending = bytes(self.now), []


@dataclass(eq=False)
class Folder:
    now: dict[str, Node] = field(default_factory=dict)
    synced: dict[str, Node] = field(default_factory=dict)

    def sync(self) -> None:
        self.synced = dict(self.now)


Node = File | Folder


def _apply(to: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del to[offset:]
        to.extend(bytes(offset - len(to)))
        return
    to.extend(bytes(max(0, offset - len(to))))
    to[offset : offset + len(data)] = data


class Disk:
    """What lies below `root`; calls elsewhere are nobody's business."""

    def __init__(self, root: Path) -> None:
        self.root = os.fspath(root)
        self.top = Folder()
        self._offsets: dict[int, int] = {}
        self.acked: dict[str, int] = {}

    # -- doing a recorded call again -------------------------------------------------------------------------------------------

    def do(self, line: str) -> str:
        """Does the call; returns its name, "" if it changed nothing here."""
        match = _CALL.match(line)
        if match is None:
            return ""  # it failed, or it is the end of the process
        call, result = match[1], int(match[3])
        args = [a.strip() for a in _ARGUMENT.findall(match[2])]
        if call == "writev":
            self._report(args[1])
            return call
        method = getattr(self, f"_{call}", None)
        assert method is not None, f"a call that this disk does not know: {line[:200]}"
        return call if method(args, result) else ""

    def _report(self, vector: str) -> None:
        text = re.search(r'iov_base="([^"]*)"', vector)
        assert text, vector
        words = _bytes(text[1]).decode().split()
        if words[0] == "acked":
            self.acked[words[1]] = int(words[2])

    def _at(self, folder: str, name: str) -> str:
        path = os.fsdecode(_bytes(name.strip('"')))
        return path if path.startswith("/") else os.path.join(_fd_path(folder), path)

    def _folder_of(self, path: str) -> tuple[Folder, str] | None:
        """The folder that holds `path`, and its name there; None outside of the root."""
        if not path.startswith(self.root + "/"):
            return None
        node: Node = self.top
        *parts, last = path[len(self.root) + 1 :].split("/")
        for part in parts:
            assert isinstance(node, Folder)
            if part not in node.now:
                return None
            node = node.now[part]
        assert isinstance(node, Folder)
        return node, last

    def find(self, path: str) -> Node | None:
        if path == self.root:
            return self.top
        found = self._folder_of(path)
        return found[0].now.get(found[1]) if found else None

    def _make(self, path: str, node: Node) -> bool:
        found = self._folder_of(path)
        if found is None:
            return False
        found[0].now[found[1]] = node
        return True

    def _remove(self, path: str) -> bool:
        found = self._folder_of(path)
        return found is not None and found[0].now.pop(found[1], None) is not None

    def _openat(self, args: Sequence[str], result: int) -> bool:
        self._offsets[result] = 0
        path = self._at(args[0], args[1])
        node = self.find(path)
        if node is None:
            return "O_CREAT" in args[2] and self._make(path, File())
        if isinstance(node, File) and "O_TRUNC" in args[2]:
            node.do(0, None)
        return False

    def _write(self, args: Sequence[str], result: int) -> bool:
        fd = int(args[0].partition("<")[0])
        offset = self._offsets.get(fd, 0)
        self._offsets[fd] = offset + result
        return self._put(args[0], offset, _bytes(args[1].strip('"'))[:result])

    def _pwrite64(self, args: Sequence[str], result: int) -> bool:
        return self._put(args[0], int(args[3]), _bytes(args[1].strip('"'))[:result])

    def _ftruncate(self, args: Sequence[str], result: int) -> bool:
        return self._put(args[0], int(args[1]), None)

    def _put(self, fd: str, offset: int, data: bytes | None) -> bool:
        path = _fd_path(fd)
        if path.endswith("-shm"):
            return False
        node = self.find(path)
        if isinstance(node, File):
            node.do(offset, data)
        return isinstance(node, File)

    def _fsync(self, args: Sequence[str], result: int) -> bool:
        node = self.find(_fd_path(args[0]))
        if node is not None:
            node.sync()
        return node is not None

    _fdatasync = _fsync

    def _link(self, args: Sequence[str], result: int) -> bool:
        return self._linkat(["AT_FDCWD<>", args[0], "AT_FDCWD<>", args[1]], result)

    def _linkat(self, args: Sequence[str], result: int) -> bool:
        node = self.find(self._at(args[0], args[1]))
        return node is not None and self._make(self._at(args[2], args[3]), node)

    def _rename(self, args: Sequence[str], result: int) -> bool:
        return self._renameat(["AT_FDCWD<>", args[0], "AT_FDCWD<>", args[1]], result)

    def _renameat(self, args: Sequence[str], result: int) -> bool:
        return self._linkat(args, result) and self._remove(self._at(args[0], args[1]))

    _renameat2 = _renameat

    def _unlink(self, args: Sequence[str], result: int) -> bool:
        return self._remove(self._at("AT_FDCWD<>", args[0]))

    _rmdir = _unlink

    def _unlinkat(self, args: Sequence[str], result: int) -> bool:
        return self._remove(self._at(args[0], args[1]))

    def _mkdir(self, args: Sequence[str], result: int) -> bool:
        return self._make(self._at("AT_FDCWD<>", args[0]), Folder())

    def _mkdirat(self, args: Sequence[str], result: int) -> bool:
        return self._make(self._at(args[0], args[1]), Folder())

    # -- what may be left --------------------------------------------------------------------------------------------------------

    def rebuild(self, to: Path, model: str, dice: random.Random) -> None:
        """Write the disk as it could look now below `to`, an empty folder. Empty folders two levels below objects/ are left out."""
        made: dict[int, Path] = {}  # a file with two names is one file
        self._rebuild(self.top, to, model, dice, made)

    def _rebuild(self, folder: Folder, to: Path, model: str, dice: random.Random, made: dict[int, Path]) -> None:
        for name, node in _names(folder, model, dice).items():
            path = to / name
            if name.endswith("-shm"):
                continue
            if isinstance(node, Folder):
                if node.now or node.synced or to.name != "objects":
                    path.mkdir(mode=0o700)
                    self._rebuild(node, path, model, dice, made)
            elif id(node) in made:
                os.link(made[id(node)], path)
            else:
                made[id(node)] = path
                fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
                os.write(fd, _content(node, model, dice))
                os.close(fd)


def _names(folder: Folder, model: str, dice: random.Random) -> dict[str, Node]:
    if model == "everything":
        return folder.now
    if model == "strict":
        return folder.synced
    found = {}
    for name in {**folder.synced, **folder.now}:
        before, after = folder.synced.get(name), folder.now.get(name)
        if before is after:
            taken = before
        elif model == "greedy":
            taken = None if after is None else before
        else:
            taken = dice.choice((before, after))
        if taken is not None:
            found[name] = taken
    return found


def _content(file: File, model: str, dice: random.Random) -> bytes:
    if model == "everything":
        return bytes(file.now)
    if model != "mixed":
        return file.synced
    found = bytearray(file.synced)
    share = dice.choice((0.0, 0.5, 0.9, 1.0))
    for number, (offset, data) in enumerate(file.pending):
        if dice.random() < share:
            if number == len(file.pending) - 1 and data and dice.random() < 0.5:
                data = data[: dice.randrange(len(data))]
            _apply(found, offset, data)
    return bytes(found)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _fd_path(text: str) -> str:
    inside = text[text.index("<") + 1 : text.rindex(">")]
    return os.fsdecode(_bytes(inside)) if inside else "/"


def cuts(disk: Disk, lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Do the calls again one by one; after each that matters its number and name. Folders made one after the other are one instant."""
    last = ""
    for number, line in enumerate(lines):
        call = disk.do(line)
        if call and not (call == "mkdir" and last == "mkdir"):
            yield number, call
        last = call or last
