"""A copy on this disk that changed is set right by putting the original again, at once."""

from __future__ import annotations

from pathlib import Path

import lading
from lading_catalog import replicas
from lading_catalog.errors import Damaged

URI = "file:///mnt/nas/photos/"


def test_the_original_put_again_is_due_at_once(tmp_path: Path) -> None:
    with lading.open(tmp_path / "home") as cat:
        medium = cat.put(b"original", name="a.txt", destination=URI)
        conn = cat._conn
        with conn.writing():
            (claim,) = replicas.claim(conn, [r for (r,) in conn.rows("SELECT id FROM owed")], 0)
            changed = Damaged("changed", reason="source_changed")
            replicas.release(conn, [replicas.Failure(claim.replica_id, changed, conn.now_ms() + 900_000)], 0, conn.now_ms())
        assert medium.refresh().state == "blocked"
        Path(medium.shape["path"]).write_bytes(b"scribbled")
        cat.put(b"original", name="a.txt", destination=URI)
        assert medium.refresh().state == "pending"
        assert conn.value("SELECT due_at_ms FROM owed") <= conn.now_ms()
