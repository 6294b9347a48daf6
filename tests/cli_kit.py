"""The `lading` command to test with: in a home of its own, in this process where that will do, else as a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lading
from lading.cli import main
from lading_catalog import replicas, stores, tables

ODD_NAMES = (
    b"new\nline.jpg", b"bad\xff\xfe.jpg", b"x" * 255, "rtl\u202egpj.exe".encode(), "漢字.png".encode(), b"a\\b.png", b"-dash", b" blank ",
    b"\x1b[2J.png",
)  # fmt: skip

_BOUND = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.getuid() == 0 else ()


@dataclass(frozen=True)
class Done:
    """What a run left: `lines` are the JSON objects on stdout, one a line."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def json(self) -> dict[str, Any]:
        (only,) = self.lines
        return only


class Cli:
    """`run` in this process; `process` as a process of its own, with the environment and the pipes that a shell would give it."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.place = place
        self.home = place / "home"
        self.nas = place / "nas"
        self._capsys = capsys
        for name in [n for n in os.environ if n.startswith("LADING_")] + ["NO_COLOR"]:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(place))
        monkeypatch.setenv("LADING_MIN_FREE", "0")
        monkeypatch.setenv("LADING_HOME", str(self.home))
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.chdir(place)
        self._monkeypatch = monkeypatch

    def run(self, *args: str | Path, code: int | None = 0) -> Done:
        self._capsys.readouterr()
        with self._monkeypatch.context() as scoped:
            scoped.setenv("LADING_CONFIG", os.environ.get("LADING_CONFIG", ""))  # --config sets it
            got = main([os.fspath(a) for a in args])
        captured = self._capsys.readouterr()
        done = Done(got, captured.out, captured.err)
        assert code is None or got == code, done
        return done

    def process(
        self, *args: str | Path | bytes, code: int | None = 0, env: Mapping[str, str] | None = None, bound: bool = False
    ) -> Done:
        """`bound`: by the modes of files, also where root runs the tests."""
        ran = subprocess.run(
            [*(_BOUND if bound else ()), sys.executable, "-c", "import sys; from lading.cli import main; sys.exit(main())", *args],
            env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        done = Done(ran.returncode, ran.stdout.decode(), ran.stderr.decode())
        assert code is None or ran.returncode == code, done
        return done

    def file(self, name: str | bytes, content: bytes | None = None) -> Path:
        """A file below the place; by default its content is its name."""
        raw = os.fsencode(name)
        path = Path(os.fsdecode(os.path.join(os.fsencode(self.place), raw)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content of " + raw if content is None else content)
        return path

    def put(self, *names: str, **more: str) -> list[str]:
        """Put new files; their ids."""
        options = [f"--{key}={value}" for key, value in more.items()]
        return [line["id"] for line in self.run("put", "--json", *options, *map(self.file, names)).lines]

    @property
    def uri(self) -> str:
        self.nas.mkdir(exist_ok=True)
        return f"file://{self.nas}/"

    def daemon(self) -> None:
        """A real daemon brings everything to its destinations, and leaves."""
        self.process("daemon", "--exit-when-idle")

    def deliver(self) -> None:
        """Let the catalog have seen what such a daemon has done; a tenth of the time."""
        with lading.open(self.home) as cat, cat._conn.writing() as conn:
            while tables.moves_due(conn):
                tables.move_step(conn, 1000)
            for store in stores.destinations(conn):
                ids = replicas.claimable(conn, store.id, conn.now_ms(), 1000, 0)
                replicas.claim(conn, ids, epoch=1)
                replicas.confirm(conn, [replicas.Success(i, "read", "sha256", None, conn.now_ms()) for i in ids], epoch=1)
