"""How each provider's URI is written: tables for `uris`, and what of a wrong URI may be shown."""

from __future__ import annotations

import re

from lading_catalog.names import printable

S3_FORM = "s3://bucket/prefix/"
AZ_FORM = "az://container/prefix/"
R2_FORM = "https://ACCOUNT.r2.cloudflarestorage.com/bucket/prefix/"
B2_FORM = "https://s3.REGION.backblazeb2.com/bucket/prefix/"
TIGRIS_FORM = "https://t3.storage.dev/bucket/prefix/"
AZURE_FORM = "https://ACCOUNT.blob.core.windows.net/container/prefix/"
PXT_FORM = "pxtfs://ORG:DB/home/prefix/"
OWN_FORM = "s3+NAME://bucket/prefix/ and its address as endpoint_url in [endpoints.NAME]"
AZURE_SCHEMES = {it: f"{it}://container@ACCOUNT.blob.core.windows.net/prefix/" for it in ("wasb", "wasbs")} | {
    it: f"{it}://container@ACCOUNT.dfs.core.windows.net/prefix/" for it in ("abfs", "abfss")
}
FORMS = {
    "s3": S3_FORM, "gs": "gs://bucket/prefix/", "az": AZ_FORM, "file": "file:///path/", "pxtfs": PXT_FORM,
    **AZURE_SCHEMES,
}  # fmt: skip
OTHER_NAMES = {  # schemes that other programs have
    "s3a": S3_FORM, "s3n": S3_FORM, "gcs": "gs://bucket/prefix/", "azure": AZ_FORM, "r2": R2_FORM, "b2": B2_FORM,
    "tigris": TIGRIS_FORM, "http": OWN_FORM, "minio": OWN_FORM,
}  # fmt: skip
HOSTS = (  # provider, suffix, the whole host of this form (its group: account or region), how to write it
    ("r2", ".r2.cloudflarestorage.com", r"([a-z0-9]+)(?:\.[a-z]{2,12})?\.r2\.cloudflarestorage\.com", R2_FORM),
    ("b2", ".backblazeb2.com", r"s3\.([a-z0-9-]+)\.backblazeb2\.com", B2_FORM),
    ("tigris", ".storage.dev", r"(t3)\.storage\.dev", TIGRIS_FORM),
    ("tigris", ".storage.tigris.dev", r"(fly)\.storage\.tigris\.dev", TIGRIS_FORM),
    ("s3", ".amazonaws.com", "", S3_FORM),
    ("s3", ".amazonaws.com.cn", "", S3_FORM),
    ("gcs", ".googleapis.com", "", "gs://bucket/prefix/"),
    ("gcs", ".cloud.google.com", "", "gs://bucket/prefix/"),
)
AZURE_SUFFIXES = (".blob.core.windows.net", ".dfs.core.windows.net")


def redacted(text: str) -> str:
    """A URI, or what was meant as one, for an error: nothing in it that may be a password, a signature or a token."""
    scheme, sep, rest = text.partition("://")
    lead, body = (scheme + sep, rest) if sep and "@" not in scheme else ("", text)
    user, at, tail = body.rpartition("@")
    if at and (":" in user or ("/" not in user and scheme.lower() not in AZURE_SCHEMES)):
        body = "…@" + tail
    plain = re.split(r"[?#]", body, maxsplit=1)
    shown = printable(lead + plain[0]) + ("…" if len(plain) > 1 else "")
    return (shown if len(shown) <= 200 else shown[:200] + "…") or '""'


def instead_of(scheme: str) -> str:
    """The form to write instead of a scheme that Lading does not know."""
    if scheme in OTHER_NAMES:
        return OTHER_NAMES[scheme]
    import difflib  # 5 ms, for an error only

    close = difflib.get_close_matches(scheme, FORMS, n=1)
    return FORMS[close[0]] if close else "s3://, s3+NAME://, https://, gs://, wasbs://, abfss://, az://, pxtfs:// or file://"
