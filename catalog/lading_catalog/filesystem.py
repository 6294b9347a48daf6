"""What file system a path lies on. SQLite's locks and its shared memory need a local one."""

from __future__ import annotations

import os
from pathlib import Path

_NETWORK = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "beegfs",
    "gpfs",
    "davfs",
    "ncpfs",
)
_NETWORK_FUSE = (
    "fuse.sshfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.gcsfuse",
    "fuse.juicefs",
    "fuse.glusterfs",
    "fuse.davfs2",
    "fuse.goofys",
)
_MOUNTS = "/proc/self/mountinfo"


def network_type(path: Path) -> str | None:
    """The type of the network file system that holds `path` (or its nearest existing parent); None for a local one, and where the
    system does not tell (only Linux does)."""
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    real = os.path.realpath(place)
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            best, kind = "", ""
            for line in mounts:
                # 36 35 98:0 /root /mount/point options … - type source options (proc_pid_mountinfo(5))
                before, _, after = line.partition(" - ")
                point = before.split()[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
                if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
                    best, kind = point, after.split()[0]
    except OSError:
        return None
    return kind if kind in _NETWORK or kind in _NETWORK_FUSE else None
