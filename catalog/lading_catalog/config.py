"""The configuration: call → environment → file → default, each key checked, each value with its origin.

Keys, types, defaults: `config_keys`. Where values come from: `config_sources`. What is refused: `config_check`.
Changing the file: `config_edit`. `AWS_*`, `GOOGLE_*` and `AZURE_*` are left to the SDKs; only PIXELTABLE_API_KEY is
read here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from lading_catalog import config_check, config_sources
from lading_catalog.config_keys import WITHOUT_EFFECT, DestinationKeys, Settings
from lading_catalog.config_sources import NAMED_TABLES, SECRETS, TABLES, Given, dotted
from lading_catalog.errors import ConfigError
from lading_catalog.units import Secret

MASK = "set, not shown"


class Config(Settings, frozen=True, kw_only=True):
    """Settings that hold, and where each came from. Made by `load` only."""

    origins: dict[str, str] = msgspec.field(default_factory=dict)  # dotted key → origin; what is not there is a default
    path: str = ""  # the file that was read, or would be

    def origin(self, key: str) -> str:
        """`default`, `file PATH`, `environment NAME` or `call`."""
        return self.origins.get(key, "default")

    def destination(self, uri: str) -> DestinationKeys:
        """What holds for a destination (canonical URI): its own table, else the general keys."""
        own = self.destinations.get(uri, DestinationKeys())
        return msgspec.structs.replace(
            own,
            concurrency=self.concurrency if own.concurrency is None else own.concurrency,
            upload_limit=self.upload_limit if own.upload_limit is None else own.upload_limit,
        )


def load(home: str | None = None, environ: Mapping[str, str] = os.environ, overrides: Mapping[str, Any] | None = None) -> Config:
    """The configuration that holds now.

    `overrides`: options of the call, nested or dotted (`{"s3.region": "x"}`); None in it means not given. `home` is one
    of them. Raises ConfigError for the first thing that is wrong, with the rest in `about["problems"]`.
    """
    call = config_sources.from_call({**(overrides or {}), **({} if home is None else {"home": home})})
    variables = config_sources.from_environment(environ)
    path, must_exist = file_path(next((it.value for it in call + variables if it.path == ("home",)), None), environ)
    file: list[Given] = []
    if must_exist or os.path.lexists(path):
        file = config_sources.from_file(path)
        config_sources.refuse_open_file(path, file)
    settings, origins, problems = config_check.settings(call + variables + file)
    if problems:
        problems[0].about["problems"] = [problem.detail for problem in problems]
        raise problems[0]
    named = {dotted(key): it.origin for key, it in origins.items()}
    values = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    values["home"] = config_check.checked_home(settings.home or default_home())
    if not settings.api_key and environ.get("PIXELTABLE_API_KEY"):
        values["api_key"] = Secret(environ["PIXELTABLE_API_KEY"])
        named["api_key"] = "environment PIXELTABLE_API_KEY"
    return Config(**values, origins=named, path=path)


def file_path(home: str | None, environ: Mapping[str, str] = os.environ) -> tuple[str, bool]:
    """(the path of config.toml, whether it must exist): LADING_CONFIG, else in the home that was given, else the
    platform's.
    """
    if environ.get("LADING_CONFIG"):
        return os.path.abspath(os.path.expanduser(environ["LADING_CONFIG"])), True
    if isinstance(home, str) and home:
        return os.path.join(os.path.abspath(os.path.expanduser(home)), "config.toml"), False
    import platformdirs

    return os.path.join(platformdirs.user_config_dir("lading"), "config.toml"), False


def default_home() -> str:
    """The platform's data directory for Lading."""
    import platformdirs

    return platformdirs.user_data_dir("lading")


def show(config: Config) -> list[dict[str, Any]]:
    """Every key as {key, value, origin}, in the order of the documentation; of secrets only whether they are set."""
    rows: list[tuple[config_sources.Path, Any]] = []
    for name in Settings.__struct_fields__:
        value = getattr(config, name)
        if name in TABLES:
            rows += [((name, key), it) for key, it in msgspec.structs.asdict(value).items()]
        elif name in NAMED_TABLES:
            rows += [
                ((name, row, key), it)
                for row, table in value.items()
                for key, it in msgspec.structs.asdict(table).items()
                if it is not None
            ]
        else:
            rows.append(((name,), value))
    return [{"key": dotted(path), "value": _plain(path, value), "origin": config.origin(dotted(path))} for path, value in rows]


def _plain(path: config_sources.Path, value: Any) -> Any:
    if path in SECRETS:
        return MASK if value else ""
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, str) else value


def without_effect(config: Config) -> list[str]:
    """The keys that somebody has set and this version does not use yet."""
    return sorted(
        key for key in config.origins if key.split(".")[0] in WITHOUT_EFFECT or key.rpartition(".")[2] == "upload_limit"
    )


def check(path: str) -> list[ConfigError]:
    """Everything that is wrong with a file; empty when nothing is. Never raises for what is in it."""
    try:
        given = config_sources.from_file(path)
    except ConfigError as error:
        return [error]
    settings, _, problems = config_check.settings(given)
    for look in (
        lambda: config_sources.refuse_open_file(path, given),
        lambda: config_check.checked_home(settings.home or default_home()),
    ):
        try:
            look()
        except ConfigError as error:
            problems.append(error)
    return problems


def set_key(path: str, key: str, value: Any) -> None:
    """Write one key into the file; see `config_edit`."""
    from lading_catalog import config_edit  # tomlkit: 30 ms

    config_edit.set_key(path, key, value)
