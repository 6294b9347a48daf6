"""Where settings come from: a call, the environment, a file; each becomes a flat list of `Given`, wrong or not."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lading_catalog.errors import ConfigError

Path = tuple[str, ...]  # ("s3", "endpoint_url"), ("destinations", "s3://b/", "paused")

TABLES = ("s3", "azure", "gcs")  # one table each
NAMED_TABLES = ("endpoints", "destinations")  # one table per name
SECRETS: frozenset[Path] = frozenset({("api_key",), ("azure", "storage_account_key")})
NOT_KEYS = ("LADING_CONFIG", "LADING_DEBUG")  # ours, but no keys


@dataclass(frozen=True, slots=True)
class Given:
    """A value that somebody gave. `text`: it came as text, whatever its type (the environment)."""

    path: Path
    value: Any
    origin: str  # "file PATH", "environment NAME" or "call"
    where: str  # the same for an error, with the line
    text: bool = False


def dotted(path: Path) -> str:
    """A key as in TOML: `s3.region`, `destinations."s3://b/".paused`."""
    return ".".join(part if re.fullmatch("[A-Za-z0-9_-]+", part) else f'"{part}"' for part in path)


def from_call(overrides: Mapping[str, Any]) -> list[Given]:
    """Options of a call, nested or with dotted keys; None means not given."""
    nested = [
        (split_key(key) if "." in key or '"' in key else (key,), value) for key, value in overrides.items() if value is not None
    ]
    return [Given(path + below, leaf, "call", "the call") for path, value in nested for below, leaf in _leaves(value, len(path))]


def from_environment(environ: Mapping[str, str]) -> list[Given]:
    """Every LADING_… variable; `__` stands between a table and its key."""
    return [
        Given(tuple(name[7:].lower().split("__")), value, f"environment {name}", f"the environment variable {name}", True)
        for name, value in sorted(environ.items())
        if name.startswith("LADING_") and name not in NOT_KEYS
    ]


def from_file(path: str) -> list[Given]:
    """The keys of a TOML file; ConfigError when it cannot be read or is no TOML."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.", hint="Check LADING_CONFIG.") from None
    return from_toml(raw, path)


def from_toml(raw: bytes, path: str) -> list[Given]:
    """The keys of TOML text, named as in `path`."""
    import tomllib  # 3 ms, and many have no file

    try:
        text = raw.decode()
        table = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        at = f": {error}" if isinstance(error, tomllib.TOMLDecodeError) else " (its text is not UTF-8)"
        raise ConfigError(f"The configuration {path} is no TOML{at}.", hint='Write lines such as: cache_size = "50GiB"') from None
    lines = _lines(text)
    return [
        Given(key, value, f"file {path}", f"{path}:{lines[key]}" if key in lines else path) for key, value in _leaves(table, 0)
    ]


def refuse_open_file(path: str, given: list[Given]) -> None:
    """ConfigError when a file that holds a secret can be read by others."""
    if any(it.path in SECRETS and it.value for it in given) and os.stat(path).st_mode & 0o077:
        import shlex

        raise ConfigError(f"{path} holds a secret, and others may read it.", hint=f"chmod 600 {shlex.quote(path)}", path=path)


def split_key(key: str) -> Path:
    """A dotted key, as TOML writes it, in its parts."""
    import tomllib

    try:
        if "\n" in key:
            raise ValueError
        table: Any = tomllib.loads(f"{key} = 0")
    except ValueError:
        raise ConfigError("That is no key.", hint='Write it like cache_size, s3.region or destinations."URI".paused.') from None
    path: Path = ()
    while isinstance(table, dict):
        ((part, table),) = table.items()
        path += (part,)
    return path


def _leaves(value: Any, depth: int, path: Path = ()) -> list[tuple[Path, Any]]:
    """The values below tables; an empty named table is a value itself, so that its name is checked."""
    if not isinstance(value, Mapping) or depth + len(path) > 3 or (path and not value):
        return [(path, value)]
    return [leaf for part, below in value.items() for leaf in _leaves(below, depth, (*path, part))]


def _lines(text: str) -> dict[Path, int]:
    """Key → line number, as far as a look at each line alone tells."""
    found: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?\Z", line)
        key = re.match(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'|\s*\.\s*)+?)\s*=""", line)
        try:
            if header:
                table = split_key(header[1])
                found.setdefault(table, number)
            elif key:
                found.setdefault(table + split_key(key[1]), number)
        except ConfigError:
            continue  # a line inside a longer text
    return found
