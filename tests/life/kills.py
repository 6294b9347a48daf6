"""Put everything, kill the daemon again and again on the way, and see what is in the bucket."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daemon.process import DaemonProcess
from servers.process import S3Server, program


@dataclass
class Result:
    """What came of a campaign. `wrong`: sentences; empty is good."""

    store: str
    files: int = 0
    distinct: int = 0
    size_bytes: int = 0
    put_s: float = 0.0
    kills: int = 0
    kills_in_flight: int = 0
    copy_s: float = 0.0
    objects: int = 0
    again: int = 0
    wrong: list[str] = field(default_factory=list)


def files_below(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def campaign(
    daemon: DaemonProcess, uri: str, files: Sequence[Path], server: S3Server, bucket: str, work: Path, kills: int, seed: int,
    say: Callable[[str], None] = lambda text: None,
) -> Result:  # fmt: skip
    """The daemon is stopped at first and at the end."""
    dice = random.Random(seed)
    expected = {hashlib.sha256(p.read_bytes()).hexdigest(): p for p in files}
    result = Result(server.kind, len(files), len(expected), sum(p.stat().st_size for p in expected.values()))
    with daemon.open() as cat:
        began = time.monotonic()
        media = cat.put_many(files, destination=uri)
        result.put_s = time.monotonic() - began
        began = time.monotonic()
        _kill_on_the_way(daemon, cat, result, kills, dice, say)
        receipt = cat.wait(timeout=300)
        result.copy_s = time.monotonic() - began
        if not receipt.safe or receipt.safe_count != len(files):
            result.wrong.append(f"the receipt counts {receipt.safe_count} safe of {len(files)}")
        result.again = sum({m.sha256: m.refresh().replicas[0].attempts - 1 for m in media}.values())
        status = cat.status()
        if (status["media"]["safe"], status["verdict"]) != (len(files), "ok"):
            result.wrong.append(f"status says {status['verdict']}, {status['media']}")
        code = daemon.stop()
        if code != 0:
            result.wrong.append(f"the last stop ended with {code}")
    _compare(result, expected, server, bucket, work)
    return result


def _kill_on_the_way(
    daemon: DaemonProcess, cat: object, result: Result, kills: int, dice: random.Random, say: Callable[[str], None]
) -> None:
    """Each life ends at a random moment: some while it starts, most once it has copied a share of what was left."""
    import lading

    assert isinstance(cat, lading.Catalog)
    for n in range(kills):
        daemon.start(ready=False)
        before = cat.status()["media"]["safe"]
        left = result.files - before
        goal = before + dice.randint(0, max(1, 2 * left // (kills - n + 1)))
        deadline = time.monotonic() + dice.uniform(0.3, 8.0)
        while time.monotonic() < deadline and cat.status()["media"]["safe"] < goal:
            time.sleep(dice.uniform(0.001, 0.02))
        daemon.kill()
        copying = int(cat.sql("SELECT count(*) AS n FROM replicas WHERE state = 'copying'")[0]["n"])
        safe = cat.status()["media"]["safe"]
        result.kills += 1
        result.kills_in_flight += copying > 0
        say(f"  {result.store}: kill {n + 1}: {safe} of {result.files} media safe, {copying} transfers in flight")
    daemon.start()


def _compare(result: Result, expected: dict[str, Path], server: S3Server, bucket: str, work: Path) -> None:
    """Every object is brought back by rclone and compared with its source, byte by byte."""
    back = work / f"back-{server.kind}"
    subprocess.run(
        [program("rclone"), "copy", f":s3:{bucket}", str(back), "--transfers", "8", "--quiet", "--s3-no-check-bucket"],
        check=True,
        env={
            **os.environ, "RCLONE_CONFIG": os.devnull, "RCLONE_S3_PROVIDER": "Other", "RCLONE_S3_ENDPOINT": server.endpoint,
            "RCLONE_S3_ACCESS_KEY_ID": server.access_key, "RCLONE_S3_SECRET_ACCESS_KEY": server.secret_key,
            "RCLONE_S3_FORCE_PATH_STYLE": "true",
        },
    )  # fmt: skip
    times: Counter[str] = Counter()
    for path in files_below(back):
        if ".lading" in path.relative_to(back).parts:
            continue  # a canary whose probe was killed
        result.objects += 1
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        source = expected.get(digest)
        if source is None or source.read_bytes() != data:
            result.wrong.append(f"foreign or damaged: {path.relative_to(back)}, {len(data)} bytes")
        elif digest not in path.name:
            result.wrong.append(f"under a wrong name: {path.relative_to(back)}")
        times[digest] += 1
    result.wrong += [f"missing: {expected[d]}" for d in expected if d not in times]
    result.wrong += [f"{n} times: {expected[d]}" for d, n in times.items() if n > 1 and d in expected]


def table(results: Sequence[Result]) -> str:
    names = ("store", "files", "distinct", "size_bytes", "put_s", "kills", "kills_in_flight", "copy_s", "again", "objects")
    rows = [[*names, "wrong"]]
    for r in results:
        cells = [getattr(r, name) for name in names]
        rows.append([f"{c:.2f}" if isinstance(c, float) else str(c) for c in cells] + [str(len(r.wrong))])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
