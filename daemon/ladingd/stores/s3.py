"""The provider for S3 and what speaks its protocol. What an error means: s3_errors.py.

One PUT stores an object of up to 5 GiB, and where the probe has shown that the store checks a declared SHA-256, or
computes an MD5 itself, its answer is the proof. Else the object is read back. Larger ones go in parts and are read
back.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from boto3.s3.transfer import TransferConfig

from lading_catalog.errors import Damaged, Error, Missing, Refused, Unavailable
from ladingd.stores import s3_own
from ladingd.stores.base import Entry, Probe, Proof, Stat, Upload
from ladingd.stores.keys import check_key
from ladingd.stores.s3_client import Addressing, ClientOptions, Requests
from ladingd.stores.s3_delete import Deleter
from ladingd.stores.s3_errors import FOREIGN, translate
from ladingd.stores.s3_facts import Facts, etag_digest
from ladingd.stores.s3_headers import content_type, metadata
from ladingd.stores.s3_list import entries
from ladingd.stores.s3_probe import probe
from ladingd.stores.s3_small import SmallPut
from ladingd.stores.s3_versions import remove as remove_versions
from ladingd.stores.source import SourceReader, drain, open_source

SMALL_BYTES = 8 << 20
SINGLE_PUT_BYTES = 5 << 30
PART_BYTES = 64 << 20
PRESIGN_MAX_S = 7 * 24 * 3600


class S3Store:
    """A bucket and prefix as a store. `facts`: what its last probe found; without them every object is read back.

    `single_put_bytes` and `page_size` are limits of the protocol that tests lower.
    """

    def __init__(
        self,
        uri: str,
        *,
        bucket: str,
        prefix: str = "",
        profile: str | None = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        addressing: Addressing = "auto",
        ca_bundle: str | None = None,
        concurrency: int = 8,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 60.0,
        facts: Mapping[str, Any] | None = None,
        single_put_bytes: int = SINGLE_PUT_BYTES,
        page_size: int = 1000,
    ) -> None:
        self.uri = uri
        options = ClientOptions(
            profile, endpoint_url, region, addressing, ca_bundle, concurrency, connect_timeout_s, read_timeout_s
        )
        self._s3 = Requests(uri, bucket, prefix, options)
        self._deleter = Deleter(self._s3)
        self._facts = Facts.of(facts)
        self._small = SmallPut(self._s3, self._facts)
        self._single_put_bytes = single_put_bytes
        self._page_size = page_size

    def put(self, key: str, upload: Upload) -> Proof:
        check_key(key)
        with open_source(upload) as source:
            if upload.size_bytes > self._single_put_bytes:
                self._put_parts(key, upload, source)
                return self._read_back(key, upload)
            small = upload.size_bytes <= SMALL_BYTES
            source.with_md5 = not self._facts.checksum or (small and not self._facts.checksum_unnamed)
            if small:
                data = source.load()
                etag, verified = self._small.put(key, data, self._headers(upload, source))
            else:
                etag, verified = self._put_streamed(key, upload, source), self._facts.checksum
            return self._prove(key, upload, source, etag, verified)

    def _headers(self, upload: Upload, source: SourceReader | None = None) -> dict[str, Any]:
        """`source`: one that was read to its end, so that its MD5 is known before sending."""
        headers: dict[str, Any] = {"ContentType": content_type(upload.mime), "Metadata": metadata(upload)}
        if self._facts.checksum:
            headers["ChecksumAlgorithm"] = "SHA256"
            headers["ChecksumSHA256"] = base64.b64encode(upload.sha256).decode()
        elif self._facts.content_md5 and source is not None:
            headers["ContentMD5"] = base64.b64encode(source.md5.digest()).decode()
        return headers

    def _put_streamed(self, key: str, upload: Upload, source: SourceReader) -> str | None:
        try:
            reply = self._s3.call("PutObject", key, Body=source, ContentLength=upload.size_bytes, **self._headers(upload))
        except Error:
            if source.failure is not None:
                raise source.failure from None
            raise
        return reply.get("ETag")

    def _put_parts(self, key: str, upload: Upload, source: SourceReader) -> None:
        headers = {"ContentType": content_type(upload.mime), "Metadata": metadata(upload)}
        config = TransferConfig(
            multipart_threshold=1,
            multipart_chunksize=min(PART_BYTES, max(5 << 20, self._single_put_bytes)),
            max_concurrency=min(4, self._s3.options.concurrency),
            preferred_transfer_client="classic",
        )
        try:
            self._s3.client().upload_fileobj(source, self._s3.bucket, self._s3.prefix + key, ExtraArgs=headers, Config=config)
        except FOREIGN as e:
            if source.failure is not None:
                raise source.failure from None
            raise translate(e, "CreateMultipartUpload", self.uri, key) from None

    def _prove(self, key: str, upload: Upload, source: SourceReader, etag: str | None, verified: bool) -> Proof:
        """The store's answer as proof, if it is one. An answer without an ETag came from something else than a
        store.
        """
        if verified and etag:
            return Proof("put", "sha256", upload.sha256.hex(), upload.size_bytes)
        if source.with_md5 and self._facts.etag_md5 and etag_digest(etag) == source.md5.hexdigest():
            return Proof("put", "md5", source.md5.hexdigest(), upload.size_bytes)
        return self._read_back(key, upload)

    def _read_back(self, key: str, upload: Upload) -> Proof:
        try:
            size_bytes, digest = drain(self._s3.body(key))
        except Missing as e:  # what answered the PUT was no store, or one that is late; to the caller nothing is missing
            raise Unavailable(f"{self.uri}{key}: the store took it and does not have it", key=key) from e
        if size_bytes != upload.size_bytes or digest.digest() != upload.sha256:
            raise Damaged(f"{self.uri}{key} holds other bytes than were sent", key=key)
        return Proof("read", "sha256", digest.hexdigest(), size_bytes)

    def get(self, key: str, offset: int = 0) -> Iterator[bytes]:
        check_key(key)
        try:
            yield from self._s3.body(key, offset)
        except Refused as e:
            if not (offset and e.about.get("status") == 416):  # there is nothing from there on
                raise

    def stat(self, key: str) -> Stat:
        check_key(key)
        mode = {"ChecksumMode": "ENABLED"} if self._facts.checksum else {}
        try:
            head = self._s3.call("HeadObject", key, **mode)
        except Missing:
            self._insist_missing(key)
            raise
        digests = {}
        if self._facts.checksum and "-" not in (checksum := head.get("ChecksumSHA256", "-")):
            digests["sha256"] = base64.b64decode(checksum).hex()
        if self._facts.etag_md5 and (md5 := etag_digest(head.get("ETag"))):
            digests["md5"] = md5
        names = {name.lower(): value for name, value in head.get("Metadata", {}).items()}
        return Stat(head["ContentLength"], digests, head.get("ContentType"), names)

    def _insist_missing(self, key: str) -> None:
        """A HEAD has no body: its 404 may speak of the bucket, or come from no store at all. A GET tells which."""
        self._s3.call("GetObject", key, Range="bytes=0-0")["Body"].close()
        raise Unavailable(f"{self.uri}{key}: HEAD says it is missing, GET has it", key=key)

    @property
    def clock_offset_s(self) -> float | None:
        return self._s3.clock_offset_s

    def delete(self, keys: Sequence[str], *, versions: bool = False) -> dict[str, Error]:
        failed = self._deleter.delete(keys)
        if versions and (self._facts.versioned is not False or self._deleter.left_markers):
            left = [key for key in keys if key not in failed]
            failed |= remove_versions(self._s3, self._deleter, left, page=self._page_size)
        return failed

    def read(self, key: str) -> bytes | None:
        check_key(key)
        return s3_own.read(self._s3, key)

    def write(self, key: str, data: bytes) -> None:
        check_key(key)
        s3_own.write(self._s3, self._facts, key, data)

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        return entries(self._s3, prefix, self._page_size)

    def presign(self, key: str, expires_s: int) -> str:
        check_key(key)
        parameters = {"Bucket": self._s3.bucket, "Key": self._s3.prefix + key}
        try:
            url: str = self._s3.client().generate_presigned_url(
                "get_object", Params=parameters, ExpiresIn=max(1, min(expires_s, PRESIGN_MAX_S))
            )
        except FOREIGN as e:
            raise translate(e, "presign", self.uri, key) from None
        return url

    def probe(self) -> Probe:
        return Probe(probe(self._s3))

    def close(self) -> None:
        self._s3.close()
