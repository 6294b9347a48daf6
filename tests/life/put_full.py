"""Puts on a disk that is really full. Run in a mount namespace of its own (`unshare -m`), with a folder to mount a tmpfs on:

    python put_full.py FOLDER bytes|inodes|min_free|ballast PATH…      PATH…: where the packages are

Prints one line a state, JSON: what was left, and what is wrong with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PAGE = 4096
STATES = {"bytes": range(0, 72, 2), "inodes": range(7)}
SIZE_MB, INODES = 8, 420


def main(folder: Path, what: str) -> None:
    if what not in STATES:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "lading-test", str(folder)], check=True)
        try:
            print(json.dumps(_refuses(folder) if what == "min_free" else _catalog_goes_on(folder)), flush=True)
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    for left in STATES[what]:
        for fresh in (False, True):
            _state(folder, what, left, fresh)


def _state(folder: Path, what: str, left: int, fresh: bool) -> None:
    """A put with so many pages or inodes left; `fresh`: with a catalog that was just opened, so that its log and its session are not
    there yet."""
    import lading
    from life.put_check import finals, keys_with_rows, wrong

    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,nr_inodes={INODES}", "lading-test", str(folder)], check=True)
    said: dict[str, object] = {"left": left, "fresh": fresh, "raised": None, "text": "", "wrong": []}
    try:
        home = folder / "home"
        acked = {}
        cat = lading.open(home)
        first = cat.put(b"first", name="first")
        if fresh:
            cat.close()
        (fill_bytes if what == "bytes" else fill_inodes)(folder, left)
        put: Callable[[bytes, str], lading.Medium] = lambda data, name: cat.put(data, name=name)  # noqa: E731
        before = finals(home)
        try:
            if fresh:
                cat = lading.open(home)
            acked["it"] = put(bytes([7]) * (5 * PAGE), "it")
        except lading.Error as e:
            said["raised"], said["text"] = type(e).__name__, e.detail
            if finals(home) != before:
                said["wrong"] = [f"raised, and left {finals(home) - before}"]
        except BaseException as e:
            said["raised"], said["wrong"] = type(e).__name__, [f"bare: {e!r}"]
        for filler in folder.glob("filler*"):
            filler.unlink()
        with contextlib.suppress(lading.Error):
            cat.close()
        cat = lading.open(home)
        again = put(bytes([7]) * (5 * PAGE), "again")
        names = sorted(m.name for m in cat.media())
        expected = sorted(["first", "again", *acked])
        found = list(said["wrong"] if isinstance(said["wrong"], list) else [])
        if names != expected:
            found.append(f"{names}, not {expected}")
        for medium in (first, again):
            with cat.medium(medium.id).open() as file:
                file.read()
        if finals(home) - keys_with_rows(cat._conn):
            found.append("files without a row")
        cat.close()
        said["wrong"] = found + wrong(home, {})
    finally:
        print(json.dumps(said), flush=True)
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _refuses(folder: Path) -> dict[str, object]:
    """Puts until there is no room: the last one is refused, a quarter of the disk is free then, and the catalog still writes."""
    import lading
    from lading_catalog.config import Config
    from lading_catalog.units import Amount

    with lading.open(config=Config(home=os.fspath(folder / "home"), min_free=Amount("25%"))) as cat:
        media: list[lading.Medium] = []
        text = ""
        try:
            while len(media) < 1000:
                media.append(cat.put(os.urandom(100 * PAGE), name=f"{len(media)}"))
        except lading.Full as e:
            text = e.detail
        found = os.statvfs(folder)
        media[0].delete()
        return {"put": len(media), "text": text, "free_share": found.f_bavail / found.f_blocks, "there": len(list(cat.media()))}


def _catalog_goes_on(folder: Path) -> dict[str, object]:
    """Somebody fills the disk to the last byte: the catalog cannot write, gives the ballast up, and can."""
    import lading
    from lading_catalog import ballast

    with lading.open(folder / "home") as cat:
        medium = cat.put(b"x", name="x")
        made = ballast.make(cat.home, 0)
        cat._conn.checkpoint(truncate=True)
        fill_bytes(folder, 0)
        try:
            medium.pin()
            before = "no error"
        except lading.CatalogError as e:
            before = type(e).__name__
        released = ballast.release(cat.home)
        medium.pin()
        return {"made": made, "before": before, "released": released, "pinned": medium.refresh().pinned}


def fill_bytes(folder: Path, pages: int) -> None:
    with open(folder / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(PAGE)) == PAGE:
            pass
    size = os.stat(folder / "filler").st_size
    os.truncate(folder / "filler", size - pages * PAGE)


def fill_inodes(folder: Path, inodes: int) -> None:
    number = 0
    with contextlib.suppress(OSError):
        while True:
            os.close(os.open(folder / f"filler{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            number += 1
    for last in range(number - inodes, number):
        os.unlink(folder / f"filler{last}")


if __name__ == "__main__":
    sys.path[:0] = sys.argv[3:]
    main(Path(sys.argv[1]), sys.argv[2])
