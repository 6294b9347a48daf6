"""The local store and its recovery: every place where a put can die, live sessions, strangers. And the daemon's lock."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog_kit import Kit
from lading_catalog import localstore, lock, media, staging, tables
from lading_catalog.localstore import matches
from lading_catalog.recovery import recover
from lading_catalog.staging import Session, Staged

DATA = b"bytes of a photo " * 1000


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    made = Kit(tmp_path / "home")
    localstore.prepare(made.home)
    yield made
    made.check()
    made.conn.close()


def record(kit: Kit, staged: Staged) -> str:
    item = media.NewMedium(
        staged.sha256, staged.size_bytes, media.LocalFile(staged.key, staged.inode, staged.mtime_ns), "a.jpg", "image/jpeg"
    )
    with kit.conn.writing():
        return media.put(kit.conn, [item], tables.Defaults(), lambda *file: matches(kit.home, *file)).ulids[0]


def recovered(kit: Kit) -> int:
    return recover(kit.home, lambda key, sha256: media.has_local_copy(kit.conn, key, sha256))


def die(session: Session) -> None:
    """As a kill does: the descriptors are closed, and nothing else happens."""
    os.close(session._fd)


def files(kit: Kit) -> list[str]:
    return sorted(
        os.fspath(p.relative_to(kit.home))
        for part in ("objects", "staging", "orphans")
        for p in (kit.home / part).rglob("*")
        if p.is_file()
    )


def whole(kit: Kit, staged: Staged) -> bool:
    return (kit.home / staged.key).read_bytes() == DATA and matches(
        kit.home, staged.key, staged.size_bytes, staged.inode, staged.mtime_ns
    )


def test_died_while_writing(kit: Kit) -> None:
    session = Session(kit.home)
    session.stage(DATA, ".jpg")
    (session.folder / "0a1-half.jpg").write_bytes(DATA[:10])
    die(session)
    assert recovered(kit) == 2
    assert files(kit) == []
    assert not session.folder.exists()


def test_died_between_the_name_and_the_row(kit: Kit) -> None:
    session = Session(kit.home)
    staged = session.stage(DATA, ".jpg")
    session.publish([staged])
    assert staged.key in files(kit)
    die(session)
    assert recovered(kit) == 1
    assert files(kit) == []


def test_died_between_the_row_and_the_tidying(kit: Kit) -> None:
    session = Session(kit.home)
    staged = session.stage(DATA, ".jpg")
    session.publish([staged])
    record(kit, staged)
    die(session)
    assert recovered(kit) == 1
    assert files(kit) == [staged.key]
    assert whole(kit, staged)
    assert recovered(kit) == 0


def test_died_in_the_midst_of_many(kit: Kit) -> None:
    """Some with a row, some without, some not published: each ends as it should."""
    session = Session(kit.home)
    made = [session.stage(DATA + bytes([n]), ".jpg") for n in range(9)]
    session.publish(made[:6])
    for staged in made[:3]:
        record(kit, staged)
    die(session)
    assert recovered(kit) == 9
    assert files(kit) == sorted(s.key for s in made[:3])


@pytest.mark.parametrize("showed", [True, False])
def test_a_commit_that_failed_without_telling(kit: Kit, showed: bool) -> None:
    """The put has raised and its file has no final name. If the rows are there after all, the file comes back; else it goes."""
    session = Session(kit.home)
    staged = session.stage(DATA, ".jpg")
    session.publish([staged])
    session.settle([staged], keep=False, unsure=True)
    assert [os.path.dirname(f) for f in files(kit)] == [os.fspath(session.folder.relative_to(kit.home))]
    if showed:
        record(kit, staged)
    session.close()  # leftovers stay: the folder is not empty
    assert session.folder.exists()
    assert recovered(kit) == 1
    assert files(kit) == ([staged.key] if showed else [])
    if showed:
        assert whole(kit, staged)


def test_died_while_a_failed_commit_was_settled(kit: Kit) -> None:
    """The temporary name is marked already, the final one still stands."""
    for showed in (True, False):
        session = Session(kit.home)
        staged = session.stage(DATA + bytes([showed]), ".jpg")
        session.publish([staged])
        os.rename(session.folder / staged.tmp, session.folder / (staged.tmp + staging.UNSURE))
        if showed:
            record(kit, staged)
        die(session)
        assert recovered(kit) == 1
        assert (kit.home / staged.key).exists() == showed


def test_a_row_of_another_key_saves_nothing(kit: Kit) -> None:
    """The same bytes were put before: that copy stays, the leftover goes."""
    session = Session(kit.home)
    first, second = session.stage(DATA, ".jpg"), session.stage(DATA, ".jpg")
    session.publish([first, second])
    record(kit, first)
    die(session)
    assert recovered(kit) == 2
    assert files(kit) == [first.key]


def test_a_file_that_has_taken_the_name_is_not_ours_to_unlink(kit: Kit) -> None:
    session = Session(kit.home)
    staged = session.stage(DATA, ".jpg")
    stranger = kit.home / staged.key
    stranger.write_bytes(b"something else")
    die(session)
    assert recovered(kit) == 1
    assert stranger.read_bytes() == b"something else"


def test_a_file_without_row_or_session_is_never_unlinked(kit: Kit) -> None:
    orphan = kit.home / "objects" / "012" / "ffff.jpg"
    orphan.write_bytes(DATA)
    session = Session(kit.home)
    session.stage(DATA, ".jpg")
    die(session)
    assert recovered(kit) == 1
    assert files(kit) == ["objects/012/ffff.jpg"]


def test_a_live_session_is_not_touched(kit: Kit) -> None:
    live, dead = Session(kit.home), Session(kit.home)
    mine, left = live.stage(DATA, ".jpg"), dead.stage(DATA, ".jpg")
    live.publish([mine])
    dead.publish([left])
    die(dead)
    assert recovered(kit) == 1
    assert files(kit) == sorted([mine.key, os.fspath((live.folder / mine.tmp).relative_to(kit.home))])
    record(kit, mine)
    live.settle([mine], keep=True)
    live.close()
    assert not live.folder.exists()
    assert recovered(kit) == 0
    assert files(kit) == [mine.key]


_KILLED = """
import os, signal, sys
from pathlib import Path
from lading_catalog.staging import Session
session = Session(Path(sys.argv[1]))
session.publish([session.stage(b"x" * 1000, ".jpg")])
print("there", flush=True)
sys.stdin.readline()
"""


def test_a_session_of_another_process_is_live_until_that_is_killed(kit: Kit) -> None:
    child = subprocess.Popen([sys.executable, "-c", _KILLED, os.fspath(kit.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"there\n"
    before = files(kit)
    assert recovered(kit) == 0
    assert files(kit) == before
    assert len(before) == 2
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdin.close()
    child.stdout.close()
    assert recovered(kit) == 1
    assert files(kit) == []


def test_a_missing_shard_is_made_again(kit: Kit) -> None:
    session = Session(kit.home)
    staged = session.stage(DATA, ".jpg")
    (kit.home / staged.key).parent.rmdir()
    session.publish([staged])
    assert whole(kit, staged)
    session.settle([staged], keep=True)
    session.close()


def test_a_missing_shard_keeps_no_leftover_from_coming_back(kit: Kit) -> None:
    session = Session(kit.home)
    staged, other = session.stage(DATA, ".jpg"), session.stage(DATA + b"2", ".jpg")
    session.publish([staged])
    session.settle([staged], keep=False, unsure=True)
    record(kit, staged)
    (kit.home / staged.key).parent.rmdir()
    die(session)
    recovered(kit)
    assert whole(kit, staged)
    assert not (session.folder / other.tmp).exists()


def test_a_failed_publish_leaves_no_final_name(kit: Kit) -> None:
    session = Session(kit.home)
    one, two = session.stage(DATA, ".jpg"), session.stage(DATA + b"2", ".jpg")
    (kit.home / two.key).write_bytes(b"taken")
    with pytest.raises(Exception, match=r"File exists"):
        session.publish([one, two])
    assert not (kit.home / one.key).exists()
    assert (kit.home / two.key).read_bytes() == b"taken"  # never overwritten
    session.settle([one, two], keep=False)
    assert (kit.home / two.key).read_bytes() == b"taken"
    session.close()


def test_a_copy_that_was_changed_or_replaced_does_not_match(kit: Kit) -> None:
    session = Session(kit.home)
    staged = session.stage(io.BytesIO(DATA), ".jpg")
    session.publish([staged])
    session.settle([staged], keep=True)
    session.close()
    path = kit.home / staged.key
    file = (staged.key, staged.size_bytes, staged.inode, staged.mtime_ns)
    assert matches(kit.home, *file)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(DATA[::-1])  # the same size and inode
    assert not matches(kit.home, *file)
    os.utime(path, ns=(staged.mtime_ns, staged.mtime_ns))
    assert matches(kit.home, *file)  # who forges times is beyond this check
    copy = path.with_suffix(".copy")
    copy.write_bytes(DATA)
    os.utime(copy, ns=(staged.mtime_ns, staged.mtime_ns))
    path.unlink()
    assert not matches(kit.home, *file)
    path.symlink_to(copy)
    assert not matches(kit.home, *file)
    path.unlink()
    copy.rename(path)
    assert not matches(kit.home, *file)  # another inode


def test_keys_are_unique_also_for_the_same_bytes(kit: Kit) -> None:
    session = Session(kit.home)
    staged = [session.stage(b"", ".jpg") for _ in range(300)]
    assert len({s.key for s in staged}) == 300
    session.settle(staged, keep=False)
    session.close()
    assert files(kit) == []


# -- lock.py -------------------------------------------------------------------------------------------------------------------------


def test_one_daemon_and_everybody_sees_it(kit: Kit) -> None:
    assert not lock.observe(kit.home).running
    held = lock.DaemonLock(kit.home, "1.2", 5)
    seen = lock.observe(kit.home)
    assert (seen.running, seen.pid, seen.version, seen.started_at_ms) == (True, os.getpid(), "1.2", 5)
    with pytest.raises(lock.AlreadyRunning, match=str(os.getpid())):
        lock.DaemonLock(kit.home, "1.3", 6)
    assert lock.observe(kit.home).version == "1.2"  # the second has written nothing
    held.release()
    seen = lock.observe(kit.home)
    assert (seen.running, seen.pid, seen.version) == (False, os.getpid(), "1.2")
    lock.DaemonLock(kit.home, "1.3", 6).release()


def test_a_killed_daemon_frees_its_lock(kit: Kit) -> None:
    code = "import sys; from pathlib import Path; from lading_catalog.lock import DaemonLock\n"
    code += "held = DaemonLock(Path(sys.argv[1]), 'x', 1); print('there', flush=True); sys.stdin.readline()"
    child = subprocess.Popen([sys.executable, "-c", code, os.fspath(kit.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()
    assert lock.observe(kit.home).pid == child.pid
    with pytest.raises(lock.AlreadyRunning):
        lock.DaemonLock(kit.home, "y", 2)
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    assert not lock.observe(kit.home).running
    held = lock.DaemonLock(kit.home, "y", 2)
    assert lock.observe(kit.home).pid == os.getpid()
    held.release()


def test_a_lock_file_with_nonsense_or_nothing_in_it(kit: Kit) -> None:
    for text in (b"", b"{", b"\xff\xfe", b"[]", b"7", b'{"pid": 1}'):
        (kit.home / lock.LOCK_FILE).write_bytes(text)
        assert not lock.observe(kit.home).running
    (kit.home / lock.LOCK_FILE).unlink()
    (kit.home / lock.LOCK_FILE).symlink_to(kit.home / "catalog.db")
    assert not lock.observe(kit.home).running
    with pytest.raises(OSError, match="symbolic"):
        lock.DaemonLock(kit.home, "x", 1)
