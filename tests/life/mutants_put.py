"""Bugs planted in a copy of the packages, one at a time: some test of the durable put has to turn red for each.

python tests/life/mutants_put.py [NAME…]     all of them, or some; prints what was caught and what survived
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("catalog", "client", "daemon")
LOCALSTORE = "catalog/lading_catalog/localstore.py"
STAGING = "catalog/lading_catalog/staging.py"
RECOVERY = "catalog/lading_catalog/recovery.py"
DURABLE = "catalog/lading_catalog/durable.py"
CONNECTION = "catalog/lading_catalog/connection.py"
MEDIA = "catalog/lading_catalog/media.py"
RECORDING = "client/lading/recording.py"
BATCH = "client/lading/batch.py"
INTAKE = "client/lading/intake.py"
CUT = "tests/life/test_put_cut.py::test_invariants_1_2_10_a_power_cut_at_every_instant"
KILL = "tests/life/test_put_crash.py::test_invariants_1_2_10_kill_at_every_call"
CTRL_C = "tests/life/test_put_crash.py::test_invariant_2_ctrl_c_at_every_call"
PUT, NAMES, RACES = (f"tests/client/test_put{part}.py" for part in ("", "_names", "_races"))


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    changes: tuple[tuple[str, str, str], ...]  # file, text that stands there once, text instead
    test: str  # which ought to see it


def _one(name: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(name, ((file, old, new),), test)


MUTANTS = (
    _one("no fsync of the file", STAGING, "            durable.sync_file(fd)\n", "", f"{CUT}[first]"),
    _one(
        "no fsync of the folder", STAGING, "                durable.sync_folder(folder_fd)\n", "                pass\n", f"{CUT}[first]",
    ),
    _one("no fsync of the folder of folders", LOCALSTORE, "    sync_path(objects)\n", "", f"{CUT}[first]"),
    _one("synchronous NORMAL", CONNECTION, '("synchronous", 2)', '("synchronous", 1)', f"{CUT}[first]"),
    _one(
        "row before file", RECORDING,
        "            session.publish(staged)\n            with self._lock:\n                result = self._commit(items)\n",
        "            with self._lock:\n                result = self._commit(items)\n            session.publish(staged)\n",
        f"{KILL}[single]",
    ),
    _one(
        "unlink of the source before the commit", BATCH, "            result = self._recorder.record(self._items, self._taken)\n",
        "            [remove_source(t) for t in self._moves]\n            result = self._recorder.record(self._items, self._taken)\n",
        f"{PUT}::test_a_move_that_fails_keeps_its_source",
    ),
    _one(
        "unlink of the temporary name before the commit", STAGING, "            item.published = True\n",
        "            item.published = True\n            os.unlink(item.tmp, dir_fd=self._fd)\n", f"{KILL}[single]",
    ),
    _one(
        "dedup by hash without a look at the file", MEDIA,
        'if state == "present" and file_matches(key, item.size_bytes, inode, mtime_ns):', 'if state == "present":',
        f"{PUT}::test_invariant_1_a_copy_that_is_not_what_it_was_is_not_relied_on",
    ),
    _one(
        "overwrite instead of link", DURABLE,
        "        os.link(name, new_name, src_dir_fd=src_fd, dst_dir_fd=dst_fd, follow_symlinks=False)\n",
        "        with contextlib.suppress(FileNotFoundError):\n            os.unlink(new_name, dir_fd=dst_fd)\n"
        "        os.link(name, new_name, src_dir_fd=src_fd, dst_dir_fd=dst_fd, follow_symlinks=False)\n",
        f"{RACES}::test_invariant_4_a_final_name_that_is_taken_is_never_overwritten",
    ),
    _one(
        "an error takes away a name that another has", STAGING,
        "            if os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_ino == item.inode:\n", "            if True:\n",
        f"{RACES}::test_invariant_4_a_final_name_that_is_taken_is_never_overwritten",
    ),
    _one(
        "recovery deletes files with rows", RECOVERY, "if (named or tmp.endswith(UNSURE)) and has_row(", "if False and has_row(",
        f"{KILL}[single]",
    ),
    _one(
        "recovery sweeps living sessions", RECOVERY, "            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "",
        f"{RACES}::test_recovery_leaves_living_sessions_alone",
    ),
    _one(
        "no fstat after reading", INTAKE, "if identity(before) != identity(after) or staged.size_bytes != after.st_size:", "if False:",
        f"{PUT}::test_a_source_that_is_written_to_is_an_error",
    ),
    _one(
        "a moved source is not looked at again", INTAKE, "if identity(os.stat(path)) != taken.identity:", "if False:",
        f"{PUT}::test_a_source_that_changed_before_the_commit_is_left_alone",
    ),
    _one(
        "a Ctrl-C during the commit takes the file of a row", RECORDING, "if s.published and media.has_local_copy(",
        "if False and media.has_local_copy(", f"{CTRL_C}[single]",
    ),
    _one(
        "a failed commit that may yet show loses its file", RECORDING,
        "unsure = isinstance(error, CatalogError) and isinstance(error.__cause__, apsw.IOError)", "unsure = False",
        "tests/life/test_put_errors.py::test_invariant_2_a_commit_that_failed_and_shows_after_a_reboot_has_its_file",
    ),
    _one(
        "a file's own ending is taken for ours", STAGING, 'UNSURE = "-unsure"', 'UNSURE = ".unsure"',
        f"{NAMES}::test_recovery_takes_back_what_a_dead_put_left_whatever_its_name",
    ),
    _one(
        "a session in a folder that was swept", STAGING, "                os.stat(folder)\n", "",
        f"{RACES}::test_recovery_beside_a_put_that_begins",
    ),
    _one(
        "a failed fsync is tried again", DURABLE, "        os.fsync(fd)\n\n\ndef begin_sync",
        "        try:\n            os.fsync(fd)\n        except OSError:\n            os.fsync(fd)\n\n\ndef begin_sync",
        "tests/life/test_put_errors.py::test_invariant_5_a_failed_fsync_is_never_retried[single]",
    ),
    _one(
        "an error of the disk comes out as it is", STAGING,
        "        except ReadFailed:\n            raise\n        except OSError as e:\n            raise translated(e, self.home) from e\n",
        "        except OSError:\n            raise\n", "tests/life/test_put_errors.py::test_invariant_3_an_error_at_every_call[EMFILE]",
    ),
    _one(
        "a batch of many transactions", BATCH, "        self.new += result.new\n",
        "        self.new += result.new\n"
        "        with self._catalog._conn.writing() as conn:\n            conn.run(\"UPDATE meta SET v = v + 1 WHERE k = 'epoch'\")\n",
        f"{PUT}::test_put_many_and_a_batch_are_one_transaction",
    ),
)  # fmt: skip
# Run by default: the fast ones of each kind. All with LONG_RUN=1, and by hand.
SHORT = (
    "no fsync of the file", "synchronous NORMAL", "unlink of the source before the commit",
    "dedup by hash without a look at the file", "overwrite instead of link", "recovery sweeps living sessions", "no fstat after reading",
    "a Ctrl-C during the commit takes the file of a row",
)  # fmt: skip
NOTHING = Mutant("nothing (control)", (), "")


def verdict(mutant: Mutant, tests: Sequence[str] = ()) -> tuple[bool, str]:
    """Whether a test turned red on a copy with this bug, and what it said. Raises ValueError for a text that does not stand there."""
    with tempfile.TemporaryDirectory(prefix="lading-mutant-") as folder:
        copy = Path(folder)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
        for file, old, new in mutant.changes:
            text = (copy / file).read_text()
            if text.count(old) != 1:
                raise ValueError(f"{mutant.name}: {old!r} stands {text.count(old)} times in {file}")
            (copy / file).write_text(text.replace(old, new))
            if file.endswith(".py"):
                compile((copy / file).read_text(), file, "exec")
        paths = [os.fspath(copy / package) for package in PACKAGES]
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(paths), PYTHONDONTWRITEBYTECODE="1")
        environment.pop("LONG_RUN", None)
        run = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-o", f"pythonpath={' '.join([*paths, 'tests'])}",
                *(tests or [mutant.test]),
            ],
            cwd=ROOT, env=environment,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    if run.returncode not in (0, 1):
        raise ValueError(f"{mutant.name}: pytest ended with {run.returncode}: {run.stdout}{run.stderr}")
    said = [line[1:].strip() for line in run.stdout.splitlines() if line.startswith("E  ")]
    return run.returncode == 1, said[0][:160] if said else ""


def verdicts(chosen: Sequence[Mutant]) -> list[tuple[Mutant, bool, str]]:
    with ThreadPoolExecutor(2) as pool:
        return [(mutant, *found) for mutant, found in zip(chosen, pool.map(verdict, chosen), strict=True)]


def main(wanted: Sequence[str], table: Sequence[Mutant] = MUTANTS) -> int:
    chosen = [m for m in table if not wanted or m.name in wanted]
    red, said = verdict(NOTHING, sorted({m.test for m in chosen}))
    print(f"control, no bug planted: {'RED: ' + said if red else 'green'}")
    found = verdicts(chosen)
    for mutant, caught, said in found:
        print(f"{'caught  ' if caught else 'SURVIVED'}  {mutant.name}: {said}")
    survived = sum(not caught for _, caught, _ in found)
    print(f"{len(found) - survived} caught, {survived} survived")
    return 1 if red or survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
