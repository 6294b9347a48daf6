"""Asking whether a destination works: a one-shot `ladingd probe`, so that no cloud SDK is loaded here."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from lading.cli.app import App
from lading_catalog.errors import Error
from lading_catalog.names import printable

_LIMIT_S = 180.0  # beyond all time-outs of the stores


class Failed(Error):
    """The test of a destination failed; the problem is what the probe said."""

    urn, title, status = "destination-test", "The test of the destination failed", 502

    def __init__(self, told: dict[str, Any], uri: str) -> None:
        self.told = {"uri": uri, **told}
        super().__init__(str(told.get("detail") or f"The test of {printable(uri)} failed."), hint=str(told.get("hint") or ""))

    def problem(self) -> dict[str, Any]:
        return {**super().problem(), **self.told}


def probe(app: App, uri: str, *options: str) -> dict[str, Any]:
    """{"uri": …, "facts": {…}} of a destination that works. Raises Failed with the store's own detail and hint."""
    app.out.say(f"Testing {printable(uri)} …")
    try:
        run = subprocess.run(
            [sys.executable, "-m", "ladingd", "probe", uri, "--json", *options],
            env=app.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed({"detail": f"{printable(uri)} gave no answer in {_LIMIT_S:.0f} s."}, uri) from None
    told = _last_object(run.stdout)
    if run.returncode == 0 and told is not None and isinstance(told.get("facts"), dict):
        return told
    if told is None:
        lines = run.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {run.returncode}"]
        told = {"detail": f"The test of {printable(uri)} could not run: {lines[-1]}"}
    raise Failed(told, uri)


def _last_object(output: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return told if isinstance(told, dict) else None


def facts_table(app: App, told: dict[str, Any]) -> None:
    """What the probe found, for a person."""
    rows = []
    for key, value in told["facts"].items():
        name = printable(str(key)).replace("_", " ")
        if isinstance(value, float) and key.endswith("_s"):
            rows.append((f"  {name.removesuffix(' s')}", f"{value * 1000:.0f} ms"))
        elif value is not None and value != "":
            rows.append((f"  {name}", printable(value if isinstance(value, str) else json.dumps(value))))
    app.out.table(rows)
