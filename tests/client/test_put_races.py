"""Several processes put at once, and some of them die."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lading
from lading_catalog import localstore, media, staging
from life.put_check import recover, wrong
from life.put_process import environment
from put_kit import catalog, copies, names, objects, staged, whole

WRITER = """
import os, sys
import lading
from lading_catalog.config import Config
from lading_catalog.units import Amount
home, number, count, same_name, same_bytes, uri = sys.argv[1], *map(int, sys.argv[2:6]), sys.argv[6]
print("ready", flush=True)
sys.stdin.readline()
with lading.open(config=Config(home=home, min_free=Amount("0"))) as cat:
    for n in range(count):
        text = "the same" if same_bytes else f"{number}-{n}"
        print(cat.put(text.encode() * 1000, name="name" if same_name else f"{number}-{n}", destination=[uri] if uri else None).id, text)
"""


def _write(
    home: Path, writers: int, count: int, *, same_name: bool = False, same_bytes: bool = False, uri: str = ""
) -> dict[str, str]:
    """Processes that put at once, on a home that is not there yet: id → content."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(home), str(number), str(count), str(int(same_name)), str(int(same_bytes)), uri],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
        )
        for number in range(writers)
    ]  # fmt: skip
    found: dict[str, str] = {}
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in running:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        found.update((line.partition(" ")[0], line.partition(" ")[2]) for line in out.splitlines())
    return found


def test_invariant_4_sixteen_writers_of_one_name(tmp_path: Path) -> None:
    """They make the home and the catalog at the same time, too."""
    acked = _write(tmp_path / "home", 16, 3, same_name=True)
    assert len(acked) == len(set(acked.values())) == 48
    with catalog(tmp_path / "home") as cat:
        for ident, text in acked.items():
            medium = cat.medium(ident)
            assert medium.name == "name"
            whole(medium, text.encode() * 1000)
        assert len(objects(cat.home)) == len(names(cat)) == 48
        assert staged(cat.home) == []
    assert not list((tmp_path / "home").glob(".new-*"))


def test_invariant_4_eight_writers_of_the_same_bytes_make_one_object(tmp_path: Path) -> None:
    acked = _write(tmp_path / "home", 8, 3, same_bytes=True)
    with catalog(tmp_path / "home") as cat:
        assert len(acked) == len(names(cat)) == 24
        assert len(objects(cat.home)) == len(copies(cat)) == 1
        for ident in acked:
            whole(cat.medium(ident), b"the same" * 1000)
        assert staged(cat.home) == []


def test_invariant_6_puts_without_a_daemon_are_replicated_once_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()
    acked = _write(tmp_path / "home", 4, 15, uri=f"file://{tmp_path}/nas/")
    assert len(acked) == 60
    with catalog(tmp_path / "home") as cat:
        assert [m.state for m in cat.media()] == ["pending"] * 60
    run = subprocess.run(
        [sys.executable, "-m", "ladingd", "run", "--exit-when-idle", "--home", str(tmp_path / "home")],
        env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    with catalog(tmp_path / "home") as cat:
        assert [m.state for m in cat.media()] == ["safe"] * 60
    there = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "nas").rglob("*") if path.is_file()}
    assert {hashlib.sha256(text.encode() * 1000).hexdigest() for text in acked.values()} <= there


IN_TRANSACTION = """
import sys, time
from pathlib import Path
from lading_catalog.connection import Connection
conn = Connection(Path(sys.argv[1]))
with conn.writing():
    conn.run("UPDATE meta SET v = 'half done' WHERE k = 'catalog_id'")
    print("inside", flush=True)
    time.sleep(600)
"""


def test_invariant_7_a_client_killed_inside_a_transaction_blocks_nobody(tmp_path: Path) -> None:
    with catalog(tmp_path / "home") as cat:
        cat.put(b"before", name="before")
        process = subprocess.Popen(
            [sys.executable, "-c", IN_TRANSACTION, str(cat.home)],
            stdout=subprocess.PIPE,
            env=environment(),
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"inside\n"
        cat._conn._patience.limit_s = 0.05
        with pytest.raises(lading.CatalogError, match="locked"):  # it does hold the lock: else this shows nothing
            cat.put(b"blocked", name="blocked")
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        whole(cat.put(b"after", name="after"), b"after")
        assert cat._conn.value("SELECT v FROM meta WHERE k = 'catalog_id'") != "half done"
        assert names(cat) == ["before", "after"]
    assert wrong(tmp_path / "home", {}) == []


def test_invariant_4_a_final_name_that_is_taken_is_never_overwritten(tmp_path: Path) -> None:
    """Two sessions with the same dice come to the same name: the second is refused, and the first keeps its file."""
    with catalog(tmp_path / "home") as cat:
        one, two = (staging.Session(cat.home, random_bytes=bytes) for _ in range(2))
        first, second = one.stage(b"first", ".jpg"), two.stage(b"second", ".jpg")
        assert first.key == second.key
        one.publish([first])
        with pytest.raises(lading.Error, match="File exists"):
            two.publish([second])
        two.settle([second], keep=False)
        assert (cat.home / first.key).read_bytes() == b"first"
        one.close()
        two.close()


def test_recovery_leaves_living_sessions_alone(tmp_path: Path) -> None:
    with catalog(tmp_path / "home") as cat, cat.batch() as batch:
        batch.put(b"not yet recorded", name="a")
        assert recover(cat.home, cat._conn) == 0
        assert len(staged(cat.home)) == 1
    with catalog(tmp_path / "home") as cat:
        whole(cat.medium("a"), b"not yet recorded")


@pytest.mark.parametrize("before", ["open", "flock"])
def test_recovery_beside_a_put_that_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """It sweeps the folder of the new session in the moment before that is locked: the session makes another one."""
    with catalog(tmp_path / "home") as cat:
        localstore.prepare(cat.home)
        swept: list[int] = []

        def first_recover(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                if not swept and (before == "flock" or "staging/" in os.fspath(args[0])):
                    swept.append(1)
                    monkeypatch.undo()
                    recover(cat.home, cat._conn)
                return real(*args, **kwargs)

            return call

        if before == "open":
            monkeypatch.setattr(os, "open", first_recover(os.open))
        else:
            monkeypatch.setattr(fcntl, "flock", first_recover(fcntl.flock))
        whole(cat.put(b"x", name="x"), b"x")
        assert swept
        assert names(cat) == ["x"]


def test_recovery_goes_on_after_a_leftover_that_cannot_be_read(tmp_path: Path) -> None:
    """It must not keep the daemon from starting."""
    with catalog(tmp_path / "home") as cat:
        session = staging.Session(cat.home)
        session.publish([session.stage(b"lost", ".jpg")])
        (session.folder / "001-00.jpg").mkdir()
        os.close(session._fd)
        assert recover(cat.home, cat._conn) == 1
        assert objects(cat.home) == []


def test_recovery_deletes_nothing_that_has_a_row(tmp_path: Path) -> None:
    """A process that died between its commit and the unlink of its temporary names."""
    with catalog(tmp_path / "home") as cat:
        medium = cat.put(b"kept", name="kept")
        (key,) = [key for _, key in copies(cat)]
        dead = cat.home / "staging" / "dead"
        dead.mkdir()
        os.link(cat.home / key, dead / key.removeprefix("objects/").replace("/", "-"))
        assert recover(cat.home, cat._conn) == 1
        whole(medium, b"kept")
        assert not dead.exists()
        assert media.has_local_copy(cat._conn, key, bytes.fromhex(medium.sha256))
