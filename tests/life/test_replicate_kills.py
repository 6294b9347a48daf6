"""Some two hundred files on their way to a bucket, with the daemon killed again and again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from daemon.buckets import make_bucket
from daemon.process import DaemonProcess, s3_settings
from life.kills import campaign, table
from servers.ministack import ministack
from servers.rclone import rclone

HEADS = {
    "jpg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "mp4": b"\x00\x00\x00\x18ftypisom",
    "wav": b"RIFF\x24\x00\x00\x00WAVEfmt ", "pdf": b"%PDF-1.7\n", "txt": b"",
}  # fmt: skip
SIZES = [0, 1, 100, 4_096, 30_000, 70_000, 200_000]
LARGE = [1 << 20, (2 << 20) + 1, 5 << 20]


def make_media(folder: Path, count: int = 200) -> list[Path]:
    """Files with the heads of real ones and odd names, a few of them with equal bytes."""
    dice = random.Random(4711)
    made: list[Path] = []
    for i in range(count):
        ending = dice.choice(list(HEADS))
        size = LARGE[i // 40 % 3] if i % 40 == 0 else dice.choice(SIZES)
        path = folder / f"trip {i % 7}" / f"IMG_{i:04}{' ä' if i % 9 == 0 else ''}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            made[-1].read_bytes() if i % 31 == 30 else (HEADS[ending] + dice.randbytes(size))[: max(size, 1) if size else 0]
        )
        made.append(path)
    return made


@pytest.mark.parametrize("kind", [ministack, rclone])
def test_killed_on_the_way(tmp_path: Path, kind: type[object]) -> None:
    files = make_media(tmp_path / "media")
    with kind(tmp_path) as server, DaemonProcess(tmp_path / "home", s3_settings(server, tmp_path)) as daemon:  # type: ignore[call-arg,attr-defined]
        make_bucket(server, "kills")
        result = campaign(daemon, "s3://kills/p/", files, server, "kills", tmp_path, kills=5, seed=5)
    assert result.wrong == [], "\n" + table([result])
    assert result.objects == result.distinct < len(files)
    assert result.kills == 5
