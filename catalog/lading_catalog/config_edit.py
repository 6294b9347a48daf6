"""Changing one key of config.toml: comments and all other lines stay, and the file is whole at every moment."""

from __future__ import annotations

import os
import secrets
from typing import Any

import tomlkit

from lading_catalog import config_check, config_sources
from lading_catalog.errors import ConfigError


def set_key(path: str, key: str, value: Any) -> None:
    """Set a dotted key. `value`: of TOML's types, or text as in the environment ("8", "true", '["a", "b"]').

    Raises ConfigError, and leaves the file as it was, when the value is wrong or would make something else wrong; what
    was wrong elsewhere before is no obstacle. The file and its folder are made if need be; a symlink is followed. Mode
    0600 afterwards.
    """
    where = config_sources.split_key(key)
    path = os.path.realpath(path)
    try:
        with open(path, "rb") as file:
            before = file.read()
    except FileNotFoundError:
        before = b""
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.", hint="Check its permissions.") from None
    known = {problem.about.get("key") for problem in _problems(before, path)}
    if isinstance(value, str):
        value = config_check.typed(where, value)
    document: Any = tomlkit.parse(before.decode())
    table = document
    for part in where[:-1]:
        if not isinstance(table.get(part, {}), dict):
            raise ConfigError(f"{part} in {path} is no table.", hint="Remove that line first.")
        if part not in table:
            table[part] = tomlkit.table(is_super_table=part in config_sources.NAMED_TABLES)
        table = table[part]
    table[where[-1]] = value
    after = tomlkit.dumps(document).encode()
    for problem in _problems(after, path):
        if problem.about.get("key") == config_sources.dotted(where) or problem.about.get("key") not in known:
            raise problem
    _replace(path, after)


def _problems(raw: bytes, path: str) -> list[ConfigError]:
    return config_check.settings(config_sources.from_toml(raw, path))[2]


def _replace(path: str, raw: bytes) -> None:
    """All or nothing: written beside, synced, renamed over, and the folder synced."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    beside = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, path)
    except OSError as error:
        if os.path.lexists(beside):
            os.unlink(beside)
        raise ConfigError(f"{path} cannot be written: {error.strerror}.", hint="Check the folder's permissions.") from None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
