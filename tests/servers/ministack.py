"""ministack: an S3 that verifies checksums and Content-MD5, over http and TLS.

It checks the signature of presigned URLs, against its own secret, and no others: wrong credentials are tested on
rclone.
"""

from __future__ import annotations

import contextlib
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from servers.process import READY_S, S3Server, free_port, program, running
from servers.tls import Certificate

ACCESS_KEY = "LADINGTESTKEY0000001"
SECRET_KEY = "canary-secret-of-ministack-0123456789"


def _wait_healthy(port: int, tls: bool) -> None:
    import ssl

    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/_localstack/health"
    context = ssl._create_unverified_context() if tls else None
    deadline = time.monotonic() + READY_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=2, context=context).read()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def ministack(folder: Path, certificate: Certificate | None = None) -> Iterator[S3Server]:
    port = free_port()
    env = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "SERVICES": "s3,sts,iam",
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }
    if certificate is not None:
        env |= {
            "USE_SSL": "1",
            "MINISTACK_SSL_CERT": str(certificate.cert),
            "MINISTACK_SSL_KEY": str(certificate.key),
        }
    with running([program("ministack")], port, folder / f"ministack-{port}.log", env):
        _wait_healthy(port, certificate is not None)
        scheme = "https" if certificate else "http"
        ca = str(certificate.ca) if certificate else None
        kind = "ministack-https" if certificate else "ministack"
        yield S3Server(kind, f"{scheme}://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY, ca)
