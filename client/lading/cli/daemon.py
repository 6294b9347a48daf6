"""`lading daemon`: become the daemon."""

from __future__ import annotations

import os
import sys

import click

from lading.cli.app import App, command


@command("daemon", short_help="run the daemon here", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENT...]")
def daemon(app: App, arguments: tuple[str, ...]) -> None:
    """Run the daemon here, until Ctrl-C. What stands behind it goes to `ladingd run`, for example after --.

    As a service: systemctl --user start lading
    """
    environment = app.environment()
    rest = [*(["--json"] if app.out.json else []), *arguments]
    os.execve(sys.executable, [sys.executable, "-m", "ladingd", "run", *rest], environment)  # noqa: S606  (our own module)
