"""`lading config`: which settings hold, where each comes from, and changing them."""

from __future__ import annotations

import json
import os

import click

from lading.cli import words
from lading.cli.app import App, command
from lading_catalog.errors import ConfigError
from lading_catalog.names import printable


@click.group("config", short_help="show, change and check the settings")
def config() -> None:
    """The configuration."""


@command("show", short_help="what holds, and where it comes from")
@click.argument("keys", nargs=-1, metavar="[KEY...]")
def show(app: App, keys: tuple[str, ...]) -> None:
    """Show every setting, its value and where it comes from (only these KEYs, or all below a table like s3)."""
    from lading_catalog.config import show as settings

    rows = settings(app.settings())
    if keys:
        chosen = [r for r in rows if any(r["key"] == k or r["key"].startswith(f"{k}.") for k in keys)]
        for key in keys:
            if not any(r["key"] == key or r["key"].startswith(f"{key}.") for r in rows):
                raise ConfigError(f"There is no setting {printable(key)}.", hint="lading config show lists them.")
        rows = chosen
    if app.out.json:
        for row in rows:
            app.out.document(row)
        return
    app.out.table(
        ((printable(r["key"]), printable(_toml(r["value"])), "" if r["origin"] == "default" else printable(r["origin"])) for r in rows),
        head=("KEY", "VALUE", "FROM"),
    )  # fmt: skip


@command("set", short_help="write one setting")
@click.argument("key")
@click.argument("value")
def set_(app: App, key: str, value: str) -> None:
    """Write one setting into the configuration file; all else in it stays. A list is written as ["a", "b"]."""
    from lading_catalog.config import set_key

    path = _path(app)
    app.configured = True  # what is wrong now is the key or the value
    set_key(path, key, value)
    if app.out.json:
        app.out.document({"key": key, "value": value, "path": path})
        return
    app.out.say(f"Written to {path}. A running daemon takes it over when it starts again.")


@command("check", short_help="what is wrong with it?")
def check(app: App) -> int:
    """Look for everything that is wrong with the configuration file and the environment."""
    from lading_catalog import config as settings

    path, must_exist = settings.file_path(app.home or os.environ.get("LADING_HOME"))
    there = must_exist or os.path.lexists(path)
    problems = settings.check(path) if there else []
    if not problems:
        try:
            app.settings()
        except ConfigError as e:
            problems = [e]
    if not problems:
        _say_without_effect(app)
    for problem in problems:
        app.out.error(problem, problem.exit_code)
    if not problems and app.out.json:
        app.out.document({"ok": True, "path": path if there else None})
    elif not problems:
        app.out.result(f"{printable(path)} is good." if there else f"There is no {printable(path)}: the defaults hold.")
    elif len(problems) > 1:
        app.out.say(f"{words.count(len(problems), 'problem', 'problems')}.")
    return ConfigError.exit_code if problems else 0


def _say_without_effect(app: App) -> None:
    from lading_catalog.config import without_effect

    for key in without_effect(app.settings()):
        app.out.say(f"{printable(key)} has no effect in this version yet.")


def _path(app: App) -> str:
    from lading_catalog.config import file_path

    return file_path(app.home or os.environ.get("LADING_HOME"))[0]


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value or '""'


config.add_command(show)
config.add_command(set_)
config.add_command(check)
