"""What a bucket or a folder holds, seen without any of our code."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from servers.process import S3Server


@contextlib.contextmanager
def client(server: S3Server) -> Iterator[Any]:
    made = boto3.Session().client(
        "s3", endpoint_url=server.endpoint, aws_access_key_id=server.access_key, aws_secret_access_key=server.secret_key,
        region_name="us-east-1", verify=server.ca, config=Config(response_checksum_validation="when_required"),
    )  # fmt: skip
    try:
        yield made
    finally:
        made.close()


def make_bucket(server: S3Server, bucket: str) -> None:
    with client(server) as s3:
        s3.create_bucket(Bucket=bucket)


def bucket_contents(server: S3Server, bucket: str, prefix: str = "") -> dict[str, bytes]:
    """Key below the prefix → bytes, of every object."""
    with client(server) as s3:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return {key.removeprefix(prefix): s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def folder_contents(root: Path) -> dict[str, bytes]:
    """The same of a directory; its own folder `.lading` apart."""
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if f != ".lading"]
        for name in names:
            path = Path(folder) / name
            found[str(path.relative_to(root))] = path.read_bytes()
    return found
