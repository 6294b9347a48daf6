#!/usr/bin/env python3
"""Replicate a folder of real media to real servers, kill -9 the daemon on the way, and compare every object with its source.

    tests/life/replicate_media.py MEDIA_DIR [--kills 10] [--seed N]

Everything happens in a temporary folder and on loopback. Exit 1 if anything is missing, twice, foreign or different.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from daemon.buckets import make_bucket
from daemon.process import DaemonProcess, s3_settings
from life.kills import campaign, files_below, table
from servers.ministack import ministack
from servers.rclone import rclone

BUCKET = "campaign"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media_dir", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    given = parser.parse_args()
    files = files_below(given.media_dir)
    if not files:
        parser.error(f"no files in {given.media_dir}")
    print(f"{len(files)} files of {given.media_dir}, {given.kills} kills, --seed {given.seed}")
    results = []
    with tempfile.TemporaryDirectory(prefix="lading-campaign-") as text:
        work = Path(text)
        for kind in (ministack, rclone):
            with kind(work) as server, DaemonProcess(work / f"home-{server.kind}", s3_settings(server, work)) as daemon:
                make_bucket(server, BUCKET)
                uri = f"s3://{BUCKET}/media/"
                results.append(campaign(daemon, uri, files, server, BUCKET, work, given.kills, given.seed, print))
    print(table(results))
    wrong = [f"{r.store}: {text}" for r in results for text in r.wrong]
    print("\n".join(wrong[:50]) or "every object is there once, byte for byte; nothing else is")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
