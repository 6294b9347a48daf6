"""`rclone serve s3`: a second implementation, lax in instructive ways. It stores a declared checksum without looking at
it and echoes it later, and answers a range with the whole object. It does check signatures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from servers.process import S3Server, free_port, program, running
from servers.tls import Certificate

ACCESS_KEY = "LADINGTESTKEY0000002"
SECRET_KEY = "canary-secret-of-rclone-0123456789"


@contextlib.contextmanager
def rclone(folder: Path, certificate: Certificate | None = None) -> Iterator[S3Server]:
    """Serves the buckets (folders) in `folder`/data."""
    port = free_port()
    data = folder / "data"
    data.mkdir(exist_ok=True)
    command = [
        program("rclone"),
        "serve",
        "s3",
        "--addr",
        f"127.0.0.1:{port}",
        "--auth-key",
        f"{ACCESS_KEY},{SECRET_KEY}",
    ]
    if certificate is not None:
        command += ["--cert", str(certificate.cert), "--key", str(certificate.key)]
    with running([*command, str(data)], port, folder / f"rclone-{port}.log", {"RCLONE_CONFIG": "/dev/null"}):
        scheme = "https" if certificate else "http"
        ca = str(certificate.ca) if certificate else None
        yield S3Server("rclone", f"{scheme}://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY, ca)
