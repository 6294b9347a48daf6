"""Destination URIs, parsed in this one place into one canonical form each. Nothing here touches a disk or a network.

    provider    written as                                                  canonical
    s3          s3://bucket/prefix/                                         the same
                s3+NAME://bucket/prefix/, with [endpoints.NAME]             the same
    r2          https://ACCOUNT[.eu].r2.cloudflarestorage.com/bucket/…      the same
    b2          https://s3.REGION.backblazeb2.com/bucket/…                  the same
    tigris      https://t3.storage.dev/bucket/…                             the same
                https://fly.storage.tigris.dev/bucket/…                     the same
    gcs         gs://bucket/prefix/                                         the same
    azure       wasb[s]://, abfs[s]://container@ACCOUNT.{blob,dfs}.core.windows.net/…, https://ACCOUNT.…/container/…
                                                                            https://ACCOUNT.blob.…/container/…
                az://container/prefix/ (the settings know the account)      the same
    pixeltable  pxtfs://ORG:DB/home/…, pxt://ORG:DB/buckets/home/…          pxt://ORG:DB/buckets/home/…
    file        file:///path/                                               the same, percent-encoded

A canonical URI ends in "/"; scheme and host are lower case. Prefixes are literal everywhere but in `file:`, whose path
is percent-encoded bytes. A host decides by its suffix, never by a part of it. No error repeats a password or a query.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NoReturn

from lading_catalog.errors import ConfigError
from lading_catalog.keys import KEY_MAX_BYTES
from lading_catalog.names import printable
from lading_catalog.uri_forms import (
    AZ_FORM,
    AZURE_FORM,
    AZURE_SCHEMES,
    AZURE_SUFFIXES,
    FORMS,
    HOSTS,
    OWN_FORM,
    PXT_FORM,
    S3_FORM,
    instead_of,
    redacted,
)  # fmt: skip

PREFIX_MAX_BYTES = 1024 - KEY_MAX_BYTES - 6  # S3, GCS and Azure take keys of 1024 bytes; 6 are left over

_S3_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_GCS_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}|\$root|\$web")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_WINDOWS = re.compile(r"(?:file:/*)?[A-Za-z][:|](?:[/\\]|\Z)|\\\\", re.IGNORECASE)
_FILE_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/!$&'()*+,;=@")  # not ":" and "~"


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination as its URI says it. Fields that a provider has no use for are ""."""

    provider: str  # s3, r2, b2, tigris, gcs, azure, pixeltable, file
    uri: str  # canonical
    bucket: str = ""  # the bucket or container
    prefix: str = ""  # "" or ends in "/"; stands before every key
    host: str = ""  # r2, b2, tigris, azure: where requests go
    account: str = ""  # r2, azure; "" for az://, whose account the settings know
    region: str = ""  # b2
    endpoint: str = ""  # NAME of s3+NAME
    org: str = ""  # pixeltable
    db: str = ""  # pixeltable
    path: str = ""  # file: the directory, absolute, ends in "/"; undecodable bytes as in os.fsdecode


class _Wrong(Exception):
    """What is wrong with a URI (the end of a sentence), and what to write instead."""


def parse(text: str, endpoints: Collection[str] = ()) -> Destination:
    """A destination from its URI; `endpoints` are the names of [endpoints.NAME].

    Raises ConfigError with one sentence, and what to write instead as its hint.
    """
    try:
        return _parse(text, endpoints)
    except _Wrong as wrong:
        what, instead = wrong.args
        raise ConfigError(f"The destination {redacted(text)} {what}.", hint=instead) from None


def endpoint_name(uri: str) -> list[str]:
    """[NAME] of a canonical s3+NAME URI, else []: known once, it may have left the configuration since."""
    scheme = uri.partition("://")[0]
    return [scheme[3:]] if scheme.startswith("s3+") else []


def nested(a: Destination, b: Destination) -> bool:
    """Whether one lies inside the other: what a restore or a check of one finds would belong to the other too.

    Equal URIs are one destination, not a nested one. `az://` may mean any account, so the container alone decides
    there. What only the settings tell (two endpoints of one server) is not seen here.
    """
    if a.uri == b.uri or a.provider != b.provider or a.bucket != b.bucket:
        return False
    if a.provider == "azure":
        same = a.account == b.account or not (a.account and b.account)
    elif a.provider == "tigris":
        same = True  # both hosts reach the same buckets
    else:
        same = (a.host, a.endpoint, a.org, a.db) == (b.host, b.endpoint, b.org, b.db)
    under_a, under_b = a.path or a.prefix, b.path or b.prefix
    return same and (under_a.startswith(under_b) or under_b.startswith(under_a))


def _parse(text: str, endpoints: Collection[str]) -> Destination:
    if not text:
        _refuse("is empty", "Write a URI such as s3://bucket/prefix/.")
    if text != text.strip():
        _refuse("has a space at its beginning or end", "Write it without.")
    if printable(text).replace("\\\\", "\\") != text:
        _refuse("has an invisible character in it", "Write it without; in a file path percent-encoded.")
    if _WINDOWS.match(text):
        _refuse("is a Windows path, and Lading runs on Linux and macOS", "Write file:///path/.")
    scheme, colon, rest = text.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+._-]*", scheme):
        _refuse_plain(text)
    scheme = scheme.lower()
    if "?" in rest or "#" in rest:
        _refuse("has a query or a fragment", "Leave it out; in a file path write %3F and %23.")
    if scheme == "file":
        return _file(rest)
    authority, _, path = rest.removeprefix("//").partition("/")
    user, at, host = authority.rpartition("@")
    if at and (scheme not in AZURE_SCHEMES or ":" in user):
        _refuse("has a user or password in it", "Leave it out: credentials come from profiles, environment or config.toml.")
    if not rest.startswith("//"):
        _refuse("has no // after its scheme", f"Write {FORMS.get(scheme, S3_FORM)}.")
    if scheme == "s3" or scheme.startswith("s3+"):
        return _s3(scheme, authority, path, endpoints)
    if scheme == "gs":
        return _bucket("gcs", "gs://", authority, path, _GCS_BUCKET, FORMS["gs"])
    if scheme == "az":
        return _bucket("azure", "az://", authority, path, _CONTAINER, AZ_FORM)
    if scheme in AZURE_SCHEMES:
        if not at or not user:
            _refuse("has no container@account", f"Write {AZURE_SCHEMES[scheme]}.")
        return _azure(host.lower(), user, path, AZURE_SCHEMES[scheme])
    if scheme in ("pxt", "pxtfs"):
        return _pixeltable(scheme, authority, path)
    if scheme == "https":
        return _https(authority.lower().removesuffix(":443"), path)
    return _refuse("has a scheme that Lading does not know", f"Write {instead_of(scheme)}.")


def _s3(scheme: str, bucket: str, path: str, endpoints: Collection[str]) -> Destination:
    name = scheme[3:]
    if scheme != "s3" and name not in endpoints:
        known = f" (known: {', '.join(sorted(endpoints))})" if endpoints else ""
        _refuse("names an endpoint that is not configured", f"Add [endpoints.NAME] with its endpoint_url{known}.")
    return _bucket("s3", f"{scheme}://", bucket, path, _S3_BUCKET, f"{scheme}://bucket/prefix/", endpoint=name)


def _https(host: str, path: str) -> Destination:
    bucket, _, path = path.partition("/")
    if host.endswith(AZURE_SUFFIXES):
        return _azure(host, bucket, path, AZURE_FORM)
    for provider, suffix, pattern, form in HOSTS:
        if not ("." + host).endswith(suffix):
            continue
        match = re.fullmatch(pattern, host)
        if not match:
            _refuse("has a host in another form than Lading uses for this provider", f"Write {form}.")
        field = {"r2": "account", "b2": "region"}.get(provider)
        fields = {field: match[1]} if field else {}
        return _bucket(provider, f"https://{host}/", bucket, path, _S3_BUCKET, form, host=host, **fields)
    return _refuse("has a host that Lading does not know", f"For an S3-compatible store write {OWN_FORM}.")


def _azure(host: str, container: str, path: str, form: str) -> Destination:
    account = next((host.removesuffix(it) for it in AZURE_SUFFIXES if host.endswith(it)), None)
    if account is None:
        _refuse("has a host that is not Azure's", f"Write {form}; elsewhere {AZ_FORM} and endpoint_url in [azure].")
    if not _ACCOUNT.fullmatch(account):
        _refuse("names no valid account", f"Write {form}.")
    host = f"{account}.blob.core.windows.net"
    return _bucket("azure", f"https://{host}/", container, path, _CONTAINER, form, host=host, account=account)


def _pixeltable(scheme: str, authority: str, path: str) -> Destination:
    org, _, db = authority.partition(":")
    if not (_LABEL.fullmatch(org) and _LABEL.fullmatch(db)):
        _refuse("does not name ORG:DB", f"Write {PXT_FORM}.")
    root = "home/" if scheme == "pxtfs" else "buckets/home/"
    if not f"{path}/".startswith(root):
        _refuse("is not storage: only the bucket home of a database is", f"Write {PXT_FORM}.")
    prefix = path[len(root) :]
    return _bucket("pixeltable", f"pxt://{org}:{db}/buckets/", "home", prefix, _LABEL, PXT_FORM, org=org, db=db)


def _bucket(provider: str, before: str, bucket: str, path: str, valid: re.Pattern[str], form: str, **fields: str) -> Destination:
    if not valid.fullmatch(bucket):
        what = "container" if provider == "azure" else "bucket"
        _refuse(f"names no valid {what}" if bucket else f"names no {what}", f"Write {form}.")
    if "%" in path or "\\" in path:
        _refuse("has a % or a \\ in its prefix", "Write the characters themselves, and / between folders.")
    prefix = path if not path or path.endswith("/") else path + "/"
    _refuse_segments(prefix.split("/")[:-1])
    if len(prefix.encode()) > PREFIX_MAX_BYTES:
        _refuse(f"has a prefix of over {PREFIX_MAX_BYTES} bytes", "Write a shorter one.")
    return Destination(provider, f"{before}{bucket}/{prefix}", bucket, prefix, **fields)


def _file(rest: str) -> Destination:
    host, _, path = rest[2:].partition("/") if rest.startswith("//") else ("", "", rest.removeprefix("/"))
    if path.startswith("~") or host.startswith("~"):
        _refuse("begins with ~, which means nothing here", "Write the whole path: file:///path/.")
    if not rest.startswith("/"):
        _refuse("is a relative path", "Write the whole path: file:///path/.")
    if host.lower() not in ("", "localhost"):
        _refuse("names a host: a file's path begins after three slashes", "Write file:///path/.")
    if re.search("%(?![0-9A-Fa-f]{2})", path):
        _refuse("has a % that is not an encoded byte", "Write %25 for a percent sign.")
    raw = [re.sub(rb"%(..)", lambda it: bytes.fromhex(it[1].decode()), part.encode()) for part in path.split("/")]
    segments = [part.decode("utf-8", "surrogateescape") for part in (raw[:-1] if raw[-1] == b"" else raw)]
    if not segments:
        _refuse("names no directory", "Write file:///path/.")
    if any("\0" in part or "/" in part for part in segments):
        _refuse("has an encoded NUL or slash in it", "Write it without.")
    _refuse_segments(segments)
    whole = "/" + "/".join(segments) + "/"
    encoded = (chr(it) if it in _FILE_PLAIN else f"%{it:02X}" for it in whole.encode("utf-8", "surrogateescape"))
    return Destination("file", "file://" + "".join(encoded), path=whole)


def _refuse_segments(segments: list[str]) -> None:
    if "" in segments:
        _refuse("has an empty folder in it (//)", "Write one slash.")
    if "." in segments or ".." in segments:
        _refuse("has . or .. as a folder", "Write the path without.")
    if ".lading" in segments:
        _refuse("has .lading as a folder, which is Lading's own", "Write another prefix.")


def _refuse_plain(text: str) -> NoReturn:
    if text.startswith("~"):
        _refuse("begins with ~, which means nothing here", "Write the whole path: file:///path/.")
    if not text.startswith("/"):
        _refuse("is no URI", "Write for instance s3://bucket/prefix/ or file:///path/.")
    path = text.strip("/").replace("%", "%25").replace("#", "%23").replace("?", "%3F")
    _refuse("is a plain path", f"Write file:///{path}/." if path and "@" not in text else "Write file:///path/.")


def _refuse(what: str, instead: str) -> NoReturn:
    raise _Wrong(what, instead)
