"""PUT of small objects through obstore: a tenth of the CPU of boto3, for the one request that is made by the million.

Same bucket, credentials, endpoint and certificates as the boto3 client, taken from it. Only what boto3 would send is
sent: one PUT, no retries. What does not fit (an odd key, an unusual endpoint) is Unsuitable and goes through boto3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store as ObstoreS3

from lading_catalog.errors import Error, Unavailable
from ladingd.stores.s3_client import Requests
from ladingd.stores.s3_errors import FOREIGN, from_code, translate

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config, S3Credential

_PLAIN_KEY = re.compile(r"[A-Za-z0-9!_.()/@=+,-]+")  # object_store rewrites or refuses some of the others
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_CREDENTIAL_TTL = timedelta(minutes=6)  # asked again after one minute: object_store renews five before the end
_PUT_S = 300.0


class Unsuitable(Exception):
    """This request, or this store, is one for boto3. Nothing was stored."""


def plain(key: str) -> bool:
    return _PLAIN_KEY.fullmatch(key) is not None


class FastPut:
    """`checksum`: let the store verify the SHA-256 of the body. Raises Unsuitable where obstore cannot do as boto3
    does.
    """

    def __init__(self, s3: Requests, *, checksum: bool) -> None:
        self._s3 = s3
        options = s3.options
        client = s3.client()
        session = s3.session
        self._credentials = session.get_credentials()
        if self._credentials is None:
            raise Unsuitable("no credentials")
        endpoint, virtual = _endpoint(client, s3)
        config: S3Config = {
            "endpoint": endpoint,
            "aws_endpoint_url_s3": endpoint,  # else the environment's would win
            "region": client.meta.region_name,
            "virtual_hosted_style_request": virtual,
            "skip_signature": False,
            "unsigned_payload": endpoint.startswith("https:"),
        }
        if checksum:
            config["checksum_algorithm"] = "SHA256"
        http: ClientConfig = {
            "allow_http": endpoint.startswith("http:"),
            "connect_timeout": timedelta(seconds=options.connect_timeout_s),
            "read_timeout": timedelta(seconds=options.read_timeout_s),
            "timeout": timedelta(seconds=_PUT_S),
        }
        ca_bundle = options.ca_bundle or session._session.get_config_variable("ca_bundle")
        try:
            if ca_bundle:
                http["root_certificate"] = Path(ca_bundle).read_bytes()
            self._store = ObstoreS3(
                s3.bucket,
                config=config,
                client_options=http,
                retry_config={"max_retries": 0},
                credential_provider=self._credential,
            )
        except (BaseError, OSError, ValueError) as e:
            raise Unsuitable(type(e).__name__) from None

    def _credential(self) -> S3Credential:
        frozen = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIAL_TTL,
        }

    def put(self, key: str, data: bytes, content_type: str, metadata: Mapping[str, str]) -> str | None:
        """The ETag. Raises our errors, or Unsuitable."""
        try:
            self._credentials.get_frozen_credentials()  # renewed here, where a failure still has its type
        except FOREIGN as e:
            raise translate(e, "PutObject", self._s3.uri, key) from None
        try:
            result = obstore.put(
                self._store,
                self._s3.prefix + key,
                data,
                attributes={"Content-Type": content_type, **metadata},
                use_multipart=False,
            )
        except (BaseError, OSError, ValueError) as e:
            raise _translate(e, self._s3.uri, key) from None
        return result["e_tag"]


def _translate(e: Exception, uri: str, key: str) -> Error:
    """obstore tells the store's answer only in its text: status and code are taken out of it, the rest is dropped."""
    text = str(e).partition("Debug source:")[0]
    if status := _STATUS.search(text):
        code = _CODE.search(text)
        return from_code(code[1] if code else "", int(status[1]), "PutObject", uri, key)
    if isinstance(e, ValueError) or "redirect" in text:  # a key it cannot send; a bucket in another region, which boto3 finds
        raise Unsuitable(type(e).__name__) from None
    return Unavailable(f"{uri}{key}: PutObject failed: no answer of a store", key=key)


def _endpoint(client: Any, s3: Requests) -> tuple[str, bool]:
    """The address that boto3 uses for this bucket, and whether the bucket is in the host name."""
    try:
        url = client.generate_presigned_url("put_object", Params={"Bucket": s3.bucket, "Key": "k"})
    except FOREIGN as e:
        raise translate(e, "PutObject", s3.uri) from None
    parts = urlsplit(url)
    base = f"{parts.scheme}://{parts.netloc}"
    if parts.path == f"/{s3.bucket}/k":
        return base, False
    if parts.path == "/k":
        return base, True
    raise Unsuitable("endpoint")
