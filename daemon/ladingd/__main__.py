"""`python -m ladingd`: run the daemon, or probe one destination and exit. People use `lading daemon` and `lading destination test`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from lading_catalog.config import Config, load
from lading_catalog.errors import Error


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ladingd", description="The daemon of Lading.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("run", "work until SIGTERM"),
        ("probe", "test a destination with a canary object and remember what it showed"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--home", help="the home to work for (default: as configured)")
        command.add_argument("--json", action="store_true", help="an error as problem details on standard output")
        if name == "run":
            command.add_argument("--exit-when-idle", action="store_true", help="leave when nothing is owed any more")
            command.add_argument("--fetch-only", action="store_true", help="only fetch, until a real daemon starts")
        else:
            command.add_argument("--moved", action="store_true", help="it is the same store under a new address")
            command.add_argument("uri")
    given = parser.parse_args(argv)
    try:
        config = load(home=given.home)
        return _run(config, given) if given.command == "run" else _probe(config, given)
    except Error as e:
        if given.json:
            print(json.dumps({**e.problem(), "exit": e.exit_code}))
        else:
            print(f"ladingd: {e.detail}" + (f"\n  {e.hint}" if e.hint else ""), file=sys.stderr)
        return e.exit_code


def _run(config: Config, given: argparse.Namespace) -> int:
    from ladingd import logs, service

    logs.configure(config.log_level, config.log_format)
    service.run(config, exit_when_idle=given.exit_when_idle, fetch_only=given.fetch_only)
    return 0


def _probe(config: Config, given: argparse.Namespace) -> int:
    from pathlib import Path

    from lading_catalog import stores, uris
    from lading_catalog.connection import CATALOG_FILE, open_catalog
    from ladingd import destinations

    uri = uris.parse(given.uri, frozenset(config.endpoints)).uri
    home = Path(config.home)
    known: Any = None
    conn = open_catalog(home, make=False) if (home / CATALOG_FILE).exists() else None
    row = next((r for r in stores.destinations(conn) if r.uri == uri), None) if conn is not None else None
    if row is not None:
        known = row.probe
    facts = destinations.probe(config, uri, known, moved=given.moved)
    if conn is not None and row is not None:
        with conn.writing():
            stores.tested(conn, row.id, facts)
        from lading_catalog import doorbell

        doorbell.ring(home)
    print(json.dumps({"uri": uri, "facts": facts}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
