"""The group of all commands, and what becomes of errors."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from lading.cli.app import App, shared_options
from lading.cli.output import silence
from lading_catalog.errors import ConfigError, Error

# Command → where it is; a module is imported when its command is used. In the order in which help lists them.
COMMANDS = {
    "put": "put:put", "get": "get:get", "fetch": "fetch:fetch", "ls": "find:ls", "show": "find:show",
    "status": "status:status", "why": "why:why", "safe": "safe:safe", "wait": "wait:wait",
    "rm": "media:rm", "undelete": "media:undelete", "pin": "media:pin", "unpin": "media:unpin", "evict": "media:evict",
    "sweep": "sweep:sweep", "table": "table:table", "destination": "destination:destination", "sql": "sql:sql",
    "config": "config:config", "daemon": "daemon:daemon",
}  # fmt: skip
COMPLETE = "_LADING_COMPLETE"
EXIT_CTRL_C, EXIT_SIGPIPE = 130, 141


class Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        found: click.Command = getattr(importlib.import_module(f"lading.cli.{module}"), attribute)
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as e:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            raise click.UsageError(
                f"There is no command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""), ctx
            ) from e


class Usage(Error):
    urn, title, status, exit_code = "usage", "Wrong usage", 400, 2


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 not safe or not finished, 5 a daemon is needed and none runs, "
    "78 bad configuration.\n\n"
    'Shell completion: eval "$(_LADING_COMPLETE=bash_source lading)" in ~/.bashrc (zsh_source, fish_source likewise).',
)
@click.version_option(package_name="lading", prog_name="lading", message="%(prog)s %(version)s")
@shared_options(hidden=False)
def cli() -> None:
    """A local-first media store.

    `lading put` returns when a file is safe on this disk; a daemon brings it to its destinations.
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code. `args`: for tests."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stream that a test has put there
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if COMPLETE in os.environ:
        cli.main(prog_name="lading", complete_var=COMPLETE)
    app = App()
    arguments = list(sys.argv[1:] if args is None else args)
    try:
        code = _run(app, arguments)
        app.out.flush()
        return code
    except BrokenPipeError:
        silence()
        return EXIT_SIGPIPE


def _run(app: App, arguments: list[str]) -> int:
    try:
        with cli.make_context("lading", list(arguments), obj=app) as context:
            result: Any = cli.invoke(context)
            return result if isinstance(result, int) else 0
    except click.exceptions.Exit as e:
        return e.exit_code
    except click.ClickException as e:
        app.out.json = app.out.json or "--json" in arguments  # the option may not have been reached
        return _usage(app, e)
    except Error as e:
        code = 2 if isinstance(e, ConfigError) and app.configured else e.exit_code
        app.out.error(e, code)
        return code
    except (KeyboardInterrupt, click.Abort):
        app.out.done()
        return EXIT_CTRL_C
    except BrokenPipeError:
        raise
    except Exception as e:
        if os.environ.get("LADING_DEBUG"):
            raise
        text = " ".join(f"{type(e).__name__}: {e}".split())
        app.out.error(Error(f"Something unexpected happened: {text}", hint="LADING_DEBUG=1 shows where. Please report it."), 1)
        return 1


def _usage(app: App, e: click.ClickException) -> int:
    context = getattr(e, "ctx", None)
    where = context.command_path if context is not None else "lading"
    message = e.format_message().strip() or "A command is missing."
    if isinstance(e, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
        print(message, file=sys.stderr)
        return 2
    app.out.error(Usage(message if message.endswith((".", "?")) else f"{message}.", hint=f"{where} --help"), 2)
    return 2
