import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading_catalog.errors import ConfigError
from lading_catalog.keys import KEY_MAX_BYTES
from lading_catalog.uris import PREFIX_MAX_BYTES, Destination, nested, parse

ENDPOINTS = ("minio", "wasabi-2")
AZURE = "https://acct.blob.core.windows.net"


@pytest.mark.parametrize(
    ("text", "provider", "canonical"),
    [
        ("s3://bucket", "s3", "s3://bucket/"),
        ("S3://My.Old_Bucket/a b/ü@x/", "s3", "s3://My.Old_Bucket/a b/ü@x/"),
        ("s3+minio://bucket/prefix", "s3", "s3+minio://bucket/prefix/"),
        ("s3+wasabi-2://bucket/", "s3", "s3+wasabi-2://bucket/"),
        ("https://ab12.r2.cloudflarestorage.com/bucket/p", "r2", "https://ab12.r2.cloudflarestorage.com/bucket/p/"),
        ("https://AB12.eu.r2.cloudflarestorage.com/bucket", "r2", "https://ab12.eu.r2.cloudflarestorage.com/bucket/"),
        ("https://s3.us-west-004.backblazeb2.com:443/b-b/p", "b2", "https://s3.us-west-004.backblazeb2.com/b-b/p/"),
        ("https://t3.storage.dev/bucket/p/", "tigris", "https://t3.storage.dev/bucket/p/"),
        ("https://fly.storage.tigris.dev/bucket", "tigris", "https://fly.storage.tigris.dev/bucket/"),
        ("gs://my.domain_bucket/p/q", "gcs", "gs://my.domain_bucket/p/q/"),
        ("wasb://photos@acct.blob.core.windows.net/p", "azure", f"{AZURE}/photos/p/"),
        ("wasbs://photos@acct.blob.core.windows.net", "azure", f"{AZURE}/photos/"),
        ("abfs://photos@ACCT.dfs.core.windows.net/p/", "azure", f"{AZURE}/photos/p/"),
        ("abfss://$root@acct.dfs.core.windows.net/", "azure", f"{AZURE}/$root/"),
        (f"{AZURE}/photos/p", "azure", f"{AZURE}/photos/p/"),
        ("az://photos/p", "azure", "az://photos/p/"),
        ("pxtfs://org:db/home", "pixeltable", "pxt://org:db/buckets/home/"),
        ("pxtfs://org:db/home/a/b/", "pixeltable", "pxt://org:db/buckets/home/a/b/"),
        ("pxt://org:db/buckets/home/a", "pixeltable", "pxt://org:db/buckets/home/a/"),
        ("file:///mnt/nas", "file", "file:///mnt/nas/"),
        ("file:/mnt/nas/", "file", "file:///mnt/nas/"),
        ("file://localhost/mnt/写 真", "file", "file:///mnt/%E5%86%99%20%E7%9C%9F/"),
        ("file:///mnt/%ff%3f%23%25", "file", "file:///mnt/%FF%3F%23%25/"),
        ("file:///c%3A/x", "file", "file:///c%3A/x/"),
    ],
)
def test_every_form_has_one_canonical_uri(text: str, provider: str, canonical: str) -> None:
    parsed = parse(text, ENDPOINTS)
    assert (parsed.provider, parsed.uri) == (provider, canonical)
    assert parse(canonical, ENDPOINTS) == parsed


def test_the_parts() -> None:
    assert parse("s3+minio://bucket/a/b", ENDPOINTS) == Destination(
        "s3", "s3+minio://bucket/a/b/", bucket="bucket", prefix="a/b/", endpoint="minio"
    )
    r2 = parse("https://ab12.eu.r2.cloudflarestorage.com/bucket/p")
    assert (r2.account, r2.host, r2.bucket, r2.prefix) == ("ab12", "ab12.eu.r2.cloudflarestorage.com", "bucket", "p/")
    b2 = parse("https://s3.us-west-004.backblazeb2.com/bucket")
    assert (b2.region, b2.bucket, b2.prefix) == ("us-west-004", "bucket", "")
    azure = parse("abfss://photos@acct.dfs.core.windows.net/p")
    assert (azure.account, azure.host, azure.bucket) == ("acct", "acct.blob.core.windows.net", "photos")
    home = parse("pxtfs://org:db/home/p")
    assert (home.org, home.db, home.bucket, home.prefix) == ("org", "db", "home", "p/")
    assert parse("file:///mnt/a%20b").path == "/mnt/a b/"


SEGMENTS = st.lists(
    st.binary(min_size=1, max_size=20).filter(lambda it: it not in (b".", b"..", b".lading") and not set(it) & set(b"/\0")),
    min_size=1,
    max_size=4,
)


@given(SEGMENTS)
def test_every_path_of_a_file_system_can_be_written(segments: list[bytes]) -> None:
    path = b"/" + b"/".join(segments)
    parsed = parse("file://" + "".join(f"%{byte:02X}" if byte != 0x2F else "/" for byte in path))
    assert os.fsencode(parsed.path) == path + b"/"
    assert parsed.uri.isascii()
    assert parsed.uri.isprintable()
    assert parse(parsed.uri) == parsed


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("", "is empty", "s3://bucket/prefix/"),
        (" s3://bucket/", "a space", "without"),
        ("s3://bucket/a\nb", "invisible", "without"),
        ("s3://bucket/\u202eb", "invisible", "without"),
        ("s3://", "names no bucket", "s3://bucket/prefix/"),
        ("s3:///prefix", "names no bucket", "s3://bucket/prefix/"),
        ("s3://b/", "no valid bucket", "s3://bucket/prefix/"),
        ("s3://bucket:9000/", "no valid bucket", "s3://bucket/prefix/"),
        ("s3:bucket/x", "no //", "s3://bucket/prefix/"),
        ("s3+minoi://bucket/", "not configured", "known: minio, wasabi-2"),
        ("s3+://bucket/", "not configured", "endpoints.NAME"),
        ("https://ab12.r2.cloudflarestorage.com/", "names no bucket", "ACCOUNT.r2"),
        ("https://bucket.ab12.r2.cloudflarestorage.com/", "another form", "ACCOUNT.r2"),
        ("https://r2.cloudflarestorage.com/bucket", "another form", "ACCOUNT.r2"),
        ("https://f001.backblazeb2.com/file/bucket", "another form", "s3.REGION"),
        ("https://bucket.t3.storage.dev/p", "another form", "t3.storage.dev"),
        ("https://bucket.s3.eu-west-1.amazonaws.com/p", "another form", "s3://"),
        ("https://storage.googleapis.com/bucket", "another form", "gs://"),
        ("https://minio.local:9000/bucket", "host that Lading does not know", "s3+NAME://"),
        ("https://t3.storage.dev:8443/bucket", "host that Lading does not know", "s3+NAME://"),
        ("https://ab12.r2.cloudflarestorage.com.evil.org/bucket", "host that Lading does not know", "s3+NAME://"),
        ("https://evilr2.cloudflarestorage.com/bucket", "host that Lading does not know", "s3+NAME://"),
        ("https://acct.blob.core.windows.net.evil.org/photos", "host that Lading does not know", "s3+NAME://"),
        ("https://acctblob.core.windows.net/photos", "host that Lading does not know", "s3+NAME://"),
        ("https://t3.storage.dev.org/bucket", "host that Lading does not know", "s3+NAME://"),
        ("http://minio.local/bucket", "scheme", "endpoint_url"),
        ("gs://", "names no bucket", "gs://bucket/prefix/"),
        ("gs://Bucket/", "no valid bucket", "gs://bucket/prefix/"),
        ("wasbs://photos/p", "no container@account", "wasbs://container@ACCOUNT.blob"),
        ("abfss://@acct.dfs.core.windows.net/", "no container@account", "abfss://container@ACCOUNT.dfs"),
        ("abfss://photos@acct.example.org/", "not Azure's", "az://"),
        ("wasbs://photos@a.b.blob.core.windows.net/", "no valid account", "wasbs://"),
        ("wasbs://Photos@acct.blob.core.windows.net/", "no valid container", "wasbs://"),
        (f"{AZURE}/", "names no container", "https://ACCOUNT.blob"),
        ("az:///p", "names no container", "az://container"),
        ("pxtfs://org/home", "ORG:DB", "pxtfs://ORG:DB/home"),
        ("pxt://org:db/tables/x", "is not storage", "pxtfs://ORG:DB/home"),
        ("pxt://org:db/buckets/homes", "is not storage", "pxtfs://ORG:DB/home"),
        ("pxtfs://org:db/other", "is not storage", "pxtfs://ORG:DB/home"),
        ("s3a://bucket/", "scheme", "Write s3://bucket"),
        ("gcs://bucket/", "scheme", "Write gs://bucket"),
        ("wasbs://c:x@acct.blob.core.windows.net/", "user or password", "credentials"),
        ("abfsss://c@acct/", "user or password", "credentials"),
        ("wasbss://c/", "scheme", "Write wasbs://"),
        ("ftp://host/x", "scheme", "s3://"),
        ("/mnt/x", "plain path", "Write file:///mnt/x/."),
        ("/mnt/100%#1", "plain path", "Write file:///mnt/100%25%231/."),
        ("~/photos", "begins with ~", "file:///path/"),
        ("file://~/photos", "begins with ~", "file:///path/"),
        ("file:///~/photos", "begins with ~", "file:///path/"),
        ("photos/2026", "is no URI", "file:///path/"),
        ("file:photos", "relative", "file:///path/"),
        ("file://nas/photos", "names a host", "file:///path/"),
        ("file:///", "names no directory", "file:///path/"),
        ("file:///mnt/%zz", "not an encoded byte", "%25"),
        ("file:///mnt/%00", "NUL or slash", "without"),
        ("file:///mnt/a%2Fb", "NUL or slash", "without"),
        ("file:///mnt/%2e%2e/x", "\\.\\.", "without"),
        ("file:///mnt//x", "empty folder", "one slash"),
        ("file:///mnt/x//", "empty folder", "one slash"),
        ("C:\\photos", "Windows", "file:///path/"),
        ("\\\\nas\\photos", "Windows", "file:///path/"),
        ("c:/photos", "Windows", "file:///path/"),
        ("file:///C:/photos", "Windows", "file:///path/"),
        ("file://C:/photos", "Windows", "file:///path/"),
        ("s3://bucket/a//b", "empty folder", "one slash"),
        ("s3://bucket//", "empty folder", "one slash"),
        ("s3://bucket/../b", "\\.\\.", "without"),
        ("s3://bucket/./b", "\\.\\.", "without"),
        ("s3://bucket/.lading/b", "Lading's own", "another"),
        ("s3://bucket/a%20b", "%", "themselves"),
        ("s3://bucket/a\\b", "%", "folders"),
        ("s3://bucket/" + "x" * PREFIX_MAX_BYTES, "prefix of over", "shorter"),
        ("s3://bucket/?versionId=1", "query or a fragment", "Leave it out"),
        ("s3://bucket/#x", "query or a fragment", "Leave it out"),
        ("file:///mnt/x?y", "query or a fragment", "%3F"),
    ],
)
def test_a_wrong_uri_is_refused_with_what_to_write(text: str, says: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse(text, ENDPOINTS)
    assert hint in caught.value.hint
    assert caught.value.detail.isprintable()
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIA:hunter2@bucket/p",
        "s3://hunter2@bucket/p",
        "s3:AKIA:hunter2@bucket/p",
        "AKIA:hunter2@bucket/p",
        "/AKIA:hunter2@bucket/p",
        "https://u:hun@hunter2@t3.storage.dev/b",
        "https://u:hunter2/x@t3.storage.dev/b",
        "https://u:hunter2?x@t3.storage.dev/b",
        "wasbs://c:hunter2@acct.blob.core.windows.net/",
        "pxtfs://u:hunter2@org:db/home",
        "pxtfs://u:hunter2/x@org:db/home",
        "file://u:hunter2@host/mnt",
        "ftp://u:hunter2@host/",
        f"{AZURE}/photos?sig=hunter2",
        "az://photos/p#hunter2",
    ],
)
def test_no_error_repeats_a_secret(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert "hunter2" not in repr(caught.value.problem())
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_the_longest_key_fits_under_the_longest_prefix() -> None:
    assert len(parse("s3://bucket/" + "x" * (PREFIX_MAX_BYTES - 1)).prefix) + KEY_MAX_BYTES <= 1024


@pytest.mark.parametrize(
    ("a", "b", "inside"),
    [
        ("s3://bucket/", "s3://bucket/a/", True),
        ("s3://bucket/a", "s3://bucket/a/b", True),
        ("s3://bucket/a", "s3://bucket/a", False),
        ("s3://bucket/a", "s3://bucket/ab", False),
        ("s3://bucket/a", "s3://bucket2/a/b", False),
        ("s3://bucket/a", "s3+minio://bucket/a/b", False),
        ("s3://bucket/a", "gs://bucket/a/b", False),
        ("https://t3.storage.dev/bucket/", "https://fly.storage.tigris.dev/bucket/", True),
        ("https://ab12.r2.cloudflarestorage.com/bucket/", "https://cd34.r2.cloudflarestorage.com/bucket/a", False),
        ("wasbs://photos@acct.blob.core.windows.net/", f"{AZURE}/photos/a", True),
        ("az://photos/", f"{AZURE}/photos/a", True),
        (f"{AZURE}/photos/", "https://other.blob.core.windows.net/photos/a", False),
        ("pxtfs://org:db/home", "pxt://org:db/buckets/home/a", True),
        ("pxtfs://org:db/home", "pxtfs://org:db2/home/a", False),
        ("file:///mnt/a", "file:///mnt/a/b", True),
        ("file:///mnt/a", "file:///mnt/ab", False),
    ],
)
def test_destinations_inside_one_another(a: str, b: str, inside: bool) -> None:
    one, other = parse(a, ENDPOINTS), parse(b, ENDPOINTS)
    assert nested(one, other) is inside
    assert nested(other, one) is inside


@given(st.text(st.sampled_from("s3:/gfile+pxtazhtps@#?%.~ab\\é\n"), max_size=40) | st.text(max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parsed = parse(text, ENDPOINTS)
    except ConfigError:
        return
    assert parsed.uri.endswith("/")
    assert parse(parsed.uri, ENDPOINTS) == parsed
