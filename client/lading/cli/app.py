"""What every command shares: the options that all have, the configuration, and opening the catalog."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from lading.cli.output import Output

if TYPE_CHECKING:
    from lading.catalog import Catalog
    from lading_catalog.config import Config

NOTHING_YET = "Nothing has been put yet: lading put photo.jpg"


class App:
    """One run of the command. `configured`: the configuration has proved good, so what is wrong from here on is in the call."""

    def __init__(self) -> None:
        self.out = Output()
        self.home: str | None = None
        self.configured = False
        self._settings: Config | None = None

    def settings(self) -> Config:
        """Raises ConfigError."""
        if self._settings is None:
            from lading_catalog.config import load

            self._settings = load(home=self.home)
            self.configured = True
        return self._settings

    def catalog(self, *, make: bool = False) -> Catalog:
        """The catalog. Raises NotFound where there is none yet and none is to be made."""
        found = self.existing() if not make else None
        if found is None:
            import lading

            if not make:
                raise lading.NotFound("Nothing has been put yet.", hint="lading put photo.jpg")
            found = lading.open(config=self.settings())
        return found

    def existing(self) -> Catalog | None:
        """The catalog, or None where nothing has been put yet. Creates nothing."""
        import lading
        from lading_catalog.connection import CATALOG_FILE

        settings = self.settings()
        if not os.path.lexists(os.path.join(settings.home, CATALOG_FILE)):
            return None
        return lading.open(config=settings, make=False)

    def environment(self) -> dict[str, str]:
        """For a process of ours that shall see the same home and configuration."""
        from lading.helper import environment

        return environment(self.settings())


def _keep_home(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(App).home = value


def _keep_config(_: click.Context, __: click.Parameter, value: str | None) -> None:
    if value is not None:
        os.environ["LADING_CONFIG"] = value


def _keep_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(App).out.json = True


def shared_options(hidden: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--home, --config and --json: before the command and after it."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option("--json", is_flag=True, expose_value=False, callback=_keep_json, help="Print JSON: one object, or one a line."),
            click.option("--config", metavar="FILE", expose_value=False, callback=_keep_config, hidden=hidden,
                         help="The configuration file (LADING_CONFIG)."),
            click.option("--home", metavar="DIR", expose_value=False, callback=_keep_home, hidden=hidden,
                         help="Where the catalog and the local copies lie (LADING_HOME)."),
        ):  # fmt: skip
            function = option(function)
        return function

    return add


def command(name: str, **settings: Any) -> Callable[[Callable[..., int | None]], click.Command]:
    """A command whose function gets the App first and returns its exit code (None: 0)."""

    def make(function: Callable[..., int | None]) -> click.Command:
        def run(*args: Any, **kwargs: Any) -> int | None:
            return function(click.get_current_context().ensure_object(App), *args, **kwargs)

        run = shared_options(hidden=True)(functools.update_wrapper(run, function))
        return click.command(name, click.Command, **settings)(run)

    return make
