"""The user unit: systemd accepts every line of it, and its ExecStart becomes the daemon."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd" / "user" / "lading.service"


def complaints(unit: Path, scratch: Path) -> str:
    """What `systemd-analyze verify` says about a unit. It exits with 0 on mere warnings, so only silence is a pass."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: scripts/apt-packages installs it")
    runtime = scratch / "runtime"
    runtime.mkdir(mode=0o700)
    # A home of its own: units that somebody installed on this machine have no say.
    environment = {"PATH": os.environ["PATH"], "HOME": str(scratch), "XDG_RUNTIME_DIR": str(runtime), "LC_ALL": "C"}
    run = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(unit)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return run.stdout + run.stderr + ("" if run.returncode == 0 else f"exit {run.returncode}")


def settings(unit: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), flags=re.MULTILINE))


def test_systemd_accepts_every_line(tmp_path: Path) -> None:
    assert complaints(UNIT, tmp_path) == ""


@pytest.mark.parametrize(
    ("line", "broken"),
    [("Nice=", "Nyce="), ("RestartSec=10", "RestartSec=soon"), ("/usr/bin/env", "/usr/bin/no-such-file")],
)
def test_the_check_sees_a_broken_line(tmp_path: Path, line: str, broken: str) -> None:
    text = UNIT.read_text()
    assert line in text
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(line, broken))
    assert complaints(unit, tmp_path) != ""


def test_exec_start_becomes_the_lading_of_this_user(tmp_path: Path) -> None:
    """NotifyAccess=main and KillMode=mixed need the daemon to be the very process that systemd started."""
    lading = tmp_path / ".local" / "bin" / "lading"
    lading.parent.mkdir(parents=True)
    lading.write_text('#!/bin/sh\necho "$$ $*"\n')
    lading.chmod(0o755)
    unit = settings(UNIT)
    name, _, search = unit["Environment"].replace("%h", str(tmp_path)).partition("=")
    process = subprocess.Popen(shlex.split(unit["ExecStart"]), env={name: search}, stdout=subprocess.PIPE, text=True)
    said, _ = process.communicate(timeout=30)
    assert said.split() == [str(process.pid), "daemon"]


def test_a_stop_leaves_the_daemon_time_to_queue_its_transfers_again() -> None:
    unit = settings(UNIT)
    assert unit["KillMode"] == "mixed"
    assert int(unit["TimeoutStopSec"]) > 10, "SIGTERM finishes or queues again within 10 s"
