"""What an S3 store or its SDK says, in our words. The one table for the S3 provider, both its clients included.

Only the error code, the HTTP status and the operation enter a message: what stores and SDKs write into theirs
(signatures, key ids, request headers) never does.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import Any, Literal

import botocore.exceptions as boto
from botocore.parsers import ResponseParserError

from lading_catalog.errors import Archived, Damaged, Error, Full, Missing, Refused, Unavailable

FOREIGN = (boto.BotoCoreError, boto.ClientError, ResponseParserError, OSError, ValueError)
"""What may come out of an SDK call. Everything else is a bug and passes."""

Kind = Literal[
    "unreachable", "throttled", "denied", "no_credentials", "no_bucket", "refused", "region", "clock",
    "missing", "missing_bucket_or_key", "damaged", "full", "archived", "too_large",
]  # fmt: skip

CODES: dict[str, Kind] = {
    "SlowDown": "throttled",
    "ServiceUnavailable": "throttled",
    "Throttling": "throttled",
    "ThrottlingException": "throttled",
    "TooManyRequests": "throttled",
    "RequestLimitExceeded": "throttled",
    "RequestTimeout": "throttled",
    "ServerBusy": "throttled",
    "InternalError": "unreachable",
    "OperationAborted": "unreachable",
    "ConditionalRequestConflict": "unreachable",
    "IncompleteBody": "unreachable",
    "AccessDenied": "denied",
    "AllAccessDisabled": "denied",
    "AccountProblem": "denied",
    "InvalidAccessKeyId": "no_credentials",
    "SignatureDoesNotMatch": "no_credentials",
    "ExpiredToken": "no_credentials",
    "ExpiredTokenException": "no_credentials",
    "InvalidToken": "no_credentials",
    "TokenRefreshRequired": "no_credentials",
    "InvalidSecurity": "no_credentials",
    "Unauthorized": "no_credentials",
    "NoSuchBucket": "no_bucket",
    "PermanentRedirect": "region",
    "AuthorizationHeaderMalformed": "region",
    "IllegalLocationConstraintException": "region",
    "RequestTimeTooSkewed": "clock",
    "NoSuchKey": "missing",
    "NoSuchVersion": "missing",
    "BadDigest": "damaged",
    "InvalidDigest": "damaged",
    "XAmzContentSHA256Mismatch": "damaged",
    "XAmzContentChecksumMismatch": "damaged",
    "QuotaExceeded": "full",
    "QuotaExceededException": "full",
    "BucketQuotaExceeded": "full",
    "XMinioAdminBucketQuotaExceeded": "full",
    "XMinioStorageFull": "full",
    "InsufficientStorage": "full",
    "StorageQuotaExceeded": "full",
    "InvalidObjectState": "archived",
    "EntityTooLarge": "too_large",
}

STATUSES: dict[int, Kind] = {
    301: "region",
    307: "region",
    401: "no_credentials",
    403: "denied",
    404: "missing_bucket_or_key",
    408: "throttled",
    409: "unreachable",
    429: "throttled",
    503: "throttled",
    507: "full",
}

EXCEPTIONS: tuple[tuple[type[BaseException], Kind], ...] = (
    (boto.NoCredentialsError, "no_credentials"),
    (boto.PartialCredentialsError, "no_credentials"),
    (boto.CredentialRetrievalError, "no_credentials"),
    (boto.ProfileNotFound, "no_credentials"),
    (boto.TokenRetrievalError, "no_credentials"),
    (boto.SSOError, "no_credentials"),
    (boto.NoRegionError, "region"),
    (boto.ParamValidationError, "refused"),
    (ValueError, "refused"),
)

PERMISSIONS = {
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject (and s3:ListBucket, without which a missing object looks forbidden)",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "DeleteObjectVersion": "s3:DeleteObjectVersion",
    "DeleteObjectVersions": "s3:DeleteObjectVersion",
    "ListObjectsV2": "s3:ListBucket",
    "ListObjectVersions": "s3:ListBucketVersions",
}

_SAYS: dict[Kind, str] = {
    "unreachable": "the store cannot be reached, or failed",
    "throttled": "the store asks to go slower",
    "no_credentials": "the store accepts no credentials of ours, or none were found",
    "no_bucket": "there is no such bucket",
    "refused": "the store refuses the request",
    "region": "the bucket is in another region",
    "clock": "the store says that this machine's clock is wrong",
    "missing": "there is no such object",
    "missing_bucket_or_key": "nothing answers under this address like an S3 store",
    "damaged": "what arrived was not what was sent",
    "full": "the store is full",
    "archived": "the object is in cold storage",
    "too_large": "the object is too large for this store",
}

_HINTS: dict[Kind, str] = {
    "no_credentials": "put valid keys into ~/.aws/credentials (a profile: `s3_profile`), AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or log in again with `aws sso login`",
    "no_bucket": "create the bucket, or correct the destination's URI",
    "region": "set the bucket's region (`region` in [s3])",
    "clock": "this machine's clock is wrong: set it (NTP) and try again",
    "full": "raise the bucket's quota, or free some space",
    "archived": "restore the object from cold storage first",
    "too_large": "this store takes no objects of this size in one piece",
    "missing_bucket_or_key": "is the endpoint really an S3 store?",
}


def from_code(
    code: str, status: int, operation: str, uri: str, key: str | None = None, *, retry_after_s: float | None = None
) -> Error:
    """The error for an answer of the store. `code` may be "" or a number (a HEAD has no body)."""
    kind = CODES.get(code) or STATUSES.get(status) or ("unreachable" if status >= 500 else "refused")
    if kind == "missing_bucket_or_key" and operation == "HeadObject":
        kind = "missing"
    words = " ".join(word for word in (str(status), code if code != str(status) else "") if word)
    return _make(kind, f"answered {words}", operation, uri, key, retry_after_s, code=code, status=status)


def _make(
    kind: Kind, what: str, operation: str, uri: str, key: str | None, retry_after_s: float | None = None, **about: Any
) -> Error:
    lacking = f"{PERMISSIONS.get(operation, operation)} on {uri}"
    said = f"the credentials lack {lacking}" if kind == "denied" else _SAYS.get(kind, "the store failed")
    detail = f"{uri}: {said} ({operation} {what})"
    hint = f"allow {lacking}" if kind == "denied" else _HINTS.get(kind, "")
    if key is not None:
        about["key"] = key
    if kind in ("unreachable", "throttled"):
        return Unavailable(detail, reason=kind, retry_after_s=retry_after_s, **about)
    if kind == "missing_bucket_or_key":  # a 404 that does not say NoSuchKey is no word on the object: never Missing
        return Unavailable(detail, hint=hint, **about)
    if kind == "denied":
        return Refused(detail, hint=hint, **about)
    if kind in ("no_credentials", "no_bucket"):
        return Refused(detail, reason=kind, hint=hint, **about)
    simple: dict[str, type[Error]] = {"missing": Missing, "damaged": Damaged, "full": Full, "archived": Archived}
    return simple.get(kind, Refused)(detail, hint=hint, **about)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a `Retry-After` asks for, in either of its two forms."""
    value = headers.get("retry-after", "").strip()
    if value.replace(".", "", 1).isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def translate(e: BaseException, operation: str, uri: str, key: str | None = None) -> Error:
    """The error for what an SDK raised."""
    if isinstance(e, Error):
        return e
    if isinstance(e, boto.ClientError):
        meta = e.response.get("ResponseMetadata", {})
        error = e.response.get("Error", {})
        wait = retry_after(meta.get("HTTPHeaders", {}))
        return from_code(str(error.get("Code", "")), int(meta.get("HTTPStatusCode", 0)), operation, uri, key, retry_after_s=wait)
    for cls, kind in EXCEPTIONS:
        if isinstance(e, cls):
            return _make(kind, f"failed: {type(e).__name__}", operation, uri, key)
    return _make("unreachable", f"failed: {type(e).__name__}", operation, uri, key)
