"""Is it safe to delete these files? Each is hashed as it is now, and the catalog says where that content is.

The answer is about bytes, not names: a file that was changed since its put is unknown. What cannot be read is not safe.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lading.catalog import Catalog
from lading.tree import Found, Walk
from lading_catalog.errors import Error, NotFound
from lading_catalog.shapes import Json, first_reason, when

_HASHERS = 4
_LOOK_UP = 256  # digests in one question to the catalog


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file's content as it is now; `sha256` is None, with the reason, where it could not be read or changed meanwhile."""

    path: str
    size_bytes: int
    sha256: bytes | None
    reason: str | None = None


def safe(
    cat: Catalog | None, paths: Iterable[str | os.PathLike[str]], *, seen: Callable[[Hashed], None] | None = None,
    walk: Walk | None = None,
) -> Json:  # fmt: skip
    """lading.safe/1 over files and folders (see Walk). `cat` None: nothing has been put yet. `seen`: called for each file.

    Safe means: there was something to look at, and the content of every file is safe (the view `safe` of the catalog) at this moment.
    Nothing is asked of the stores."""
    walk = walk or Walk(os.fspath(p) for p in paths)
    files = safe_files = size_bytes = 0
    bad: list[Json] = []
    found = iter(walk)
    with ThreadPoolExecutor(_HASHERS) as pool:
        while part := list(itertools.islice(found, _LOOK_UP)):
            hashed = []
            for one in pool.map(hash_found, part):
                hashed.append(one)
                if seen is not None:
                    seen(one)
            verdicts = _verdicts(cat, hashed)
            files += len(hashed)
            safe_files += sum(v is None for v in verdicts)
            size_bytes += sum(h.size_bytes for h in hashed)
            bad += [v for v in verdicts if v is not None]
    return {
        "schema": "lading.safe/1",
        "safe": files > 0 and not bad,
        "at": when(time.time_ns() // 1_000_000),
        "rechecked": False,
        "files": files,
        "safe_files": safe_files,
        "size_bytes": size_bytes,
        "not_safe": bad,
    }


def hash_found(found: Found) -> Hashed:
    if found.error is not None:
        return Hashed(found.path, 0, None, "unreadable")
    try:
        size_bytes, sha256 = hash_file(found.path)
    except Error as e:
        return Hashed(found.path, found.size_bytes, None, "source_changed" if e.reason == "source_changed" else "unreadable")
    return Hashed(found.path, size_bytes, sha256)


def hash_file(path: str) -> tuple[int, bytes]:
    """(size, SHA-256) of a regular file. Raises NotFound, Error (`reason` is source_changed where it was written to meanwhile)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb", buffering=0) as file:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise Error(f"{path} is not a regular file.", path=path)
            digest = hashlib.file_digest(file, "sha256").digest()
            after = os.fstat(fd)
    except FileNotFoundError as e:
        raise NotFound(f"There is no file {path}.", path=path) from e
    except (OSError, ValueError) as e:
        raise Error(f"{path} cannot be read: {e}.", path=path) from e
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        changed = Error(f"{path} was written to while it was read.", hint="Try again when it is finished.", path=path)
        changed.reason = "source_changed"
        raise changed
    return after.st_size, digest


def _verdicts(cat: Catalog | None, hashed: list[Hashed]) -> list[Json | None]:
    """For each file None if it is safe, else its line of `not_safe`."""
    known = cat.known({h.sha256 for h in hashed if h.sha256 is not None}) if cat is not None else {}
    result: list[Json | None] = []
    for h in hashed:
        reason, id_ = h.reason, None
        if h.sha256 is not None:
            is_safe, medium = known.get(h.sha256, (False, None))
            if is_safe:
                result.append(None)
                continue
            reason, id_ = ("unknown", None) if medium is None else (first_reason(medium.why())["reason"], medium.id)
        result.append({"path": h.path, "sha256": h.sha256.hex() if h.sha256 else None, "reason": reason, "id": id_})
    return result
