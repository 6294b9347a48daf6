"""`lading safe`: may these files be deleted here?"""

from __future__ import annotations

import click

from lading.cli import words
from lading.cli.app import App, command
from lading.cli.output import colour
from lading_catalog.names import printable

_SHOWN = 20  # bad files listed on a terminal; into a pipe go all
_REASONS = {
    "unknown": "never put, or changed since",
    "unreadable": "cannot be read",
    "no_destination": "only on this disk",
    "deleted": "its media were deleted",
    "no_daemon": "waits for a daemon",
    "queued": "waits for its turn",
    "copying": "is being copied",
    "source_changed": "changed while it was read",
}


@command("safe", short_help="may these files be deleted here?")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
def safe(app: App, paths: tuple[str, ...]) -> int:
    """Ask whether the content of files and folders is safe at its destinations, so that they could be deleted here.

    Each file is hashed as it is now. Links inside folders are not followed. Exit code 0 only if there is something, and all of it is
    safe; else 4.
    """
    import sys

    from lading.safe import Hashed
    from lading.safe import safe as look
    from lading.tree import Walk

    walk = Walk(paths)
    bar = app.out.progress("files hashed")

    def seen(hashed: Hashed) -> None:
        bar.advance(hashed.size_bytes)

    cat = app.existing()
    try:
        shape = look(cat, paths, seen=seen, walk=walk)
    finally:
        app.out.done()
        if cat is not None:
            cat.close()
    if app.out.json:
        app.out.document(shape)
        return 0 if shape["safe"] else 4
    bad = shape["not_safe"]
    shown = bad[:_SHOWN] if sys.stdout.isatty() else bad
    if shown:
        app.out.table((_REASONS.get(one["reason"], one["reason"]), printable(one["path"])) for one in shown)
    if len(bad) > len(shown):
        app.out.result(f"… and {len(bad) - len(shown):,} more: lading safe … | less")
    size = words.size(shape["size_bytes"])
    if shape["safe"]:
        what = "1 file" if shape["files"] == 1 else f"All {words.files(shape['files'])}"
        app.out.result(f"{what} ({size}): {colour('safe')}.")
    elif not shape["files"]:
        app.out.result("No files there: nothing to call safe.")
    else:
        app.out.result(f"{len(bad):,} of {words.files(shape['files'])} ({size}) {colour('blocked', 'not safe')}.")
    if walk.links or walk.special:
        n = walk.links + walk.special
        app.out.say(f"{words.count(n, 'link or special file', 'links or special files')} not looked at.")
    if any(one["id"] for one in bad):
        app.out.say(f"  lading why {next(one['id'] for one in bad if one['id'])}")
    return 0 if shape["safe"] else 4
