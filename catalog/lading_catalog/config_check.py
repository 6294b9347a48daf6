"""From what was given to settings: each value is checked by its key's type, and each refusal names key, value and
source.
"""

from __future__ import annotations

import functools
import os
import re
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from lading_catalog import uris
from lading_catalog.config_keys import DestinationKeys, Endpoint, Settings
from lading_catalog.config_sources import NAMED_TABLES, SECRETS, TABLES, Given, Path, dotted
from lading_catalog.errors import ConfigError
from lading_catalog.names import printable
from lading_catalog.units import Duration, Percent, Size, Written
from lading_catalog.uri_forms import redacted

_MIB = 2**20
_ROWS = {"endpoints": Endpoint, "destinations": DestinationKeys}


def settings(given: Iterable[Given]) -> tuple[Settings, dict[Path, Given], list[ConfigError]]:
    """Settings from values, first ones stronger: (settings, where each key came from, all problems).

    With problems, the wrong values are left out and the settings are of no use but to look for more problems.
    """
    problems: list[ConfigError] = []
    origins: dict[Path, Given] = {}
    values: dict[Path, Any] = {}
    given = list(given)
    names = {it.path[1] for it in given if it.path[0] == "endpoints" and len(it.path) > 1}
    for it in given:
        try:
            path = _canonical(it, names)
            value = _value(path, it)
        except ConfigError as problem:
            problems.append(problem)
            continue
        if path in origins and origins[path].origin == it.origin and origins[path].path != it.path:
            problems.append(_wrong(it, "names a destination that stands there twice"))
        if path not in origins:
            origins[path], values[path] = it, value
    found = _built(values, origins, names, problems)
    return found, origins, problems


def _canonical(it: Given, names: set[str]) -> Path:
    """The path with a destination's URI in its canonical form; ConfigError for a key that does not exist."""
    path = it.path
    if path[0] in NAMED_TABLES:
        if len(path) == 1 or (len(path) == 2 and it.value != {}) or not all(path):
            raise _wrong(it, "must be a table", hint=f"Write [{path[0]}.NAME] and its keys below.")
        if path[0] == "endpoints" and not re.fullmatch("[a-z0-9][a-z0-9-]{0,62}", path[1]):
            raise _wrong(it, "has a name that is not made of a-z, 0-9 and -", hint="Write [endpoints.minio], for instance.")
        if path[0] == "destinations":
            if it.text:
                raise _wrong(it, "cannot come from the environment: its key holds a URI", hint="Write it into config.toml.")
            path = (path[0], _uri(it, path[1], names), *path[2:])
    known = _kinds()
    if (path if path[0] not in NAMED_TABLES else (path[0], "", *path[2:])) in known:
        return path
    if path in {(table,) for table in TABLES}:
        if it.value == {}:
            return path
        raise _wrong(it, "must be a table", hint=f"Write [{path[0]}] and its keys below.")
    raise _unknown(it)


def _unknown(it: Given) -> ConfigError:
    import difflib  # for an error only

    known = [
        tuple(it.path[1] if part == "" else part for part in path) for path in _kinds() if "" not in path or len(it.path) > 1
    ]
    known = [path for path in known if all(path)]
    if it.text:
        wanted, names = it.origin.removeprefix("environment "), ["LADING_" + "__".join(path).upper() for path in known]
        names.append("LADING_CONFIG")
    else:
        wanted, names = dotted(it.path), [dotted(path) for path in known]
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    close = close or [name for name in names if it.path[-1] and name.endswith("." + it.path[-1])][:1]
    hint = f"Did you mean {close[0]}?" if close else "lading config show lists all keys."
    if it.text:
        return ConfigError(f"The environment variable {printable(wanted)} stands for no key.", hint=hint, key=dotted(it.path))
    return ConfigError(f"There is no key {printable(wanted)} ({it.where}).", hint=hint, key=dotted(it.path))


def _wrong(it: Given, reason: str, hint: str = "") -> ConfigError:
    return ConfigError(f"{printable(dotted(it.path))} = {_shown(it)} ({it.where}) {reason}.", hint=hint, key=dotted(it.path))


def _shown(it: Given) -> str:
    if it.path in SECRETS:
        return "(a secret, not shown)"
    value = it.value if isinstance(it.value, str) else _json(it.value)
    value = redacted(value) if "://" in value or "@" in value else printable(value)
    return (f'"{value}"' if isinstance(it.value, str) else value)[:120]


def _json(value: Any) -> str:
    import json  # for an error only

    return json.dumps(value, default=str, ensure_ascii=False)


@functools.cache
def _kinds() -> dict[Path, Any]:
    """The type of every key; "" stands for the name in a named table."""
    found: dict[Path, Any] = {}
    for field in msgspec.structs.fields(Settings):
        if field.name in TABLES:
            found |= {(field.name, sub.name): sub.type for sub in msgspec.structs.fields(field.type)}
        elif field.name in NAMED_TABLES:
            row: Any = _ROWS[field.name]
            found |= {(field.name, "", sub.name): sub.type for sub in msgspec.structs.fields(row)}
            found[(field.name, "")] = None
        else:
            found[(field.name,)] = field.type
    return found


def _value(path: Path, it: Given) -> Any:
    kind = _kinds().get(path if path[0] not in NAMED_TABLES else (path[0], "", *path[2:]))
    if kind is None:
        return {}
    try:
        value = _read(kind, it.value, it.text)
        _limits(path, value)
    except ValueError as error:
        raise _wrong(it, str(error)) from None
    return value


def _read(kind: Any, value: Any, text: bool) -> Any:
    """`value` as a `kind`; ValueError says what it must be."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(option for option in get_args(kind) if option is not types.NoneType)
    if get_origin(kind) is tuple:
        return _read_list(get_args(kind)[0], value, text)
    if get_origin(kind) is Literal:
        if not isinstance(value, str) or value not in get_args(kind):
            raise ValueError("must be one of " + ", ".join(f'"{option}"' for option in get_args(kind)))
        return value
    if kind is bool:
        if text and value in ("true", "false"):
            return value == "true"
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value
    if get_origin(kind) is Annotated or kind is int:
        return _read_count(kind, int(value) if text and re.fullmatch("[0-9]{1,18}", value, re.ASCII) else value)
    if issubclass(kind, Written):
        return kind(value)
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("must be text")
    return value


def _read_count(kind: Any, value: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        limits = get_args(kind)[1]
        raise ValueError(f"must be a whole number from {limits.ge} to {limits.le}") from None


def _read_list(kind: Any, value: Any, text: bool) -> tuple[Any, ...]:
    """A list, or one value alone; from the environment a TOML array or one value."""
    if isinstance(value, str) and text and value.lstrip().startswith("["):
        import tomllib

        try:
            value = tomllib.loads(f"list = {value}")["list"]
        except tomllib.TOMLDecodeError:
            raise ValueError('must be a TOML array such as ["a", "b"]') from None
    if isinstance(value, str):
        value = [value] if value else []
    if not isinstance(value, list | tuple):
        raise ValueError("must be a text or a list of texts")
    return tuple(_read(kind, item, False) for item in value)


def typed(path: Path, text: str) -> Any:
    """`text` as the value that TOML would hold for a key; ConfigError as for the environment."""
    it = Given(path, text, "call", "the call")
    kind = _kinds().get(path if path[0] not in NAMED_TABLES else (path[0], "", *path[2:]))
    if kind is None:
        raise _unknown(it)
    try:
        value = _read(kind, text, True)
    except ValueError as error:
        raise _wrong(it, str(error)) from None
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, str) else value


def _limits(path: Path, value: Any) -> None:
    """What a type alone does not say."""
    key = path[-1]
    if key in ("endpoint_url", "api_url") and value and not _URL.fullmatch(value):
        raise ValueError("must be an address such as https://host:9000, without user, password, query or fragment")
    if key == "part_size" and not 5 * _MIB <= Size.read(value) <= 5 * 1024 * _MIB:
        raise ValueError("must be from 5MiB to 5GiB: S3 takes no other parts")
    if key == "multipart_threshold" and Size.read(value) > 5 * 1024 * _MIB:
        raise ValueError("must be at most 5GiB: S3 takes no larger object in one piece")
    if key == "retry_max" and Duration.read(value) < 1:
        raise ValueError("must be at least 1s")
    if key == "cache_low" and Percent.read(value) == 0:
        raise ValueError("must be more than 0%")
    if key == "socket" and value and not value.startswith("/"):
        raise ValueError("must be an absolute path")


_URL = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?")


def _uri(it: Given, text: str, names: set[str]) -> str:
    try:
        return uris.parse(text, names).uri
    except ConfigError as error:
        raise ConfigError(f"{it.path[0]} ({it.where}): {error.detail}", hint=error.hint, key=dotted(it.path)) from None


def _built(values: dict[Path, Any], origins: dict[Path, Given], names: set[str], problems: list[ConfigError]) -> Settings:
    fields: dict[str, Any] = {path[0]: value for path, value in values.items() if len(path) == 1 and path[0] not in TABLES}
    lists = [key for key in ("input_media_dest", "output_media_dest") if key in fields]
    for key in lists:
        try:
            fields[key] = tuple(dict.fromkeys(_uri(origins[(key,)], text, names) for text in fields[key]))
        except ConfigError as problem:
            problems.append(problem)
            fields[key] = ()
    problems += _nested([(uri, origins[(key,)]) for key in lists for uri in fields[key]], names)
    for table in TABLES:
        own = {path[1]: value for path, value in values.items() if path[0] == table and len(path) == 2}
        fields[table] = type(getattr(Settings(), table))(**own)
    for table, row in _ROWS.items():
        rows: dict[str, dict[str, Any]] = {}
        for path, value in values.items():
            if path[0] == table:
                rows.setdefault(path[1], {}).update({path[2]: value} if len(path) == 3 else {})
        fields[table] = {name: row(**own) for name, own in rows.items()}
    for name, endpoint in fields["endpoints"].items():
        if not endpoint.endpoint_url:
            it = next(given for path, given in origins.items() if path[:2] == ("endpoints", name))
            problems.append(
                ConfigError(f"endpoints.{name} ({it.where}) has no endpoint_url.", hint="Add it.", key=f"endpoints.{name}")
            )
    return Settings(**fields)


def _nested(found: list[tuple[str, Given]], names: set[str]) -> list[ConfigError]:
    parsed = [(uris.parse(uri, names), it) for uri, it in found]
    return [
        ConfigError(
            f"{dotted(it.path)} ({it.where}): one of {a.uri} and {b.uri} lies inside the other.",
            hint="Give each destination a prefix of its own.",
            key=dotted(it.path),
        )
        for number, (a, it) in enumerate(parsed)
        for b, _ in parsed[:number]
        if uris.nested(a, b)
    ]


def checked_home(home: str) -> str:
    """The home, `~` expanded and absolute; ConfigError below a cache directory, which anything may empty."""
    import platformdirs  # 5 ms or more

    path = os.path.abspath(os.path.expanduser(home))
    real = os.path.realpath(path)
    caches = [platformdirs.user_cache_dir(), "/var/cache", os.path.expanduser("~/.cache")]
    for cache in {name for it in caches for name in (os.path.abspath(it), os.path.realpath(it))}:
        if any(os.path.commonpath([cache, it]) == cache for it in (path, real)):
            raise ConfigError(
                f"The home {printable(path)} lies in a cache directory ({cache}), which may be emptied at any time.",
                hint="Lading may hold the only copy of a file: choose a home elsewhere, such as ~/.local/share/lading.",
                key="home",
            )
    return path
