"""Requests to one bucket: the boto3 client, its settings, and the border where foreign exceptions become ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import boto3
import botocore.session
from botocore.config import Config
from botocore.handlers import add_expect_header
from botocore.loaders import create_loader

from ladingd.stores.s3_clock import offset_s
from ladingd.stores.s3_errors import FOREIGN, translate

Addressing = Literal["auto", "path", "virtual"]

_METHODS = {
    "PutObject": "put_object",
    "GetObject": "get_object",
    "HeadObject": "head_object",
    "DeleteObject": "delete_object",
    "DeleteObjects": "delete_objects",
    "DeleteObjectVersion": "delete_object",  # these two need another permission
    "DeleteObjectVersions": "delete_objects",
    "ListObjectsV2": "list_objects_v2",
    "ListObjectVersions": "list_object_versions",
}


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How to reach the store. None leaves a choice to the AWS configuration (environment, ~/.aws)."""

    profile: str | None = None
    endpoint_url: str | None = None
    region: str | None = None
    addressing: Addressing = "auto"
    ca_bundle: str | None = None
    concurrency: int = 8
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0


CHUNK_BYTES = 120 << 10  # below what malloc maps anew each time: a megabyte costs 256 page faults, more than to receive it
_lock = threading.Lock()
_loader: Any = None


def new_session(profile: str | None) -> Any:
    """A boto3 session: one for each opened store, because a session never reads its credentials again, and a store is opened again
    when they were refused. All share one loader: each of its own would read the service descriptions, several MB of JSON, again.
    Making clients of a session is not thread-safe: hold `_lock`.
    """
    global _loader
    if _loader is None:
        _loader = create_loader()
    session = botocore.session.Session(profile=profile)
    session.register_component("data_loader", _loader)
    return boto3.Session(botocore_session=session)


def _make_client(options: ClientOptions, session: Any) -> Any:
    config = Config(
        signature_version="s3v4",
        retries={"total_max_attempts": 1, "mode": "standard"},
        request_checksum_calculation="when_required",  # the default trailers are refused by many stores
        response_checksum_validation="when_required",
        max_pool_connections=options.concurrency,
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.read_timeout_s,
        tcp_keepalive=True,
        s3={"addressing_style": options.addressing},
    )
    region = options.region or session.region_name or ("us-east-1" if options.endpoint_url else None)
    client = session.client("s3", endpoint_url=options.endpoint_url, region_name=region, verify=options.ca_bundle, config=config)
    client.meta.events.unregister("before-call.s3", add_expect_header)  # it costs one round trip per put
    if client.meta.endpoint_url.startswith("https:"):  # signing it would hash each body once more; TLS protects it already
        client.meta.config.s3 = {**client.meta.config.s3, "payload_signing_enabled": False}
    return client


def _range_start(content_range: str) -> int:
    """Where a body begins. The status does not tell: rclone's server answers 200 to a range that it honours."""
    unit, _, rest = content_range.partition(" ")
    start = rest.partition("-")[0]
    return int(start) if unit == "bytes" and start.isdecimal() else 0


class Requests:
    """One bucket. The client is made at the first request, so that a store can be opened while its credentials are
    missing.
    """

    def __init__(self, uri: str, bucket: str, prefix: str, options: ClientOptions) -> None:
        self.uri = uri
        self.bucket = bucket
        self.prefix = prefix
        self.options = options
        self.session: Any = None
        self.clock_offset_s: float | None = None  # as of the last answer
        self._client: Any = None

    def client(self) -> Any:
        if self._client is None:
            with _lock:
                if self._client is None:
                    try:
                        self.session = new_session(self.options.profile)
                        self._client = _make_client(self.options, self.session)
                    except FOREIGN as e:
                        raise translate(e, "connect", self.uri) from None
        return self._client

    def call(self, operation: str, key: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One request. `key` is relative to the store. Raises only our errors, without the foreign one as context: its
        text may hold what we must not log.
        """
        if key is not None:
            parameters["Key"] = self.prefix + key
        began_s = time.time()
        try:
            reply: dict[str, Any] = getattr(self.client(), _METHODS[operation])(Bucket=self.bucket, **parameters)
        except FOREIGN as e:
            self._note_time(getattr(e, "response", None) or {}, began_s)
            raise translate(e, operation, self.uri, key) from None
        self._note_time(reply, began_s)
        return reply

    def _note_time(self, reply: dict[str, Any], began_s: float) -> None:
        headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        if (found := offset_s(headers, began_s, time.time())) is not None:
            self.clock_offset_s = found

    def body(self, key: str, offset: int = 0) -> Iterator[bytes]:
        """The object's bytes from `offset` on; also from a store that answers a range with the whole object."""
        ranged = {"Range": f"bytes={offset}-"} if offset else {}
        reply = self.call("GetObject", key, **ranged)
        body = reply["Body"]
        skip = offset - _range_start(reply.get("ContentRange", ""))
        try:
            for chunk in body.iter_chunks(CHUNK_BYTES):
                if skip < len(chunk):
                    yield chunk[skip:]
                skip = max(0, skip - len(chunk))
        except FOREIGN as e:
            raise translate(e, "GetObject", self.uri, key) from None
        finally:
            body.close()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
