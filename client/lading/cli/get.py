"""`lading get`: copies out of the local store, fetched if need be, verified on the way, never over something that is there."""

from __future__ import annotations

import hashlib
import os
import secrets
from datetime import datetime
from typing import TYPE_CHECKING

import click

from lading.cli import words
from lading.cli.app import App, command
from lading_catalog import durable
from lading_catalog.errors import Damaged, Error, Missing
from lading_catalog.names import printable

if TYPE_CHECKING:
    from lading.medium import Medium

_CHUNK_BYTES = 1 << 20


@command("get", short_help="copy media out, verified")
@click.argument("what", nargs=-1, required=True, metavar="ID|SHA256|NAME...")
@click.option("-o", "--output", metavar="DIR", default=".", help="Below this folder, which is made if need be (here).")
@click.option("--force", is_flag=True, help="Replace files that are there.")
def get(app: App, what: tuple[str, ...], output: str, force: bool) -> int:
    """Copy media out, under their names, with the folders in them, below DIR. What is not on this disk is fetched first.

    The SHA-256 is checked while copying, and a file appears whole or not at all. Prints the paths that were written.
    """
    code = 0
    with app.catalog() as cat:
        bar = app.out.progress("files", total=len(what))
        for text in what:
            try:
                medium = cat.medium(text)
                path = copy_out(medium, output, force)
            except Error as e:
                app.out.error(e, e.exit_code)
                for id_ in e.about.get("ids", []):
                    app.out.say(f"  {id_}")
                code = max(code, e.exit_code)
                continue
            if app.out.json:
                shape = {"schema": "lading.get/1", "id": medium.id, "name": medium.name, "path": path, "sha256": medium.sha256}
                app.out.document({**shape, "size_bytes": medium.size_bytes})
            else:
                app.out.result(printable(path))
            bar.advance(medium.size_bytes)
        app.out.done()
    return code


def segments(name: str, instead: str) -> list[str]:
    """The way below the output folder for a name: its folders, and nothing that leads up or to the root. `instead`: where nothing is
    left. In the form that os functions take, whatever the locale: names are UTF-8 and bytes, not the terminal's."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")] or [instead]
    return [os.fsdecode(part.encode("utf-8", "surrogateescape")) for part in parts]


def copy_out(medium: Medium, output: str, force: bool) -> str:
    """The path that was written. Raises what fetching it raises (Medium.open), Damaged, Error."""
    if medium.state == "deleted":
        raise Missing(f"{printable(medium.name)} was deleted ({words.relative(medium.shape['deleted_at'])}).", id=medium.id)
    *folders, last = segments(medium.name, medium.id)
    path = os.path.join(output, *folders, last)
    try:
        os.makedirs(output, exist_ok=True)
        root_fd = os.open(output, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            folder_fd = durable.open_folder(root_fd, folders, create=True)
        finally:
            os.close(root_fd)
        try:
            _write(medium, folder_fd, last, force)
        finally:
            os.close(folder_fd)
    except FileExistsError as e:
        raise Error(f"{printable(path)} is there already.", hint="--force replaces it.", path=path, id=medium.id) from e
    except OSError as e:
        why = os.strerror(e.errno or 0)
        raise Error(
            f"{printable(path)} cannot be written: {why}.", hint="-o names another folder.", path=path, id=medium.id
        ) from e
    return path


def _write(medium: Medium, folder_fd: int, last: str, force: bool) -> None:
    if not force and _exists(last, folder_fd):
        raise FileExistsError  # before the bytes are copied; that nothing is overwritten is `publish`
    tmp = f".lading-{secrets.token_hex(6)}.tmp"
    fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder_fd)
    try:
        with os.fdopen(fd, "wb", buffering=0), medium.open() as source:
            digest = hashlib.sha256()
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                durable.write_all(fd, chunk)
            if digest.hexdigest() != medium.sha256:
                raise Damaged(
                    f"The copy of {printable(medium.name)} on this disk is damaged: its SHA-256 is {digest.hexdigest()}.",
                    hint=f"lading why {medium.id}",
                    id=medium.id,
                )
            if (modified_at := medium.shape["modified_at"]) is not None:
                ns = round(datetime.fromisoformat(modified_at).timestamp() * 1000) * 1_000_000
                os.utime(fd, ns=(ns, ns))
            durable.sync_file(fd)
        if force:
            os.replace(tmp, last, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            durable.sync_folder(folder_fd)
        else:
            durable.publish(tmp, last, folder_fd, folder_fd)
    finally:
        if _exists(tmp, folder_fd):
            os.unlink(tmp, dir_fd=folder_fd)


def _exists(name: str, folder_fd: int) -> bool:
    try:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
