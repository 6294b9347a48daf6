import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lading_catalog.keys import KEY_MAX_BYTES, ParsedKey, local_key, object_key, parse_key, split_ext

SHA = bytes(range(32))
NONCE = bytes.fromhex("0123456789abcdef")
TAIL = f".{SHA.hex()}-0123456789abcdef"
SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

SHAS = st.binary(min_size=32, max_size=32)
NONCES = st.binary(min_size=8, max_size=8)
NAMES = st.text(min_size=1) | st.binary(min_size=1) | st.text("./-_ aZ0é\u0301\u212a", min_size=1, max_size=300)


def key_of(name: str | bytes, table: str = "default", column: str = "file") -> str:
    return object_key(table, column, SHA, name, NONCE)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("trip/IMG_0042.JPG", f"IMG_0042{TAIL}.jpg"),
        ("a.tar.gz", f"a.tar{TAIL}.gz"),
        (".bashrc", f"_bashrc{TAIL}"),
        ("..", f"_{TAIL}"),
        ("-rf.jpg", f"_rf{TAIL}.jpg"),
        ("x.jpg~", f"x.jpg_{TAIL}"),
        ("note.", f"note_{TAIL}"),
        ("a.endingthatislong", f"a.endingthatislong{TAIL}"),
        ("Müller & Co.png", f"M_ller_Co{TAIL}.png"),
        ("Mu\u0308ller & Co.png", f"M_ller_Co{TAIL}.png"),
        ("写真.jpg", f"_{TAIL}.jpg"),
        ("a.\u212ag", f"a.Kg{TAIL}"),  # a Kelvin sign: no ASCII ending, though it lower-cases to k
        ("con.jpg", f"_con{TAIL}.jpg"),
        ("trip/", f"trip{TAIL}"),
        (b"caf\xe9.jpg", f"caf_{TAIL}.jpg"),
    ],
)
def test_the_last_segment(name: str | bytes, file: str) -> None:
    assert key_of(name) == f"default/file/00/{file}"


def test_tables_keep_their_folders_columns_are_one_segment() -> None:
    assert key_of("a.jpg", "production/photos", "a/b").startswith("production/photos/a_b/00/a.")
    assert key_of("a.jpg", "/../x//y/").startswith("_/x/y/file/00/")
    assert key_of("a.jpg", "", "").startswith("_/_/00/")
    assert key_of("a.jpg", ".lading").startswith("_lading/"), "the folder .lading is ours"


def test_a_given_ending_replaces_the_names_own() -> None:
    assert object_key("t", "c", SHA, "a.bin", NONCE, ".PNG").endswith(f"/a{TAIL}.png")
    assert object_key("t", "c", SHA, "a.bin", NONCE, "../x").endswith(f"/a{TAIL}")
    assert object_key("t", "c", SHA, "a.bin", NONCE, "").endswith(f"/a{TAIL}")


@given(st.text(), st.text(), SHAS, NAMES, NONCES, st.none() | st.text(max_size=14))
@example("a" * 119 + ".b", "c" * 119 + "..", SHA, "d" * 119 + ".e" + "f" * 20, NONCE, None)
@example("/".join("x" * 30 for _ in range(30)), "c" * 500, SHA, "n" * 500, NONCE, ".abcdefghij")
@example("/".join(["x" * 99] * 3) + "/" + "y" * 98 + "/con", "c", SHA, "con", NONCE, None)
@example("t", "c", SHA, f"x{TAIL}.jpg", NONCE, None)
def test_a_key_is_harmless_and_reads_back(
    table: str, column: str, sha256: bytes, name: str | bytes, nonce: bytes, ext: str | None
) -> None:
    key = object_key(table, column, sha256, name, nonce, ext)
    assert len(key.encode("ascii")) <= KEY_MAX_BYTES
    for segment in key.split("/"):
        assert SEGMENT.fullmatch(segment)
        assert not segment.endswith(".")
    assert len(key.rpartition("/")[2]) <= 213
    parsed = parse_key(key)
    assert parsed is not None
    assert (parsed.sha256, parsed.nonce) == (sha256, nonce)
    assert parsed.ext == (split_ext(name)[1] if ext is None else split_ext("a" + ext)[1] if ext.rfind(".") == 0 else parsed.ext)
    assert len(parsed.stem) <= 120
    assert key == f"{parsed.table}/{parsed.column}/{sha256.hex()[:2]}/{parsed.stem}.{sha256.hex()}-{nonce.hex()}{parsed.ext}"


def test_parsing_gives_the_parts() -> None:
    key = key_of("trip/IMG_0042.JPG", "production/photos", "photo")
    assert parse_key(key) == ParsedKey("production/photos", "photo", SHA, "IMG_0042", NONCE, ".jpg")


GOOD = f"t/c/00/a{TAIL}.jpg"


@pytest.mark.parametrize(
    "key",
    [
        "",
        GOOD + "\n",
        "/" + GOOD,
        "../" + GOOD,
        ".lading/c/00/a" + TAIL,
        "t//c/00/a" + TAIL,
        f"c/00/a{TAIL}",
        f"t/c/01/a{TAIL}",  # not the first two digits of the digest
        f"t/c/00/{TAIL}",
        f"t/c/00/{'a' * 121}{TAIL}",
        f"t/c/00/a{TAIL}.JPG",
        f"t/c/00/a{TAIL}.elevenchars",
        f"t/c/00/a{TAIL.upper()}",
        f"t/c/00/é{TAIL}",
        GOOD.replace("-0", "-", 1),
        ".lading/owners/01JD0000000000000000000000",
    ],
)
def test_what_is_not_ours_is_not_parsed(key: str) -> None:
    assert parse_key(GOOD) is not None
    assert parse_key(key) is None


@given(st.text(max_size=200))
def test_parsing_never_fails(key: str) -> None:
    assert parse_key(key) is None or all(char in string.printable for char in key)


def test_local_keys() -> None:
    assert local_key("0af", bytes(12), ".JPG") == f"objects/0af/{'00' * 12}.jpg"
    assert local_key("0af", bytes(12), "/../x") == f"objects/0af/{'00' * 12}"
    for shard, nonce in (
        ("0a", bytes(12)),
        ("0AF", bytes(12)),
        ("..0", bytes(12)),
        ("0af\n", bytes(12)),
        ("0af", bytes(8)),
    ):
        with pytest.raises(ValueError):
            local_key(shard, nonce, "")


@pytest.mark.parametrize(("sha256", "nonce"), [(b"", NONCE), (SHA + b"x", NONCE), (SHA, b""), (SHA, bytes(12))])
def test_digests_and_nonces_of_another_length_are_refused(sha256: bytes, nonce: bytes) -> None:
    with pytest.raises(ValueError):
        object_key("t", "c", sha256, "a", nonce)
