"""Processes that put, held by strace: each is forked from a server that has everything imported, so one costs some 20 ms.

The server reads lines of JSON from standard input, and forks; the child waits at `go` until strace has been attached to it. Then it
is let go, and dies, fails or ends. strace counts calls from its attachment on: `when=3` is the third of the put under test.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import lading
import lading_catalog
import ladingd

ROOTS = [str(Path(str(p.__file__)).parents[1]) for p in (lading_catalog, lading, ladingd)] + [str(Path(__file__).parents[1])]
PATIENCE_S = 60.0


def environment() -> dict[str, str]:
    """For processes of the packages under test; without settings of whoever runs the tests: a daemon would refuse
    a LADING_ that it does not know."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LADING_")}
    return {**kept, "LADING_MIN_FREE": "0", "PYTHONPATH": os.pathsep.join(ROOTS)}


@dataclass
class Outcome:
    """What a process reported, and how it ended: `signal` is 0 for an exit."""

    acked: dict[str, int] = field(default_factory=dict)  # id → number of the content
    raised: tuple[str, str, str, str] | None = None  # lading or bare, class, text, hint
    again: dict[str, int] = field(default_factory=dict)
    again_raised: str | None = None
    ended: bool = False
    signal: int = 0
    trace: str = ""


class Server:
    """Forks the processes. One at a time each; use several for several at once."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), *ROOTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=environment(),
        )  # fmt: skip

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)

    def run(
        self, scenario: str, home: Path, strace: Sequence[str] = (), *, trace: Path | None = None, again: bool = False
    ) -> Outcome:
        """One process that does `scenario` on `home`, under strace with these options (none: without strace)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        place = home.parent
        for fifo in ("report", "go"):
            with contextlib.suppress(FileExistsError):
                os.mkfifo(place / fifo)
        report = os.open(place / "report", os.O_RDONLY | os.O_NONBLOCK)
        hold = os.open(place / "report", os.O_WRONLY)  # so that the end of the pipe is not seen before the child has opened it
        go = os.open(place / "go", os.O_RDWR)
        tracer: subprocess.Popen[bytes] | None = None
        try:
            self._process.stdin.write(json.dumps([scenario, str(home), again]).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            assert line, "the server has ended: what it said stands on standard error"
            pid = int(line)
            text = _until(report, b"ready\n")
            if strace:
                tracer = _attach(pid, strace, trace)
            os.write(go, b"g")
            code = int(self._process.stdout.readline())  # it has ended
            text += _rest(report)
        finally:
            if tracer is not None:
                tracer.wait(PATIENCE_S)
                assert tracer.stderr is not None
                tracer.stderr.close()
            for fd in (report, hold, go):
                os.close(fd)
        outcome = _read(text.decode(errors="replace"), -code if code < 0 else 0)
        if trace is not None and trace.exists():
            outcome.trace = trace.read_text(errors="replace")
        return outcome


def _attach(pid: int, options: Sequence[str], trace: Path | None) -> subprocess.Popen[bytes]:
    tracer = subprocess.Popen(
        ["strace", "-f", "-o", str(trace or os.devnull), *options, "-p", str(pid)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert tracer.stderr is not None
    said = b""
    while b"attached" not in said:
        line = tracer.stderr.readline()
        said += line
        assert line, f"strace could not be attached: {said.decode()}"
    return tracer


def _until(fd: int, mark: bytes) -> bytes:
    text = b""
    while not text.endswith(mark):
        ready, _, _ = select.select([fd], [], [], PATIENCE_S)
        assert ready, f"the process said nothing but {text!r}"
        text += os.read(fd, 65536)
        assert b"raised" not in text, text
    return text


def _rest(fd: int) -> bytes:
    text = b""
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(fd, 65536):
            text += chunk
    return text


def _read(text: str, killed_by: int) -> Outcome:
    found = Outcome(signal=killed_by)
    for line in text.splitlines():
        what, _, rest = line.partition(" ")
        if what in ("acked", "again"):
            ident, number = rest.split()
            (found.acked if what == "acked" else found.again)[ident] = int(number)
        elif what == "raised":
            kind, cls, message, hint = json.loads(rest)
            found.raised = (kind, cls, message, hint)
        elif what == "again-raised":
            found.again_raised = rest
        elif what == "end":
            found.ended = True
    return found


@contextlib.contextmanager
def server() -> Iterator[Server]:
    made = Server()
    try:
        yield made
    finally:
        made.close()


def _serve() -> None:
    """The server itself. Children are ended without cleaning up: what they leave is what a crash leaves."""
    from lading_catalog.config import load
    from life import put_scenarios as scenarios

    load(home=os.devnull)  # loads modules on its way
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    for line in sys.stdin.buffer:
        scenario, home, again = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(scenarios, scenario, Path(home), again)
        out.write(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        out.write(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _child(scenarios: object, scenario: str, home: Path, again: bool) -> None:
    from life.put_scenarios import GO_FD, REPORT_FD, run

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        report = os.open(home.parent / "report", os.O_WRONLY)
        go = os.open(home.parent / "go", os.O_RDONLY)
        os.dup2(report, 60)
        os.dup2(go, 61)
        os.closerange(3, 60)
        os.dup2(60, REPORT_FD)
        os.dup2(61, GO_FD)
        os.closerange(60, 62)
        run(scenario, home, again=again)
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.path[:0] = [p for p in sys.argv[1:] if p not in sys.path]
    _serve()
